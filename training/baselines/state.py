"""All that decides how a model of Stable-Baselines3 goes on, as parts of a checkpoint.

Its own `save` keeps networks and optimisers. From those alone a run goes on differently: the running episodes, the
replay memory, running statistics, counters, the noise of exploration, and the global generators that it draws from
are missing. They are complete here between two rollouts, when nothing else is under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from ...envs.vector import Envs
from ..run.generators import GlobalGenerators
from ..run.storage.packing import Part, num_bytes

LIBRARIES = {"stable_baselines3", "sb3_contrib"}
REPLAY = "replay_buffer"
# Attributes of a model that are parts of their own; but a rollout is nothing between two of them.
APART = {REPLAY, "env", "_vec_normalize_env", "_logger", "rollout_buffer"}
# Of a VecNormalize.
STATISTICS = ("obs_rms", "ret_rms", "returns", "old_obs", "old_reward", "epsilon", "clip_obs")
# Of its logger: what an update has reported, which a later row of metrics shows.
REPORTED = ("name_to_value", "name_to_count", "name_to_excluded")


class _Built:
    """Stands for what a new model has already: spaces, schedules, classes and other things that options decide."""


BUILT = _Built()


def model_parts(model: Any, normalizer: Any, envs: Envs) -> dict[str, Part]:
    """Parts of a checkpoint for a model that trains in `envs`, to be saved and restored between two rollouts.

    What acts is apart from the replay memory, so that it can be read alone.
    """
    return {
        "policy": model.policy,
        **({} if normalizer is None else {"normalizer": Attributes(normalizer, STATISTICS)}),
        "algorithm": AlgorithmState(model),
        **({"replay": Attributes(model, (REPLAY,))} if hasattr(model, REPLAY) else {}),
        "reported": Attributes(model.logger, REPORTED),
        # After those: where episodes cannot be restored, the model is told of new ones.
        "envs": Episodes(model, normalizer, envs),
        # Last: environments of somebody else's may draw from the global ones as they begin.
        "generators": Generators(model.action_space),
    }


def unsaved(parts: dict[str, Part]) -> str | None:
    """What of a model has no place in a checkpoint, in words; None where all has."""
    try:
        num_bytes(parts)
    except TypeError as error:
        return str(error)
    return None


class Attributes:
    """Some attributes of an object."""

    def __init__(self, owner: Any, names: tuple[str, ...]):
        self.owner = owner
        self.names = names

    def state_dict(self) -> dict[str, Any]:
        """Their values."""
        return {name: gather(getattr(self.owner, name)) for name in self.names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set them back."""
        for name in self.names:
            setattr(self.owner, name, put_back(getattr(self.owner, name), state[name]))


class AlgorithmState:
    """An algorithm's attributes, without its networks and replay memory, and the optimisers that lie in networks."""

    def __init__(self, model: Any):
        self.model = model

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        found = (value for module in self.model.policy.modules() for value in vars(module).values())
        return [value for value in found if isinstance(value, torch.optim.Optimizer)]

    def state_dict(self) -> dict[str, Any]:
        """Moments of optimisers, counters, statistics of episodes, noise."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers()],
            "attributes": dict(gathered(vars(self.model))),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for optimizer, moments in zip(self._optimizers(), state["optimizers"], strict=True):
            optimizer.load_state_dict(moments)
        set_attributes(self.model, state["attributes"])


class Generators(GlobalGenerators):
    """The global generators that Stable-Baselines3 draws from, and that of its random actions."""

    def __init__(self, action_space: spaces.Space):
        self.action_space = action_space

    def state_dict(self) -> dict[str, Any]:
        """Where each of them is."""
        return super().state_dict() | {"actions": self.action_space.np_random.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set them back."""
        super().load_state_dict(state)
        self.action_space.np_random.bit_generator.state = state["actions"]


