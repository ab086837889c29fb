"""A first look at whether runs in an environment can be reproduced, cheap enough for the start of every run."""

from __future__ import annotations

import time
from contextlib import suppress

import numpy as np

from ...envs.backends.failure import EnvironmentFailedError
from ...envs.vector import Envs
from ...networks.tree import same_leaves, tree_map

# Of one reset of all copies; where it takes longer, the look is not cheap.
SECONDS = 0.5


def begin_differently(envs: Envs) -> bool:
    """Whether the first episodes, begun twice with their seeds, begin unlike each other; False where it takes long."""
    # What fails here is reported where the run begins.
    with suppress(EnvironmentFailedError):
        started = time.perf_counter()
        first = tree_map(np.copy, envs.reset())
        if time.perf_counter() - started < SECONDS:
            return not same_leaves(first, envs.reset())
    return False
