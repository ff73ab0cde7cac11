"""From results to a model in use: which one to deploy, at which threshold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import extras
from orchestrator.cli.options import ALL, RUNS, SOME_FAILED, UNDECIDED, Axes, DataDir, File, Json, Root, with_axes
from orchestrator.errors import RequestError
from orchestrator.report.terminal.console import complain, console
from orchestrator.stores import Stores


@with_axes
def decide(
    file: File,
    *,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    as_json: Json = False,
    axes: Axes = ALL,
) -> None:
    """Say which model to deploy, at which threshold, at what cost, and what can be promised.

    With --only, a person chooses among models; promises are then weaker, because that person may know test results.
    """
    from orchestrator.report.document import decision as document
    from orchestrator.report.terminal.decision import text

    study = axes.study(file, Stores.at(workspace), data_dir)
    found = study.decision
    if as_json:
        print(json.dumps(document(found), indent=2, allow_nan=False))
    else:
        console().print(text(found))
    if not found.deployed.promise.is_kept:
        raise typer.Exit(UNDECIDED)


@with_axes
def deploy(
    file: File,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for the model.", show_default=False)],
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            metavar="IMAGES",
            help="Of a command that left a model: the test images, called by their samples.",
            show_default=False,
        ),
    ] = None,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    as_json: Json = False,
    axes: Axes = ALL,
) -> None:
    """Write the model that `decide` names as one ONNX file, with its threshold, a card and a certificate.

    The exit code is 3 if not all limits are promised; the files are written, and the certificate says so.
    """
    extras.need("deploy", *extras.TRAIN, *extras.DEPLOY, install=extras.INSTALL_DEPLOY)
    from orchestrator.deployment import certificate as names
    from orchestrator.deployment import serve_source
    from orchestrator.deployment.certify import certify, occupied, write
    from orchestrator.report.card import card
    from orchestrator.report.terminal.deployment import deployed
    from orchestrator.report.web.certificate import render

    if problem := occupied(out):
        raise RequestError(problem)
    study = axes.study(file, Stores.at(workspace), data_dir)
    stores = study.stores
    data_dir = study.data_dir.resolve()
    found, model = certify(
        study.plan.experiment, study.decision, stores.evaluations, stores.models, data_dir, inputs=inputs
    )
    texts = {
        names.CERTIFICATE: found.model_dump_json(indent=2),
        names.PAGE: render(found),
        names.CARD: card(found),
        names.EXAMPLE: serve_source(),
    }
    write(out, {names.MODEL: model, **{name: text.encode() for name, text in texts.items()}})
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        console().print(deployed(found, out), soft_wrap=True)
    if not found.is_kept:
        raise typer.Exit(UNDECIDED)


def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What deploy wrote.", show_default=False)],
    new: Annotated[
        Path,
        typer.Argument(
            metavar="NEW", help="A lot: CLASS/IMAGE, images without labels, or Parquet.", show_default=False
        ),
    ],
    *,
    as_json: Json = False,
) -> None:
    """Say whether a new lot keeps what the certificate promises: exit code 0 if so, 1 if not, 3 if undecided."""
    extras.need("check", "onnxruntime", "PIL", install=extras.INSTALL_CHECK)
    from orchestrator.deployment import checks_log
    from orchestrator.deployment.certificate import read
    from orchestrator.deployment.check import check as checked
    from orchestrator.report.terminal import deployment as terminal

    found = checked(folder, new, checks_log.certified(folder, str(new)))
    try:
        checks_log.note(folder, found)
    except OSError as error:
        complain(console(stderr=True), f"The check is not in the log of {folder}: {error.strerror}.")
    if as_json:
        print(json.dumps(checks_log.document(found), indent=2, allow_nan=False))
    else:
        console().print(terminal.checked(found, by_class=bool(read(folder).operation.good)), soft_wrap=True)
    code = {"kept": 0, "broken": SOME_FAILED, "undecided": UNDECIDED}[found.verdict]
    if code:
        raise typer.Exit(code)
