import numpy as np
import pytest
import torch

from palaestra.networks.normalize import RewardScaler, RunningNormalizer


def test_merged_batches_have_the_mean_and_variance_of_all():
    generator = np.random.default_rng(0)
    batches = [generator.standard_normal((n, 3)) * [1, 10, 0.1] + [0, 1000, -5] for n in (1, 7, 2, 300)]
    normalizer = RunningNormalizer((3,))
    for batch in batches:
        normalizer.update(torch.from_numpy(batch))
    everything = np.concatenate(batches)
    assert normalizer.count.item() == 310
    np.testing.assert_allclose(normalizer.mean, everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(normalizer.variance, everything.var(0), rtol=1e-9)


def test_forward_is_standardised_and_clipped():
    normalizer = RunningNormalizer((2,), clip=3.0, epsilon=0.0)
    normalizer.update(torch.tensor([[0.0, 10.0], [4.0, 30.0]]))  # means 2 and 20, deviations 2 and 10
    out = normalizer(torch.tensor([[4.0, 25.0], [100.0, -100.0]]))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, torch.tensor([[1.0, 0.5], [3.0, -3.0]]))


def test_before_any_data_it_is_the_identity():
    x = torch.tensor([[0.5, -2.0], [50.0, 0.0]])
    assert torch.equal(RunningNormalizer((2,))(x), torch.tensor([[0.5, -2.0], [10.0, 0.0]]))


def test_constant_inputs_do_not_divide_by_zero():
    normalizer = RunningNormalizer((1,))
    normalizer.update(torch.full((10, 1), 7.0))
    assert normalizer(torch.full((1, 1), 7.0)).item() == 0
    assert normalizer(torch.full((1, 1), 7.1)).item() == 10


def test_statistics_travel_with_the_model():
    left, right = RunningNormalizer((2,)), RunningNormalizer((2,))
    left.update(torch.randn(20, 2))
    right.load_state_dict(left.state_dict())
    batch, x = torch.randn(5, 2), torch.randn(3, 2)
    left.update(batch)
    right.update(batch)
    assert torch.equal(left(x), right(x))
    assert not list(left.parameters())


def test_reward_scaler_by_hand():
    scaler = RewardScaler(gamma=0.5)
    reward = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    done = torch.tensor([[False], [True], [False], [False]])
    # Discounted returns so far: 1; 0.5 + 2 = 2.5; the episode ended: 4; 2 + 8 = 10.
    deviation = np.std([1, 2.5, 4, 10])
    np.testing.assert_allclose(scaler(reward, done), reward / deviation, rtol=1e-6)
    # The next rollout goes on from 10: 5 + 2 = 7, and the statistics hold all five.
    deviation = np.std([1, 2.5, 4, 10, 7])
    np.testing.assert_allclose(
        scaler(torch.tensor([[2.0]]), torch.tensor([[False]])), [[2 / deviation]], rtol=1e-6
    )


def test_reward_scaler_keeps_environments_apart_and_skips_invalid_rows():
    scaler = RewardScaler(gamma=0.9)
    reward = torch.tensor([[1.0, 10.0], [1.0, 0.0]])
    done = torch.tensor([[False, True], [False, False]])
    valid = torch.tensor([[True, True], [True, False]])
    scaler(reward, done, valid)
    assert scaler.statistics.count.item() == 3
    assert scaler.statistics.mean.item() == pytest.approx((1 + 10 + 1.9) / 3)
    np.testing.assert_allclose(scaler.returns, [1.9, 0.0], rtol=1e-6)


def test_scaled_rewards_are_clipped_and_keep_their_sign():
    scaler = RewardScaler(gamma=0.0, clip=2.0)
    reward = torch.tensor([[-1.0], [0.0], [0.0], [0.0], [0.0], [0.0], [0.0], [0.0], [0.0], [0.0]])
    scaled = scaler(reward, torch.zeros(10, 1, dtype=torch.bool))
    assert scaled[0].item() == -2 and scaled[1:].abs().max() == 0


def test_reward_scaler_goes_on_from_a_checkpoint():
    left, right = RewardScaler(0.9), RewardScaler(0.9)
    none = torch.zeros(4, 3, dtype=torch.bool)
    left(torch.randn(4, 3), none)
    right.load_state_dict(left.state_dict())
    reward = torch.randn(4, 3)
    assert torch.equal(left(reward, none), right(reward, none))


def test_a_batch_of_nothing_changes_nothing():
    normalizer = RunningNormalizer((2,))
    normalizer.update(torch.tensor([[0.0, 10.0], [4.0, 30.0]]))
    before = {name: value.clone() for name, value in normalizer.state_dict().items()}
    normalizer.update(torch.zeros(0, 2))  # all environments are resetting
    for name, value in normalizer.state_dict().items():
        assert torch.equal(value, before[name])
