"""A process that has imported what a launch needs, and runs the program in a copy of itself whenever it is asked.

Importing torch and MLflow takes seconds, longer than most verbs that tests run. A fork of this process is as separate
from the test as `python -m orchestrator` is: it has its own memory, folder, environment variables and exit code.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import socket
import sys
import threading
from pathlib import Path

AFTERWARDS = ("orchestrator.execution.ray", "orchestrator.records.sql.migrations")
"""Modules that change the environment when they are imported, or that only Alembic can import."""

VENDORS = [
    "mlflow.artifacts",
    "mlflow.genai",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracking",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.datasets",
    "sqlalchemy.dialects.sqlite",
    "torch._inductor",
]
"""Imported by functions, when they run."""


def import_everything() -> None:
    """What a launch in this process imports sooner or later."""
    import orchestrator
    import trainers

    for package in (orchestrator, trainers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # The server of a deployed model runs beside the model, in another folder.
            if not module.name.startswith(AFTERWARDS) and not module.name.endswith(("__main__", "deployment.serve")):
                importlib.import_module(module.name)
    for name in VENDORS:
        importlib.import_module(name)


def read_our_code() -> None:
    """Read the code that trains, as every plan does; which plug-ins there are depends on the folder of a run."""
    from orchestrator.provenance import fingerprints
    from trainers import catalogue

    fingerprints.of_loop()
    for known in (fingerprints.of_loop, fingerprints._top, catalogue.plugins):
        known.cache_clear()


def read_template() -> None:
    """Translate the template of the report to Python, which a process does once."""
    from orchestrator.report.web import page

    page._templates().get_template("page.html.j2")


def wait_for_work(asked: socket.socket) -> list[str]:
    """Start a copy of this process for each request; returns in the copies only, what the program's arguments are.

    A request is `arguments`, `folder` and `variables`, as JSON in one line, with two files for what is printed. The
    answer is the process id of the copy, and later its exit code, each in a line.
    """
    while True:
        content, files, _, _ = socket.recv_fds(asked, 2**20, 2)
        if not content:
            os._exit(0)
        child = os.fork()
        if child == 0:
            request = json.loads(content)
            asked.close()
            for number, file in enumerate(files, start=1):
                os.dup2(file, number)
                os.close(file)
            os.environ.clear()
            os.environ.update(request["variables"])
            os.chdir(request["folder"])
            return request["arguments"]
        for file in files:
            os.close(file)
        asked.sendall(f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def carry_out(arguments: list[str]) -> int:
    """Run the program as `python -m orchestrator` does; returns its exit code."""
    sys.argv = ["orchestrator", *arguments]
    sys.path[0] = str(Path.cwd())
    try:
        runpy.run_module("orchestrator", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - what the interpreter does with it
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    door = socket.socket(fileno=int(sys.argv[1]))
    import_everything()
    read_our_code()
    read_template()
    gc.freeze()
    code = carry_out(wait_for_work(door))
    # The interpreter's own end, without taking thousands of modules apart, which would need a second.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
