"""Heads for action values: plain, dueling, distributional and noisy, in any combination."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from .action_spaces import VALUED, simplified
from .layers import ACTIVATIONS, Activation
from .masks import ActionMask, choice_sizes
from .torso import Torso
from .vectors import LARGEST_ONE_HOT, from_leaves, leaf_observations, leaf_spaces


class NoisyLinear(nn.Module):
    """A linear layer with learned, factorised noise on its parameters (Fortunato et al. 2018, eq. 9 to 11).

    The noise is an argument: a vector `[inputs + outputs]` from `draw_noise`, or zeros for the mean layer.
    """

    def __init__(self, inputs: int, outputs: int, sigma: float = 0.5):
        super().__init__()
        # Torch's default for the mean, uniform in +-1 / sqrt(inputs), is the paper's (section 3.2) as well.
        self.mean = nn.Linear(inputs, outputs)
        self.deviation = nn.Linear(inputs, outputs)
        for parameter in self.deviation.parameters():
            nn.init.constant_(parameter, sigma * inputs**-0.5)
        self.sizes = [inputs, outputs]

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """`(W + S * (e_out e_in^T)) x + b + s * e_out`, without building the noisy weights."""
        noise_in, noise_out = noise.split(self.sizes)
        return self.mean(x) + self.deviation(x * noise_in) * noise_out


def draw_noise(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Noise for the layers of a head: `sign(e) sqrt|e|` of standard normal `e`, float32."""
    if 0 in shape:
        return np.zeros(shape, np.float32)
    normal = generator.standard_normal(shape, np.float32)
    return np.copysign(np.sqrt(np.abs(normal)), normal)


