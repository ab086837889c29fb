"""Noise that makes a deterministic policy explore, for each environment its own."""

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
        """Noise `[B, size]`, float32, of scale `std`; it starts afresh where `first [B]` opens an episode."""

    def state_dict(self) -> dict[str, Any]:
        """What the noise remembers; the generator is a part of its own."""
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
