"""Labels of frames, a few of which are drawn to be known, and how well others are told by them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .datasets import EpisodeDataset
from .encoded_dataset import encode_dataset
from .scales import divisor
from .world_model import WorldModel

Label = Literal["termination", "reward"]
CLASSES: dict[Label, int] = {"termination": 2, "reward": 3}
"""Terminated or not; negative, zero, positive. The last class is the positive one."""
UNKNOWN = -1
# Of the generator that draws the labelled frames, beside the seed.
LABEL_STREAM = 2


def label_generator(seed: int) -> np.random.Generator:
    """The generator that draws the labelled frames: whatever is fitted, the same frames for the same seed and data."""
    return np.random.default_rng([seed, LABEL_STREAM])


def frame_labels(episodes: EpisodeDataset, label: Label) -> np.ndarray:
    """Class of every observation row `[N]`, int64; `UNKNOWN` where there is none.

    `termination`: 1 where the episode terminated at this observation, 0 elsewhere, unknown at a cut. `reward`: sign
    of the reward of the step that led there, plus 1; unknown at first observations.
    """
    classes = []
    for episode in episodes.episodes:
        if label == "reward":
            classes.append(np.concatenate([[UNKNOWN], np.sign(episode.reward) + 1]))
        else:
            classes.append(np.array([0] * episode.length + [1 if episode.terminated else UNKNOWN]))
    return np.concatenate(classes).astype(np.int64)


def draw_labelled(
    episodes: EpisodeDataset, label: Label, fraction: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the rows that are labelled, `[M]`, rising, and their classes `[M]`: a share of those whose class is known.

    Raises:
        ValueError: none of them is positive, or all are, so that nothing can be told apart.
    """
    classes = frame_labels(episodes, label)
    known = np.flatnonzero(classes != UNKNOWN)
    count = min(len(known), max(1, round(fraction * len(known))))
    rows = np.sort(generator.choice(known, size=count, replace=False))
    positive = classes[rows] == CLASSES[label] - 1
    if not positive.any() or positive.all():
        total = int((classes[known] == CLASSES[label] - 1).sum())
        raise ValueError(
            f"label {label}: {'all' if positive.any() else 'none'} of the {count:,} labelled frames "
            f"{'are' if positive.any() else 'is'} positive ({total:,} of all {len(known):,} are); "
            "give a larger label fraction, more steps or another label"
        )
    return rows, classes[rows]


def label_scores(predicted: Tensor, truth: Tensor) -> dict[str, float | None]:
    """F1, precision and recall of boolean predictions `[N]`; None where there is nothing to divide by.

    `F1 = 2 hits / (predicted + true)`, the harmonic mean of precision and recall.
    """
    hits, claimed, real = (int(x.sum()) for x in (predicted & truth, predicted, truth))
    return {
        "f1": 2 * hits / (claimed + real) if real else None,
        "precision": hits / claimed if claimed else None,
        "recall": hits / real if real else None,
    }


@torch.no_grad()
def probe_labels(
    model: WorldModel,
    train: EpisodeDataset,
    held_out: EpisodeDataset,
    label: Label,
    fraction: float,
    seed: int,
) -> dict[str, Any]:
    """How well a linear map from a model's latents tells the positive class: the control of a semi-supervised model.

    It is fitted to the labelled frames alone, those that a semi-supervised model of this seed and data was given.
    """
    rows, classes = draw_labelled(train, label, fraction, label_generator(seed))
    latent = encode_dataset(model, train)[torch.as_tensor(rows, device=model.device)]
    positive = torch.as_tensor(classes == CLASSES[label] - 1, device=model.device)
    odds = logistic_map(latent, positive, encode_dataset(model, held_out))
    scores = held_out_scores(odds > 0, held_out, label)
    return {f"label_probe_{name}": value for name, value in scores.items()}


def held_out_scores(predicted: Tensor, held_out: EpisodeDataset, label: Label) -> dict[str, float | None]:
    """`label_scores` of predictions for all observation rows `[N]`, of those whose class is known."""
    classes = torch.as_tensor(frame_labels(held_out, label), device=predicted.device)
    known = classes != UNKNOWN
    return label_scores(predicted[known], classes[known] == CLASSES[label] - 1)


def logistic_map(train_x: Tensor, train_y: Tensor, x: Tensor, ridge: float = 1.0) -> Tensor:
    """Log odds `[N]` for rows `x [N, D]` of the logistic regression on the train rows, by Newton's method.

    In units of the train rows' deviation; `ridge / 2` times the squared weights is added to the summed
    cross-entropy, the intercept is free (scikit-learn's defaults).
    """
    rows = train_x.double()
    center, unit = rows.mean(0), divisor(rows.std(0, correction=0), rows.abs().amax(0))

    def augmented(x: Tensor) -> Tensor:
        scaled = (x.double() - center) / unit
        return torch.cat([scaled, torch.ones_like(scaled[:, :1])], -1)

    rows, truth = augmented(train_x), train_y.double()
    penalty = torch.full_like(rows[0], ridge)
    penalty[-1] = 1e-6  # enough for the matrix to be solved
    weights = torch.zeros_like(rows[0])
    for _ in range(50):
        share = (rows @ weights).sigmoid()
        gradient = rows.T @ (share - truth) + penalty * weights
        curvature = (rows * (share * (1 - share)).unsqueeze(-1)).T @ rows + penalty.diag()
        step = torch.linalg.solve(curvature, gradient)
        # Shorter than Newton's where that is long: from zero it can leap past where the sigmoid is flat.
        weights = weights - step / (step.norm() / 5).clamp(min=1)
    return augmented(x) @ weights
