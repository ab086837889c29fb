"""Is the dreamed successor reachable from its predecessor? A siamese network judges that has seen real steps only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from ...agents.agent import named_generator
from ...networks.optimizer import FlatAdam
from ...networks.pictures import is_picture
from ...world_models.datasets import EpisodeDataset
from ...world_models.encoded_dataset import EncodedDataset, predict_all
from ...world_models.model_evaluation import MAX_ROLLOUTS
from ...world_models.world_model import WorldModel
from ..rewards.pairs import draw_pairs
from ..rewards.reachability_network import ReachabilityNetwork, area_under_curve
from ..rewards.reward import seeded

# A successor is one step away. What is more than FAR steps later, or in another episode, is none.
NEAR, FAR = 1, 10
UPDATES, HIDDEN, SIZE, LEARNING_RATE = 400, (64, 64), 32, 1e-3
# Pairs of a minibatch; of pictures fewer.
BATCH, PICTURES = 256, 32


def dream_reachability(
    model: WorldModel, train: EpisodeDataset, held_out: EpisodeDataset, seed: int = 0
) -> dict[str, Any]:
    """Tell dreamed successors of held-out steps from the same ones shuffled; nothing for observations of other spaces.

    Returns:
        `reachability_auc`: probability that a dreamed successor looks more reachable from its predecessor than one that
        was dreamed elsewhere; `reachability_auc_real`: the same of the real successors, which is what a perfect model
        gets; `dream_reachable`: share of the dreamed successors that look reachable rather than not. None where there
        are too few episodes.
    """
    if not isinstance(model.observation_space, spaces.Box):
        return {}
    judge = fit_judge(model, train, seed)
    if judge is None:
        return {"reachability_auc": None, "reachability_auc_real": None, "dream_reachable": None}
    data = EncodedDataset(model, held_out)
    step = np.linspace(0, data.num_steps - 1, min(data.num_steps, MAX_ROLLOUTS)).astype(int)
    row = data.obs_row.cpu().numpy()[step]
    here, real = (torch.from_numpy(held_out.observations(rows)).to(model.device) for rows in (row, row + 1))
    chosen = torch.from_numpy(step).to(model.device)
    with torch.no_grad():
        dreamed = model.decode(predict_all(model, data).latent[chosen])
    elsewhere = torch.from_numpy(named_generator(seed, "shuffled").permutation(len(step))).to(model.device)
    near, far, real_near, real_far = (
        logits(judge, here, later) for later in (dreamed, dreamed[elsewhere], real, real[elsewhere])
    )
    return {
        "reachability_auc": area_under_curve(near, far),
        "reachability_auc_real": area_under_curve(real_near, real_far),
        "dream_reachable": float((near > 0).mean()),
    }


def fit_judge(model: WorldModel, train: EpisodeDataset, seed: int) -> ReachabilityNetwork | None:
    """Fit a reachability network to real steps; None where they are too few."""
    space = model.observation_space
    with seeded(seed, "reachability"):
        judge = ReachabilityNetwork(space, HIDDEN, SIZE).to(model.device)
    optimizer, generator = FlatAdam(judge), named_generator(seed, "reachability")
    piece = np.repeat(np.arange(len(train)), [episode.length + 1 for episode in train.episodes])[:, None]
    for update in range(UPDATES):
        count = PICTURES if is_picture(space) else BATCH
        pairs = draw_pairs(piece, count, NEAR, FAR, generator, within=0.0)
        if pairs is None:
            return None
        earlier, later = (
            torch.from_numpy(train.observations(rows)).to(model.device)
            for rows in (pairs.earlier[0], pairs.later[0])
        )
        if update % 10 == 0:
            judge.inputs.update(earlier)
        batch = (earlier, later, torch.from_numpy(pairs.reachable).to(model.device))
        optimizer.step(judge.loss, batch, LEARNING_RATE)
    return judge


@torch.no_grad()
def logits(judge: ReachabilityNetwork, earlier: Tensor, later: Tensor) -> np.ndarray:
    """Logits `[N]` of pairs of observations `[N, ...]`, a part at a time."""
    parts = zip(earlier.split(BATCH), later.split(BATCH), strict=True)
    return torch.cat([judge(*each) for each in parts]).cpu().numpy()
