"""Demonstrations in a folder: `demonstrations.yaml` says what they are, and one checkpoint holds the episodes.

Like every checkpoint it is safetensors and JSON with a SHA-256 of each file. Nothing is imported or unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ...envs.actions import ActionError, action_clipper
from ...envs.wrappers.previous import action_encoder
from ...networks.masks import ActionMask, mask_space
from ...networks.tree import UnfitValueError, copy_in_order, tree_leaves, tree_like, tree_map, typed_as
from ...networks.vectors import leaf_observations, leaf_spaces
from ...world_models.datasets import EpisodeDataset, RecordedEpisode, single_precision
from ..run.collect import load_episodes, save_episodes
from ..run.storage.folder import MODEL_CONFIG_FILE
from ..settings.config import CONFIG_FILE
from ..settings.usage import UsageError, in_one_line, typed_command
from ..settings.yaml_files import save_yaml
from .minari_datasets import PREFIX, read_minari

DESCRIPTION_FILE = "demonstrations.yaml"


def save_demonstrations(folder: Path, episodes: EpisodeDataset, description: dict[str, Any]) -> None:
    """Write episodes into a folder; the description comes last, so that a folder with one is whole."""
    save_episodes(folder, episodes.num_steps, episodes)
    save_yaml(folder / DESCRIPTION_FILE, description)


def load_demonstrations(
    names: Sequence[str], observation_space: spaces.Space, action_space: spaces.Space, limit: int = 0
) -> EpisodeDataset:
    """Read folders and Minari datasets, one after another; the first `limit` episodes, 0 is all.

    Observations have the types of their spaces, float32 instead of float64; actions lie within their bounds, as the
    environment clips them.

    Raises:
        UsageError: there are none, they are damaged, or they do not fit the spaces.
    """
    found: list[RecordedEpisode] = []
    for name in names:
        read = read_minari(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else read_folder(Path(name))
        for number, episode in enumerate(read):
            if limit and len(found) == limit:
                break
            found.append(fitted(episode, observation_space, action_space, f"--data {name}, episode {number}"))
    if not found:
        raise UsageError(f"--data {' '.join(names)}: there are no episodes")
    if len(found) < limit:
        raise UsageError(f"--episodes {limit}: --data {' '.join(names)} has {len(found)}")
    return EpisodeDataset(found)


def read_folder(folder: Path) -> list[RecordedEpisode]:
    """Read the episodes of a folder that `palaestra record` wrote.

    Raises:
        UsageError: it is no such folder, or it is damaged.
    """
    if not (folder / DESCRIPTION_FILE).is_file():
        if not folder.is_dir():
            why = f"there is no such folder (and Minari's datasets are called {PREFIX}NAME)"
        elif (folder / CONFIG_FILE).is_file() and not (folder / MODEL_CONFIG_FILE).is_file():
            why = f"it is a run; record it first: {typed_command('record', folder, '--episodes', 20, '--out', 'DIR')}"
        else:
            why = f"it has no {DESCRIPTION_FILE}"
        raise UsageError(f"--data {folder}: no demonstrations: {why}")
    return load_episodes(folder).episodes


def fitted(
    episode: RecordedEpisode, observation_space: spaces.Space, action_space: spaces.Space, where: str
) -> RecordedEpisode:
    """An episode as an agent for these spaces would have seen it.

    Raises:
        UsageError: its observations or actions are others, its arrays have not the same length, it holds NaN, or an
            action that its mask forbids.
    """
    length = len(episode.reward)
    if length == 0:
        raise UsageError(f"{where}: it has no steps")
    obs = _with_leaves_of(observation_space, episode.obs, length + 1, f"{where}: observations")
    action = _with_leaves_of(action_space, episode.action, length, f"{where}: actions")
    try:
        obs = copy_in_order(observation_space, obs)
        obs = tree_map(_typed, obs, tree_like(obs, leaf_spaces(observation_space)))
        # As the environment executes them.
        action = action_clipper(action_space, length)(copy_in_order(action_space, action))
    except UnfitValueError as error:
        raise UsageError(f"{where}: {error}") from None
    except ActionError as error:
        raise UsageError(f"{where}: action {str(error).replace('in copy', 'in step')}") from None
    numbers = [*tree_leaves(obs), episode.reward]
    if not all(np.isfinite(leaf).all() for leaf in numbers if leaf.dtype.kind == "f"):
        raise UsageError(f"{where}: it holds NaN or infinity")
    _check_allowed(obs, action, observation_space, action_space, where)
    return episode._replace(obs=obs, action=action)


def _check_allowed(
    obs: Any, action: Any, observation_space: spaces.Space, action_space: spaces.Space, where: str
) -> None:
    """Raise `UsageError` where an action was forbidden: an agent would never choose it, and not learn it either."""
    mask = mask_space(observation_space)
    allowed = None if mask is None else ActionMask(mask, action_space)(obs)
    if allowed is None:
        return
    taken = action_encoder(action_space)(action) != 0
    forbidden = (taken & ~allowed[: len(taken)]).any(1)
    if forbidden.any():
        step = int(forbidden.argmax())
        shown = tree_map(lambda leaf: leaf[step].tolist(), action)
        raise UsageError(f"{where}: action {shown} of step {step} is forbidden by its action_mask")


def _typed(leaf: np.ndarray, space: spaces.Space) -> np.ndarray:
    """Values of a space in its type, float64 as float32; raises `UnfitValueError` where they would be others."""
    return single_precision(typed_as(space, leaf))


def _with_leaves_of(space: spaces.Space, values: Any, rows: int, where: str) -> Any:
    """Return values whose leaves are `rows` elements of those of a space; raises `UsageError` where they are not."""
    try:
        shapes = [np.shape(leaf) for leaf in leaf_observations(space, values)]
        same = len(tree_leaves(values)) == len(shapes)
    except (KeyError, TypeError, ValueError, IndexError):
        shapes, same = [np.shape(leaf) for leaf in tree_leaves(values)], False
    if not same or [shape[1:] for shape in shapes] != [leaf.shape for leaf in leaf_spaces(space)]:
        found = ", ".join(str(shape[1:]) for shape in shapes)
        raise UsageError(
            f"{where} of shape {found} are none of {in_one_line(space)}; record them with the environment, frame stack "
            "and wrappers that this run has"
        )
    if any(shape[0] != rows for shape in shapes):
        raise UsageError(f"{where}: {shapes[0][0]}, where its rewards need {rows}")
    return values
