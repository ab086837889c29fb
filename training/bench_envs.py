"""`palaestra bench envs`: which backend steps an environment fastest, and what our own layer adds to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

from gymnasium.vector.utils import batch_space

from ..envs.make import BackendName, EnvSpec, make_envs
from ..envs.vector import DISABLED, Envs
from .bench import machine

WARM_UP_STEPS = 20


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
        `results`: a row a backend and number of copies with `steps_per_second` (of all copies together) and
        `layer_us`, what a vector step through `Envs` takes more than one through the bare backend; or with
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
    return {"results": results, "auto": chosen, "machine": machine()}


def auto_choice(spec: EnvSpec) -> str | None:
    """What `auto` stands for; None where it cannot be made."""
    try:
        envs = make_envs(replace(spec, num_envs=min(spec.num_envs, 8)))
    except (ValueError, TypeError):
        return None
    envs.close()
    return envs.backend


def measure(spec: EnvSpec, seconds: float) -> dict[str, float]:
    """Time vector steps through our layer and through the bare backend, in turns, so that both meet the same noise."""
    envs = make_envs(spec)
    backend = envs._backend
    actions = batch_space(envs.action_space, envs.num_envs)
    actions.seed(0)
    plan = [actions.sample() for _ in range(8)]

    def bare(action: Any) -> None:
        _, _, terminated, truncated, _ = backend.step(action)
        if backend.autoreset_mode is DISABLED and (done := terminated | truncated).any():
            backend.restart(done)

    times: dict[str, list[float]] = {"ours": [], "bare": []}
    try:
        envs.reset()
        for step in (envs.step, bare):
            for t in range(WARM_UP_STEPS):
                step(plan[t % len(plan)])
        each = max(5, int(seconds / 60 / max(timed(envs, plan, 5), 1e-6)))
        started = time.perf_counter()
        while time.perf_counter() - started < seconds or len(times["bare"]) < 3:
            envs.reset()
            times["ours"].append(timed(envs, plan, each))
            envs.reset()
            times["bare"].append(timed_call(bare, plan, each))
    finally:
        envs.close()
    # The fastest of many short turns: what else the machine does only ever adds time.
    ours, raw = min(times["ours"]), min(times["bare"])
    return {"steps_per_second": spec.num_envs / ours, "step_us": ours * 1e6, "layer_us": (ours - raw) * 1e6}


def timed(envs: Envs, plan: list[Any], steps: int) -> float:
    """Seconds a vector step through our layer."""
    return timed_call(envs.step, plan, steps)


def timed_call(step: Callable[[Any], Any], plan: list[Any], steps: int) -> float:
    """Seconds a call of `step`."""
    started = time.perf_counter()
    for t in range(steps):
        step(plan[t % len(plan)])
    return (time.perf_counter() - started) / steps


def format_bench_envs(report: dict[str, Any]) -> str:
    """Lay a report out for reading."""
    lines = [f"{'backend':<10}{'copies':>7}{'steps/s':>14}{'us a vector step':>18}{'of which ours':>15}"]
    for row in report["results"]:
        place = f"{row['backend']:<10}{row['num_envs']:>7}"
        if "error" in row:
            lines.append(f"{place}  {row['error']}")
        else:
            lines.append(
                f"{place}{row['steps_per_second']:>14,.0f}{row['step_us']:>18,.1f}{row['layer_us']:>15,.1f}"
            )
    chosen = ", ".join(f"{backend} for {count}" for count, backend in report["auto"].items())
    return "\n".join([*lines, f"auto takes {chosen}"])
