"""Episodes that show what to do: a folder with an `EpisodeDataset`, read as steps that are checked against a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ...networks.tree import concatenated, fingerprint, tree_leaves, tree_map
from ..run.checkpoint import list_checkpoints
from ..run.collect import load_episodes
from ..run.folder import DATA_FOLDER
from ..settings.usage import UsageError, in_one_line


class Demonstrations:
    """Steps of demonstrations: observations and actions `[N, ...]`.

    A checkpoint holds only a name for them: a run goes on with the same ones.
    """

    def __init__(self, obs: Any, action: Any, episodes: int):
        self.obs, self.action, self.episodes = obs, action, episodes

    def __len__(self) -> int:
        return len(tree_leaves(self.action)[0])

    def state_dict(self) -> dict[str, str]:
        """What tells these demonstrations from others."""
        return {"sha256": fingerprint((self.obs, self.action))}

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Make sure that they are the same.

        Raises:
            ValueError: they are not.
        """
        if state != self.state_dict():
            raise ValueError("the demonstrations are not those that the run began with")


def read_demonstrations(
    folder: Path, limit: int, observation_space: spaces.Space, action_space: spaces.Space
) -> Demonstrations:
    """Read the first `limit` episodes of a folder, all of them with 0.

    Raises:
        UsageError: there are none, or their observations or actions are not those of these spaces.
    """
    place = next((each for each in (folder, folder / DATA_FOLDER) if list_checkpoints(each)), None)
    if place is None:
        why = "it holds no episodes" if folder.is_dir() else "there is no such folder"
        raise UsageError(f"--imitate.data {folder}: {why}")
    dataset = load_episodes(place, only_these=True)
    chosen = dataset.episodes[: limit or None]
    if not chosen or len(chosen) < limit:
        raise UsageError(f"--imitate.episodes {limit}: {folder} holds {len(dataset)} episodes")
    for episode in chosen:
        check(f"--imitate.data {folder}", "observations", episode.obs, observation_space)
        check(f"--imitate.data {folder}", "actions", episode.action, action_space)
    # The last observation of an episode is not acted on.
    obs = concatenated([tree_map(lambda x: x[:-1], each.obs) for each in chosen])
    action = concatenated([each.action for each in chosen])
    return Demonstrations(obs, action, len(chosen))


def check(where: str, what: str, values: Any, space: spaces.Space) -> None:
    """Raise a UsageError where arrays `[N, ...]` are no values of a space: by their keys, shapes and kinds."""
    match space, values:
        case spaces.Dict(), dict() if set(space.spaces) == set(values):
            for key, part in space.items():
                check(where, f"{what}[{key!r}]", values[key], part)
            return
        case spaces.Tuple(), tuple() if len(space) == len(values):
            for number, part in enumerate(space):
                check(where, f"{what}[{number}]", values[number], part)
            return
        case (spaces.Dict() | spaces.Tuple(), _) | (_, dict() | tuple()):
            found = type(values).__name__
        case _:
            floats = np.issubdtype(space.dtype, np.floating) == np.issubdtype(values.dtype, np.floating)
            if values.shape[1:] == (space.shape or ()) and floats:
                return
            found = f"arrays of shape {values.shape[1:]} and type {values.dtype}"
    raise UsageError(f"{where}: its {what} are not those of this run, {in_one_line(space)}, but {found}")
