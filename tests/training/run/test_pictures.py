"""Agents that see: whole runs on the smallest task for eyes."""

import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.sync import SyncBackend
from palaestra.envs.make import make_envs
from palaestra.training.run.build import build_agent, env_spec, resolve
from palaestra.training.run.collect import Collector
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from palaestra.training.settings.config import run_config
from palaestra.training.settings.train_options import read_train_options

ENCODERS = ["cnn", "impala", "capsule"]


def parts_of(config):
    envs = make_envs(env_spec(config))
    agent = build_agent(config, envs.observation_space, envs.action_space)
    return {"collector": Collector(agent, envs), **agent.parts()}, agent


def go_on(parts, agent, steps):
    """Metrics of so many vector steps."""
    metrics = []
    for _ in range(steps):
        transition, _ = parts["collector"].step()
        metrics.append({name: float(value) for name, value in agent.learn(transition).items()})
    return metrics


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("num_envs", [3, 8])
def test_runs_on_stacked_pictures_resume_exactly(encoder, num_envs, tmp_path):
    values = {
        "agent": {"name": "ppo", "rollout_length": 16, "batch_size": 24, "epochs": 2},
        "env": "palaestra/Catch-v0",
        "num_envs": num_envs,
        "frame_stack": 3,
        "encoder": encoder,
        "threads": 1,
    }
    config = resolve(run_config(values))
    original, agent = parts_of(config)
    go_on(original, agent, 39)
    save_checkpoint(tmp_path, 39, original)
    expected = go_on(original, agent, 40)
    restored, other = parts_of(config)
    load_checkpoint(latest_checkpoint(tmp_path), restored)
    assert go_on(restored, other, 40) == expected
    assert sum(map(bool, expected)) >= 2  # learning went on


def solve(tmp_path, *options):
    """Train as the preset says; steps of each evaluation and its mean return."""
    words = ["--env", "palaestra/Catch-v0", "--track", "none", *options]
    config, _ = read_train_options("ppo", words)
    start_run(config, tmp_path / "run")
    evaluations = json.loads((tmp_path / "run" / "evaluations.json").read_text())
    return [(row["step"], sum(row["returns"]) / len(row["returns"])) for row in evaluations]


def test_ppo_catches_balls_that_it_sees(tmp_path):
    (step, mean), *_ = solve(tmp_path, "--steps", "20k", "--evaluate-every", "20k", "--threads", "1")
    assert step >= 20_000 and mean >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_every_encoder_of_pictures_learns_to_catch(encoder, seed, tmp_path):
    evaluations = solve(tmp_path, "--encoder", encoder, "--seed", seed, "--threads", "1")
    assert evaluations[-1][1] == 1


def test_the_encoder_of_the_documentation_works(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "encoders.md").read_text()
    (tmp_path / "my_nets.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = "--encoder my_nets:Means --encoder.hidden 32 --steps 600 --agent.rollout-length 16 --threads 1"
    evaluations = solve(tmp_path, *words.split(), "--evaluate-episodes", "2")
    del sys.modules["my_nets"]
    assert evaluations[-1][0] >= 600


class Robot(gymnasium.Env):
    """Sees a camera picture among other things; reward for the action that the picture asks for."""

    observation_space = spaces.Dict(
        camera=spaces.Box(0, 255, (8, 8, 3), np.uint8),
        body=spaces.Tuple([spaces.Discrete(3), spaces.Box(-np.inf, np.inf, (2,), np.float32)]),
    )
    action_space = spaces.Discrete(2)

    def show(self):
        self.wanted = int(self.np_random.integers(2))
        camera = np.full((8, 8, 3), 255 * self.wanted, np.uint8)
        numbers = self.np_random.normal(1000, 100, 2).astype(np.float32)
        return {"camera": camera, "body": (int(self.np_random.integers(3)), numbers)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.show(), {}

    def step(self, action):
        reward = float(action == self.wanted)
        self.time += 1
        return self.show(), reward, False, self.time == 10, {}


def test_pictures_among_other_things_are_learned_from():
    config = run_config(
        {
            "agent": {"name": "ppo", "rollout_length": 32, "batch_size": 64, "learning_rate": 0.001},
            "env": "CartPole-v1",
            "encoder": "cnn",
            "steps": 2000,
        }
    )
    envs = BackendEnvs(SyncBackend(lambda i: Robot(), 8, seed=0))
    agent = build_agent(resolve(config), envs.observation_space, envs.action_space)
    collector = Collector(agent, envs)
    for _ in range(10 * 32):
        transition, _ = collector.step()
        agent.learn(transition)
    right = []
    for _ in range(20):
        collector.step()
        action, _ = agent.act(collector.obs, collector.state, collector.first, explore=False)
        right.append((action == (collector.obs["camera"][:, 0, 0, 0] > 0)).mean())
    assert np.mean(right) > 0.95
