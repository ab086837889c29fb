"""Goal environments: what a step would have been worth, had its goal been another.

They show Dicts of `observation`, `achieved_goal` and `desired_goal`, and have `compute_reward(achieved, desired, info)`
(Plappert et al. 2018, arXiv:1802.09464), some `compute_terminated` as well.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from .backends.copies import close_env
from .make import EnvSpec, make_single
from .registry import find_environment

GOAL_PARTS = ("observation", "achieved_goal", "desired_goal")
Judge = Callable[[Any, Any, Any], Any]


def goal_rule(spec: EnvSpec, observation_space: spaces.Space) -> GoalRule:
    """Return the rule of an environment, which a copy of its own applies.

    Raises:
        ValueError: it is no goal environment, or something else is asked for that hides its goals.
    """
    parts = set(observation_space.spaces) if isinstance(observation_space, spaces.Dict) else set()
    if missing := [part for part in GOAL_PARTS if part not in parts]:
        raise ValueError(f"hindsight needs a goal environment; '{spec.id}' has no {' and no '.join(missing)}")
    if spec.frame_stack > 1 or spec.show_previous:
        raise ValueError("hindsight cannot relabel frame_stack or show_previous; leave them off")
    return GoalRule(spec)


class GoalRule:
    """Rewards and terminations by the goals alone: `(achieved [N, ...], desired [N, ...]) -> (reward, terminated)`.

    Both come from the innermost environment: what wrappers make of rewards is not known here, but for `clip_reward`.
    Without `compute_terminated` nothing terminates.

    Raises:
        ValueError: the environment cannot tell.
    """

    def __init__(self, spec: EnvSpec):
        env = make_single(spec, find_environment(spec.id))
        weakref.finalize(self, close_env, env)
        self.clip_reward = spec.clip_reward
        judges = {
            name: getattr(env.unwrapped, name, None) for name in ("compute_reward", "compute_terminated")
        }
        if judges["compute_reward"] is None:
            raise ValueError(f"hindsight needs a goal environment; '{spec.id}' has no compute_reward")
        obs, _ = env.reset(seed=spec.seed)
        achieved, desired = _examples(obs["achieved_goal"], obs["desired_goal"])
        self.judges = []
        for name, judge in judges.items():
            try:
                self.judges.append(None if judge is None else _for_batches(judge, achieved, desired))
            except Exception as error:
                line = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                raise ValueError(
                    f"hindsight: {name} of '{spec.id}' needs more than goals ({line})"
                ) from error

    def __call__(self, achieved: Any, desired: Any) -> tuple[np.ndarray, np.ndarray]:
        """Reward (float32) and terminated (bool), `[N]` each."""
        rewards, terminations = self.judges
        assert rewards is not None
        reward = rewards(achieved, desired).astype(np.float32)
        if self.clip_reward:
            reward = np.sign(reward)
        if terminations is None:
            return reward, np.zeros(len(reward), bool)
        return reward, terminations(achieved, desired).astype(bool)


def _examples(achieved: Any, desired: Any) -> tuple[np.ndarray, np.ndarray]:
    """Three pairs of goals, reached and not."""
    achieved, desired = np.asarray(achieved), np.asarray(desired)
    return np.stack([achieved, desired, achieved]), np.stack([desired, desired, achieved])


def _for_batches(judge: Judge, achieved: np.ndarray, desired: np.ndarray) -> Callable[[Any, Any], np.ndarray]:
    """Return `judge` for batches `[N, ...]` of goals: in one call where it gives the same as row by row."""

    def rows(achieved: Any, desired: Any) -> np.ndarray:
        return np.array([np.asarray(judge(a, d, {})).item() for a, d in zip(achieved, desired, strict=True)])

    def at_once(achieved: Any, desired: Any) -> np.ndarray:
        return np.asarray(judge(achieved, desired, [{} for _ in achieved]))

    expected = rows(achieved, desired)
    try:
        found = at_once(achieved, desired)
    except Exception:  # it takes single goals only
        return rows
    # Some give one answer for the whole batch.
    return at_once if found.shape == expected.shape and np.allclose(found, expected) else rows
