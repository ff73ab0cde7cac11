"""The report as a file: what it says, and that it says only what is in it."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.graph_objects import Figure

import orchestrator
from orchestrator.analysis import across_settings, sample_noise
from orchestrator.analysis.comparison import compare
from orchestrator.analysis.threshold_curves import gather
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.stated import When
from orchestrator.records.files.storage import Storage
from orchestrator.report import rows as texts
from orchestrator.report.document import document
from orchestrator.report.web import page
from orchestrator.report.web.figure import packed, plotly
from orchestrator.report.web.translations import measures, said, say, words
from orchestrator.report.web.verdicts import doubts
from orchestrator.report.wording import across
from orchestrator.report.wording.comparison import PROTOCOLS
from orchestrator.report.wording.noise import advice
from trainers.metrics import MEASURES

SECTIONS = [
    "verdicts", "explorer", "by-class", "results", "contest", "coverage", "grid", "forest", "samples", "ranks",
    "profile", "curves", "bias", "scores", "features", "training", "cost", "provenance", "published", "missing",
]  # fmt: skip

HOSTILE = "</script><script>alert(1)</script>"
ATTRIBUTE = '"><img src=x onerror=alert(2)>'

Finished = Callable[..., Any]


class Page(HTMLParser):
    """The tags of a page, and the texts of some."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._within = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def ids(self, tag: str) -> list[str | None]:
        return [attributes.get("id") for name, attributes in self.tags if name == tag]


def read(done: Any) -> Page:
    return Page(page.render(*done))


def test_sections_come_in_their_order(done: Finished, small: dict[str, Any]) -> None:
    assert read(done(small)).ids("section") == SECTIONS


def test_verdicts_come_first_in_words_with_their_evidence(done: Finished, small: dict[str, Any]) -> None:
    finished = done(small)
    text = read(finished).text
    top = text[: text.index("Finished cells of those planned")]
    assert "Is one better?" in top
    for finding in finished.comparison.findings:
        assert finding.verdict in top
        assert all(doubt.en in top for doubt in doubts(finding))
        assert f"{100 * finding.difference.estimate:+.2f} [" in top
    assert "points, n = 3" in top


def view_of(finished: Any) -> across_settings.Overall:
    return across_settings.overall(finished.plan.experiment, finished.rows)


def test_each_class_has_its_accuracy_and_its_best_threshold_by_loss(done: Finished, small: dict[str, Any]) -> None:
    finished = done(small)
    curves, _ = gather(finished.plan, finished.rows, finished.evaluations)
    text = read(finished).text.partition("Test images")[2].partition("Table of results")[0]
    for curve in curves:
        own = curve.best_by_class
        for name, share in curve.classes_at(curve.start).items():
            there = curve.classes_at(own[name])[name]
            size = curve.class_samples[curve.classes.index(name)]
            numbers = f"{100 * share:.1f} {curve.start:.4g} * {100 * there:.1f} {own[name]:.4g}"
            assert f"{curve.loss} {name} {numbers} {size}" in text
    told = document(finished.comparison, view_of(finished), curves)
    (first, *_) = told["classes"]
    assert first["deployed_threshold"] is first["accuracy_at_deployed_threshold"] is None
    for row in finished.rows:
        row["validation_threshold"] = 1.75
    curves, _ = gather(finished.plan, finished.rows, finished.evaluations)
    (first, *_) = document(finished.comparison, view_of(finished), curves)["classes"]
    assert first["deployed_threshold"] == 1.75
    assert first["accuracy_at_deployed_threshold"] == curves[0].classes_at(1.75)[first["class"]]
    assert " 1.75 " in read(finished).text


def test_a_claim_stated_after_results_is_said_to_be(done: Finished, small: dict[str, Any]) -> None:
    finished = done(small)
    claims = [claim.id for claim in finished.plan.experiment.claims]

    def told(when: When) -> str:
        dated = replace(finished.comparison, stated=dict.fromkeys(claims, when))
        return read(finished._replace(comparison=dated)).text

    assert "Some claims were stated or edited after results." in told(When(3, 1, 0))
    assert "Stated after results (3 of 4 cells record it)." in told(When(3, 1, 0))
    assert "Stated before these cells ran (4 of 4 cells record it)." in told(When(4, 0, 0))
    assert "is no proof" in told(When(4, 0, 0))
    assert "is no proof" not in told(When(3, 1, 0))
    assert "Not known when it was stated (3 of 4 cells record it)." in told(When(3, 0, 1))
    assert "stated or edited after results" not in told(When(4, 0, 0)) + read(finished).text
    assert "Not known when it was stated." in read(finished).text


