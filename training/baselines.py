"""Stable-Baselines3's algorithms as agents: `sb3/ppo` trains in our environments, with our metrics and evaluation."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from ..agents.agent import Metrics
from ..envs.vector import Envs, Episode
from ..networks.observations import is_picture
from .baseline_config import config_class, constructor_arguments
from .baseline_envs import as_vec_env
from .build import choose_device, evaluation_spec
from .config import RunConfig, UsageError, nearest
from .dreams import training_envs
from .evaluate import Evaluation, evaluate
from .loop import Meter, Result, caught_signals, due, report_evaluation
from .progress import Progress
from .tracking import Tracker

PREFIX = "sb3/"
MODEL_FILE, NORMALIZATION_FILE = "model.zip", "normalization.npz"

# Stable-Baselines3's names of what ours log too.
METRIC_NAMES = {
    "train/policy_gradient_loss": "loss/policy",
    "train/policy_loss": "loss/policy",
    "train/actor_loss": "loss/policy",
    "train/value_loss": "loss/value",
    "train/critic_loss": "loss/value",
    "train/approx_kl": "policy/approx_kl",
    "train/clip_fraction": "policy/clip_fraction",
    "train/explained_variance": "value/explained_variance",
    "train/learning_rate": "policy/learning_rate",
    "rollout/exploration_rate": "policy/epsilon",
}


class Baseline:
    """What an agent's name stands for when it is one of Stable-Baselines3's algorithms."""

    algorithm: ClassVar[type[Any]]
    Config: ClassVar[type[Any]]
    encoder_defaults: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, *arguments: Any, **options: Any):
        raise TypeError(f"{self.algorithm.__name__} of Stable-Baselines3 can only be trained by itself")


def is_baseline(agent: type[Any]) -> bool:
    """Whether a component is one of Stable-Baselines3's algorithms."""
    return issubclass(agent, Baseline)


def baseline_names() -> list[str]:
    """Names such as `sb3/ppo`; none where Stable-Baselines3 is not installed."""
    return sorted(_algorithms()) if importlib.util.find_spec("stable_baselines3") else []


def find_baseline(name: str) -> type[Baseline]:
    """Return the baseline called `sb3/NAME`.

    Raises:
        UsageError: there is none, or Stable-Baselines3 is not installed.
    """
    if importlib.util.find_spec("stable_baselines3") is None:
        raise UsageError(f"{name} needs Stable-Baselines3; run: pip install 'palaestra[baselines]'")
    algorithms = _algorithms()
    if name not in algorithms:
        raise UsageError(f"unknown baseline {name!r}; {nearest(name, algorithms)}")
    return as_baseline(algorithms[name])


def _algorithms() -> dict[str, Any]:
    import stable_baselines3

    libraries = [stable_baselines3]
    if importlib.util.find_spec("sb3_contrib") is not None:
        import sb3_contrib

        libraries.append(sb3_contrib)
    classes = [getattr(library, name) for library in libraries for name in library.__all__]
    # RecurrentPPO is sb3/recurrent_ppo.
    return {
        PREFIX + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", each.__name__).lower(): each
        for each in classes
        if is_algorithm(each)
    }


def is_algorithm(value: Any) -> bool:
    """Whether something is a class of the kind of Stable-Baselines3's algorithms, its own or another library's."""
    if importlib.util.find_spec("stable_baselines3") is None or not isinstance(value, type):
        return False
    from stable_baselines3.common.base_class import BaseAlgorithm

    return issubclass(value, BaseAlgorithm)


@cache  # one class an algorithm, and one of its options
def as_baseline(algorithm: Any) -> type[Baseline]:
    """Return the component that stands for an algorithm."""
    members = {"algorithm": algorithm, "Config": config_class(algorithm), "__doc__": algorithm.__doc__}
    return type(algorithm.__name__, (Baseline,), members)


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
        if isinstance(obs, dict) and "action_mask" in obs and "Maskable" in type(self.model).__name__:
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


def build_model(config: RunConfig, envs: Envs, episodes: list[Episode]) -> tuple[Any, Any]:
    """Return a new model in `envs`, and its VecNormalize if it has one; ended episodes are put into `episodes`.

    Raises:
        UsageError: the algorithm does not take these spaces or options.
    """
    from stable_baselines3.common.vec_env import VecNormalize

    from .components import find_component

    algorithm, options = find_component("agent", config.agent).algorithm, config.agent_config
    view = as_vec_env(envs, episodes.extend)
    normalizer = None
    if options.normalize_obs or options.normalize_reward:
        if options.normalize_obs and not isinstance(envs.observation_space, spaces.Box):
            raise UsageError(f"normalize_obs: {config.agent} can normalise Box observations only")
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
    except (AssertionError, ValueError, TypeError) as error:
        message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", " ".join(str(error).split()))
        raise UsageError(f"{config.agent} on {config.env}: {message}") from error
    return model, normalizer


def choose_policy(name: str, algorithm: type[Any], space: spaces.Space) -> str:
    """Return the policy class for observations: MlpPolicy, CnnPolicy or MultiInputPolicy, or their recurrent kin.

    Raises:
        UsageError: the algorithm has none of that name.
    """
    known = list(algorithm.policy_aliases)
    if name != "auto":
        if name not in known:
            raise UsageError(f"policy: unknown policy {name!r}; {nearest(name, known)}")
        return name
    beginning = "MultiInput" if isinstance(space, spaces.Dict) else "Cnn" if is_picture(space) else "Mlp"
    fitting = [alias for alias in known if alias.startswith(beginning)]
    if not fitting:
        raise UsageError(f"{algorithm.__name__} has no policy for {space}; it has {', '.join(known)}")
    return fitting[0]


