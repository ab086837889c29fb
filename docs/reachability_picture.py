"""Draw docs/pictures/reachability.png: `python docs/reachability_picture.py [PICTURE]`, half a minute on one core.

A siamese network watches eight random walkers in a maze. It is told the name of each place, and neither where the
places are nor where the walls. Then it says of three places how near they are to all others.
"""

import sys
from collections import deque
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from gymnasium import spaces

from palaestra.agents.agent import Transition
from palaestra.training.rewards.reachability import Reachability, ReachabilityConfig
from palaestra.training.rewards.reachability_network import area_under_curve
from palaestra.training.rewards.reward import Setting

MAZE = """
#################
#       #       #
# ##### # ##### #
# #   # # #   # #
# # # # # # # # #
# # #   #   # # #
# # ######### # #
# #           # #
# ####### ##### #
#       # #     #
####### # # #####
#       # #     #
#################
"""
WALKERS, STEPS, SEED = 8, 4000, 0
MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
NEAR = 3
FROM = ((1, 1), (1, 15), (7, 8))


def main(path: Path, num_steps: int = STEPS) -> None:
    """Fit the network and draw."""
    walls = np.array([[mark == "#" for mark in line] for line in MAZE.strip().splitlines()])
    name = np.where(walls, -1, (~walls).ravel().cumsum().reshape(walls.shape) - 1)
    source, areas = walk(walls, name, num_steps)
    near = similarities(source)
    steps = np.stack([distances(walls, tuple(place))[~walls] for place in np.argwhere(~walls)])
    area = area_under_curve(near[(steps > 0) & (steps <= NEAR)], near[steps > source.config.far])
    print(
        f"{len(steps)} places, {WALKERS * num_steps} steps; bonus/auc, mean of the last ten: {np.mean(areas[-10:]):.3f}"
    )
    print(f"told apart by true distance, 1 to {NEAR} from more than {source.config.far} steps: {area:.3f}")
    draw(path, walls, near, [name[place] for place in FROM])


def walk(walls: np.ndarray, name: np.ndarray, num_steps: int) -> tuple[Reachability, list[float]]:
    """Let walkers stray through the maze, where walls stop them; returns what has watched them, and its `bonus/auc`."""
    space = spaces.Discrete(int(name.max()) + 1)
    setting = Setting(space, spaces.Discrete(4), WALKERS, SEED, WALKERS * num_steps, torch.device("cpu"))
    source = Reachability(ReachabilityConfig(near=NEAR), setting)
    rng = np.random.default_rng(SEED)
    place, areas, none = np.argwhere(~walls)[rng.integers(space.n, size=WALKERS)], [], np.zeros(WALKERS)
    for step in range(num_steps):
        wanted = place + MOVES[rng.integers(4, size=WALKERS)]
        following = np.where(walls[tuple(wanted.T)][:, None], place, wanted)
        seen, then = name[tuple(place.T)], name[tuple(following.T)]
        ends = np.zeros(WALKERS, bool)
        first = np.full(WALKERS, step == 0)
        _, metrics = source.reward(Transition(seen, none, none, ends, ends, then, first, none[:, None]))
        areas += [metrics["bonus/auc"]] if "bonus/auc" in metrics else []
        place = following
    return source, areas


@torch.no_grad()
def similarities(source: Reachability) -> np.ndarray:
    """Probability `[N, N]` of reaching a place from another within a few steps, as the network sees it."""
    places = source.network.embed(torch.arange(int(source.visits.space.n)))
    count = len(places)
    earlier, later = places.repeat_interleave(count, 0), places.repeat(count, 1)
    return source.network.compare(earlier, later).sigmoid().reshape(count, count).numpy()


def distances(walls: np.ndarray, start: tuple[int, int]) -> np.ndarray:
    """Steps from one place to all others."""
    steps = np.where(walls, -1, walls.size)
    steps[start], ahead = 0, deque([start])
    while ahead:
        place = ahead.popleft()
        for move in MOVES:
            after = (place[0] + move[0], place[1] + move[1])
            if steps[after] > steps[place] + 1:
                steps[after] = steps[place] + 1
                ahead.append(after)
    return steps


def draw(path: Path, walls: np.ndarray, near: np.ndarray, marked: list[int]) -> None:
    """A picture of the maze for each marked place, coloured by similarity to it."""
    figure, axes = plt.subplots(1, len(marked), figsize=(11, 3.2), layout="constrained")
    for axis, mark in zip(axes, marked, strict=True):
        shown = np.full(walls.shape, np.nan)
        shown[~walls] = near[mark]
        image = axis.imshow(shown, vmin=0, vmax=1, cmap="viridis")
        row, column = np.argwhere(~walls)[mark]
        axis.plot(column, row, "o", color="red", markersize=7)
        axis.set_facecolor("0.25")
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(image, ax=axes, label="similarity to the red place")
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures" / "reachability.png")