class Stream(nn.Module):
    """Linear layers `sizes[0] -> sizes[1] -> ...` with (layer norms and) activations between them, noisy or not.

    They start as torch's layers do, uniform in `+-1 / sqrt(inputs)`: published learning rates of Q-networks
    assume it, and orthogonal layers of gain sqrt(2) need about a third of them.
    """

    def __init__(self, sizes: tuple[int, ...], activation: Activation, noisy: bool, layer_norm: bool):
        super().__init__()
        self.layers = nn.ModuleList()
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            if index and layer_norm:
                self.layers.append(nn.LayerNorm(inputs))
            if index:
                self.layers.append(ACTIVATIONS[activation]())
            self.layers.append(NoisyLinear(inputs, outputs) if noisy else nn.Linear(inputs, outputs))
        self.noise_sizes = [
            sum(layer.sizes) if isinstance(layer, NoisyLinear) else 0 for layer in self.layers
        ]

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Outputs `[N, sizes[-1]]` for `x [N, sizes[0]]`, with noise `[sum(noise_sizes)]`."""
        for layer, own_noise in zip(self.layers, noise.split(self.noise_sizes), strict=True):
            x = layer(x, own_noise) if isinstance(layer, NoisyLinear) else layer(x)
        return x


class QHead(nn.Module):
    """Features `[N, size]` to `atoms` numbers for each action, `[N, A, K]`, and those to values `[N, A]`.

    With a `support` `[K]` (C51, Bellemare et al. 2017) they are the logits of a distribution over it,
    otherwise quantiles (Dabney et al. 2018) or, when there is only one, the value itself. `dueling` (Wang et
    al. 2016) adds up a stream for the state and one for the actions, centred by its mean. Each stream has the
    `hidden` layers.
    """

    support: Tensor | None

    def __init__(
        self,
        size: int,
        num_actions: int,
        *,
        atoms: int = 1,
        support: Tensor | None = None,
        hidden: tuple[int, ...] = (),
        activation: Activation = "relu",
        dueling: bool = False,
        noisy: bool = False,
        layer_norm: bool = False,
    ):
        super().__init__()
        self.shape = (num_actions, atoms)
        self.register_buffer("support", support, persistent=False)
        options = (activation, noisy, layer_norm)
        self.action_stream = Stream((size, *hidden, num_actions * atoms), *options)
        self.state_stream = Stream((size, *hidden, atoms), *options) if dueling else None
        streams = [self.action_stream] + ([self.state_stream] if self.state_stream is not None else [])
        self.noise_sizes = [sum(stream.noise_sizes) for stream in streams]

    @property
    def noise_size(self) -> int:
        """Length of the noise vector; 0 without noisy layers."""
        return sum(self.noise_sizes)

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """Logits, quantiles or values `[N, A, K]`."""
        noises = noise.split(self.noise_sizes)
        outputs = self.action_stream(features, noises[0]).unflatten(-1, self.shape)
        if self.state_stream is None:
            return outputs
        state = self.state_stream(features, noises[1]).unsqueeze(-2)
        return state + outputs - outputs.mean(-2, keepdim=True)

    def values(self, outputs: Tensor) -> Tensor:
        """Action values: the means `[...]` of what `outputs [..., K]` stand for."""
        return outputs.mean(-1) if self.support is None else outputs.softmax(-1) @ self.support


class QNetwork(nn.Module):
    """A torso and a head: observations to what the head makes of them."""

    def __init__(self, torso: Torso, head: QHead):
        super().__init__()
        self.torso = torso
        self.head = head

    def forward(self, obs: Any, noise: Tensor) -> Tensor:
        """Logits, quantiles or values `[N, A, K]` of single observations `[N, ...]`, without a memory."""
        return self.head(self.torso.single_step(obs), noise)

    def unroll(self, obs: Any, state: Tensor, first: Tensor, noise: Tensor) -> Tensor:
        """The same `[T, B, A, K]` of chunks `[T, B, ...]`, from memory `[B, S]` on."""
        features, _ = self.torso(obs, state, first)
        return self.head(features, noise)


def categorical_projection(
    probabilities: Tensor, reward: Tensor, discount: Tensor, support: Tensor
) -> Tensor:
    """Distribution `[N, K]` of `reward + discount * Z` put back on the `support [K]`; Z has `probabilities`.

    Every atom's mass goes to its two neighbours on the evenly spaced support, in proportion to its nearness;
    what falls outside goes to the ends (Bellemare et al. 2017, eq. 7).
    """
    low, high = support[0], support[-1]
    spacing = (high - low) / (len(support) - 1)
    moved = (reward[:, None] + discount[:, None] * support).clamp(low, high)
    # Nearness of every moved atom [N, K, 1] to every fixed one [K]: 1 where they meet, 0 one spacing away.
    nearness = (1 - (moved[:, :, None] - support).abs() / spacing).clamp(0, 1)
    return (probabilities[:, None, :] @ nearness).squeeze(1)


def quantile_huber_loss(quantiles: Tensor, target: Tensor) -> Tensor:
    """Loss `[N]` of quantiles `[N, K]` against samples `[N, M]`, with kappa = 1 (Dabney et al. 2018, eq. 10).

    u_ij = target_j - quantiles_i,   tau_i = (i + 1/2) / K
    loss = sum_i mean_j |tau_i - 1{u_ij < 0}| huber(u_ij)
    """
    error = target[:, None, :] - quantiles[:, :, None]
    count = quantiles.shape[1]
    tau = (torch.arange(count, device=quantiles.device) + 0.5)[:, None] / count
    huber = nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none")
    return ((tau - (error < 0).float()).abs() * huber).mean(2).sum(1)


class JointActions:
    """Numbers the actions of a space of choices, all combinations in a row.

    `mask_space` is that of the observations' action masks.

    Raises:
        TypeError: some part of the actions is no choice.
        ValueError: there are too many combinations, or the masks do not fit.
    """

    LIMIT = 10_000

    def __init__(self, space: spaces.Space, mask_space: spaces.Space | None = None):
        if not VALUED.include(space):
            raise TypeError(f"no action values for {' '.join(str(space).split())}, only for {VALUED.name}")
        self.space = simplified(space)
        self.leaves = leaf_spaces(self.space)
        sizes = [size for leaf in self.leaves for size in choice_sizes(leaf) or []]
        # A number for each choice; combinations multiply, and tables of them grow long.
        limit, self.count = LARGEST_ONE_HOT if len(sizes) == 1 else self.LIMIT, math.prod(sizes)
        if self.count > limit:
            name = " ".join(str(space).split())
            raise ValueError(f"{name} has {self.count} joint actions; at most {limit} can be valued")
        self.strides = np.array([math.prod(sizes[i + 1 :]) for i in range(len(sizes))], np.int64)
        self.starts = np.concatenate([np.ravel(getattr(leaf, "start", 0)) for leaf in self.leaves]).astype(
            np.int64
        )
        # [A, D]: what each combination chooses in every dimension.
        choices = np.arange(self.count)[:, None] // self.strides % sizes + self.starts
        shapes = [leaf.shape or () for leaf in self.leaves]
        ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        parts = zip(shapes, np.split(choices, ends, axis=-1), strict=True)
        self.table = [part.reshape(self.count, *shape) for shape, part in parts]
        self.allowed = ActionMask(mask_space, space, joint=True)

    def action(self, index: np.ndarray) -> Any:
        """Actions `[B, ...]` of numbers `[B]`, dicts and tuples of arrays where the space nests."""
        return from_leaves(self.space, [part[index] for part in self.table])

    def index(self, action: Any) -> np.ndarray:
        """Numbers `[B]` of actions."""
        if isinstance(self.space, spaces.Discrete):
            return action - self.space.start
        leaves = leaf_observations(self.space, action)
        columns = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], -1)
        return (columns - self.starts) @ self.strides


def of_action(outputs: Tensor, action: Tensor) -> Tensor:
    """Rows `[..., K]` of `outputs [..., A, K]` for action numbers `[...]`."""
    index = action[..., None, None].expand(*action.shape, 1, outputs.shape[-1])
    return outputs.gather(-2, index).squeeze(-2)
