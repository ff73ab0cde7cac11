"""Environments: what may change a result of the same recipe, read from the cells' files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

SOME_GPU = "a GPU"
"""The device of cells that will run on a GPU whose name only their own machine knows."""

CODES = ("loss", "backbone", "dataset", "loop")
"""The parts whose code a cell records."""

SHARED = ("dataset", "backbone", "loop")
"""The parts that two compared cells share; they differ only in their loss."""

_MACHINE = {"torch": "torch", "device": "device", "instruction_set": "instruction set", "onednn": "oneDNN"}
_NOUNS = {"dataset": "the dataset", "backbone": "the backbone", "loop": "the training loop"}
_COUNTED = {"threads": "thread", "devices": "device"}


@dataclass(frozen=True)
class Environment:
    """The machine and code within which cells with different losses may be paired."""

    torch: str | None
    device: str | None
    """The GPU; None if there was none, or if the file is older than this entry."""
    instruction_set: str | None
    """The processor's instruction set that torch's kernels use."""
    onednn: str | None
    """The largest instruction set that oneDNN may use."""
    threads: int | None
    devices: int | None
    dataset: str
    """The fingerprint of the code, as in the next two fields. Files without one have the commit, which matches none."""
    backbone: str
    loop: str
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The package or module that the code comes from, by axis."""

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Self:
        """The environment that a cell recorded, from its provenance or its row of the results table."""
        device = provenance.get("device")
        return cls(
            torch=provenance.get("torch_version"),
            device=None if device == "cpu" else device,
            instruction_set=provenance.get("instruction_set"),
            onednn=provenance.get("onednn_isa"),
            threads=provenance.get("threads"),
            devices=provenance.get("devices"),
            **{name: fingerprint(provenance, name) for name in SHARED},
            sources=sources(provenance),
        )

    @property
    def id(self) -> str:
        """Eight hexadecimal digits, equal for equal environments."""
        parts = [getattr(self, name) for name in (*_MACHINE, *_COUNTED, *SHARED)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]

    @property
    def at_large(self) -> Self:
        """The environment without the code of dataset and backbone: equal in every setting of one launch."""
        return replace(self, dataset="", backbone="", sources={})

    @property
    def is_of_a_machine(self) -> bool:
        """Whether its machine is known, though perhaps not its GPU; a driver may not know the machine yet."""
        return self.instruction_set is not None

    def may_be(self, other: Origin) -> bool:
        """Whether this may be the same as the other: entries that a driver cannot know yet are ignored."""
        if not isinstance(other, Environment):
            return False
        known = replace(
            self,
            device=other.device if self.device == SOME_GPU else self.device,
            instruction_set=self.instruction_set or other.instruction_set,
            onednn=self.onednn or other.onednn,
        )
        return known == other

    def __str__(self) -> str:
        onednn = self.onednn and f"oneDNN {self.onednn}"
        number = self.devices if self.devices and self.devices > 1 else None
        devices = f"{number} × {self.device}" if self.device and number else self.device
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}" if self.threads else None
        parts = (f"torch {self.torch or 'unknown'}", devices, self.instruction_set, onednn, threads)
        return ", ".join([*filter(None, parts), f"code {self.loop[:7]}"])


@dataclass(frozen=True)
class LossCode:
    """The code of a loss. It is compared only between cells of that loss."""

    loss: str
    """The loss's label in the experiment."""
    fingerprint: str
    source: str = field(default="", compare=False)

    @classmethod
    def of(cls, loss: str, provenance: Mapping[str, Any]) -> Self:
        """The code that a cell of the loss recorded, from its provenance or its row of the results table."""
        return cls(loss, fingerprint(provenance, "loss"), sources(provenance).get("loss", ""))

    def may_be(self, other: Origin) -> bool:
        """Whether this is the same as the other."""
        return self == other


Count = Annotated[int, Field(ge=0, lt=2**31)]


class Statement(BaseModel):
    """The experiment's statement in a cell's record (see `orchestrator.experiment.stated`)."""

    experiment: str
    claims: dict[str, str]
    seeds: str


