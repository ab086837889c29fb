"""From a run's config to its parts: environments and agent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from gymnasium import spaces

from ...agents.agent import Agent
from ...agents.auxiliary.auxiliary import Auxiliary, RecentSteps, learns_beside, with_steps
from ...agents.contract import check_agent
from ...envs.goals import goal_rule
from ...envs.machine import usable_cores
from ...envs.make import EnvSpec
from ...envs.registry import find_environment
from ...envs.wrappers.model_memory import MemoryModel
from ...networks.contract import is_ours
from ...networks.encoder import Encoder, NestedEncoder
from ...networks.layers import initialized
from ...networks.torso import Torso, build_torso
from ..settings.components import component_names, find_component
from ..settings.config import RunConfig
from ..settings.default_encoder import has_large_pictures
from ..settings.planning import schedule_total
from ..settings.providers import DREAM_BACKEND, MODEL_MEMORY, load_provider
from ..settings.seeds import EVALUATION_SEED
from ..settings.typed import shallow_dict
from ..settings.usage import UsageError, in_one_line
from ..tracking.progress import say

# As long as the longest games of Atari: 108,000 frames, four a step.
EVALUATION_STEPS = 27_000
# Compiling costs 3 to 15 seconds and saves about 0.9 ms an optimiser step.
COMPILE_FROM_UPDATES = 20_000
# With an LSTM it saves 3 to 6 ms, with a GRU 10 to 20 ms.
COMPILE_MEMORY_FROM_UPDATES = 2_500


def env_spec(config: RunConfig) -> EnvSpec:
    """The real environments of a run."""
    return EnvSpec(
        config.env,
        config.num_envs,
        seed=config.seed,
        kwargs=dict(config.env_kwargs),
        backend=config.backend,
        **shallow_dict(config.env_options),
        frame_stack=config.frame_stack,
        show_previous=config.show_previous,
        memory_model=model_memory(config),
    )


def training_spec(config: RunConfig) -> EnvSpec:
    """Environments to train in: the real ones, or dreams of the world model that the config names."""
    if config.dream.model is None:
        return env_spec(config)
    maker = partial(load_provider(DREAM_BACKEND), config)
    return EnvSpec(config.env, config.num_envs, seed=config.seed, backend_maker=maker)


def model_memory(config: RunConfig) -> Callable[[spaces.Space, spaces.Space], MemoryModel] | None:
    """Return the maker of the world model's memory in observations, from their space and actions'; None without one."""
    if not config.show_model_memory:
        return None
    return partial(load_provider(MODEL_MEMORY), Path(config.show_model_memory), choose_device(config.device))


def evaluation_spec(config: RunConfig, seed: int | None = None) -> EnvSpec:
    """The same environments for evaluation, with seeds of their own, and with a limit to their episodes."""
    return replace(
        env_spec(config),
        num_envs=1,
        seed=EVALUATION_SEED + config.seed if seed is None else seed,
        max_steps=evaluation_limit(config),
    )


def evaluation_limit(config: RunConfig) -> int:
    """Steps after which an episode of an evaluation is cut off.

    An environment that ends its episodes by itself, only later, is left to do so unless a limit was asked for.
    """
    if config.evaluate_max_steps:
        return config.evaluate_max_steps
    own = config.env_kwargs.get("max_episode_steps")
    if own is None and config.backend != "envpool":
        own = find_environment(config.env).max_episode_steps
    return max(EVALUATION_STEPS, own or 0)


def choose_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; anything else, and `cuda` where there is none, is a ValueError."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {name!r} is unknown; there are auto, cpu and cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' is not available here; use --device cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def set_threads(threads: int) -> None:
    """Use so many torch threads, on which results depend in their last bits; 0 is one a core."""
    torch.set_num_threads(threads or usable_cores())


def choose_compile(name: str, updates: int, enough: int = COMPILE_FROM_UPDATES) -> bool:
    """Whether to compile; `auto` does where enough updates are planned and a C++ compiler is there."""
    if name != "auto":
        return name == "on"
    return updates >= enough and has_compiler()


def has_compiler() -> bool:
    """Whether there is a C++ compiler, without which nothing is compiled for a CPU."""
    return bool(os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++"))


def available(device: str, whose: object) -> str:
    """A device that was asked for once, perhaps elsewhere; where it is not here, the CPU instead, with a note."""
    if device != "cuda" or torch.cuda.is_available():
        return device
    say(f"note: {whose} was made for device cuda, which is not here; it runs on the cpu")
    return "cpu"


def on_this_machine(config: RunConfig, whose: object = "the run") -> RunConfig:
    """Return a kept config with device and threads as they are here: facts of a machine, which no run keeps."""
    device = choose_device(available(config.device, whose)).type
    compile = config.compile
    if compile == "on" and device == "cpu" and not has_compiler():
        say(
            f"note: {whose} compiles its updates, for which there is no C++ compiler here; it goes on without"
        )
        compile = "off"
    threads = config.threads or (usable_cores() if takes_large_pictures(config) else 1)
    return replace(config, device=device, compile=compile, threads=threads)  # type: ignore[arg-type]


def resolve(config: RunConfig) -> RunConfig:
    """Replace every `auto` and 0 by what it stands for, so that the saved config says all.

    Device and threads stay what was asked for: another machine may go on with the run.

    Raises:
        ValueError: the device is not there.
        UsageError: an option asks for what its agent does not do.
    """
    choose_device(config.device)
    if config.env_options.one_per_process:
        if config.env_options.workers:
            raise UsageError("--env.workers: every copy has a process of its own with --env.one-per-process")
        if config.backend not in ("auto", "async"):
            raise UsageError(
                f"--backend {config.backend}: all copies are in one process there; --env.one-per-process takes async"
            )
        config = replace(config, backend="async")
    enough, compiles = COMPILE_FROM_UPDATES, True
    if config.memory != "none" and config.agent in component_names("agent"):
        # Agents of ours compile what they can: all of an update, or the memory in it, or nothing.
        enough, compiles = COMPILE_MEMORY_FROM_UPDATES, find_component("memory", config.memory).compiles
    if config.compile == "on" and not compiles:
        raise UsageError(
            f"--compile on: {config.agent} with memory {config.memory} is never compiled; give auto or off"
        )
    steps = config.steps
    # An agent from outside need not say it; it can be compiled on request only.
    planned = getattr(config.agent_config, "planned_updates", None)
    updates = planned(steps, config.num_envs) if planned else 0
    return replace(
        config,
        log_every=config.log_every or max(1, steps // 200),
        evaluate_every=config.evaluate_every or max(1, steps // 10),
        checkpoint_every=config.checkpoint_every or max(1, steps // 20),
        compile="on" if compiles and choose_compile(config.compile, updates, enough) else "off",
    )


def takes_large_pictures(config: RunConfig) -> bool:
    """Whether a run's encoder is one of pictures that many threads make faster; small networks get slower."""
    if not find_component("encoder", config.encoder).shared_by_default:
        return False
    return has_large_pictures(
        config.env, config.env_kwargs, tuple(config.env_options.wrappers), config.backend
    )


