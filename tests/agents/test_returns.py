import numpy as np
import pytest

from palaestra.agents.returns import generalized_advantages, rewards_to_go


def column(*values, dtype=np.float64):
    return np.array(values, dtype)[:, None]


def flags(*values):
    return column(*values, dtype=bool)


def test_advantages_by_hand():
    """gamma 0.5, lambda 0.5: decay 0.25. Deltas: 1 + 0.5*4 - 2 = 1; 2 + 0.5*6 - 4 = 1; 3 + 0.5*8 - 6 = 1."""
    none = flags(0, 0, 0)
    advantage = generalized_advantages(
        column(1, 2, 3), column(2, 4, 6), column(4, 6, 8), none, none, 0.5, 0.5
    )
    np.testing.assert_allclose(advantage, column(1 + 0.25 * 1.25, 1.25, 1))


def test_advantages_at_a_termination():
    """Nothing follows: no successor's value, and nothing from the next episode."""
    terminated = flags(0, 1, 0)
    advantage = generalized_advantages(
        column(1, 2, 3), column(2, 4, 6), column(4, 100, 8), terminated, terminated, 0.5, 0.5
    )
    # Deltas: 1; 2 - 4 = -2; 1.
    np.testing.assert_allclose(advantage, column(1 + 0.25 * -2, -2, 1))


def test_advantages_at_a_truncation():
    """The true successor has a value, but nothing comes back from the next episode."""
    done = flags(0, 1, 0)
    advantage = generalized_advantages(
        column(1, 2, 3), column(2, 4, 6), column(4, 10, 8), flags(0, 0, 0), done, 0.5, 0.5
    )
    # Deltas: 1; 2 + 0.5*10 - 4 = 3; 1.
    np.testing.assert_allclose(advantage, column(1 + 0.25 * 3, 3, 1))


def test_environments_do_not_mix():
    generator = np.random.default_rng(0)
    reward, value, next_value = generator.standard_normal((3, 7, 4))
    terminated, truncated = generator.random((2, 7, 4)) < 0.2
    arrays = (reward, value, next_value, terminated, terminated | truncated)
    together = generalized_advantages(*arrays, 0.9, 0.8)
    for b in range(4):
        alone = generalized_advantages(*(x[:, b : b + 1] for x in arrays), 0.9, 0.8)
        np.testing.assert_allclose(together[:, b : b + 1], alone)


def test_lambda_zero_is_the_one_step_error_and_lambda_one_the_whole_return():
    generator = np.random.default_rng(1)
    reward, value, next_value = generator.standard_normal((3, 5, 2))
    next_value[:-1] = value[1:]
    none = np.zeros((5, 2), bool)
    one_step = generalized_advantages(reward, value, next_value, none, none, 0.9, 0.0)
    np.testing.assert_allclose(one_step, reward + 0.9 * next_value - value)
    discounts = 0.9 ** np.arange(5)
    whole = (discounts[:, None] * reward).sum(0) + 0.9**5 * next_value[-1] - value[0]
    np.testing.assert_allclose(
        generalized_advantages(reward, value, next_value, none, none, 0.9, 1.0)[0], whole
    )


def test_advantages_stay_float32():
    arrays = [np.ones((3, 2), np.float32)] * 3 + [np.zeros((3, 2), bool)] * 2
    assert generalized_advantages(*arrays, 0.99, 0.95).dtype == np.float32
    assert rewards_to_go(*arrays[:2], *arrays[3:], 0.99).dtype == np.float32


def test_rewards_to_go_by_hand():
    """Two episodes, gamma 0.5: 1, 2, 3 ends for good, 4, 8 is cut where the successor is worth 10."""
    returns = rewards_to_go(
        column(1, 2, 3, 4, 8),
        column(99, 99, 99, 99, 10),
        flags(0, 0, 1, 0, 0),
        flags(0, 0, 0, 0, 1),
        0.5,
    )
    np.testing.assert_allclose(returns, column(1 + 0.5 * 3.5, 2 + 0.5 * 3, 3, 4 + 0.5 * 13, 8 + 0.5 * 10))


def test_rewards_to_go_of_an_unfinished_episode_count_on_its_value():
    returns = rewards_to_go(column(1, 2), column(99, 6), flags(0, 0), flags(0, 0), 0.5)
    np.testing.assert_allclose(returns, column(1 + 0.5 * 5, 2 + 0.5 * 6))


def test_a_termination_counts_before_a_truncation():
    returns = rewards_to_go(column(1), column(100), flags(1), flags(1), 0.9)
    assert returns.item() == 1


@pytest.mark.parametrize("gamma", [0.0, 0.7, 1.0])
def test_rewards_to_go_are_advantages_with_lambda_one_plus_value(gamma):
    generator = np.random.default_rng(2)
    reward, value = generator.standard_normal((2, 30, 3))
    terminated = generator.random((30, 3)) < 0.15
    truncated = (generator.random((30, 3)) < 0.15) & ~terminated
    done = terminated | truncated
    # Where the episode goes on, the successor is the next row.
    next_value = np.where(done, generator.standard_normal((30, 3)), np.roll(value, -1, 0))
    advantage = generalized_advantages(reward, value, next_value, terminated, done, gamma, 1.0)
    np.testing.assert_allclose(
        rewards_to_go(reward, next_value, terminated, truncated, gamma), advantage + value, atol=1e-9
    )
