"""Fit of a world model: first the observation model, then dynamics and heads, each until the held-out loss rises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from ..networks.optimizer import FlatAdam
from ..networks.stateful import Stateful
from .datasets import EpisodeDataset
from .encoded_dataset import EncodedDataset, predict_all
from .observation_networks import PictureScaler
from .world_model import SequenceBatch, WorldModel, as_tensor

# Phase in which the observation model learns; checkpoints hold the word.
OBSERVATION_PHASE = "coder"
HELD_OUT_SEQUENCES = 2048
HELD_OUT_OBSERVATIONS = 1024


@dataclass(frozen=True)
class FitConfig:
    """Learning a world model."""

    updates: Annotated[int, Gt(0)] = 10_000
    """Optimiser steps of the dynamics, at most; and as many of the encoder."""
    batch_size: Annotated[int, Gt(0)] = 512
    """Steps in a batch, in sequences as long as the dynamics want them."""
    coder_batch_size: Annotated[int, Gt(0)] = 64
    """Observations in a batch for the encoder."""
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Adam's step size."""
    max_grad_norm: Annotated[float, Gt(0)] | None = 10.0
    """Longer gradients are scaled down to this length."""
    judge_every: Annotated[int, Gt(0)] = 200
    """Updates between two evaluations on the held-out episodes."""
    patience: Annotated[int, Ge(1)] = 8
    """Stop after this many evaluations without an improvement; the best parameters are kept."""
    untrained_dynamics: bool = False
    """Keep the initial dynamics and heads: the control against which fitted ones are compared."""


Report = Callable[[dict[str, float], int], None]


