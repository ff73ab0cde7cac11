"""A study: an experiment and the stores that hold what is known of it; shared by launch, command line and notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orchestrator import extras
from orchestrator.errors import ExperimentError, RequestError
from orchestrator.stores import Stores
from orchestrator.workspace import Workspace

# Imported where it is used: planning needs little of it, and scipy, pyarrow and rich take a while.
if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.adaptive.allocation import Upcoming
    from orchestrator.adaptive.trials import Trials
    from orchestrator.analysis.across_settings import Overall
    from orchestrator.analysis.added import Added
    from orchestrator.analysis.comparison import Comparison
    from orchestrator.analysis.threshold_curves import Curve
    from orchestrator.decision.decide import Decision
    from orchestrator.experiment.additions import Additions, Entry
    from orchestrator.experiment.model import Experiment
    from orchestrator.experiment.plan import Contents, Plan
    from orchestrator.records.files.contents import Ask
    from orchestrator.records.files.earlier import Data
    from orchestrator.records.files.results import Results
    from orchestrator.report.web.figure import Figure
    from orchestrator.report.web.view import View


def _none() -> Additions:
    from orchestrator.experiment.additions import NO_ADDITIONS

    return NO_ADDITIONS


@dataclass(frozen=True, repr=False)
class Study:
    """What an experiment asks and has found so far; in Jupyter it shows its comparison.

    What was read once is kept: to see later results, make another study.
    """

    experiment: Experiment
    """What this command asks: `kept`, as its options change it."""
    whole: Experiment
    """`kept` with the axis values that options add, and nothing left out."""
    kept: Experiment
    """What stays asked: the file's, and what earlier launches added by flags."""
    filed: Experiment
    """As the file has it."""
    stores: Stores
    given_data_dir: Path | None = None
    """The folder of the data sets, where the user names one."""
    known: Contents | None = None
    """What the data sets hold, where a launch has looked."""
    additions: Additions = field(default_factory=_none)
    """What was added to the file, and what was taken back."""
    settings: tuple[str, ...] = ()
    """Fields of the recipe that this command alone has otherwise, as `--set` names them."""

    @classmethod
    def of_file(cls, file: Path, stores: Stores, data_dir: Path | None = None, **axes: Any) -> Self:
        """The study of an experiment file, with what was added to it in this workspace.

        Args:
            file: The file, or the name of one that comes with the program.
            stores: The workspace and what it holds.
            data_dir: The folder of the data sets.
            axes: Options of the axes, as `experiment.files.revised` takes them.

        Raises:
            ExperimentError: There is no such file, or it or an option is wrong.
            WorkspaceError: The record of what was added is damaged.
        """
        from orchestrator.experiment.files import filed

        return cls.of_filed(filed(file), stores, data_dir, str(file), **axes)

    @classmethod
    def of_filed(
        cls, found: Experiment, stores: Stores, data_dir: Path | None = None, file: str = "FILE.yaml", **axes: Any
    ) -> Self:
        """The same of an experiment as its file has it; `file` is named in errors."""
        from orchestrator.experiment.files import revised

        additions = stores.additions(found.name).read()
        kept = _widened(found, additions, file)
        added = {axis: names for axis, names in axes.items() if axis in {"loss", "backbone", "dataset"}}
        changed = (revised(kept, **axes), revised(kept, **added))
        settings = tuple(axes.get("settings") or ())
        return cls(*changed, kept, found, stores, data_dir, additions=additions, settings=settings)

    @classmethod
    def of(cls, experiment: Experiment, stores: Stores, data_dir: Path | None = None) -> Self:
        """The study of an experiment that nothing changes."""
        return cls(experiment, experiment, experiment, experiment, stores, data_dir)

    def keeping(self) -> Self:
        """The study where what options add stays asked, as in a launch; nothing is written by that."""
        from orchestrator.experiment.additions import widened

        kept = widened(self.whole, {"seeds": self.experiment.seeds})
        return replace(self, kept=kept, whole=kept)

    def reread(self) -> Self:
        """The study with all that was added by now, by other launches, too."""
        additions = self.stores.additions(self.kept.name).read()
        if additions == self.additions:
            return self
        kept = additions.applied(self.filed)
        asked = kept if self.experiment == self.kept else self.experiment
        known = self.known if kept == self.kept else None
        return replace(self, experiment=asked, whole=kept, kept=kept, additions=additions, known=known)

    @cached_property
    def unchanged(self) -> Self:
        """The study of what stays asked, whatever options change in this command."""
        if self.experiment == self.kept:
            return self
        alone = replace(self, experiment=self.kept, whole=self.kept, settings=())
        alone = replace(alone, given_data_dir=self.data_dir, known=None)
        return replace(alone, known={**alone.contents, **self.contents})

    @property
    def news(self) -> Entry:
        """What stays asked beyond the file and what was added to it so far."""
        from orchestrator.experiment.additions import Entry

        return Entry.between("launch", self.additions.applied(self.filed), self.kept)

    @cached_property
    def added(self) -> Added | None:
        """What is to be told of additions; None if there were none."""
        from orchestrator.analysis.added import Added

        return Added.of(self.additions, self.kept)

    @property
    def changes(self) -> list[str]:
        """What options change in this command alone; sentences for people."""
        from orchestrator.experiment.additions import left_out

        found = {
            "Options leave out of this command alone: {what}. What was asked stays asked.": (
                self.kept,
                self.experiment,
            ),
            "Options add to this command alone: {what}. `launch` or `add` makes it stay.": (self.experiment, self.kept),
        }
        told = {text: left_out(*pair) for text, pair in found.items()}
        told["Options change the recipe for this command alone: {what}."] = ", ".join(self.settings)
        return [text.format(what=what) for text, what in told.items() if what]

    @property
    def place(self) -> Workspace:
        """Where everything lies."""
        return self.stores.place

    # What is asked

    @cached_property
    def data_dir(self) -> Path:
        """The folder of the data sets: the one given, else the usual one, else where this machine last had them."""
        from orchestrator.records.files.contents import folder

        return self.given_data_dir or folder(self.experiment, self.stores.history)

    @cached_property
    def contents(self) -> Contents:
        """What the data sets hold: as a launch has found, else as found here, else as last recorded."""
        return self.look() if self.known is None else self.known

    def look(self, ask: Ask | None = None) -> Contents:
        """What the data sets hold: as found here, else by `ask`, else as recorded, else as in the newest cell."""
        from orchestrator.records.files.contents import look
        from orchestrator.records.files.earlier import newest

        by_cells = partial(newest, self.stores.evaluations)
        return look(self.experiment, self.stores.history, self.data_dir, ask, by_cells)

    @cached_property
    def trials(self) -> Trials | None:
        """The tuning stage as far as the cells' files tell, and what a launch has heard; None where there is none."""
        if self.experiment.tuning is None:
            return None
        from orchestrator.adaptive.trials import Trials, recall

        return Trials(self.experiment, recall(self.experiment, self.stores.evaluations), self.contents)

    @cached_property
    def plan(self) -> Plan:
        """The cells; where the experiment is tuned, with the recipes that won in this workspace.

        Raises:
            RequestError: Not all recipes are found yet.
        """
        from orchestrator.adaptive.trials import final

        return final(self.experiment, self.trials, self.contents)

    @property
    def owed(self) -> Plan:
        """The plan; where the claims decide the number of seeds, without those that they did not ask for."""
        if self.plan.experiment.sequence is None:
            return self.plan
        asked = {(line.dataset, line.backbone, line.loss): line.planned for line in self.comparison.lines}
        cells = (cell for cell in self.plan.cells if cell.seed < asked[cell.dataset, cell.backbone, cell.loss])
        return replace(self.plan, cells=tuple(cells))

    @property
    def next_cells(self) -> Upcoming | None:
        """Where the next cells go, and why, if claims over several settings ask for them.

        None while recipes are sought.
        """
        trials = self.trials
        if (trials and not trials.over) or self.plan.experiment.allocation is None:
            return None
        from orchestrator.adaptive.allocation import Allocation

        found = self.results
        left = self.plan.pending(set(found.table["cell_id"].to_pylist()))
        rule = Allocation(left, found.rows(), 1, lambda _: {}, found.replica_rows(), whole=self.whole)
        return rule.upcoming()

    def plans(self) -> Iterator[Plan]:
        """The trials of the tuning stage, where there is one, and then the cells; raises as `plan` does."""
        if trials := self.trials:
            yield trials.plan
        yield self.plan

    @property
    def stated(self) -> dict[str, Any]:
        """What a cell records when it begins: what the file states, and the seeds that are planned with its flags."""
        from orchestrator.experiment.looks import planned
        from orchestrator.experiment.stated import stated

        return {**stated(self.filed), "plan": planned(self.kept, self.experiment)}

    @property
    def counted_among(self) -> Experiment:
        """The experiment whose questions are judged together: all asked ones, and those taken back after results."""
        return self.additions.with_dropped(self.whole)

    def data(self, plan: Plan) -> Data:
        """What there is to know of the data of a plan's cells, and of cells of other states of them."""
        from orchestrator.records.files.earlier import Data

        return Data.of(plan, self.stores.evaluations, self.stores.history)

    @property
    def edited(self) -> list[str]:
        """Which claims some finished cells began without, or with others of that name; sentences for people."""
        from orchestrator.reproduction.finished_cells import edited

        return edited(self.plan, self.stated, self.stores.evaluations)

    # What was found

    @cached_property
    def results(self) -> Results:
        """The results of the plan, from the cells' files."""
        return self.results_of(self.plan)

    def results_of(self, plan: Plan) -> Results:
        """The results of a plan: that of the study, or of its tuning stage."""
        from orchestrator.records.files import splits
        from orchestrator.records.files.results import aggregate
        from orchestrator.reproduction.pooling import licensed

        found = aggregate(plan, self.stores.evaluations, known=partial(splits.of_data, self.data_dir))
        return licensed(found, plan, self.stores.ledger(plan.experiment.name))

    @cached_property
    def comparison(self) -> Comparison:
        """Every loss against the baseline, what the claims come to, and when they were stated."""
        from orchestrator.analysis.comparison import compare
        from orchestrator.experiment.additions import left_out
        from orchestrator.experiment.stated import dated
        from orchestrator.records.files.results import aggregate
        from orchestrator.reproduction.code_changes import codes
        from orchestrator.reproduction.finished_cells import looked
        from orchestrator.reproduction.pooling import pooled
        from orchestrator.reproduction.replicas_due import owed

        asked = self.plan.experiment
        found = self.results
        rows = found.rows()
        replicas = found.replica_rows()
        trials = self.trials
        return compare(
            asked,
            rows,
            replicas=replicas,
            owed=len(owed(self.plan, found)),
            stated=dated(asked, self.stated, found.statements()),
            pool=pooled(asked, rows, self.stores.ledger(asked.name), codes(asked), replicas),
            tuned=trials.tuned if trials else (),
            trial_rows=aggregate(trials.plan, self.stores.evaluations).rows() if trials else [],
            data=self.data(self.plan),
            looked=looked(self.kept, self.plan, found, self.stores.evaluations, self.additions),
            whole=self.counted_among,
            added=self.added,
            left_out=left_out(self.kept, self.experiment),
        )

    @property
    def counted(self) -> Results:
        """The results without the cells that may not be pooled with the others."""
        return self.results.without(self.comparison.left_out)

    @property
    def overall(self) -> Overall:
        """What holds over all settings."""
        from orchestrator.analysis import across_settings

        return across_settings.overall(self.plan.experiment, self.counted.all_rows())

    @property
    def decision(self) -> Decision:
        """Which model to deploy, at which threshold, and what can be promised.

        Raises:
            RequestError: The experiment describes no operation, or nothing can be decided.
        """
        from orchestrator.decision.decide import decide
        from orchestrator.experiment.revision import with_recipe
        from orchestrator.outcome import has_figures

        everything = replace(self, experiment=with_recipe(self.whole, self.settings))
        finished = {row["cell_id"] for row in everything.results.rows() if has_figures(row["state"])}
        by_hand = None if self.experiment == everything.experiment else self.plan
        return decide(everything.plan, self.stores.evaluations, finished, by_hand=by_hand)

    @property
    def page(self) -> str:
        """The report: one HTML page."""
        from orchestrator.report.web import page

        return page.shown(self.view, self.decided)

    @cached_property
    def view(self) -> View:
        """What the report shows."""
        from orchestrator.report.web import page

        found = self.results
        files = self.stores.evaluations
        return page.viewed(self.comparison, found.rows(), files, self.plan, found.replica_rows())

    @property
    def decided(self) -> Decision | None:
        """What to deploy, where the experiment describes an operation; None if there is nothing to choose from yet."""
        if self.experiment.operation:
            with suppress(RequestError):  # `decide` says why
                return self.decision
        return None

    # In a notebook

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The results table, one dictionary per cell."""
        return self.results.rows()

    def to_pandas(self) -> pd.DataFrame:
        """The results table.

        Raises:
            NotInstalledError: pandas is not installed.
        """
        extras.need("to_pandas", "pandas", install="pip install pandas. `rows` has the same without it.")
        import pandas as pd

        return pd.DataFrame(self.rows)

    def compare(self) -> Comparison:
        """Every loss against the baseline, and what the claims come to."""
        return self.comparison

    def plot_differences(self) -> Figure:
        """Paired differences to the baseline with their intervals, one row per loss."""
        from orchestrator.report.web import figures

        return figures.forest(self.comparison.lines)

    def plot_thresholds(self, dataset: str, backbone: str) -> Figure:
        """Uniform accuracy against the threshold, with the best threshold and the learnt bias, in one setting."""
        from orchestrator.report.styles import look
        from orchestrator.report.web import figures

        curves = [curve for curve in self.curves if (curve.dataset, curve.backbone) == (dataset, backbone)]
        if not curves:
            known = sorted({f"{curve.backbone} on {curve.dataset}" for curve in self.curves})
            raise RequestError(f"No result of {backbone} on {dataset}. There are: {', '.join(known) or 'none'}.")
        return figures.threshold_curves(curves, look(curve.loss for curve in curves))

    def plot_ranks(self, metric: str = "uniform_accuracy") -> Figure:
        """Average ranks over all settings, and which losses they cannot tell apart."""
        from orchestrator.analysis import across_settings
        from orchestrator.report.web import ranks

        ranking = across_settings.ranking(self.plan.experiment, self.counted.all_rows(), metric)
        if ranking is None:
            raise RequestError("Ranks need at least two losses, and five data sets without missing cells.")
        return ranks.critical_difference(ranking)

    @cached_property
    def curves(self) -> list[Curve]:
        """What a threshold does, for each loss in each setting, and for each class."""
        from orchestrator.analysis.threshold_curves import gather

        return list(gather(self.plan, self.counted.rows(), self.stores.evaluations)[0])

    def __repr__(self) -> str:
        return f"<Study of '{self.experiment.name}' in {self.place.root}: {len(self.rows)} of {len(self.plan)} cells>"

    def _repr_html_(self) -> str:
        from orchestrator.report.terminal import comparison as terminal
        from orchestrator.report.terminal.console import as_html

        return as_html(terminal.table(self.comparison, self.overall, self.curves))


def _widened(found: Experiment, additions: Additions, file: str) -> Experiment:
    """The experiment of a file with what was added to it."""
    try:
        return additions.applied(found)
    except ExperimentError as error:
        held = "; ".join(entry.said() for entry in additions.pieces())
        problems = [f"{file} does not go with what was added to it ({held}): {each}" for each in error.problems]
        raise ExperimentError(
            [*problems, f"Take it back: add {file} --remove, with its flag; or mend the file."]
        ) from None
