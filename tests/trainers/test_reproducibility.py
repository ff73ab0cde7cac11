"""Seeds that never change their meaning, and a global state that is left as found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.reproducibility import deterministic, generator
from trainers.seeds import derive, permutation

CPU = torch.device("cpu")
memory: Any = torch.utils.deterministic

parts = st.lists(st.one_of(st.integers(), st.text(), st.dictionaries(st.text(), st.integers())), max_size=4)


@pytest.fixture(autouse=True)
def _deterministic_setting_restored() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


def test_derived_seeds_never_change() -> None:
    assert derive("weights") == 436886084066980804
    assert derive("batches", {"name": "digits"}, 0, 1) == 4514080838911393643


def test_permutations_never_change() -> None:
    assert permutation(8, "validation split", {"name": "digits"}, 0).tolist() == [4, 0, 2, 3, 1, 7, 5, 6]


@given(st.text(), parts)
def test_a_seed_is_one_that_torch_takes(purpose: str, parts: list[object]) -> None:
    seed = derive(purpose, *parts)
    assert 0 <= seed < 2**63
    assert torch.Generator().manual_seed(seed).initial_seed() == seed


def test_every_part_changes_the_seed() -> None:
    seeds = [derive(*key) for key in (("a",), ("b",), ("a", 0), ("a", 1), ("a", 0, 0), ("a", "0"), ("a", {"b": 0}))]
    assert len(set(seeds)) == len(seeds)


def test_the_order_of_fields_does_not_change_the_seed() -> None:
    assert derive("a", {"b": 0, "c": 1}) == derive("a", {"c": 1, "b": 0})


def test_generators_of_one_purpose_draw_alike() -> None:
    draws = [torch.rand(4, generator=generator("a", seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[1], draws[2])


@given(st.integers(0, 50), st.integers(0, 3))
def test_a_permutation_holds_every_number_once(size: int, seed: int) -> None:
    order = permutation(size, "test", seed)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(size))


def test_within_the_same_seed_draws_the_same() -> None:
    draws = []
    for seed in (1, 1, 2):
        with deterministic(seed, CPU):
            draws.append(torch.rand(4))
    assert [torch.equal(*pair) for pair in pairwise(draws)] == [True, False]


@pytest.mark.parametrize("enabled", [True, False])
def test_within_algorithms_are_deterministic_and_afterwards_as_before(*, enabled: bool) -> None:
    torch.use_deterministic_algorithms(enabled)
    with deterministic(0, CPU):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() is enabled


@pytest.mark.parametrize("filled", [True, False])
def test_within_memory_is_not_filled_before_it_is_written_and_afterwards_as_before(
    *, filled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "fill_uninitialized_memory", filled)
    with deterministic(0, CPU):
        assert not memory.fill_uninitialized_memory
    assert memory.fill_uninitialized_memory is filled


def test_an_error_within_leaves_no_trace_either() -> None:
    torch.use_deterministic_algorithms(mode=False)
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), deterministic(0, CPU):
        torch.rand(1)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_global_generators_go_on_as_if_nothing_happened() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002  # the global one is meant
    with deterministic(0, CPU):
        torch.rand(1)
        permutation(5, "test")
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


@pytest.mark.parametrize("tf32", [True, False])
def test_within_gpus_round_as_told_and_afterwards_as_before(*, tf32: bool) -> None:
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [switch.fp32_precision for switch in switches]
    with deterministic(0, CPU, tf32=tf32):
        assert [switch.fp32_precision for switch in switches] == ["tf32" if tf32 else "ieee"] * 2
    assert [switch.fp32_precision for switch in switches] == before
