"""The documentation is built without a warning, reaches every page, loads nothing from elsewhere, and is true."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
import typer.main
import yaml

import program
from orchestrator.cli import app
from orchestrator.experiment.model import Experiment
from trainers import catalogue
from trainers.metrics import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
GUIDES = [DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md"))]

# ---- The site ----


def built(config: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """The build by a configuration, any warning being an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", config, "--site-dir", folder]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


class Page(HTMLParser):
    """What a page links to, what it loads, its anchors, and the text below each."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.text: defaultdict[str, str] = defaultdict(str)
        self.section = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") != "canonical":
            self.loaded.append(given.get("href", ""))
        self.loaded += [given[name] for name in ("src", "srcset", "data") if name in given]
        if "id" in given:
            self.anchors.add(given["id"])
            if re.fullmatch("h[1-6]", tag):
                self.section = given["id"]

    def handle_data(self, data: str) -> None:
        self.text[self.section] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """Every page of the site, by its file."""
    folder = tmp_path_factory.mktemp("site")
    done = built(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return {file: Page(file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("*.html"))}


def place(site: dict[Path, Page]) -> Path:
    return next(file.parent for file in site if file.name == "404.html")


def page(site: dict[Path, Page], name: str) -> Page:
    return site[place(site) / name]


def test_every_page_can_be_reached_from_the_first(site: dict[Path, Page]) -> None:
    reached = set[Path]()
    waiting = [place(site) / "index.html"]
    while waiting:
        file = waiting.pop()
        if file not in reached and file in site:
            reached.add(file)
            waiting += [(file.parent / unquote(urlsplit(link).path)).resolve() for link in site[file].links]
    assert set(site) - reached == {place(site) / "404.html"}
    documents = {"index.html" if path.name == "README.md" else f"{path.stem}.html" for path in DOCS.rglob("*.md")}
    assert documents <= {file.name for file in reached}


def test_every_internal_link_leads_to_a_file_and_an_anchor(site: dict[Path, Page]) -> None:
    dead = list[str]()
    for file, found in site.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or file.name == "404.html":
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            known = target in site and (not parts.fragment or unquote(parts.fragment) in site[target].anchors)
            if not (known or (target.is_file() and target.suffix != ".html")):
                dead.append(f"{file.relative_to(place(site))}: {link}")
    assert dead == []


def test_nothing_is_loaded_from_another_host(site: dict[Path, Page]) -> None:
    abroad = {loaded for found in site.values() for loaded in found.loaded if urlsplit(loaded).netloc}
    for style in place(site).rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        abroad |= {
            found for found in re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", text) if urlsplit(found).netloc
        }
    assert abroad == set()


@pytest.mark.slow
def test_the_build_fails_for_a_page_outside_the_navigation_and_for_dead_links(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS, docs, ignore=shutil.ignore_patterns("tables", "__pycache__"))
    (docs / "forgotten.md").write_text("# Forgotten\n", encoding="utf-8")
    (docs / "index.md").write_text("# Start\n\n[a](nowhere.md), [b](theory.md#nothing)\n", encoding="utf-8")
    config = {"INHERIT": f"{ROOT}/mkdocs.yml", "docs_dir": f"{docs}", "plugins": [], "hooks": [f"{DOCS}/hooks.py"]}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = built(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line or "  - " in line]
    for fault in ("forgotten.md", "nowhere.md", "theory.md#nothing"):
        assert any(fault in warning for warning in warnings), done.stderr


# ---- The reference, beside the code ----


def test_the_reference_has_every_verb_with_every_option(site: dict[Path, Page]) -> None:
    found = page(site, "reference/command-line.html")
    assert "--workspace DIR|URI" in found.text["launch"]
    for verb, command in typer.main.get_command(app).commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                for option in parameter.opts:
                    assert re.search(rf"{option}\b", found.text[verb]), (verb, option)
            assert not parameter.envvar or parameter.envvar in found.text[verb]


@pytest.mark.parametrize("axis", ["losses", "backbones", "datasets"])
def test_the_reference_has_every_plug_in_with_every_parameter(site: dict[Path, Page], axis: catalogue.Axis) -> None:
    found = page(site, f"reference/{axis}.html")
    everywhere = "".join(text for section, text in found.text.items() if section.startswith("parameters-of-every"))
    for name, plugin in catalogue.plugins(axis).items():
        assert plugin.summary().partition("`")[0] in found.text[name], name
        for field in plugin.model_fields:
            assert re.search(rf"\b{field}\b", everywhere + found.text[name]), (name, field)


def test_the_reference_shows_the_default_that_a_plug_in_has_of_its_own(site: dict[Path, Page]) -> None:
    found = page(site, "reference/losses.html")
    assert "scale: 64, margin: 0.5, margin_kind: angular" in found.text["arcface"]
    assert "decide_by" in found.text["softmax_calibrated"]
    assert "decide_by" not in found.text["softmax"]


def test_the_reference_has_every_field_of_an_experiment_and_every_measure(site: dict[Path, Page]) -> None:
    text = "".join(page(site, "reference/experiment-file.html").text.values())
    schema = Experiment.model_json_schema()
    choices = {"Choice", "Domain", "Plugin"}  # written otherwise than their fields
    parts = [schema, *(part for name, part in schema["$defs"].items() if name not in choices)]
    fields = {field for part in parts for field in part.get("properties", ())}
    assert {field for field in fields | {"min", "max", "until"} if not re.search(rf"\b{field}\b", text)} == set()
    measures = "".join(page(site, "reference/measures.html").text.values())
    assert {measure for measure in MEASURES if not re.search(rf"\b{measure}\b", measures)} == set()


def test_every_field_of_the_reference_says_what_it_is() -> None:
    program = (
        "import reference\n"
        "for name in ('experiment_file', 'losses', 'backbones', 'datasets'):\n"
        "    print(reference.SECTIONS[name]())\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{DOCS}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if not re.split(r"(?<!\\)\|", row)[2].strip()] == []


def test_the_notebook_and_the_plug_in_classes_are_described_from_their_docstrings(site: dict[Path, Page]) -> None:
    notebook = page(site, "reference/notebook.html")
    assert any(anchor.endswith("Study.plot_thresholds") for anchor in notebook.anchors)
    bases = page(site, "reference/plugins.html")
    assert {"trainers.losses.Loss.per_sample", "trainers.backbones.Backbone.build"} <= bases.anchors
    assert "trainers.datasets.Dataset.load" in bases.anchors


# ---- What the pages tell a reader to write ----


def blocks(path: Path, language: str) -> list[tuple[str | None, str]]:
    """The code blocks of a page in one language, each with its title, if it has one."""
    found = re.findall(
        rf'^```{language}(?: title="([^"]+)")?\n(.*?)^```', path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [(title or None, text) for title, text in found]


def commands() -> Iterator[tuple[str, list[str]]]:
    """The calls of the orchestrator in shell blocks and in the running text."""
    for path in [ROOT / "README.md", *GUIDES]:
        text = path.read_text(encoding="utf-8")
        lines = [line for _, block in blocks(path, "sh") for line in block.replace("\\\n", " ").splitlines()]
        for line in [*lines, *re.findall(r"`(python -m orchestrator [^`\n]+)`", text)]:
            words = shlex.split(line, comments=True)
            if words[:3] == ["python", "-m", "orchestrator"]:
                yield path.name, words[3:]


@pytest.mark.parametrize(("name", "arguments"), list(commands()), ids=str)
def test_the_command_line_takes_every_command_that_a_page_shows(name: str, arguments: list[str]) -> None:
    verb, *rest = arguments
    if verb != "--help":
        verbs: Any = typer.main.get_command(app)
        assert verbs.commands[verb].make_context(verb, rest), name


AXES = {"--loss", "--backbone", "--dataset", "--only", "--seeds"}


@pytest.mark.parametrize(
    "arguments",
    [words for _, words in commands() if AXES & {*words} and "--remove" not in words],
    ids=" ".join,
)
def test_an_experiment_takes_the_flags_that_a_page_shows(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "first.yaml").write_text(blocks(DOCS / "tutorial.md", "yaml")[0][1], encoding="utf-8")
    given = [word for word in arguments[1:] if word != "--remove"]  # of `add`, which reads the others as `plan` does
    done = program.run("plan", *given, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_experiment_that_a_page_shows_is_valid(tmp_path: Path) -> None:
    files = list[str]()
    for path in GUIDES:
        for title, text in blocks(path, "python"):
            if title:
                (tmp_path / title).write_text(text, encoding="utf-8")
        for number, (_, text) in enumerate(blocks(path, "yaml")):
            files.append(f"{path.stem}-{number}.yaml")
            (tmp_path / files[-1]).write_text(text, encoding="utf-8")
    program = (
        "import sys; from orchestrator.experiment.reading import load; [load(Path(file)) for file in sys.argv[1:]]"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path; {program}", *files],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(files) > 8


def masked(text: str) -> set[str]:
    """Lines without their digits, which another processor may change, and without runs of blanks."""
    return {" ".join(re.sub(r"[\d.]+", "0", line).split()) for line in text.splitlines() if line.strip()}


def run(script: str, folder: Path) -> str:
    """What a script prints in a folder, with this environment's python."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)  # twenty cells on Ray
def test_the_tutorial_prints_what_it_says(tmp_path: Path) -> None:
    page = DOCS / "tutorial.md"
    for title, text in blocks(page, "yaml"):
        (tmp_path / str(title)).write_text(text, encoding="utf-8")
    install, *rest = [block for _, block in blocks(page, "sh")]
    assert "make .venv/installed" in install
    printed = "".join(run(block, tmp_path) for block in rest)
    for _, shown in blocks(page, "text"):
        assert masked(shown) <= masked(printed), shown
    for _, script in blocks(page, "python"):
        assert "supported" in run(f"python - << 'END'\n{script}END", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("guide", "experiment"), [("loss", "mine"), ("backbone-or-dataset", "own")])
def test_the_plug_ins_of_the_guides_can_be_trained(tmp_path: Path, guide: str, experiment: str) -> None:
    for language in ("python", "yaml"):
        for title, text in blocks(DOCS / "howto" / f"{guide}.md", language):
            if title:
                (tmp_path / title).write_text(text, encoding="utf-8")
    run(f"python -m orchestrator launch {experiment}.yaml --executor inline --seeds 1", tmp_path)


# ---- How to cite ----


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"].partition(" AND ")[0])
