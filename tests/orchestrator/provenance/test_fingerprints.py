"""What changes the fingerprint of a plug-in, and what does not."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.provenance import fingerprints
from orchestrator.provenance.fingerprints import Code
from trainers import catalogue
from trainers.losses.bce import BCE
from trainers.losses.softmax import Softmax

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trainers.plugin import Plugin

PLUGIN = '''\
"""A module."""
from trainers.losses import Loss
from {home}helpers import scale


def twice(function):
    return function


class Own(Loss):
    """A loss."""

    name = "own"
    weight: float = 1.0

    @twice
    def per_sample(self, logits, labels):
        """Of each sample."""
        from {home}nested import power
        import importlib

        late = importlib.import_module({literal})
        return scale(logits) ** power * 2.0 * late.FACTOR
'''
FILES = {
    "plugin.py": PLUGIN,
    "helpers.py": "from {home}deeper import VALUE\n\n\ndef scale(x, by=3.0):\n    return x * by * VALUE\n",
    "deeper.py": "VALUE = 1.0\n",
    "nested.py": "power = 2\n",
    "late.py": "FACTOR = 5\n",
    "stranger.py": "VALUE = 1\n",
}


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """The modules, the path and the catalogue are afterwards what they were."""
    modules = {*sys.modules}
    path = [*sys.path]
    added = [*catalogue._modules]
    yield
    for name in {*sys.modules} - modules:
        if not name.startswith("trainers"):
            del sys.modules[name]
    sys.path[:] = path
    catalogue._modules[:] = added
    catalogue.plugins.cache_clear()
    forget()


def forget() -> None:
    """As in a new process."""
    for cached in vars(fingerprints).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()
    importlib.invalidate_caches()


def code(module: str) -> Code:
    forget()
    return fingerprints.of_plugin("loss", importlib.import_module(module).Own)


def write(folder: Path, home: str, literal: str, files: Mapping[str, str] = FILES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text.replace("{home}", home).replace("{literal}", literal))


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    """Modules beside each other."""
    write(tmp_path, "", '"late"')
    sys.path.insert(0, str(tmp_path))
    return tmp_path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package whose modules import each other by relative names."""
    folder = tmp_path / "beside" / "own_package" / "inner"
    write(folder, ".", '".late", __package__')
    (folder / "__init__.py").touch()
    (folder.parent / "__init__.py").write_text("LEVEL = 1\n")
    (folder.parent / "unused.py").write_text("VALUE = 1\n")
    sys.path.insert(0, str(tmp_path / "beside"))
    return folder


EDITS = [
    ("plugin.py", "2.0", "2.5", "a constant"),
    ("plugin.py", "weight: float = 1.0", "weight: float = 2.0", "a default of the plug-in"),
    ("plugin.py", "    @twice\n", "", "a decorator"),
    ("helpers.py", "by=3.0", "by=4.0", "a default of what it imports"),
    ("deeper.py", "1.0", "2.0", "what that imports"),
    ("nested.py", "2", "3", "what a function imports"),
    ("late.py", "5", "6", "what is imported by its name"),
]
NO_EDITS = [
    ("plugin.py", '"""A module."""', '"""Another text."""', "a module's docstring"),
    ("plugin.py", '    """A loss."""\n', "", "a class without its docstring"),
    ("plugin.py", "Of each sample", "Of every sample", "a function's docstring"),
    ("deeper.py", "VALUE = 1.0", "# one\n\nVALUE = (1.0)  # really", "comments, lines and parentheses"),
    ("stranger.py", "1", "2", "a module that nobody imports"),
]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(("file", "old", "new"), [entry[:3] for entry in EDITS], ids=[entry[3] for entry in EDITS])
def test_what_changes_what_is_computed_changes_the_fingerprint(
    loose: Path, package: Path, file: str, old: str, new: str
) -> None:
    for module, folder in (("plugin", loose), ("own_package.inner.plugin", package)):
        before = code(module)
        edit(folder / file, old, new)
        assert code(module).sha256 != before.sha256


@pytest.mark.parametrize(
    ("file", "old", "new"), [entry[:3] for entry in NO_EDITS], ids=[entry[3] for entry in NO_EDITS]
)
def test_what_changes_nothing_leaves_the_fingerprint(loose: Path, package: Path, file: str, old: str, new: str) -> None:
    for module, folder in (("plugin", loose), ("own_package.inner.plugin", package)):
        before = code(module)
        edit(folder / file, old, new)
        assert code(module) == before


def test_the_packages_around_a_module_count(package: Path) -> None:
    before = code("own_package.inner.plugin")
    edit(package.parent / "__init__.py", "1", "2")
    assert code("own_package.inner.plugin") != before