class Entries(BaseModel):
    """The entries of a cell's provenance that are read. All are optional, and there may be others."""

    node: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    program: str | None = Field(None, alias="loss-orchestrator_version")
    torch_version: str | None = None
    device: str | None = None
    instruction_set: str | None = None
    onednn_isa: str | None = None
    threads: Count | None = None
    devices: Count | None = None
    fingerprints: dict[str, str] | None = None
    distributions: dict[str, str | None] | None = None
    stated: Statement | None = None
    loss_sha256: str | None = None
    backbone_sha256: str | None = None
    dataset_sha256: str | None = None
    loop_sha256: str | None = None
    loss_source: str | None = None
    backbone_source: str | None = None
    dataset_source: str | None = None
    loop_source: str | None = None
    class_names: list[str] | None = None


Origin = Environment | LossCode
"""What a cell was trained with, which may differ for a later cell."""


def fingerprint(provenance: Mapping[str, Any], name: str) -> str:
    """The fingerprint of the code of a loss, backbone, dataset or the loop; in a file without one, its commit."""
    found = (provenance.get("fingerprints") or {}).get(name) or provenance.get(f"{name}_sha256")
    if found:
        return found
    commit = provenance.get("git_commit") or provenance.get("loss-orchestrator_version") or "unknown"
    return f"{commit}{'+' if provenance.get('git_dirty') else ''}"


def sources(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The packages and modules that a cell's code came from, as far as they were recorded."""
    told = provenance.get("distributions") or {}
    found = {name: told.get(name) or provenance.get(f"{name}_source") for name in CODES}
    return {name: source for name, source in found.items() if source}


def change(old: Origin, new: Origin) -> str:
    """What changed: `torch 2.13.0 → 2.14.0, code of the backbone (my_net.py) changed`."""
    if isinstance(old, LossCode) or isinstance(new, LossCode):
        assert isinstance(old, LossCode)  # noqa: S101  for the type checker: the two kinds are never compared
        assert isinstance(new, LossCode)  # noqa: S101  as above
        return _code_change(f"loss '{new.loss}'", old.source, new.source)
    told: list[str] = []
    for name, noun in _MACHINE.items():
        unknown = "CPU" if name == "device" else "unknown"
        then, now = (getattr(each, name) or unknown for each in (old, new))
        told += [f"{noun} {then} → {now}"] if then != now else []
    for name, noun in _COUNTED.items():
        then = getattr(old, name)
        now = getattr(new, name)
        told += [f"{noun}s {then or 'unknown'} → {now or 'unknown'}"] if then != now else []
    for name in SHARED:
        if getattr(old, name) != getattr(new, name):
            told.append(_code_change(_NOUNS[name], old.sources.get(name), new.sources.get(name)))
    return ", ".join(told)


def _code_change(noun: str, then: str | None, now: str | None) -> str:
    if then and now and then != now:
        return f"code of {noun} changed: {then} → {now}"
    return f"code of {noun} ({now}) changed" if now else f"code of {noun} changed"


def apart(environments: Mapping[str, Environment]) -> dict[str, str]:
    """What distinguishes each of several environments from the others, by their keys: `instruction set AVX2`."""
    nouns = {**_MACHINE, **{name: f"{noun}s" for name, noun in _COUNTED.items()}}
    nouns |= {name: f"code of {name}" for name in SHARED}

    def told(environment: Environment) -> str:
        return ", ".join(f"{nouns[name]} {_short(getattr(environment, name))}" for name in differing)

    differing = [name for name in nouns if len({getattr(each, name) for each in environments.values()}) > 1]
    return {key: told(environment) if differing else str(environment) for key, environment in environments.items()}


def _short(value: str | int | None) -> str:
    """A value as shown to people; only the first digits of a hash."""
    text = "unknown" if value is None else str(value)
    return text[:7] if re.fullmatch(r"[0-9a-f]{40,}\+?", text) else text


def gpu(nvml: Any) -> str:
    """The GPU of this machine by torch's name for it, if all its GPUs are of one kind."""
    count = nvml.nvmlDeviceGetCount() if nvml else 0
    names = {nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)}
    return names.pop() if len(names) == 1 else SOME_GPU