class Episodes:
    """The running episodes of a model's environments."""

    def __init__(self, model: Any, normalizer: Any, envs: Envs):
        self.model = model
        self.normalizer = normalizer
        self.envs = envs

    def state_dict(self) -> dict[str, Any]:
        """Where they are."""
        return self.envs.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring them back, or begin the next ones where that cannot be done."""
        exact = self.envs.load_state_dict(state)
        view = self.model.env
        # Around ours lie those of Stable-Baselines3: statistics, pictures with channels first.
        while hasattr(view, "venv"):
            view = view.venv
        view.restore(begun=not exact)
        if exact:
            return
        # New observations reach the model on the way that those of a reset take.
        self.model._last_obs = self.model.env.reset()
        self.model._last_episode_starts = np.ones(self.envs.num_envs, bool)
        if self.normalizer is not None:
            self.model._last_original_obs = self.normalizer.get_original_obs()


def gathered(attributes: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what changes of an object's attributes, by name."""
    for name, value in attributes.items():
        # Networks are the policy's.
        if isinstance(value, nn.Module) or name in APART:
            continue
        if (state := gather(value)) is not BUILT:
            yield name, state


def gather(value: Any) -> Any:
    """Return what changes in a value, of types that a checkpoint holds; BUILT where a new model has all of it."""
    if isinstance(value, type | FunctionType | MethodType | Enum | torch.device | torch.dtype | spaces.Space):
        return BUILT
    if isinstance(value, torch.optim.Optimizer):
        return value.state_dict()
    if isinstance(value, dict):
        return _all_of({key: gather(each) for key, each in value.items()})
    if isinstance(value, list | tuple | deque):
        return _all_of([gather(each) for each in value])
    if is_theirs(value):
        attributes = dict(gathered(vars(value)))
        rows = _rows(value)
        return attributes if rows is None else {name: _cut(each, *rows) for name, each in attributes.items()}
    return value


def is_theirs(value: Any) -> bool:
    """Whether a value is an object of Stable-Baselines3's own, whose attributes are looked at one by one."""
    return type(value).__module__.partition(".")[0] in LIBRARIES


def _all_of(values: Any) -> Any:
    """Return values, or BUILT where one of them is: options such as policy_kwargs."""
    each = values.values() if isinstance(values, dict) else values
    return BUILT if any(value is BUILT for value in each) else values


def _rows(value: Any) -> tuple[int, int] | None:
    """Rows of a replay memory that are filled, and all of them; None for other objects."""
    if not all(hasattr(value, name) for name in ("buffer_size", "pos", "full")):
        return None
    # One more than it counts: with optimize_memory_usage the last successor lies in the next row.
    return min(value.size() + 1, value.buffer_size), value.buffer_size


def _cut(value: Any, rows: int, of: int) -> Any:
    if isinstance(value, dict):
        return {name: _cut(each, rows, of) for name, each in value.items()}
    return value[:rows] if isinstance(value, np.ndarray) and value.shape[:1] == (of,) else value


def set_attributes(owner: Any, states: dict[str, Any]) -> None:
    """Put back what `gathered` gave of an object."""
    for name, state in states.items():
        setattr(owner, name, put_back(getattr(owner, name, None), state))


def put_back(value: Any, state: Any) -> Any:
    """Return a value as `gather` saw it: changed in place where others refer to it."""
    if isinstance(value, torch.optim.Optimizer):
        value.load_state_dict(state)
        return value
    if isinstance(value, torch.Tensor):
        with torch.no_grad():
            return value.copy_(state)
    if (
        isinstance(value, np.ndarray)
        and isinstance(state, np.ndarray)
        and value.ndim == state.ndim > 0
        and value.shape[1:] == state.shape[1:]
    ):
        if len(state) < len(value):
            value[: len(state)] = state
            return value
        # In the order in memory that it has here: pictures with their channels moved round otherwise from others.
        array = np.empty_like(value, shape=state.shape, dtype=state.dtype)
        array[...] = state
        return array
    if isinstance(value, dict):
        restored = {key: put_back(value.get(key), each) for key, each in state.items()}
        value.clear()
        value.update(restored)
        return value
    if isinstance(value, deque):
        return deque(state, value.maxlen)
    if isinstance(value, list | tuple) and len(value) == len(state):
        both = [put_back(each, one) for each, one in zip(value, state, strict=True)]
        return type(value)(*both) if hasattr(value, "_fields") else type(value)(both)
    if is_theirs(value):
        set_attributes(value, state)
        return value
    return state
