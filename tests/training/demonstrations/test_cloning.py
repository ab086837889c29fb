"""From a run to its clone, with the commands that a user types."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.training.cli.main import run
from palaestra.training.demonstrations.storage import fitted
from palaestra.training.settings.arguments import gathered
from palaestra.training.settings.usage import UsageError
from palaestra.training.tracking.metrics_file import read_metrics
from palaestra.world_models.datasets import RecordedEpisode

PROBE = "palaestra/ProbeActionObservation-v0"
SHORT = ["--evaluate-episodes", "5", "--track", "none"]


def test_a_probe_is_solved_recorded_cloned_and_the_clone_evaluated(tmp_path, capsys):
    teacher, demo, clone = (str(tmp_path / name) for name in ("teacher", "demo", "clone"))
    options = ["--agent.rollout-length", "32", "--agent.learning-rate", "0.01"]
    assert run(["train", "ppo", "--env", PROBE, "--steps", "4k", *options, *SHORT, "--out", teacher]) == 0
    capsys.readouterr()
    assert run(["record", teacher, "--episodes", "40", "--out", demo, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["return_mean"] == 1.0 and report["episodes"] == report["steps"] == 40

    words = ["train", "bc", "--env", PROBE, "--data", demo, "--steps", "4k", *options, *SHORT, "--out", clone]
    assert run(words) == 0
    said = capsys.readouterr()
    assert "36 demonstrations to learn from, 36 steps, mean return 1.00; 4,000 steps are 111.1" in said.err
    assert run(["evaluate", clone, "--episodes", "30", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["return_mean"] == 1.0 and found["agent"] == "bc" and found["steps_trained"] == 4000
    names = {name for row in read_metrics(tmp_path / "clone") for name in row}
    assert {"loss/policy", "loss/held_out", "policy/entropy", "eval/return"} <= names
    assert "episode/return" not in names  # it plays none while it learns

    # And what it knows, another agent begins with.
    warm = str(tmp_path / "warm")
    words = ["train", "reinforce", "--env", PROBE, "--init-from", clone, "--steps", "100", "--num-envs", "2"]
    assert run([*words, "--agent.steps-per-update", "50", *SHORT, "--out", warm]) == 0
    capsys.readouterr()
    assert run(["evaluate", warm, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["return_mean"] == 1.0


class Masked(gymnasium.Env):
    """Allows other actions in every step, and breaks where it is not obeyed; two kinds of choices and a number."""

    action_space = spaces.Dict(kind=spaces.Discrete(3), where=spaces.Box(-1, 1, (1,), np.float32))
    observation_space = spaces.Dict(
        x=spaces.Box(-1, 1, (2,), np.float32), action_mask=spaces.Dict(kind=spaces.Box(0, 1, (3,), np.int8))
    )

    def _obs(self):
        self.mask = self.np_random.integers(0, 2, 3).astype(np.int8)
        self.mask[self.np_random.integers(3)] = 1
        x = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return {"x": x, "action_mask": {"kind": self.mask}}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._obs(), {}

    def step(self, action):
        assert self.mask[action["kind"]], "a forbidden action"
        self.time += 1
        return self._obs(), 1.0, self.time == 7, False, {}


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ("MaskedTeacher-v0", ["--memory", "transformer", "--memory.size", "8", "--memory.heads", "2"]),
        ("palaestra/PendulumNoVel-v0", ["--memory", "lstm", "--agent.squash", "--show-previous"]),
        ("palaestra/Catch-v0", ["--memory", "gru", "--frame-stack", "2"]),
    ],
)
def test_masks_nested_spaces_pictures_and_memories_are_cloned(env, options, tmp_path):
    before = dict(gymnasium.registry)
    gymnasium.register("MaskedTeacher-v0", Masked)
    shared = ["--env", env, "--num-envs", "2", "--track", "none", "--evaluate-episodes", "2", *options]
    shared += ["--threads", "1"]
    shared += ["--evaluate-max-steps", "20", "--env-kwargs", "max_episode_steps=20"]
    teacher, demo, clone = (str(tmp_path / name) for name in ("teacher", "demo", "clone"))
    try:
        small = ["--agent.rollout-length", "16", "--agent.batch-size", "16"]
        assert run(["train", "ppo", *shared, *small, "--steps", "64", "--out", teacher]) == 0
        assert run(["record", teacher, "--episodes", "12", "--out", demo]) == 0
        assert run(["train", "bc", *shared, *small, "--steps", "200", "--data", demo, "--out", clone]) == 0
        assert run(["evaluate", clone, "--episodes", "3"]) == 0
    finally:
        gymnasium.registry.clear()
        gymnasium.registry.update(before)
    losses = [row["loss/policy"] for row in read_metrics(tmp_path / "clone") if "loss/policy" in row]
    assert np.isfinite(losses).all()


def test_actions_that_a_mask_forbids_are_refused():
    """Nobody who obeys it could learn them. The number beside the choice is always allowed."""
    mask = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 1]], np.int8)
    obs = {"x": np.zeros((3, 2), np.float32), "action_mask": {"kind": mask}}

    def episode(*kinds):
        action = {"kind": np.array(kinds), "where": np.full((2, 1), 0.5, np.float32)}
        return RecordedEpisode(obs, action, np.ones(2, np.float32), True)

    spaces_of = Masked.observation_space, Masked.action_space
    assert fitted(episode(2, 1), *spaces_of, "--data demo, episode 0").terminated
    with pytest.raises(
        UsageError, match=r"episode 0: action {'kind': 0, 'where': \[0\.5\]} of step 1 is forbidden"
    ):
        fitted(episode(0, 0), *spaces_of, "--data demo, episode 0")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("train bc --env CartPole-v1", ["which demonstrations?", "--data DIR"]),
        ("train bc --env CartPole-v1 --data nowhere", ["--data nowhere", "no such folder"]),
        ("train ppo --env CartPole-v1 --data demo", ["--data: ppo learns from what it does itself", "bc"]),
        ("train ppo --env CartPole-v1 --episodes 3", ["--episodes: ppo learns from what it does itself"]),
        ("train ddpg --env CartPole-v1", ["use dqn or ppo"]),
        ("record nowhere --out demo", ["nowhere is not a run"]),
        ("record nowhere", ["--out"]),
        ("record nowhere --out demo --episodes 0", ["--episodes: must be at least 1, got 0"]),
        (
            "train ppo --env CartPole-v1 --world-model auto+ensemble --init-from x",
            ["--init-from: not where a world model is fitted again"],
        ),
    ],
)
def test_bad_input_is_one_line(words, parts, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(words.split()) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ") and all(part in said[-1] for part in parts)
    assert not list(tmp_path.iterdir())


def test_data_may_be_given_again_and_again():
    words = "--env X --data a b --steps 3 --data=c --data d"
    assert gathered(words.split(), "data") == ["--env", "X", "--steps", "3", "--data", "a", "b", "c", "d"]
    assert gathered(["--env", "X"], "data") == ["--env", "X"]
