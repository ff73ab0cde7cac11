"""The catalogue: names, near names, and plug-ins of third parties."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from trainers import catalogue
from trainers.backbones import Backbone
from trainers.catalogue import Axis, UnknownNameError
from trainers.datasets import Dataset
from trainers.losses import Loss
from trainers.losses.bce import BCEUnified

KINDS: dict[Axis, type] = {"losses": Loss, "backbones": Backbone, "datasets": Dataset}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The catalogue forgets what a test added to it."""
    monkeypatch.setattr(catalogue, "_modules", [])
    modules = set(sys.modules)
    catalogue.plugins.cache_clear()
    yield
    catalogue.plugins.cache_clear()
    for module in set(sys.modules) - modules:
        if module.startswith("acme"):
            del sys.modules[module]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write an importable module that defines the loss `Acme` of a given name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(module: str, name: str) -> None:
        source = f'''
            """A module of a third party."""
            from trainers.losses import Loss
            from trainers.losses.softmax import Softmax  # used, not defined here

            class Acme(Loss):
                """Softmax at a temperature."""

                name = "{name}"
                temperature: float = 1.0

                def per_sample(self, logits, labels):
                    return Softmax().per_sample(logits / self.temperature, labels)
        '''
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))

    return write


@pytest.fixture
def install(tmp_path: Path, write_module: Callable[[str, str], None]) -> Callable[..., None]:
    """Install a package whose entry point names a loss of its module, or something else."""

    def write(module: str, name: str, target: str = "Acme", axis: str = "losses") -> None:
        write_module(module, name)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[orchestrator.{axis}]\nacme = {module}:{target}\n")

    return write


@pytest.mark.parametrize("axis", get_args(Axis))
def test_the_names_come_in_alphabetical_order(axis: Axis) -> None:
    assert list(catalogue.plugins(axis)) == sorted(catalogue.plugins(axis))


@pytest.mark.parametrize("axis", get_args(Axis))
def test_every_plug_in_is_of_the_kind_of_its_axis(axis: Axis) -> None:
    for name, plugin in catalogue.plugins(axis).items():
        assert issubclass(plugin, KINDS[axis])
        assert plugin.name == name


def test_the_built_in_ones_are_there() -> None:
    assert {"softmax", "bce", "bce_unified", "bce_diverse"} <= set(catalogue.plugins("losses"))
    assert {"resnet8", "resnet20", "resnet18", "torchvision"} <= set(catalogue.plugins("backbones"))
    assert {"digits", "mnist", "cifar10", "cifar100"} <= set(catalogue.plugins("datasets"))


def test_parameters_are_bound_and_the_others_defaulted() -> None:
    assert catalogue.resolve("losses", "bce_unified", {"bias_init": 2}) == BCEUnified(bias_init=2.0)


def test_a_variant_follows_the_colon() -> None:
    assert catalogue.resolve("backbones", "torchvision:resnet34").key == "torchvision:resnet34"


