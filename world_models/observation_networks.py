"""What observation models share: scaling of observations, networks for vectors and for pictures, input noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from gymnasium import spaces
from torch import Tensor, nn

from ..networks.layers import mlp
from ..networks.pictures import is_picture, picture_layout
from .scales import divisor

# Four layers that halve a picture leave nothing of a smaller one, which is a vector to them.
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class ObservationNetworksConfig:
    """Networks of an observation model, and the noise on their input while they learn."""

    latent_size: Annotated[int, Gt(0)] = 16
    """Numbers in a latent."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (128, 128)
    """Vectors: width of each hidden layer."""
    depth: Annotated[int, Gt(0)] = 16
    """Pictures: channels of the first of four layers; the others have two, three and four times as many."""
    noise: Annotated[float, Ge(0)] = 0.0
    """Denoising: deviation of Gaussian noise on what is encoded; what is to be decoded is clean."""
    hidden_share: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Denoising: share of the inputs that are set to zero."""


class VectorScaler(nn.Module):
    """Flat observations in units of their own deviation, `[N, *shape] <-> [N, D]`; small pictures in their range."""

    center: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, space: spaces.Box):
        super().__init__()
        self.shape = space.shape
        self.size = int(np.prod(space.shape))
        self.measured = not is_picture(space)
        center, unit = (0.0, 1.0) if self.measured else _range(space)
        for name, value in (("center", center), ("deviation", unit)):
            self.register_buffer(name, torch.full((self.size,), value))
        self.register_buffer("low", torch.as_tensor(space.low.flatten(), dtype=torch.float32))
        self.register_buffer("high", torch.as_tensor(space.high.flatten(), dtype=torch.float32))

    @property
    def unit(self) -> Tensor:
        """Deviation by which observations are divided, in the environment's units: `[*shape]`."""
        return self.deviation.reshape(self.shape)

    @torch.no_grad()
    def fit(self, obs: Tensor) -> None:
        """Measure mean and deviation of observations `[N, *shape]`; the range of pictures is known."""
        if not self.measured:
            return
        flat = obs.reshape(len(obs), -1).double()
        deviation = flat.std(0) if len(flat) > 1 else torch.zeros_like(flat[0])
        self.center.copy_(flat.mean(0))
        self.deviation.copy_(divisor(deviation, flat.abs().amax(0)))

    def forward(self, obs: Tensor) -> Tensor:
        """Scaled observations."""
        return (obs.reshape(obs.shape[0], -1).float() - self.center) / self.deviation

    def inverse(self, x: Tensor) -> Tensor:
        """Observations of scaled ones, within the bounds of their space."""
        obs = torch.maximum(torch.minimum(self.center + x * self.deviation, self.high), self.low)
        return obs.reshape(len(x), *self.shape)


class PictureScaler(nn.Module):
    """Pictures `[N, *shape]` as channels of numbers from 0 to 1, `[N, C, H, W]`; bounds say what 0 and 1 are.

    Shapes are `[H, W]`, `[H, W, C]` or `[C, H, W]`, or a stack of K of the last two; its frames lie behind each
    other in the channels.
    """

    def __init__(self, space: spaces.Box):
        super().__init__()
        self.shape = space.shape
        self.low, self.range = _range(space)
        # One frame as [frames, its own axes]; a lone picture is a stack of one.
        self.stack = space.shape if len(space.shape) == 4 else (1, *space.shape)
        layout = picture_layout(space.shape)
        self.channels_last = layout.channels_last
        self.picture = layout.planes
        self.size = int(np.prod(space.shape))

    @property
    def unit(self) -> float:
        """Range by which pictures are divided, in the environment's units."""
        return self.range

    def fit(self, obs: Tensor) -> None:
        """Nothing is measured: the bounds are known."""

    def forward(self, obs: Tensor) -> Tensor:
        """Scaled observations."""
        x = (obs.float() - self.low) / self.range
        x = x.reshape(obs.shape[0], *self.stack)
        if self.channels_last:
            x = x.movedim(-1, 2)
        return x.reshape(obs.shape[0], *self.picture)

    def inverse(self, x: Tensor) -> Tensor:
        """Observations of scaled ones."""
        x = x.clamp(0, 1) * self.range + self.low
        if self.channels_last:
            frames, height, width, channels = self.stack
            x = x.reshape(len(x), frames, channels, height, width).movedim(2, -1)
        return x.reshape(len(x), *self.shape)


