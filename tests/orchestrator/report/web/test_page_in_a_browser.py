"""The report in a real browser: no complaint, no dialog, and an explorer that tells the truth."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.analysis.comparison import compare
from orchestrator.analysis.threshold_curves import Curve, gather
from orchestrator.experiment.model import Experiment

Finished = Callable[..., Any]
PRICES = (5.0, 2.0)

HOSTILE = "</script><script>alert(1)</script>"
ATTRIBUTE = '"><img src=x onerror=alert(2)>'


def shown(tab: Any, loss: int, part: str) -> str:
    return tab.inner_text(f"#losses tr[data-loss='{loss}'] [data-share={part}]")


def move(tab: Any, threshold: float, loss: str = "bce_unified") -> None:
    tab.select_option("#explorer-loss", loss)
    tab.fill("#threshold-typed", str(threshold))


def curves_of(done: Any, backbone: str) -> list[Curve]:
    return [curve for curve in gather(done.plan, done.rows, done.evaluations)[0] if curve.backbone == backbone]


def test_the_explorer_shows_what_python_computes(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    finished = done(small)
    curves = list(enumerate(curves_of(finished, "resnet8")))
    with opened(finished) as tab:
        tab.fill("#false-accept", str(PRICES[0]))
        tab.fill("#false-reject", str(PRICES[1]))
        for threshold, (loss, curve) in itertools.product((-1.25, 1.7, 6.03), curves):
            move(tab, threshold, curve.loss)
            shares = curve.at(threshold)
            for part in ("own", "rival", "rejected", "right"):
                assert float(shown(tab, loss, part)) == pytest.approx(100 * getattr(shares, part), abs=0.051)
            assert float(shown(tab, loss, "cost")) == pytest.approx(shares.cost(*PRICES), abs=0.051)
            classes = [float(text) for text in tab.locator(f"#classes td:nth-of-type({loss + 1})").all_inner_texts()]
            assert classes == pytest.approx([100 * share for share in curve.classes_at(threshold).values()], abs=0.11)


def test_the_slider_moves_the_numbers_by_mouse_and_by_keyboard(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    with opened(done(small)) as tab:
        slider = tab.locator("#threshold")
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        before = shown(tab, 1, "own")
        other = shown(tab, 0, "own")
        tab.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2)
        by_mouse = shown(tab, 1, "own")
        assert float(by_mouse) > float(before)
        slider.press("Home")
        assert shown(tab, 1, "own") == "100.0"
        slider.press("End")
        assert shown(tab, 1, "own") == "0.0"
        assert shown(tab, 0, "own") == other
        typed = float(tab.input_value("#threshold-typed"))
        slider.press("ArrowLeft")
        assert float(tab.input_value("#threshold-typed")) < typed
        assert "bce_unified" in tab.get_attribute("#threshold", "aria-valuetext")


def test_each_loss_starts_at_its_own_deployed_threshold_with_the_prices_of_the_file(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    chosen = {"softmax": (1.5, 2.0, 2.5), "bce_unified": (3.25, 3.0, 3.75)}
    prices = {"false_accept": 5, "false_reject": 0.5}
    finished = done(small | {"operation": {"prices": prices}})
    for row in finished.rows:
        row["validation_threshold"] = chosen[row["loss"]][row["seed"]]
    curves = {curve.loss: curve for curve in curves_of(finished, "resnet8")}
    with opened(finished) as tab:
        assert (tab.input_value("#false-accept"), tab.input_value("#false-reject")) == ("5", "0.5")
        assert tab.input_value("#explorer-loss") == "bce_unified"
        assert float(tab.input_value("#threshold-typed")) == 3.25
        for loss, name, threshold in ((0, "softmax", 2.0), (1, "bce_unified", 3.25)):
            shares = curves[name].at(threshold)
            assert shown(tab, loss, "threshold").split() == [f"{threshold:g}", "validation", "images"]
            assert float(shown(tab, loss, "right")) == pytest.approx(100 * shares.right, abs=0.051)
            assert float(shown(tab, loss, "cost")) == pytest.approx(shares.cost(5, 0.5), abs=0.051)
        assert tab.evaluate("location.search") == ""
        move(tab, 4.5)
        assert shown(tab, 1, "threshold").split() == ["4.5", "moved"]
        assert shown(tab, 0, "threshold").split() == ["2", "validation", "images"]
        query = tab.evaluate("location.search")
        tab.click("#explorer-back")
        assert shown(tab, 1, "threshold").split() == ["3.25", "validation", "images"]
        assert tab.evaluate("location.search") == ""
    with opened(finished, query=query) as tab:
        assert shown(tab, 1, "threshold").split() == ["4.5", "moved"]


def test_without_a_chosen_threshold_a_loss_starts_at_its_best_and_says_so(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    finished = done(small)
    for row in finished.rows:
        row["validation_threshold"] = None
    (curve, _) = curves_of(finished, "resnet8")
    with opened(finished) as tab:
        assert shown(tab, 0, "threshold").split()[1:] == ["best", "on", "test", "images"]
        assert float(shown(tab, 0, "right")) == pytest.approx(100 * curve.at(curve.best).right, abs=0.051)


def test_the_cheapest_threshold_is_a_button_away(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    finished = done(small)
    with opened(finished) as tab:
        tab.fill("#false-accept", str(PRICES[0]))
        tab.fill("#false-reject", str(PRICES[1]))
        for loss, curve in enumerate(curves_of(finished, "resnet8")):
            tab.click(f"#losses tr[data-loss='{loss}'] [data-cheapest]")
            cheapest = curve.cheapest(*PRICES)
            assert float(tab.input_value("#threshold-typed")) == cheapest
            assert float(shown(tab, loss, "cost")) == pytest.approx(curve.at(cheapest).cost(*PRICES), abs=0.051)


def test_an_empty_price_makes_no_cost(done: Finished, small: dict[str, Any], opened: Callable[..., Any]) -> None:
    with opened(done(small)) as tab:
        tab.fill("#false-accept", "")
        assert shown(tab, 0, "cost") == "–"
        assert tab.locator("[data-cheapest]:enabled").count() == 0
        tab.fill("#false-accept", "1")
        assert tab.locator("[data-cheapest]:enabled").count() == 2


def test_a_setting_is_chosen_once_for_the_whole_page(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    finished = done(small, missing=lambda cell: cell.backbone == "resnet20" and cell.loss == "softmax")
    with opened(finished) as tab:
        tab.select_option("#forest-setting", "1")
        assert tab.input_value("#explorer-setting") == "1"
        assert tab.locator("#losses tbody tr:visible").all_inner_texts()[0].startswith("bce_unified")
        assert tab.locator("[data-nothing=forest]").is_visible()
        assert tab.locator("[data-nothing=histograms]").is_hidden()


def test_a_setting_without_results_says_so(done: Finished, small: dict[str, Any], opened: Callable[..., Any]) -> None:
    with opened(done(small, missing=lambda cell: cell.backbone == "resnet20")) as tab:
        tab.select_option("#explorer-setting", "1")
        assert tab.locator("[data-nothing=explorer]").is_visible()
        assert tab.locator("#explored").is_hidden()
        tab.select_option("#explorer-setting", "0")
        assert tab.locator("#explored").is_visible()


def test_japanese_replaces_the_chrome_and_leaves_the_names(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    with opened(done(small)) as tab:
        english = tab.inner_text("main")
        tab.click("[data-language=ja]")
        assert tab.get_attribute("html", "lang") == "ja"
        japanese = tab.inner_text("main")
        assert "しきい値エクスプローラー" in japanese
        assert "Threshold explorer" not in japanese
        for name in ("bce_unified", "resnet20", "Is one better?"):
            assert name in japanese
        assert "しきい値 t" in tab.inner_html("[data-figure=threshold-curves]")
        tab.click("[data-language=en]")
        assert tab.inner_text("main") == english


def tuned(done: Finished, small: dict[str, Any], tuned_by: Finished, claims: int = 1) -> Any:
    """Two losses that were tuned, of which one is better at low learning rates."""

    def score(loss: str, values: dict[str, Any]) -> float:
        return 0.8 + 0.01 * values["weight_decay"] if loss == "softmax" else 0.9 - values["learning_rate"]

    space = {"learning_rate": "loguniform(1e-3, 1)", "weight_decay": "uniform(0, 0.1)"}
    reverse = {**small["claims"][0], "id": "worse", "challenger": "softmax", "baseline": "bce_unified"}
    asked = {"tuning": {"space": space, "trials": 20}, "claims": [*small["claims"], reverse][:claims]}
    finished = done(small | asked)
    stage = tuned_by(finished.plan.experiment, score)
    return finished._replace(comparison=compare(finished.plan.experiment, finished.rows, tuned=stage))


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_curves_and_maps_of_the_tuning_stage_stay_in_their_place(
    scheme: str, done: Finished, small: dict[str, Any], tuned_by: Finished, opened: Callable[..., Any]
) -> None:
    with opened(tuned(done, small, tuned_by, claims=2), scheme=scheme) as tab:
        for name in ("budget", "sensitivity"):
            plot = tab.locator(f"[data-figure={name}]")
            plot.scroll_into_view_if_needed()
            drawn = plot.locator("svg.main-svg").first.bounding_box()
            assert drawn["height"] <= plot.bounding_box()["height"] + 1
        assert tab.locator("[data-figure=sensitivity] .hm image").count() == 2
        texts = tab.locator("[data-figure=sensitivity] .textpoint").all_text_contents()
        assert len(texts) == 2 * 3 * 3
        assert sum(int(text.partition("n = ")[2]) for text in texts) == 2 * 20
        tab.screenshot(path=Path(tab.url.removeprefix("file://")).with_name(f"tuned-{scheme}.png"), full_page=True)


@pytest.mark.parametrize("is_tuned", [False, True])
def test_no_english_sentence_is_left_in_japanese(
    is_tuned: bool, done: Finished, small: dict[str, Any], tuned_by: Finished, opened: Callable[..., Any]
) -> None:
    with opened(tuned(done, small, tuned_by) if is_tuned else done(small)) as tab:
        tab.click("[data-language=ja]")
        tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        for selector in (
            "h2",
            "caption",
            "figcaption",
            "thead th",
            ".note",
            "label",
            "summary",
            "nav a",
            "#contest li",
        ):
            for text in tab.locator(f"{selector}:visible").all_inner_texts():
                letters = text.replace("softmax", "").replace("bce_unified", "")
                foreign = any(ord(letter) > 0x3000 for letter in letters)
                assert (
                    foreign or not letters.strip() or letters.strip() in {"n", "NC1", "NC2", "NC3"} or "k = " in letters
                ), text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_and_the_switch(
    scheme: str, done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    def ground(tab: Any) -> int:
        return tab.evaluate(
            "(() => { const c = document.createElement('canvas').getContext('2d');"
            "c.fillStyle = getComputedStyle(document.body).backgroundColor; c.fillRect(0, 0, 1, 1);"
            "return c.getImageData(0, 0, 1, 1).data[0]; })()"
        )

    with opened(done(small), scheme=scheme) as tab:
        assert (ground(tab) > 128) == (scheme == "light")
        other = "dark" if scheme == "light" else "light"
        tab.click(f"button[data-theme={other}]")
        assert (ground(tab) > 128) == (other == "light")
        line = tab.locator("[data-figure=threshold-curves] .js-line").first.get_attribute("style")
        assert ("rgb(0, 114, 178)" in line) == (other == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    scheme: str, done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    from axe_playwright_python import sync_playwright as axe

    lost = done(small, missing=lambda cell: cell.seed == 1 and cell.loss == "softmax", git_dirty=True)
    with opened(lost, scheme=scheme) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        found = axe.Axe().run(tab).response["violations"]
        serious = [each for each in found if each["impact"] in {"serious", "critical"}]
        assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in serious] == []


def test_hostile_names_open_no_dialog(done: Finished, small: dict[str, Any], opened: Callable[..., Any]) -> None:
    asked = Experiment.model_validate(small)
    losses = tuple(
        choice.model_copy(update={"label": label})
        for choice, label in zip(asked.losses, (HOSTILE, ATTRIBUTE), strict=True)
    )
    backbones = tuple(choice.model_copy(update={"label": f"{choice.label}{ATTRIBUTE}"}) for choice in asked.backbones)
    named = {"name": HOSTILE, "question": HOSTILE, "baseline": HOSTILE, "losses": losses, "backbones": backbones}
    attacked = asked.model_copy(update={**named, "claims": ()})
    with opened(done(attacked, node=ATTRIBUTE)) as tab:
        assert tab.inner_text("h1") == HOSTILE
        move(tab, 1.5, ATTRIBUTE)
        tab.select_option("#forest-setting", "1")
        tab.click("[data-language=ja]")
        tab.hover("[data-figure=threshold-curves] .plot-container")
        assert tab.locator("main img").count() == 0
        assert HOSTILE in tab.inner_text("#losses")
        assert ATTRIBUTE in tab.inner_text("#classes thead")


def test_a_phone_needs_no_sideways_scrolling(done: Finished, small: dict[str, Any], opened: Callable[..., Any]) -> None:
    with opened(done(small), width=390, height=844) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        for place in tab.locator("svg.main-svg:visible").all():
            assert place.bounding_box()["width"] <= 390


def test_paper_gets_the_whole_page_in_light(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any], tmp_path: Path
) -> None:
    with opened(done(small), scheme="dark") as tab:
        tab.emulate_media(media="print", color_scheme="dark")
        assert tab.locator("nav").is_hidden()
        assert tab.locator(".bar").is_hidden()
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        for figure in tab.locator("figure:visible").all():
            plot = figure.locator(".plot").bounding_box()
            caption = figure.locator("figcaption").bounding_box()
            drawn = figure.locator("svg.main-svg").first.bounding_box()
            assert drawn["y"] + drawn["height"] <= plot["y"] + plot["height"] + 1 <= caption["y"] + 2
        shown_alone = tab.locator("[data-figure=histograms] svg.main-svg").count()
        tab.pdf(path=tmp_path / "report.pdf", print_background=True)
        assert 50_000 < (tmp_path / "report.pdf").stat().st_size < 3_000_000
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.locator("#scores .plot.printed svg.main-svg").count() == shown_alone
        assert tab.locator("#features tbody:visible").count() == tab.locator("#features tbody").count()
        tab.evaluate("dispatchEvent(new Event('afterprint'))")
        assert tab.locator(".printed").count() == 0


def test_the_table_of_results_is_sorted_and_filtered_and_its_address_shows_the_same(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any], tmp_path: Path
) -> None:
    finished = done(small)
    with opened(finished) as tab:
        assert tab.locator("#results-table tbody tr").count() == 4
        for _ in range(2):
            tab.click("[data-sort=uniform_accuracy]")
        shown_means = [float(text) for text in tab.locator("#results-table tbody td:nth-of-type(6)").all_inner_texts()]
        assert shown_means == sorted(shown_means)
        assert tab.evaluate("document.activeElement.dataset.sort") == "uniform_accuracy"
        tab.select_option("#results-filter-backbone", "resnet20")
        tab.select_option("#results-filter-loss", "bce_unified")
        assert tab.inner_text("#results-count") == "Rows: 1 of 4"
        query = tab.evaluate("location.search")
        with tab.expect_download() as download:
            tab.click("[data-save=csv]")
        saved = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
        (line,) = [
            line for line in finished.comparison.lines if (line.backbone, line.loss) == ("resnet20", "bce_unified")
        ]
        assert [row["loss"] for row in saved] == ["bce_unified"]
        assert float(saved[0]["uniform_accuracy"]) == pytest.approx(line.means["uniform_accuracy"].estimate, rel=1e-6)
        tab.click("[data-language=ja]")
        assert "行：4 のうち 1" in tab.inner_text("#results-count")
    assert query == "?sort=uniform_accuracy&backbone=resnet20&loss=bce_unified"
    with opened(finished, query=query) as tab:
        assert tab.inner_text("#results-count") == "Rows: 1 of 4"
        assert tab.get_attribute("th:has([data-sort=uniform_accuracy])", "aria-sort") == "ascending"


TABLES = (
    "given", "coverage", "grid", "comparison", "samples", "across", "thresholds", "features", "cost", "by-class",
)  # fmt: skip
"""The tables of results beside that of all results."""


def visible(tab: Any, table: str) -> list[str]:
    return tab.locator(f"[data-table='{table}'] tbody tr:not(.group):visible th").all_inner_texts()


def test_one_filter_holds_for_all_tables_and_the_address_keeps_it(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    finished = done(small)
    with opened(finished) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        everything = {name: len(visible(tab, name)) for name in TABLES}
        assert min(everything.values()) >= 2
        tab.select_option("#features-filter-loss", "softmax")
        assert tab.input_value("#cost-filter-loss") == "softmax"
        assert tab.inner_text("#results-count") == "Rows: 2 of 4"
        by_loss = {"given", "comparison", "across", "thresholds", "features", "cost", "by-class"}
        for name in by_loss:
            rows = visible(tab, name)
            assert 0 < len(rows) < everything[name], name
            assert set(rows) == {"softmax"}
        assert visible(tab, "samples") == [], "its claim is about the other loss"
        assert tab.locator("[data-table=coverage] tbody td:visible").count() == 2
        tab.select_option("#features-filter-loss", "")
        tab.select_option("#cost-filter-backbone", "resnet20")
        for name in (*by_loss - {"across"}, "coverage", "grid", "samples"):
            assert 0 < len(visible(tab, name)) == everything[name] // 2, name
        query = tab.evaluate("location.search")
        assert tab.inner_text("#cost .filters summary") == "Filter: resnet20"
    assert query == "?backbone=resnet20"
    with opened(finished, query=query) as tab:
        assert tab.inner_text("#results-count") == "Rows: 2 of 4"
        assert len(visible(tab, "cost")) == everything["cost"] // 2


def test_every_table_sorts_by_any_head_within_its_groups(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    finished = done(small)

    def column(tab: Any) -> list[float]:
        places = "[data-table=features] tbody tr:not(.group) td:nth-of-type(1)"
        return [float(text.split()[0]) for text in tab.locator(places).all_inner_texts()]

    with opened(finished) as tab:
        head = tab.locator("[data-table=features] thead th").nth(1)
        before = column(tab)
        head.locator("button").click()
        first, second = column(tab)[:2], column(tab)[2:]
        assert [first, second] == [sorted(first, reverse=True), sorted(second, reverse=True)]
        assert sorted(first) == sorted(before[:2])
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        query = tab.evaluate("location.search")
        upwards = column(tab)
        tab.click("[data-language=ja]")
        assert column(tab) == upwards
        head.locator("button").press("Enter")
        assert (head.get_attribute("aria-sort"), column(tab)) == ("none", before)
    with opened(finished, query=query) as tab:
        assert column(tab) == upwards


def test_the_address_keeps_threshold_prices_and_setting(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    finished = done(small)
    with opened(finished) as tab:
        tab.select_option("#forest-setting", "1")
        tab.fill("#false-accept", "7")
        move(tab, 1.25)
        query = tab.evaluate("location.search")
        cost = shown(tab, 1, "cost")
    with opened(finished, query=query) as tab:
        assert tab.input_value("#explorer-setting") == "1"
        assert float(tab.input_value("#threshold-typed")) == 1.25
        assert (tab.input_value("#false-accept"), shown(tab, 1, "cost")) == ("7", cost)


def test_the_page_speaks_the_browsers_language_and_remembers_another(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    with opened(done(small), locale="ja-JP") as tab:
        assert tab.get_attribute("html", "lang") == "ja"
        assert tab.get_attribute("[data-language=ja]", "aria-pressed") == "true"
        tab.click("[data-language=en]")
        tab.goto(tab.url.partition("?")[0])
        assert tab.get_attribute("html", "lang") == "en"


def test_sixty_settings_are_one_select_box_and_not_sixty_plots(
    done: Finished, small: dict[str, Any], opened: Callable[..., Any]
) -> None:
    datasets = [f"d{place}" for place in range(30)]
    asked = {
        "datasets": [{"name": "digits", "as": dataset} for dataset in datasets],
        "overrides": [
            {"where": {"dataset": dataset}, "recipe": {"learning_rate": 0.1 + place / 1000}}
            for place, dataset in enumerate(datasets)
        ],
        "seeds": 2,
    }
    with opened(done(small | asked)) as tab:
        assert tab.locator("#curves-setting option").count() == 60
        assert tab.locator(".js-plotly-plot").count() == 8
        tab.select_option("#curves-setting", "59")
        assert tab.locator("#features tbody:visible").count() == 1
        assert tab.locator("#coverage tbody tr").count() == 60
        tab.screenshot(path=Path(tab.url.removeprefix("file://")).with_name("sixty.png"))
