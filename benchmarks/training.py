"""One cell side by side: images per second, total time and accuracy of our loop and of common ones.

    python -W ignore benchmarks/training.py [--quick] [--repeats 3] [--images 2560] [--threads 1 2]

Each measurement is a separate process, and the repeats of all ways are interleaved, so that other load on the machine
affects all of them. With one thread, a process has one core, shared with its loading workers. The speed is that of a
long cell after its first epoch, for which compiling pays; whole short cells show the cost of the start.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from tempfile import TemporaryDirectory

from benchmarks.peers import PEERS, USUAL, Case, network
from benchmarks.table import Row, against, arguments, progress, text

CORES = os.cpu_count() or 1
AUGMENTED = ("ours", "plain loop", "torchvision's reference")
LONG = Case(images=60_000, epochs=20)
"""A whole cell on Fashion-MNIST, whose time is extrapolated."""


@dataclass(frozen=True)
class Measured:
    """One training run."""

    importing: float
    """Seconds from the start of the process until everything is imported …"""
    reading: float
    """… until the images are loaded …"""
    first: float
    """… until the end of the first epoch, including building and compiling."""
    seconds: float
    """Total seconds."""
    speed: float
    """Images per second after the first epoch."""
    accuracy: float
    """Test accuracy."""

    def whole(self, case: Case) -> float:
        """Seconds that another case would take from start to end, without evaluation."""
        return self.importing + self.reading + self.first + case.images * (case.epochs - 1) / self.speed


def train(name: str, case: Case, born: float | None = None) -> Measured:
    """Train in this process, which was started at `born`."""
    born = time.time() if born is None else born
    for module in PEERS[name].modules:
        import_module(module)
    imported = time.time()
    data = case.data()
    ticks = [time.time()]
    accuracy = PEERS[name](case, data, lambda: ticks.append(time.time()))
    ended = time.time()
    assert len(ticks) == case.stop + 1
    speed = case.images * (case.stop - 1) / (ticks[-1] - ticks[1])
    return Measured(imported - born, ticks[0] - imported, ticks[1] - ticks[0], ended - born, speed, accuracy)


def measured(name: str, case: Case, threads: int, cache: str) -> Measured:
    """Train in a separate process."""
    task = json.dumps([name, asdict(case), threads, time.time()])
    # A fresh compiler cache, so that no run profits from another one or from an earlier benchmark. Its path has no
    # spaces, because the compiler's command line is split at them.
    kept = f"{cache}/{list(PEERS).index(name)}-{threads}"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_CACHE_DIR": kept}
    command = [sys.executable, "-W", "ignore", __file__, "--task", task]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def perform(task: str) -> None:
    """The child process of `measured`."""
    name, case, threads, born = json.loads(task)
    confine(threads)
    print(json.dumps(asdict(train(name, Case(**case), born))))


def confine(threads: int) -> None:
    """Use this many threads; one thread is also pinned to one core."""
    if threads == 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import torch

    torch.set_num_threads(threads)


def interleaved(
    names: Iterable[str], case: Case, threads: int, repeats: int, *, cache: str, tell: Callable[[str], None]
) -> dict[str, list[Measured]]:
    """The repeats of each way, interleaved; each repeat has another seed."""
    found: defaultdict[str, list[Measured]] = defaultdict(list)
    for seed in range(repeats):
        for name in names:
            one = measured(name, replace(case, seed=seed), threads, cache)
            found[name].append(one)
            tell(f"{name}, {threads} threads, {case.dataset}: {one.speed:.0f} images/s, {one.seconds:.1f} s in all")
    return dict(found)


def peak(threads: int) -> float:
    """FLOP/s of this machine for large float32 matrix products."""
    code = (
        "import time, torch; from benchmarks.training import confine; confine(%d)\n"
        "a, b = torch.randn(2, 2048, 2048); a @ b; best = 9e9\n"
        "for _ in range(5):\n  t = time.perf_counter(); a @ b; best = min(best, time.perf_counter() - t)\n"
        "print(2 * 2048**3 / best)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code % threads]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def flops(case: Case) -> float:
    """FLOPs of one image's forward and backward pass: multiplications and additions of convolutions and products."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    data = replace(case, images=case.batch, tested=1).data()
    model = network(case, data)
    with FlopCounterMode(display=False) as counter:
        model(torch.from_numpy(data.train.pixels).float()).sum().backward()
    return counter.get_total_flops() / case.batch