def test_a_claim_about_one_loss_alone_is_a_sentence(done: Finished, small: dict[str, Any]) -> None:
    claim = {"id": "near", "metric": "bias_gap", "challenger": "bce_unified", "within": 0.5}
    text = read(done(small | {"claims": [claim]})).text
    assert "bias gap of bce_unified is within 0.5 of 0" in text


def test_a_verdict_that_hides_diverged_cells_says_so(done: Finished, small: dict[str, Any]) -> None:
    lost = done(small, diverged=lambda cell: (cell.loss, cell.seed) == ("softmax", 2))
    assert "1 of 3 pairs lost; at their worst +" in read(lost).text


SPACE = {"learning_rate": "loguniform(1e-3, 1)", "weight_decay": "uniform(0, 0.1)", "bias_init": "uniform(-5, 5)"}
TUNING = {"space": SPACE, "trials": 20}


def score(loss: str, values: dict[str, Any]) -> float | None:
    """BCE is better at low learning rates, and diverges at the highest."""
    if loss == "softmax":
        return 0.8
    return None if values["learning_rate"] > 0.5 else 0.9 - values["learning_rate"]


def tuned(done: Finished, small: dict[str, Any], tuned_by: Finished, **tuning: Any) -> Any:
    finished = done(small | {"tuning": TUNING | tuning})
    stage = tuned_by(finished.plan.experiment, score)
    compared = compare(finished.plan.experiment, finished.rows, tuned=stage)
    return finished._replace(comparison=compared)


def test_what_each_loss_was_given_is_told_with_how_the_lead_depends_on_trials_and_space(
    done: Finished, small: dict[str, Any], tuned_by: Finished
) -> None:
    finished = tuned(done, small, tuned_by)
    found = read(finished)
    audit = finished.comparison.audit
    assert audit.told()[0] == "Conditions: equal – 20 trials per loss in the same space, 3 seeds, 100 epochs."
    assert all(sentence.removeprefix("Conditions: ") in found.text for sentence in audit.told())
    assert "learning_rate loguniform" not in found.text.replace("∈ loguniform", "")
    for lead in audit.leads:
        assert lead.sentence[0].format(**lead.sentence[1]) in found.text
    for each in audit.sensitivity:
        assert each.sentence[0].format(**each.sentence[1]) in found.text
    drawn = json.loads(found.scripts[0])["figures"]
    assert {name: len(drawn[name]) for name in ("budget", "sensitivity")} == {"budget": 2, "sensitivity": 2}
    for figure in (each for several in drawn.values() for each in several):
        Figure(figure)  # refuses what Plotly does not know


def test_a_searcher_that_learns_has_curves_and_a_reason_why_there_is_no_map(
    done: Finished, small: dict[str, Any], tuned_by: Finished
) -> None:
    found = read(tuned(done, small, tuned_by, searcher="optuna"))
    assert "optuna chooses trials by each loss's own scores" in found.text
    drawn = json.loads(found.scripts[0])["figures"]
    assert ("budget" in drawn, "sensitivity" in drawn) == (True, False)


def test_a_verdict_of_an_unequal_contest_is_marked_and_says_why(done: Finished, small: dict[str, Any]) -> None:
    unified = {"where": {"loss": "bce_unified", "backbone": "resnet20"}, "recipe": {"learning_rate": 0.3}}
    text = read(done(small | {"overrides": [unified]})).text
    assert "The conditions are UNEQUAL" in text
    assert "learning_rate, by hand: 0.01 (softmax), 0.3 (bce_unified) [resnet20/digits]" in text
    assert text.count("unequal conditions: learning_rate, by hand: 0.3 (bce_unified), 0.01 (softmax)") == 1
    assert "†" in text
    assert "†" not in read(done(small)).text


