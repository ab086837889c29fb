"""From pictures to a dream of pictures: VAE, MDN-RNN and an agent, at the size of a toy."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.training.cli.main import run
from palaestra.training.imagination.fits import load_world_model


class Dot(gymnasium.Env):
    """A bright square on a row of eight places; at the right end it scores, at the left end it falls off."""

    observation_space = spaces.Box(0, 255, (16, 32), np.uint8)
    action_space = spaces.Discrete(2)

    def _picture(self):
        picture = np.zeros((16, 32), np.uint8)
        picture[4:12, 4 * self.place : 4 * self.place + 4] = 255
        return picture

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(2, 6))
        return self._picture(), {}

    def step(self, action):
        self.place = min(7, self.place + (1 if action else -1))
        return self._picture(), float(self.place == 7), self.place == 0, False, {}


@pytest.fixture
def dot():
    before = dict(gymnasium.registry)
    gymnasium.register("Dot-v0", Dot, max_episode_steps=20)
    yield "Dot-v0"
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def test_pictures_are_dreamt_of(dot, tmp_path, capsys):
    folder, agent = tmp_path / "model", tmp_path / "agent"
    words = f"fit --env {dot} --steps 600 --out {folder} --track none --fit.judge-every 30 --fit.updates 60"
    words += " --fit.learning-rate 0.01 --fit.coder-batch-size 16 --fit.batch-size 256 --heads.hidden 32"
    words += " --encoder vae --encoder.latent-size 4 --encoder.depth 4"
    words += " --dynamics mdn_rnn --dynamics.hidden-size 32 --dynamics.components 2"
    assert run(["world-model", *words.split()]) == 0
    capsys.readouterr()
    assert run(["world-model", "evaluate", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["encoder"], report["dynamics"]) == ("vae", "mdn_rnn")
    assert report["skill"]["1"] > 0.1 and report["active_units"] >= 1
    fitted = load_world_model(folder)
    assert fitted.episodes.episodes[0].obs.dtype == np.uint8

    train = (
        "--agent ppo --steps 200 --num-envs 4 --agent.rollout-length 10 --evaluate-episodes 2 --track none"
    )
    train += " --agent.epochs 2 --evaluate-every 200 --checkpoint-every 200"
    train += f" --dream.horizon 10 --threads 1 --out {agent}"
    assert run(["world-model", "dream", str(folder), *train.split()]) == 0
    assert run(["evaluate", str(agent), "--episodes", "2", "--json"]) == 0


@pytest.mark.slow
def test_car_racing_from_pictures_to_an_agent(tmp_path, capsys):
    """Ha & Schmidhuber's pipeline: VAE, MDN-RNN, an agent that sees latents, and one that trains in the dream."""
    pytest.importorskip("Box2D")
    env = "--env CarRacing-v3 --env-kwargs max_episode_steps=20"
    folder = tmp_path / "model"
    words = f"fit {env} --steps 60 --num-envs 1 --out {folder} --track none --encoder vae --dynamics mdn_rnn"
    words += " --encoder.latent-size 4 --encoder.depth 2 --dynamics.hidden-size 8 --dynamics.components 2"
    words += (
        " --heads.hidden 8 --fit.updates 4 --fit.judge-every 2 --fit.coder-batch-size 8 --fit.batch-size 64"
    )
    assert run(["world-model", *words.split()]) == 0
    train = "--steps 40 --agent.rollout-length 20 --agent.batch-size 20 --evaluate-episodes 1 --threads 1"
    train += " --track none --num-envs 1"
    seeing, dreaming = tmp_path / "seeing", tmp_path / "dreaming"
    words = f"{env} {train} --encoder world-model:{folder} --memory lstm --out {seeing}"
    assert run(["train", "ppo", *words.split()]) == 0
    assert (
        run(["world-model", "dream", str(folder), "--agent", "ppo", *train.split(), "--out", str(dreaming)])
        == 0
    )
    capsys.readouterr()
    for agent in (seeing, dreaming):
        assert run(["evaluate", str(agent), "--episodes", "1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["length_mean"] == 20
