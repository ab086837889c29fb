"""Latents in place of observations, encoded once a step, so that replay buffers and networks are small."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from .encoded_dataset import encode_all
from .world_model import WorldModel


class LatentObservation(VectorWrapper):
    """A vector environment of a fitted model's latents `[B, Z]` (float32), in every auto-reset mode.

    The encoder is frozen: an agent has no other information than the latents.

    Raises:
        ValueError: the model encodes other observations.
    """

    def __init__(self, env: VectorEnv, model: WorldModel):
        super().__init__(env)
        if env.single_observation_space != model.observation_space:
            known, given = (
                " ".join(str(s).split()) for s in (model.observation_space, env.single_observation_space)
            )
            raise ValueError(f"the world model encodes observations {known}, not {given}")
        self.model = model
        self.single_observation_space = spaces.Box(
            -np.inf, np.inf, (model.observation_model.latent_size,), np.float32
        )
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._encode(obs), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, and encode the observations; the true successors of ended episodes, too."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info = info | {"final_obs": self._encode_final(info["final_obs"], info["_final_obs"])}
        return self._encode(obs), reward, terminated, truncated, info

    def _encode_final(self, final: Any, ended: np.ndarray) -> np.ndarray:
        """Latents `[B, Z]` of the final observations where episodes `ended [B]`; zeros elsewhere."""
        latents = np.zeros((self.num_envs, self.model.observation_model.latent_size), np.float32)
        if ended.any():
            latents[ended] = self._encode(np.stack([final[i] for i in np.flatnonzero(ended)]))
        return latents

    @torch.no_grad()
    def _encode(self, obs: np.ndarray) -> np.ndarray:
        return encode_all(self.model, obs).cpu().numpy()
