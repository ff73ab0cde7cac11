"""Where tuned values may lie: as written, drawn, placed, and at the edge."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.experiment.space import EDGE, Domain

FINITE = st.floats(-1e6, 1e6).map(lambda number: float(f"{number:.6g}"))
RANGES = st.builds(
    lambda kind, ends: Domain.model_validate({"kind": kind, "low": min(ends), "high": max(ends)}),
    st.just("uniform"),
    st.tuples(FINITE, FINITE).filter(lambda ends: abs(ends[0] - ends[1]) > 1e-3 * max(map(abs, ends))),
)
LOG_RANGES = st.builds(
    lambda low, factor: Domain.model_validate({"kind": "loguniform", "low": low, "high": float(f"{low * factor:.6g}")}),
    st.floats(1e-6, 1e3).map(lambda number: float(f"{number:.6g}")),
    st.floats(1.5, 1e6),
)
WHOLE = st.builds(
    lambda low, size: Domain.model_validate({"kind": "randint", "low": low, "high": low + size}),
    st.integers(-1000, 1000),
    st.integers(2, 1000),
)
CHOICES = st.lists(st.sampled_from([1, 2.5, "sgd", "adamw", True]), min_size=2, max_size=4, unique_by=repr).filter(
    lambda options: len(set(options)) > 1
).map(Domain.model_validate)  # fmt: skip
DOMAINS = st.one_of(RANGES, LOG_RANGES, WHOLE, CHOICES)
SHARES = st.floats(0, 1, exclude_max=True)


def read(text: object) -> Domain:
    return Domain.model_validate(text)


@given(DOMAINS)
def test_a_domain_is_read_as_it_is_written(domain: Domain) -> None:
    assert read(str(domain)) == domain
    assert domain.model_dump(mode="json") == str(domain)


@given(DOMAINS, SHARES)
def test_a_drawn_value_lies_in_the_domain(domain: Domain, share: float) -> None:
    value = domain.at(share)
    if domain.kind == "choice":
        assert value in domain.options
    elif domain.kind == "randint":
        assert domain.low <= value < domain.high
        assert isinstance(value, int)
    else:
        assert domain.low <= value <= domain.high


@given(st.one_of(RANGES, LOG_RANGES), SHARES)
def test_a_value_is_placed_where_it_was_drawn(domain: Domain, share: float) -> None:
    assert domain.share(domain.at(share)) == pytest.approx(share, abs=0.01)


@given(WHOLE, SHARES)
def test_a_whole_number_is_placed_in_the_middle_of_its_share(domain: Domain, share: float) -> None:
    assert abs(domain.share(domain.at(share)) - share) <= 0.5 / (domain.high - domain.low) + 1e-9


def test_a_loguniform_draw_has_its_median_at_the_geometric_mean() -> None:
    assert read("loguniform(1e-3, 1)").at(0.5) == pytest.approx(math.sqrt(1e-3), rel=1e-5)


def test_six_digits_are_drawn_so_that_every_machine_draws_the_same() -> None:
    assert read("uniform(0, 1)").at(1 / 3) == 0.333333
    assert read("uniform(0, 1)").near(0.33333333333) == 0.333333


@pytest.mark.parametrize(("share", "is_edge"), [(0.0, True), (EDGE / 2, True), (0.5, False), (1 - EDGE / 2, True)])
@pytest.mark.parametrize("text", ["uniform(-5, 5)", "loguniform(1e-4, 10)"])
def test_the_twentieth_at_either_end_is_the_edge(text: str, share: float, is_edge: bool) -> None:
    domain = read(text)
    assert domain.is_edge(domain.at(share)) is is_edge


def test_the_last_whole_numbers_are_edges_and_a_choice_has_none() -> None:
    assert [read("randint(0, 4)").is_edge(value) for value in range(4)] == [True, False, False, True]
    assert not any(read([1, 2, 3]).is_edge(value) for value in (1, 2, 3))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("normal(0, 1)", "expected uniform"),
        ("uniform(1)", "expected uniform"),
        ("uniform(a, b)", "expected uniform"),
        ("uniform(1, 1)", "first bound must be below"),
        ("loguniform(0, 1)", "must be above 0"),
        ("randint(0, 1)", "two whole numbers"),
        ("randint(0, 2.5)", "two whole numbers"),
        ("choice(1, 1)", "two or more different"),
        ("uniform(1, 2", "expected uniform"),
        ("choice(!!python/object:os.system [ls], 2)", "expected uniform"),
        (3, "expected uniform"),
        (None, "expected uniform"),
    ],
)
def test_what_is_no_domain_is_told(text: object, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        read(text)
