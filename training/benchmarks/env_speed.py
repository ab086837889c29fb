"""`palaestra bench envs`: which backend steps an environment fastest, and what our own layer adds to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import gymnasium
import numpy as np
from gymnasium.vector.utils import batch_space

from ...envs.autoreset import BackendEnvs
from ...envs.backends.backend import DISABLED, Backend
from ...envs.backends.copies import action_rows
from ...envs.backends.native import VectorBackend
from ...envs.backends.pools import AleBackend, EnvPoolBackend
from ...envs.backends.sync import SyncBackend
from ...envs.make import BackendName, EnvSpec, make_envs
from ...envs.seeds import episode_seed
from ...networks.tree import tree_map, write_rows
from ..tracking.provenance import surroundings

WARM_UP_STEPS = 20
# Short ones, some of which nothing else interrupts.
TURNS = 200


def bench_envs(
    env: str,
    counts: list[int],
    seconds: float,
    kwargs: dict[str, Any],
    wrappers: tuple[str, ...],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Step an environment with random actions through every backend and number of copies.

    Returns:
        `results`: a row a backend and number of copies with `steps_per_second` (of all copies together), and
        `layer_us` and `layer_share`, what a vector step takes more than without our layer (`bare_step`); or with
        `error`, why it cannot be had.
    """
    results = []
    for backend in get_args(BackendName)[1:]:
        for num_envs in counts:
            row: dict[str, Any] = {"env": env, "backend": backend, "num_envs": num_envs}
            try:
                spec = EnvSpec(env, num_envs, kwargs=kwargs, backend=backend, wrappers=wrappers)
                results.append(row | measure(spec, seconds))
                say(f"{backend} {num_envs}: {results[-1]['steps_per_second']:,.0f} steps/s")
            except (ValueError, TypeError) as error:
                results.append(row | {"error": str(error).partition("\n")[0]})
                break
    chosen = {n: auto_choice(EnvSpec(env, n, kwargs=kwargs, wrappers=wrappers)) for n in counts}
    return {"results": results, "auto": chosen, **surroundings()}


def auto_choice(spec: EnvSpec) -> str | None:
    """What `auto` stands for; None where it cannot be made."""
    try:
        envs = make_envs(replace(spec, num_envs=min(spec.num_envs, 8)))
    except (ValueError, TypeError):
        return None
    envs.close()
    return envs.backend


def measure(spec: EnvSpec, seconds: float) -> dict[str, float]:
    """Time vector steps through our layer and without it, in short turns, so that both meet the same noise.

    Every turn steps the same episodes. The fastest turn counts: what else the machine does only ever adds time. Our
    layer is the difference in processor time of this thread, which waits for no pool and for no other program.
    """
    envs = make_envs(spec)
    assert isinstance(envs, BackendEnvs)
    actions = batch_space(envs.action_space, envs.num_envs)
    actions.seed(0)
    plan = [actions.sample() for _ in range(8)]
    try:
        envs.reset()
        timed(envs.step, plan, WARM_UP_STEPS)
        each = max(5, int(seconds / TURNS / timed(envs.step, plan, 5)[0]))
        ours: list[tuple[float, float]] = []
        bare: list[tuple[float, float]] = []
        started = time.perf_counter()
        while time.perf_counter() - started < seconds or len(bare) < 3:
            envs.reset()
            ours.append(timed(envs.step, plan, each))
            envs.reset()
            bare.append(timed(bare_step(envs._backend, spec.seed), plan, each))
    finally:
        envs.close()
    (step, thread), (bare_time, bare_thread) = np.min(ours, axis=0), np.min(bare, axis=0)
    layer = thread - bare_thread
    return {
        "steps_per_second": spec.num_envs / step,
        "step_us": step * 1e6,
        "layer_us": layer * 1e6,
        "layer_share": layer / bare_time,
    }


def bare_step(backend: Backend, seed: int) -> Callable[[Any], Any]:
    """The same environments without our layer: a vector environment's own `step`, or a plain loop over single ones.

    The loop does what it must to be of use: it writes into new arrays `[B, ...]` and begins ended episodes with the
    seeds that ours have. Of `async` the processes are ours, so that only what lies above them is left out.
    """
    match backend:
        case SyncBackend():
            return plain_loop(backend.copies.envs, backend.obs, seed)
        case EnvPoolBackend():
            return backend.pool.step
        case VectorBackend() | AleBackend():
            step = backend.env.step
        case _:
            step = backend.step
    if backend.autoreset_mode is not DISABLED:
        return step

    def step_and_reset(action: Any) -> None:
        _, _, terminated, truncated, _ = step(action)
        done = terminated | truncated
        if done.any():
            backend.restart(done)

    return step_and_reset


def plain_loop(envs: list[gymnasium.Env], example: Any, seed: int) -> Callable[[Any], None]:
    """What anybody would write who needs batches from single environments."""
    episode = [0] * len(envs)

    def step(action: Any) -> None:
        obs, reward = tree_map(np.empty_like, example), np.empty(len(envs))
        terminated, truncated = np.empty(len(envs), bool), np.empty(len(envs), bool)
        rows = action_rows(action, len(envs))
        for i, env in enumerate(envs):
            row, reward[i], terminated[i], truncated[i], _ = env.step(rows[i])
            write_rows(obs, i, row)
        done = terminated | truncated
        if done.any():
            obs = tree_map(np.copy, obs)
            for i in np.flatnonzero(done).tolist():
                episode[i] += 1
                row, _ = envs[i].reset(seed=episode_seed(seed, i, episode[i]))
                write_rows(obs, i, row)

    return step


def timed(step: Callable[[Any], Any], plan: list[Any], steps: int) -> tuple[float, float]:
    """Seconds a call of `step`: on the clock, and of this thread's processor time."""
    started, thread_started = time.perf_counter(), time.thread_time()
    for t in range(steps):
        step(plan[t % len(plan)])
    return (time.perf_counter() - started) / steps, (time.thread_time() - thread_started) / steps


def format_bench_envs(report: dict[str, Any]) -> str:
    """Lay a report out for reading."""
    lines = [f"{'backend':<10}{'copies':>7}{'steps/s':>14}{'us a vector step':>18}{'our layer':>12}"]
    for row in report["results"]:
        label = f"{row['backend']:<10}{row['num_envs']:>7}"
        if "error" in row:
            lines.append(f"{label}  {row['error']}")
        else:
            layer = f"{row['layer_us']:>12.1f} us ({row['layer_share']:.0%})"
            lines.append(f"{label}{row['steps_per_second']:>14,.0f}{row['step_us']:>18,.1f}{layer}")
    chosen = ", ".join(f"{backend} for {count}" for count, backend in report["auto"].items())
    return "\n".join([*lines, f"auto takes {chosen}"])
