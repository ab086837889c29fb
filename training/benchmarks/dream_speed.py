"""`palaestra bench dream`: dreamt steps for every second, by dynamics."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from ...world_models.dream import Dream, DreamConfig, Starts
from ...world_models.identity import Identity
from ...world_models.prediction_heads import PredictionHeadsConfig
from ...world_models.world_model import WorldModel
from ..imagination.fits import load_world_model
from ..settings.components import find_component
from ..tracking.provenance import surroundings

WARM_UP_STEPS = 10
# As large as CartPole, small networks: what is measured is the layer around them as much as the networks.
MODELS: dict[str, dict[str, Any]] = {
    "ensemble": {},
    "mdn_rnn": {"hidden_size": 64},
    "transformer": {"context": 8, "size": 32, "layers": 1},
}
END_SHIFT = 4.0


def bench_dream(
    model: Path | None, counts: list[int], seconds: float, threads: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Time dreams of a fitted model, or of one of each dynamics; observations are latents.

    Returns:
        `results`: a row a model, number of dreams and kind of arrays with `steps_per_second` (of all dreams together)
        and `steps_per_cpu_second`, which is what it would be on a machine with nothing else to do.
    """
    if threads:
        torch.set_num_threads(threads)
    results = []
    for name, dreamt in _models(model).items():
        for num_envs in counts:
            for tensors in (False, True):
                row = {"model": name, "num_envs": num_envs, "arrays": "tensors" if tensors else "numpy"}
                results.append(row | _measure(dreamt, num_envs, tensors, seconds))
                say(f"{name} {num_envs} {row['arrays']}: {results[-1]['steps_per_second']:,.0f} steps/s")
    return {"results": results, "threads": torch.get_num_threads(), **surroundings()}


def _models(folder: Path | None) -> dict[str, WorldModel]:
    if folder is not None:
        fitted = load_world_model(folder)
        return {fitted.config.dynamics: fitted.model}
    return {name: unfitted(name) for name in MODELS}


def unfitted(dynamics: str) -> WorldModel:
    """A world model of a task like CartPole with its first weights, in which some two of 100 steps end."""
    torch.manual_seed(0)
    part = find_component("dynamics", dynamics)
    space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    model = WorldModel(
        space,
        spaces.Discrete(2),
        Identity,
        part,
        dynamics_config=part.Config(**MODELS[dynamics]),
        heads_config=PredictionHeadsConfig(hidden=(64, 64)),
    )
    model.heads.end_shift.fill_(END_SHIFT)
    return model.eval()


def _measure(model: WorldModel, num_envs: int, tensors: bool, seconds: float) -> dict[str, float]:
    """The fastest of many short turns: what else the machine does only ever adds time."""
    size, state = model.observation_model.latent_size, model.initial_state(1)
    starts = Starts(torch.randn(100, size, device=model.device), state.expand(100, -1).contiguous())
    dream = Dream(model, starts, num_envs, DreamConfig(), observation="latent", tensors=tensors)
    dream.action_space.seed(0)
    actions: list[Any] = [dream.action_space.sample() for _ in range(8)]
    if tensors:
        actions = [torch.as_tensor(action, device=model.device) for action in actions]
    dream.reset(seed=0)

    def turn(steps: int) -> tuple[float, float]:
        """Seconds a vector step, on the clock and of this process's processor time."""
        clock, spent = time.perf_counter(), time.process_time()
        for t in range(steps):
            dream.step(actions[t % len(actions)])
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - clock) / steps, (time.process_time() - spent) / steps

    each = max(3, int(seconds / 20 / turn(WARM_UP_STEPS)[0]))
    begun, times = time.perf_counter(), [turn(each)]
    while time.perf_counter() - begun < seconds:
        times.append(turn(each))
    clock, spent = (min(column) for column in zip(*times, strict=True))
    return {
        "steps_per_second": num_envs / clock,
        "steps_per_cpu_second": num_envs / spent,
        "step_us": clock * 1e6,
    }


def format_bench_dream(report: dict[str, Any]) -> str:
    """Lay a report out for reading."""
    lines = [
        f"{'dynamics':<14}{'dreams':>8}  {'arrays':<9}{'steps/s':>12}{'steps/CPU s':>13}{'us a vector step':>18}"
    ]
    for row in report["results"]:
        label = f"{row['model']:<14}{row['num_envs']:>8}  {row['arrays']:<9}"
        speeds = f"{row['steps_per_second']:>12,.0f}{row['steps_per_cpu_second']:>13,.0f}"
        lines.append(f"{label}{speeds}{row['step_us']:>18,.1f}")
    return "\n".join([*lines, f"{report['threads']} torch threads"])
