"""Probe environments: so small that the right answer is known, and that a failure says which part is broken.

After Andy Jones, "Debugging RL, Without the Agonizing Pain" (2021), andyljones.com/posts/rl-debugging.html.
Each isolates one ability more than the one before:

| `palaestra/Probe...-v0` | what happens | fails if broken |
|---|---|---|
| Constant | one step, reward 1 | the value's loss or optimiser: `V = 1` |
| Observation | one step, reward = observation | the way from observation to value: `V(obs) = obs` |
| Delayed | observation 0, then 1; reward 1 at the end | discounting: `V(0) = gamma`, `V(1) = 1` |
| Action | one step, reward for the right action | the policy's update |
| ActionObservation | the right action is the observation's sign | policy and value together |

Actions are 0 and 1 of a Discrete(2); 1 is right, or the one that the observation asks for (0 for -1, 1 for
1): reward 1, otherwise -1. With `continuous` they are numbers in [-1, 1]; 0.5 is right, or 0.5 times the
observation: reward 1 minus the squared distance. Episodes end by termination.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Probe(gymnasium.Env):
    """Episodes of `length` steps; `observe(sign, t)` and `reward(obs, action)` say the rest.

    `sign` is drawn from {-1, 1} in every episode; `reward` is given in the last step.
    """

    def __init__(
        self,
        reward: Callable[[float, Any], float],
        observe: Callable[[float, int], float] = lambda sign, t: 0.0,
        length: int = 1,
        continuous: bool = False,
    ):
        self.metadata = {"render_modes": []}
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32) if continuous else spaces.Discrete(2)
        self.reward = reward
        self.observe = observe
        self.length = length
        self.sign, self.time = 1.0, 0

    def _obs(self) -> np.ndarray:
        return np.array([self.observe(self.sign, self.time)], np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.sign, self.time = float(self.np_random.choice([-1.0, 1.0])), 0
        return self._obs(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Give the reward in the last step."""
        before = self.observe(self.sign, self.time)
        self.time += 1
        terminated = self.time == self.length
        reward = self.reward(before, action) if terminated else 0.0
        return self._obs(), reward, terminated, False, {}


def match(action: Any, wanted: float, continuous: bool) -> float:
    """How well an action answers `wanted`, which is -1 or 1; at most 1."""
    if continuous:
        return 1.0 - (float(action[0]) - 0.5 * wanted) ** 2
    return 1.0 if action == (wanted > 0) else -1.0


def constant(continuous: bool = False) -> Probe:
    """Reward 1 after one step."""
    return Probe(lambda obs, action: 1.0, continuous=continuous)


def observation(continuous: bool = False) -> Probe:
    """The reward is the observation."""
    return Probe(lambda obs, action: obs, lambda sign, t: sign, continuous=continuous)


def delayed(continuous: bool = False) -> Probe:
    """Reward 1 after two steps."""
    return Probe(lambda obs, action: 1.0, lambda sign, t: float(t > 0), length=2, continuous=continuous)


def action(continuous: bool = False) -> Probe:
    """One action is right."""
    return Probe(lambda obs, action: match(action, 1.0, continuous), continuous=continuous)


def action_observation(continuous: bool = False) -> Probe:
    """The observation says which action is right."""
    return Probe(
        lambda obs, action: match(action, obs, continuous), lambda sign, t: sign, continuous=continuous
    )


def register_probes() -> None:
    """Make the probes known to Gymnasium; the first three take `continuous` as an argument as well."""
    here = "palaestra.envs.tasks.probes"
    for name, maker in (
        ("ProbeConstant", constant),
        ("ProbeObservation", observation),
        ("ProbeDelayed", delayed),
        ("ProbeAction", action),
        ("ProbeActionObservation", action_observation),
    ):
        gymnasium.register(f"palaestra/{name}-v0", f"{here}:{maker.__name__}")
    for name, maker in (("ProbeAction", action), ("ProbeActionObservation", action_observation)):
        continuous_id = f"palaestra/{name}Continuous-v0"
        gymnasium.register(continuous_id, f"{here}:{maker.__name__}", kwargs={"continuous": True})