def speeds(case: Case, threads: int, repeats: int, *, cache: str, tell: Callable[[str], None]) -> list[Row]:
    """Images per second of all ways, and the share of the machine's peak that ours reaches."""
    # On one core, a loading worker would only compete with training.
    names = [name for name in PEERS if threads > 1 or "workers" not in name]
    found = interleaved(names, case, threads, repeats, cache=cache, tell=tell)
    part = f"training, {threads} thread{'s' * (threads > 1)}"
    notes = {name: "at its usual settings" if name in USUAL else "with speed flags" for name in names[1:]}
    speed = {name: [one.speed for one in each] for name, each in found.items()}
    rows = against(part, "images/s", speed, more_is_better=True, notes=notes)
    rows.append(best(part, rows, USUAL, "best peer at its usual settings"))
    rows.append(best(part, rows, names[1:], "best peer, speed flags included"))
    most = peak(threads)
    each = flops(case)
    shares = tuple(100 * value * each / most for value in speed["ours"])
    note = f"of {most / 1e9:.0f} GFLOP/s in a product of float32 matrices; {each / 1e6:.1f} MFLOP an image"
    rows.append(Row(part, "ours: share of the machine's peak", shares, "%", note=note))
    long = {
        f"{name}: {LONG.epochs} epochs of {LONG.images}": [one.whole(LONG) / 60 for one in each]
        for name, each in found.items()
    }
    extrapolated = dict.fromkeys(long, "start and compiling included; extrapolated")
    rows += against(part, "min", long, more_is_better=False, notes=extrapolated)
    first = dict.fromkeys([f"{name}: import" for name in names], "")
    imports = {f"{name}: import": [one.importing for one in each] for name, each in found.items()}
    rows += against(part, "s", imports, more_is_better=False, notes=first)
    cold = found["ours"][0].first
    warm = [one.first for one in found["ours"][1:]]
    rows.append(Row(part, "ours: first epoch, nothing compiled yet", (cold,), "s", note=f"of {case.images} images"))
    rows += [Row(part, "ours: first epoch, compiled before", tuple(warm), "s")] if warm else []
    return rows


def best(part: str, rows: Sequence[Row], among: Iterable[str], name: str) -> Row:
    """The row of the fastest peer, under another name."""
    chosen = max((row for row in rows if row.name in set(among)), key=lambda row: row.median)
    return Row(part, name, chosen.samples, chosen.unit, chosen.ratio, chosen.name)


def whole_cells(
    case: Case, names: Sequence[str], repeats: int, *, cache: str, tell: Callable[[str], None]
) -> list[Row]:
    """Short cells from the start of their process to their accuracy."""
    found = interleaved(names, case, CORES, repeats, cache=cache, tell=tell)
    part = f"a whole cell: {case.epochs} epochs of {case.images} images of {case.dataset}"
    seconds = {name: [one.seconds for one in each] for name, each in found.items()}
    rows = against(part, "s", seconds, more_is_better=False, notes={})
    right = {name: [100 * one.accuracy for one in each] for name, each in found.items()}
    middle = sum(right["ours"]) / repeats
    rows += [
        Row(part, f"{name}: accuracy", tuple(shares), "%", note=f"{sum(shares) / repeats - middle:+.1f} to ours")
        for name, shares in right.items()
    ]
    # Noise from seeds and test images: three standard errors of the difference of two accuracies.
    noise = 300 * math.sqrt(2 * 0.25 / min(case.tested, 797) / repeats)
    assert all(abs(sum(shares) / repeats - middle) < noise for shares in right.values()), right
    return rows


def rows(
    *, quick: bool = False, repeats: int | None = None, images: int = 2560, tell: Callable[[str], None]
) -> list[Row]:
    """Everything; with `quick`, two ways and few images."""
    times = repeats or (1 if quick else 3)
    found = list[Row]()
    usual = ["ours", "plain loop"] if quick else ["ours", *USUAL]
    with TemporaryDirectory() as cache:
        digits = Case(dataset="digits", images=896, tested=797, epochs=12, stop=12)
        found += whole_cells(digits, usual, max(2, times), cache=cache, tell=tell)
        if quick:
            few = Case(images=640)
            speed = interleaved(usual, few, CORES, times, cache=cache, tell=tell)
            part = f"training, {CORES} threads"
            each = {name: [one.speed for one in them] for name, them in speed.items()}
            return [*found, *against(part, "images/s", each, more_is_better=True, notes={})]
        clothes = Case(images=2 * images, epochs=2, stop=2)
        found += whole_cells(clothes, usual, 1, cache=cache, tell=tell)
        for threads in dict.fromkeys((1, CORES)):
            found += speeds(Case(images=images), threads, times, cache=cache, tell=tell)
        augmented = interleaved(AUGMENTED, Case(images=images, augmented=True), CORES, times, cache=cache, tell=tell)
        part = "training, crops and flips"
        each = {name: [one.speed for one in them] for name, them in augmented.items()}
        found += against(part, "images/s", each, more_is_better=True, notes={})
    return found + on_a_gpu(images, times, tell)


def on_a_gpu(images: int, repeats: int, tell: Callable[[str], None]) -> list[Row]:
    """The same on a GPU, if there is one."""
    import torch

    if not torch.cuda.is_available():
        return []
    with TemporaryDirectory() as cache:
        found = interleaved(
            PEERS, Case(images=8 * images, stop=3, device="cuda"), CORES, repeats, cache=cache, tell=tell
        )
    speed = {name: [one.speed for one in each] for name, each in found.items()}
    return against(f"training, {torch.cuda.get_device_name()}", "images/s", speed, more_is_better=True, notes={})


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--images", type=int, default=2560, help="of an epoch, a multiple of 128")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.task:
        perform(asked.task)
    else:
        print(text(rows(quick=asked.quick, repeats=asked.repeats, images=asked.images, tell=progress)))
