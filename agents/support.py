"""Do returns fit on the support that C51 can express? What lies outside is learned as its nearest end."""

from __future__ import annotations

import math
import warnings

from .agent import Transition

# Steps of a piece in which an episode is looked at that does not end.
LONGEST = 10_000


class SupportCheck:
    """Discounted returns of what is experienced, compared with a support; the first that lie outside are a warning.

    It changes nothing that is learned, and begins anew where a run is resumed. Without being `wanted` it does nothing.
    """

    def __init__(self, low: float, high: float, gamma: float, wanted: bool):
        self.low, self.high, self.gamma = low, high, gamma
        self.wanted = wanted
        self.rewards: list[list[float]] = []
        """Of the running episode of each environment."""

    def add(self, transition: Transition) -> None:
        """Take in one step of all environments."""
        if not self.wanted:
            return
        self.rewards = self.rewards or [[] for _ in transition.reward]
        for i, (reward, done) in enumerate(
            zip(transition.reward.tolist(), transition.done.tolist(), strict=True)
        ):
            if transition.valid is None or transition.valid[i]:
                self.rewards[i].append(reward)
            if done or len(self.rewards[i]) >= LONGEST:
                self._compare(self.rewards[i])
                self.rewards[i] = []

    def _compare(self, rewards: list[float]) -> None:
        low, high = return_range(rewards, self.gamma)
        if self.low <= low and high <= self.high:
            return
        self.wanted = False
        warnings.warn(
            f"C51 can express returns from {self.low:g} to {self.high:g}, but there are some from {low:.4g} to "
            f"{high:.4g}, which it takes for the nearest end; what fits, as long as they do not grow: "
            f"--agent.value-min {outward(min(low, self.low))} --agent.value-max {outward(max(high, self.high))}",
            RuntimeWarning,
            stacklevel=4,
        )


def return_range(rewards: list[float], gamma: float) -> tuple[float, float]:
    """Smallest and largest of an episode's returns `G_t = r_t + gamma G_{t+1}`, from each of its steps to its end."""
    low, high, following = math.inf, -math.inf, 0.0
    for reward in reversed(rewards):
        following = reward + gamma * following
        low, high = min(low, following), max(high, following)
    return low, high


def outward(value: float) -> str:
    """A number rounded away from zero, to two digits."""
    if value == 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return f"{math.copysign(math.ceil(abs(value) / unit - 1e-9) * unit, value):g}"
