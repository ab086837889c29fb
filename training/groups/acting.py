"""Acting of several agents at once: their networks in one stacked pass, their choices each by its own lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...agents.agent import Agent
from ...agents.ddpg import DDPG
from ...agents.dqn import DQN
from ...agents.ppo import PPO
from ...agents.pqn import PQN
from ...agents.reinforce import REINFORCE
from ...networks.heads import BernoulliHead, CategoricalHead, MultiCategoricalHead
from ...networks.masks import masked
from ...networks.numpy_twins.stacked import Stack, stacked_layers, stacked_torso, stacked_values
from ...networks.tree import concatenated, tree_map

# Observations `[S * B, ...]` to outputs `[S, B, K]` of what an agent acts by.
Outputs = Callable[[Any], np.ndarray]
# Where an agent holds the function that it acts by.
FORWARD: dict[type, str] = {
    PPO: "forward",
    REINFORCE: "forward",
    DDPG: "forward",
    DQN: "values",
    PQN: "values",
}


class JointActing:
    """Acts for all agents; `refresh` has to be called once their networks have changed.

    While it acts, what an agent asks its networks is answered out of one pass for all of them; at any other time, such
    as in an evaluation, the agent's networks answer by themselves.
    """

    def __init__(self, agents: Sequence[Any], rows: list[slice]):
        self.agents = agents
        self.rows = rows
        self.stack = Stack()
        self.outputs_of = stacked_outputs(self.stack, agents)
        self.generators = joint_generators(agents) if self.outputs_of is not None else None
        self.obs: Any = None
        self.outputs: np.ndarray | None = None
        if self.outputs_of is not None:
            name = FORWARD[type(agents[0])]
            for index, agent in enumerate(agents):
                setattr(agent, name, partial(self._answer, index, getattr(agent, name)))

    def _answer(
        self, index: int, alone: Callable[..., Any], obs: Any, state: np.ndarray, *rest: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outputs `[B, K]` for an agent's rows; the state is none."""
        if self.obs is None:
            return alone(obs, state, *rest)
        if self.outputs is None:
            assert self.outputs_of is not None
            self.outputs = self.outputs_of(self.obs)
        return self.outputs[index], state

    def refresh(self) -> None:
        """See what was learned."""
        self.stack.refresh()

    def act(self, obs: Any, state: np.ndarray, first: np.ndarray) -> tuple[Any, np.ndarray]:
        """Actions `[S * B, ...]` and next memory."""
        if self.generators is not None and self.outputs_of is not None:
            # What follows from the outputs holds no parameters: one call does it for all.
            head, outputs = self.agents[0].head, self.outputs_of(obs)
            outputs = masked(outputs.reshape(len(first), -1), head.allowed(obs))
            return head.choose(outputs, self.generators), state
        self.obs, self.outputs = obs, None
        try:
            chosen = [
                agent.act(tree_map(lambda x, rows=rows: x[rows], obs), state[rows], first[rows])
                for agent, rows in zip(self.agents, self.rows, strict=True)
            ]
        finally:
            self.obs = self.outputs = None
        return concatenated([action for action, _ in chosen]), state


class JointGenerator:
    """Random numbers `[S * B, ...]`, the rows of each agent from its own generator, as it would draw them alone."""

    def __init__(self, generators: list[np.random.Generator]):
        self.generators = generators

    def standard_exponential(self, size: tuple[int, ...]) -> np.ndarray:
        """Exponential variables."""
        numbers = np.empty(size)
        for generator, rows in zip(self.generators, self._shares(numbers), strict=True):
            generator.standard_exponential(out=rows)
        return numbers

    def logistic(self, size: tuple[int, ...]) -> np.ndarray:
        """Logistic variables."""
        numbers = np.empty(size)
        for generator, rows in zip(self.generators, self._shares(numbers), strict=True):
            rows[...] = generator.logistic(size=rows.shape)
        return numbers

    def _shares(self, numbers: np.ndarray) -> np.ndarray:
        return numbers.reshape(len(self.generators), -1, *numbers.shape[1:])


def joint_generators(agents: Sequence[Any]) -> JointGenerator | None:
    """What policies without parameters behind their last layer sample with; None for other agents."""
    if not isinstance(agents[0], PPO | REINFORCE):
        return None
    if not isinstance(agents[0].head, CategoricalHead | MultiCategoricalHead | BernoulliHead):
        return None
    return JointGenerator([agent.act_generator for agent in agents])


def stacked_outputs(stack: Stack, agents: Sequence[Agent]) -> Outputs | None:
    """What all agents act by, in one pass; None where a part has no stacked twin."""
    first = agents[0]
    if isinstance(first, DQN | PQN):
        torsos = [agent.network.torso for agent in agents]  # type: ignore[attr-defined]
        head = stacked_values(stack, [agent.network.head for agent in agents])  # type: ignore[attr-defined]
    elif isinstance(first, DDPG):
        torsos = [agent.torso for agent in agents]  # type: ignore[attr-defined]
        head = stacked_layers(stack, [agent.actor.head for agent in agents])  # type: ignore[attr-defined]
    else:
        torsos = [agent.torso for agent in agents]  # type: ignore[attr-defined]
        head = stacked_layers(stack, [agent.head.layer for agent in agents])  # type: ignore[attr-defined]
    torso = stacked_torso(stack, torsos)
    if torso is None or head is None:
        return None
    return lambda obs: head(torso(obs))
