"""Evaluation of a world model on held-out episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .datasets import EpisodeDataset
from .encoded_dataset import ENCODE_ROWS, EncodedDataset, burn_in, encode_dataset, predict_all
from .losses import active_units
from .observation_networks import PictureScaler
from .scales import is_constant
from .world_model import Sampling, WorldModel, as_tensor

HORIZONS = (1, 2, 5, 10, 20, 50)
MAX_ROLLOUTS = 2048
# Draws of every step, and the central shares of them whose coverage is measured.
DRAWS, SHARES = 64, (0.5, 0.9)


@torch.no_grad()
def evaluation_report(model: WorldModel, train: EpisodeDataset, held_out: EpisodeDataset) -> dict[str, Any]:
    """Evaluate a model on held-out episodes; `train` fits the linear probe only.

    `skill` is by horizon k: `1 - MSE / MSE(persistence)` of the scaled observation k steps ahead; 1 is perfect, 0 no
    better than predicting no change, None where no held-out episode is that long. The rest is about single steps:
    `reward_r2`; recall and precision of a predicted end (probability above one half), None where no end happened or
    was predicted; its Brier score; `probe_r2`, R2 of the observed vector by a linear map from the latent;
    and of an observation model that labels frames, `label_f1`.
    """
    data = EncodedDataset(model, held_out)
    report: dict[str, Any] = {
        "steps": held_out.num_steps,
        "episodes": len(held_out),
        "skill": open_loop_skill(model, data, held_out),
    }
    report |= single_steps(model, data)
    report["coverage"] = coverage(model, data)
    report |= model.observation_model.label_report(held_out)
    latent = EncodedDataset(model, train).latent
    report["latent_size"] = latent.shape[1]
    report["active_units"] = active_units(latent)
    if not isinstance(model.observation_model.scaler, PictureScaler):
        truth, held_out_truth = _scaled(model, train.observations()), _scaled(model, held_out.observations())
        report["probe_r2"] = probe_r2(latent, truth, data.latent, held_out_truth)
    return report


def _scaled(model: WorldModel, obs: np.ndarray) -> Tensor:
    """Observations `[N, ...]` scaled and flat, `[N, D]`."""
    return model.observation_model.scaler(as_tensor(obs, model.device)).flatten(1)


def open_loop_skill(
    model: WorldModel, data: EncodedDataset, episodes: EpisodeDataset
) -> dict[str, float | None]:
    """Skill by horizon of rollouts with the recorded actions, against the real observations and persistence."""
    start = np.linspace(0, data.num_steps - 1, min(data.num_steps, MAX_ROLLOUTS)).astype(int)
    end = data.end[start]
    obs_row = data.obs_row.cpu().numpy()
    skill: dict[str, float | None] = {}
    latent = data.latent[torch.as_tensor(obs_row[start], device=model.device)]
    state = burn_in(model, data, start)
    before = _scaled(model, episodes.observations(obs_row[start]))
    for k in range(1, HORIZONS[-1] + 1):
        step = np.minimum(start + k - 1, end)
        action = data.action[torch.as_tensor(step, device=model.device)]
        prediction = model.step(latent, action, state, Sampling())
        latent, state = prediction.latent, prediction.state
        within = start + k - 1 <= end
        if not within.any():
            skill |= {str(rest): None for rest in HORIZONS if rest >= k}
            break
        if k in HORIZONS:
            after = _scaled(model, episodes.observations(obs_row[step] + 1))
            predicted = model.observation_model.scaler(model.decode(latent)).flatten(1)
            rows = torch.as_tensor(within, device=model.device)
            error, change = ((x - after)[rows].square().mean().item() for x in (predicted, before))
            skill[str(k)] = 1 - error / change if change > 0 else None
    return skill


@torch.no_grad()
def open_loop_example(
    model: WorldModel, episodes: EpisodeDataset, steps: int = 50
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The longest episode's beginning, `[T, ...]` three times: real, encoded and decoded, and predicted.

    The prediction is rolled out from the first observation with the recorded actions.
    """
    episode = max(episodes.episodes, key=lambda episode: episode.length)
    truth = episode.obs[: steps + 1]
    latents = model.encode(as_tensor(truth, model.device))
    rollout, state = [latents[:1]], model.initial_state(1)
    for t in range(len(truth) - 1):
        action = as_tensor(episode.action[t : t + 1], model.device)
        prediction = model.step(rollout[-1], action, state, Sampling())
        rollout.append(prediction.latent)
        state = prediction.state
    decoded, predicted = (model.decode(x).cpu().numpy() for x in (latents, torch.cat(rollout)))
    return truth, decoded, predicted


def single_steps(model: WorldModel, data: EncodedDataset) -> dict[str, Any]:
    """Reward and end of single steps, from the predicted successor, not the true one."""
    prediction, known = predict_all(model, data), data.end_known
    ended, probability = data.terminated[known], prediction.end_logit.sigmoid()[known]
    predicted = probability > 0.5
    hits = int((predicted & ended).sum())
    return {
        "reward_r2": r2(prediction.reward.unsqueeze(-1), data.reward.unsqueeze(-1)),
        "terminal_recall": hits / int(ended.sum()) if ended.any() else None,
        "terminal_precision": hits / int(predicted.sum()) if predicted.any() else None,
        "terminal_brier": float((probability - ended.float()).square().mean()) if known.any() else None,
        "terminals": int(ended.sum()),
    }


