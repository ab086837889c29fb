"""The acting policy as one module: observations and states in, what the environment executes and next states out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from torch import Tensor, nn

from ...envs.vector import Envs
from ...envs.wrappers.previous import REWARD
from ...networks.masks import KEY
from ...networks.vectors import from_leaves, leaf_spaces
from .acting import ActingParts
from .choices import Choice
from .memory_steps import MemoryStep
from .names import Path, distinct, key_of, leaf_paths, named
from .observed import Carried, Observed


@dataclass(frozen=True)
class Port:
    """An input or output."""

    name: str
    role: str
    """observation, state, first, action_mask, previous_reward or action."""
    shape: tuple[int, ...]
    """Of one copy: batches have one more axis in front."""
    dtype: np.dtype
    key: Any = None
    """Where it is in observations or actions that nest, see `names.key_of`."""
    input: str | None = None
    """Of a state that comes out: the input that it becomes in the next step."""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in policy.json."""
        values = {
            "name": self.name,
            "role": self.role,
            "shape": ["batch", *self.shape],
            "dtype": str(self.dtype),
            "key": self.key,
        }
        return values if self.input is None else values | {"input": self.input}


class ExportedPolicy(nn.Module):
    """Tensors `[B, ...]` in the order of `inputs` to tensors in the order of `outputs`: one step of an agent.

    Everything comes from the agent's own networks; nothing is kept between calls.
    """

    def __init__(self, parts: ActingParts, envs: Envs):
        super().__init__()
        self.observed = Observed(envs)
        self.encoder = parts.torso.encoder
        self.memory = MemoryStep(parts.torso.memory)
        self.choice = Choice(parts, envs.action_space)
        self.action_space = envs.action_space
        self.carried = list(self.observed.carried)
        if parts.torso.has_memory:
            self.carried.append(Carried("state", (parts.torso.state_size,), np.dtype(np.float32)))
        self.has_memory = parts.torso.has_memory
        self.inputs, self.outputs = self._ports()
        self.eval()

    def _ports(self) -> tuple[list[Port], list[Port]]:
        raw, masks = self.observed.raw_space, self.choice.allowed
        reads_mask = masks is not None and masks.read is not None
        inputs = [
            _obs_port(path, leaf, reads_mask)
            for path, leaf in zip(leaf_paths(raw), leaf_spaces(raw), strict=True)
        ]
        if self.observed.shows_previous:
            inputs.append(Port(REWARD, REWARD, (1,), np.dtype(np.float32)))
        if self.carried:
            inputs.append(Port("first", "first", (), np.dtype(bool)))
        inputs += [Port(name, "state", shape, dtype) for name, shape, dtype in self.carried]
        actions = zip(leaf_paths(self.action_space), leaf_spaces(self.action_space), strict=True)
        outputs = [
            Port(named("action", path), "action", leaf.shape or (), np.dtype(leaf.dtype), key_of(path))
            for path, leaf in actions
        ]
        names = distinct([port.name for port in inputs])
        inputs = [_renamed(port, name) for port, name in zip(inputs, names, strict=True)]
        states = [port for port in inputs if port.role == "state"]
        outputs += [
            Port(f"next_{port.name}", "state", port.shape, port.dtype, input=port.name) for port in states
        ]
        # An output with the name of an input would be the same tensor in ONNX.
        taken = distinct([*names, *(port.name for port in outputs)])[len(names) :]
        return inputs, [_renamed(port, name) for port, name in zip(outputs, taken, strict=True)]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """One step."""
        obs, latent, features, states_after = self._features(tensors)
        mask = None if self.choice.allowed is None else self.choice.allowed(obs)
        action = self.choice(features, mask)
        executed = from_leaves(self.action_space, action)
        added = self.observed.after(obs, latent, executed)
        frames, memory = states_after
        return (*action, *frames, *added, *memory)

    def scores(self, *tensors: Tensor) -> Tensor:
        """What the head says `[B, K]` before an action is chosen, forbidden ones far below."""
        obs, _, features, _ = self._features(tensors)
        mask = None if self.choice.allowed is None else self.choice.allowed(obs)
        return self.choice.scores(features, mask)

    def _features(
        self, tensors: tuple[Tensor, ...]
    ) -> tuple[Any, Tensor | None, Tensor, tuple[list[Tensor], list[Tensor]]]:
        count = len(leaf_spaces(self.observed.raw_space))
        leaves, rest = list(tensors[:count]), list(tensors[count:])
        reward = rest.pop(0) if self.observed.shows_previous else None
        first = rest.pop(0) if self.carried else None
        obs, latent, frames = self.observed(leaves, reward, first, rest)
        features = self.encoder(obs)
        if not self.has_memory:
            return obs, latent, features, (frames, [])
        features, state = self.memory(features, rest[-1], first)
        return obs, latent, features, (frames, [state])


def _obs_port(path: Path, leaf: spaces.Space, reads_mask: bool) -> Port:
    is_mask = reads_mask and path[:1] == (KEY,)
    name = named("action_mask", path[1:]) if is_mask else named("obs", path)
    role = "action_mask" if is_mask else "observation"
    return Port(name, role, leaf.shape or (), np.dtype(leaf.dtype), key_of(path))


def _renamed(port: Port, name: str) -> Port:
    return Port(name, port.role, port.shape, port.dtype, port.key, port.input)