@pytest.mark.parametrize("name", ["table.json", "inner/fast.cpython-311-x86_64-linux-gnu.so", "weights/deep.bin"])
def test_every_file_of_a_package_that_is_no_source_counts(package: Path, name: str) -> None:
    data = package.parent / name
    data.parent.mkdir(exist_ok=True)
    data.write_bytes(b"one")
    before = code("own_package.inner.plugin")
    data.write_bytes(b"two")
    assert code("own_package.inner.plugin") != before


def test_what_python_caches_does_not_count(package: Path) -> None:
    before = code("own_package.inner.plugin")
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "late.cpython-311.pyc").write_bytes(b"other")
    assert code("own_package.inner.plugin") == before


def test_a_compiled_module_beside_counts(loose: Path) -> None:
    edit(loose / "helpers.py", "from deeper", "from fast import *\nfrom deeper")
    (loose / "fast.so").write_bytes(b"one")
    before = fingerprints._hash(fingerprints._reached(["helpers"], ["helpers"]))
    forget()
    (loose / "fast.so").write_bytes(b"two")
    assert fingerprints._hash(fingerprints._reached(["helpers"], ["helpers"])) != before


def test_modules_that_import_each_other_end(loose: Path) -> None:
    edit(loose / "deeper.py", "VALUE", "import helpers\n\nVALUE")
    assert code("plugin") == code("plugin")


def test_a_loose_module_goes_by_its_file(loose: Path, package: Path) -> None:
    assert code("plugin").source == "plugin.py"
    assert code("own_package.inner.plugin").source == "own_package"


def test_what_a_plugin_inherits_from_the_built_in_ones_counts(loose: Path) -> None:
    edit(loose / "plugin.py", "from trainers.losses import Loss", "from trainers.losses.poly import Poly1 as Loss")
    found = fingerprints._reached(["plugin"], ["plugin", "trainers"])
    assert {"trainers.losses.poly", "trainers.losses", "trainers.plugin"} <= found.keys()


# Built-in plug-ins and the loop


def own(plugin: type[Plugin]) -> set[str]:
    return {*fingerprints._reached([plugin.__module__], ["trainers"])}


def test_a_built_in_plugin_is_its_module_and_what_that_imports() -> None:
    losses = {"trainers.losses", "trainers.losses.softmax"}
    assert own(Softmax) == {"trainers", "trainers.plugin", "trainers.evaluation", *losses}
    resnet = catalogue.plugins("backbones")["resnet8"]
    assert "trainers.networks.resnet" in own(resnet)
    assert "trainers.fit" not in own(resnet)
    assert fingerprints.of_plugin("loss", Softmax) != fingerprints.of_plugin("loss", BCE)
    assert fingerprints.of_plugin("loss", Softmax).source.startswith("loss-orchestrator ")


def test_the_loop_is_all_that_training_and_measuring_reach_but_no_plugin() -> None:
    found = fingerprints._reached(["trainers.fit"], ["trainers"], fingerprints.defining())
    assert {"trainers.fit", "trainers.data", "trainers.metrics.uniform", "trainers.losses"} <= found.keys()
    assert not {"trainers.losses.bce", "trainers.backbones.resnet", "trainers.datasets.digits"} & found.keys()
    assert len(fingerprints.of_loop().sha256) == 64


