"""An id of a package that registers it on import is found in the text of installed packages."""

import sys
from textwrap import dedent

import pytest

from palaestra.envs.providers import find_provider
from palaestra.envs.registry import find_environment
from palaestra.training.settings.trust import may_name


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return what installs a package: its files by name."""

    def install(name, files, needs="gymnasium>=1.0"):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(dedent(text))
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {needs}\n"
        )
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))

    monkeypatch.syspath_prepend(tmp_path)
    return install


REGISTERS = """
    from gymnasium import register
    register(id="Kite-v3", entry_point="kite_world.kite:Kite")
    raise RuntimeError("must not be imported to be found")
"""


def test_the_package_that_registers_an_id_is_named_and_not_imported(site):
    site("kite-world", {"kite_world/__init__.py": REGISTERS})
    with pytest.raises(ValueError) as said:
        find_environment("Kite-v3")
    assert (
        str(said.value)
        == "unknown environment 'Kite-v3'; the package kite-world registers it: use kite_world:Kite-v3"
    )
    assert "kite_world" not in sys.modules


def test_a_package_is_asked_to_register_where_importing_it_does_not(site, register):
    """As `bluesky_gym` has it; Gymnasium's own function, which many modules import, wants a module."""
    code = """
        from gymnasium import register, register_envs as register_their_envs
        def register_envs(more=True):
            register(id="Glider-v3", entry_point="gymnasium.envs.classic_control:CartPoleEnv")
        """
    site("glider-world", {"glider_world.py": code})
    hint = "the package glider-world registers it: use glider_world:Glider-v3"
    with pytest.raises(ValueError, match=hint):
        find_environment("Glider-v3")
    with pytest.raises(ValueError, match="did you mean 'glider_world:Glider-v3'"):
        find_environment("glider_world:Gliders-v3")
    assert find_environment("glider_world:Glider-v3").id == "Glider-v3"
    assert may_name("environment", "glider_world:Glider-v3")


def test_a_package_that_cannot_register_is_one_line(site):
    site("lead-world", {"lead_world.py": "def register_environments(): raise OSError('no air')"})
    with pytest.raises(ValueError) as said:
        find_environment("lead_world:Lead-v3")
    assert (
        str(said.value) == "environment 'lead_world:Lead-v3': lead_world cannot register it: OSError: no air"
    )


def test_the_module_that_registers_is_named_where_the_package_does_not_import_it(site):
    site("kite-world", {"kite_world/__init__.py": "", "kite_world/envs/__init__.py": REGISTERS})
    assert find_provider("Kite-v3") == ("kite-world", "kite_world.envs")


def test_packages_that_do_not_need_gymnasium_are_not_read(site):
    site("kite-world", {"kite_world/__init__.py": REGISTERS}, needs="numpy")
    assert find_provider("Kite-v3") is None


def test_an_id_that_nobody_registers_says_how_ids_of_packages_are_written():
    with pytest.raises(
        ValueError, match=r"written module:Id, for example flappy_bird_gymnasium:FlappyBird-v0$"
    ):
        find_environment("Qqqqqqqq-v0")


def test_a_module_that_cannot_be_imported_is_one_line(site):
    site("kite-world", {"kite_world/__init__.py": REGISTERS})
    with pytest.raises(
        ValueError, match=r"'kite_world:Kite-v3': cannot import kite_world: RuntimeError: must"
    ):
        find_environment("kite_world:Kite-v3")
