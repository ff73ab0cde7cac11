"""`add`: into the experiment file and back, with what the workspace knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import ExperimentError, RequestError
from orchestrator.experiment.additions import labels
from orchestrator.launching.additions import note_additions
from orchestrator.launching.edits import Edit, Named, put, take_back
from orchestrator.launching.writing import write_results
from orchestrator.records.files.asked import keep
from orchestrator.records.files.results import read
from orchestrator.records.sql.leases import held
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation

FILE = """\
# Which loss?
name: tiny
losses: [softmax, bce_unified]
backbones: [resnet8]  # a small one
datasets: [digits]
seeds: 2
baseline: softmax
"""


def _all(named: dict[str, Any]) -> Named:
    return {"loss": named.get("loss", []), "backbone": named.get("backbone", []), "dataset": named.get("dataset", [])}


class Shop:
    """A workspace and an experiment file; cells are written down rather than trained."""

    def __init__(self, folder: Path, account: Callable[..., Account], evaluation: Evaluation) -> None:
        self.file = folder / "tiny.yaml"
        self.file.write_text(FILE)
        self.stores = Stores(Workspace.at(str(folder / "runs"))).prepare()
        self._account = account
        self._evaluation = evaluation

    def launch(self, **axes: Any) -> None:
        study = Study.of_file(self.file, self.stores, **axes).keeping()
        evaluations = self.stores.evaluations
        for cell in study.plan.pending(evaluations.ids()).cells:
            evaluations.publish(cell.recipe, self._account(cell, provenance={"stated": study.stated}), self._evaluation)
        with self.stores.registry() as records:
            records.plan(study.plan)
            note_additions(self.stores, records, "tiny", study.news)
        keep(study.filed, self.stores.place.experiment("tiny"))
        write_results(study.reread(), print)

    def put(self, seeds: str | None = None, **named: Any) -> Edit:
        return put(self.file, _all(named), seeds, self.stores, None)

    def take_back(self, seeds: str | None = None, **named: Any) -> Edit:
        return take_back(self.file, _all(named), seeds, self.stores, None)

    @property
    def study(self) -> Study:
        return Study.of_file(self.file, self.stores)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Cells by the study, by the registry, and rows of the table."""
        with self.stores.registry() as records:
            states = records.states("tiny")
        return len(self.study.plan), len(states), len(read(self.stores.place.results("tiny")))


@pytest.fixture
def shop(tmp_path: Path, an_account: Callable[..., Account], evaluation: Evaluation) -> Shop:
    return Shop(tmp_path, an_account, evaluation)


def test_before_the_first_launch_only_the_file_changes(shop: Shop) -> None:
    change = shop.put(backbone=["resnet20"], seeds="4")
    assert (change.before, change.after, change.added) == (4, 16, None)
    wider = FILE.replace("[resnet8]", "[resnet8, resnet20]").replace("seeds: 2", "seeds: 4")
    assert shop.file.read_text() == wider
    shop.take_back(backbone=["resnet20"])
    shop.take_back(seeds="2,3")
    assert shop.file.read_text() == FILE
    assert not list(Path(str(shop.stores.place.root)).glob("*"))[1:], "only the secret that `prepare` makes"


def test_after_results_it_is_written_down_when_the_file_was_widened(shop: Shop) -> None:
    shop.launch()
    change = shop.put(backbone=["resnet20"])
    assert change.added
    assert change.added.told()[0].startswith("Added by add on 20")
    assert shop.counts == (8, 8, 4)
    assert shop.study.added
    shop.file.write_text(FILE)
    assert len(shop.study.plan) == 8, "a file that forgets it changes nothing"


def test_what_is_there_already_changes_nothing(shop: Shop) -> None:
    shop.launch()
    assert shop.put(backbone=["resnet8"], seeds="2").entry.is_empty
    assert shop.file.read_text() == FILE
    assert shop.study.added is None


def test_an_addition_by_flag_can_move_into_the_file(shop: Shop) -> None:
    shop.launch(backbone=["resnet20"])
    change = shop.put(backbone=["resnet20"])
    assert (change.before, change.after) == (8, 8)
    assert labels(shop.study.filed, "backbone") == ["resnet8", "resnet20"]
    assert len(shop.study.additions.entries) == 1


