"""What features tell of Catch before moving waves, learned from random play by an auxiliary loss alone."""

import copy

import numpy as np
import pytest
import torch

from palaestra.agents.agent import Transition
from palaestra.agents.auxiliary.auxiliary import RecentSteps
from palaestra.agents.auxiliary.curl import CURL
from palaestra.agents.auxiliary.predict import Predict
from palaestra.envs.tasks.catch_distractor import CATCH, CatchDistractor
from palaestra.networks.encoders.cnn import CNN, CNNConfig
from palaestra.networks.optimizer import FlatAdam
from palaestra.world_models.model_evaluation import probe_r2

TASK = CatchDistractor(height=9, width=9, pixels=4)
COPIES, UPDATES, BATCH = 8, 600, 64


class Holder(torch.nn.Module):
    """As a torso holds them."""

    def __init__(self, encoder, auxiliary):
        super().__init__()
        self.encoder, self.auxiliary = encoder, auxiliary


def play(rows, seed, steps=None):
    """Observations and states of random play, `rows` steps of each copy; kept in `steps` too."""
    generator, first = np.random.default_rng(seed), np.ones(COPIES, bool)
    worlds = np.stack([TASK.draw(generator) for _ in range(COPIES)])
    observations, states = [], []
    for _ in range(rows):
        obs, action = TASK.observe(worlds), generator.integers(0, 3, COPIES)
        observations.append(obs)
        states.append(TASK.state(worlds))
        outcome = TASK.step(worlds, action)
        if steps is not None:
            ends, next_obs = (outcome.terminated, outcome.truncated), TASK.observe(worlds)
            state = np.zeros((COPIES, 0), np.float32)
            steps.add(Transition(obs, action, outcome.reward, *ends, next_obs, first, state))
        first = outcome.terminated
        for index in np.flatnonzero(first):
            worlds[index] = TASK.draw(generator)
    return np.concatenate(observations), np.concatenate(states).astype(np.float32)


def learned(loss_class):
    """The encoder as it begins, and what the loss has made of it, with the loss itself."""
    torch.manual_seed(0)
    steps = RecentSteps(TASK.action_space, 10_000, seed=0)
    play(400, 0, steps)
    encoder = CNN(TASK.observation_space, CNNConfig())
    before = copy.deepcopy(encoder)
    auxiliary = loss_class(
        encoder, TASK.observation_space, steps, loss_class.Config(batch_size=BATCH, weight=1.0)
    )
    optimizer = FlatAdam(Holder(encoder, auxiliary), max_grad_norm=10.0)
    for _ in range(UPDATES):
        metrics = optimizer.step(lambda: (0.0 * encoder.linear.bias.sum(), {}), (), 5e-4)
    return before, encoder, auxiliary, {name: float(value) for name, value in metrics.items()}


@torch.no_grad()
def probed(encoder):
    """R2 of the ball's column, its row and the paddle's column."""
    obs, states = (torch.as_tensor(x) for x in play(600, 1))
    features, cut = encoder(obs), int(0.7 * len(obs))
    return [
        probe_r2(features[:cut], states[:cut, [k]], features[cut:], states[cut:, [k]]) for k in range(CATCH)
    ]


def told_apart(auxiliary, worlds):
    """Share of views whose own other view is the likest among those of all `worlds`."""
    generator, obs = np.random.default_rng(0), TASK.observe(worlds)
    query, key = (torch.as_tensor(auxiliary.augment(obs, generator)) for _ in range(2))
    with torch.no_grad():
        query = auxiliary.projection(auxiliary.encoder(query))
        key = auxiliary.momentum_projection(auxiliary.momentum_encoder(key))
        likest = (query @ auxiliary.similarity @ key.T).argmax(1)
    return (likest == torch.arange(len(worlds))).float().mean().item()


@pytest.mark.slow
def test_prediction_finds_the_game():
    before, after, _, metrics = learned(Predict)
    print(f"{[round(x, 2) for x in probed(before)]} -> {[round(x, 2) for x in probed(after)]}", metrics)
    assert np.mean(probed(after)) > np.mean(probed(before)) + 0.3


@pytest.mark.slow
def test_curl_tells_pictures_by_their_background():
    _, after, auxiliary, metrics = learned(CURL)
    worlds = np.stack([TASK.draw(np.random.default_rng(seed)) for seed in range(81)])
    worlds[:, 1] = 4
    one_game, one_background = worlds.copy(), worlds.copy()
    one_game[:, :CATCH] = one_game[0, :CATCH]
    one_background[:, CATCH:] = one_background[0, CATCH:]
    one_background[:, 0], one_background[:, 2] = np.divmod(np.arange(81), 9)
    shares = told_apart(auxiliary, one_game), told_apart(auxiliary, one_background)
    print(f"other backgrounds {shares[0]:.2f}, other games {shares[1]:.2f};", end=" ")
    print([round(x, 2) for x in probed(after)], metrics)
    assert shares[0] > 0.8 and shares[1] < 0.5
