"""What may change a result though its recipe is the same, as the cells' files tell it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

SOME_GPU = "a GPU"
"""The device of cells that will run on a GPU of which only the machine that runs them knows the name."""

CODES = ("loss", "backbone", "dataset", "loop")
"""Whose code a cell records."""

SHARED = ("dataset", "backbone", "loop")
"""Of these, what two cells share that are compared with each other: they differ in their loss."""

_MACHINE = {"torch": "torch", "device": "device", "instruction_set": "instruction set", "onednn": "oneDNN"}
_NOUNS = {"dataset": "the dataset", "backbone": "the backbone", "loop": "the training loop"}
_COUNTED = {"threads": "thread", "devices": "device"}


@dataclass(frozen=True)
class Environment:
    """Machine and code under which cells with different losses may be paired."""

    torch: str | None
    device: str | None
    """The GPU; None where there was none, or the file is older than the entry."""
    instruction_set: str | None
    """Of torch's kernels on the processor."""
    onednn: str | None
    """The largest instruction set that oneDNN may use."""
    threads: int | None
    devices: int | None
    dataset: str
    """The fingerprint of its code, as of the two below. Files without one have the commit, which equals none."""
    backbone: str
    loop: str
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """By axis: the package or module that the code comes from."""

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Self:
        """The environment that a cell recorded, in its provenance or in its row of the results table."""
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
        """Eight hexadecimal digits, the same wherever the environment is the same."""
        parts = [getattr(self, name) for name in (*_MACHINE, *_COUNTED, *SHARED)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]

    @property
    def at_large(self) -> Self:
        """Itself without the code of dataset and backbone: the same in every setting that was trained together."""
        return replace(self, dataset="", backbone="", sources={})

    @property
    def is_of_a_machine(self) -> bool:
        """Whether it is known which machine it is, though perhaps not which of its GPUs: a driver may know none yet."""
        return self.instruction_set is not None

    def may_be(self, other: Origin) -> bool:
        """Whether this is the other as far as it is known: a driver does not know what a cluster's nodes are."""
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
    """The code of a loss. It is compared between the cells of that loss alone."""

    loss: str
    """As the experiment labels it."""
    fingerprint: str
    source: str = field(default="", compare=False)

    @classmethod
    def of(cls, loss: str, provenance: Mapping[str, Any]) -> Self:
        """What a cell of the loss recorded, in its provenance or in its row of the results table."""
        return cls(loss, fingerprint(provenance, "loss"), sources(provenance).get("loss", ""))

    def may_be(self, other: Origin) -> bool:
        """Whether this is the other."""
        return self == other


Count = Annotated[int, Field(ge=0, lt=2**31)]


class Statement(BaseModel):
    """What a cell records of `orchestrator.experiment.stated`."""

    experiment: str
    claims: dict[str, str]
    seeds: str


class Entries(BaseModel):
    """The entries of a cell's provenance that are read. All are optional, and others may stand beside them."""

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


Origin = Environment | LossCode
"""What a cell comes from, and what may be another for a later cell."""


def fingerprint(provenance: Mapping[str, Any], name: str) -> str:
    """Of the code of a loss, backbone, dataset or the loop; of a file that records none, what its commit was."""
    found = (provenance.get("fingerprints") or {}).get(name) or provenance.get(f"{name}_sha256")
    if found:
        return found
    commit = provenance.get("git_commit") or provenance.get("loss-orchestrator_version") or "unknown"
    return f"{commit}{'+' if provenance.get('git_dirty') else ''}"


def sources(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The packages and modules that a cell's code came from, as far as its provenance or row tells."""
    told = provenance.get("distributions") or {}
    found = {name: told.get(name) or provenance.get(f"{name}_source") for name in CODES}
    return {name: source for name, source in found.items() if source}


def change(old: Origin, new: Origin) -> str:
    """What is not the same: `torch 2.13.0 → 2.14.0, code of the backbone (my_net.py) changed`."""
    if isinstance(old, LossCode) or isinstance(new, LossCode):
        assert isinstance(old, LossCode)  # noqa: S101  for the type checker: nobody compares the two kinds
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
    """What tells each of several environments from the others, by the same keys: `instruction set AVX2`."""
    nouns = {**_MACHINE, **{name: f"{noun}s" for name, noun in _COUNTED.items()}}
    nouns |= {name: f"code of {name}" for name in SHARED}

    def told(environment: Environment) -> str:
        return ", ".join(f"{nouns[name]} {_short(getattr(environment, name))}" for name in differing)

    differing = [name for name in nouns if len({getattr(each, name) for each in environments.values()}) > 1]
    return {key: told(environment) if differing else str(environment) for key, environment in environments.items()}


def _short(value: str | int | None) -> str:
    """A value as people are shown it: of a hash, its first digits."""
    text = "unknown" if value is None else str(value)
    return text[:7] if re.fullmatch(r"[0-9a-f]{40,}\+?", text) else text


def gpu(nvml: Any) -> str:
    """The GPU of this machine by the name that torch has for it, where NVML tells of one kind."""
    count = nvml.nvmlDeviceGetCount() if nvml else 0
    names = {nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)}
    return names.pop() if len(names) == 1 else SOME_GPU
