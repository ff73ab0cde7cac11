"""Train one cell by a command of the user: its arguments, its process, and the files that it writes."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from orchestrator.execution import guard
from orchestrator.execution.command_environment import environment
from orchestrator.execution.command_scores import Found, ReadScores, rows
from orchestrator.execution.executor import Log
from orchestrator.experiment.plan import SHOWN, Cell
from orchestrator.process import scratch
from orchestrator.provenance.scripts import of_command, program
from trainers.commands import AXES, NamedDataset, Trainer, filled

if TYPE_CHECKING:
    from trainers.checkpoint import Shelf
    from trainers.fit import Fit

GRACE = 10.0
"""Seconds that a command gets to end by itself when the user stops the launch."""

LOOK = 0.1
"""Seconds between two looks at a running command."""

TELL = 5.0
"""Seconds between two copies of its output to the workspace."""

PATIENCE = 10.0
"""Seconds that its guard gets to end all its processes."""

TRY_AGAIN = os.EX_TEMPFAIL
"""The exit code with which a command says that another attempt may succeed."""

MOST_PROGRESS = 2**24
"""Bytes of progress that are read."""

GIB = 2**30


class CommandError(Exception):
    """The command failed; another attempt would fail as well."""


class CommandLostError(Exception):
    """The command was ended by something else, or asks for another attempt."""


@dataclass(frozen=True)
class Surroundings:
    """What an attempt at a cell needs beside the cell."""

    log: Log
    observe: Callable[[int, dict[str, float]], None]
    read: ReadScores
    data_dir: Path
    stop: Callable[[], bool]
    """Asked from time to time: whether the user wants it to stop."""
    state: Path | None = None
    """The folder that outlasts attempts; None where the workspace is in an object store, or keeps no states."""
    shelf: Shelf | None = None
    """Where the state is kept if not in a folder."""
    grace: float = GRACE


def fit_by_command(cell: Cell, around: Surroundings) -> Fit:
    """Run the command of a cell's recipe, and read what it found.

    Raises:
        CommandError: It failed, or wrote too much.
        CommandLostError: Something else ended it.
        StoppedError: The user stopped the launch.
        ScoresError: Its scores cannot be used.
    """
    trainer = cast("Trainer", cell.recipe.trainer)
    code = of_command(trainer)
    with scratch.folder() as folder, _kept(cell, around, code.sha256, folder) as state:
        attempt = _Attempt(cell, trainer, around, folder, state)
        began = time.perf_counter()
        attempt.run()
        seconds = time.perf_counter() - began
        if of_command(trainer) != code:
            raise CommandError(f"{code.source} changed while it ran: launch again with --retry-failed")
        return _fit(cell, attempt, around, seconds)


@contextmanager
def _kept(cell: Cell, around: Surroundings, code: str, folder: Path) -> Generator[Path]:
    """The folder of what attempts at a cell with this code leave for the next one."""
    key = hashlib.sha256(f"{code} {cell.recipe.data_digest}".encode()).hexdigest()[:16]
    state = (folder if around.state is None else around.state) / f"command-{key}"
    (state / "checkpoint").mkdir(parents=True, exist_ok=True)
    if around.state is not None or around.shelf is None:
        yield state
        return
    if content := around.shelf.read():
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(state, filter="data")
    try:
        yield state
    except BaseException:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(state, ".")
        with suppress(OSError):  # what ended the attempt says more
            around.shelf.write(buffer.getvalue())
        raise


@dataclass
class _Attempt:
    """One run of a command."""

    cell: Cell
    trainer: Trainer
    around: Surroundings
    folder: Path
    state: Path
    history: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    earlier: int = 0
    """Epochs that an earlier attempt did."""
    _read: int = 0
    """Bytes of progress that were read."""
    _told: tuple[int, int] = (0, 0)
    """Time and size of the output that was last copied to the workspace."""

    @property
    def out(self) -> Path:
        """Where the scores go."""
        return self.folder / "scores"

    @property
    def model(self) -> Path:
        """Where a model may be left."""
        return self.folder / "model.onnx"

    @property
    def progress(self) -> Path:
        """Lines of epoch figures; kept with the checkpoint."""
        return self.state / "progress.jsonl"

    @property
    def output(self) -> Path:
        """What the command prints."""
        return self.folder / "output.txt"

    def run(self) -> None:
        """Run it to its end; raises as `fit_by_command`."""
        self._recall()
        (self.folder / "tmp").mkdir()
        self._write_cell()
        result, is_stopped = self._guarded()
        self._follow()
        self._copy_output()
        if is_stopped:
            from trainers.checkpoint import StoppedError

            raise StoppedError(len(self.history), 0)
        self._check(result)

    def _recall(self) -> None:
        """Read the epochs of an earlier attempt, if it left a checkpoint to go on from."""
        if not any((self.state / "checkpoint").iterdir()):
            self.progress.unlink(missing_ok=True)
        elif self.progress.exists():
            for epoch, figures in self._new_lines():
                self._take(epoch, figures)
            self.earlier = len(self.history)
            self.around.log.resumed(self.history)

    def _values(self) -> dict[str, Any]:
        recipe = self.cell.recipe
        dataset = cast("NamedDataset", recipe.dataset)
        return {
            **{axis: getattr(recipe, axis).key for axis in AXES},
            "data": [str(place) for place in dataset.places(self.around.data_dir)],
            "seed": recipe.seed,
            "epochs": recipe.training.epochs,
            "cell": str(self.folder / "cell.json"),
            "out": str(self.out),
            "progress": str(self.progress),
            "checkpoint": str(self.state / "checkpoint"),
            "model": str(self.model),
            "cpus": self.cell.resources.cpus,
            "gpus": math.ceil(self.cell.resources.gpus),
        }

    def _parameters(self) -> dict[str, dict[str, Any]]:
        dumped = self.cell.recipe.model_dump(mode="json")
        return {axis: {name: each for name, each in dumped[axis].items() if name != "name"} for axis in AXES}

    def _write_cell(self) -> None:
        told = {**self._values(), "parameters": self._parameters(), "scored_on": self.cell.recipe.scored_on}
        (self.folder / "cell.json").write_text(json.dumps(told, indent=1), encoding="utf-8")

    def _words(self) -> list[str]:
        values = self._values()
        values["data"] = next(iter(values["data"]), "")
        known = {name: str(value) for name, value in values.items()}
        for axis, parameters in self._parameters().items():
            known |= {f"{axis}.{name}": _written(value) for name, value in parameters.items()}
        _, *words = (filled(word, known) for word in self.trainer.command)
        if (found := program(self.trainer)) is None:
            raise CommandError(f"there is no program '{self.trainer.command[0]}' on this machine")
        return [str(found), *words]

    def _spec(self) -> guard.Spec:
        return {
            "command": self._words(),
            "folder": str(self.trainer.folder),
            "environment": environment(self.cell, self.trainer, self.folder / "tmp"),
            "output": str(self.output),
            "written": [str(self.folder), str(self.state)],
            "most": int(self.trainer.disk * GIB),
            "grace": self.around.grace,
        }

    def _guarded(self) -> tuple[dict[str, Any], bool]:
        """Run it under its guard; returns what the guard says, and whether the user stopped it."""
        words = [sys.executable, "-I", "-S", guard.__file__]
        spec = f"{json.dumps(self._spec())}\n".encode()
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdin is not None  # noqa: S101 - for the type checker
        assert process.stdout is not None  # noqa: S101 - as above
        is_stopped = False
        copied = time.monotonic()
        try:
            process.stdin.write(spec)
            process.stdin.flush()
            while not _has_ended(process):
                self._follow()
                if not is_stopped and self.around.stop():
                    is_stopped = True
                    with suppress(OSError):
                        process.stdin.write(b"stop\n")
                        process.stdin.flush()
                if time.monotonic() - copied > TELL:
                    self._copy_output()
                    copied = time.monotonic()
        finally:
            with suppress(OSError):
                process.stdin.close()  # which ends the command, if it has not ended
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            told = process.stdout.read() if process.poll() is not None else b""
            process.stdout.close()
        if not told:
            raise CommandLostError(f"what watches {self.trainer.command[0]} was ended (exit code {process.poll()})")
        return json.loads(told), is_stopped

    def _check(self, result: Mapping[str, Any]) -> None:
        """Raise what became of the command, if it did not end well."""
        if error := result.get("error"):
            raise CommandError(f"the command cannot start: {error}")
        if result["ended"] == "disk":
            raise CommandError(
                f"it wrote more than {self.trainer.disk:g} GiB and was ended: 'disk' in 'trainer' allows more"
            )
        code: int = result["code"]
        if code == 0:
            return
        last = f"; it said last: {said}" if (said := self._last_line()) else ""
        if code < 0:
            name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
            hint = ", as happens where memory runs out" if name == "SIGKILL" else ""
            raise CommandLostError(f"the command was ended by {name}{hint}{last}")
        if code == TRY_AGAIN:
            raise CommandLostError(f"the command asks for another attempt (exit code {code}){last}")
        more = f"all of it: status --log {self.cell.id[:SHOWN]}"
        raise CommandError(f"the command ended with exit code {code}{last} ({more})")

    def _last_line(self) -> str:
        with suppress(OSError):
            end = self.output.read_bytes()[-4096:].decode(errors="replace")
            lines = [line.strip() for line in end.splitlines() if line.strip()]
            return lines[-1][:300] if lines else ""
        return ""

    # What it tells while it runs

    def _follow(self) -> None:
        for epoch, figures in self._new_lines():
            self._take(epoch, figures)
            self.around.observe(epoch, figures)

    def _take(self, epoch: int, figures: dict[str, float]) -> None:
        """Note an epoch; where a command begins again, what it did before does not count."""
        if epoch <= len(self.history):
            del self.history[max(0, epoch - 1) :]
            self.around.log.resumed(self.history)
        self.history.append(figures)

    def _new_lines(self) -> Generator[tuple[int, dict[str, float]]]:
        """The lines of progress that are complete and not read yet; what is no JSON object is passed over."""
        with suppress(OSError):
            with self.progress.open("rb") as file:
                file.seek(self._read)
                content = file.read(max(0, MOST_PROGRESS - self._read))
            end = content.rfind(b"\n") + 1
            self._read += end
            for line in content[:end].splitlines():
                with suppress(ValueError, TypeError, RecursionError):
                    yield _figures(json.loads(line), len(self.history) + 1)

    def _copy_output(self) -> None:
        with suppress(OSError):
            found = self.output.stat()
            if (now := (found.st_mtime_ns, found.st_size)) != self._told:
                self.around.log.printed(self.output.read_bytes().decode(errors="replace"))
                self._told = now


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(LOOK)
    return process.poll() is not None


def _written(value: Any) -> str:
    """A parameter as a word: a text as it is, anything else as JSON has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _figures(line: Any, following: int) -> tuple[int, dict[str, float]]:
    """The epoch and the figures of a line of progress.

    Raises:
        TypeError: It is no JSON object.
    """
    if not isinstance(line, dict):
        raise TypeError(line)
    found = cast("dict[str, Any]", line)
    numbers = {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }
    epoch = int(numbers.pop("epoch", following))
    return (epoch if epoch > 0 else following), numbers


