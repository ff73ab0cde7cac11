"""What an experiment states before there are results: what changes its hashes, and what does not."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

import program
import services
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.files import filed, revised
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.reading import load
from orchestrator.experiment.stated import When, claim_hash, dated, register, stated, when
from orchestrator.provenance.fingerprints import of_measure
from orchestrator.records.files.evaluations import Account, Evaluations
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace

FILE = """\
name: tiny
losses: [softmax, bce_unified, bce]
backbones: [resnet8, resnet20]
datasets: [digits]
seeds: 3
baseline: softmax
claims:
  - {id: P1, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: higher, margin: 0.01}
  - {id: P2, metric: uniform_accuracy, challenger: bce, baseline: softmax, direction: equal, margin: 0.02}
  - {id: near, metric: bias_gap, challenger: bce_unified, within: 0.5, where: {backbone: resnet20}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(FILE)
    return path


def statement(file: Path) -> dict[str, Any]:
    """What a cell records that begins now."""
    return Study.of_file(file, Stores.at(str(file.parent / "runs"))).stated


def _after(file: Path, old: str, new: str) -> dict[str, Any]:
    """The statement once the file was edited."""
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    return statement(file)


def _changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    claims = {
        name for name in {*before["claims"], *after["claims"]}
        if before["claims"].get(name) != after["claims"].get(name)
    }  # fmt: skip
    return claims | {name for name in ("experiment", "seeds") if before[name] != after[name]}


def test_a_statement_is_a_name_a_hash_per_claim_and_one_of_the_seeds(file: Path) -> None:
    found = statement(file)
    assert found["experiment"] == "tiny"
    assert list(found["claims"]) == ["P1", "P2", "near"]
    hashes = [*found["claims"].values(), found["seeds"]]
    assert len(set(hashes)) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes)
    assert json.loads(json.dumps(found)) == found


def test_a_hash_is_of_what_is_not_at_its_default_as_canonical_json(file: Path) -> None:
    common = b'"challenger":"bce_unified","direction":"higher","margin":0.01,"metric":"uniform_accuracy"'
    first = b'{"baseline":"softmax",%b}' % common
    second = b'{"baseline":"softmax","challenger":"bce","margin":0.02,"metric":"uniform_accuracy"}'
    third = b'{"challenger":"bce_unified","metric":"bias_gap","where":{"backbone":"resnet20"},"within":0.5}'
    expected = [hashlib.sha256(each).hexdigest() for each in (first, second, third)]
    assert list(statement(file)["claims"].values()) == expected
    assert statement(file)["seeds"] == hashlib.sha256(b"[0,1,2]").hexdigest()


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("margin: 0.01", "margin: 0.011", {"P1"}),
        ("direction: higher", "direction: lower", {"P1"}),
        ("challenger: bce,", "challenger: bce_unified,", {"P2"}),
        ("within: 0.5", "within: 0.6", {"near"}),
        ("where: {backbone: resnet20}", "where: {backbone: resnet8}", {"near"}),
        ("metric: bias_gap", "metric: bias_distance", {"near"}),
        ("id: P1", "id: P9", {"P1", "P9"}),
        ("seeds: 3", "seeds: 4", {"seeds"}),
        ("seeds: 3", "seeds: {min: 2, max: 3, until: decided}", {"seeds"}),
        ("name: tiny", "name: other", {"experiment"}),
        ("seeds: 3", "seeds: [0, 1, 2]", set[str]()),
        ("margin: 0.01", "margin: 1.0e-2", set[str]()),
        ("within: 0.5", "within: 5.0e-1", set[str]()),
        ("name: tiny", "question: Why?\nname: tiny", set[str]()),
        ("backbones: [resnet8, resnet20]", "backbones: [resnet20, resnet8, vgg11_small]", set[str]()),
        ("seeds: 3", "seeds: 3\nrecipe: {epochs: 3}", set[str]()),
    ],
)
def test_an_edit_changes_the_hash_of_what_was_edited_and_no_other(
    file: Path, old: str, new: str, changed: set[str]
) -> None:
    before = statement(file)
    assert _changed(before, _after(file, old, new)) == changed


def test_one_verdict_on_several_settings_states_which_they_are(file: Path) -> None:
    before = _after(file, "id: P1,", "id: P1, over: mean,")
    assert _changed(before, _after(file, "backbones: [resnet8, resnet20]", "backbones: [resnet20, resnet8]")) == set()
    assert _changed(before, _after(file, "resnet20, resnet8]", "resnet20, resnet8, vgg11_small]")) == {"P1"}