def check_baseline(config: RunConfig) -> None:
    """Build everything once, so that what is wrong with the request shows before anything is written."""
    with closing(training_envs(config)) as envs:
        build_model(config, envs, [])


def train_baseline(config: RunConfig, run_dir: Path, tracker: Tracker, progress: Progress) -> Result:
    """Train from the start: what Stable-Baselines3 saves does not continue bit for bit."""
    with closing(training_envs(config)) as envs:
        return _train(config, run_dir, tracker, progress, envs)


def _train(config: RunConfig, run_dir: Path, tracker: Tracker, progress: Progress, envs: Envs) -> Result:
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger

    episodes: list[Episode] = []
    meter, spec, started = Meter(), evaluation_spec(config), time.perf_counter()
    model, normalizer = build_model(config, envs, episodes)

    class Watch(BaseCallback):
        """The four clocks of our loop: log, evaluate, stop; there are no checkpoints."""

        def __init__(self, caught: list[int]) -> None:
            super().__init__()
            self.caught = caught
            self.speed = (0, time.perf_counter())

        def _on_step(self) -> bool:
            step, before = self.num_timesteps, self.num_timesteps - envs.num_envs
            meter.add_episodes(episodes)
            progress.update(step, [episode.episode_return for episode in episodes])
            episodes.clear()
            if due(config.log_every, before, step):
                meter.add(translated(model.logger.name_to_value, type(model).__name__))
                model.logger.dump()
                now = time.perf_counter()
                rate = (step - self.speed[0]) / (now - self.speed[1])
                times = {"time/steps_per_second": rate, "time/total": now - started}
                tracker.log(meter.read() | times, step)
                self.speed = (step, now)
            if due(config.evaluate_every, before, step) and step < config.steps:
                report_evaluation(run_dir, tracker, examine(), step)
            return step < config.steps and not self.caught

    def examine() -> Evaluation:
        return evaluate(BaselineActor(model, frozen(normalizer)), spec, config.evaluate_episodes)

    with caught_signals() as caught:
        model.set_logger(Logger(None, []))
        # It never writes its log: what it holds is read, and forgotten, where our rows are due.
        model.learn(config.steps, callback=Watch(caught), log_interval=sys.maxsize)
        step, evaluation = model.num_timesteps, None
        if not caught:
            save_model(run_dir, model, frozen(normalizer))
            evaluation = examine()
            report_evaluation(run_dir, tracker, evaluation, step)
    return Result(step, evaluation, time.perf_counter() - started, caught[0] if caught else None)


def translated(values: dict[str, Any], algorithm: str) -> Metrics:
    """Stable-Baselines3's metrics under our names, `sb3/...` where we have none; without what we count ourselves."""
    metrics: Metrics = {}
    for name, value in values.items():
        group, _, rest = name.partition("/")
        if name == "train/entropy_loss":
            metrics["policy/entropy"] = -float(value)
        elif name == "train/loss" and "DQN" in algorithm:
            metrics["loss/q"] = float(value)
        elif name in METRIC_NAMES:
            metrics[METRIC_NAMES[name]] = float(value)
        elif group == "train" and rest != "n_updates":
            metrics[PREFIX + rest] = float(value)
    return metrics


def frozen(normalizer: Any) -> ObservationNormalizer | None:
    """Observation statistics of a VecNormalize as they are now; None where there are none."""
    if normalizer is None or not normalizer.norm_obs:
        return None
    statistics = normalizer.obs_rms
    return ObservationNormalizer(
        statistics.mean.copy(), statistics.var.copy(), normalizer.epsilon, normalizer.clip_obs
    )


def save_model(run_dir: Path, model: Any, normalizer: ObservationNormalizer | None) -> None:
    """Write `model.zip`, Stable-Baselines3's own format, whole or not at all; statistics lie beside it."""
    if normalizer is not None:
        with (run_dir / NORMALIZATION_FILE).open("wb") as file:
            np.savez(file, **vars(normalizer))
    temporary = run_dir / "unfinished.zip"
    model.save(temporary)
    os.replace(temporary, run_dir / MODEL_FILE)


def load_baseline(run_dir: Path, config: RunConfig) -> tuple[BaselineActor, int]:
    """Return what a finished run has learned, and the steps it was trained for.

    Raises:
        UsageError: the run has not finished.
    """
    from .components import find_component

    path = run_dir / MODEL_FILE
    if not path.is_file():
        raise UsageError(
            f"{run_dir} has not finished, and baselines save no checkpoints: palaestra train --resume {run_dir}"
        )
    model = find_component("agent", config.agent).algorithm.load(path, device=choose_device(config.device))
    statistics = run_dir / NORMALIZATION_FILE
    normalizer = None
    if statistics.is_file():
        with np.load(statistics) as arrays:
            normalizer = ObservationNormalizer(
                arrays["mean"], arrays["variance"], float(arrays["epsilon"]), float(arrays["clip"])
            )
    return BaselineActor(model, normalizer), int(model.num_timesteps)


def begin_again(run_dir: Path) -> None:
    """Forget what an unfinished run has left: with the same seed it comes to the same."""
    for name in ("evaluations.json", MODEL_FILE, NORMALIZATION_FILE):
        (run_dir / name).unlink(missing_ok=True)


def is_finished(run_dir: Path, config: RunConfig) -> bool:
    """Whether a run has its summary and its model."""
    path = run_dir / "summary.json"
    if not path.is_file() or not (run_dir / MODEL_FILE).is_file():
        return False
    return bool(json.loads(path.read_text())["step"] >= config.steps)
