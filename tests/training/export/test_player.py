"""The player in docs/export.md, which knows onnxruntime, NumPy and Gymnasium only, plays as our own policy does."""

import json
import re
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import palaestra.envs  # noqa: F401  # registers ours
from palaestra.loading import load_policy
from palaestra.training.cli.main import run
from palaestra.training.run.start import start_run

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

PAGE = Path(__file__).parents[3] / "docs" / "export.md"
NO_VEL = "palaestra/CartPoleNoVel-v0"
TASKS = {
    "CartPole": {"env": "CartPole-v1"},
    "Pendulum": {"env": "Pendulum-v1", "encoder": {"name": "mlp", "normalize": True}},
    "CartPoleNoVel, LSTM": {"env": NO_VEL, "memory": "lstm"},
    "CartPoleNoVel, GRU": {"env": NO_VEL, "memory": "gru"},
    "CartPoleNoVel, transformer": {"env": NO_VEL, "memory": "transformer"},
    "Pendulum, what was done before": {"env": "Pendulum-v1", "show_previous": True},
    "Catch": {"env": "palaestra/Catch-v0", "encoder": "cnn"},
    "CartPolePixels": {"env": "palaestra/CartPolePixels-v0", "encoder": "cnn"},
}
# Evaluated and saved at the end.
ONCE = {"steps": 256, "evaluate_every": 256, "checkpoint_every": 256}
FAST = ("CartPoleNoVel, GRU", "Pendulum, what was done before", "Catch")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in TASKS if name not in FAST]


def player():
    """The function in the docs, and the lines that it takes."""
    code = next(
        body
        for body in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        if "def play(" in body
    )
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    return names["play"], code


class Recorded(gymnasium.Wrapper):
    """Keeps the actions."""

    def step(self, action):
        self.actions.append(np.array(action))
        return self.env.step(action)


def play_ours(policy, env, seed):
    obs, _ = env.reset(seed=seed)
    state, total, done = None, 0.0, False
    while not done:
        action, state = policy.predict(obs, state, deterministic=True)
        obs, reward, terminated, truncated, _ = env.step(action)
        total, done = total + reward, terminated or truncated
    return total


class Previous(gymnasium.Wrapper):
    """Shows our policy the last action and reward; the exported one keeps the action by itself."""

    def shown(self, obs, action, reward):
        return {"obs": obs, "previous_action": action, "previous_reward": np.array([reward], np.float32)}

    def reset(self, **options):
        obs, info = self.env.reset(**options)
        return self.shown(obs, np.zeros(self.action_space.shape, np.float32), 0.0), info

    def step(self, action):
        obs, reward, *ended = self.env.step(action)
        return self.shown(obs, action, reward), reward, *ended


@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_the_player_reaches_the_same_return(name, small_config, tmp_path):
    folder = tmp_path / "exported"
    start_run(small_config(**(ONCE | TASKS[name])), tmp_path / "run")
    assert run(["export", str(tmp_path / "run"), "--out", str(folder / "policy.onnx")]) == 0
    play, _ = player()
    policy, returns, actions = load_policy(tmp_path / "run"), [], []
    for playing in (
        lambda env, seed: play(folder, env, seed),
        lambda env, seed: play_ours(policy, Previous(env) if "before" in name else env, seed),
    ):
        env = Recorded(gymnasium.make(TASKS[name]["env"]))
        for seed in (0, 1, 2):
            env.actions = []
            returns.append(playing(env, seed))
            actions.append(np.array(env.actions))
    for seed in range(3):
        assert actions[seed].shape == actions[seed + 3].shape
        np.testing.assert_allclose(actions[seed], actions[seed + 3], atol=1e-4)
    np.testing.assert_allclose(returns[:3], returns[3:], rtol=1e-4)


def test_it_finds_parts_however_deep_they_lie():
    names = {}
    exec(compile(player()[1], str(PAGE), "exec"), names)
    obs = {"a": ({"b": 1}, 2)}
    assert [names["part_of"](obs, key) for key in (None, "a", ["a", 1], ["a", 0, "b"])] == [
        obs,
        obs["a"],
        2,
        1,
    ]


def test_the_player_is_short_and_knows_nothing_of_us():
    code = player()[1]
    function = code[code.index("def play(") : code.index("if __name__")]
    assert len(function.split("\n\n\n")[0].splitlines()) <= 20
    assert set(re.findall(r"^import (\w+)", code, re.MULTILINE)) <= {
        "gymnasium",
        "numpy",
        "onnxruntime",
        *sys.stdlib_module_names,
    }


def test_the_page_shows_a_contract(tmp_path):
    """The JSON in the docs has the keys that export writes."""
    shown = json.loads(re.search(r"^```json\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1])
    assert {port["role"] for port in shown["inputs"]} == {"observation", "first", "state"}
    assert all(set(port) == {"name", "role", "shape", "dtype", "key"} for port in shown["inputs"])
