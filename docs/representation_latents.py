"""Draw features in two dimensions for docs/representation.md, from the folders of runs and world models.

python docs/representation_latents.py runs/none runs/predict --states 0 1 --out latents.png

Each folder is a column, each number of the true state a row. A point is an observation of random play, at the two
principal components of its features (of an agent its first encoder's, of a world model its latent), coloured by the
state's number. `R2` is how well a linear map from all features finds that number in steps that it was not fitted to.

python docs/representation_latents.py runs/reconstruct --reconstructions --out reconstructions.png

Of a run with `--auxiliary reconstruct` on pictures of one channel: what was seen, and below what is decoded from its
features. Of world models `palaestra world-model evaluate` draws it.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from palaestra.agents.auxiliary.reconstruct import Reconstruct
from palaestra.agents.storage.sequences import to_tensors
from palaestra.training.imagination.fits import load_world_model
from palaestra.training.imagination.probe import first_torso, true_states
from palaestra.training.imagination.world_model_config import data_spec
from palaestra.training.run.build import env_spec
from palaestra.training.run.loaded import load_run
from palaestra.world_models.model_evaluation import probe_r2

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# More points than this hide each other.
SHOWN = 600
# Pictures whose reconstructions are drawn, and the steps from one to the next.
PICTURES, BETWEEN = 8, 7


def features_and_states(folder: Path) -> tuple[Tensor, Tensor]:
    """Features `[N, D]` of observations of random play, and the states `[N, S]` behind them."""
    is_model = (folder / "world_model.yaml").exists()
    if is_model:
        fitted = load_world_model(folder)
        spec, encode = data_spec(fitted.config), fitted.model.encode
    else:
        run = load_run(folder)
        torso = first_torso(run.agent)
        if torso is None:
            raise SystemExit(f"{folder}: {run.config.agent} has no encoder of ours")
        spec, encode = env_spec(run.config), torso.encoder
    pairs = true_states(spec)
    if pairs is None:
        raise SystemExit(f"{folder}: {spec.id} says nothing of its true state; environments of ours do")
    obs, states = to_tensors(pairs, torch.device("cpu"))
    with torch.no_grad():
        features = encode(obs)
    if features.shape[1] < 2:
        raise SystemExit(f"{folder}: one feature has no two dimensions to draw")
    return features, states


def principal_components(features: Tensor) -> tuple[np.ndarray, float]:
    """Features `[N, D]` along the two directions in which they vary most, and these two's share of the variance.

    Of a direction and its opposite the one is taken in which the largest weight is positive, so that a picture does
    not depend on how the decomposition was computed.
    """
    centered = (features - features.mean(0)).double().numpy()
    _, sizes, directions = np.linalg.svd(centered, full_matrices=False)
    first = directions[:2]
    largest = np.take_along_axis(first, np.abs(first).argmax(1)[:, None], 1)
    share = float((sizes[:2] ** 2).sum() / (sizes**2).sum())
    return centered @ (first * np.sign(largest)).T, share


def draw(columns: dict[str, tuple[Tensor, Tensor]], states: list[int], names: list[str]) -> Figure:
    """A column of panels for each name of `features, states`; a row for each number of the state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(columns), 2.6 * len(states) + 0.3), layout="constrained")
    grid = figure.subplots(len(states), len(columns), squeeze=False)
    for column, (title, (features, truth)) in enumerate(columns.items()):
        points, share = principal_components(features)
        cut = int(0.7 * len(truth))
        for row, (state, name) in enumerate(zip(states, names, strict=True)):
            axes, colors = grid[row, column], truth[:, state]
            r2 = probe_r2(features[:cut], truth[:cut, [state]], features[cut:], truth[cut:, [state]])
            drawn = axes.scatter(
                *points[:SHOWN].T, c=colors[:SHOWN].numpy(), s=6, cmap="viridis", linewidths=0
            )
            axes.set(xticks=[], yticks=[], xlabel=f"R2 {r2:.2f}")
            axes.spines[["top", "right"]].set_visible(False)
            if row == 0:
                axes.set_title(f"{title}\n{share:.0%} of the variance", fontsize=10)
            if column == len(columns) - 1:
                figure.colorbar(drawn, ax=axes, label=name)
    return figure


def reconstructions(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures `[PICTURES, H, W]` of random play and what a run's decoder makes of their features, both from 0 to 1."""
    run = load_run(folder)
    torso, pairs = first_torso(run.agent), true_states(env_spec(run.config), PICTURES * BETWEEN)
    if torso is None or not isinstance(torso.auxiliary, Reconstruct) or pairs is None:
        raise SystemExit(f"{folder}: it has no decoder; train with --auxiliary reconstruct in a task of ours")
    obs = pairs[0][::BETWEEN]
    if obs.ndim not in (3, 4) or obs[0].size != obs.shape[1] * obs.shape[2]:
        raise SystemExit(f"{folder}: only pictures of one channel are drawn, not {obs.shape[1:]}")
    with torch.no_grad():
        seen = to_tensors(obs, torch.device("cpu"))
        decoded = torso.auxiliary.decoder(torso.encoder(seen)).numpy()
        real = torso.auxiliary.vector(seen).numpy()
    return real.reshape(obs.shape[:3]), decoded.reshape(obs.shape[:3])


def draw_reconstructions(real: np.ndarray, decoded: np.ndarray) -> Figure:
    """A column for each picture, the real one above."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.1 * len(real), 2.4), layout="constrained")
    for axes, picture in zip(figure.subplots(2, len(real)).flat, (*real, *decoded), strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
    figure.axes[0].set_ylabel("seen")
    figure.axes[len(real)].set_ylabel("decoded")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a small PNG, of 64 colours."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80)
    Image.open(drawn).convert("RGB").quantize(64).save(path, format="PNG", optimize=True)


def main() -> None:
    """Read the folders, draw, and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders of runs or of world models")
    parser.add_argument("--states", nargs="+", type=int, default=[0], help="which numbers of the true state")
    parser.add_argument("--names", nargs="+", help="what to call them")
    parser.add_argument("--out", type=Path, required=True, help="the PNG")
    parser.add_argument("--reconstructions", action="store_true", help="draw those of one run instead")
    options = parser.parse_args()
    if options.reconstructions:
        if len(options.folders) > 1:
            parser.error("--reconstructions: of one run at a time")
        save(draw_reconstructions(*reconstructions(options.folders[0])), options.out)
        return
    names = options.names or [f"state {state}" for state in options.states]
    if len(names) != len(options.states):
        parser.error(f"--names: {len(options.states)} states need as many names, got {len(names)}")
    columns = {folder.name: features_and_states(folder) for folder in options.folders}
    size = min(truth.shape[1] for _, truth in columns.values())
    if not all(0 <= state < size for state in options.states):
        parser.error(f"--states: the state has the numbers 0 to {size - 1}, got {options.states}")
    save(draw(columns, options.states, names), options.out)


if __name__ == "__main__":
    main()
