"""Models of Stable-Baselines3: built for our environments, acting as our agents do, saved and loaded."""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ...agents.agent import Store
from ...envs.vector import Envs, Episode
from ...networks.pictures import is_picture, picture_layout, takes_nature
from ...networks.stateful import Kept
from ...networks.tree import tree_leaves
from ...networks.vectors import leaf_spaces
from ..run.build import choose_device
from ..run.storage.checkpoint import latest_checkpoint, list_checkpoints, load_checkpoint
from ..settings.config import RunConfig
from ..settings.resources import filled_bytes
from ..settings.usage import UsageError, in_one_line, nearest, typed_command
from .config import constructor_arguments
from .vec_env import as_vec_env

MODEL_FILE, NORMALIZATION_FILE = "model.zip", "normalization.npz"


class BaselineActor:
    """A trained model that acts as our agents do."""

    def __init__(self, model: Any, normalizer: ObservationNormalizer | None):
        self.model = model
        self.normalizer = normalizer
        lstm = getattr(model.policy, "lstm_actor", None)
        # Layers and width of the LSTM's two states.
        self.state_shape = (0, 0) if lstm is None else (lstm.num_layers, lstm.hidden_size)

    def initial_state(self, num_envs: int) -> np.ndarray:
        """Memory `[num_envs, 2 * layers * width]`; of width 0 for models without one."""
        return np.zeros((num_envs, 2 * int(np.prod(self.state_shape))), np.float32)

    def act(
        self, obs: Any, state: np.ndarray, first: np.ndarray, explore: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose actions `[B, ...]`: SB3's deterministic ones unless `explore`."""
        options: dict[str, Any] = {"deterministic": not explore}
        if takes_masks(type(self.model)):
            options["action_masks"] = obs["action_mask"] != 0
        if state.shape[1]:
            layers, width = self.state_shape
            both = state.reshape(len(state), 2, layers, width).transpose(1, 2, 0, 3)
            options |= {"state": (both[0], both[1]), "episode_start": first}
        if self.normalizer is not None:
            obs = self.normalizer(obs)
        action, after = self.model.predict(obs, **options)
        if state.shape[1]:
            state = np.stack(after).transpose(2, 0, 1, 3).reshape(len(state), -1)
        return action, state


class ObservationNormalizer:
    """`(obs - mean) / deviation`, clipped, with the statistics of training, as VecNormalize does it."""

    def __init__(self, mean: np.ndarray, variance: np.ndarray, epsilon: float, clip: float):
        self.mean, self.variance, self.epsilon, self.clip = mean, variance, epsilon, clip

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Normalise `[B, ...]`."""
        scaled = (obs - self.mean) / np.sqrt(self.variance + self.epsilon)
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)


def build_model(
    algorithm: type[Any], config: RunConfig, envs: Envs, episodes: list[Episode]
) -> tuple[Any, Any]:
    """Return a new model in `envs`, and its VecNormalize if it has one; ended episodes are put into `episodes`.

    Raises:
        UsageError: the algorithm does not take these spaces or options.
    """
    from stable_baselines3.common.vec_env import VecNormalize

    options = config.agent_config
    for problem in unsuited(algorithm, options, envs):
        raise UsageError(f"{config.agent} on {config.env}: {problem}")
    view = as_vec_env(envs, episodes.extend)
    normalizer = None
    if options.normalize_obs or options.normalize_reward:
        normalizer = VecNormalize(
            view,
            norm_obs=options.normalize_obs,
            norm_reward=options.normalize_reward,
            gamma=getattr(options, "gamma", 0.99),
        )
    arguments = constructor_arguments(options, int(np.prod(envs.action_space.shape or (1,))))
    policy = choose_policy(options.policy, algorithm, envs.observation_space)
    try:
        model = algorithm(
            policy,
            view if normalizer is None else normalizer,
            seed=config.seed,
            device=choose_device(config.device),
            **arguments,
        )
    except Exception as error:  # whatever it is, this request is not what the algorithm can be built for
        message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", " ".join(str(error).split()))
        known = isinstance(error, AssertionError | ValueError | TypeError)
        raise UsageError(
            f"{config.agent} on {config.env}: {message if known else f'{type(error).__name__}: {message}'}"
        ) from error
    return model, normalizer


def model_stores(model: Any, num_envs: int) -> list[Store]:
    """Memory that a model keeps steps in; Stable-Baselines3 has taken it already, and fills it as it goes."""
    options = {"replay_buffer": "buffer_size", "rollout_buffer": "n_steps"}
    stores = []
    for name, option in options.items():
        buffer = getattr(model, name, None)
        if buffer is not None:
            arrays = [leaf for value in vars(buffer).values() for leaf in tree_leaves(value)]
            taken = sum(leaf.nbytes for leaf in arrays if isinstance(leaf, np.ndarray))
            stores.append(Store(option, buffer.buffer_size * num_envs, taken))
    return stores


def checkpoint_bytes(model: Any, stores: list[Store], networks: int, steps: int) -> int:
    """Bytes of a model's last checkpoint: parameters with two moments each, and what its replay memory then holds."""
    if not hasattr(model, "collect_rollouts"):
        return 0
    kept = [store for store in stores if store.option == "buffer_size"]
    return 3 * networks + filled_bytes(kept, steps)


def unsuited(algorithm: type[Any], options: Any, envs: Envs) -> Iterator[str]:
    """Yield what Stable-Baselines3 would only say while it trains, or never."""
    space, actions = envs.observation_space, envs.action_space
    for what, numbered in (("actions", actions), ("observations", space)):
        if not begins_at_zero(numbered):
            yield f"it takes discrete {what} that begin at 0, got {in_one_line(numbered)}"
    if isinstance(actions, spaces.MultiDiscrete) and actions.nvec.ndim > 1:
        yield f"it takes MultiDiscrete actions in one row, got {in_one_line(actions)}"
    for part in leaf_spaces(space):
        if part.shape == () and isinstance(part, spaces.Box):
            yield f"it takes observations of at least one axis, got {in_one_line(part)}"
        if isinstance(part, spaces.MultiDiscrete) and part.nvec.ndim > 1:
            yield f"it takes MultiDiscrete observations in one row, got {in_one_line(part)}"
    if takes_masks(algorithm) and not (isinstance(space, spaces.Dict) and "action_mask" in space.spaces):
        yield "it needs observations that are a Dict with an action_mask; use sb3/ppo"
    if options.normalize_obs and not isinstance(space, spaces.Box):
        yield "normalize_obs: only Box observations can be normalised"
    if getattr(options, "train_freq", None) == "episode" and envs.num_envs > 1:
        yield f"train_freq: episode needs --num-envs 1, got {envs.num_envs}"


def begins_at_zero(space: spaces.Space) -> bool:
    """Whether the numbers of discrete spaces begin at 0: Stable-Baselines3 takes others for their places."""
    return not any(np.any(getattr(part, "start", 0)) for part in leaf_spaces(space))


def takes_masks(algorithm: type[Any]) -> bool:
    """Whether an algorithm chooses among the actions that a mask allows."""
    return "action_masks" in inspect.signature(algorithm.predict).parameters


def choose_policy(name: str, algorithm: type[Any], space: spaces.Space) -> str:
    """Return the policy class for observations: MlpPolicy, CnnPolicy or MultiInputPolicy, or their recurrent kin.

    Pictures that Stable-Baselines3's convolutions refuse, such as MiniGrid's and MinAtar's, go to MlpPolicy.

    Raises:
        UsageError: the algorithm has none of that name.
    """
    known = list(algorithm.policy_aliases)
    if name != "auto":
        if name not in known:
            raise UsageError(f"policy: unknown policy {name!r}; {nearest(name, known)}")
        return name
    beginning = "MultiInput" if isinstance(space, spaces.Dict) else "Cnn" if takes_cnn(space) else "Mlp"
    fitting = [alias for alias in known if alias.startswith(beginning)]
    if not fitting:
        got = " ".join(str(space).split())
        raise UsageError(
            f"{algorithm.__name__} has no policy for {got} (policies: {', '.join(known) or 'none'})"
        )
    return fitting[0]


def takes_cnn(space: spaces.Space) -> bool:
    """Whether Stable-Baselines3's only convolutions, those of the Nature paper, can take a space; only whole bytes."""
    from stable_baselines3.common.preprocessing import is_image_space

    if not is_picture(space) or not is_image_space(space):
        return False
    assert space.shape is not None
    layout = picture_layout(space.shape)
    return takes_nature(layout.height, layout.width)


def frozen(normalizer: Any) -> ObservationNormalizer | None:
    """Observation statistics of a VecNormalize as they are now; None where there are none."""
    if normalizer is None or not normalizer.norm_obs:
        return None
    statistics = normalizer.obs_rms
    return ObservationNormalizer(
        statistics.mean.copy(), statistics.var.copy(), normalizer.epsilon, normalizer.clip_obs
    )


def save_model(run_dir: Path, model: Any, normalizer: ObservationNormalizer | None) -> None:
    """Write `model.zip`, Stable-Baselines3's own format, whole or not at all; statistics lie beside it before."""
    temporary = run_dir / "unfinished.zip"
    if normalizer is not None:
        with temporary.open("wb") as file:
            np.savez(file, **vars(normalizer))
        _put(temporary, run_dir / NORMALIZATION_FILE)
    model.save(temporary)
    _put(temporary, run_dir / MODEL_FILE)


def _put(temporary: Path, path: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def saved_files(run_dir: Path) -> dict[str, Path]:
    """Files that `save_model` has written, by what they are called among artifacts."""
    files = {"checkpoint": run_dir / MODEL_FILE, "normalization": run_dir / NORMALIZATION_FILE}
    return {name: path for name, path in files.items() if path.is_file()}


def load_baseline(algorithm: Any, config: RunConfig, run_dir: Path, envs: Envs) -> tuple[BaselineActor, int]:
    """Return what a run has learned, at its end or until its last checkpoint, and the steps it was trained for.

    The model is built from the run's config, and only its parameters are read: Stable-Baselines3's own `load`
    unpickles whatever the file holds.

    Raises:
        UsageError: the run has saved nothing yet, or its files are damaged.
    """
    path = run_dir / MODEL_FILE
    if not path.is_file() and not list_checkpoints(run_dir):
        raise UsageError(
            f"{run_dir} has not finished, and has no checkpoint: {typed_command('train', '--resume', run_dir)}"
        )
    statistics = run_dir / NORMALIZATION_FILE
    normalized = config.agent_config.normalize_obs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about batches, which nobody learns from here
        model, _ = build_model(
            algorithm, replace(config, agent_config=_acting(config.agent_config)), envs, []
        )
    if not path.is_file():
        return read_checkpoint(latest_checkpoint(run_dir), model, normalized)
    try:
        step = read_parameters(path, model)
        return BaselineActor(model, read_normalizer(statistics) if normalized else None), step
    except Exception as error:  # zip, JSON and torch have an error each for what is damaged
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{path} cannot be loaded: {message}") from error


def _acting(options: Any) -> Any:
    """Return options without what only learning needs: a replay memory for a million steps, statistics."""
    changes: dict[str, Any] = {"normalize_obs": False, "normalize_reward": False}
    if any(item.name == "buffer_size" for item in fields(options)):
        changes["buffer_size"] = 1
    return replace(options, **changes)


def read_parameters(path: Path, model: Any) -> int:
    """Put what acts out of a `model.zip` into a model, without unpickling; returns the steps of its training."""
    import torch

    with zipfile.ZipFile(path) as archive:
        data = json.loads(archive.read("data"))
        parameters = torch.load(
            io.BytesIO(archive.read("policy.pth")), map_location=model.device, weights_only=True
        )
    model.policy.load_state_dict(parameters)
    settle_exploration(model, data)
    return int(data["num_timesteps"])


def settle_exploration(model: Any, data: Mapping[str, Any]) -> None:
    """Let a model whose parameters were read explore as it did: with noise for them, or at the same rate."""
    if getattr(model, "use_sde", False):
        model.policy.reset_noise()
    if isinstance(rate := data.get("exploration_rate"), float):
        model.exploration_rate = rate


def read_checkpoint(path: Path, model: Any, normalized: bool) -> tuple[BaselineActor, int]:
    """Put what acts out of a checkpoint of `state.py` into a model; returns it, and the steps of its training."""
    algorithm, statistics = Kept(), Kept()
    parts = {"policy": model.policy, "algorithm": algorithm}
    load_checkpoint(path, parts | ({"normalizer": statistics} if normalized else {}), only_these=True)
    settle_exploration(model, algorithm.state["attributes"])
    normalizer = None
    if normalized:
        of = statistics.state
        normalizer = ObservationNormalizer(
            of["obs_rms"]["mean"], of["obs_rms"]["var"], of["epsilon"], of["clip_obs"]
        )
    return BaselineActor(model, normalizer), int(path.name)


def read_normalizer(path: Path) -> ObservationNormalizer:
    """Return the statistics that `save_model` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return ObservationNormalizer(
            arrays["mean"], arrays["variance"], float(arrays["epsilon"]), float(arrays["clip"])
        )
