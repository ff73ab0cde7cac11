"""An experiment's results in a notebook: `from orchestrator import results; results("runs", "quickstart")`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ExperimentError
from orchestrator.stores import Stores
from orchestrator.study import Study

if TYPE_CHECKING:
    from orchestrator.experiment.model import Experiment


def results(workspace: str | Path, experiment: str | Path, data_dir: str | Path | None = None) -> Study:
    """What an experiment has found so far, from the workspace alone.

    Args:
        workspace: The folder, or `s3://BUCKET/PREFIX`, it was launched with.
        experiment: Its name; or its file, to ask what the file says now.
        data_dir: The folder that holds the data sets. Default: `data`, else where this machine's last launch had them.

    Raises:
        ExperimentError: No such experiment was launched, or there is no such file, or it is wrong.

    Examples:
        After `python -m orchestrator launch experiments/quickstart.yaml`:

        >>> from orchestrator import results
        >>> study = results("runs", "quickstart")
        >>> frame = study.to_pandas()
        >>> len(frame), sorted(frame["loss"].unique())
        (40, ['bce', 'bce_diverse', 'bce_unified', 'softmax'])
        >>> first = study.compare().findings[0]
        >>> first.claim.id, first.backbone, first.verdict
        ('uniform', 'resnet8', 'supported')
        >>> study.plot_differences().write_html("differences.html")
    """
    stores = Stores.at(str(workspace))
    folder = None if data_dir is None else Path(data_dir)
    given = Path(experiment)
    if given.suffix in {".yaml", ".yml"}:
        return Study.of_file(given, stores, folder)
    if launched := _launched(stores, given.name):
        return Study.of_filed(launched, stores, folder)
    try:
        return Study.of_file(Path("experiments") / f"{given}.yaml", stores, folder)
    except ExperimentError as error:
        here = f"No experiment '{given}' was launched in {stores.place.root}, and there is no file of it:"
        raise ExperimentError([here, *error.problems, *stores.unread()]) from None


def _launched(stores: Stores, name: str) -> Experiment | None:
    """The experiment of that name as it was last launched; None where none was."""
    from orchestrator.experiment.reading import recalled
    from orchestrator.records.files.asked import kept

    if found := kept(stores.place.experiment(name)):
        return found
    with stores.registry_if_any() as records:  # launches of earlier versions left it there only
        document = records and records.document(name)
    return recalled(document) if document else None
