"""Who answers for names that no file of ours bears: one table of dotted names, loaded when such a name is asked for.

The rooms named here lie above this one: they are imported by name, at the moment they are needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class Provider(NamedTuple):
    """A family of components whose names share a beginning."""

    prefix: str
    """What such names begin with."""
    find: str
    """`module:function` that returns the class for a name."""
    hint: str = ""
    """What is added to the list of the components there are."""
    presets: str = ""
    """Folder in `configs/` of its presets."""
    of_folder: bool = False
    """Whether what follows the prefix is a folder."""


# By the kind of component.
PROVIDERS: dict[str, Provider] = {
    "agent": Provider(
        "sb3/", "baselines.algorithms:find_baseline", "Stable-Baselines3's as sb3/NAME", "baselines"
    ),
    "encoder": Provider("world-model:", "imagination.model_encoder:for_run", of_folder=True),
}
# Classes from outside that are no components of ours, and may stand for one; by the kind of component.
ADAPTERS: dict[str, str] = {"agent": "baselines.algorithms:adapt"}
# Maker of the environments' backend for a run that trains in the dream of a world model.
DREAM_BACKEND = "imagination.dream_envs:make_dream_backend"
# Learned rewards of a run, and what stands between them and the agent.
LEARNED_REWARDS = "rewards.rewarded:build_rewards"
REWARDED = "rewards.rewarded:Rewarded"
# What a run takes, with one of them.
WITH_REWARD = "rewards.rewarded:with_reward"
# Loads a fitted world model.
WORLD_MODEL = "imagination.fits:load_world_model"
# Memory of a world model as a part of observations.
MODEL_MEMORY = "imagination.model_memory:ModelMemory"

# What plays demonstrations to an agent that watches a teacher.
PLAYER = "demonstrations.playing:make_player"


def load_provider(name: str) -> Any:
    """Return what `module:attribute` names, the module relative to `palaestra.training`."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(f"palaestra.training.{module}"), attribute)


def provider_of(kind: str, name: str) -> Provider | None:
    """Return the provider that answers for a component's name; None where it is a file's name or a class's."""
    provider = PROVIDERS.get(kind)
    return provider if provider is not None and name.startswith(provider.prefix) else None
