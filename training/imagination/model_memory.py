"""The memory of a world model, for agents that have none of their own (Ha & Schmidhuber 2018, section 2.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from ...world_models.encoded_dataset import encode_all
from ...world_models.world_model import as_tensor
from .fits import load_world_model


class ModelMemory:
    """Memory of a fitted world model along the real steps of an agent; the model stays as it is.

    Raises:
        UsageError: the folder holds no fitted world model.
        ValueError: it was fitted to other observations or actions, or its dynamics have no memory.
    """

    def __init__(
        self,
        run_dir: Path,
        device: torch.device,
        observation_space: spaces.Space,
        action_space: spaces.Space,
    ):
        fitted = load_world_model(run_dir, device)
        self.model = fitted.model
        if difference := fitted.difference(observation_space, action_space):
            raise ValueError(f"show_model_memory: {run_dir} knows {difference}")
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