def observation_scaler(space: spaces.Space) -> VectorScaler | PictureScaler:
    """Return the scaler for an observation space.

    Raises:
        TypeError: it is no Box.
    """
    if not isinstance(space, spaces.Box):
        raise TypeError(f"world models take Box observations, got {' '.join(str(space).split())}")
    return PictureScaler(space) if is_convolved(space) else VectorScaler(space)


def is_convolved(space: spaces.Space) -> bool:
    """Whether observations are pictures large enough for convolutions, with sides of 16 or more."""
    if not (is_picture(space) and space.shape is not None):
        return False
    layout = picture_layout(space.shape)
    return min(layout.height, layout.width) >= SMALLEST_SIDE


def _range(space: spaces.Box) -> tuple[float, float]:
    """Smallest number of pictures, and how far the largest is from it (1 where it is the same)."""
    # As floats: in the space's own type, -128 to 127 would have the range -1.
    low = float(space.low.min())
    return low, float(space.high.max()) - low or 1.0


def build_networks(
    scaler: VectorScaler | PictureScaler, config: ObservationNetworksConfig, outputs: int
) -> tuple[nn.Module, nn.Module]:
    """Return an encoder `x -> [N, outputs]` and a decoder `[N, latent_size] -> x` for what a scaler gives."""
    if isinstance(scaler, PictureScaler):
        return _convolutions(scaler.picture, config, outputs)
    sizes = (scaler.size, *config.hidden)
    encoder = nn.Sequential(*mlp(sizes, "silu"), nn.Linear(sizes[-1], outputs))
    sizes = (config.latent_size, *reversed(config.hidden))
    decoder = nn.Sequential(*mlp(sizes, "silu"), nn.Linear(sizes[-1], scaler.size))
    return encoder, decoder


def _convolutions(
    picture: tuple[int, int, int], config: ObservationNetworksConfig, outputs: int
) -> tuple[nn.Module, nn.Module]:
    """Four layers that halve a picture, and four that double it; group normalisation, so that no batch matters."""
    channels, height, width = picture
    depths = [config.depth * factor for factor in (1, 2, 3, 4)]
    sides = [(height, width)]
    layers: list[nn.Module] = []
    for inputs, depth in zip([channels, *depths], depths, strict=False):
        layers += [nn.Conv2d(inputs, depth, 4, 2, 1), nn.GroupNorm(1, depth), nn.SiLU()]
        sides.append((sides[-1][0] // 2, sides[-1][1] // 2))
    last = depths[-1] * sides[-1][0] * sides[-1][1]
    encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(last, outputs))

    layers = [nn.Linear(config.latent_size, last), nn.Unflatten(1, (depths[-1], *sides[-1])), nn.SiLU()]
    backwards = [*reversed(depths[:-1]), depths[0]]
    for inputs, depth, side in zip(reversed(depths), backwards, reversed(sides[:-1]), strict=True):
        # Enlarging and then convolving leaves no chequerboard (Odena et al. 2016).
        layers += [
            nn.Upsample(size=side),
            nn.Conv2d(inputs, depth, 3, 1, 1),
            nn.GroupNorm(1, depth),
            nn.SiLU(),
        ]
    decoder = nn.Sequential(*layers, nn.Conv2d(depths[0], channels, 3, 1, 1), nn.Sigmoid())
    return encoder, decoder


def denoising_input(x: Tensor, config: ObservationNetworksConfig, generator: torch.Generator) -> Tensor:
    """Input of a denoising observation model: `x [N, ...]` with Gaussian noise, and a share of it set to zero."""
    if config.noise > 0:
        x = x + config.noise * torch.randn(x.shape, generator=generator, device=x.device)
    if config.hidden_share > 0:
        x = x * (torch.rand(x.shape, generator=generator, device=x.device) >= config.hidden_share)
    return x