def test_what_is_expected_is_no_part_of_a_claim(file: Path) -> None:
    before = statement(file)
    assert _changed(before, _after(file, "id: P1,", "id: P1, expect: {effect: 0.1, source: a paper},")) == set()
    assert _changed(before, _after(file, "id: P1,", "id: P1, family: secondary,")) == {"P1"}


def test_the_order_of_claims_and_of_their_fields_changes_nothing(file: Path) -> None:
    before = statement(file)
    after = _after(
        file, "{id: P1, metric: uniform_accuracy, challenger", "{metric: uniform_accuracy, id: P1, challenger"
    )
    assert _changed(before, after) == set()
    head, *claims = FILE.partition("claims:\n")[0], *FILE.partition("claims:\n")[2].splitlines()
    file.write_text("\n".join([f"{head}claims:", *reversed(claims)]))
    assert statement(file)["claims"] == before["claims"]


def test_what_flags_leave_out_or_add_is_no_edit(file: Path) -> None:
    narrowed = revised(filed(file), loss=["softmax", "bce_unified"], backbone=["resnet8"], only=True, seeds="0,7")
    assert [claim.id for claim in narrowed.claims] == ["P1"]
    assert stated(narrowed) != statement(file)  # which is why a launch records that of the file
    assert statement(file) == {**stated(load(file)), "plan": "3"}


def test_a_field_that_claims_get_later_changes_no_hash() -> None:
    class Later(Claim):
        over: str = "each"
        gates: tuple[str, ...] = Field(default=())

    fields = {"id": "x", "metric": "uniform_accuracy", "challenger": "a", "baseline": "b", "direction": "higher"}
    now = Claim(**fields)
    later = Later(**fields)
    another = Later(**fields, over="mean")
    assert claim_hash(now) == claim_hash(later) != claim_hash(another)


def test_an_experiment_without_claims_states_its_seeds() -> None:
    document = {"name": "x", "losses": ["softmax"], "backbones": ["resnet8"], "datasets": ["digits"]}
    found = stated(Experiment.model_validate({**document, "baseline": "softmax"}))
    assert found["claims"] == {}
    assert found["seeds"] == hashlib.sha256(b"[0,1,2,3,4]").hexdigest()


