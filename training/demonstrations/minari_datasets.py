"""Minari's datasets, which other libraries read: the only file that knows Minari."""

from __future__ import annotations

import copy
import importlib.util
import shutil
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from ...networks.tree import tree_map
from ...world_models.datasets import EpisodeDataset, RecordedEpisode
from ..settings.usage import UsageError, nearest
from ..tracking.progress import say
from ..tracking.tracker import first_line

PREFIX = "minari:"
# Gymnasium's word for episodes without a limit, as an argument; in a spec that is None.
NO_LIMIT = -1


def check_minari(what: str) -> None:
    """Raise `UsageError` unless Minari is installed."""
    if importlib.util.find_spec("minari") is None:
        raise UsageError(f"{what}: needs Minari; run: pip install 'palaestra[minari]'")


def check_new_name(name: str) -> None:
    """Make sure that a dataset of this name can be written.

    Raises:
        UsageError: Minari is not installed, it is no name, or there is one already.
    """
    check_minari(f"--minari {name}")
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage import get_dataset_path

    try:
        parse_dataset_id(name)
    except (ValueError, TypeError):  # without a version it fails in int(None)
        raise UsageError(f"--minari {name}: expected NAMESPACE/NAME-vN, such as mine/cartpole-v0") from None
    if get_dataset_path(name).exists():
        raise UsageError(f"--minari {name}: there is one already; choose another name or version")


def read_minari(name: str) -> Iterator[RecordedEpisode]:
    """Yield the episodes of a dataset that is on this machine.

    Raises:
        UsageError: Minari is not installed, or there is no such dataset here.
    """
    check_minari(f"--data {PREFIX}{name}")
    import minari
    from minari.dataset.minari_storage import is_image_space

    from ...networks.vectors import leaf_spaces

    if (known := list(minari.list_local_datasets())) and name not in known:
        raise UsageError(
            f"--data {PREFIX}{name}: there is none here; {nearest(name, known)} {download(name)}"
        )
    try:
        dataset = minari.load_dataset(name)
    except (FileNotFoundError, ValueError, TypeError):
        raise UsageError(f"--data {PREFIX}{name}: there is none here; {download(name)}") from None
    if dataset.storage.jpeg_encoding and any(map(is_image_space, leaf_spaces(dataset.observation_space))):
        say(f"note: {PREFIX}{name} keeps pictures as JPEG: they are not exactly what the teacher saw")
    for episode in dataset.iterate_episodes():
        yield recorded(episode)


def download(name: str) -> str:
    """How a dataset is fetched."""
    return f"(to fetch it: minari download {name})"


def recorded(episode: Any) -> RecordedEpisode:
    """An episode of Minari's as one of ours; a last step that ended nothing was cut off there.

    Rewards keep the environment's type in Minari, and are float32 here.
    """
    return RecordedEpisode(
        obs=tree_map(np.asarray, episode.observations),
        action=tree_map(np.asarray, episode.actions),
        reward=np.asarray(episode.rewards, np.float32),
        terminated=bool(len(episode.terminations) and episode.terminations[-1]),
    )


def write_minari(
    name: str,
    episodes: EpisodeDataset,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    *,
    env_spec: EnvSpec | None,
    agent: str,
    description: str,
) -> None:
    """Write whole episodes as a dataset of Minari's; pictures exactly, not as JPEG.

    `env_spec` is how Gymnasium makes the environment, where that gives these very spaces.
    """
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.storage import get_dataset_path

    buffers = []
    for episode in episodes.episodes:
        last = np.arange(episode.length) == episode.length - 1
        buffers.append(
            EpisodeBuffer(
                observations=episode.obs,
                actions=episode.action,
                rewards=episode.reward,  # type: ignore[arg-type]
                terminations=last & episode.terminated,
                truncations=last & (not episode.terminated),
                infos={},
            )
        )
    with warnings.catch_warnings():
        # That no author is named, which is the user's to say.
        warnings.simplefilter("ignore")
        try:
            minari.create_dataset_from_buffers(
                name,
                buffers,
                env=env_spec,
                action_space=action_space,
                observation_space=observation_space,
                algorithm_name=agent,
                description=description,
                jpeg_encoding=False,
            )
        except Exception as error:
            # What is left of it would take the name, and not be read.
            shutil.rmtree(get_dataset_path(name), ignore_errors=True)
            raise UsageError(f"--minari {name}: {first_line(error)}") from error


def with_arguments(spec: EnvSpec, arguments: dict[str, Any]) -> EnvSpec:
    """A copy of a spec whose environment is made with these arguments."""
    own = copy.deepcopy(spec)
    limit = arguments.get("max_episode_steps") or own.max_episode_steps
    own.kwargs |= {key: value for key, value in arguments.items() if key != "max_episode_steps"}
    own.max_episode_steps = None if limit == NO_LIMIT else limit
    return own
