import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.world_models.actions import ActionEncoder
from palaestra.world_models.dynamics.ensemble import Ensemble, EnsembleConfig
from palaestra.world_models.identity import Identity
from palaestra.world_models.prediction_heads import PredictionHeads, PredictionHeadsConfig, calibrating_shift
from palaestra.world_models.world_model import SequenceBatch, WorldModel


def heads(end_rate=0.1, sampled=0.3, rewards=(0.0, 2.0), **changes):
    made = PredictionHeads(3, PredictionHeadsConfig(hidden=(16,), **changes))
    made.fit_scale(torch.tensor(rewards), end_rate, sampled)
    return made


def test_predictions_start_at_the_mean():
    made, x = heads(), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert made.reward(x).tolist() == [1.0] * 5
    assert made.end_logit(x).tolist() == [0.0] * 5


def test_constant_rewards_are_exact_from_the_start():
    made = heads(rewards=(1.0, 1.0, 1.0))
    x = torch.zeros(2, 3)
    assert made.reward(x).tolist() == [1.0, 1.0]
    assert made.reward_loss(x, torch.ones(2)).tolist() == [0.0, 0.0]


def test_tiny_rewards_keep_their_own_unit():
    # Rewards 0 and 2e-7: predicting the mean is off by 1 / sqrt 2 deviations, as for 0 and 2.
    made = heads(rewards=(0.0, 2e-7))
    assert made.reward_loss(torch.zeros(1, 3), torch.tensor([2e-7])).item() == pytest.approx(0.25)
    # Rounding of a constant is no deviation.
    assert heads(rewards=(1000.0, 1000.0001)).reward_scale == 1


def test_rewards_stay_within_what_was_seen():
    made = heads()
    torch.nn.init.constant_(made.reward_network[-1].bias, 100.0)
    assert made.reward(torch.zeros(1, 3)).item() == 2.0


def test_reward_loss_is_in_units_of_the_deviation():
    # Rewards 0 and 2: mean 1, deviation sqrt 2; predicting the mean is off by 1 / sqrt 2.
    assert heads().reward_loss(torch.zeros(1, 3), torch.tensor([2.0])).item() == pytest.approx(0.25)


@pytest.mark.parametrize(("sampled", "weight"), [(0.2, 4.0), (0.001, 50.0), (0.7, 1.0)])
def test_ends_weigh_as_much_as_the_rest_but_not_endlessly(sampled, weight):
    made = heads(sampled=sampled)
    loss = made.end_loss(torch.zeros(1, 3), torch.tensor([True]))
    assert loss.item() == pytest.approx(weight * math.log(2), rel=1e-5)


def test_what_never_ended_never_ends():
    assert heads(end_rate=0.0, sampled=0.0).end_logit(torch.zeros(2, 3)).sigmoid().tolist() == [0.0, 0.0]


def test_the_shift_makes_the_expected_number_right():
    # All log odds 0, a tenth of 10,000 end: sigmoid(-shift) = 0.1.
    assert calibrating_shift(torch.zeros(10_000), 1000) == pytest.approx(math.log(9), abs=1e-4)
    # Far apart: any shift within would do, so none is taken.
    apart = torch.cat([torch.full((90,), -40.0), torch.full((10,), 40.0)]).double()
    assert abs(calibrating_shift(apart, 10)) < 0.1


def test_weighting_and_oversampling_are_undone():
    """Ends have a probability of 0.02 or 0.2, by x; half of what is shown ended, and ends weigh more besides."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    x = (torch.rand(60_000, 1, generator=generator) < 0.5).float().expand(-1, 3).contiguous()
    truth = torch.where(x[:, 0] > 0, 0.2, 0.02)
    ended = torch.rand(60_000, generator=generator) < truth
    made = heads(end_rate=float(ended.float().mean()), sampled=0.3, max_end_weight=5.0)
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    yes, no = ended.nonzero()[:, 0], (~ended).nonzero()[:, 0]
    for _ in range(200):
        rows = torch.cat(
            [
                yes[torch.randint(len(yes), (300,), generator=generator)],
                no[torch.randint(len(no), (700,), generator=generator)],
            ]
        )
        optimizer.zero_grad()
        made.end_loss(x[rows], ended[rows]).mean().backward()
        optimizer.step()
    made.calibrate(made.end_logit(x).detach(), ended)
    probability = made.end_logit(torch.tensor([[0.0] * 3, [1.0] * 3])).sigmoid()
    assert probability.tolist() == pytest.approx([0.02, 0.2], rel=0.25)


def test_rewards_of_very_different_sizes():
    """A reward of 50 beside ones of 0.1; at first, nothing is expected at all."""
    torch.manual_seed(0)
    made = PredictionHeads(3, PredictionHeadsConfig(hidden=(32,), reward="two_hot"))
    x = torch.eye(3)[torch.randint(3, (300,))]
    reward = x @ torch.tensor([0.1, -2.0, 50.0])
    made.fit_scale(reward, 0.0, 0.0)
    made.reward_low.fill_(-math.inf)
    assert not made.reward(x).any()
    assert made.reward_loss(x, reward).mean().item() == pytest.approx(math.log(255), rel=1e-4)
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        made.reward_loss(x, reward).mean().backward()
        optimizer.step()
    assert made.reward(torch.eye(3)).tolist() == pytest.approx([0.1, -2.0, 50.0], rel=0.05, abs=0.1)


def test_a_time_limit_never_trains_the_end():
    space = spaces.Box(-1, 1, (2,), np.float32)
    config = EnsembleConfig(members=2, elites=1, hidden=(8,))
    torch.manual_seed(0)
    model = WorldModel(space, spaces.Discrete(2), Identity, Ensemble, dynamics_config=config)
    generator = torch.Generator().manual_seed(0)
    latent, after = torch.randn(2, 1, 6, 2, generator=generator)
    truncated = torch.tensor([[False, False, False, True, True, False]])
    losses = []
    for label in (False, True):
        terminated = torch.zeros(1, 6, dtype=torch.bool)
        terminated[truncated] = label
        mask = torch.ones(1, 6, dtype=torch.bool)
        action = torch.zeros(1, 6, dtype=torch.long)
        sequences = SequenceBatch(latent, action, torch.zeros(1, 6), after, terminated, ~truncated, mask)
        torch.nn.init.constant_(model.heads.end_network[-1].weight, 0.1)
        losses.append(model.loss(sequences)[1]["loss/end"].item())
    assert losses[0] == losses[1] > 0


def test_actions_as_vectors():
    assert ActionEncoder(spaces.Discrete(3, start=5))(torch.tensor([5, 7])).tolist() == [[1, 0, 0], [0, 0, 1]]
    box = ActionEncoder(
        spaces.Box(np.array([0.0, -2.0, -np.inf], np.float32), np.array([4.0, 2.0, np.inf], np.float32))
    )
    # In units of half the range, clipped; without bounds as they are. Time-major batches, too.
    assert box(torch.tensor([[[1.0, 9.0, 7.0]]])).tolist() == [[[-0.5, 1.0, 7.0]]]
    huge = np.finfo(np.float32)
    unbounded = ActionEncoder(spaces.Box(huge.min, huge.max, (1,), np.float32))
    assert unbounded(torch.tensor([[3.0]])).tolist() == [[3.0]]
    assert ActionEncoder(spaces.MultiDiscrete([2, 2]))(torch.tensor([[1, 0]])).tolist() == [[0, 1, 1, 0]]
    with pytest.raises(TypeError, match="world models take Box, Discrete"):
        ActionEncoder(spaces.Dict({"a": spaces.Discrete(2)}))
