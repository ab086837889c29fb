"""Semi-supervised variational autoencoder (M2 of Kingma et al. 2014, arXiv:1406.5298): a few frames have labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from ..networks.layers import mlp
from .datasets import EpisodeDataset
from .labels import CLASSES, Label, draw_labelled, held_out_scores, label_generator
from .losses import gaussian_kl, gaussian_nll, marginal_bound
from .observation_networks import (
    ObservationNetworksConfig,
    build_networks,
    denoising_input,
    observation_scaler,
)
from .world_model import ObservationModel, as_tensor

# Width between the observation and the posterior of z, where the label comes in.
FEATURES = 128
REPORT_ROWS = 512


@dataclass(frozen=True)
class SemiSupervisedVAEConfig(ObservationNetworksConfig):
    """Semi-supervised variational autoencoder."""

    label: Label = "termination"
    """What a frame's label says: the episode terminated there, or the sign of the reward that led there."""
    fraction: Annotated[float, Interval(gt=0, le=1)] = 0.01
    """Share of the frames whose label is known, drawn at random."""
    alpha: Annotated[float, Ge(0)] = 10.0
    """Weight of the classifier's cross-entropy on labelled frames, beside the bound of one frame. The paper has 0.1,
    for balanced classes; with that, rare labels were forgotten."""
    warm_up: Annotated[int, Ge(0)] = 200
    """Updates in which the classifier learns from labels alone: its classes should be those of the labels before
    they are what explains the observations."""
    observation_std: Annotated[float, Gt(0)] = 0.1
    """Deviation of what is decoded: of numbers from 0 to 1 in pictures, of scaled numbers in vectors."""
    supervised_only: bool = False
    """Control: the classifier learns from the labelled frames alone; everything else is as it was."""


