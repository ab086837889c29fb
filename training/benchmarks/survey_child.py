"""What `palaestra envs survey --packages` runs in processes of their own: foreign code may end, hang or print there.

`python -m palaestra.training.benchmarks.survey_child TASK RESULT WORDS...` leaves what it found in the file RESULT.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import gymnasium

from ...envs.listing import module_of
from ...envs.registry import load_plugins

NOT_THE_PACKAGE = {"test", "tests", "example", "examples", "docs", "scripts", "setup", "benchmarks"}
STEPS = 512
COPIES = 8
# For each part of the check that steps an environment.
SECONDS = 0.5
# So that every agent learns several times in as few steps as that.
OPTIONS: dict[str, dict[str, Any]] = {"ppo": {"rollout_length": 32}, "dqn": {"learning_starts": 100}}


def find_ids(result: Path, package: str, module: str = "") -> None:
    """Names, `module:Id`, of the environments that a package registers; of its classes where it registers none."""
    files = distribution(package).files or []
    tops = sorted(
        {file.parts[0].removesuffix(".py") for file in files if file.suffix == ".py"} - NOT_THE_PACKAGE
    )
    homes: dict[str, str] = {}
    failed, modules = "", []
    # Some register their environments in a package of that name only.
    for name in [module] if module else [*tops, *(f"{top}.envs" for top in tops)]:
        before = set(gymnasium.registry)
        try:
            if not (homes and name.endswith(".envs")):
                modules.append(importlib.import_module(name))
        except ModuleNotFoundError as error:
            # That there is no such part is no news.
            failed = failed if error.name == name and "." in name else f"cannot be imported: {error}"
        except Exception as error:
            failed = " ".join(f"cannot be imported: {type(error).__name__}: {error}".split())
        homes |= dict.fromkeys(set(gymnasium.registry) - before, name)
    load_plugins()
    names = []
    for spec in gymnasium.registry.values():
        top = module_of(spec).partition(".")[0]
        if top in tops or spec.id in homes:
            names.append(f"{homes.get(spec.id, module or top)}:{spec.id}")
    if not names:
        names = [f"{each.__name__}:{name}" for each in modules for name in classes_in(each)]
    said = {"names": names, "failed": failed, "version": distribution(package).version}
    result.write_text(json.dumps(said), encoding="utf-8")


def classes_in(module: Any) -> list[str]:
    """Environments that a module defines or imports, without Gymnasium's own."""
    found = [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, gymnasium.Env) and not inspect.isabstract(value)
        if not value.__module__.startswith("gymnasium.") and not issubclass(value, gymnasium.Wrapper)
    ]
    return sorted(found)


def try_environment(result: Path, env: str) -> None:
    """Check an environment and train in it; what is known by then is left when the check is done, and at the end."""
    # Looking for names needs no torch.
    import torch

    from ...envs.checking.check import check_environment
    from ...envs.make import EnvSpec
    from .candidates import default_config, trainable_agents

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    report = check_environment(env, seconds=SECONDS, processes=False, agents=trainable_agents)
    row = {"ok": report.ok, "agents": report.agents, "errors": report.errors, "warnings": report.warnings}
    row |= {"encoder": "", "trained": False, "failed": "", "speed": None}
    result.write_text(json.dumps(row), encoding="utf-8")
    agent = "ppo" if "ppo" in report.agents or not report.agents else report.agents[0]
    try:
        config = default_config(agent, EnvSpec(env))
        row["encoder"] = config.encoder
        config = replace(config, agent_config=replace(config.agent_config, **OPTIONS.get(agent, {})))
        row |= {"speed": train(config), "trained": True}
    except Exception as error:
        row["failed"] = " ".join(f"{type(error).__name__}: {error}".split())
    result.write_text(json.dumps(row), encoding="utf-8")


def train(config: Any) -> float:
    """Train for `STEPS` environment steps as a run's config says; returns steps per second."""
    from ...envs.make import make_envs
    from ..run.build import env_spec
    from .candidates import learn_in

    with closing(make_envs(replace(env_spec(config), num_envs=COPIES))) as envs:
        started = time.perf_counter()
        learn_in(envs, config, STEPS // COPIES)
    return STEPS / (time.perf_counter() - started)


TASKS: dict[str, Callable[..., None]] = {"ids": find_ids, "try": try_environment}

if __name__ == "__main__":
    TASKS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
