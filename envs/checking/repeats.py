"""Do the same seed and actions lead to the same, in another copy, in a used one, and in another process?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs import registration

from ...networks.tree import read_row, same_leaves, tree_map
from ..backends.copies import close_env
from ..backends.failure import EnvironmentFailedError
from ..make import EnvSpec, make_envs, make_single
from .findings import MAX_SECONDS, Findings
from .plays import STEPS as REPLAYED_STEPS
from .plays import RandomActions, play


def check_determinism(
    spec: EnvSpec, registered: registration.EnvSpec, used: gymnasium.Env, findings: Findings
) -> None:
    """Compare a used environment with a fresh one under one seed: they must agree bit for bit.

    Where a process can hold one only, it is compared with itself.
    """
    if used.spec is not None and used.spec.nondeterministic:
        findings.warn("it is registered as nondeterministic: runs in it cannot be resumed exactly")
        return
    alone = spec.one_per_process
    fresh, other = (used if alone else make_single(spec, registered) for _ in range(2))
    try:
        act = RandomActions(used.action_space)
        first = list(play(fresh, act, findings.seconds))
        t = first_difference(first, play(used, act.again(), findings.seconds))
        if t is None:
            return
        # Is it that this copy has played before, or do fresh ones differ, too?
        if alone or first_difference(first, play(other, act.again(), findings.seconds)) is None:
            what = "in a copy that has played before"
            advice = "let reset undo whatever the episodes before have changed"
        else:
            what = "in another copy"
            advice = (
                "call super().reset(seed=seed), draw every random number from self.np_random, and let reset "
                "undo whatever an episode has changed"
            )
    finally:
        for env in () if alone else (fresh, other):
            close_env(env)
    findings.error(
        f"the same seed and actions lead elsewhere after {t} steps {what}, so that runs cannot be reproduced or "
        f"resumed exactly: {advice}" + findings.lines.at("reset" if t == 0 else "step"),
        stops=False,
    )


def first_difference(one: Iterable[Any], other: Iterable[Any]) -> int | None:
    """The place of the first difference between two streams, as far as both go."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((t for t, (here, there) in pairs if not same_leaves(here, there)), None)


def check_backends(spec: EnvSpec, env: gymnasium.Env, processes: bool, findings: Findings) -> None:
    """Step it as training does, and in a worker process, too: it must get there, and do the same as here."""
    act = RandomActions(env.action_space)
    try:
        # In a process of its own where this one holds a copy already.
        stepped = replace(spec, backend="async" if spec.one_per_process else "sync")
        here = list(play_through(stepped, act, findings.seconds))
    except EnvironmentFailedError as failure:
        findings.error(f"training in it stops: {failure}{findings.lines.of(failure.__cause__)}")
        return
    if processes:
        findings.attempt(
            "in a worker process", lambda: check_worker(spec, env, here, act.again(), findings), mild=True
        )


def check_worker(
    spec: EnvSpec, env: gymnasium.Env, here: list[Any], act: Callable[[Any], Any], findings: Findings
) -> None:
    """Step it in a worker process with the same actions."""
    there = play_through(
        replace(spec, backend="async", workers=1, timeout=MAX_SECONDS * 10), act, findings.seconds
    )
    nondeterministic = env.spec is not None and env.spec.nondeterministic
    t = first_difference(here, there)
    if t is not None and not nondeterministic and not findings.errors:
        findings.error(
            f"in another process the same seed and actions lead elsewhere after {t} steps: do not iterate over "
            "sets of strings, and do not depend on what else the process has done"
            + findings.lines.at("step"),
            stops=False,
        )


def play_through(spec: EnvSpec, act: Callable[[Any], Any], seconds: float) -> Iterator[Any]:
    """Yield what one copy returns, made and stepped as training does it."""
    with closing(make_envs(spec)) as envs:
        obs = envs.reset()
        yield obs, np.zeros(1), np.zeros(1, bool)
        started = time.perf_counter()
        for _ in range(REPLAYED_STEPS):
            try:
                action = act(read_row(obs, 0))
            except StopIteration:
                return
            step = envs.step(tree_map(lambda leaf: np.asarray(leaf)[None], action))
            obs = step.obs
            yield step.obs, step.reward, step.terminated
            if time.perf_counter() - started > seconds:
                return
