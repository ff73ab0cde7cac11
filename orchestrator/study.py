"""An experiment's results in a notebook: `from orchestrator import results; results("runs", "quickstart")`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator import wiring
from orchestrator.analysis import across_settings
from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.threshold_curves import Curve, gather
from orchestrator.errors import RequestError
from orchestrator.experiment.plan import Plan
from orchestrator.records.files import results as table
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.report.styles import look
from orchestrator.report.terminal import comparison as terminal
from orchestrator.report.web import figures
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Study:
    """What an experiment has found so far, read from the cells' files; in Jupyter it shows its comparison."""

    plan: Plan
    place: Workspace
    file: Path

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The results table, one dictionary per cell."""
        return self._results.rows()

    @cached_property
    def _results(self) -> table.Results:
        return table.aggregate(self.plan, Evaluations(self.place.evaluations))

    @property
    def _counted(self) -> table.Results:
        """Without the cells that may not be pooled with the others."""
        return self._results.without(self.compare().left_out)

    def to_pandas(self) -> pd.DataFrame:
        """The results table."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def compare(self) -> Comparison:
        """Every loss against the baseline, and what the claims come to."""
        return wiring.compared(self._results, self.plan, self.place, self.file)

    def plot_differences(self) -> Figure:
        """Paired differences to the baseline with their intervals, one row per loss."""
        return figures.forest(self.compare().lines)

    def plot_thresholds(self, dataset: str, backbone: str) -> Figure:
        """Uniform accuracy against the threshold, with the best threshold and the learnt bias, in one setting."""
        curves = [curve for curve in self._curves if (curve.dataset, curve.backbone) == (dataset, backbone)]
        if not curves:
            known = sorted({f"{curve.backbone} on {curve.dataset}" for curve in self._curves})
            raise RequestError(f"No result of {backbone} on {dataset}. There are: {', '.join(known) or 'none'}.")
        return figures.threshold_curves(curves, look(curve.loss for curve in curves))

    def plot_ranks(self, metric: str = "uniform_accuracy") -> Figure:
        """Average ranks over all settings, and which losses they cannot tell apart."""
        ranking = across_settings.ranking(self.plan.experiment, self._counted.all_rows(), metric)
        if ranking is None:
            raise RequestError("Ranks need at least two losses, and five data sets without missing cells.")
        return figures.critical_difference(ranking)

    @cached_property
    def _curves(self) -> list[Curve]:
        return list(gather(self.plan, self._counted.rows(), Evaluations(self.place.evaluations))[0])

    def _repr_html_(self) -> str:
        console = Console(record=True, width=120, file=StringIO())
        overall = across_settings.overall(self.plan.experiment, self._counted.all_rows())
        console.print(terminal.table(self.compare(), overall))
        return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def results(workspace: str | Path, experiment: str | Path, data_dir: str | Path | None = None) -> Study:
    """What an experiment has found so far.

    Args:
        workspace: The folder, or `s3://BUCKET/PREFIX`, it was launched with.
        experiment: Its file, or the name of a file in `experiments`.
        data_dir: The folder that holds the data sets. Default: `data`, else where this machine's last launch had them.

    Raises:
        ExperimentError: There is no such file, or it is wrong.

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
    given = Path(experiment)
    file = given if given.suffix in {".yaml", ".yml"} else Path("experiments") / f"{given}.yaml"
    place = Workspace.at(str(workspace))
    return Study(wiring.plan(wiring.experiment(file), place, None if data_dir is None else Path(data_dir)), place, file)
