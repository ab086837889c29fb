import gymnasium
import pytest

import palaestra


def test_runs_of_every_kind_are_compared(train, count_env, tmp_path):
    """One evaluated in a process of its own, one here, since only this program has its environment."""
    named, passed = train(), train(env=count_env)
    found = palaestra.compare([named, passed], episodes=2, out="both", progress=False)
    assert set(found.findings["environments"]) == {"palaestra/Corridor-v0", "from-python:Count"}
    assert repr(found) == found.text and found.report.is_file() and found.failed == []
    # Folders alone do not bring what only a program has.
    passed = train(env=count_env, seed=5)
    with pytest.raises(palaestra.UsageError, match="was an object in a Python program"):
        palaestra.compare([str(passed.folder)], episodes=2, out="three", progress=False)


def test_runs_in_an_environment_that_a_notebook_registers_are_compared(train, count_env, monkeypatch):
    """No process of its own could find it."""
    cell = gymnasium.envs.registration.EnvSpec("CellCount-v0", entry_point=count_env)
    monkeypatch.setitem(gymnasium.registry, "CellCount-v0", cell)
    runs = [
        train(env="CellCount-v0"),
        train("reinforce", "CellCount-v0", agent_options={"steps_per_update": 64}),
    ]
    found = palaestra.compare(runs, episodes=2, progress=False)
    assert found.findings["environments"] == ["CellCount-v0"] and found.failed == []


def test_what_cannot_be_compared(tmp_path):
    with pytest.raises(palaestra.UsageError, match="there is no suite 'quik'; did you mean 'quick'"):
        palaestra.compare("quik")
    with pytest.raises(palaestra.UsageError, match="what shall be compared"):
        palaestra.compare([])
    with pytest.raises(palaestra.UsageError, match="has no environment 'Hoper-v5'; did you mean 'Hopper-v5'"):
        palaestra.compare("mujoco", envs="Hoper-v5", seeds=range(3))
    with pytest.raises(palaestra.UsageError, match="choose from a suite"):
        palaestra.compare(["."], seeds=[3])
