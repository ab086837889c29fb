"""Components are found by file name, or in anybody's module."""

import subprocess
import sys
from pathlib import Path

import pytest

from palaestra.agents.agent import Agent
from palaestra.agents.ppo import PPO
from palaestra.networks.encoders.mlp import MLP
from palaestra.networks.memories.none import NoMemory
from palaestra.training.settings.components import component_names, find_component
from palaestra.training.settings.typed import build, plain

from .usage_errors import error_of

OUTSIDE = """
from dataclasses import dataclass
from palaestra.agents.agent import Agent
from palaestra.agents.ppo import PPO

@dataclass(frozen=True)
class MyConfig:
    size: int = 1

class MyAgent(PPO):
    Config = MyConfig

class Abstract(Agent):
    Config = MyConfig

class NoConfig(PPO):
    Config = None

class Unrelated:
    Config = MyConfig
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a user's package; what it adds to the interpreter is taken away again."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "user_plugin").mkdir()
    (tmp_path / "user_plugin" / "__init__.py").write_text("from .inner import MyAgent\n")
    (tmp_path / "user_plugin" / "inner.py").write_text(OUTSIDE)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("user_"):
            del sys.modules[name]


def test_our_own_components():
    assert find_component("agent", "ppo") is PPO
    assert find_component("encoder", "mlp") is MLP
    assert find_component("memory", "none") is NoMemory


@pytest.mark.parametrize("kind", ["agent", "encoder", "memory", "bonus", "reward"])
def test_every_name_leads_to_a_component(kind):
    names = component_names(kind)
    assert names == sorted(names) and names
    classes = [find_component(kind, name) for name in names]
    assert len(set(classes)) == len(names)
    assert all(component.Config is not None for component in classes)


def test_shared_files_are_no_components():
    assert not {"agent", "buffers", "returns", "exploration", "replay"} & set(component_names("agent"))


def test_names_are_listed_without_importing_anything_heavy():
    program = (
        "import sys; from palaestra.training.settings.components import component_names; "
        "assert 'ppo' in component_names('agent') and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["ppoo", "PPO", "pp"])
def test_an_unknown_name_comes_with_the_nearest_one(name):
    names = ", ".join(component_names("agent"))
    theirs = ", and Stable-Baselines3's as sb3/NAME"
    assert (
        error_of(find_component, "agent", name)
        == f"unknown agent {name!r}; did you mean 'ppo'? (agents: {names}{theirs})"
    )


def test_an_unknown_name_like_no_other():
    assert error_of(find_component, "memory", "zzz").startswith(
        "unknown memory 'zzz' (memories: gru, lstm, none, transformer)"
    )
    assert error_of(find_component, "agent", "../ppo").startswith("unknown agent '../ppo'")
    assert error_of(find_component, "agent", "agent").startswith("unknown agent 'agent'")


@pytest.mark.parametrize("module", ["user_plugin.inner", "user_plugin"])
def test_a_component_from_the_working_directory(folder, module):
    found = find_component("agent", f"{module}:MyAgent")
    assert issubclass(found, Agent) and found.__module__ == "user_plugin.inner"
    assert found.Config().size == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("user_plugin.inner:MyAgnt", "user_plugin.inner has no MyAgnt; did you mean 'MyAgent'?"),
        (
            "user_plugin.inner:Unrelated",
            "Unrelated is not a concrete subclass of palaestra.agents.agent.Agent",
        ),
        (
            "user_plugin.inner:Abstract",
            "Abstract is not a concrete subclass of palaestra.agents.agent.Agent: "
            "it lacks __init__, act, initial_state, learn, parts",
        ),
        ("user_plugin.inner:NoConfig", "NoConfig has no Config, a frozen dataclass of its settings"),
        (
            "user_plugin.none:A",
            "cannot import user_plugin.none: ModuleNotFoundError: No module named 'user_plugin.none'",
        ),
        (":A", "cannot import : ValueError: Empty module name"),
    ],
)
def test_what_is_wrong_with_an_outside_component(folder, name, message):
    assert error_of(find_component, "agent", name) == f"agent {name!r}: {message}"


def test_a_component_of_another_kind_is_refused(folder):
    message = "MyAgent is not a concrete subclass of palaestra.networks.torso.Memory"
    assert error_of(find_component, "memory", "user_plugin:MyAgent").endswith(message)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("def broken(:", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_fails_to_import_says_why(folder, source, cause):
    (folder / "user_broken.py").write_text(source)
    assert error_of(find_component, "agent", "user_broken:A").startswith(
        f"agent 'user_broken:A': cannot import user_broken: {cause}"
    )


CONFIGS = """
from __future__ import annotations
import enum, pathlib
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING
from palaestra.agents.ppo import PPO
if TYPE_CHECKING:
    from decimal import Decimal

class Speed(enum.Enum):
    FAST = 1

@dataclass(frozen=True)
class TestedConfig:
    FIELD

class Tested(PPO):
    Config = TestedConfig
"""


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("name: str = 'resnet18'", "a field 'name', as a run's config calls the component itself"),
        ("x: int", "x, which has no default; every option needs one"),
        ("x: int = field(init=False, default=3)", "x, which cannot be given (init=False)"),
        ("x: InitVar[int] = 3", "x, which is no field that is kept (InitVar)"),
        ("x: Speed = Speed.FAST", "x, whose default cannot be kept: Speed cannot be written to a file"),
        ("x: Decimal | None = None", "annotations cannot be read: NameError: name 'Decimal' is not defined"),
    ],
)
def test_options_of_a_component_are_what_a_file_can_say(folder, field, fault):
    (folder / "user_config.py").write_text(CONFIGS.replace("FIELD", field))
    assert fault in error_of(find_component, "agent", "user_config:Tested")


def test_a_config_that_can_change_is_refused(folder):
    source = CONFIGS.replace("FIELD", "x: int = 1").replace("(frozen=True)", "")
    (folder / "user_config.py").write_text(source)
    assert "write @dataclass(frozen=True) above TestedConfig" in error_of(
        find_component, "agent", "user_config:Tested"
    )


def test_paths_are_options(folder):
    (folder / "user_config.py").write_text(CONFIGS.replace("FIELD", "x: pathlib.Path = pathlib.Path('a/b')"))
    config = find_component("agent", "user_config:Tested").Config
    assert plain(config()) == {"x": "a/b"}
    assert build(config, {"x": "c"}) == config(Path("c"))
