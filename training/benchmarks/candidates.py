"""Which agents can train in an environment? Those that can be built for it, act in it, and take what it returns."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

from ...envs.make import EnvSpec, make_envs
from ...envs.vector import Envs
from ..run.build import build_agent, env_spec
from ..run.collect import Collector
from ..settings.components import component_names, find_component
from ..settings.config import RunConfig, run_config
from ..settings.layers import merge_options
from ..settings.presets import find_preset

COPIES = 2
STEPS = 3


def trainable_agents(spec: EnvSpec) -> tuple[list[str], dict[str, str]]:
    """Return the names of our agents that can train in an environment, and why the others cannot.

    Each is set up as `palaestra train AGENT --env ID` would, with its preset where there is one.
    """
    names: list[str] = []
    refusals: dict[str, str] = {}
    for name in component_names("agent"):
        if find_component("agent", name).watches:
            continue  # it learns from demonstrations, not from the environment
        try:
            refusal = try_agent(default_config(name, spec))
        except Exception as error:
            refusal = str(error).strip().partition("\n")[0] or type(error).__name__
        if refusal is None:
            names.append(name)
        else:
            refusals[name] = refusal
    return names, refusals


def default_config(agent: str, spec: EnvSpec) -> RunConfig:
    """How an agent is trained in an environment if nothing else is said."""
    options: dict[str, Any] = {"wrappers": list(spec.wrappers)} if spec.wrappers else {}
    if spec.one_per_process:
        options["one_per_process"] = True
    asked = {
        "agent": {"name": agent},
        "env": spec.id,
        "env_kwargs": spec.kwargs,
        "env_options": options,
        "device": "cpu",
        "compile": "off",
    }
    return run_config(merge_options(find_preset(agent, spec.id), asked))


def try_agent(config: RunConfig) -> str | None:
    """Let an agent act and learn for a few steps; returns why it cannot, or raises that."""
    takes = find_component("agent", config.agent).takes
    with closing(make_envs(replace(env_spec(config), num_envs=COPIES))) as envs:
        if not takes.include(envs.action_space):
            return f"takes {takes.name}"
        learn_in(envs, config, STEPS)
    return None


def learn_in(envs: Envs, config: RunConfig, vector_steps: int) -> None:
    """Build an agent and let it act and learn; what is wrong is raised."""
    agent = build_agent(config, envs.observation_space, envs.action_space)
    collector = Collector(agent, envs)
    for _ in range(vector_steps):
        transition, _ = collector.step()
        agent.learn(transition)
