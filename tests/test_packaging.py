"""What would be missing from a wheel."""

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest

import palaestra

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
# The folder that is imported as `palaestra` itself.
ROOT_PACKAGE = Path("training", "api")
FOLDERS = ("agents", "configs", "envs", "networks", "training", "world_models")


def test_every_folder_with_code_is_a_listed_package():
    found = {path.parent.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    names = {"palaestra." + ".".join(path.parts): str(path) for path in found - {ROOT_PACKAGE}}
    names["palaestra"] = str(ROOT_PACKAGE)
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
    # dm_control would hold everybody back at an older MuJoCo; peers are other libraries, to be compared with.
    assert named == set(extras) - {"dev", "all", "dm-control", "peers"}


def test_the_package_says_its_version_and_loads_what_is_asked_for():
    assert palaestra.__version__ == SETTINGS["project"]["version"]
    for name in palaestra.__all__:
        assert getattr(palaestra, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        palaestra.nonsense  # noqa: B018


def test_importing_the_package_imports_no_torch():
    code = "import sys, palaestra; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_types_are_shipped():
    assert files("palaestra").joinpath("py.typed").is_file()
