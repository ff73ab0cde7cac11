"""The recipe of docs/clusters/Containerfile, step by step in a bare Debian: `make container`."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import parts

ROOT = Path(__file__).resolve().parents[2]
RECIPE = (ROOT / "docs/clusters/Containerfile").read_text(encoding="utf-8")

pytestmark = [pytest.mark.container, pytest.mark.timeout(3600)]

ALONE = ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc"]
ENTER = r"""
set -eu
root=$1
shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --make-rslave "$root/dev"
mount -t tmpfs -o size=64m shm "$root/dev/shm"
for place in $PLACES; do
  mkdir -p "$root$place"
  mount --bind "$place" "$root$place"
done
exec "$@"
"""
"""A container's file system: 64 MB of shared memory, as engines give by default."""

EXPERIMENT = """\
name: contained
losses: [softmax]
backbones: [resnet8]
datasets: [digits]
seeds: 1
baseline: softmax
recipe: {epochs: 1}
"""


def steps() -> Iterator[tuple[str, str]]:
    """The instructions with what follows them."""
    text = re.sub(r"^#.*\n", "", RECIPE, flags=re.MULTILINE).replace("\\\n", "")
    for line in filter(None, text.splitlines()):
        instruction, _, rest = line.partition(" ")
        yield instruction, rest


def folders_of_pip() -> list[str]:
    """Folders of this machine from which pip takes packages, beside the index."""
    said = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    named = (word.removeprefix("file://") for word in re.findall(r"(?:file://)?/[^\s']+", said))
    return [name for name in dict.fromkeys(named) if Path(name).is_dir()]


class Image:
    """A root that becomes what the recipe makes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = "/"
        self.user = "root"

    def run(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
        home = "/root" if self.user == "root" else f"/home/{self.user}"
        own = {
            "HOME": home,
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PLACES": " ".join(folders_of_pip()),
        }
        inside = [
            "chroot",
            f"--userspec={self.user}:{self.user}",
            str(self.root),
            "sh",
            "-euc",
            f"cd {self.folder}; {command}",
        ]
        entered = [*ALONE, "sh", "-c", ENTER, "enter", str(self.root), *inside]
        return subprocess.run(entered, env=kept | own | variables, capture_output=True, text=True, check=False)

    def follow(self, instruction: str, rest: str) -> None:
        """Do what an instruction of the recipe says."""
        match instruction:
            case "FROM":
                assert rest == "python:3.11-slim-bookworm"  # which is this Debian with a Python in /usr/local
                self._done(self.run("python3 -m venv /usr/local"))
            case "RUN":
                self._done(self.run(rest))
            case "WORKDIR":
                (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
                self.folder = rest
            case "COPY":
                assert rest == ". ."
                there = self.root / self.folder.lstrip("/")
                copied = 'git ls-files -z | tar --null -T- -c | tar -C "$0" --no-same-owner -x'
                subprocess.run(["sh", "-euc", copied, there], cwd=ROOT, check=True)
            case "USER":
                self.user = rest
            case "CMD":
                done = self.run(shlex.join(json.loads(rest)))
                self._done(done)
                assert "Usage" in done.stdout
            case _:
                pytest.fail(f"{instruction} is not known here")

    @staticmethod
    def _done(done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """A root in which the recipe was followed."""
    if os.geteuid():
        pytest.skip("a bare root is made by root")
    parts.need("debootstrap")
    root = tmp_path_factory.mktemp("image") / "root"
    made = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", root]
    said = subprocess.run(made, capture_output=True, text=True, check=False)
    if said.returncode:
        pytest.skip(f"no mirror of Debian answers: {said.stdout[-300:]}")
    for file in ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"):
        if Path("/", file).exists():
            (root / file).unlink(missing_ok=True)
            shutil.copy(Path("/", file), root / file)
    for file in Path("/etc/xdg/pip").glob("*"):  # this machine's settings of pip
        (root / "etc/xdg/pip").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / "etc/xdg/pip")
    if Path("/etc/pip.conf").exists():
        shutil.copy("/etc/pip.conf", root / "etc/pip.conf")
    image = Image(root)
    for instruction, rest in steps():
        image.follow(instruction, rest)
    yield image
    shutil.rmtree(root.parent)


def test_what_runs_in_the_image_is_not_root_and_cannot_change_the_program(image: Image) -> None:
    assert image.run("id --user").stdout.strip() == "1000"
    assert image.run("touch orchestrator/new").returncode
    assert image.run("touch ~/new").returncode == 0


def test_a_launch_in_the_image_trains_on_ray_with_64_mb_of_shared_memory(image: Image) -> None:
    (image.root / "tmp/contained.yaml").write_text(EXPERIMENT, encoding="utf-8")
    launch = "python -m orchestrator launch /tmp/contained.yaml --workspace ~/runs --data-dir ~/data --json"
    done = image.run(f"df -m /dev/shm >&2; {launch}", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert (counts["done"], counts["failed"]) == (1, 0)


def test_ray_starts_in_a_login_shell_as_kuberay_starts_it(image: Image) -> None:
    done = image.run("bash -lc 'command -v ray wget'")
    assert done.returncode == 0, done.stdout + done.stderr
