"""Random network distillation, against numbers computed by hand and on what has been seen."""

import itertools

import numpy as np
import pytest
import torch

from palaestra.training.rewards.rnd import RND, RNDConfig

from .steps import VECTOR, one_step, random_steps, setting


def make(**options):
    made = setting(num_envs=2)
    return RND(RNDConfig(**{"train_every": 64, "batch_size": 32, "scale": 1.0, **options}), made), made


def test_the_error_of_a_prediction():
    """Predictor all 0; target `W x` with W = [[1, 0, 0], [0, 2, 0]]: errors (1 + 16) / 2 at x = (1, 2, 9)."""
    source, _ = make(hidden=(), size=2)
    with torch.no_grad():
        for parameter in source.predictor.parameters():
            parameter.zero_()
        source.target.output.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 2.0, 0]]))
        source.target.output.bias.zero_()
    # Nothing has been seen: the statistics change nothing yet, but clip at 5.
    inputs = source.inputs(torch.tensor([[1.0, 2.0, 9.0]]))
    assert source.errors(inputs).tolist() == [8.5]
    assert source.loss(inputs)[0].item() == 8.5
    assert inputs[0].tolist() == [[1.0, 2.0, 5.0]]


def test_the_random_network_follows_from_the_seed_alone():
    torch.manual_seed(7)
    one = RND(RNDConfig(), setting(seed=0))
    torch.manual_seed(8)
    same, other = RND(RNDConfig(), setting(seed=0)), RND(RNDConfig(), setting(seed=1))
    weights = [source.target.output.weight for source in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_there_is_no_bonus_before_something_was_learned():
    source, made = make()
    steps = random_steps(made)
    while not source.optimizer.count:
        reward, _ = source.reward(next(steps))
        assert (reward == 0).all()
    transition = next(steps)._replace(valid=np.array([True, True]))
    reward, _ = source.reward(transition)
    assert (reward > 0).all()


def test_the_bonus_is_in_units_of_the_deviation_of_its_discounted_sum():
    """After one step of errors (e1, e2) with gamma 0 the deviation is |e1 - e2| / 2; the mean is not subtracted."""
    source, made = make(gamma=0.0)
    for transition in itertools.islice(random_steps(made), 60):
        source.reward(transition)
    source.scaler.statistics.count.zero_()  # forget what was usual
    next_obs = np.array([[0.1, 0.2, 0.3], [0.9, -0.9, 0.9]], np.float32)
    with torch.no_grad():
        errors = source.errors(source.inputs(torch.from_numpy(next_obs))).numpy()
    reward, _ = source.reward(one_step(next_obs))
    expected = np.minimum(errors / np.sqrt(((errors[0] - errors[1]) / 2) ** 2 + 1e-8), 10)
    assert reward == pytest.approx(expected, rel=1e-4)


def test_episodes_do_not_end_the_discounted_sum():
    source, made = make()
    for transition in itertools.islice(random_steps(made, episode=1), 60):
        source.reward(transition)
    assert (source.scaler.returns != 0).all()


def test_what_was_seen_is_predicted_better_than_what_was_not():
    source, _ = make(epochs=4)
    generator = np.random.default_rng(0)
    for _ in range(600):
        seen = generator.normal((-0.5, 0, 0), 0.1, (2, 3)).astype(np.float32)
        source.reward(one_step(seen))
    with torch.no_grad():
        error = {
            x: source.errors(source.inputs(torch.tensor([[x, 0.0, 0.0]]))).item() for x in (-0.5, -0.2, 0.5)
        }
    assert error[-0.5] < error[-0.2] / 3 < error[0.5] / 3
    assert VECTOR.contains(seen[0])


def test_the_random_network_stays_as_it_is():
    source, made = make()
    before = [parameter.clone() for parameter in source.target.parameters()]
    for transition in itertools.islice(random_steps(made), 60):
        source.reward(transition)
    assert source.optimizer.count
    assert all(torch.equal(x, y) for x, y in zip(before, source.target.parameters(), strict=True))
