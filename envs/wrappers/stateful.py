"""Wrappers that carry something from one episode to the next: no seed determines what an agent sees through them."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium

STATISTICS = (
    "gathers statistics of its own, which every copy, every evaluation and a resumed run would begin anew"
)
OBSERVATIONS = f"{STATISTICS}; use --encoder.normalize (of sb3/ agents --agent.normalize-obs)"
REWARDS = f"{STATISTICS}; use --agent.normalize-reward (of ppo, reinforce and sb3/ agents)"

# By the names of their classes, whichever package they or what they are derived from come from; what is wrong, and
# the option that does it right.
STATEFUL = {
    "NormalizeObservation": OBSERVATIONS,
    "NormalizeReward": REWARDS,
    "VecNormalize": OBSERVATIONS,
    "EpisodicLifeEnv": "begins episodes where the last one ended, so that no seed determines them; use "
    "palaestra.envs.wrappers.atari:preprocess",
}


def refuse_stateful(wrapper: str, kind: type) -> None:
    """Raise `ValueError` where `wrapper` is, or puts around an environment, a class of `STATEFUL`."""
    for parent in kind.__mro__:
        if parent.__name__ in STATEFUL:
            raise ValueError(f"wrapper '{wrapper}' {STATEFUL[parent.__name__]}")


def wrapped_since(env: gymnasium.Env, inside: gymnasium.Env) -> Iterator[type]:
    """Classes of the wrappers between `env` and the environment `inside`."""
    while env is not inside and isinstance(env, gymnasium.Wrapper):
        yield type(env)
        env = env.env
