"""Does a file act as the agent does that `evaluate` plays? Nothing is exported that does not."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ...envs.actions import action_clipper
from ...envs.make import EnvSpec, make_envs, wrap_envs
from ...envs.vector import Envs
from ...envs.wrappers.previous import REWARD, action_encoder
from ...networks.heads import PolicyHead
from ...networks.q_heads import JointActions, of_action
from ...networks.vectors import from_leaves, leaf_observations, leaf_spaces
from ..run.evaluate import Actor
from ..settings.usage import RunFailedError
from .formats import Runner
from .observed import innermost
from .policy import ExportedPolicy
from .random_envs import RandomEnvs

# Ten copies of an episode, a hundred steps each.
COPIES, STEPS = 10, 100
# Largest difference of numbers in actions, and of what two equally good choices are worth; in units of 1, of the value
# or of half the range of the actions, whichever is largest.
TOLERANCE = 1e-5
# Sampled actions of one observation, whose frequencies are compared, fewer of pictures from `LARGE` numbers on, which
# many copies make slow; and deviations that they may lie apart.
DRAWS, PICTURE_DRAWS, LARGE, DEVIATIONS = 4096, 512, 1000, 6.0


@dataclass
class Checked:
    """What was compared."""

    observations: int = 0
    ties: int = 0
    """Observations for which another, equally good action was chosen."""
    largest_difference: float = 0.0
    """Of numbers in actions, in the environment's units."""
    episode_steps: int = 0
    episode_return: float = 0.0


