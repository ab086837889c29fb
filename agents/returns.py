"""Returns and advantages: pure functions of `[T, B]` arrays.

An episode ends in one of two ways. After a *termination* nothing follows, and the next value counts as zero. At a
*truncation* the true successor has a value. `done` (either) stops information from flowing back from the next
episode.
"""

from __future__ import annotations

import numpy as np


def generalized_advantages(
    reward: np.ndarray,
    value: np.ndarray,
    next_value: np.ndarray,
    terminated: np.ndarray,
    done: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> np.ndarray:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16), all arguments and the result `[T, B]`.

        delta_t = r_t + gamma (1 - terminated_t) V(next_obs_t) - V(obs_t)
        A_t     = delta_t + gamma lambda (1 - done_t) A_{t+1}

    `next_value` is the value of the true successor, also where an episode was truncated.
    """
    delta = reward + gamma * ~terminated * next_value - value
    decay = gamma * gae_lambda * ~done
    advantage = np.empty_like(value)
    running = np.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + decay[t] * running
        advantage[t] = running
    return advantage


def rewards_to_go(
    reward: np.ndarray, next_value: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, gamma: float
) -> np.ndarray:
    """Discounted sum of the rewards from each step to the end of its episode, all arguments `[T, B]`.

        G_t = r_t                               where terminated
        G_t = r_t + gamma V(next_obs_t)         where truncated
        G_t = r_t + gamma G_{t+1}               elsewhere

    `next_value` is read where an episode was truncated, and after the last row if that ends none.
    """
    returns = np.empty_like(reward)
    running = next_value[-1]
    for t in range(len(reward) - 1, -1, -1):
        running = reward[t] + gamma * ~terminated[t] * np.where(truncated[t], next_value[t], running)
        returns[t] = running
    return returns
