"""What a config comes to before anything runs: whether it learns, what it needs, what its schedules do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import create_empty_array

from ...agents.agent import Store
from ...agents.schedules import scheduled
from ...agents.storage.sequences import storage_dtype
from ...envs.machine import usable_memory
from ...networks.tree import tree_leaves
from .components import find_component
from .config import RunConfig
from .typed import option_name
from .usage import UsageError


def schedule_total(config: RunConfig) -> int:
    """Steps over which schedules run."""
    return config.schedule_steps or config.steps


def scheduled_options(config: RunConfig, step: int) -> dict[str, float]:
    """Values that the agent's schedules have at a step, by the names that are typed."""
    progress, values = min(1.0, step / schedule_total(config)), {}
    for item in dataclasses.fields(config.agent_config):
        value = getattr(config.agent_config, item.name)
        if isinstance(value, str) and value.startswith("linear("):
            values[option_name(f"agent.{item.name}")] = scheduled(value, progress)
    return values


def schedule_change(kept: RunConfig, config: RunConfig, step: int) -> str:
    """One line on what another total of steps does to schedules at a step; empty where they go on as they were."""
    before, after = scheduled_options(kept, step), scheduled_options(config, step)
    old, new = schedule_total(kept), schedule_total(config)
    if old == new or not before:
        return ""
    changes = ", ".join(f"{name} {before[name]:.3g} -> {after[name]:.3g}" for name in before)
    return (
        f"note: schedules run over {new:,} steps now, not {old:,}; at step {step:,}: {changes}; "
        f"--schedule-steps {old} keeps them"
    )


def check_learns(config: RunConfig) -> None:
    """Make sure that a run is long enough to learn something, where its agent can tell.

    Raises:
        UsageError: it is not; names the option, and the value from or up to which it is.
    """
    obstacle = getattr(config.agent_config, "obstacle", None)
    found = obstacle(config.steps, config.num_envs) if obstacle else None
    if found is None:
        return
    value = getattr(config.agent_config, found.option)
    copies = f"{config.num_envs} environments" if config.num_envs > 1 else "1 environment"
    at_most = f"give at most {found.largest}, or " if found.largest is not None else ""
    raise UsageError(
        f"--{option_name(f'agent.{found.option}')} {value}: nothing would be learned in {config.steps} steps of "
        f"{copies}; {at_most}--steps {found.steps_needed}"
    )


def step_bytes(*kept: spaces.Space) -> int:
    """Bytes of one element of each of some spaces, as agents store them."""
    leaves = (leaf for space in kept for leaf in tree_leaves(create_empty_array(space, 1)))
    return sum(np.size(leaf) * storage_dtype(np.asarray(leaf).dtype).itemsize for leaf in leaves)


def store_option(store: Store) -> str:
    """The option that says how much a store holds: one of the agent's, unless it is written out whole."""
    return option_name(store.option if "." in store.option else f"agent.{store.option}")


def check_memory(agent_config: Any, stores: Iterable[Store]) -> None:
    """Make sure that what an agent keeps fits into the memory that this process may use.

    Raises:
        UsageError: it does not; says how much it is, and the largest value that fits.
    """
    for store in stores:
        value = store.steps if "." in store.option else getattr(agent_config, store.option)
        check_fits(store_option(store), value, store.num_bytes)


def check_teacher(config: RunConfig) -> None:
    """Make sure that demonstrations are given to who learns from them, and to nobody else.

    Raises:
        UsageError: they are not.
    """
    cloned = watches_teacher(config)
    if cloned:
        for option in ("reward", "bonus"):
            if (name := getattr(config, option)) != "none":
                raise UsageError(f"--{option} {name}: {config.agent} learns from no reward; give it to ppo")
    watching = config.agent if cloned else f"--reward {config.reward}"
    watches = cloned or find_component("reward", config.reward).watches
    if watches and not config.data:
        raise UsageError(
            f"which demonstrations? {watching} learns from --data DIR, which palaestra record RUN_DIR "
            "--episodes 20 --out DIR writes, or from --data minari:NAME"
        )
    for option in ("data", "episodes"):
        if getattr(config, option) and not watches:
            raise UsageError(
                f"--{option}: {config.agent} learns from what it does itself; give it to bc, or with --reward gail"
            )


def watches_teacher(config: RunConfig) -> bool:
    """Whether the agent learns from demonstrations instead of its own steps."""
    return bool(getattr(find_component("agent", config.agent), "watches", False))


def check_fits(option: str, value: int, num_bytes: int) -> None:
    """The same for what an option's value, a number of steps, needs."""
    limit = usable_memory()
    if limit is None or num_bytes <= limit:
        return
    # Something has to be left for everything else; in round numbers.
    fitting = int(0.8 * limit / (num_bytes / value))
    unit = 10 ** max(0, len(str(fitting)) - 2)
    raise UsageError(
        f"--{option} {value}: needs {num_bytes:,} bytes ({in_gb(num_bytes)}), and this process may use {limit:,} "
        f"({in_gb(limit)}); give at most {fitting // unit * unit}"
    )


def in_gb(num_bytes: float) -> str:
    """Bytes as people read them."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
