"""The global random generators: nothing of ours draws from them, but code from outside may."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from ...agents.agent import named_generator
from ..settings.config import RunConfig, to_dict
from ..settings.trust import names_code


class GlobalGenerators:
    """Those of torch, on the CPU and on GPUs, of NumPy and of Python, as a part of a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Where each of them is."""
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
            "numpy": np.random.get_state(legacy=False),
            "python": random.getstate(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set them back."""
        torch.set_rng_state(state["torch"])
        # It may go on where there is no GPU, or another number of them.
        for index, kept in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(kept, index)
        np.random.set_state(state["numpy"])
        random.setstate(state["python"])


@contextmanager
def kept_generators() -> Iterator[GlobalGenerators]:
    """Leave the global generators afterwards where they are now."""
    generators = GlobalGenerators()
    now = generators.state_dict()
    try:
        yield generators
    finally:
        generators.load_state_dict(now)


def left_by_evaluation(config: RunConfig) -> AbstractContextManager[Any]:
    """Keep an evaluation from moving the generators of a run that has its own: one that goes on has evaluated already.

    Those of other runs are the program's, which may draw from them in another thread meanwhile.
    """
    return kept_generators() if names_code(to_dict(config)) else nullcontext()


@contextmanager
def generators_of_run(config: RunConfig) -> Iterator[dict[str, GlobalGenerators]]:
    """Give a run whose parts are from outside global generators that begin with its seed, for its checkpoints."""
    if not names_code(to_dict(config)):
        yield {}
        return
    with kept_generators() as generators:
        seed = int(named_generator(config.seed, "global").integers(2**32))
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        yield {"generators": generators}
