"""Exploration: noise on deterministic actions and of a Gaussian policy, and random actions (epsilon-greedy)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np

NoiseName = Literal["gaussian", "ornstein-uhlenbeck"]


class ActionNoise(ABC):
    """Draws noise for the actions of all environments from a generator of its own."""

    def __init__(self, generator: np.random.Generator):
        self.generator = generator

    @abstractmethod
    def sample(self, std: float, size: int, first: np.ndarray) -> np.ndarray:
        """Noise `[B, size]`, float32, of scale `std`; it starts at zero where `first [B]` opens an episode."""

    def state_dict(self) -> dict[str, Any]:
        """Values that the next ones depend on; the generator is a part of its own."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        assert not state


class GaussianNoise(ActionNoise):
    """Independent at every step."""

    def sample(self, std: float, size: int, first: np.ndarray) -> np.ndarray:
        """Normal with mean 0 and deviation `std`."""
        return std * self.generator.standard_normal((len(first), size), dtype=np.float32)


class OrnsteinUhlenbeckNoise(ActionNoise):
    """A random walk pulled back to zero: it pushes one way for a while, which moves things that have inertia.

        x <- x - theta x dt + std sqrt(dt) normal

    With theta 0.15 and dt 0.01, as in OpenAI's baselines and Stable-Baselines3, it forgets within
    1 / (theta dt) = 667 steps; far from an episode's start its deviation is std / sqrt(2 theta) = 1.83 std.
    """

    theta = 0.15
    dt = 1e-2

    def __init__(self, generator: np.random.Generator):
        super().__init__(generator)
        self.value = np.zeros((0, 0), np.float32)

    def sample(self, std: float, size: int, first: np.ndarray) -> np.ndarray:
        """Next value of every environment's walk; an episode starts it from zero."""
        if self.value.shape != (len(first), size):
            self.value = np.zeros((len(first), size), np.float32)
        before = np.where(first[:, None], np.float32(0), self.value)
        kick = self.generator.standard_normal(before.shape, dtype=np.float32)
        self.value = before * np.float32(1 - self.theta * self.dt) + np.float32(std * self.dt**0.5) * kick
        return self.value

    def state_dict(self) -> dict[str, Any]:
        """Where every environment's walk is."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue every walk from there."""
        self.value = np.asarray(state["value"], np.float32)


def make_noise(name: NoiseName, generator: np.random.Generator) -> ActionNoise:
    """Return the noise of that name."""
    noises: dict[str, type[ActionNoise]] = {
        "gaussian": GaussianNoise,
        "ornstein-uhlenbeck": OrnsteinUhlenbeckNoise,
    }
    return noises[name](generator)


class CorrelatedNormal:
    """Standard normal noise, correlated in time: `x_t = c x_{t-1} + sqrt(1 - c^2) n_t`, so every `x_t` is N(0, 1).

    Independent noise averages out where actions must push for a while before anything happens (a car on a hill).
    Each action still has the policy's own distribution; only neighbours in time are alike. Compare Hollenstein et
    al. 2024, "Colored noise in PPO", who find the correlation harmless to the likelihood ratio.
    """

    def __init__(self, correlation: float, generator: np.random.Generator):
        self.correlation = correlation
        self.generator = generator
        self.value = np.zeros(0, np.float32)

    def standard_normal(self, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
        """Next values `shape`, of which the first axis counts environments."""
        fresh = self.generator.standard_normal(shape, dtype=np.float32)
        if self.value.shape != shape:
            self.value = fresh
        else:
            self.value = self.correlation * self.value + (1 - self.correlation**2) ** 0.5 * fresh
        return self.value

    def state_dict(self) -> dict[str, np.ndarray]:
        """The last values."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Go on from there."""
        self.value = state["value"]


def with_random_rows(values: np.ndarray, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Values `[B, A]` with random ones where `rows [B]` is true: so the best of them is a random action.

    A mask that is applied afterwards holds for random actions, too.
    """
    if count := np.count_nonzero(rows):
        values = values.copy()
        values[rows] = generator.random((count, values.shape[1]))
    return values
