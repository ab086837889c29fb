"""How good is an agent? Full episodes, fixed seeds, the same number from every environment copy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np

from ...envs.make import EnvSpec, make_envs
from ...envs.vector import Envs, Episode

MAX_COPIES = 25


class Actor(Protocol):
    """The half of an agent that evaluation needs."""

    def initial_state(self, num_envs: int) -> np.ndarray:
        """Memory `[num_envs, S]` at the start."""
        ...

    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[Any, np.ndarray]:
        """Choose actions."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of some full episodes, in the order of their environment copies."""

    returns: list[float]
    lengths: list[int]

    def summary(self) -> dict[str, float]:
        """Mean, deviation, interquartile mean, extremes of the return, and the mean length."""
        returns = np.asarray(self.returns)
        return {
            "episodes": len(returns),
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "return_iqm": float(interquartile_mean(returns)),
            "return_min": float(returns.min()),
            "return_max": float(returns.max()),
            "length_mean": float(np.mean(self.lengths)),
        }

    def to_dict(self) -> dict[str, Any]:
        """Summary and the single episodes."""
        return self.summary() | asdict(self)


def evaluate(agent: Actor, spec: EnvSpec, episodes: int, *, explore: bool = False) -> Evaluation:
    """Play `episodes` full episodes; actions are the agent's best ones unless `explore`.

    Each copy plays a number of episodes fixed beforehand: taking whichever end first would favour short ones.
    """
    copies = min(episodes, MAX_COPIES)
    envs = make_envs(replace(spec, num_envs=copies))
    try:
        played = play(agent, envs, quotas(episodes, copies), explore=explore)
    finally:
        envs.close()
    finished = [episode for copy in played for episode in copy]
    return Evaluation([e.episode_return for e in finished], [e.length for e in finished])


def play(agent: Actor, envs: Envs, quota: list[int], *, explore: bool) -> list[list[Episode]]:
    """Step all copies until each has finished its quota; later episodes of a copy are not counted."""
    obs, first, state = envs.reset(), np.ones(envs.num_envs, bool), agent.initial_state(envs.num_envs)
    played: list[list[Episode]] = [[] for _ in quota]
    while any(len(done) < wanted for done, wanted in zip(played, quota, strict=True)):
        action, state = agent.act(obs, state, first, explore)
        step = envs.step(action)
        obs, first = step.obs, step.first
        for episode in step.episodes:
            if len(played[episode.env_index]) < quota[episode.env_index]:
                played[episode.env_index].append(episode)
    return played


def quotas(episodes: int, copies: int) -> list[int]:
    """Share `episodes` among `copies`, as equally as they divide."""
    each, more = divmod(episodes, copies)
    return [each + (index < more) for index in range(copies)]


def interquartile_mean(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean of the middle half of values `[..., N]`; a quarter, rounded down, is cut off at each end.

    Whole numbers as weights `[N]` count each value as often as they say.
    """
    if weights is None or (weights == 1).all():
        count, cut = values.shape[-1], values.shape[-1] // 4
        return np.sort(values, axis=-1)[..., cut : count - cut].mean(-1)
    order = np.argsort(values, axis=-1)
    upper = np.cumsum(weights[order], axis=-1)
    total = int(weights.sum())
    cut = total // 4
    kept = np.clip(upper, cut, total - cut) - np.clip(upper - weights[order], cut, total - cut)
    return (kept * np.take_along_axis(values, order, axis=-1)).sum(-1) / (total - 2 * cut)
