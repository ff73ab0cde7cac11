"""YAML that remembers its lines: every file is read, or refused with a sentence at its place."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment import yaml_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Written = Callable[[str | bytes], Path]


def refused(path: Path) -> list[str]:
    with pytest.raises(ExperimentError) as caught:
        yaml_lines.read(path)
    return caught.value.problems


def test_every_entry_has_its_line(written: Written) -> None:
    read = yaml_lines.read(written("a:\n  - x\n  - {b: 1,\n     c: 2}\nd: 3\n"))
    assert read.document == {"a": ["x", {"b": 1, "c": 2}], "d": 3}
    lines = {("a",): 1, ("a", 0): 2, ("a", 1): 3, ("a", 1, "b"): 3, ("a", 1, "c"): 4, ("d",): 5}
    assert {location: read.lines[location] for location in lines} == lines


def test_an_empty_file_is_an_empty_document(written: Written) -> None:
    assert yaml_lines.read(written("")).document is None


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path / "absent.yaml")
    assert problem == f"{tmp_path / 'absent.yaml'}: cannot be read: No such file or directory."


def test_a_folder_is_told(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path)
    assert "Is a directory" in problem


@pytest.mark.parametrize("content", [b"name: caf\xe9\n", b"\xff\xfea\x00", b"\x80"])
def test_a_file_that_is_not_utf8_is_told(written: Written, content: bytes) -> None:
    (problem,) = refused(written(content))
    assert "asked.yaml" in problem
    assert "UTF-8" in problem


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3),
        ("a: 1\n\tb: 2\n", 2),
        ("a: 1\nb: 'open\n", 3),
        ("a: *nowhere\n", 1),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: 1\n? [x]\n: 2\n", 2),
    ],
    ids=["bracket", "tab", "quote", "alias", "two documents", "list as key"],
)
def test_broken_yaml_is_told_at_its_line(written: Written, content: str, line: int) -> None:
    (problem,) = refused(written(content))
    assert f"asked.yaml:{line}: not valid YAML: " in problem
    assert "\n" not in problem


def test_a_character_yaml_forbids_is_told_in_one_line_with_its_place(written: Written) -> None:
    (problem,) = refused(written("a: 1\nb: x\0y\n"))
    assert "asked.yaml:2: not valid YAML: " in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "value",
    ["2024-13-45", "0b_", "0x_", "!!int abc", "!!float abc", "!!bool abc", "!!timestamp abc", "!!binary é", "9" * 5000],
)
def test_a_scalar_yaml_cannot_build_is_told_at_its_line(written: Written, value: str) -> None:
    (problem,) = refused(written(f"a: 1\nb: {value}\n"))
    assert "asked.yaml:2: " in problem


@pytest.mark.parametrize(
    "content", ["a: &a [*a]\n", "a: &a {b: *a}\n", "a: " + "[" * 3000 + "]" * 3000 + "\n"], ids=["list", "map", "deep"]
)
def test_a_document_without_end_is_refused(written: Written, content: str) -> None:
    assert len(refused(written(content))) == 1


@pytest.mark.timeout(20)
def test_aliases_of_aliases_do_not_take_for_ever(written: Written) -> None:
    levels = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
    content = "\n".join(["a0: &a0 [x]", *levels, ""])
    with suppress(ExperimentError):
        yaml_lines.read(written(content))


@pytest.mark.parametrize("tag", ["object/apply:os.system", "object:os.PathLike", "name:os.system", "module:os"])
def test_tags_that_run_python_are_refused(written: Written, tag: str) -> None:
    (problem,) = refused(written(f"a: 1\nb: !!python/{tag} [echo]\n"))
    assert "asked.yaml:2: not valid YAML: could not determine a constructor" in problem


def test_every_key_given_twice_is_told_at_its_second_line(written: Written) -> None:
    problems = refused(written("a: 1\nb: {c: 1,\n    c: 2}\na: 3\nd: [{e: 1, e: 2}]\n"))
    assert [problem.rpartition("asked.yaml:")[2] for problem in problems] == [
        "3: The key 'c' is given twice.",
        "4: The key 'a' is given twice.",
        "5: The key 'e' is given twice.",
    ]


def test_an_anchor_used_twice_is_no_repetition(written: Written) -> None:
    assert yaml_lines.read(written("a: &a {x: 1}\nb: *a\nc: [*a, *a]\n")).document["c"] == [{"x": 1}, {"x": 1}]


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("010", "the number 8"),
        ("-017", "the number -15"),
        ("0x1F", "the number 31"),
        ("0b11", "the number 3"),
        ("1_000", "the number 1000"),
        ("1:30", "the number 90"),
        ("1:30.5", "the number 90.5"),
        ("1_0.5", "the number 10.5"),
        ("no", "false"),
        ("Off", "false"),
        ("YES", "true"),
        ("on", "true"),
    ],
)
def test_a_value_that_yaml_changes_is_refused_at_its_line(written: Written, value: str, meaning: str) -> None:
    (problem,) = refused(written(f"a: 1\nb: [x, {{c: {value}}}]\n"))
    assert f"asked.yaml:2: YAML reads '{value}' as {meaning}: write " in problem
    assert problem.endswith("or put it in quotes if it is a text.")


def test_a_date_is_refused_at_its_line(written: Written) -> None:
    (problem,) = refused(written("a: 1\nb: 2024-01-31\n"))
    assert problem.endswith("asked.yaml:2: YAML reads '2024-01-31' as a date: put it in quotes.")


@pytest.mark.parametrize("value", [".nan", ".NaN", ".inf", "-.Inf", "1e400"])
def test_a_number_that_is_not_finite_is_refused_at_its_line(written: Written, value: str) -> None:
    (problem,) = refused(written(f"a: 1\nb: {value}\n"))
    assert problem.endswith(f"asked.yaml:2: '{value}' is not a finite number.")


def test_all_values_that_yaml_changes_are_told_at_once(written: Written) -> None:
    assert len(refused(written("a: 010\nb: on\nc: {a: 1, a: 1_0}\n"))) == 4


@pytest.mark.parametrize("value", ["'010'", '"no"', "'1:30'", "'2024-01-31'"])
def test_what_is_quoted_stays_the_text_that_it_is(written: Written, value: str) -> None:
    assert yaml_lines.read(written(f"b: {value}\n")).document == {"b": value[1:-1]}


@pytest.mark.parametrize(
    ("value", "meant"),
    [("1e-3", 0.001), ("-2E+5", -2e5), (".5e1", 5.0), ("1.", 1.0), ("0", 0), ("-7", -7), ("True", True), ("0.50", 0.5)],
)
def test_what_looks_like_a_number_is_that_number(written: Written, value: str, meant: float) -> None:
    found = yaml_lines.read(written(f"b: {value}\n")).document["b"]
    assert (found, type(found)) == (meant, type(meant))


def test_keys_are_texts_whatever_they_look_like(written: Written) -> None:
    assert yaml_lines.read(written("on: 1\n010: 2\n")).document == {"on": 1, "010": 2}
