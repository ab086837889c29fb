"""Options of Stable-Baselines3's algorithms, read off their constructors, and how they become arguments again."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Gt

from ...agents.schedules import Obstacle, Schedule, scheduled
from ...agents.storage.rollout import rollout_obstacle

# What the run itself decides, and what cannot be written in a file.
_NOT_OPTIONS = {"self", "policy", "policy_kwargs", "env", "seed", "device", "verbose", "tensorboard_log"}
_NOT_OPTIONS |= {"_init_setup_model", "stats_window_size", "support_multi_env"}
_SCALARS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}


@dataclass(frozen=True)
class BaselineConfig:
    """What all baselines have; those of its algorithm are added by `baseline_config_class`."""

    policy: str = "auto"
    """Stable-Baselines3's policy class; auto follows from the observations: MlpPolicy, CnnPolicy, MultiInputPolicy."""
    net_arch: tuple[Annotated[int, Gt(0)], ...] = ()
    """Widths of hidden layers, of actor and critic alike; none given: Stable-Baselines3's own."""
    activation: Literal["default", "tanh", "relu", "elu", "silu"] = "default"
    """Non-linearity after each of them."""
    policy_kwargs: Annotated[dict[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """More arguments of the policy; only in files."""
    normalize_obs: bool = False
    """Normalise observations by their running mean and deviation (VecNormalize)."""
    normalize_reward: bool = False
    """Divide rewards by the running deviation of returns (VecNormalize)."""

    def planned_updates(self, total_steps: int, num_envs: int) -> int:
        """Updates that could be compiled: Stable-Baselines3 compiles none."""
        return 0

    def obstacle(self, total_steps: int, num_envs: int) -> Obstacle | None:
        """What keeps a run from learning anything; of off-policy algorithms, `n_steps` is that of their returns."""
        starts, every = (getattr(self, name, None) for name in ("learning_starts", "train_freq"))
        if starts is None:
            length = getattr(self, "n_steps", None)
            found = rollout_obstacle(length, total_steps, num_envs) if length else None
            return found and found._replace(option="n_steps")
        # What it collects at a time is a whole number of vector steps, and it learns behind each of them.
        block = (every if isinstance(every, int) else 1) * num_envs
        latest = -(-total_steps // num_envs) * num_envs // block * block
        if starts < latest:
            return None
        needed = (starts // block + 1) * block
        return (
            Obstacle("learning_starts", latest - 1, needed)
            if latest
            else Obstacle("train_freq", None, needed)
        )


@dataclass(frozen=True)
class NoisyBaselineConfig(BaselineConfig):
    """The same for algorithms that explore by noise on their actions."""

    noise: Literal["none", "gaussian", "ornstein-uhlenbeck"] = "none"
    """What is added to actions to explore."""
    noise_std: Annotated[float, Gt(0)] = 0.1
    """Its scale, in units of the action as Stable-Baselines3 scales it to [-1, 1]."""


def baseline_config_class(algorithm: type[Any]) -> type[Any]:
    """Return a frozen dataclass of an algorithm's options, with its own defaults and the words of its docstring."""
    parameters = inspect.signature(algorithm.__init__).parameters
    base = NoisyBaselineConfig if "action_noise" in parameters else BaselineConfig
    help_of = _parameter_docs(inspect.getdoc(algorithm) or "")
    fields: list[tuple[str, Any, Any]] = []
    for name, parameter in parameters.items():
        if name.endswith("_kwargs") and name not in _NOT_OPTIONS:
            hint = Annotated[dict[str, Any], tyro.conf.Suppress]  # only in files
            fields.append((name, hint, field(default_factory=dict)))
            continue
        kind = None if name in _NOT_OPTIONS else _kind(parameter.annotation)
        if kind is not None and parameter.default is not inspect.Parameter.empty:
            hint = Annotated[kind, tyro.conf.arg(help=help_of.get(name, ""))]  # type: ignore
            fields.append((name, hint, field(default=parameter.default)))
    made = dataclasses.make_dataclass(f"{algorithm.__name__}Config", fields, bases=(base,), frozen=True)
    made.__doc__ = f"Stable-Baselines3's {algorithm.__name__}, with its own defaults."
    return made


def _kind(annotation: Any) -> Any:
    """Type of an option that a file can hold, from an annotation that may be text; None where it holds none."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if "Buffer" in text or "Noise" in text:
        return None
    words = set(re.findall(r"\w+", text))
    kinds: list[Any] = [kind for name, kind in _SCALARS.items() if name in words]
    if not kinds:
        return None
    if words & {"Schedule", "Callable"}:
        kinds = [float, str]  # linear(start, end), as our own schedules
    if words & {"None", "NoneType", "Optional"}:
        kinds.append(type(None))
    return reduce(or_, kinds)


def _parameter_docs(docstring: str) -> dict[str, str]:
    """Text behind each `:param name:`, in one line."""
    found = re.findall(r":param (\w+):(.*?)(?=\n\s*:|\Z)", docstring, re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}


def constructor_arguments(config: Any, action_size: int) -> dict[str, Any]:
    """Return keyword arguments for an algorithm's constructor.

    Args:
        config: an instance of what `baseline_config_class` made.
        action_size: numbers in an action, for its noise.
    """
    own = {item.name for item in dataclasses.fields(NoisyBaselineConfig)}
    names = [item.name for item in dataclasses.fields(config) if item.name not in own]
    arguments = {name: _value(getattr(config, name)) for name in names}
    policy_kwargs = dict(config.policy_kwargs)
    if config.net_arch:
        policy_kwargs["net_arch"] = list(config.net_arch)
    if config.activation != "default":
        policy_kwargs["activation_fn"] = activation_class(config.activation)
    if policy_kwargs:
        arguments["policy_kwargs"] = policy_kwargs
    if isinstance(config, NoisyBaselineConfig) and config.noise != "none":
        arguments["action_noise"] = make_action_noise(config.noise, config.noise_std, action_size)
    return arguments


def _value(value: Any) -> Any:
    if value == "episode":
        return (1, "episode")  # train_freq
    if isinstance(value, dict):
        return dict(value) or None
    if isinstance(value, str) and value.startswith("linear("):
        return as_schedule(value)
    return value


def as_schedule(schedule: Schedule) -> Callable[[float], float]:
    """Return a schedule as Stable-Baselines3 calls it: with the fraction of the run that remains."""
    return lambda remaining: scheduled(schedule, 1 - remaining)


def activation_class(name: str) -> type[Any]:
    """Return torch's module of a non-linearity."""
    from torch import nn

    return {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU}[name]


def make_action_noise(name: str, std: float, size: int) -> Any:
    """Return Stable-Baselines3's noise for actions of `size` numbers."""
    import numpy as np
    from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise

    kind = NormalActionNoise if name == "gaussian" else OrnsteinUhlenbeckActionNoise
    return kind(np.zeros(size), np.full(size, std))
