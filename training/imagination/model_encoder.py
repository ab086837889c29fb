"""A world model's encoder as the first layers of any agent: its representation, transferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from gymnasium import spaces
from torch import Tensor, nn

from ...networks.encoder import Encoder, NestedEncoder
from ...networks.layers import Activation, mlp
from ...networks.optimizer import Paced
from ...world_models.old_keys import accept_old_key
from ..settings.providers import PROVIDERS
from .fits import FittedModel, load_world_model

PREFIX = PROVIDERS["encoder"].prefix


@dataclass(frozen=True)
class ModelEncoderConfig:
    """Encoder of a fitted world model, with a perceptron on its latents."""

    mode: Literal["frozen", "finetune", "joint"] = "frozen"
    """frozen: it stays as it is. finetune: the agent's loss changes it. joint: it goes on learning to reconstruct
    the agent's observations, and no gradient of the agent enters it."""
    learning_rate_scale: Annotated[float, Gt(0)] = 0.1
    """finetune, joint: the encoder's step size, as a share of the agent's learning rate."""
    reconstruction_weight: Annotated[float, Gt(0)] = 1.0
    """joint: weight of the reconstruction's squared error (mean over the observation) beside the agent's loss."""
    latent_penalty: Annotated[float, Ge(0)] = 1e-6
    """joint: weight of the latent's squared length (SAC+AE, Yarats et al. 2021, arXiv:1910.01741)."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (64, 64)
    """Width of each layer after the latent."""
    activation: Activation = "tanh"
    """Non-linearity after each layer."""


class ModelEncoder(Encoder, Paced):
    """Latents of a world model, then linear layers. `for_run` gives the class that knows its folder."""

    Config = ModelEncoderConfig
    run_dir: ClassVar[Path | None] = None

    @classmethod
    def encodes_part(cls, space: spaces.Space) -> bool:
        """Of nested observations, it encodes what the model was fitted to."""
        return bool(space == cls.fitted().model.observation_space)

    @classmethod
    def accepts(cls, space: spaces.Space) -> bool:
        """Any space but those of which `encodes_part` may take a part: the constructor says what does not fit."""
        return not NestedEncoder.fits(space, cls)

    @classmethod
    def fitted(cls) -> FittedModel:
        """Load the world model."""
        if cls.run_dir is None:
            raise ValueError(f"encoder 'world-model' needs a folder: --encoder {PREFIX}DIR")
        return load_world_model(cls.run_dir, torch.device("cpu"))

    def __init__(self, space: spaces.Space, config: ModelEncoderConfig):
        super().__init__()
        fitted = self.fitted()
        if difference := fitted.difference(space):
            raise ValueError(f"{self.run_dir} encodes {difference}: it was fitted to {fitted.config.env}")
        self.config = config
        self.observation_model = fitted.model.observation_model.requires_grad_(config.mode != "frozen")
        self.layers = mlp((self.observation_model.latent_size, *config.hidden), config.activation)
        self.size = (self.observation_model.latent_size, *config.hidden)[-1]
        accept_old_key(self, "coder", "observation_model")

    def forward(self, obs: Any) -> Tensor:
        """Features `[N, size]` of observations `[N, ...]`."""
        latent = self.observation_model.encode(obs)
        if self.config.mode == "frozen":
            latent = latent.detach()
        elif self.config.mode == "joint":
            learns = torch.is_grad_enabled() and self.adds_own_loss
            loss = self.reconstruction_loss(obs, latent) if learns else None
            latent = latent.detach() if loss is None else _WithLoss.apply(latent.detach(), loss)
        return self.layers(latent)

    def reconstruction_loss(self, obs: Any, latent: Tensor) -> Tensor:
        """Half the squared error of what is decoded, a mean over batch and observation, and the latent's length.

        Nothing is drawn: of a VAE, the mean of the posterior is decoded. A mean and no sum, since agents clip the
        norm of the whole gradient, and this must not drown theirs.
        """
        scaler = self.observation_model.scaler
        error = (scaler(self.observation_model.decode(latent)) - scaler(obs)).square().mean()
        length = latent.square().sum(-1).mean()
        return 0.5 * self.config.reconstruction_weight * (error + self.config.latent_penalty * length)

    def paces(self) -> Mapping[nn.Parameter, float]:
        """The encoder has a step size of its own."""
        return dict.fromkeys(self.observation_model.parameters(), self.config.learning_rate_scale)


class _WithLoss(torch.autograd.Function):
    """Passes features on, and adds a loss to whatever is computed from them: its gradient comes with theirs.

    So every agent learns jointly without knowing of it, once for each time that it computes a loss.
    """

    @staticmethod
    def forward(features: Tensor, loss: Tensor) -> Tensor:
        return features.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Nothing need be kept."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return gradient, gradient.new_ones(())


def for_run(name: str) -> type[ModelEncoder]:
    """Return the encoder called `world-model:DIR`."""
    return type(
        "ModelEncoder", (ModelEncoder,), {"run_dir": Path(name.removeprefix(PREFIX)), "__module__": __name__}
    )