def test_a_measure_of_ones_own_is_stated_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "priced.py"
    module.write_text("PRICE = 2\n\n\ndef cost(rows):\n    return PRICE * (rows['rival'] > 0).mean()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "priced", raising=False)
    file = tmp_path / "tiny.yaml"
    file.write_text(FILE.replace("metric: bias_gap", "metric: 'priced:cost'"))

    def now() -> dict[str, Any]:
        of_measure.cache_clear()
        return statement(file)

    first = now()
    module.write_text("# Prices in euros.\n" + module.read_text())
    assert _changed(first, now()) == set()
    module.write_text(module.read_text().replace("PRICE = 2", "PRICE = 3"))
    assert _changed(first, now()) == {"near"}
    assert when(load(file).claims[2], now(), [first]).word == "after"


def test_cells_trained_before_and_after_a_claim_was_edited_differ_in_that_hash_alone(file: Path) -> None:
    file.write_text(FILE + "recipe: {epochs: 1, batch_size: 64, learning_rate: 0.1}\n")

    def run(verb: str, seeds: str) -> str:
        narrow = ["--executor", "inline"] if verb == "launch" else []
        narrow += ["--only", "--loss", "softmax", "--loss", "bce_unified", "--backbone", "resnet8", "--seeds", seeds]
        done = program.run(verb, file, *narrow, folder=file.parent)
        assert done.returncode == 0, done.stdout + done.stderr
        return " ".join(done.stdout.split())

    first = statement(file)
    services.put_store(file.parent / "runs")
    run("launch", "1")
    second = _after(file, "margin: 0.02", "margin: 0.03")
    run("launch", "2")
    told = {
        account.recipe["seed"]: account.provenance["stated"]
        for _, account in Evaluations(file.parent / "runs" / "evaluations").accounts()
        if isinstance(account, Account)
    }
    assert told == {0: first, 1: second}
    assert _changed(*told.values()) == {"P2"}
    # Narrowed, and with another claim edited, the claim that is left was there before all cells.
    assert "Stated before these cells ran (4 of 4 cells record it)." in run("compare", "2")
    _after(file, "margin: 0.01", "margin: 0.001")
    assert "Stated after results (0 of 4 cells record it)." in run("compare", "2")
    place = Workspace.at(str(file.parent / "runs"))
    assert Study.of_file(file, Stores(place)).edited == [
        "claim 'P1' was stated or edited after results: 0 of 4 cells carry it",
        "claim 'P2' was stated or edited after results: 1 of 2 cells carry it",
    ]
    done = program.run("doctor", file, "--json", folder=file.parent)
    assert [found["state"] for found in json.loads(done.stdout) if found["subject"] == "claims"] == ["warning"] * 2


class TestWhen:
    """When a claim was stated, by what cells carry."""

    @pytest.fixture
    def claim(self, file: Path) -> Claim:
        return load(file).claims[0]

    def test_all_cells_carry_it(self, file: Path, claim: Claim) -> None:
        now = statement(file)
        found = when(claim, now, [now, now, now])
        assert (found, found.word) == (When(3, 0, 0), "before")

    def test_one_cell_that_began_without_it_is_enough(self, file: Path, claim: Claim) -> None:
        earlier = statement(file)
        now = _after(file, "margin: 0.01", "margin: 0.011")
        found = when(claim, now, [now, now, earlier])
        assert (found, found.word) == (When(2, 1, 0), "after")

    def test_a_claim_that_was_added_later_was_not_there(self, file: Path, claim: Claim) -> None:
        now = statement(file)
        earlier = {**now, "claims": {name: each for name, each in now["claims"].items() if name != "P1"}}
        assert when(claim, now, [earlier]).word == "after"

    def test_an_edit_of_another_claim_is_none_of_this(self, file: Path, claim: Claim) -> None:
        earlier = statement(file)
        now = _after(file, "margin: 0.02", "margin: 0.03")
        assert when(claim, now, [earlier, now]).word == "before"

    def test_no_record_and_another_experiments_cells_are_not_read_as_good_ones(self, file: Path, claim: Claim) -> None:
        now = statement(file)
        assert when(claim, now, [now, None]) == When(1, 0, 1)
        assert when(claim, now, [now, {**now, "experiment": "other"}]) == When(1, 0, 1)
        assert [when(claim, now, cells).word for cells in ([now, None], [None], [])] == ["unknown"] * 3

    def test_seeds_are_part_of_a_claim_only_where_verdicts_decide_their_number(self, file: Path, claim: Claim) -> None:
        earlier = statement(file)
        now = _after(file, "seeds: 3", "seeds: 4")
        assert when(claim, now, [earlier]).word == "before"
        assert when(claim, now, [earlier], sequential=True).word == "after"


def test_a_hash_to_register_changes_with_every_claim_and_with_nothing_else(file: Path) -> None:
    before = register(filed(file))
    assert re.fullmatch("[0-9a-f]{64}", before)
    file.write_text(FILE + "recipe: {epochs: 3}\n")
    assert register(filed(file)) == before
    file.write_text(FILE.replace("within: 0.5", "within: 0.6"))
    assert register(filed(file)) != before


@pytest.mark.parametrize(
    ("seeds", "more", "word"),
    [
        ("{min: 3, max: 9, until: decided}", "{min: 3, max: 12, until: decided}", "after"),
        ("3", "5", "before"),
    ],
)
def test_another_rule_for_the_seeds_is_another_statement_only_where_claims_decide_their_number(
    file: Path, seeds: str, more: str, word: str
) -> None:
    file.write_text(FILE.replace("seeds: 3", f"seeds: {seeds}"))
    then = statement(file)
    file.write_text(FILE.replace("seeds: 3", f"seeds: {more}"))
    cells = [(("digits", "resnet20", loss), then) for loss in ("softmax", "bce_unified", "bce")]
    assert {each.word for each in dated(load(file), statement(file), cells).values()} == {word}


def test_a_claim_is_dated_by_the_cells_that_it_speaks_of(file: Path) -> None:
    now = statement(file)
    cells = [(("digits", "resnet20", "bce"), None), (("digits", "resnet20", "bce_unified"), now)]
    found = dated(load(file), now, cells)
    assert (found["P1"], found["P2"], found["near"]) == (When(1, 0, 0), When(0, 0, 1), When(1, 0, 0))
