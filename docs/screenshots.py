"""Photograph the report of a finished quickstart in Chromium: `python docs/screenshots.py [WORKSPACE]`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def main(workspace: Path) -> None:
    """The page's first screen, and its threshold explorer."""
    asked = ["report", "experiments/quickstart.yaml", "--workspace", str(workspace)]
    subprocess.run([sys.executable, "-m", "orchestrator", *asked], cwd=ROOT, check=True)
    page = (workspace / "reports" / "quickstart" / "index.html").as_uri()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1190, "height": 920}, color_scheme="light")
        tab.goto(page)
        tab.screenshot(path=EXAMPLES / "report.png")
        tab.add_style_tag(content="body > * { position: static !important }")  # else the bar lies across the explorer
        explorer = tab.locator("#explorer")
        explorer.scroll_into_view_if_needed()
        tab.wait_for_timeout(1000)  # figures are drawn when they come into view
        explorer.screenshot(path=EXAMPLES / "explorer.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs").resolve())
