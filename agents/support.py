"""Do returns fit on the support that C51 can express? What lies outside is learned as its nearest end."""

from __future__ import annotations

import math
import warnings

from .agent import Transition

# Steps of a piece in which an episode is looked at that does not end.
LONGEST = 10_000


class SupportCheck:
    """Discounted returns of what is experienced, compared with a support; those that lie outside are one warning.

    It comes after `silence` steps, when learning begins and many returns are known; None is for ever. The check changes
    nothing that is learned, and begins anew where a run is resumed.
    """

    def __init__(self, low: float, high: float, gamma: float, silence: int | None):
        self.low, self.high, self.gamma = low, high, gamma
        self.silence = silence
        self.steps = 0
        self.rewards: list[list[float]] = []
        """Of the running episode of each environment."""
        self.smallest, self.largest = math.inf, -math.inf

    def add(self, transition: Transition) -> None:
        """Take in one step of all environments."""
        if self.silence is None:
            return
        self.rewards = self.rewards or [[] for _ in transition.reward]
        self.steps += len(transition.reward)
        for i, (reward, done) in enumerate(
            zip(transition.reward.tolist(), transition.done.tolist(), strict=True)
        ):
            if transition.valid is None or transition.valid[i]:
                self.rewards[i].append(reward)
            if done or len(self.rewards[i]) >= LONGEST:
                low, high = return_range(self.rewards[i], self.gamma)
                self.smallest, self.largest = min(self.smallest, low), max(self.largest, high)
                self.rewards[i] = []
        if self.steps > self.silence and (self.smallest < self.low or self.largest > self.high):
            self.silence = None
            fitting = outward(min(self.smallest, self.low)), outward(max(self.largest, self.high))
            warnings.warn(
                f"C51 can express returns from {self.low:g} to {self.high:g}, but there are some from "
                f"{self.smallest:.4g} to {self.largest:.4g}, which it takes for the nearest end; what fits, as long as "
                f"they do not grow: --agent.value-min {fitting[0]} --agent.value-max {fitting[1]}",
                RuntimeWarning,
                stacklevel=3,
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
