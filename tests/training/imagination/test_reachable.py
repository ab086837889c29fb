"""Dreams are judged by what follows what: a perfect model passes, one that dreams of any real place does not."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.training.imagination.reachable import dream_reachability
from palaestra.world_models.datasets import EpisodeDataset, RecordedEpisode
from palaestra.world_models.world_model import Prediction

SPEED = 0.05


class Circle:
    """A world model of a point on a circle that the action moves; `blind`, it dreams of any place on it."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    device = torch.device("cpu")

    class Dynamics:
        state_size = 0

    dynamics = Dynamics()

    def __init__(self, blind):
        self.blind, self.generator = blind, torch.Generator().manual_seed(0)

    def initial_state(self, count):
        return torch.zeros(count, 0)

    def encode(self, obs):
        return obs

    def decode(self, latent):
        return latent

    def step(self, latent, action, state, sampling):
        angle = torch.atan2(latent[:, 1], latent[:, 0]) + SPEED * action.float()
        if self.blind:
            angle = 2 * np.pi * torch.rand(len(latent), generator=self.generator)
        moved = torch.stack([angle.cos(), angle.sin()], -1)
        nothing = torch.zeros(len(latent))
        fields = dict.fromkeys(Prediction._fields, nothing)
        return Prediction(**{**fields, "latent": moved, "state": state})


def walks(seed, episodes):
    generator, found = np.random.default_rng(seed), []
    for _ in range(episodes):
        action = generator.integers(0, 3, 60)
        angle = generator.uniform(0, 2 * np.pi) + SPEED * np.concatenate([[0], np.cumsum(action)])
        obs = np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)
        found.append(RecordedEpisode(obs, action, np.zeros(60, np.float32), False))
    return EpisodeDataset(found)


def test_a_perfect_model_passes_and_a_blind_one_does_not():
    train, held_out = walks(0, 20), walks(1, 4)
    perfect, blind = (dream_reachability(Circle(blind), train, held_out) for blind in (False, True))
    assert perfect["reachability_auc"] > 0.9 and perfect["dream_reachable"] > 0.9
    # What a perfect model dreams is what is real.
    assert perfect["reachability_auc"] == pytest.approx(perfect["reachability_auc_real"], abs=1e-3)
    assert blind["reachability_auc_real"] == perfect["reachability_auc_real"]
    assert 0.4 < blind["reachability_auc"] < 0.6 and blind["dream_reachable"] < 0.4


def test_what_cannot_be_judged_is_none():
    one = walks(0, 1)
    short = EpisodeDataset([RecordedEpisode(one.episodes[0].obs[:3], np.zeros(2, int), np.zeros(2), False)])
    assert set(dream_reachability(Circle(False), short, one).values()) == {None}
