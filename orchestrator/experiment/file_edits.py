"""Changes of an experiment file's text that keep its comments and its layout.

The text is changed only where an entry begins or ends. Then it is read again. If it does not say exactly what it is
meant to say, the change is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.errors import ExperimentError
from orchestrator.experiment import yaml_lines
from orchestrator.experiment.additions import NAMED, Entry, labels
from orchestrator.experiment.choices import AXES
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plain_yaml import Loader, value_of
from orchestrator.experiment.reading import beside

SEEDS = "seeds"


def with_entry(path: Path, text: str, experiment: Experiment, entry: Entry) -> tuple[str, Experiment]:
    """The text of an experiment file with what an entry adds to it, or without what the entry takes back.

    Args:
        path: The file, for messages.
        text: Its text.
        experiment: The same as an experiment.
        entry: Values to add that the file has not, or to take out that it has.

    Returns:
        The changed text, and the experiment that it says.

    Raises:
        ExperimentError: The change cannot be made without touching more, or the changed file would be wrong.
    """
    meant = dict(yaml_lines.parse(path, text).document)
    for axis in NAMED:
        key = AXES[axis]
        values: tuple[str, ...] = getattr(entry, axis)
        for value in values:
            if entry.action == "add":
                text = _changed(path, text, key, added=value)
                meant[key] = [*meant[key], value]
            else:
                place = labels(experiment, axis).index(value)
                experiment = _without(experiment, key, place)
                text = _changed(path, text, key, removed=place)
                meant[key] = [each for number, each in enumerate(meant[key]) if number != place]
    if entry.seeds:
        changed = set(experiment.seeds) ^ set(entry.seeds)
        meant[SEEDS] = sorted(changed)
        text = _with_seeds(path, text, sorted(changed))
    return text, _read_again(path, text, meant)


def _without(experiment: Experiment, key: str, place: int) -> Experiment:
    kept = tuple(choice for number, choice in enumerate(getattr(experiment, key)) if number != place)
    return experiment.model_copy(update={key: kept})


def _read_again(path: Path, text: str, meant: dict[str, Any]) -> Experiment:
    try:
        source = yaml_lines.parse(path, text)
    except ExperimentError:
        source = None
    if source is None or _plain(source.document) != _plain(meant):
        raise _refused(path, "its layout does not allow to change this alone")
    try:
        return beside(Experiment.model_validate(source.document), path.parent)
    except ValidationError as error:
        problems = source.error(error, Experiment).problems
        raise ExperimentError(["The change would make the file wrong, so it is left as it was.", *problems]) from None


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its seeds as a list, however it writes them."""
    seeds = document.get(SEEDS)
    every = range(seeds) if isinstance(seeds, int) else seeds
    return {**document, SEEDS: sorted(every) if isinstance(every, list | range) else every}


def _refused(path: Path, why: str) -> ExperimentError:
    return ExperimentError([f"{path} is left as it was: {why}. Edit it by hand."])


