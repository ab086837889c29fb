"""What would be missing from a wheel."""

import tomllib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = ("agents", "configs", "envs", "networks", "training", "world_models")


def test_every_folder_with_code_is_a_listed_package():
    found = {path.parent.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    names = {"palaestra." + ".".join(path.parts): str(path) for path in found}
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == set(names)
    assert SETTINGS["tool"]["setuptools"]["package-dir"] == names


@pytest.mark.parametrize("package", SETTINGS["tool"]["setuptools"]["packages"])
def test_every_package_says_how_it_is_imported(package):
    init = (ROOT / SETTINGS["tool"]["setuptools"]["package-dir"][package] / "__init__.py").read_text()
    assert f"Imported as `{package}`" in init.splitlines()[0]


def test_presets_are_found_as_package_data():
    assert files("palaestra.configs").joinpath("ppo/CartPole-v1.yaml").is_file()


def test_the_command_is_installed():
    (script,) = entry_points(group="console_scripts", name="palaestra")
    assert script.value == "palaestra.training.cli.main:main"


def test_all_has_every_extra_that_users_may_want():
    extras = SETTINGS["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    named = set(everything.removeprefix("palaestra[").removesuffix("]").split(","))
    # dm_control would hold everybody back at an older MuJoCo.
    assert named == set(extras) - {"dev", "all", "dm-control"}
