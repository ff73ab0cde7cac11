"""Photograph the report of a finished quickstart, and its runs in MLflow: `python docs/screenshots.py [WORKSPACE]`."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
IMAGES = ROOT / "docs" / "images"
FILE = "experiments/quickstart.yaml"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def main(workspace: Path) -> None:
    """The page's first screen, its threshold explorer, and MLflow as the printed link opens it."""
    subprocess.run([*_program("report", workspace)], cwd=ROOT, check=True)
    page = (workspace / "reports" / "quickstart" / "index.html").as_uri()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        _report(browser, page)
        _mlflow(browser, workspace)
        browser.close()


def _program(verb: str, workspace: Path) -> list[str]:
    return [sys.executable, "-m", "orchestrator", verb, FILE, "--workspace", str(workspace)]


def _report(browser: Any, page: str) -> None:
    tab = browser.new_page(viewport={"width": 1190, "height": 920}, color_scheme="light")
    tab.goto(page)
    tab.screenshot(path=EXAMPLES / "report.png")
    tab.add_style_tag(content="body > * { position: static !important }")  # else the bar lies across the explorer
    explorer = tab.locator("#explorer")
    explorer.scroll_into_view_if_needed()
    tab.wait_for_timeout(1000)  # figures are drawn when they come into view
    explorer.screenshot(path=EXAMPLES / "explorer.png")


def _mlflow(browser: Any, workspace: Path) -> None:
    with subprocess.Popen(_program("ui", workspace), cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        link = next(line.strip() for line in server.stdout or () if "#" in line)
        tab = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
        tab.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
        tab.set_default_timeout(120_000)
        tab.goto(link)
        tab.get_by_text("Group: softmax").wait_for()
        tab.screenshot(path=IMAGES / "mlflow-link.png")
        tab.locator("label").filter(has=tab.locator("input[value=CHART]")).click()
        _photograph_charts(tab, "mlflow-grouped.png")
        tab.get_by_role("button", name="Group by").locator("[role=button]").click()  # the cross
        tab.get_by_text("softmax/resnet8/digits/s0").first.wait_for()
        _photograph_charts(tab, "mlflow-ungrouped.png")
        server.send_signal(signal.SIGINT)


def _photograph_charts(tab: Any, name: str) -> None:
    tab.locator(".js-plotly-plot .bars .point").first.wait_for()
    tab.wait_for_timeout(2000)  # charts are drawn one after another
    tab.screenshot(path=IMAGES / name)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs").resolve())