class Fit:
    """A fit in progress: `run` goes on until it is done, and can be stopped and resumed at every evaluation."""

    def __init__(self, model: WorldModel, episodes: EpisodeDataset, config: FitConfig, seed: int):
        self.model = model
        self.config = config
        self.train, self.held_out = episodes.split()
        model.observation_model.take_labels(self.train, seed)
        self.generator = np.random.default_rng([seed, 1])
        self.noise = torch.Generator(model.device).manual_seed(seed)
        self.progress = Phase(OBSERVATION_PHASE if model.observation_model.learns else "dynamics")
        self.optimizers = {
            OBSERVATION_PHASE: FlatAdam(model.observation_model, max_grad_norm=config.max_grad_norm)
            if model.observation_model.learns
            else None,
            "dynamics": FlatAdam(
                nn.ModuleList([model.dynamics, model.heads]),
                betas=model.dynamics.betas,
                max_grad_norm=config.max_grad_norm,
            ),
        }
        self._encoded: tuple[EncodedDataset, EncodedDataset] | None = None
        scaler = model.observation_model.scaler
        if not isinstance(scaler, PictureScaler):  # of pictures nothing is measured, and a copy is large
            scaler.fit(as_tensor(self.train.observations(), model.device))  # type: ignore[operator]

    @property
    def done(self) -> bool:
        """Whether both phases have ended."""
        return self.progress.phase == "done"

    def run(
        self,
        report: Report = lambda metrics, update: None,
        evaluated: Callable[[], bool] = lambda: True,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Learn; after every evaluation `report` gets the metrics, and `evaluated` returns whether to go on.

        Where `stopped` says so between two updates, those since the last evaluation are lost.
        """
        while not self.done:
            phase = self.progress.phase
            if phase == "dynamics" and self.config.untrained_dynamics:
                self._finish(phase)
                evaluated()
                return
            metrics = self._learn(phase, stopped)
            if metrics is None:
                return
            held_out = self.held_out_losses(phase)
            metrics |= {f"held_out/{name.removeprefix('loss/')}": value for name, value in held_out.items()}
            report(metrics, self.progress.total)
            self.progress.record(held_out["loss/total"], self._module(phase))
            if self.progress.stale >= self.config.patience or self.progress.update >= self.config.updates:
                self._finish(phase)
            if not evaluated():
                return

    def _module(self, phase: str) -> nn.Module:
        model = self.model
        return (
            model.observation_model
            if phase == OBSERVATION_PHASE
            else nn.ModuleList([model.dynamics, model.heads])
        )

    def _learn(self, phase: str, stopped: Callable[[], bool]) -> dict[str, float] | None:
        """Take the optimiser steps up to the next evaluation; returns the means of their metrics, None if stopped."""
        self.model.train()
        steps: list[dict[str, Tensor]] = []
        optimizer = self.optimizers[phase]
        assert optimizer is not None
        updates = min(self.config.judge_every, self.config.updates - self.progress.update)
        if phase == OBSERVATION_PHASE:
            count = self.train.num_observations
            for _ in range(updates):
                if stopped():
                    return None
                rows = self.generator.integers(count, size=self.config.coder_batch_size)
                batch = as_tensor(self.train.observations(rows), self.model.device)
                steps.append(optimizer.step(self._observation_loss, (batch,), self.config.learning_rate))
        else:
            data, _ = self._data()
            length = self.model.dynamics.sequence_length
            count = max(1, self.config.batch_size // length)
            share = self.model.heads.config.terminal_share
            for _ in range(updates):
                if stopped():
                    return None
                sequences = data.sample(self.generator, count, length, share)
                steps.append(optimizer.step(self._dynamics_loss, tuple(sequences), self.config.learning_rate))
        self.progress.update += len(steps)
        self.progress.total += len(steps)
        self.model.eval()
        return {name: float(torch.stack([step[name] for step in steps]).mean()) for name in steps[0]}

    def _observation_loss(self, obs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.model.observation_model.loss(obs, self.noise)

    def _dynamics_loss(self, *sequences: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.model.loss(SequenceBatch(*sequences), self.noise)

    @torch.no_grad()
    def held_out_losses(self, phase: str) -> dict[str, float]:
        """Losses on held-out episodes, always on the same steps with the same noise."""
        self.model.eval()
        noise = torch.Generator(self.model.device).manual_seed(0)
        if phase == OBSERVATION_PHASE:
            count = self.held_out.num_observations
            rows = np.linspace(0, count - 1, min(count, HELD_OUT_OBSERVATIONS)).astype(int)
            obs = as_tensor(self.held_out.observations(rows), self.model.device)
            loss, metrics = self.model.observation_model.loss(obs, noise)
            metrics = metrics | {"loss/total": loss}
        else:
            _, metrics = self.model.loss(self._held_out_sequences(), noise)
        return {name: float(value) for name, value in metrics.items()}

    def _held_out_sequences(self) -> SequenceBatch:
        _, data = self._data()
        length = self.model.dynamics.sequence_length
        count = min(data.num_steps, max(1, HELD_OUT_SEQUENCES // length))
        return data.sequences(np.linspace(0, data.num_steps - 1, count).astype(int), length)

    def _finish(self, phase: str) -> None:
        """End a phase with the best parameters that it had."""
        self.progress.restore(self._module(phase))
        if phase == OBSERVATION_PHASE:
            self.progress.next("dynamics")
            return
        train, held_out = self._data()
        if self.model.choices > 1:
            self._choose_members(held_out)
        known = train.end_known
        prediction = predict_all(self.model, train)
        self.model.heads.calibrate(prediction.end_logit[known], train.terminated[known])
        self.progress.next("done")

    @torch.no_grad()
    def _choose_members(self, data: EncodedDataset) -> None:
        """Choose the best members to dream, and measure their disagreement on real steps."""
        model = self.model
        sequences = data.sequences(np.arange(data.num_steps), 1)
        actions = model.actions(sequences.action[0])
        model.dynamics.choose_members(sequences.latent[0], actions, sequences.next_latent[0])
        model.typical_disagreement.fill_(1.0)
        prediction = predict_all(model, data)
        model.typical_disagreement.copy_(prediction.disagreement.quantile(0.95).clamp(min=1e-6))

    def _data(self) -> tuple[EncodedDataset, EncodedDataset]:
        """Encoded episodes, after the observation model has learned; dynamics and heads take their scales from them."""
        if self._encoded is None:
            model = self.model
            train, held_out = EncodedDataset(model, self.train), EncodedDataset(model, self.held_out)
            model.dynamics.fit_scale(train.latent[train.obs_row], train.latent[train.obs_row + 1])
            share = model.heads.config.terminal_share
            sampled = train.sampled_end_rate(model.dynamics.sequence_length, share)
            model.heads.fit_scale(train.reward, train.end_rate, sampled)
            self._encoded = train, held_out
        return self._encoded

    def parts(self) -> dict[str, Stateful | np.random.Generator | torch.Generator]:
        """Everything that a checkpoint must hold, besides the episodes."""
        optimizers = {f"optimizer.{name}": part for name, part in self.optimizers.items() if part is not None}
        return {
            "model": self.model,
            **optimizers,
            "progress": self.progress,
            "generator": self.generator,
            "noise": self.noise,
        }


class Phase:
    """State of a fit: the phase, its best held-out loss, and the parameters that had it."""

    def __init__(self, phase: str):
        self.phase = phase
        self.update = self.total = self.stale = 0
        self.best = float("inf")
        self.parameters: dict[str, Tensor] = {}

    def record(self, loss: float, module: nn.Module) -> bool:
        """Record a held-out loss; returns whether it is the best so far."""
        better = loss < self.best
        self.stale = 0 if better else self.stale + 1
        if better:
            self.best = loss
            self.parameters = {name: value.detach().clone() for name, value in module.named_parameters()}
        return better

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Load the best parameters into `module`, in place; there are none when the loss was never a number."""
        module.load_state_dict(self.parameters, strict=False)

    def next(self, phase: str) -> None:
        """Begin another phase."""
        self.phase, self.update, self.stale, self.best, self.parameters = phase, 0, 0, float("inf"), {}

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        vars(self).update(state)
