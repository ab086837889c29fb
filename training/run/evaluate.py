"""How good is an agent? Full episodes, fixed seeds, the same number from every environment copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np

from ...envs.actions import ActionError
from ...envs.make import EnvSpec, make_envs
from ...envs.vector import Envs, Episode
from ..settings.usage import RunFailedError, as_usage_errors
from ..tracking.progress import say
from .signals import StoppedError

MAX_COPIES = 25
# Of environments that take a process each. Not a number of the machine, since results depend on it.
MAX_PROCESSES = 4
# After so long an evaluation says how far it is, and then each time it has taken twice as long.
QUIET_SECONDS = 10.0


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
    cut: int = 0
    """How many of them were cut off because they had become too long."""

    def summary(self) -> dict[str, float]:
        """Mean, deviation, interquartile mean, extremes of the return, the mean length, and how many were cut off."""
        returns = np.asarray(self.returns)
        return {
            "episodes": len(returns),
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "return_iqm": float(interquartile_mean(returns)),
            "return_min": float(returns.min()),
            "return_max": float(returns.max()),
            "length_mean": float(np.mean(self.lengths)),
            "cut": self.cut,
        }

    def to_dict(self) -> dict[str, Any]:
        """Summary and the single episodes."""
        return self.summary() | asdict(self)


def evaluate(
    agent: Actor, spec: EnvSpec, episodes: int, *, explore: bool = False, signals: Sequence[int] = ()
) -> Evaluation:
    """Play `episodes` full episodes; actions are the agent's best ones unless `explore`.

    Each copy plays a number of episodes fixed beforehand: taking whichever end first would favour short ones.
    Those that reach `spec.max_steps` are cut off there, which is said.

    Raises:
        StoppedError: `signals` are not empty any more.
        RunFailedError: the agent chose what is no action.
    """
    copies = copies_of(spec, episodes)
    with as_usage_errors():  # it may be made once and not twice
        envs = make_envs(replace(spec, num_envs=copies))
    try:
        played = play(agent, envs, quotas(episodes, copies), explore=explore, signals=signals)
    finally:
        envs.close()
    finished = [episode for copy in played for episode in copy]
    cut = sum(episode.cut for episode in finished)
    if cut:
        say(
            f"note: {cut} of {episodes} evaluation episodes were cut off after {spec.max_steps:,} steps; "
            "--evaluate-max-steps N allows more"
        )
    return Evaluation([e.episode_return for e in finished], [e.length for e in finished], cut)


def play(
    agent: Actor,
    envs: Envs,
    quota: list[int],
    *,
    explore: bool,
    signals: Sequence[int] = (),
    ended: Callable[[Episode], None] = lambda episode: None,
    quiet: float = QUIET_SECONDS,
) -> list[list[Episode]]:
    """Step all copies until each has finished its quota; later episodes of a copy are not counted.

    Each episode that counts is handed to `ended` as it ends; how far all are is said after `quiet` seconds.

    This is the one place where episodes are played to be judged: `envs` cut off what is too long, and signals are
    looked at between steps.

    Raises:
        StoppedError: `signals` are not empty any more.
        RunFailedError: the agent chose what is no action.
    """
    obs, first, state = envs.reset(), np.ones(envs.num_envs, bool), agent.initial_state(envs.num_envs)
    played: list[list[Episode]] = [[] for _ in quota]
    steps, started = 0, time.perf_counter()
    while any(len(done) < wanted for done, wanted in zip(played, quota, strict=True)):
        if signals:
            raise StoppedError(signals[0])
        try:
            action, state = agent.act(obs, state, first, explore)
            step = envs.step(action)
        except ActionError as error:
            raise RunFailedError(f"in an evaluation the agent chose {error}") from error
        obs, first = step.obs, step.first
        for episode in step.episodes:
            if len(played[episode.env_index]) < quota[episode.env_index]:
                played[episode.env_index].append(episode)
                ended(episode)
        steps += 1
        if time.perf_counter() - started > quiet:
            quiet *= 2
            say(
                f"evaluating: {sum(map(len, played))} of {sum(quota)} episodes ended, {steps:,} steps of each copy"
            )
    return played


def copies_of(spec: EnvSpec, episodes: int) -> int:
    """Number of copies that play so many episodes together."""
    return min(episodes, MAX_PROCESSES if spec.one_per_process else MAX_COPIES)


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
