"""Between collector and agent: transitions whose rewards are learned, while episodes keep the environment's returns."""

from __future__ import annotations

import numpy as np

from ...agents.agent import Transition
from ...envs.vector import Envs, Episode
from ..run.build import choose_device
from ..run.checkpoint import Part
from ..run.clocks import Meter
from ..run.loop import Stepper
from ..settings.components import find_component
from ..settings.config import RunConfig
from ..settings.planning import schedule_total
from ..settings.usage import UsageError
from .reward import LearnedReward, Setting


class Rewarded:
    """Steps as a collector does; of its transitions the rewards are replaced by some sources, and others add to them.

    Episodes, and with them `episode/return`, are what the environments say. What the sources report goes to `meter`.
    """

    def __init__(self, collector: Stepper, sources: dict[str, LearnedReward], meter: Meter):
        self.collector = collector
        self.envs = collector.envs
        self.sources = sources
        self.meter = meter

    def step(self) -> tuple[Transition, list[Episode]]:
        """Act once in every environment, as `Collector.step`."""
        transition, episodes = self.collector.step()
        total: np.ndarray = transition.reward
        for source in self.sources.values():
            reward, metrics = source.reward(transition)
            total = reward if source.replaces else total + reward
            self.meter.add(metrics)
        return transition._replace(reward=total), episodes

    def parts(self) -> dict[str, Part]:
        """What a checkpoint must hold of the sources."""
        return {
            f"{kind}.{name}": part
            for kind, source in self.sources.items()
            for name, part in source.parts().items()
        }


def build_rewards(config: RunConfig, envs: Envs) -> dict[str, LearnedReward]:
    """Build the learned rewards of a run, those that replace first; none of most runs.

    Raises:
        UsageError, ValueError, TypeError: they do not fit the environments, the agent or what they learn from.
    """
    sources: dict[str, LearnedReward] = {}
    setting = Setting(
        envs.observation_space,
        envs.action_space,
        envs.num_envs,
        config.seed,
        schedule_total(config),
        choose_device(config.device),
    )
    named = {"imitate": (config.imitate, config.imitate_config), "bonus": (config.bonus, config.bonus_config)}
    for kind, (name, options) in named.items():
        if name != "none":
            check_agent(config, f"{kind} {name}")
            sources[kind] = find_component(kind, name)(options, setting)  # type: ignore[arg-type]
    return sources


def check_agent(config: RunConfig, option: str) -> None:
    """Raise `UsageError` where an agent would compute rewards by itself, past those that are learned."""
    # An agent from outside need not have it.
    if getattr(config.agent_config, "hindsight", 0) > 0:
        raise UsageError(
            f"--{option}: goals in hindsight are paid by the environment's own rule, which knows no learned "
            "reward; give --agent.hindsight 0"
        )
