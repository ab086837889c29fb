"""What environments of others lack."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs


class FreshWorld(gymnasium.Wrapper, RecordConstructorArgs):
    """BipedalWalker with a new Box2D world for every episode.

    The old world keeps traces of the bodies that were destroyed, so that an episode depends on those before it, and
    its seed does not determine it. LunarLander had the same fault (Farama-Foundation/Gymnasium#728).
    """

    def __init__(self, env: gymnasium.Env):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in a new world."""
        walker: Any = self.env.unwrapped
        walker._destroy()
        walker.world = type(walker.world)()
        return self.env.reset(seed=seed, options=options)


class BytePictures(gymnasium.Wrapper, RecordConstructorArgs):
    """Pictures as uint8: MinAtar draws in numbers from 0 to 1."""

    def __init__(self, env: gymnasium.Env):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def render(self) -> Any:
        """Draw, sixteen times as large: a cell of MinAtar is a pixel."""
        frame = np.asarray(self.env.render())
        return (255 * frame).astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)


class FirstActionFree(gymnasium.Wrapper, RecordConstructorArgs):
    """MinAtar without the last action of the episode before, which its sticky actions may repeat in a first step.

    minatar 1.0.15 forgets it in no reset, so that the seed of an episode does not determine it.
    """

    def __init__(self, env: gymnasium.Env):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode as a new game does."""
        unwrapped: Any = self.env.unwrapped
        unwrapped.game.last_action = 0
        return self.env.reset(seed=seed, options=options)


def minatar(env: gymnasium.Env) -> gymnasium.Env:
    """All that MinAtar lacks."""
    return FirstActionFree(BytePictures(env))
