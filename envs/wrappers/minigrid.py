"""Views of MiniGrid and BabyAI, whose observations hold a text that no network here reads (the mission).

`--env.wrappers palaestra.envs.wrappers.minigrid:onehot`, for instance; without wrappers they get `image`.
"""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation

# The largest number of an object, a colour or a state.
LARGEST = 10


def image(env: gymnasium.Env) -> gymnasium.Env:
    """What lies ahead: `[7, 7, 3]` uint8 numbers of objects, colours and states. No direction, which is ahead."""
    from minigrid.wrappers import ImgObsWrapper

    return bounded(ImgObsWrapper(env), LARGEST)


def onehot(env: gymnasium.Env) -> gymnasium.Env:
    """What lies ahead: `[7, 7, 20]` uint8, a one for the object, one for its colour and one for its state."""
    from minigrid.wrappers import ImgObsWrapper, OneHotPartialObsWrapper

    return bounded(ImgObsWrapper(OneHotPartialObsWrapper(env)), 1)


def bounded(env: gymnasium.Env, largest: int) -> gymnasium.Env:
    """Declare how large numbers really get: MiniGrid says 255, and encoders would divide a one by that."""
    space = env.observation_space
    return TransformObservation(env, lambda obs: obs, spaces.Box(0, largest, space.shape, np.uint8))


def flat(env: gymnasium.Env) -> gymnasium.Env:
    """`image` and the mission, letter by letter in one-hot code, as one vector of 2835."""
    from minigrid.wrappers import FlatObsWrapper

    return FlatObsWrapper(env)


def picture(env: gymnasium.Env, tile_size: int = 8) -> gymnasium.Env:
    """What lies ahead as an RGB picture, `[56, 56, 3]` uint8."""
    from minigrid.wrappers import ImgObsWrapper, RGBImgPartialObsWrapper

    return ImgObsWrapper(RGBImgPartialObsWrapper(env, tile_size))
