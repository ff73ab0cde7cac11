"""Edits of an experiment file: only what is meant changes, and every comment stays."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment.additions import Entry, labels
from orchestrator.experiment.file_edits import with_entry
from orchestrator.experiment.reading import load

HEAD = """\
# A comment on top
name: tiny   # the name
losses:  # two
  - softmax     # the baseline

  # of the paper
  - {name: bce_unified, as: ours}
"""
TAIL = """\
datasets: [digits]
seeds: 5  # as usual
baseline: softmax
# the end
"""
FLOW = "backbones: [resnet8, 'resnet20']  # small ones\n"


def edited(tmp_path: Path, text: str, action: Any = "add", **values: Any) -> str:
    """The text after the edit, which says what it should."""
    file = tmp_path / "tiny.yaml"
    file.write_bytes(text.encode())
    before = load(file)
    entry = Entry(when=datetime(2026, 1, 2, tzinfo=UTC), by="add", action=action, **values)
    changed, experiment = with_entry(file, text, before, entry)
    file.write_bytes(changed.encode())
    assert load(file) == experiment
    for axis in ("loss", "backbone", "dataset"):
        given = list(values.get(axis, ()))
        old = labels(before, axis)
        expected = [*old, *given] if action == "add" else [each for each in old if each not in given]
        assert labels(experiment, axis) == expected
    assert set(experiment.seeds) == set(before.seeds) ^ set(values.get("seeds", ()))
    assert [line.partition("#")[2] for line in changed.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in text.splitlines() if "#" in line
    ], "every comment is still there, in its order"
    return changed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("backbones: [resnet8]  # one", "backbones: [resnet8, resnet18]  # one"),
        ("backbones: [ resnet8, ]", "backbones: [ resnet8, resnet18, ]"),
        ('backbones: ["resnet8"]', 'backbones: ["resnet8", "resnet18"]'),
        ("backbones: ['resnet8']", "backbones: ['resnet8', 'resnet18']"),
        ("backbones:\n- resnet8  # one", "backbones:\n- resnet8  # one\n- resnet18"),
        ("backbones:\n    -   resnet8\n\n    # next", "backbones:\n    -   resnet8\n    -   resnet18\n\n    # next"),
        (
            "backbones:\n  - name: resnet8\n    as: r  # R",
            "backbones:\n  - name: resnet8\n    as: r  # R\n  - resnet18",
        ),
        ("backbones: [\n  resnet8  # one\n]", "backbones: [\n  resnet8,  # one\n  resnet18\n]"),
        ("backbones: [\n  resnet8,  # one\n]", "backbones: [\n  resnet8,  # one\n  resnet18,\n]"),
        ("backbones: [resnet8,\n  resnet20]", "backbones: [resnet8,\n  resnet20,\n  resnet18]"),
        ("? backbones\n: - resnet8", "? backbones\n: - resnet8\n  - resnet18"),
    ],
)
def test_a_value_is_added_in_the_layout_of_the_list(tmp_path: Path, old: str, new: str) -> None:
    assert edited(tmp_path, f"{HEAD}{old}\n{TAIL}", backbone=("resnet18",)) == f"{HEAD}{new}\n{TAIL}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("backbones: [resnet8, resnet18]", "backbones: [resnet8]"),
        ("backbones: [resnet18, resnet8]  # two", "backbones: [resnet8]  # two"),
        ("backbones: [resnet8, resnet18, resnet20]", "backbones: [resnet8, resnet20]"),
        ("backbones:\n- resnet8  # one\n- resnet18\n# more", "backbones:\n- resnet8  # one\n# more"),
        ("backbones:\n  - resnet18\n  - resnet8", "backbones:\n  - resnet8"),
        ("backbones:\n  - resnet8\n  - name: resnet18", "backbones:\n  - resnet8"),
        ("backbones: [\n  resnet8,  # one\n  resnet18\n]", "backbones: [\n  resnet8,  # one\n]"),
        ("backbones: [\n  resnet18,\n  resnet8  # one\n]", "backbones: [\n  resnet8  # one\n]"),
        ("backbones: [resnet8,  # one\n  resnet18]", "backbones: [resnet8,  # one\n  ]"),
    ],
)
def test_a_value_is_taken_out_with_its_line_or_its_comma(tmp_path: Path, old: str, new: str) -> None:
    assert edited(tmp_path, f"{HEAD}{old}\n{TAIL}", "remove", backbone=("resnet18",)) == f"{HEAD}{new}\n{TAIL}"


@pytest.mark.parametrize(
    ("old", "add", "new"),
    [
        ("seeds: 5  # as usual", (5, 6), "seeds: 7  # as usual"),
        ("seeds: 5  # as usual", (9,), "seeds: [0, 1, 2, 3, 4, 9]  # as usual"),
        ("seeds: [0, 3]  # as usual", (9,), "seeds: [0, 3, 9]  # as usual"),
        ("seeds:\n  - 0  # as usual", (1, 2), "seeds:\n  - 0  # as usual\n  - 1\n  - 2"),
    ],
)
def test_seeds_are_added_in_the_form_that_the_file_has(
    tmp_path: Path, old: str, add: tuple[int, ...], new: str
) -> None:
    start = HEAD + FLOW + TAIL.replace("seeds: 5  # as usual", old)
    assert edited(tmp_path, start, seeds=add) == HEAD + FLOW + TAIL.replace("seeds: 5  # as usual", new)


def test_seeds_are_taken_out_again(tmp_path: Path) -> None:
    text = HEAD + FLOW + TAIL
    assert edited(tmp_path, edited(tmp_path, text, seeds=(5, 6)), "remove", seeds=(5, 6)) == text
    gap = edited(tmp_path, text, "remove", seeds=(1,))
    assert gap == text.replace("seeds: 5 ", "seeds: [0, 2, 3, 4] ")


def test_seeds_that_the_file_leaves_to_the_default_get_a_line_of_their_own(tmp_path: Path) -> None:
    text = HEAD + FLOW + TAIL.replace("seeds: 5  # as usual\n", "")
    assert "\nbaseline: softmax\nseeds: 6\n# the end\n" in edited(tmp_path, text, seeds=(5,))
    flat = (
        '{"name": "t", "losses": ["softmax"], "backbones": ["resnet8"], "datasets": ["digits"], "baseline": "softmax"}'
    )
    assert edited(tmp_path, flat, seeds=(5,)) == f'{flat[:-1]}, "seeds": 6}}'


def test_several_values_at_once_and_back_again(tmp_path: Path) -> None:
    text = HEAD + FLOW + TAIL
    values: dict[str, Any] = {"loss": ("focal", "bce"), "backbone": ("resnet18",), "seeds": (5, 6)}
    wider = edited(tmp_path, text, **values)
    assert "  - {name: bce_unified, as: ours}\n  - focal\n  - bce\n" in wider
    assert edited(tmp_path, wider, "remove", **values) == text


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text, str.rstrip])
def test_line_breaks_byte_order_marks_and_missing_last_line_breaks_stay(tmp_path: Path, change: Any) -> None:
    text = change(HEAD + TAIL + "backbones:\n  - resnet8\n")
    wider = edited(tmp_path, text, backbone=("resnet18",))
    assert wider.count("\r\n") == (text.count("\r\n") and text.count("\r\n") + 1)
    assert wider.startswith(text[:20])


def test_anchors_are_no_obstacle_where_only_the_list_changes(tmp_path: Path) -> None:
    text = HEAD.replace("- softmax ", "- &first softmax ") + "backbones: &nets [resnet8]\n"
    text += TAIL.replace("baseline: softmax", "baseline: *first")
    assert "backbones: &nets [resnet8, resnet18]\n" in edited(tmp_path, text, backbone=("resnet18",))


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("datasets: [{name: digits, hold_out: &both [8, 9]}]\nseeds: *both\n", "'seeds' is an alias of another entry"),
        ("seeds: &both [8, 9]\ndatasets: [{name: digits, hold_out: *both}]\n", "does not allow to change this alone"),
    ],
)
def test_a_list_that_another_entry_shares_is_left_as_it_was(tmp_path: Path, lines: str, why: str) -> None:
    with pytest.raises(ExperimentError, match=f"tiny.yaml is left as it was: .*{why}. Edit it by hand."):
        edited(tmp_path, f"{HEAD}{FLOW}{lines}baseline: softmax\n", seeds=(5,))


def test_seeds_under_a_rule_are_left_to_the_rule(tmp_path: Path) -> None:
    text = HEAD + FLOW + TAIL.replace("seeds: 5", "seeds: {min: 5, max: 30, until: decided}")
    text += "claims: [{id: c, metric: uniform_accuracy, challenger: ours, baseline: softmax, direction: higher}]\n"
    with pytest.raises(ExperimentError, match="the claims decide the number of seeds, up to 'max'"):
        edited(tmp_path, text, seeds=(40,))


def test_what_would_make_the_file_wrong_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    text = HEAD + FLOW + TAIL
    file.write_text(text)
    back = Entry(when=datetime(2026, 1, 2, tzinfo=UTC), by="add", action="remove", loss=("softmax",))
    with pytest.raises(ExperimentError, match=r"(?s)left as it was.*tiny\.yaml:\d+: 'baseline': No loss"):
        with_entry(file, text, load(file), back)
    last = back.model_copy(update={"loss": (), "dataset": ("digits",)})
    with pytest.raises(ExperimentError, match="nothing would be left in 'datasets'"):
        with_entry(file, text, load(file), last)
