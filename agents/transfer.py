"""Which parts of one agent's networks fit into another's: encoders, memories, heads, statistics of observations.

A part is taken whole or not at all, by its place, its kind and the shapes of its tensors:

- an encoder or a memory from the torso of the same name, or from the other agent's first torso, which acts;
- a head from the head of the same name, a policy's also from another agent's policy of the same kind; and only on a
  torso that was taken whole: on other features it is noise;
- statistics of observations with the encoder that normalises by them.

Optimisers, replay and counters begin afresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from ..networks.heads import PolicyHead
from ..networks.torso import Torso


class Torsos(NamedTuple):
    """What an agent's networks are made of."""

    torsos: dict[str, Torso]
    heads: dict[str, tuple[nn.Module, str]]
    """Heads, each with the name of the torso that it stands on."""


class Taken(NamedTuple):
    """What was taken from another agent, and what was not."""

    taken: dict[str, str]
    """Places in this agent, and where each is from in the other one."""
    refused: dict[str, str]
    """Places in this agent, and why they keep what they begin with."""


def take_parts(target: Mapping[str, Any], source: Mapping[str, Any]) -> Taken:
    """Copy what fits of one agent's parts (`Agent.parts()`) into another's, in place; returns what was done."""
    ours, theirs = networks_of(target), networks_of(source)
    result = Taken({}, {})
    whole: dict[str, bool] = {}
    for name, torso in ours.torsos.items():
        from_name = name if name in theirs.torsos else next(iter(theirs.torsos), name)
        other = theirs.torsos.get(from_name)
        whole[name] = True
        for kind, part in (("encoder", torso.encoder), ("memory", torso.memory)):
            whole[name] &= _copy(
                result, f"{name}.{kind}", part, f"{from_name}.{kind}", getattr(other, kind, None)
            )
    for name, (head, below) in ours.heads.items():
        origin = name if name in theirs.heads else _same_policy(head, theirs)
        if origin is None:
            result.refused[name] = "there is none"
        elif not whole.get(below, True):
            result.refused[name] = f"it stands on {below}, which was not taken whole"
        else:
            _copy(result, name, head, origin, theirs.heads[origin][0])
    return result


def _same_policy(head: nn.Module, other: Torsos) -> str | None:
    """Place of the other agent's policy head of the same kind: agents have it in different places."""
    heads = (name for name, (theirs, _) in other.heads.items() if type(theirs) is type(head))
    return next(heads, None) if isinstance(head, PolicyHead) else None


def _copy(result: Taken, place: str, module: nn.Module, origin: str, other: nn.Module | None) -> bool:
    """Copy a module that fits, and note it; returns whether it is there now, which one without parameters is."""
    if not module.state_dict():
        fits = other is None or type(other) is type(module)
        return fits and not (other is not None and other.state_dict())
    if reason := difference(module, other):
        result.refused[place] = reason
        return False
    assert other is not None
    module.load_state_dict(other.state_dict())
    result.taken[place] = origin
    return True


def difference(module: nn.Module, other: nn.Module | None) -> str | None:
    """Why one module's tensors cannot be another's; None where they can."""
    if other is None:
        return "there is none"
    if type(module) is not type(other):
        return f"it is {type(module).__name__}, there {type(other).__name__}"
    for mine, yours in zip(_kinds(module), _kinds(other), strict=False):
        if mine != yours:
            return f"it has {mine} where the other has {yours}"
    own, theirs = module.state_dict(), other.state_dict()
    for key in (key for key in own if key in theirs):
        if own[key].shape != theirs[key].shape:
            return f"{key} is {list(own[key].shape)}, there {list(theirs[key].shape)}"
    for key in sorted(own.keys() ^ theirs.keys()):
        return f"{key} is only {'here' if key in own else 'there'}"
    return None


def _kinds(module: nn.Module) -> list[str]:
    """Kinds of all layers, in order: a Tanh has no tensors that would tell it from a ReLU."""
    return [type(part).__name__ for part in module.modules()]


def networks_of(parts: Mapping[str, Any]) -> Torsos:
    """The torsos among an agent's parts and the heads beside them, by their places, in order."""
    found = Torsos({}, {})
    for name, part in parts.items():
        if isinstance(part, nn.Module) and any(isinstance(module, Torso) for module in part.modules()):
            _collect(name, part, found)
    return found


def _collect(name: str, module: nn.Module, found: Torsos) -> None:
    # Not named_children, which leaves out what is held under a second name: a torso that is shared.
    children = [(key, child) for key, child in module._modules.items() if child is not None]
    torsos = {key: child for key, child in children if isinstance(child, Torso)}
    for key, torso in torsos.items():
        if not any(torso is other for other in found.torsos.values()):
            found.torsos[f"{name}.{key}"] = torso
    for key, child in children:
        if isinstance(child, Torso):
            continue
        if any(isinstance(inner, Torso) for inner in child.modules()):
            _collect(f"{name}.{key}", child, found)
        else:
            # value_head stands on value_torso, or where that is the policy's own on torso.
            own = torsos.get(key.replace("head", "torso"), next(iter(torsos.values()), None))
            place = next((at for at, torso in found.torsos.items() if torso is own), "")
            found.heads[f"{name}.{key}"] = (child, place)