@dataclass(frozen=True)
class _Text:
    """A text, and where its lines begin and end."""

    text: str

    def start_of_line(self, index: int) -> int:
        return self.text.rfind("\n", 0, index) + 1

    def end_of_line(self, index: int) -> int:
        """Where the line ends, before its line break."""
        end = self.text.find("\n", index)
        end = len(self.text) if end < 0 else end
        return end - 1 if end > index and self.text[end - 1] == "\r" else end

    def next_line(self, index: int) -> int:
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end + 1

    def indent(self, index: int) -> str | None:
        """What stands before an entry that is the first of its line; None if it is not."""
        before = self.text[self.start_of_line(index) : index]
        return None if before.strip() else before

    @property
    def line_break(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def replaced(self, start: int, end: int, fresh: str) -> str:
        return self.text[:start] + fresh + self.text[end:]

    def end_of(self, node: yaml.Node) -> int:
        """Where the last character of a node's own text is, plus one; what PyYAML says may include blank lines."""
        end = node.end_mark.index
        if isinstance(node, yaml.CollectionNode) and not node.flow_style:
            children = [child for entry in node.value for child in (entry if isinstance(entry, tuple) else (entry,))]
            end = max(map(self.end_of, children), default=node.start_mark.index + 1)
        while end > node.start_mark.index and self.text[end - 1] in " \r\n":
            end -= 1
        return end


def _entry(path: Path, text: str, key: str) -> tuple[yaml.MappingNode, yaml.Node | None]:
    """The document, and what it has under a key; None if the key is absent."""
    root = yaml.compose(text, Loader=Loader)
    if not isinstance(root, yaml.MappingNode):
        raise _refused(path, "it is no mapping")
    for name, value in root.value:
        if name.value == key:
            if value.start_mark.index < name.start_mark.index:
                raise _refused(path, f"'{key}' is an alias of another entry")
            return root, value
    return root, None


def _changed(path: Path, text: str, key: str, *, added: str | int | None = None, removed: int = -1) -> str:
    """The text with a value added to a list, or with one entry of it removed."""
    _, node = _entry(path, text, key)
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise _refused(path, f"it has no list '{key}' of its own")
    if added is None and len(node.value) == 1:
        raise _refused(path, f"nothing would be left in '{key}'")
    whole = _Text(text)
    if added is not None:
        return (_flow_with if node.flow_style else _block_with)(whole, node, _scalar(added, node.value[-1]))
    return (_flow_without if node.flow_style else _block_without)(whole, node, removed)


def _block_with(whole: _Text, node: yaml.SequenceNode, value: str) -> str:
    dash = node.start_mark.index
    gap = whole.text[dash + 1 : node.value[0].start_mark.index]
    gap = gap if gap and not gap.strip(" ") else " "
    end = whole.end_of_line(whole.end_of(node))
    return whole.replaced(end, end, f"{whole.line_break}{' ' * node.start_mark.column}-{gap}{value}")


def _block_without(whole: _Text, node: yaml.SequenceNode, place: int) -> str:
    item = node.value[place]
    dash = whole.text.rindex("-", 0, item.start_mark.index)
    return whole.replaced(whole.start_of_line(dash), whole.next_line(whole.end_of(item)), "")


def _flow_with(whole: _Text, node: yaml.SequenceNode, value: str) -> str:
    last = node.value[-1]
    end = whole.end_of(last)
    indent = whole.indent(last.start_mark.index)
    if indent is None:
        return whole.replaced(end, end, f", {value}")
    line = whole.end_of_line(end)
    if node.end_mark.index <= line:  # the bracket is on the line of the last entry
        return whole.replaced(end, end, f",{whole.line_break}{indent}{value}")
    comma = whole.text[end:line].lstrip().startswith(",")
    fresh = f"{whole.text[end:line]}{whole.line_break}{indent}{value}{',' if comma else ''}"
    return whole.replaced(end, line, fresh if comma else f",{fresh}")


def _flow_without(whole: _Text, node: yaml.SequenceNode, place: int) -> str:
    item = node.value[place]
    start = item.start_mark.index
    end = whole.end_of(item)
    others = [other for other in node.value if other is not item]
    line = whole.start_of_line(start), whole.next_line(end)
    is_alone = not any(line[0] <= other.start_mark.index < line[1] for other in others)
    if whole.indent(start) is not None and is_alone and node.end_mark.index > line[1]:
        return whole.replaced(*line, "")
    if place == 0:
        return whole.replaced(start, node.value[1].start_mark.index, "")
    before = whole.end_of(node.value[place - 1])
    between = whole.text[before:start]
    return whole.replaced(start, end, "") if "#" in between else whole.replaced(before, end, "")


def _with_seeds(path: Path, text: str, seeds: Sequence[int]) -> str:
    """The text with exactly these seeds, in the form that it has: a number, or a list."""
    root, node = _entry(path, text, SEEDS)
    short = str(len(seeds)) if list(seeds) == list(range(len(seeds))) else str(list(seeds))
    whole = _Text(text)
    if node is None:
        end = whole.end_of(root)
        if root.flow_style:
            return whole.replaced(end - 1, end - 1, f', "{SEEDS}": {short}')
        end = whole.end_of_line(end)
        return whole.replaced(end, end, f"{whole.line_break}{' ' * root.start_mark.column}{SEEDS}: {short}")
    if isinstance(node, yaml.ScalarNode):
        return whole.replaced(node.start_mark.index, node.end_mark.index, short)
    if not isinstance(node, yaml.SequenceNode):
        raise _refused(path, "the claims decide the number of seeds, up to 'max'")
    listed: list[int] = yaml_lines.parse(path, text).document[SEEDS]
    for seed in (each for each in seeds if each not in listed):
        text = _changed(path, text, SEEDS, added=seed)
    for place in reversed(range(len(listed))):
        if listed[place] not in seeds:
            text = _changed(path, text, SEEDS, removed=place)
    return text


def _scalar(value: str | int, like: yaml.Node) -> str:
    """A value as YAML, in quotes if its neighbour is, or if it would be read as something else without."""
    plain = str(value)
    if isinstance(value, str) and getattr(like, "style", None) == "'" and "'" not in value:
        return f"'{value}'"
    if isinstance(value, str) and getattr(like, "style", None) == '"':
        return json.dumps(value, ensure_ascii=False)
    try:
        is_plain = value_of(f"[{plain}]") == value_of(f"- {plain}") == [value]
    except yaml.YAMLError:
        is_plain = False
    return plain if is_plain else json.dumps(value, ensure_ascii=False)
