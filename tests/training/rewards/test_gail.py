"""Generative adversarial imitation, against numbers computed by hand, and its demonstrations."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from palaestra.training.rewards.gail import GAIL, Ends, GAILConfig, gradient_penalty, imitation_reward

from .steps import ACTIONS, demonstrations, one_step, setting


@pytest.fixture
def expert(tmp_path):
    """Always action 3, at observations around (0.5, 0, 0), in one episode that terminates after 40 steps."""
    obs = np.random.default_rng(0).normal((0.5, 0, 0), 0.1, (41, 3)).astype(np.float32)
    return demonstrations(tmp_path, obs, np.full(40, 3))


def source_of(data, *, actions=ACTIONS["discrete"], gamma=0.9, **options):
    return GAIL(GAILConfig(**options), setting(actions=actions, data=(data,), gamma=gamma))


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
    source = source_of(expert, hidden=(), gradient_penalty=10.0)
    for normalize in source.discriminator.inputs.normalizers:
        normalize.shift.zero_(), normalize.scale.fill_(1.0)
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
    options = {"train_every": 60, "epochs": 10, "learning_rate": 3e-3, "gradient_penalty": 0.0}
    source = source_of(expert, form="airl", absorbing=False, **options)
    generator = np.random.default_rng(1)
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
    source = source_of(data, actions=ACTIONS["box"])
    step = source.discriminator.encode(torch.zeros(1, 3), torch.tensor([[7.0, -1.0]]))
    assert step[-1].tolist() == [[1.0, -0.5]]


def test_observations_are_normalised_by_what_the_expert_saw(expert):
    source = source_of(expert)
    step = source.discriminator.encode(torch.from_numpy(source.expert.obs[:40]), torch.full((40,), 3))
    assert step[0].mean(0).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert step[0].std(0, correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-4)


def test_what_is_behind_a_termination_is_told_by_how_often_it_is_reached():
    """gamma 0.75: 3 steps behind each. Rates 1/3 and 1/9: shares 1/2 and 1/4; log(1/2 / 1/4), log(1/2 / 3/4)."""
    ends = Ends(1 / 3, 0.75)
    assert (ends.steps, ends.behind, ends.before) == (3.0, 0.0, 0.0)  # the agent's rate is not known yet
    ends.see(1 / 9)
    assert ends.behind == pytest.approx(np.log(2)) and ends.before == pytest.approx(np.log(2 / 3))
    ends.see(0.0)
    assert ends.agent == pytest.approx(0.9 / 9)


def test_an_end_that_the_expert_never_has_is_as_bad_as_can_be_and_the_other_way_round():
    ends = Ends(0.0, 0.9)
    ends.see(0.5)
    assert ends.behind == -5.0 and ends.before == pytest.approx(np.log(1 / (1 - 4.5 / 5.5)))
    ends = Ends(0.5, 0.9)
    ends.see(0.0)
    assert ends.behind == 5.0 and ends.before == pytest.approx(np.log(1 - 4.5 / 5.5))
    ends = Ends(0.0, 0.9)
    ends.see(0.0)
    assert (ends.behind, ends.before) == (0.0, 0.0)
    assert Ends(0.1, 1.0).steps == 1000 and Ends(0.1, 0.0).steps == 0


@pytest.mark.parametrize(("form", "worth"), [("airl", lambda x: x), ("gail", lambda x: np.log1p(np.exp(x)))])
def test_a_last_step_is_paid_with_what_follows_it(expert, form, worth):
    """A discriminator that says 0 throughout. gamma 0.75; terminations 1/40 and 1/9: shares 3/43 and 1/4."""
    source = source_of(expert, gamma=0.75, form=form, train_every=10**6)
    for parameter in source.discriminator.parameters():
        torch.nn.init.zeros_(parameter)
    source.ends.see(1 / 9)
    before, behind = np.log((40 / 43) / (3 / 4)), np.log((3 / 43) / (1 / 4))
    row = np.zeros((3, 3), np.float32)
    reward, metrics = source.reward(
        one_step(row, obs=row, action=np.full(3, 3), done=[False, True, True], valid=[True, True, False])
    )
    assert reward.tolist() == pytest.approx([worth(before), worth(before) + 3 * worth(behind), 0])
    assert metrics["imitation/reward"] == pytest.approx(worth(before))
    without = source_of(expert, gamma=0.75, form=form, absorbing=False)
    for parameter in without.discriminator.parameters():
        torch.nn.init.zeros_(parameter)
    without.ends.see(1 / 9)
    reward, _ = without.reward(one_step(row, obs=row, action=np.full(3, 3), done=[False, True, True]))
    assert reward.tolist() == pytest.approx([worth(0)] * 3)


def test_an_update_takes_the_agents_terminations_into_account(expert):
    source = source_of(expert, train_every=30)
    row = np.zeros((3, 3), np.float32)
    for step in range(20):
        source.reward(one_step(row, obs=row, action=np.full(3, 2), done=[step % 5 == 4, False, False]))
    assert source.ends.agent == pytest.approx(2 / 30)


def test_the_discriminator_sees_as_many_steps_of_each(expert):
    source = source_of(expert, train_every=30, batch_size=10, epochs=2)
    sizes = []
    loss = source.loss
    source.loss = lambda mine, theirs, mix: (
        sizes.append((len(mine[0]), len(theirs[0]))),
        loss(mine, theirs, mix),
    )[1]
    for row in itertools.repeat(np.zeros((3, 3), np.float32), 10):
        source.reward(one_step(row, obs=row, action=np.full(3, 2)))
    assert sizes == [(10, 10)] * 6
