"""Between collector and agent: transitions whose rewards are learned, while episodes keep the environment's returns."""

from __future__ import annotations

import numpy as np
from torch import nn

from ...agents.agent import Transition
from ...envs.vector import Envs, Episode
from ..run.build import choose_device
from ..run.clocks import Meter
from ..run.loop import Stepper
from ..run.storage.packing import Part, num_bytes
from ..settings.components import find_component
from ..settings.config import RunConfig
from ..settings.planning import schedule_total
from ..settings.resources import Footprint
from ..settings.usage import UsageError
from ..tracking.progress import say
from .features import Features
from .reward import LearnedReward, Setting, checked


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
        """Act once in every environment, as `Collector.step`.

        Raises:
            RunFailedError: a source gives what is no reward.
        """
        transition, episodes = self.collector.step()
        total: np.ndarray = transition.reward
        for source in self.sources.values():
            reward, metrics = checked(
                f"{type(source).__name__}.reward", source.reward(transition), len(total)
            )
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
        # An agent from outside need not have one.
        getattr(config.agent_config, "gamma", 0.99),
        config.data,
        config.episodes,
    )
    named = {"reward": (config.reward, config.reward_config), "bonus": (config.bonus, config.bonus_config)}
    for kind, (name, options) in named.items():
        if name != "none":
            check_hindsight(config, f"{kind} {name}")
            sources[kind] = find_component(kind, name)(options, setting)  # type: ignore[arg-type]
    return sources


def with_reward(taken: Footprint, source: LearnedReward, kind: str, config: RunConfig) -> Footprint:
    """What a run takes, and one of its learned rewards; prints what that begins with."""
    if summary := source.summary():
        say(f"note: {summary}")
    parts, kept = source.parts(), source.kept()
    own = num_bytes(parts)
    modules = [module for part in parts.values() if isinstance(part, nn.Module) for module in part.modules()]
    rows = 2 * getattr(getattr(config, f"{kind}_config"), "batch_size", 0)
    computed = sum(module.row_bytes() for module in modules if isinstance(module, Features))
    return taken._replace(
        more=(*taken.more, (f"{kind} {getattr(config, kind)}", own), *kept.items()),
        checkpoint=taken.checkpoint + own,
        # It learns when the agent does not. What each layer computes has a gradient of its size.
        updates=max(taken.updates, 2 * rows * computed),
    )


def check_hindsight(config: RunConfig, option: str) -> None:
    """Raise `UsageError` where an agent would compute rewards by itself, past those that are learned."""
    # An agent from outside need not have it.
    if getattr(config.agent_config, "hindsight", 0) > 0:
        raise UsageError(
            f"--{option}: goals in hindsight are paid by the environment's own rule, which knows no learned "
            "reward; give --agent.hindsight 0"
        )
