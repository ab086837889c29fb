"""Actions as environments take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces


def action_clipper(space: spaces.Space, num_envs: int) -> Callable[[Any], Any]:
    """Return a function that clips actions `[B, ...]` to the bounds of `space` and gives them its dtype."""
    dtype = space.dtype
    match space:
        case spaces.Dict():
            parts = {key: action_clipper(part, num_envs) for key, part in space.items()}
            return lambda action: {key: clip(action[key]) for key, clip in parts.items()}
        case spaces.Tuple():
            clips = [action_clipper(part, num_envs) for part in space]
            return lambda action: tuple(clip(part) for clip, part in zip(clips, action, strict=True))
        case spaces.Box() if np.isfinite(space.low).any() or np.isfinite(space.high).any():
            # Full batches and plain ufuncs: broadcasting and np.clip would take three times as long.
            low, high = (np.repeat(bound[None], num_envs, axis=0) for bound in (space.low, space.high))
            return lambda action: np.asarray(np.minimum(np.maximum(action, low), high), dtype)
    # A copy: environments may keep what they are given, or change it.
    return lambda action: np.array(action, dtype)
