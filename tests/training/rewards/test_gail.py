"""Generative adversarial imitation, against numbers computed by hand, and its demonstrations."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from palaestra.training.imagination.fits import save_data
from palaestra.training.rewards.demonstrations import read_demonstrations
from palaestra.training.rewards.gail import (
    GAIL,
    GAILConfig,
    gradient_penalty,
    imitation_reward,
)
from palaestra.training.settings.usage import UsageError
from palaestra.world_models.datasets import EpisodeDataset, RecordedEpisode

from .steps import ACTIONS, VECTOR, one_step, setting


def demonstrations(folder, obs, action):
    """Leave one episode of so many steps."""
    reward = np.zeros(len(action), np.float32)
    save_data(folder, 0, EpisodeDataset([RecordedEpisode(obs, action, reward, True)]))
    return str(folder)


@pytest.fixture
def expert(tmp_path):
    """Always action 3, at observations around (0.5, 0, 0)."""
    obs = np.random.default_rng(0).normal((0.5, 0, 0), 0.1, (41, 3)).astype(np.float32)
    return demonstrations(tmp_path, obs, np.full(40, 3))


def test_rewards_of_a_probability():
    """D = 0.8: -log(1 - 0.8) = 1.609, log 0.8 - log 0.2 = 1.386; D = 0.2: 0.223 and -1.386."""
    logit = torch.logit(torch.tensor([0.8, 0.2], dtype=torch.float64))
    assert imitation_reward(logit, "gail").tolist() == pytest.approx([-np.log(0.2), -np.log(0.8)])
    assert imitation_reward(logit, "airl").tolist() == pytest.approx([np.log(4), -np.log(4)])
    assert imitation_reward(torch.tensor([200.0]), "gail").item() == 200.0


class Bilinear(nn.Module):
    """`x * y`, whose gradient is `(y, x)`."""

    def forward(self, step):
        return (step[0] * step[1]).sum(-1)


def test_the_gradient_penalty():
    """Half way between (6, 0) and (0, 8) is (3, 4), with gradient (4, 3): (5 - 1)^2 = 16. At (0, 8): (8 - 1)^2 = 49."""
    one, other = ([torch.tensor([[x], [x]]), torch.tensor([[y], [y]])] for x, y in ((6.0, 0.0), (0.0, 8.0)))
    penalty = gradient_penalty(Bilinear(), one, other, torch.tensor([0.5, 0.0]))
    assert penalty.item() == pytest.approx((16 + 49) / 2)


def test_no_gradient_at_all_is_a_penalty_of_one_and_no_nan():
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)
    zero = [torch.zeros(2, 1)]
    penalty = gradient_penalty(lambda step: network(step[0]), zero, zero, torch.tensor([0.5, 0.5]))
    assert penalty.item() == pytest.approx(1.0, abs=1e-5)
    penalty.backward()
    assert network.weight.grad.item() == 0


def test_the_loss_of_the_discriminator(expert):
    """Logit = obs[0]: the expert's is 1, the agent's -2. log(1 + e^-1) + log(1 + e^-2); slope 1, no penalty."""
    source = GAIL(GAILConfig(data=expert, hidden=(), gradient_penalty=10.0), setting())
    with torch.no_grad():
        source.discriminator.layers.output.weight.zero_()
        source.discriminator.layers.output.weight[0, 0] = 1.0
        source.discriminator.layers.output.bias.zero_()
    steps = [
        source.discriminator.encode(torch.tensor([[x, 0.0, 0.0]]), torch.tensor([3])) for x in (1.0, -2.0)
    ]
    loss, metrics = source.loss(*steps, torch.tensor([0.5]))
    told_apart = np.log1p(np.exp(-1)) + np.log1p(np.exp(-2))
    assert metrics["loss"].item() == pytest.approx(told_apart)
    assert metrics["penalty"].item() == pytest.approx(0.0, abs=1e-6)
    assert loss.item() == pytest.approx(told_apart, abs=1e-5)
    assert metrics["expert"].item() == pytest.approx(1 / (1 + np.exp(-1)))
    assert metrics["agent"].item() == pytest.approx(1 / (1 + np.exp(2)))
    with torch.no_grad():
        source.discriminator.layers.output.weight[0, 0] = 3.0
    loss, metrics = source.loss(*steps, torch.tensor([0.5]))
    assert metrics["penalty"].item() == pytest.approx(4.0, rel=1e-5)
    assert loss.item() == pytest.approx(metrics["loss"].item() + 10 * 4.0, rel=1e-5)


def test_what_the_expert_does_is_paid_and_the_environment_is_not_asked(expert):
    config = GAILConfig(
        data=expert, train_every=60, epochs=10, learning_rate=3e-3, reward="airl", gradient_penalty=0.0
    )
    source, generator = GAIL(config, setting()), np.random.default_rng(1)
    obs = generator.normal((0.5, 0, 0), 0.1, (200, 3, 3)).astype(np.float32)
    for row in obs:
        source.reward(one_step(row, obs=row, action=generator.integers(2, 5, 3), reward=[9, 9, 9]))
    row = np.tile(np.array([[0.5, 0, 0]], np.float32), (3, 1))
    reward, metrics = source.reward(
        one_step(row, obs=row, action=np.array([2, 3, 4]), reward=[9, 9, 9], valid=[True, True, False])
    )
    assert reward[1] > 0.3 and reward[0] < -0.3 and reward[2] == 0
    assert metrics["imitation/reward"] == pytest.approx((reward[0] + reward[1]) / 2)


def test_actions_are_seen_as_the_environment_takes_them(tmp_path):
    """Beyond the bounds there is nothing: 7 is 2, in units of half the range 1."""
    data = demonstrations(tmp_path, np.zeros((3, 3), np.float32), np.zeros((2, 2), np.float32))
    source = GAIL(GAILConfig(data=data), setting(actions=ACTIONS["box"]))
    step = source.discriminator.encode(torch.zeros(1, 3), torch.tensor([[7.0, -1.0]]))
    assert step[-1].tolist() == [[1.0, -0.5]]


def test_demonstrations_are_read_with_their_actions(expert):
    found = read_demonstrations(Path(expert), 0, VECTOR, ACTIONS["discrete"])
    assert (len(found), found.episodes, found.obs.shape) == (40, 1, (40, 3))
    fresh = read_demonstrations(Path(expert), 1, VECTOR, ACTIONS["discrete"])
    fresh.load_state_dict(found.state_dict())
    fresh.obs = fresh.obs + 1
    with pytest.raises(ValueError, match="not those that the run began with"):
        fresh.load_state_dict(found.state_dict())


@pytest.mark.parametrize(
    ("observations", "actions", "limit", "message"),
    [
        (
            VECTOR,
            ACTIONS["box"],
            0,
            r"its actions are not those of this run, Box\(-2.0, 2.0, \(2,\), float32\), but",
        ),
        (spaces.Box(-1, 1, (2,)), ACTIONS["discrete"], 0, "its observations are not those of this run"),
        (
            spaces.Dict(a=VECTOR),
            ACTIONS["discrete"],
            0,
            "its observations are not those of this run.*but ndarray",
        ),
        (VECTOR, ACTIONS["discrete"], 2, "--imitate.episodes 2: .* holds 1 episodes"),
    ],
)
def test_demonstrations_of_something_else_are_refused(expert, observations, actions, limit, message):
    with pytest.raises(UsageError, match=message):
        read_demonstrations(Path(expert), limit, observations, actions)


def test_the_discriminator_sees_as_many_steps_of_each(expert):
    source = GAIL(GAILConfig(data=expert, train_every=30, batch_size=10, epochs=2), setting())
    sizes = []
    loss = source.loss
    source.loss = lambda mine, theirs, mix: (
        sizes.append((len(mine[0]), len(theirs[0]))),
        loss(mine, theirs, mix),
    )[1]
    for row in itertools.repeat(np.zeros((3, 3), np.float32), 10):
        source.reward(one_step(row, obs=row, action=np.full(3, 2)))
    assert sizes == [(10, 10)] * 6