class SemiSupervisedVAE(ObservationModel):
    """Classifier `q(y|x)`, encoder `q(z|x,y)`, decoder `p(x|y,z)`; `p(y)` is how often labelled frames have the class.

    The paper's objective (equations 6 to 9) divided by the number of frames. A latent is `z` and the probability of
    every class but the first, so that dynamics and heads know of the label.
    """

    Config = SemiSupervisedVAEConfig
    labelled_rows: Tensor
    """Rows `[M]`, among the observations that were learned from, whose label is known."""
    labels: Tensor
    """Their classes `[M]`."""
    updates: Tensor
    """Updates so far, up to the end of the warm-up."""

    def __init__(self, space: spaces.Space, config: SemiSupervisedVAEConfig):
        super().__init__()
        self.config = config
        self.classes = CLASSES[config.label]
        self.latent_size = config.latent_size + self.classes - 1
        self.scaler = observation_scaler(space)
        self.classifier, _ = build_networks(self.scaler, config, self.classes)
        with_label = replace(config, latent_size=config.latent_size + self.classes)
        self.encoder, self.decoder = build_networks(self.scaler, with_label, FEATURES)
        self.posterior_network = nn.Sequential(
            nn.SiLU(),
            *mlp((FEATURES + self.classes, FEATURES), "silu"),
            nn.Linear(FEATURES, 2 * config.latent_size),
        )
        for name in ("labelled_rows", "labels"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.long))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self._episodes: EpisodeDataset | None = None

    def take_labels(self, episodes: EpisodeDataset, seed: int) -> None:
        """Draw the labelled frames.

        Raises:
            ValueError: none of them is positive, or all are.
        """
        config = self.config
        rows, labels = draw_labelled(episodes, config.label, config.fraction, label_generator(seed))
        self.labelled_rows, self.labels = (
            as_tensor(x, self.labels.device) for x in (rows.astype(np.int64), labels)
        )
        self._episodes = episodes

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for as many labelled frames as there are."""
        for name in ("labelled_rows", "labels"):
            if (saved := state_dict.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_zeros(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def log_prior(self) -> Tensor:
        """`log p(y)`, `[K]`: how often labelled frames have each class, one more of each counted (Laplace)."""
        count = one_hot(self.labels, self.classes).sum(0) + 1.0
        return (count / count.sum()).log()

    def posterior(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance `[N, Z]` of `z`, for an encoder's features `[N, F]` and shares of classes `[N, K]`."""
        mean, log_variance = self.posterior_network(torch.cat([features, y], -1)).chunk(2, -1)
        return mean, log_variance.clamp(-20, 10)

    def class_shares(self, obs: Tensor) -> Tensor:
        """`q(y|x)` of observations `[N, ...]`, `[N, K]`."""
        return self.classifier(self.scaler(obs)).softmax(-1)

    def encode(self, obs: Tensor) -> Tensor:
        """Mean of `z` for the classes' probabilities, and those but the first, `[N, Z + K - 1]`."""
        shares = self.class_shares(obs)
        mean, _ = self.posterior(self.encoder(self.scaler(obs)), shares)
        return torch.cat([mean, shares[:, 1:]], -1)

    def decode(self, latent: Tensor) -> Tensor:
        """Observations, of latents as dynamics may predict them: what is no probability is made one."""
        z, others = latent.split([self.config.latent_size, self.classes - 1], -1)
        others = others.clamp(0, 1)
        others = others / others.sum(-1, keepdim=True).clamp(min=1)
        shares = torch.cat([1 - others.sum(-1, keepdim=True), others], -1)
        return self.scaler.inverse(self.decoder(torch.cat([z, shares], -1)))  # type: ignore[operator]

    def bound(self, x: Tensor, features: Tensor, label: Tensor, generator: torch.Generator) -> Tensor:
        """Negative bound of scaled observations with their labels, `[N]` in nats (equation 6), by one draw of `z`.

        `-log p(x|y,z) - log p(y) + KL(q(z|x,y) || N(0, 1))`.
        """
        y = one_hot(label, self.classes).float()
        mean, log_variance = self.posterior(features, y)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        decoded = self.decoder(torch.cat([mean + noise * (0.5 * log_variance).exp(), y], -1))
        flat = x.flatten(1)
        log_variance_of_x = flat.new_full((), 2 * math.log(self.config.observation_std)).expand_as(flat)
        reconstruction = gaussian_nll(flat, decoded.flatten(1), log_variance_of_x)
        return reconstruction - self.log_prior()[label] + gaussian_kl(mean, log_variance).sum(-1)

    def unlabelled_bound(self, x: Tensor, seen: Tensor, generator: torch.Generator) -> Tensor:
        """Negative bound of scaled observations alone, `[N]` in nats (equation 7): every class is tried.

        `seen` is what is encoded, `x` what is to be decoded.
        """
        repeated, features = (each.repeat_interleave(self.classes, 0) for each in (x, self.encoder(seen)))
        every = torch.arange(self.classes, device=x.device).repeat(len(x))
        bounds = self.bound(repeated, features, every, generator).unflatten(0, (-1, self.classes))
        log_shares = self.classifier(seen).log_softmax(-1)
        from_labels_alone = self.config.supervised_only or bool(self.updates < self.config.warm_up)
        return marginal_bound(bounds, log_shares.detach() if from_labels_alone else log_shares)

    def loss(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation 9 for one frame: bounds without and with labels in the shares of such frames, and the classifier's.

        Labelled frames were drawn at random, so that any `obs` stand for those without labels. As many labelled ones
        are drawn from those of the fit, also where held-out `obs` are judged: their labels stay unknown.
        """
        x = self.scaler(obs)
        unlabelled = self.unlabelled_bound(x, denoising_input(x, self.config, generator), generator).mean()
        if self._episodes is None:
            return unlabelled, {"loss/unlabelled": unlabelled}
        frames, label = self._draw(len(obs), generator)
        x = self.scaler(frames)
        seen = denoising_input(x, self.config, generator)
        labelled = self.bound(x, self.encoder(seen), label, generator).mean()
        classification = cross_entropy(self.classifier(seen), label)
        fraction, alpha = self.config.fraction, self.config.alpha
        if self.training:
            self.updates += self.updates < self.config.warm_up
        loss = (1 - fraction) * unlabelled + fraction * labelled + alpha * classification
        return loss, {
            "loss/unlabelled": unlabelled,
            "loss/labelled": labelled,
            "loss/classification": classification,
        }

    def _draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Labelled frames and their classes, `count` times one of all."""
        assert self._episodes is not None
        device = self.labels.device
        chosen = torch.randint(len(self.labels), (count,), generator=generator, device=device)
        rows = self.labelled_rows[chosen].cpu().numpy()
        return as_tensor(self._episodes.observations(rows), device), self.labels[chosen]

    @torch.no_grad()
    def label_report(self, held_out: EpisodeDataset) -> dict[str, Any]:
        """How well the classifier finds the positive class among held-out frames."""
        device, positive = self.labels.device, self.classes - 1
        parts = np.array_split(
            np.arange(held_out.num_observations), -(-held_out.num_observations // REPORT_ROWS)
        )
        shares = [self.class_shares(as_tensor(held_out.observations(part), device)) for part in parts]
        scores = held_out_scores(torch.cat(shares).argmax(-1) == positive, held_out, self.config.label)
        return {
            "label": self.config.label,
            "labelled": len(self.labels),
            "labelled_positive": int((self.labels == positive).sum()),
            **{f"label_{name}": value for name, value in scores.items()},
        }
