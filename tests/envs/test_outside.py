"""Environments and wrappers in files that nobody has installed."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from palaestra.envs.checking.check import check_environment
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.outside import absolute_name, given_objects, load_file, short_name
from palaestra.envs.registry import find_environment

ENV = """
import gymnasium
from sibling_of_mine import LENGTH
from palaestra.envs.tasks.corridor import Corridor


class Mine(Corridor):
    def __init__(self, size=LENGTH):
        super().__init__(size=size)


class Louder(gymnasium.RewardWrapper):
    def __init__(self, env, factor=2.0):
        super().__init__(env)
        self.factor = factor

    def reward(self, reward):
        return self.factor * reward


def shorter(size=4):
    return Mine(size)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    (tmp_path / "sibling_of_mine.py").write_text("LENGTH = 5\n")
    for name in ("env_of_mine.py", "json.py", "my-env.py"):
        (tmp_path / name).write_text(ENV)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def message(call, error=ValueError):
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def rollout(spec):
    """Rewards of some random steps."""
    envs, generator = make_envs(spec), np.random.default_rng(0)
    try:
        envs.reset()
        return [envs.step(generator.integers(0, 2, spec.num_envs)).reward for _ in range(30)]
    finally:
        envs.close()


# Its name is free, another module has it, or no module can have it.
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("env_of_mine.py", "Mine"),
        ("./json.py", "Mine"),
        ("my-env.py", "shorter"),
        ("~/env_of_mine.py", "Mine"),
    ],
)
def test_an_environment_in_a_file_steps_in_worker_processes_as_here(file, name, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    wrapper = f"{file}:Louder(factor=3.0)"
    spec = EnvSpec(f"{file}:{name}", 2, kwargs={"size": 4, "max_episode_steps": 9}, wrappers=(wrapper,))
    here = rollout(spec)
    there = rollout(EnvSpec(**{**vars(spec), "backend": "async", "workers": 1}))
    np.testing.assert_array_equal(here, there)
    plain = rollout(EnvSpec(**{**vars(spec), "wrappers": ()}))
    np.testing.assert_allclose(here, 3.0 * np.array(plain))


def test_the_standard_librarys_modules_stay_what_they_are(folder):
    import json

    assert find_environment("json.py:Mine") and sys.modules["json"] is json
    assert "palaestra_file_json" in load_file(folder / "json.py").__name__


def test_a_file_is_one_module_whoever_imports_it(folder):
    module = load_file(folder / "env_of_mine.py")
    import env_of_mine

    assert module is env_of_mine and load_file(folder / "env_of_mine.py") is module


def test_what_is_wrong_with_a_file_is_one_line_that_names_it(folder):
    (folder / "broken.py").write_text("x = 1\n\nx / 0\n")
    (folder / "syntax.py").write_text("def (\n")
    assert message(lambda: find_environment("env_of_min.py:Mine")) == (
        f"environment 'env_of_min.py:Mine': there is no file {folder}/env_of_min.py; did you mean env_of_mine.py?"
    )
    assert message(lambda: find_environment("./env_of_mine.py:Mime")) == (
        "unknown environment './env_of_mine.py:Mime'; did you mean './env_of_mine.py:Mine'?"
    )
    assert "broken.py, line 3: ZeroDivisionError" in message(lambda: find_environment("broken.py:Mine"))
    assert "SyntaxError: invalid syntax (syntax.py, line 1)" in message(
        lambda: find_environment("syntax.py:Mine")
    )
    assert message(lambda: find_environment("./env_of_mine:Mine")).endswith(
        "did you mean ./env_of_mine.py:Mine?"
    )
    assert "takes no argument 'siz'; did you mean 'size'?" in message(
        lambda: make_envs(EnvSpec("env_of_mine.py:Mine", kwargs={"siz": 3}))
    )


def test_a_file_is_checked_as_a_module_is(folder):
    report = check_environment("./env_of_mine.py:Mine", {"max_episode_steps": 20}, ("env_of_mine.py:Louder",))
    assert report.ok and report.id == "./env_of_mine.py:Mine", report.errors


def test_an_edit_does_not_change_a_run_that_has_begun(folder, monkeypatch):
    """This process goes on with what it has loaded; a worker process, which cannot, refuses."""
    made = find_environment("env_of_mine.py:Mine").entry_point()
    (folder / "env_of_mine.py").write_text(ENV.replace("Corridor)", "Corridor, object)"))
    spec = find_environment("env_of_mine.py:Mine")
    assert type(spec.entry_point()) is type(made)
    monkeypatch.setattr("palaestra.envs.outside._loaded", {})
    assert "has changed since the run began" in message(spec.entry_point, ImportError)


def test_names_of_files():
    assert absolute_name("/a/../b/x.py:Y(size=3)") == "/b/x.py:Y(size=3)"
    for name in ("CartPole-v1", "my_pkg:Y", "palaestra:palaestra/Recall-v0", "sb3/ppo", "a.pyc:Y"):
        assert absolute_name(name) == name
    assert short_name("/a/b/x.py:Y(size=3)") == "x.py:Y(size=3)" and short_name("from-python:Y") == "Y"


def test_an_object_stands_for_its_name_only_where_it_was_given():
    from palaestra.envs.tasks.corridor import Corridor

    with given_objects({"from-python:Hall": Corridor}):
        assert find_environment("from-python:Hall").entry_point is Corridor
    assert message(lambda: find_environment("from-python:Hall")) == (
        "environment 'Hall' was an object in a Python program, which no file can hold: go on in Python, with "
        "palaestra.load(RUN_DIR, env=Hall)"
    )


def test_files_from_the_command_line(folder):
    """Agent, environment, encoder and wrapper; gone on with from another folder; a change of the file is said."""
    (folder / "agent_of_mine.py").write_text(
        textwrap.dedent(
            """
            from palaestra.agents.ppo import PPO, PPOConfig
            from palaestra.networks.encoders.mlp import MLP

            class MyPPO(PPO):
                Config = PPOConfig

            class Net(MLP):
                pass
            """
        )
    )
    (folder / "json.py").unlink()  # `python -m` would take it for Python's own
    program = [sys.executable, "-m", "palaestra"]
    short = "--steps 128 --num-envs 2 --evaluate-episodes 1 --track none --agent.rollout-length 16"
    words = (
        "train ./agent_of_mine.py:MyPPO --env env_of_mine.py:Mine --encoder agent_of_mine.py:Net --out run"
    )
    wrapped = ["--env.wrappers", "./env_of_mine.py:Louder", "--env-kwargs", "max_episode_steps=9"]

    def ran(words, cwd, code=0):
        process = subprocess.run([*program, *words], cwd=cwd, capture_output=True, text=True, check=False)
        assert process.returncode == code, process.stderr
        return process

    trained = ran([*words.split(), *wrapped, *short.split()], folder)
    assert "agent_of_mine.py:MyPPO on env_of_mine.py:Mine" in trained.stdout
    config = (folder / "run" / "config.yaml").read_text()
    assert f"env: {folder}/env_of_mine.py:Mine" in config and f"name: {folder}/agent_of_mine.py:Net" in config
    other = folder / "elsewhere"
    other.mkdir()
    refused = ran(["evaluate", "../run"], other, code=2)
    assert "names an agent from outside" in refused.stderr and refused.stderr.count("\n") == 1
    (folder / "env_of_mine.py").write_text(ENV + "\n# edited\n")
    resumed = ran(["train", "--resume", "../run", "--steps", "160", "--trust"], other)
    assert f"note: {folder}/env_of_mine.py has changed since the last session" in resumed.stderr


def test_files_in_two_folders_do_not_share_helpers_of_one_name(folder):
    """A folder copied to try something else: the second file would get the first one's helper."""
    for name, length in (("first", 3), ("second", 7)):
        (folder / name).mkdir()
        (folder / name / "env_of_mine.py").write_text(ENV)
        (folder / name / "sibling_of_mine.py").write_text(f"LENGTH = {length}\n")
        (folder / name / "alone_of_mine.py").write_text(
            "import json\nfrom palaestra.envs.tasks.fork import Fork\n"
        )
    (folder / "first" / "only.py").write_text("import through_of_mine")
    (folder / "second" / "only.py").write_text("import through_of_mine")
    (folder / "second" / "through_of_mine.py").write_text("import sibling_of_mine")
    load_file(folder / "first" / "env_of_mine.py")
    told = message(lambda: load_file(folder / "second" / "env_of_mine.py"), ImportError)
    assert "second/env_of_mine.py imports sibling_of_mine, and another one is loaded from" in told
    assert "first/sibling_of_mine.py" in told
    assert "imports sibling_of_mine" in message(lambda: load_file(folder / "second" / "only.py"), ImportError)
    load_file(folder / "second" / "alone_of_mine.py")