@pytest.mark.parametrize(
    ("axis", "name", "parameters"),
    [
        ("losses", "bce_unified", {"bias_int": 1}),
        ("backbones", "torchvision", {}),
        ("backbones", "torchvision:resnet35", {}),
    ],
)
def test_what_a_plug_in_does_not_have_is_refused(axis: Axis, name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        catalogue.resolve(axis, name, parameters)


def test_a_family_of_one_has_no_variants() -> None:
    with pytest.raises(UnknownNameError, match=r"No loss named 'softmax:hard'\. Did you mean 'softmax'"):
        catalogue.resolve("losses", "softmax:hard")


def test_an_architecture_cannot_be_given_twice() -> None:
    with pytest.raises(UnknownNameError, match="names its architecture already"):
        catalogue.resolve("backbones", "torchvision:resnet34", {"architecture": "resnet50"})


def test_an_unknown_name_gets_the_nearest_and_all_known_ones() -> None:
    with pytest.raises(UnknownNameError) as caught:
        catalogue.resolve("losses", "bce_unifed")
    known = ", ".join(catalogue.plugins("losses"))
    assert str(caught.value) == f"No loss named 'bce_unifed'. Did you mean 'bce_unified'? Known: {known}."


def test_a_name_far_from_all_others_gets_no_suggestion() -> None:
    with pytest.raises(UnknownNameError) as caught:
        catalogue.resolve("datasets", "?")
    assert str(caught.value).startswith("No dataset named '?'. Known: ")


def test_an_installed_package_adds_a_plug_in_by_entry_point(install: Callable[..., None]) -> None:
    install("acme_installed", "acme_loss")
    loss = catalogue.resolve("losses", "acme_loss", {"temperature": 2})
    assert isinstance(loss, Loss)
    assert loss.model_dump().items() >= {"name": "acme_loss", "temperature": 2.0}.items()
    assert loss.summary() == "Softmax at a temperature."
    assert "softmax" in catalogue.plugins("losses")


def test_a_module_of_ones_own_adds_its_plug_ins(write_module: Callable[..., None]) -> None:
    write_module("acme_own", "acme_loss")
    assert "acme_loss" not in catalogue.plugins("losses")
    catalogue.add("acme_own")
    catalogue.add("acme_own")
    assert catalogue.resolve("losses", "acme_loss").name == "acme_loss"
    assert "acme_loss" not in catalogue.plugins("backbones")


def test_a_module_that_does_not_exist_is_not_added() -> None:
    with pytest.raises(ImportError, match="acme_absent"):
        catalogue.add("acme_absent")
    catalogue.plugins.cache_clear()
    assert "softmax" in catalogue.plugins("losses")


def test_two_modules_with_one_name_are_refused(write_module: Callable[..., None]) -> None:
    for module in ("acme_first", "acme_second"):
        write_module(module, "acme_loss")
    catalogue.add("acme_first")
    with pytest.raises(TypeError, match=r"Two losses are called 'acme_loss': .*acme_first.* and .*acme_second"):
        catalogue.add("acme_second")
    assert "acme_first" in catalogue.plugins("losses")["acme_loss"].__module__


def test_a_built_in_name_cannot_be_taken(install: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    install("acme_usurper", "softmax")
    assert catalogue.plugins("losses")["softmax"].__module__ == "trainers.losses.softmax"
    (told,) = caplog.messages
    assert told == (
        "The entry point 'acme' of package 'acme_usurper' in orchestrator.losses is left out: "
        "it calls something 'softmax', which is built in."
    )


def test_of_two_packages_with_one_name_neither_is_used(install: Callable[..., None]) -> None:
    install("acme_one", "acme_loss")
    install("acme_two", "acme_loss")
    with pytest.raises(UnknownNameError) as caught:
        catalogue.resolve("losses", "acme_loss")
    for package in ("acme_one", "acme_two"):
        sentence = f"package '{package}' in orchestrator.losses is left out: another package calls something"
        assert sentence in str(caught.value)


@pytest.mark.parametrize(("target", "axis"), [("__doc__", "losses"), ("Acme", "backbones")])
def test_an_entry_point_to_something_else_is_left_out(
    install: Callable[..., None], target: str, axis: Axis, caplog: pytest.LogCaptureFixture
) -> None:
    install("acme_wrong", "acme_loss", target, axis)
    assert "acme_loss" not in catalogue.plugins(axis)
    assert f"acme_wrong:{target} is no subclass of {KINDS[axis].__name__} with a name." in caplog.text


@pytest.mark.parametrize("line", ["import absent_module", "import sys; sys.exit(3)", "1 / 0", "raise BaseException"])
def test_a_package_that_cannot_be_imported_is_told_once_and_fatal_only_for_who_asks_for_it(
    install: Callable[..., None], tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    install("acme_broken", "acme_loss")
    (tmp_path / "acme_broken.py").write_text(f"{line}\n")
    catalogue._warn.cache_clear()
    assert catalogue.resolve("losses", "softmax").name == "softmax"
    catalogue.plugins.cache_clear()
    with pytest.raises(UnknownNameError, match=r"No loss named 'acme_loss'.*package 'acme_broken'.*is left out: "):
        catalogue.resolve("losses", "acme_loss")
    (told,) = caplog.messages
    assert "package 'acme_broken'" in told


def test_a_module_of_ones_own_that_ends_the_program_is_refused(
    tmp_path: Path, write_module: Callable[..., None]
) -> None:
    write_module("acme_own", "acme_loss")
    (tmp_path / "acme_own.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(ImportError, match="SystemExit: 3"):
        catalogue.add("acme_own")
