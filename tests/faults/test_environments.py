"""Environments that raise, hang, die or return nonsense, in reset and step, early and late, sync and async."""

import os
import time

import gymnasium
import numpy as np
import pytest

from palaestra.training.cli.main import run


class Faulty(gymnasium.Env):
    """Walks along; one kind of fault at one step of one episode."""

    observation_space = gymnasium.spaces.Box(-10, 10, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, kind="none", at=20, reset_fault=False):
        self.kind, self.at, self.reset_fault = kind, at, reset_fault
        self.steps, self.total = 0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        if self.reset_fault and self.total >= self.at:
            return self.fault(), {}
        return self.np_random.normal(size=2).astype(np.float32).clip(-9, 9), {}

    def step(self, action):
        self.steps += 1
        self.total += 1
        obs, reward = self.np_random.normal(size=2).astype(np.float32).clip(-9, 9), float(action)
        if not self.reset_fault and self.total == self.at:
            if self.kind == "reward":
                reward = float("nan")
            else:
                obs = self.fault()
        return obs, reward, self.steps >= 10, False, {}

    def fault(self):
        match self.kind:
            case "raises":
                raise RuntimeError("a fault of the environment")
            case "exits":
                raise SystemExit(3)
            case "dies":
                os._exit(7)
            case "hangs":
                time.sleep(3600)
            case "nan":
                return np.array([np.nan, 0], np.float32)
            case "infinite":
                return np.array([np.inf, 0], np.float32)
            case "shape":
                return np.zeros(3, np.float32)
            case "none at all":
                return None
            case "text":
                return "observation"
        return np.zeros(2, np.float32)


KINDS = ("raises", "exits", "nan", "infinite", "reward", "shape", "none at all", "text")


@pytest.fixture
def importable(monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))


def words(agent, kind, backend, on_error, reset_fault, out):
    return [
        *["train", agent, "--env", "test_environments:Faulty", "--steps", "400", "--num-envs", "2"],
        *["--env-kwargs", f"kind={kind}", f"reset_fault={str(reset_fault).lower()}", "--track", "none"],
        *["--backend", backend, "--env.on-error", on_error, "--env.timeout", "3", "--evaluate-episodes", "1"],
        *["--checkpoint-every", "20", "--out", str(out)],
        *(["--agent.rollout-length", "16"] if agent == "ppo" else ["--agent.learning-starts", "10"]),
    ]


@pytest.mark.parametrize("reset_fault", [False, True], ids=["step", "reset"])
@pytest.mark.parametrize("backend", ["sync", "async"])
@pytest.mark.parametrize("agent", ["ppo", "dqn"])
@pytest.mark.parametrize("kind", [*KINDS, "dies", "hangs"])
def test_a_faulty_environment_stops_the_run_with_a_line(
    kind, agent, backend, reset_fault, importable, tried, tmp_path, capsys
):
    if backend == "sync" and kind in ("dies", "hangs"):
        pytest.skip("takes this very process along")
    tried(f"environment faults, {backend}")
    code = run(words(agent, kind, backend, "stop", reset_fault, tmp_path / "run"))
    errors = capsys.readouterr().err
    assert code == (0 if kind == "reward" and reset_fault else 1)
    if code:
        assert "error: environment" in errors
        assert f"--resume {tmp_path / 'run'}" in errors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["sync", "async"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # one for each restart
def test_a_faulty_copy_is_made_anew_where_that_is_wanted(kind, backend, importable, tried, tmp_path):
    tried(f"environment faults, {backend}")
    assert run(words("ppo", kind, backend, "restart", False, tmp_path / "run")) == 0