def test_taken_back_goes_back_everywhere_and_is_a_look(shop: Shop) -> None:
    shop.launch()
    shop.launch(backbone=["resnet20"])
    assert shop.counts == (8, 8, 8)
    done = shop.stores.evaluations.ids()
    change = shop.take_back(backbone=["resnet20"])
    assert (change.before, change.after, change.entry.results) == (8, 4, 4)
    assert change.places == ("what flags added",)
    assert shop.counts == (4, 4, 4)
    assert shop.stores.evaluations.ids() == done
    assert shop.study.comparison.looks.taken_back == ("backbone resnet20",)
    assert shop.file.read_text() == FILE


def test_taken_back_before_results_is_no_look(shop: Shop) -> None:
    shop.launch()
    with shop.stores.registry() as records:
        note_additions(shop.stores, records, "tiny", shop.study.news.model_copy(update={"backbone": ("resnet20",)}))
    assert len(shop.study.plan) == 8
    assert shop.take_back(backbone=["resnet20"]).entry.results == 0
    assert shop.study.added is None
    assert shop.study.comparison.looks.taken_back == ()


def test_what_add_wrote_into_the_file_goes_out_of_it_and_of_every_record(shop: Shop) -> None:
    shop.launch()
    shop.put(backbone=["resnet20"], seeds="3")
    shop.launch()
    assert shop.counts == (12, 12, 12)
    assert shop.take_back(backbone=["resnet20"], seeds="3").places == (str(shop.file), "what flags added")
    assert shop.file.read_text() == FILE
    assert shop.counts == (4, 4, 4)
    assert shop.study.comparison.looks.plans == ("2", "3")
    import orchestrator

    assert len(orchestrator.results(str(shop.stores.place.root), "tiny").plan) == 4


def test_a_number_of_seeds_takes_back_those_of_it_that_were_added(shop: Shop) -> None:
    shop.launch()
    shop.launch(seeds="5")
    shop.take_back(seeds="4")
    assert shop.study.experiment.seeds == (0, 1, 4)
    shop.take_back(seeds="4")
    assert shop.study.experiment.seeds == (0, 1)


def test_what_no_longer_fits_the_file_can_be_taken_back(shop: Shop) -> None:
    shop.launch(loss=["focal"])
    shop.file.write_text(FILE.replace("bce_unified]", "bce_unified, {name: focal, as: mine}]"))
    with pytest.raises(ExperimentError, match="--remove"):
        shop.study  # noqa: B018
    assert shop.take_back(loss=["focal"]).entry.results is None
    assert labels(shop.study.experiment, "loss") == ["softmax", "bce_unified", "mine"]
    assert shop.study.comparison.looks.standing == "exploratory"


def test_what_is_not_asked_cannot_be_taken_back(shop: Shop) -> None:
    shop.launch()
    with pytest.raises(ExperimentError) as caught:
        shop.take_back(backbone=["resnet80"], seeds="7")
    assert caught.value.problems == [
        "--backbone: No backbone in this experiment is named 'resnet80'. Did you mean 'resnet8'? Known: resnet8.",
        "--seeds: seed 7 is not asked.",
    ]
    assert shop.counts == (4, 4, 4)


def test_nothing_is_taken_back_while_a_launch_is_under_way(shop: Shop) -> None:
    shop.launch(backbone=["resnet20"])
    refused = pytest.raises(RequestError, match="'tiny' is being launched by process")
    with shop.stores.registry() as records, held(records, shop.study.plan), refused:
        shop.take_back(backbone=["resnet20"])
    assert shop.counts == (8, 8, 8)
    shop.take_back(backbone=["resnet20"])


def test_a_wrong_name_leaves_file_and_workspace_as_they_were(shop: Shop) -> None:
    shop.launch()
    with pytest.raises(ExperimentError, match="Did you mean 'resnet18'"):
        shop.put(backbone=["resnet19", "resnet20"])
    assert shop.file.read_text() == FILE
    assert shop.counts == (4, 4, 4)


def test_a_file_that_is_a_link_stays_one_and_keeps_its_permissions(shop: Shop, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.yaml"
    target.write_text(FILE)
    target.chmod(0o640)
    shop.file.unlink()
    shop.file.symlink_to(target)
    shop.put(backbone=["resnet20"])
    assert shop.file.is_symlink()
    assert "resnet20" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_file_that_comes_with_the_program_is_not_changed_from_elsewhere(shop: Shop) -> None:
    with pytest.raises(ExperimentError, match=r"cannot be read: No such file"):
        put(
            Path("no/such/quickstart.yaml"),
            {"loss": [], "backbone": ["resnet18"], "dataset": []},
            None,
            shop.stores,
            None,
        )
