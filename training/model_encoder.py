"""A world model's encoder as the first layers of any agent: what it has learned to see, and is transferred with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt
from gymnasium import spaces
from torch import Tensor

from ..networks.layers import Activation, mlp
from ..networks.torso import Encoder

PREFIX = "world-model:"


@dataclass(frozen=True)
class ModelEncoderConfig:
    """Encoder of a fitted world model, with a perceptron on its latents."""

    mode: Literal["frozen", "finetune"] = "frozen"
    """Whether the agent's loss may change what was learned before."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (64, 64)
    """Width of each layer after the latent."""
    activation: Activation = "tanh"
    """Non-linearity after each layer."""


class ModelEncoder(Encoder):
    """Latents of a world model, then linear layers. `for_run` gives the class that knows its folder."""

    Config = ModelEncoderConfig
    run_dir: ClassVar[Path | None] = None

    def __init__(self, space: spaces.Space, config: ModelEncoderConfig):
        super().__init__()
        from .world_models import load_world_model

        if self.run_dir is None:
            raise ValueError(f"encoder 'world-model' needs a folder: --encoder {PREFIX}DIR")
        fitted = load_world_model(self.run_dir, torch.device("cpu"))
        seen = fitted.model.observation_space
        if space != seen:
            raise ValueError(
                f"{self.run_dir} encodes observations {_short(seen)} of {fitted.config.env}, not {_short(space)}"
            )
        self.frozen = config.mode == "frozen"
        self.coder = fitted.model.coder.requires_grad_(not self.frozen)
        self.layers = mlp((self.coder.latent_size, *config.hidden), config.activation)
        self.size = (self.coder.latent_size, *config.hidden)[-1]

    def forward(self, obs: Any) -> Tensor:
        """Features `[N, size]` of observations `[N, ...]`."""
        latent = self.coder.encode(obs)
        return self.layers(latent.detach() if self.frozen else latent)

    def as_numpy(self) -> Callable[[Any], Any] | None:
        """There is no NumPy form of coders."""
        return None


def for_run(name: str) -> type[ModelEncoder]:
    """Return the encoder called `world-model:DIR`."""
    return type(
        "ModelEncoder", (ModelEncoder,), {"run_dir": Path(name.removeprefix(PREFIX)), "__module__": __name__}
    )


def _short(space: spaces.Space) -> str:
    return " ".join(str(space).split())