def test_a_recipe_names_four_codes_without_torch() -> None:
    text = (
        "import sys; from orchestrator.provenance import fingerprints; from trainers.recipe import Recipe; "
        "r = Recipe.model_validate({'loss': 'softmax', 'backbone': 'resnet8', 'dataset': 'digits', 'seed': 0}); "
        "print(*fingerprints.recorded(r)['fingerprints']); assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["loss", "backbone", "dataset", "loop"]


# Packages that are installed

PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "tiny-losses"
version = "1.0"

[project.entry-points."orchestrator.losses"]
own = "tiny_losses.plugin:Own"

[tool.setuptools]
packages = ["tiny_losses", "tiny_shared"]
package-data = {tiny_losses = ["*.json"]}
"""


@pytest.fixture(params=["installed", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the code of a package with an entry point lies, which was installed as people do, or by a developer."""
    project = tmp_path / "project"
    is_editable = request.param == "editable"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    write(project / "tiny_losses", ".", '"tiny_shared.late"')
    for name, text in {"__init__.py": "", "table.json": "[1]"}.items():
        (project / "tiny_losses" / name).write_text(text)
    (project / "tiny_shared").mkdir()
    (project / "tiny_shared" / "__init__.py").touch()
    (project / "tiny_shared" / "late.py").write_text("FACTOR = 5\n")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    plain = ["--no-deps", "--no-build-isolation", "--ignore-installed"]
    options = ["--prefix", str(tmp_path / "place"), *(["--editable"] if is_editable else [])]
    subprocess.run([*pip, *plain, *options, str(project)], check=True, capture_output=True)
    (site,) = (tmp_path / "place").rglob("site-packages")
    sys.path[:0] = [str(site), *([str(project)] if is_editable else [])]
    return project if is_editable else site


def by_entry_point() -> Code:
    forget()
    catalogue.plugins.cache_clear()
    return fingerprints.of_plugin("loss", catalogue.plugins("losses")["own"])


def test_a_package_counts_with_its_version_and_all_of_its_files(installed: Path) -> None:
    first = by_entry_point()
    assert first.source == "tiny-losses 1.0"
    edit(installed / "tiny_losses" / "plugin.py", "Of each sample", "Of every sample")
    assert by_entry_point() == first
    found = {first.sha256}
    for name, old, new in (
        ("tiny_losses/plugin.py", "2.0", "2.5"),
        ("tiny_losses/deeper.py", "1.0", "1.5"),
        ("tiny_losses/table.json", "1", "2"),
        ("tiny_shared/late.py", "5", "6"),
    ):
        edit(installed / name, old, new)
        found.add(by_entry_point().sha256)
    assert len(found) == 5
    (metadata,) = next(Path(place) for place in sys.path if "site-packages" in place).glob("tiny*.dist-info/METADATA")
    edit(metadata, "Version: 1.0", "Version: 1.1")
    assert by_entry_point().source == "tiny-losses 1.1"
    assert by_entry_point().sha256 not in found


MEASURES = '''\
"""Measures."""
from helpers import scale
from late import FACTOR

PRICE = 3.0
OTHER = 1.0


def cost(rows):
    """The mean price."""
    return share(rows) * PRICE


cost.low = 0.0


def share(rows):
    return scale(rows)


def unlike(rows):
    return OTHER * FACTOR
'''


def measured(metric: str) -> str:
    forget()
    return fingerprints.of_measure(metric).sha256


@pytest.fixture
def measures(loose: Path) -> Path:
    """A module of measures beside others."""
    (loose / "measures.py").write_text(MEASURES)
    return loose


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("measures.py", "share(rows) * PRICE", "share(rows) / PRICE"),
        ("measures.py", "PRICE = 3.0", "PRICE = 4.0"),
        ("measures.py", "cost.low = 0.0", "cost.low = -1.0"),
        ("measures.py", "return scale(rows)", "return -scale(rows)"),
        ("measures.py", "OTHER = 1.0", "OTHER = 1.0\nshare.__defaults__ = (1,)"),
        ("measures.py", "OTHER = 1.0", "if OTHER:\n    PRICE = 5.0"),
        ("measures.py", "OTHER = 1.0", "OTHER = (PRICE := 1.0)"),
        ("measures.py", "import scale", "import deeper as scale"),
        ("helpers.py", "by=3.0", "by=4.0"),
        ("deeper.py", "1.0", "2.0"),
    ],
)
def test_an_edit_of_what_a_measure_uses_changes_its_fingerprint(measures: Path, file: str, old: str, new: str) -> None:
    before = measured("measures:cost")
    assert old in (measures / file).read_text()
    (measures / file).write_text((measures / file).read_text().replace(old, new))
    assert measured("measures:cost") != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("measures.py", "OTHER * FACTOR", "OTHER + FACTOR"),
        ("measures.py", "OTHER = 1.0", "OTHER = 2.0"),
        ("measures.py", "The mean price", "A price"),
        ("measures.py", "    return share", "    # a remark\n\n    return share"),
        ("measures.py", "from late import FACTOR", "FACTOR = 1"),
        ("late.py", "5", "6"),
    ],
)
def test_an_edit_of_another_measure_of_the_module_is_none_of_this_one(
    measures: Path, file: str, old: str, new: str
) -> None:
    before = measured("measures:cost"), measured("measures:unlike")
    assert old in (measures / file).read_text()
    (measures / file).write_text((measures / file).read_text().replace(old, new))
    assert measured("measures:cost") == before[0]
    assert before[0] != before[1]


def test_a_measure_that_a_package_only_passes_on_is_that_of_the_module_where_it_is(package: Path) -> None:
    (package.parent / "__init__.py").write_text("from .unused import cost\n")
    (package.parent / "unused.py").write_text("def cost(rows):\n    return 1.0\n")
    before = measured("own_package:cost")
    (package.parent / "unused.py").write_text("def cost(rows):\n    return 2.0\n")
    assert measured("own_package:cost") != before


def test_a_measure_of_a_compiled_module_is_its_file(loose: Path) -> None:
    place = loose / "fast.so"
    place.write_bytes(b"one")
    before = measured("fast:cost")
    place.write_bytes(b"two")
    assert measured("fast:cost") != before
