"""Stable-Baselines3's algorithms as agents: `sb3/ppo` and its kin, found by name."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
import shutil
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from ...envs.vector import Envs
from ..run.evaluate import Actor
from ..run.listing import describe_run
from ..run.session import Result
from ..run.storage.checkpoint import latest_checkpoint, list_checkpoints
from ..run.training_loop import TrainingLoop
from ..settings.config import RunConfig
from ..settings.own_loop import OwnLoopOptions
from ..settings.planning import check_memory
from ..settings.providers import PROVIDERS
from ..settings.resources import Footprint
from ..settings.usage import UsageError, nearest
from ..tracking.progress import Progress, say
from ..tracking.tracker import Tracker
from .config import baseline_config_class
from .loop import train_baseline
from .model import (
    BaselineActor,
    build_model,
    checkpoint_bytes,
    load_baseline,
    model_stores,
    save_model,
    saved_files,
)


class Baseline(OwnLoopOptions, TrainingLoop):
    """What an agent's name stands for when it is one of Stable-Baselines3's algorithms."""

    algorithm: ClassVar[type[Any]]
    # They bring their own networks and loops.
    options_not_taken: ClassVar[frozenset[str]] = frozenset(
        {
            "encoder",
            "encoder_config",
            "memory",
            "memory_config",
            "auxiliary",
            "auxiliary_config",
            "bonus",
            "bonus_config",
            "reward",
            "reward_config",
            "compile",
            "schedule_steps",
            "data",
            "episodes",
            "init_from",
        }
    )
    networks_hint: ClassVar[str] = "see --agent.policy and --agent.net-arch"

    @classmethod
    def settle(cls, config: RunConfig) -> RunConfig:
        """Choose the one backend that never resets in steps of its own, whatever the environment."""
        return replace(config, backend="sync") if config.backend == "auto" else config

    @classmethod
    def check(cls, config: RunConfig, envs: Envs) -> Footprint:
        """Build the model once."""
        model, _ = build_model(cls.algorithm, config, envs, [])
        stores = model_stores(model, envs.num_envs)
        check_memory(config.agent_config, stores)
        parameters = model.policy.parameters()
        networks = sum(parameter.nbytes for parameter in parameters)
        return Footprint(stores, networks, checkpoint_bytes(model, stores, networks, config.steps))

    @classmethod
    def resume(cls, config: RunConfig, run_dir: Path, steps: int | None) -> tuple[RunConfig, Path | None]:
        """Go on from the last checkpoint, where the run has not finished; without one begin again."""
        if steps not in (None, config.steps):
            raise UsageError(f"{config.agent} cannot be trained on; train anew with --steps {steps}")
        if describe_run(run_dir).finished and saved_files(run_dir):
            raise UsageError(f"{run_dir} has finished, and {config.agent} cannot be trained on")
        if list_checkpoints(run_dir):
            return config, latest_checkpoint(run_dir)
        say(
            f"note: {config.agent} begins again: there is no checkpoint yet; with the same seed it comes to the same"
        )
        return config, None

    @classmethod
    def train(
        cls, config: RunConfig, run_dir: Path, tracker: Tracker, progress: Progress, checkpoint: Path | None
    ) -> Result:
        """Train from the start or from `checkpoint`."""
        return train_baseline(cls.algorithm, config, run_dir, tracker, progress, checkpoint)

    @classmethod
    def tidy(cls, run_dir: Path) -> None:
        """Remove the checkpoints: nothing goes on from a finished run, and what it has learned is in its model."""
        shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)

    @classmethod
    def load(cls, config: RunConfig, run_dir: Path, envs: Envs) -> tuple[Actor, int]:
        """Load the parameters that a run has saved at its end, or on the way."""
        return load_baseline(cls.algorithm, config, run_dir, envs)

    @classmethod
    def learned(cls, run_dir: Path) -> dict[str, Path]:
        """The model, and the statistics that observations are normalised by."""
        return saved_files(run_dir)

    @classmethod
    def hand_over(cls, run_dir: Path, actor: Actor, step: int, out: Path) -> None:
        """The same, or a model of what an unfinished run has learned so far."""
        if saved_files(run_dir):
            super().hand_over(run_dir, actor, step, out)
            return
        assert isinstance(actor, BaselineActor)
        actor.model.num_timesteps = step
        save_model(out, actor.model, actor.normalizer)


def baseline_names() -> list[str]:
    """Names such as `sb3/ppo`; none where Stable-Baselines3 is not installed."""
    return sorted(_algorithms()) if importlib.util.find_spec("stable_baselines3") else []


def find_baseline(name: str) -> type[Baseline]:
    """Return the baseline called `sb3/NAME`.

    Raises:
        UsageError: there is none, or Stable-Baselines3 is not installed.
    """
    if importlib.util.find_spec("stable_baselines3") is None:
        raise UsageError(f"{name} needs Stable-Baselines3; run: pip install 'palaestra[baselines]'")
    algorithms = _algorithms()
    if name not in algorithms:
        contrib = importlib.util.find_spec("sb3_contrib") is not None
        hint = "" if contrib else " (sb3-contrib, which has more, is not installed)"
        raise UsageError(f"unknown baseline {name!r}; {nearest(name, algorithms)}{hint}")
    return as_baseline(algorithms[name])


def _algorithms() -> dict[str, Any]:
    import stable_baselines3

    libraries = [stable_baselines3]
    if importlib.util.find_spec("sb3_contrib") is not None:
        import sb3_contrib

        libraries.append(sb3_contrib)
    classes = [getattr(library, name) for library in libraries for name in library.__all__]
    # RecurrentPPO is sb3/recurrent_ppo.
    return {
        PROVIDERS["agent"].prefix + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", each.__name__).lower(): each
        for each in classes
        if is_algorithm(each)
    }


def is_algorithm(value: Any) -> bool:
    """Whether something is a class of the kind of Stable-Baselines3's algorithms, its own or another library's."""
    # Whoever subclasses it has imported it.
    if "stable_baselines3" not in sys.modules or not inspect.isclass(value):
        return False
    from stable_baselines3.common.base_class import BaseAlgorithm

    return issubclass(value, BaseAlgorithm) and not inspect.isabstract(value)


def baseline_name(value: Any) -> str | None:
    """`sb3/ppo` for the class PPO of Stable-Baselines3; None for whatever has no such name."""
    named = _algorithms() if is_algorithm(value) else {}
    return next((name for name, algorithm in named.items() if algorithm is value), None)


def adapt(value: Any) -> type[Baseline] | None:
    """Return the component that stands for a class from outside; None where it is no such algorithm."""
    return as_baseline(value) if is_algorithm(value) else None


@cache  # one class an algorithm, and one of its options
def as_baseline(algorithm: Any) -> type[Baseline]:
    """Return the component that stands for an algorithm."""
    config = baseline_config_class(algorithm)
    members = {"algorithm": algorithm, "Config": config, "__doc__": algorithm.__doc__}
    # Off-policy ones learn once every so many vector steps: with more copies, less.
    if "train_freq" in {item.name for item in dataclasses.fields(config)}:
        members["run_defaults"] = {"num_envs": 1}
    return type(algorithm.__name__, (Baseline,), members)