def torso_factory(
    config: RunConfig, observation_space: spaces.Space, steps: RecentSteps | None = None
) -> Callable[[], Torso]:
    """Return what an agent calls for each torso that it needs; `steps` are what an auxiliary loss learns from."""
    encoder = find_component("encoder", config.encoder)
    check_encoder(config.encoder, encoder, observation_space)
    memory = find_component("memory", config.memory)
    auxiliary = find_component("auxiliary", config.auxiliary)

    def make_auxiliary(built: Encoder) -> Auxiliary | None:
        return None if steps is None else auxiliary(built, observation_space, steps, config.auxiliary_config)

    return lambda: build_torso(
        observation_space,
        encoder,
        memory,
        config.encoder_config,
        config.memory_config,
        make_auxiliary,
        compile=config.compile == "on",
    )


def check_encoder(name: str, encoder: type[Encoder], space: spaces.Space) -> None:
    """Raise `TypeError` with the encoders that do take observations of a space, unless this one does."""
    if takes(encoder, space):
        return
    others = [other for other in component_names("encoder") if takes(find_component("encoder", other), space)]
    raise refusal(f"encoder '{name}' takes {encoder.takes}", space, others)


def check_actions(name: str, agent: type[Agent], space: spaces.Space) -> None:
    """Raise `TypeError` with the agents that do take actions of a space, unless this one does."""
    if agent.takes.include(space):
        return
    known = {other: find_component("agent", other) for other in component_names("agent")}
    # Those that learn from demonstrations are no answer to who has none.
    others = [other for other, found in known.items() if not found.watches and found.takes.include(space)]
    raise refusal(f"agent '{name}' takes {agent.takes.name}", space, others)


def refusal(what: str, space: spaces.Space, others: list[str]) -> TypeError:
    """Error for a space that a component does not take, with those that do."""
    advice = f"use {' or '.join(others)}" if others else "none of ours does"
    return TypeError(f"{what}, got {in_one_line(space)}; {advice}")


def takes(encoder: type[Encoder], space: spaces.Space) -> bool:
    """Whether an encoder takes observations of a space, alone or one of it for each picture in there."""
    return encoder.accepts(space) or NestedEncoder.fits(space, encoder)


def build_agent(
    config: RunConfig,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    variant: type[Agent] | None = None,
) -> Agent:
    """Build the agent of a run, or a variant of it; its initial weights depend on the run's seed alone."""
    named = find_component("agent", config.agent)
    agent_class = variant or named
    check_actions(config.agent, agent_class, action_space)
    # An agent from outside need not have it.
    hindsight = getattr(config.agent_config, "hindsight", 0) > 0
    more = {"goal_rule": goal_rule(env_spec(config), observation_space)} if hindsight else {}
    steps = None
    if config.auxiliary != "none":
        steps = RecentSteps(action_space, config.auxiliary_config.capacity, config.seed)
        agent_class = with_steps(agent_class, steps)
    with initialized(config.seed):
        agent = agent_class(
            config.agent_config,
            action_space,
            torso_factory(config, observation_space, steps),
            seed=config.seed,
            total_steps=schedule_total(config),
            device=choose_device(config.device),
            compile=config.compile == "on",
            **more,
        )
    if not is_ours(named):
        check_agent(agent, observation_space, action_space)
    if steps is not None and not learns_beside(agent):
        raise ValueError(
            f"auxiliary: agent '{config.agent}' trains no torso with an optimiser of ours, which is what adds "
            "the loss; leave it at none"
        )
    return agent
