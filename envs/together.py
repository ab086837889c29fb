"""Environments of several runs, stepped together; each run keeps its seeds, and a state of its own for checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import gymnasium
import numpy as np

from ..networks.tree import concatenated, tree_map
from .autoreset import BackendEnvs
from .backends.joint import AXES, JointBackend, JointSyncBackend, JointVectorBackend, row_slices
from .make import EnvSpec, choose_backend, make_envs, make_native_vector, single_maker
from .registry import find_environment
from .vector import Envs, EnvStep, side_by_side


class EnvsTogether(Protocol):
    """Copies of several runs, one run after the other; `split` and `join` speak of one run's state each."""

    num_envs: int
    observation_space: gymnasium.spaces.Space
    action_space: gymnasium.spaces.Space

    @property
    def obs(self) -> Any:
        """What to act on next, `[S * B, ...]`."""
        ...

    @property
    def first(self) -> np.ndarray:
        """Where it opens an episode."""
        ...

    def reset(self) -> Any:
        """Begin episode 0 everywhere; returns `obs [S * B, ...]`."""
        ...

    def step(self, action: Any) -> EnvStep:
        """Execute actions `[S * B, ...]`."""
        ...

    def split(self) -> list[dict[str, Any]]:
        """What the `Envs` of each run would say in `state_dict`."""
        ...

    def join(self, states: list[dict[str, Any]]) -> None:
        """Go on from there, all runs at once."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


def make_together(spec: EnvSpec, seeds: list[int]) -> EnvsTogether:
    """Environments of runs that differ in their seeds; `spec.num_envs` is that of one run.

    Single environments of this process and vector environments that are known are stepped in one go, all else run by
    run. What steps a run is what would step it alone.
    """
    plain = not (spec.frame_stack > 1 or spec.memory_model or spec.show_previous or spec.clip_reward)
    if plain and spec.backend_maker is None and spec.backend != "envpool" and spec.on_error == "stop":
        registered = find_environment(spec.id)
        name = choose_backend(spec, registered)
        if name == "sync":
            make = single_maker(spec, registered)
            return JointEnvs(JointSyncBackend(make, spec.num_envs, seeds), spec.max_steps)
        if name == "vector":
            env = make_native_vector(replace(spec, num_envs=spec.num_envs * len(seeds)), registered)
            if type(env) in AXES:
                return JointEnvs(JointVectorBackend(env, spec.num_envs, seeds), spec.max_steps)
            env.close()
    return SideBySide([make_envs(replace(spec, seed=seed)) for seed in seeds])


class JointEnvs(BackendEnvs):
    """Copies of several runs that one backend steps in one go."""

    _backend: JointBackend

    def __init__(self, backend: JointBackend, max_steps: int | None = None):
        super().__init__(backend, max_steps=max_steps)
        self.rows = row_slices(backend.copies_each, len(backend.run_seeds))

    def split(self) -> list[dict[str, Any]]:
        """State of each run."""
        whole = super().state_dict()
        arrays = ("first", "resetting", "returns", "lengths")
        return [
            {"backend": backend, **{name: whole[name][rows] for name in arrays}, "restarts": 0}
            for backend, rows in zip(self._backend.split(), self.rows, strict=True)
        ]

    def join(self, states: list[dict[str, Any]]) -> None:
        """Go on from the states of all runs."""
        self._begin()
        self._backend.join([state["backend"] for state in states])
        if not self.exact_resume:
            return
        arrays = {
            name: np.concatenate([state[name] for state in states])
            for name in ("first", "resetting", "returns", "lengths")
        }
        self.first, self._resetting, self._returns = (
            arrays["first"],
            arrays["resetting"],
            arrays["returns"],
        )
        self._any_resetting = bool(self._resetting.any())
        self._starts = self._resetting - arrays["lengths"]


class SideBySide:
    """Environments of several runs that are stepped one after the other."""

    def __init__(self, runs: list[Envs]):
        self.runs = runs
        self.num_envs = sum(envs.num_envs for envs in runs)
        self.rows = row_slices(runs[0].num_envs, len(runs))
        self.observation_space, self.action_space = runs[0].observation_space, runs[0].action_space

    @property
    def obs(self) -> Any:
        """What to act on next."""
        return concatenated([envs.obs for envs in self.runs])

    @property
    def first(self) -> np.ndarray:
        """Where it opens an episode."""
        return np.concatenate([envs.first for envs in self.runs])

    def reset(self) -> Any:
        """Begin episode 0 everywhere."""
        return concatenated([envs.reset() for envs in self.runs])

    def step(self, action: Any) -> EnvStep:
        """Step each run's environments."""
        return side_by_side(
            [
                envs.step(tree_map(lambda x, rows=rows: x[rows], action))
                for envs, rows in zip(self.runs, self.rows, strict=True)
            ]
        )

    def split(self) -> list[dict[str, Any]]:
        """State of each run."""
        return [envs.state_dict() for envs in self.runs]

    def join(self, states: list[dict[str, Any]]) -> None:
        """Go on from there."""
        for envs, state in zip(self.runs, states, strict=True):
            envs.load_state_dict(state)

    def close(self) -> None:
        """Release everything."""
        for envs in self.runs:
            envs.close()
