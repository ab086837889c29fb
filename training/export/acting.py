"""What acts in an agent: copies of its networks, alone and in a form that exporters understand."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from ...agents.bc import BC
from ...agents.ddpg import DDPG
from ...agents.dqn import DQN
from ...agents.ppo import PPO
from ...agents.pqn import PQN
from ...agents.reinforce import REINFORCE
from ...networks.layers import Tanh
from ...networks.q_heads import JointActions, NoisyLinear
from ...networks.q_value import ActionBounds
from ...networks.torso import Torso
from ..settings.usage import UsageError

EXPORTED = "bc, dqn, pqn, reinforce, ppo, ddpg"


@dataclass(frozen=True)
class ActingParts:
    """The networks that choose an agent's actions, on the CPU, and what their outputs mean."""

    torso: Torso
    head: nn.Module
    """A policy head; a head of action values, where `actions` numbers them; layers that end in [-1, 1] otherwise."""
    actions: JointActions | ActionBounds | None = None


def acting_parts(name: str, agent: Any) -> ActingParts:
    """Return copies of what acts in an agent, without critics, targets and optimisers.

    Raises:
        UsageError: it is none of ours, nor a subclass of one.
    """
    match agent:
        case PPO() | REINFORCE() | BC():
            return _copied(agent.torso, agent.head)
        case DQN() | PQN():
            return _copied(agent.network.torso, agent.network.head, agent.actions)
        case DDPG():
            return _copied(agent.actor.torso, agent.actor.head, agent.bounds)
    raise UsageError(
        f"agent '{name}' has networks of its own, which export does not know; it takes {EXPORTED}"
    )


def _copied(torso: Torso, head: nn.Module, actions: JointActions | ActionBounds | None = None) -> ActingParts:
    both = nn.ModuleList(copy.deepcopy([torso, head])).to("cpu").eval()
    for parameter in both.parameters():
        # In an agent all of them are views of one vector, of which a file would have the whole each time.
        parameter.data = parameter.data.clone()
    _simplify(both.requires_grad_(False))
    return ActingParts(cast(Torso, both[0]), both[1], actions)


def _simplify(module: nn.Module) -> None:
    """Put plain layers where they compute the same: fewer operations at every step."""
    for name, child in module.named_children():
        match child:
            case Tanh():
                setattr(module, name, nn.Tanh())
            case NoisyLinear():  # the best action is that of the mean layer
                setattr(module, name, child.mean)
            case _:
                _simplify(child)