@pytest.mark.parametrize("protocol", ["validation", "bias", "test"])
def test_how_the_threshold_was_chosen_is_said(done: Finished, small: dict[str, Any], protocol: Any) -> None:
    text = read(done(small | {"threshold": protocol})).text
    assert PROTOCOLS[protocol] in text
    assert ("at the bias" in text) == (protocol == "bias")


def test_how_losses_stand_across_settings_is_told_with_what_it_rests_on(done: Finished, small: dict[str, Any]) -> None:
    finished = done(small)
    text = read(finished).text
    overall = across_settings.overall(finished.plan.experiment, finished.rows)
    assert "No statement is made about other data sets: that takes 5" in text
    for standings in overall.standings:
        assert said(across.heading(standings)).en in text
        for standing in standings.losses:
            assert " ".join(texts.across(standing, overall)) in text
    five = done(small | {"datasets": ["digits", "mnist", "fashion_mnist", "cifar10", "svhn"]})
    text = read(five).text
    overall = across_settings.overall(five.plan.experiment, five.rows)
    assert "with the data set as unit (n = 5)" in text
    for standings in overall.standings:
        assert said(across.heading(standings)).en in text
        for standing in standings.losses:
            assert " ".join(texts.across(standing, overall)) in text
    lost = done(
        small | {"backbones": ["resnet8", "resnet20", "resnet18"]}, missing=lambda cell: cell.backbone == "resnet18"
    )
    assert "Left out for a missing cell or replica: resnet18 on digits." in read(lost).text


def test_which_noise_is_in_the_way_is_told(done: Finished, small: dict[str, Any]) -> None:
    finished = done(small)
    text = read(finished).text
    found = sample_noise.within(finished.plan, finished.evaluations)
    assert len(found) == 2
    for each in found:
        assert " ".join(texts.sampled(each)) in text
        assert all(said(sentence).en in text for sentence in advice(each))


def test_seeds_that_no_claim_needed_are_not_missing(done: Finished, small: dict[str, Any]) -> None:
    spared = small | {"seeds": {"min": 2, "max": 9, "until": "decided"}}
    text = read(done(spared, missing=lambda cell: cell.seed > 4)).text
    assert "seeds: 2–9;" in text
    assert "at every look (Bonferroni)" in text
    assert not re.search(r"no result for seeds [0-9, ]*[678]", text)


def test_every_figure_and_curve_of_a_whole_experiment_is_there(done: Finished, small: dict[str, Any]) -> None:
    content = json.loads(read(done(small)).scripts[0])
    assert {name: len(each) for name, each in content["figures"].items()} == {
        "forest": 2, "threshold-curves": 2, "histograms": 2, "training": 2,
        "performance-profile": 1, "bias-scatter": 1,
    }  # fmt: skip
    assert [[curve["loss"] for curve in setting] for setting in content["curves"]] == [["softmax", "bce_unified"]] * 2


def test_what_is_missing_or_diverged_is_said(done: Finished, small: dict[str, Any]) -> None:
    lost = done(
        small,
        missing=lambda cell: (cell.loss, cell.backbone, cell.seed) == ("softmax", "resnet8", 1),
        diverged=lambda cell: (cell.loss, cell.backbone, cell.seed) == ("bce_unified", "resnet20", 2),
    )
    text = read(lost).text
    assert "Planned cells without a result: 1." in text
    assert "softmax/resnet8/digits: no result for seeds 1" in text
    assert "bce_unified/resnet20/digits: diverged with seeds 2" in text
    assert "1 missing" in text
    assert "1 diverged" in text
    assert "The diagram of ranks needs at least two losses, and five data sets" in text


def test_what_collapsed_is_said_in_the_grid_beside_claims_and_among_what_is_missing(
    done: Finished, small: dict[str, Any]
) -> None:
    lost = done(small, collapsed=lambda cell: (cell.loss, cell.backbone, cell.seed) == ("softmax", "resnet8", 1))
    text = read(lost).text
    assert "1 collapsed" in text
    assert "softmax/resnet8/digits: collapsed with seeds 1" in text
    assert re.search(r"1 of \d+ cells collapsed", text)
    assert "no better than a guess on their own training images" in text
    assert "Nothing: every planned cell is finished." not in text


