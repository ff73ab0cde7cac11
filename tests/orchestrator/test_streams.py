"""Output that fails, is closed or cannot show a character ends nothing; nor does a working folder that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BEGINNING = "import os, sys; from orchestrator.cli import main, streams; streams.make_lasting();"


def ran(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A program with such streams, which says on standard error that it went on."""
    command = [sys.executable, "-c", f"{BEGINNING}{code}; print('went on', file=sys.stderr)"]
    return subprocess.run(command, encoding="latin-1", timeout=120, check=False, **options)


def captured(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return ran(code, capture_output=True, env=os.environ | variables)


def test_what_the_terminal_cannot_show_is_replaced() -> None:
    done = captured("print('β → é'); print('β', file=sys.stderr)", PYTHONIOENCODING="latin-1")
    assert done.stdout == "? ? é\n"
    done = captured("print('β → é'); print('β', file=sys.stderr)", PYTHONIOENCODING="ascii")
    assert (done.stdout, done.stderr) == ("? ? ?\n", "\\u03b2\nwent on\n")


def test_a_full_disk_is_told_once_and_the_program_goes_on() -> None:
    with Path("/dev/full").open("w") as full:
        done = ran("[print(number, flush=True) for number in range(9)]", stdout=full, stderr=subprocess.PIPE)
    told = "Standard output cannot be written (No space left on device): the rest of it is lost.\n"
    assert (done.returncode, done.stderr) == (0, f"{told}went on\n")


def test_a_reader_that_has_left_is_no_trouble() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "[print(number, flush=True) for number in range(9)]; assert streams.is_gone()"
    done = ran(code, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "went on\n")


def test_a_closed_stream_leads_nowhere_and_no_file_takes_its_place() -> None:
    code = "print('nowhere', flush=True); assert os.open('/', os.O_RDONLY) > 2"
    command = [sys.executable, "-c", f"{BEGINNING}{code}; print('went on', file=sys.stderr)"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&- <&-', "sh", *command], stderr=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "went on\n")


@pytest.mark.parametrize(("device", "code"), [("/dev/full", 1), ("/dev/null", 0)])
def test_a_verb_whose_output_is_lost_does_not_say_that_all_is_well(device: str, code: int) -> None:
    program = "from orchestrator.cli import main; import sys; sys.argv = ['orchestrator', 'list', 'losses']; main()"
    with Path(device).open("w") as out:
        done = subprocess.run([sys.executable, "-c", program], stdout=out, stderr=subprocess.PIPE, check=False)
    assert done.returncode == code
    assert (b"cannot be written" in done.stderr) == bool(code)


def test_a_working_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"""
import os, sys
from orchestrator.cli import main
os.chdir({str(gone)!r})
os.rmdir({str(gone)!r})
sys.argv = ["orchestrator", "list", "losses"]
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    told = "The working folder cannot be used (No such file or directory): change to another.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)