class Comparison:
    """Steps an exported policy beside the agent, each with its own memory."""

    def __init__(self, policy: ExportedPolicy, agent: Actor, run: Runner, envs: Envs, checked: Checked):
        self.policy, self.agent, self.run, self.envs, self.checked = policy, agent, run, envs, checked
        self.clip = action_clipper(envs.action_space, envs.num_envs)
        self.obs, self.first = envs.reset(), np.ones(envs.num_envs, bool)
        self.memory = agent.initial_state(envs.num_envs)
        self.states = initial_states(policy, envs.num_envs)
        # Another, equally good action went into what is carried on: nothing to compare until the next episode.
        self.apart = np.zeros(envs.num_envs, bool)

    def step(self) -> tuple[int, list[Any]]:
        """Act once with both, and go on with the agent's actions; returns how many rows and the episodes that ended.

        Raises:
            RunFailedError: the actions differ.
        """
        feeds, outputs = self.run_once()
        for port in self.policy.outputs:
            if port.input is not None:
                self.states[port.input] = outputs[port.name]
        action, self.memory = self.agent.act(self.obs, self.memory, self.first, explore=False)
        self.apart &= ~self.first
        tied = self.compare(feeds, outputs, action) & ~self.apart
        if self.policy.observed.model is not None or self.policy.observed.shows_previous:
            self.apart |= tied
        self.checked.ties += int(tied.sum())
        step = self.envs.step(action)
        self.obs, self.first = step.obs, step.first
        return len(step.first), step.episodes

    def run_once(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Inputs of this step, and what the exported policy makes of them."""
        feeds = self.feeds()
        try:
            return feeds, self.run(feeds)
        except Exception as error:  # of whatever kind: it cannot be run
            what = " ".join(str(error).split())[:300]
            raise RunFailedError(f"it cannot be run: {type(error).__name__}: {what}") from error

    def feeds(self) -> dict[str, np.ndarray]:
        """Inputs by name."""
        raw = innermost(self.envs)
        values = leaf_observations(raw.observation_space, raw.obs)
        if self.policy.observed.shows_previous:
            values = [*values, self.obs[REWARD]]
        if self.policy.carried:
            values = [*values, self.first, *self.states.values()]
        pairs = zip(self.policy.inputs, values, strict=True)
        return {port.name: np.ascontiguousarray(value, port.dtype) for port, value in pairs}

    def compare(
        self, feeds: dict[str, np.ndarray], outputs: dict[str, np.ndarray], action: Any
    ) -> np.ndarray:
        """Compare actions; returns in which rows `[B]` others were chosen that are as good."""
        space = self.envs.action_space
        expected = leaf_observations(space, self.clip(action))
        chosen = [outputs[port.name] for port in self.policy.outputs if port.role == "action"]
        other = np.zeros(len(self.first), bool)
        for leaf, ours, theirs in zip(leaf_spaces(space), expected, chosen, strict=True):
            if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
                raise RunFailedError(
                    f"it gives actions {theirs.dtype} {theirs.shape}, not {ours.dtype} {ours.shape}"
                )
            if ours.dtype.kind == "f":
                self._compare_numbers(leaf, ours, theirs)
            else:
                other |= (ours != theirs).reshape(len(ours), -1).any(1)
        other &= ~self.apart
        if other.any():
            self._compare_worth(feeds, expected, chosen, other)
        return other

    def _compare_numbers(self, space: Any, ours: np.ndarray, theirs: np.ndarray) -> None:
        difference = np.abs(ours.astype(np.float64) - theirs)[~self.apart]
        if not difference.size:
            return
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        with np.errstate(over="ignore"):
            half = np.where(np.isfinite(high - low), (high - low) / 2, 1.0)
        unit = np.maximum(np.maximum(half, 1.0), np.abs(ours[~self.apart]))
        self.checked.largest_difference = max(self.checked.largest_difference, float(difference.max()))
        if not (difference <= TOLERANCE * unit).all():  # NaN is not, either
            raise RunFailedError(
                f"its actions differ by up to {difference.max():.3g}, of which {TOLERANCE:g} is allowed"
            )

    def _compare_worth(
        self,
        feeds: dict[str, np.ndarray],
        expected: list[np.ndarray],
        chosen: list[np.ndarray],
        rows: np.ndarray,
    ) -> None:
        """Raise `RunFailedError` unless the choices in some rows are worth as much as the agent's."""
        tensors = [torch.as_tensor(feeds[port.name][rows]) for port in self.policy.inputs]
        with torch.no_grad():
            scores = self.policy.scores(*tensors)
        # Numbers were compared already: only the choices are exchanged.
        mixed = [
            ours if ours.dtype.kind == "f" else theirs for ours, theirs in zip(expected, chosen, strict=True)
        ]
        best, other = (self._worth(scores, [leaf[rows] for leaf in leaves]) for leaves in (expected, mixed))
        if not (np.abs(best - other) <= TOLERANCE * np.maximum(1, np.abs(best))).all():
            at = int(np.argmax(np.abs(best - other)))
            raise RunFailedError(
                f"it chooses {[leaf[rows][at].tolist() for leaf in chosen]} where the agent chooses "
                f"{[leaf[rows][at].tolist() for leaf in expected]}, which is worth {best[at] - other[at]:.3g} more"
            )

    def _worth(self, scores: torch.Tensor, leaves: list[np.ndarray]) -> np.ndarray:
        """Values, or logarithms of probabilities, `[N]` of actions."""
        choice, action = self.policy.choice, from_leaves(self.envs.action_space, leaves)
        if isinstance(choice.actions, JointActions):
            index = torch.as_tensor(choice.actions.index(action))
            return of_action(scores.unsqueeze(-1), index).squeeze(-1).numpy()
        assert isinstance(choice.head, PolicyHead)
        stored = torch.as_tensor(choice.head.stored(action))
        return choice.head.distribution(scores).log_prob(stored).numpy()


def initial_states(policy: ExportedPolicy, num_envs: int) -> dict[str, np.ndarray]:
    """State inputs by name before anything was seen, `[B, ...]`."""
    return {
        port.name: np.zeros((num_envs, *port.shape), port.dtype)
        for port in policy.inputs
        if port.role == "state"
    }


def check(policy: ExportedPolicy, agent: Actor, run: Runner, spec: EnvSpec, seed: int = 0) -> Checked:
    """Compare the actions for 1,000 random observations and in a whole episode.

    Raises:
        RunFailedError: they differ.
    """
    checked = Checked()
    with closing(make_envs(replace(spec, num_envs=1))) as envs:
        raw = innermost(envs)
        random = wrap_envs(spec, RandomEnvs(raw.observation_space, raw.action_space, COPIES, seed))
        comparison = Comparison(policy, agent, run, random, checked)
        for _ in range(STEPS):
            checked.observations += comparison.step()[0]
        comparison = Comparison(policy, agent, run, envs, checked)
        episodes: list[Any] = []
        while not episodes:
            rows, episodes = comparison.step()
            checked.episode_steps += rows
        checked.episode_return = float(episodes[0].episode_return)
    return checked


def check_samples(policy: ExportedPolicy, agent: Actor, run: Runner, spec: EnvSpec, seed: int = 0) -> None:
    """Compare the means and squares of many actions that both sample for one random observation.

    Raises:
        RunFailedError: they lie further apart than chance explains.
    """
    with closing(make_envs(replace(spec, num_envs=1))) as envs:
        raw = innermost(envs)
        numbers = sum(int(np.prod(leaf.shape or ())) for leaf in leaf_spaces(raw.observation_space))
        draws = DRAWS if numbers < LARGE else PICTURE_DRAWS
        # The same observation for all.
        random = wrap_envs(spec, RandomEnvs(raw.observation_space, raw.action_space, draws, seed, alike=True))
        comparison = Comparison(policy, agent, run, random, Checked())
        _, outputs = comparison.run_once()
        action, _ = agent.act(comparison.obs, comparison.memory, comparison.first, explore=True)
        ours = comparison.clip(action)
        leaves = [outputs[port.name] for port in policy.outputs if port.role == "action"]
        theirs = from_leaves(envs.action_space, leaves)
        encode = action_encoder(envs.action_space)
        samples = [encode(each).astype(np.float64) for each in (ours, theirs)]
    for power in (1, 2):
        one, other = (sample**power for sample in samples)
        error = np.sqrt((one.var(0) + other.var(0)) / draws)
        apart = np.abs(one.mean(0) - other.mean(0))
        if not (apart <= DEVIATIONS * error + TOLERANCE * (1 + np.abs(one.mean(0)))).all():
            raise RunFailedError("the actions that it samples are distributed otherwise than the agent's")
