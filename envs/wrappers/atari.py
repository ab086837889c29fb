"""Atari as it is learned from: the protocol of Machado et al. (2018), "Revisiting the Arcade Learning Environment".

The v5 ids of the Arcade Learning Environment repeat the last action with probability 0.25 (sticky actions) and
give the whole score. Scores in v4 or NoFrameskip ids, without sticky actions, cannot be compared with them.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation


def preprocess(env: gymnasium.Env, stack: int = 4, **kwargs: Any) -> gymnasium.Env:
    """Up to 30 no-ops at the start, every 4th frame, the brighter of two, grey 84 x 84, `stack` of them.

    The environment must return every frame: `--env-kwargs frameskip=1`. Other arguments are those of Gymnasium's
    `AtariPreprocessing`. Observations are `[stack, 84, 84]` uint8.
    """
    return FrameStackObservation(AtariPreprocessing(env, **kwargs), stack)


# Arguments of the Arcade Learning Environment's own vector environment, so that it does the same; by itself it
# would clip rewards and press FIRE.
VECTOR_PROTOCOL = {"reward_clipping": False, "use_fire_reset": False}