def test_a_file_that_went_bad_is_said(done: Finished, small: dict[str, Any]) -> None:
    finished = done(small)
    cell = finished.plan.cells[0]
    finished.evaluations.path(cell.recipe, cell.id).write_bytes(b"not Parquet")
    text = read(finished).text
    assert "Files that cannot be read: 1." in text
    assert cell.name in text


def test_an_experiment_without_claim_question_bias_or_second_seed_reads_well(
    done: Finished, small: dict[str, Any]
) -> None:
    small |= {"losses": ["softmax"], "seeds": 1, "claims": [], "question": "", "backbones": ["resnet8"]}
    text = read(done(small)).text
    for sentence in (
        "No claim is stated in the experiment file",
        "No question is stated",
        "Only one seed",
        "With one loss there is nothing to compare.",
        "No loss here learns a bias.",
    ):
        assert sentence in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_an_experiment_of_which_nothing_is_finished_has_a_report(done: Finished, small: dict[str, Any]) -> None:
    for lost in (done(small, diverged=lambda _: True), done(small | {"seeds": [7]}, missing=lambda _: True)):
        found = read(lost)
        assert found.ids("section") == SECTIONS
        assert "No cell is finished yet." in found.text


def test_cells_that_differ_in_where_they_come_from_are_said_to(done: Finished, small: dict[str, Any]) -> None:
    done(small, missing=lambda cell: cell.seed > 0, git_commit="a" * 40, git_dirty=True, threads=1)
    finished = done(small, missing=lambda cell: cell.seed == 0, git_commit="b" * 40, git_dirty=True, threads=1)
    text = read(finished).text
    assert "Cells differ in: git_commit." in text
    assert "uncommitted changes" in text
    assert f"{'a' * 16} 4" in text


def test_published_figures_stand_beside_ours(done: Finished, small: dict[str, Any]) -> None:
    asked = {"losses": ["softmax", {"name": "bce_diverse", "as": "ours"}], "datasets": ["cifar10"], "claims": []}
    text = read(done(small | asked | {"backbones": ["resnet18"]})).text
    assert "85.2" in text
    assert "ours: 7" in text


def hostile(small: dict[str, Any]) -> Experiment:
    """Names that no experiment file may have, and some that it may."""
    asked = Experiment.model_validate(small)
    losses = tuple(
        choice.model_copy(update={"label": label})
        for choice, label in zip(asked.losses, (HOSTILE, ATTRIBUTE), strict=True)
    )
    claims = tuple(claim.model_copy(update={"challenger": ATTRIBUTE, "baseline": HOSTILE}) for claim in asked.claims)
    named = {"name": HOSTILE, "question": HOSTILE + "\u2028{question}", "baseline": HOSTILE}
    return asked.model_copy(update={**named, "losses": losses, "claims": claims})


def test_names_cannot_add_a_tag_a_script_or_a_handler(done: Finished, small: dict[str, Any]) -> None:
    innocent = read(done(small, node="vm"))
    attacked = read(done(hostile(small), node=HOSTILE))
    assert [tag for tag, _ in attacked.tags] == [tag for tag, _ in innocent.tags]
    assert not any(name.startswith("on") for _, attributes in attacked.tags for name in attributes)
    assert attacked.scripts[1:] == innocent.scripts[1:]
    assert HOSTILE in attacked.text
    assert json.loads(attacked.scripts[0])["losses"] == [HOSTILE, ATTRIBUTE]
    assert not set("<>&\u2028") & set(attacked.scripts[0])


def test_the_page_asks_nothing_of_a_network(done: Finished, small: dict[str, Any]) -> None:
    found = read(done(small))
    for tag, attributes in found.tags:
        assert tag not in {"iframe", "object", "embed"}
        assert attributes.get("src") is None
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
    policies = [attributes["content"] for _, attributes in found.tags if "http-equiv" in attributes]
    assert policies[0].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policies[0].partition("style-src")[0]


