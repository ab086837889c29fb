"""States of the processes' shares <-> the state of one process that steps all copies, which is what is saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...networks.tree import concatenated, tree_map

# What the state of an `ActionLog` holds: actions come one episode after the other, `lengths` of them.
LOG = {"lengths", "actions"}


def joined_copies(states: Sequence[Any]) -> Any:
    """Join states whose arrays are `[copies, ...]`: of collectors, environments and what wraps them."""
    one = states[0]
    if any(state is None for state in states):
        return None
    if isinstance(one, dict):
        return {key: joined_copies([state[key] for state in states]) for key in one}
    if isinstance(one, (list, tuple)):
        return [joined_copies(parts) for parts in zip(*states, strict=True)]
    if isinstance(one, np.ndarray):
        return np.concatenate(states)
    return sum(states)  # how often something happened


def split_copies(state: Any, rows: slice) -> Any:
    """Those `rows` of a joined state; counts go to the first share."""
    if state is None:
        return None
    if isinstance(state, dict) and state.keys() == LOG:
        ends = np.concatenate([[0], np.cumsum(state["lengths"])])
        actions = slice(int(ends[rows.start]), int(ends[rows.stop]))
        return {"lengths": state["lengths"][rows], "actions": [leaf[actions] for leaf in state["actions"]]}
    if isinstance(state, dict):
        return {key: split_copies(part, rows) for key, part in state.items()}
    if isinstance(state, (list, tuple)):
        return [split_copies(part, rows) for part in state]
    if isinstance(state, np.ndarray):
        return state[rows]
    return state if rows.start == 0 else 0


def joined_rollouts(states: Sequence[dict[str, Any]], share: int) -> dict[str, Any]:
    """Join states of rollouts with `share` columns each."""
    one = states[0]
    if "rows" not in one:
        return dict(one)
    whole = {"size": one["size"], "rows": concatenated([state["rows"] for state in states], 1)}
    ends = [
        (t, index + rank * share, *rest)
        for rank, state in enumerate(states)
        for t, index, *rest in state["ends"]
    ]
    whole["ends"] = sorted(ends, key=lambda end: end[:2])
    for name in one.keys() - whole.keys():
        whole[name] = concatenated([state[name] for state in states])
    return whole


def split_rollout(state: dict[str, Any], columns: slice) -> dict[str, Any]:
    """Those `columns` of the state of a rollout."""
    if "rows" not in state:
        return dict(state)
    part = {
        name: tree_map(lambda x: x[columns], value)
        for name, value in state.items()
        if name.startswith("last_")
    }
    if "newest_state" in state:
        part["newest_state"] = state["newest_state"][columns]
    own = range(columns.start, columns.stop)
    part["ends"] = [(t, index - own.start, *rest) for t, index, *rest in state["ends"] if index in own]
    rows = {name: tree_map(lambda x: x[:, columns], value) for name, value in state["rows"].items()}
    return part | {"size": state["size"], "rows": rows}
