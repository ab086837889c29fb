"""Encoded episodes on the model's device, sequences of them, and predictions of all their steps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .datasets import EpisodeDataset
from .world_model import Prediction, Sampling, SequenceBatch, WorldModel, as_tensor

# Rows that go through a model at once, where there may be very many.
ENCODE_ROWS = 512
PREDICT_ROWS = 4096
BURN_IN = 16


class EncodedDataset:
    """All steps of some episodes one after the other, `[N, ...]`, each observation encoded once.

    Step `n` starts at row `obs_row[n]` of `latent`; its successor is the row after.
    """

    def __init__(self, model: WorldModel, episodes: EpisodeDataset):
        if not len(episodes):
            raise ValueError("there are no episodes to learn from")
        self.device = model.device
        self.latent = encode_dataset(model, episodes)
        lengths = np.array([e.length for e in episodes.episodes])
        ended = np.array([e.terminated for e in episodes.episodes])
        self.num_steps = int(lengths.sum())
        last = np.cumsum(lengths) - 1
        index = np.repeat(np.arange(len(lengths)), lengths)
        # First and last step of the episode that each step belongs to.
        self.begin, self.end = (last - lengths + 1)[index], last[index]
        # First steps of real episodes, not of pieces that go on with one that had been cut off.
        self.openings = (last - lengths + 1)[np.array([e.opens for e in episodes.episodes])]
        self.obs_row = torch.as_tensor(np.arange(self.num_steps) + index, device=self.device)
        self.action = as_tensor(np.concatenate([e.action for e in episodes.episodes]), self.device)
        self.reward = as_tensor(np.concatenate([e.reward for e in episodes.episodes]), self.device)
        terminated, known = np.zeros(self.num_steps, bool), np.ones(self.num_steps, bool)
        terminated[last], known[last] = ended, ended
        self.terminated = torch.as_tensor(terminated, device=self.device)
        self.end_known = torch.as_tensor(known, device=self.device)
        self.terminal_steps = last[ended]

    @property
    def end_rate(self) -> float:
        """Share of the steps that terminate."""
        return len(self.terminal_steps) / self.num_steps

    def sampled_end_rate(self, length: int, terminal_share: float) -> float:
        """Expected share of the steps of `sample`'s sequences that terminate, without what pads them."""
        if not len(self.terminal_steps):
            return 0.0
        chosen = self.terminal_steps[:, None] - np.arange(length)
        chosen = np.maximum(chosen, self.begin[self.terminal_steps][:, None]).ravel()
        ends = counted = 0.0
        for start, share in ((chosen, terminal_share), (np.arange(self.num_steps), 1 - terminal_share)):
            left = self.end[start] - start + 1
            terminates = np.isin(self.end[start], self.terminal_steps)
            ends += share * float((terminates & (left <= length)).mean())
            counted += share * float(np.minimum(left, length).mean())
        return ends / counted

    def sequences(self, start: np.ndarray, length: int) -> SequenceBatch:
        """Sequences `[length, B]` that begin at the steps `start [B]`, padded past the end of an episode."""
        rows = start + np.arange(length)[:, None]
        mask = rows <= self.end[start]
        step = torch.as_tensor(np.minimum(rows, self.end[start]), device=self.device)
        obs_row = self.obs_row[step]
        return SequenceBatch(
            latent=self.latent[obs_row],
            action=self.action[step],
            reward=self.reward[step],
            next_latent=self.latent[obs_row + 1],
            terminated=self.terminated[step],
            end_known=self.end_known[step],
            mask=torch.as_tensor(mask, device=self.device),
        )

    def sample(
        self, generator: np.random.Generator, batch_size: int, length: int, terminal_share: float
    ) -> SequenceBatch:
        """Draw sequences: begun at any step, but a share of them such that they hold a termination."""
        start = generator.integers(self.num_steps, size=batch_size)
        count = round(batch_size * terminal_share) if len(self.terminal_steps) else 0
        if count:
            ends = generator.choice(self.terminal_steps, size=count)
            back = generator.integers(length, size=count)
            start[:count] = np.maximum(ends - back, self.begin[ends])
            # Parts of a batch may be dealt out in order.
            generator.shuffle(start)
        return self.sequences(start, length)


@torch.no_grad()
def encode_all(model: WorldModel, obs: np.ndarray) -> Tensor:
    """Latents `[N, Z]` of observations `[N, ...]`, a part at a time."""
    parts = [obs[start : start + ENCODE_ROWS] for start in range(0, len(obs), ENCODE_ROWS)]
    return torch.cat([model.encode(as_tensor(part, model.device)) for part in parts])


@torch.no_grad()
def encode_dataset(model: WorldModel, episodes: EpisodeDataset) -> Tensor:
    """Latents `[N, Z]` of all observation rows; only a part of the observations is ever copied."""
    starts = range(0, episodes.num_observations, ENCODE_ROWS)
    ends = [*starts[1:], episodes.num_observations]
    parts = (episodes.observations(np.arange(start, end)) for start, end in zip(starts, ends, strict=True))
    return torch.cat([model.encode(as_tensor(part, model.device)) for part in parts])


@torch.no_grad()
def burn_in(model: WorldModel, data: EncodedDataset, start: np.ndarray, steps: int = BURN_IN) -> Tensor:
    """Memory `[N, S]` of a model after the real steps before `start [N]`, at most `steps` of them."""
    state = model.initial_state(len(start))
    if not model.dynamics.state_size:
        return state
    for back in range(steps, 0, -1):
        before = start - back
        known = torch.as_tensor(before >= data.begin[start], device=model.device)
        row = torch.as_tensor(np.maximum(before, 0), device=model.device)
        vector = model.actions(data.action[row])
        after = model.dynamics.observe(data.latent[data.obs_row[row]], vector, state)
        state = torch.where(known.unsqueeze(-1), after, state)
    return state


@torch.no_grad()
def predict_all(model: WorldModel, data: EncodedDataset) -> Prediction:
    """Expected outcome of every real step `[N]`, the memory burnt in by the steps before; its `state` is left empty.

    A part of the steps at a time: activations and memories of all would take gigabytes.
    """
    parts = []
    for start in range(0, data.num_steps, PREDICT_ROWS):
        steps = slice(start, min(start + PREDICT_ROWS, data.num_steps))
        state = burn_in(model, data, np.arange(steps.start, steps.stop))
        prediction = model.step(data.latent[data.obs_row[steps]], data.action[steps], state, Sampling())
        parts.append(prediction._replace(state=prediction.state[:, :0]))
    return Prediction(*(torch.cat(field) for field in zip(*parts, strict=True)))
