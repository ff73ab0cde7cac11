"""What MkDocs does for the site beyond its configuration.

What pages of the reference say is made from the code, files of the repository that pages link to become part of the
site, a folder in the navigation stands for the pages in it, and formulas become MathML, which needs no script.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import reference
from latex2mathml.converter import convert
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = sorted((ROOT / "experiments").glob("*.yaml"))
PROJECT = "project"
"""The site's folder for files that lie outside of `docs`; it has them at their paths in the repository."""

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LINKED = ("LICENSE", "CITATION.cff", "cluster.yaml", *(f"experiments/{file.name}" for file in SHIPPED))
"""Files that a page may link to."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let a folder in the navigation stand for its pages."""
    config.nav = _unfolded(config.nav, Path(config.docs_dir))
    return config


def _unfolded(item: Any, docs: Path) -> Any:
    match item:
        case dict():
            return {title: _unfolded(value, docs) for title, value in item.items()}
        case list():
            return [_unfolded(each, docs) for each in item]
        case str() if item.endswith("/"):
            pages = sorted((docs / item).glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
            return [f"{item}{page.name}" for page in pages]
        case _:
            return item


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add files from outside of `docs`."""
    for path in (*PAGES, *LINKED):
        content = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, f"{PROJECT}/{path}", content=content))
    return files


GENERATED = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s#]+)")
COMMENT = re.compile(r"^<!--.*?-->$", re.MULTILINE)
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put in what is generated, leave out marks for scripts, and point links to where the site has their files."""
    markdown = GENERATED.sub(lambda mark: reference.SECTIONS[mark[1]](), markdown)
    here = PurePosixPath(page.file.src_uri)
    parts = CODE.split(markdown)
    for place in range(0, len(parts), 2):  # every second part is code
        text = COMMENT.sub("", parts[place])
        parts[place] = LINK.sub(lambda link: f"{link[1]}{_in_site(here, link[2])}", text)
    return "".join(parts)


def _in_site(here: PurePosixPath, link: str) -> str:
    """A link as the repository has it, as the site needs it; links of which nothing is known stay."""
    at = here.relative_to(PROJECT) if here.parts[0] == PROJECT else PurePosixPath("docs") / here
    target = os.path.normpath(at.parent / link)
    if (ROOT / target).is_dir():
        target = f"{target}/README.md"
    site = target.removeprefix("docs/") if target.startswith("docs/") else f"{PROJECT}/{target}"
    return os.path.relpath(site, here.parent) if (ROOT / target).exists() else link


FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML."""
    return FORMULA.sub(lambda found: _math(found[1], html.unescape(found[2])), content)


def _math(element: str, formula: str) -> str:
    display = "block" if element == "div" else "inline"
    return f'<{element} class="formula">{convert(formula, display=display)}</{element}>'