def test_plotly_is_embedded_once_and_the_rest_is_small(done: Finished, small: dict[str, Any]) -> None:
    content = page.render(*done(small | {"losses": ["softmax", "bce", "bce_unified", "bce_diverse"], "seeds": 5}))
    assert content.count(packed()) == 1
    assert plotly().count("Licensed under the MIT license") == 1
    assert len(content.encode()) < 1_500_000


def test_a_grid_of_many_settings_is_shown_in_part_and_told_whole(
    done: Finished, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = page.render(*done(small))
    monkeypatch.setattr("orchestrator.report.web.view.SHOWN", 1)
    part = page.render(*done(small))
    assert "Shown in detail: 1 of 2 settings" in part
    assert "Shown in detail: 2" not in whole
    found = json.loads(Page(part).scripts[0])
    assert len(found["curves"]) == len(found["figures"]["training"]) == 1
    assert found["results"] == json.loads(Page(whole).scripts[0])["results"]
    assert len(found["results"]["rows"]) == 4


def test_every_number_of_the_page_lies_beside_it_as_data(done: Finished, small: dict[str, Any]) -> None:
    finished = done(small)
    view = page.viewed(finished.comparison, finished.rows, finished.evaluations, finished.plan)
    files = page.written(view, None, document(finished.comparison, view.overall))
    assert set(files) == {"index.html", "comparison.csv", "comparison.json", "figures.json", "results.csv"}
    links = [attributes["href"] for tag, attributes in Page(files["index.html"]).tags if tag == "a"]
    assert set(files) - {"index.html"} <= set(links)
    compared = list(csv.DictReader(files["comparison.csv"].splitlines()))
    (line,) = [line for line in finished.comparison.lines if (line.backbone, line.loss) == ("resnet8", "bce_unified")]
    (row,) = [row for row in compared if (row["backbone"], row["loss"]) == ("resnet8", "bce_unified")]
    differences = line.differences or {}
    assert float(row["difference_uniform_accuracy_low"]) == pytest.approx(differences["uniform_accuracy"].low, rel=1e-6)
    assert row["verdict"] in {"supported", "refuted", "equivalent", "undecided"}
    cells = list(csv.DictReader(files["results.csv"].splitlines()))
    assert [each["cell_id"] for each in cells] == [each["cell_id"] for each in finished.rows]
    drawn = json.loads(Page(files["index.html"]).scripts[0])
    assert json.loads(files["figures.json"]) == {"figures": drawn["figures"], "threshold_curves": drawn["curves"]}


def test_the_same_results_give_the_same_page(done: Finished, small: dict[str, Any]) -> None:
    finished = done(small)
    assert page.render(*finished) == page.render(*finished)


def test_a_report_takes_the_place_of_the_one_before_whole_or_not_at_all(
    done: Finished, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Storage(tmp_path / "reports")
    content = page.render(*done(small)).encode()
    folder.write("index.html", content)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        folder.write("index.html", b"another")
    assert folder.read("index.html") == content
    assert [stored.name for stored in folder.list()] == ["index.html"]


def test_every_measure_and_every_word_is_there_in_both_languages() -> None:
    assert measures().keys() >= MEASURES.keys()
    assert all(japanese for japanese in words().values())
    with pytest.raises(KeyError):
        say("a sentence nobody has translated")


def test_placeholders_are_the_same_in_both_languages() -> None:
    for english, japanese in words().items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", japanese))


def test_no_word_is_left_over() -> None:
    root = Path(orchestrator.__file__).parent
    found = (path for path in root.rglob("*") if path.suffix in {".py", ".j2", ".js"})
    sources = [path for path in found if path.name != "translations.py"]
    sources.append(root / "analysis" / "published_settings.json")
    used = "\n".join(path.read_text(encoding="utf-8") for path in sources).replace("\\u202f", "\u202f")
    built = re.compile(r"^\{metric\}|^(un)?decided$|^(supported|refuted|equivalent)(, (exploratory|looks not known))?$")
    assert [word for word in words() if word not in used and not built.search(word)] == []


def test_a_report_needs_neither_torch_nor_ray_nor_mlflow_nor_sqlalchemy() -> None:
    program = (
        "import sys, orchestrator.report.web.page, orchestrator.report.paper.latex;"
        "print([name for name in ('torch', 'ray', 'mlflow', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