# What it leaves


def _fit(cell: Cell, attempt: _Attempt, around: Surroundings, seconds: float) -> Fit:
    """What the command found, as a trained model's evaluation."""
    import numpy as np

    from trainers.fit import Fit
    from trainers.metrics import Observed, measure

    found = _scores(cell, attempt, around)
    is_trial = cell.recipe.scored_on == "validation"
    asked = found.validation if is_trial else found.test
    if asked is None:
        split = "validation" if is_trial else "test"
        raise CommandError(f"it wrote no scores of the {split} split (column 'split')")
    around.log.note_data(found.fingerprint, {})
    if attempt.model.is_file():
        around.log.left_model(attempt.model)
    test = rows(asked)
    validation = None if is_trial or found.validation is None else rows(found.validation)
    return Fit(
        evaluation=test,
        validation=validation,
        temperature=None,
        classes=asked.scores.shape[1],
        class_names=found.classes,
        metrics=dict(measure(Observed(test, validation=validation))),
        shifts={},
        learned_bias=[],
        bias=[],
        sigmoid=False,
        history=attempt.history,
        parameters=None,
        train_seconds=seconds,
        images_per_second=None,
        model=None,
        example=np.empty((0, 0, 0, 0), np.float32),
        mean=np.empty(0, np.float32),
        deviation=np.empty(0, np.float32),
        resumed_from=(attempt.earlier + 1, 0) if attempt.earlier else None,
    )


def _scores(cell: Cell, attempt: _Attempt, around: Surroundings) -> Found:
    told = {"system": cell.loss, "seed": str(cell.seed)}
    try:
        return around.read(attempt.out, told)
    except Exception:
        # Hours of training may be in them: whoever mends the script may want to look.
        for file in attempt.folder.glob("scores*") if around.state is not None else ():
            with suppress(OSError):
                (attempt.state / f"refused-{file.name}").write_bytes(file.read_bytes())
        raise