@torch.no_grad()
def probe_states(
    model: WorldModel, obs: np.ndarray, states: np.ndarray, noise: float = 0.0, seed: int = 0
) -> list[float]:
    """R2 of each number of true states `[N, S]`, by a linear map from the latents of observations `[N, ...]`.

    The map is fitted to the first 70 % of the steps and evaluated on the others. Noise of deviation `noise` (of scaled
    observations) is added to the observations before they are encoded, in both parts.
    """
    generator, latents = torch.Generator().manual_seed(seed), []
    unit: Tensor | float = model.observation_model.scaler.unit  # type: ignore[assignment]
    for part in np.array_split(obs, max(1, len(obs) // ENCODE_ROWS)):
        x = as_tensor(part, torch.device("cpu")).float()
        drawn = noise * torch.randn(x.shape, generator=generator)
        latents.append(model.encode(x.to(model.device) + drawn.to(model.device) * unit))
    latent, truth = torch.cat(latents), as_tensor(states, model.device)
    cut = int(0.7 * len(truth))
    predicted = linear_map(latent[:cut], truth[:cut], latent[cut:])
    return [r2(predicted[:, [i]], truth[cut:, [i]]) for i in range(truth.shape[1])]


@torch.no_grad()
def coverage(model: WorldModel, data: EncodedDataset, seed: int = 0) -> dict[str, float]:
    """How often the next latent lies within the central 50 % and 90 % of what the model draws, mean over dimensions.

    More often is underconfident, less often overconfident. Numbers that are drawn exactly, such as constants, count as
    ranks that lie anywhere among their equals (Smith 1985), and so as calibrated.
    """
    start = np.linspace(0, data.num_steps - 1, min(data.num_steps, MAX_ROLLOUTS)).astype(int)
    row = torch.as_tensor(start, device=model.device)
    latent, action, state = data.latent[data.obs_row[row]], data.action[row], burn_in(model, data, start)
    truth = data.latent[data.obs_row[row] + 1]
    sampling = Sampling(torch.Generator(model.device).manual_seed(seed), disagreement=False)
    below, equal = torch.zeros_like(truth), torch.zeros_like(truth)
    for _ in range(DRAWS):
        drawn = model.step(latent, action, state, sampling).latent
        below += drawn < truth
        equal += drawn == truth
    # The truth's rank among the draws, 0 to 1, lies between these.
    low, high = below / (DRAWS + 1), (below + equal + 1) / (DRAWS + 1)
    result = {}
    for share in SHARES:
        within = high.clamp(max=0.5 + share / 2) - low.clamp(min=0.5 - share / 2)
        result[str(share)] = float((within.clamp(min=0) / (high - low)).double().mean())
    return result


@torch.no_grad()
def drawn_successors(
    model: WorldModel, episodes: EpisodeDataset, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Observations `[N, ...]`, actions, true successors, and successors as the model draws them, decoded."""
    data = EncodedDataset(model, episodes)
    start = np.linspace(0, data.num_steps - 1, min(data.num_steps, MAX_ROLLOUTS)).astype(int)
    row = torch.as_tensor(start, device=model.device)
    sampling = Sampling(torch.Generator(model.device).manual_seed(seed), disagreement=False)
    latent, action = data.latent[data.obs_row[row]], data.action[row]
    drawn = model.step(latent, action, burn_in(model, data, start), sampling).latent
    rows = data.obs_row[row].cpu().numpy()
    obs = episodes.observations()
    return obs[rows], action.cpu().numpy(), obs[rows + 1], model.decode(drawn).cpu().numpy()


@torch.no_grad()
def traversals(model: WorldModel, episodes: EpisodeDataset, count: int = 8, steps: int = 7) -> np.ndarray:
    """Observations decoded while one latent dimension at a time goes from -2 to 2 deviations around the mean latent.

    Returns:
        `[D, steps, ...]` for the `count` dimensions that vary most.
    """
    latent = encode_dataset(model, episodes)
    mean, deviation = latent.mean(0), latent.std(0)
    chosen = deviation.argsort(descending=True)[:count].tolist()
    moved = mean.repeat(len(chosen), steps, 1)
    for row, dimension in enumerate(chosen):
        moved[row, :, dimension] += deviation[dimension] * torch.linspace(-2, 2, steps, device=model.device)
    decoded = model.decode(moved.flatten(0, 1)).cpu().numpy()
    return decoded.reshape(len(chosen), steps, *decoded.shape[1:])


def r2(predicted: Tensor, truth: Tensor) -> float:
    """Explained share of the variance, `[N, D]`, mean over dimensions; of a constant, 1 if it is right to 0.1 %."""
    predicted, truth = predicted.double(), truth.double()
    error = (predicted - truth).square().mean(0)
    deviation, magnitude = truth.std(0, correction=0), truth.abs().amax(0)
    constant = is_constant(deviation, magnitude)
    right = error.sqrt() <= 1e-3 * torch.where(magnitude > 0, magnitude, torch.ones_like(magnitude))
    variance = torch.where(constant, torch.ones_like(deviation), deviation).square()
    shares = torch.where(constant, right.double(), 1 - error / variance)
    return float(shares.mean())


def probe_r2(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> float:
    """R2 on test rows of the linear map that fits the train rows best."""
    return r2(linear_map(train_x, train_y, test_x), test_y)


def linear_map(train_x: Tensor, train_y: Tensor, x: Tensor, ridge: float = 1e-4) -> Tensor:
    """Predictions for rows `x [N, D]` of the ridge regression on the train rows."""

    def augmented(x: Tensor) -> Tensor:
        return torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64, device=x.device)], -1)

    rows = augmented(train_x)
    gram = rows.T @ rows + ridge * torch.eye(rows.shape[1], dtype=torch.float64, device=x.device)
    weights = torch.linalg.solve(gram, rows.T @ train_y.double())
    return augmented(x) @ weights
