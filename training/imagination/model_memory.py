"""The memory of a world model, shown to an agent that needs none of its own (Ha & Schmidhuber 2018, section 2.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from ...world_models.encoded_dataset import encode_all
from ...world_models.world_model import as_tensor
from ..settings.usage import in_one_line
from .fits import load_world_model


class ModelMemory:
    """What a fitted world model remembers of the real steps that it is shown; it stays as it is.

    Raises:
        UsageError: the folder holds no fitted world model.
        ValueError: it has seen other observations or actions, or its dynamics remember nothing.
    """

    def __init__(self, run_dir: Path, device: torch.device, seen: spaces.Space, done: spaces.Space):
        fitted = load_world_model(run_dir, device)
        self.model = fitted.model
        for what, known, given in (
            ("observations", self.model.observation_space, seen),
            ("actions", self.model.action_space, done),
        ):
            if known != given:
                raise ValueError(
                    f"show_model_memory: {run_dir} knows {what} {in_one_line(known)}, not {in_one_line(given)}"
                )
        self.state_size = self.model.dynamics.state_size
        if not self.state_size:
            raise ValueError(
                f"show_model_memory: the dynamics '{fitted.config.dynamics}' of {run_dir} have no memory; fit mdn_rnn"
            )

    @torch.no_grad()
    def update(self, obs: Any, action: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Memory `[B, S]` after a step from observations `[B, ...]`."""
        model = self.model
        vector = model.actions(as_tensor(action, model.device))
        after = model.dynamics.observe(encode_all(model, obs), vector, as_tensor(state, model.device))
        return after.cpu().numpy()
