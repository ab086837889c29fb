"""World models from their folder's point of view: collect, fit, go on with it, load what was fitted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces

from ...agents.divergence import broken_metric, broken_part
from ...envs.make import make_envs
from ...envs.vector import Envs
from ...world_models.datasets import EpisodeDataset
from ...world_models.fit import Fit, Phase
from ...world_models.labels import Label, probe_labels
from ...world_models.model_evaluation import (
    drawn_successors,
    evaluation_report,
    open_loop_example,
    probe_states,
    traversals,
)
from ...world_models.observation_networks import is_convolved
from ...world_models.world_model import WorldModel
from ..run.build import available, choose_device, set_threads
from ..run.collect import collect_episodes, load_episodes, save_episodes
from ..run.loaded import load_run
from ..run.session import tracked
from ..run.signals import StoppedError, caught_signals, stopping_signals
from ..run.storage.checkpoint import (
    give_identity,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from ..run.storage.folder import (
    DATA_FOLDER,
    MODEL_CONFIG_FILE,
    absolute,
    check_links,
    check_new,
    check_still_there,
    new_folder,
    write_errors,
)
from ..run.storage.lock import locked
from ..run.storage.packing import Part
from ..settings.planning import check_fits, step_bytes
from ..settings.trust import command_for
from ..settings.usage import RunFailedError, UsageError, as_usage_errors, in_one_line, typed_command
from ..settings.yaml_files import save_yaml
from ..tracking.progress import Progress, say
from ..tracking.trackers import check_tracking, step_to_resume
from .model_report import write_report
from .probe import mode_shares, true_states
from .reachable import dream_reachability
from .world_model_config import (
    WorldModelConfig,
    build_world_model,
    data_spec,
    load_model_config,
    to_dict,
)


def start_fit(config: WorldModelConfig, run_dir: Path) -> dict[str, Any]:
    """Collect data and fit a world model to them, into a folder that must be new or empty; returns the report."""
    check_new(run_dir)
    check_tracking(config.track)
    copies = data_spec(config).num_envs
    if config.steps < copies:
        raise UsageError(f"--steps: {config.steps} are too few for {copies} copies of the environment")
    with as_usage_errors(), closing(make_envs(replace(data_spec(config), num_envs=1))) as envs:
        build_world_model(config, envs.observation_space, envs.action_space)
        if config.data != "random":
            check_collector(config.data, envs)
        # Episodes are held in memory, with rewards and three flags.
        check_fits(
            "steps", config.steps, config.steps * (step_bytes(envs.observation_space, envs.action_space) + 7)
        )
    with new_folder(run_dir):
        save_yaml(run_dir / MODEL_CONFIG_FILE, to_dict(config))
        return _fit_in(run_dir, config)


def check_collector(run_dir: str, envs: Envs) -> None:
    """Raise `UsageError` unless the run's agent acts on what these environments show, and does what they take."""
    run = load_run(Path(run_dir))
    trained = (run.observation_space, run.action_space)
    if difference := space_difference(trained, (envs.observation_space, envs.action_space)):
        raise UsageError(f"--data {run_dir}: its agent was trained with {difference} as here")


def resume_fit(run_dir: Path) -> dict[str, Any]:
    """Go on with a fit, bit for bit as if it had never stopped; returns the report."""
    config = load_model_config(run_dir)
    check_links(run_dir)
    with locked(run_dir):
        return _fit_in(run_dir, replace(config, device=available(config.device, run_dir)))  # type: ignore[arg-type]


def _fit_in(run_dir: Path, config: WorldModelConfig) -> dict[str, Any]:
    """Fit in a folder that is locked."""
    go_on = command_for(to_dict(config), "world-model", "fit", "--resume", run_dir)
    with write_errors(f"go on with: {go_on}"):
        return _fit_to_the_end(absolute(run_dir), config, go_on)


def _fit_to_the_end(run_dir: Path, config: WorldModelConfig, go_on: str) -> dict[str, Any]:
    """Fit; `go_on` is the command that is named where a signal comes."""
    set_threads(config.threads)
    checkpoint = latest_checkpoint(run_dir) if list_checkpoints(run_dir) else None
    if checkpoint is None:
        give_identity(run_dir)
    with tracked(
        run_dir,
        config.track,
        env=config.env,
        agent=f"{config.observation_model}+{config.dynamics}",
        seed=config.seed,
        config=to_dict(config),
        resume_step=step_to_resume(run_dir, checkpoint),
    ) as opened:
        try:
            with stopping_signals():
                report = _fit(config, run_dir, checkpoint, opened.tracker.log)
        except KeyboardInterrupt as stop:
            say(f"stopped; go on with: {go_on}")
            raise SystemExit(
                128 + (stop.number if isinstance(stop, StoppedError) else signal.SIGINT)
            ) from None
        except RunFailedError as error:
            where, saved = run_dir / MODEL_CONFIG_FILE, list_checkpoints(run_dir)
            start = f"the checkpoint of update {int(saved[-1].name):,}" if saved else "the beginning"
            raise RunFailedError(
                f"{error}; lower fit.learning_rate in {where}, then go on from {start}: {go_on}"
            ) from error
        opened.tracker.summary({name: x for name, x in report.items() if isinstance(x, int | float)})
        opened.tracker.artifact(latest_checkpoint(run_dir), "checkpoint", "world-model")
    return report


def _fit(
    config: WorldModelConfig,
    run_dir: Path,
    checkpoint: Path | None,
    log: Callable[[dict[str, float], int], None],
) -> dict[str, Any]:
    if list_checkpoints(run_dir / DATA_FOLDER):
        episodes = load_data(run_dir)
    else:
        actor = None if config.data == "random" else load_run(Path(config.data)).agent
        say(f"collecting {config.steps:,} steps of {config.env}")
        episodes, _ = collect_episodes(data_spec(config), config.steps, actor)
        save_data(run_dir, 0, episodes)
    with closing(make_envs(replace(data_spec(config), num_envs=1))) as envs:
        model = build_world_model(config, envs.observation_space, envs.action_space)
    with as_usage_errors():
        fit = Fit(model, episodes, config.fit, config.seed)
    parts: dict[str, Part] = {**fit.parts()}
    if checkpoint is not None:
        load_checkpoint(checkpoint, parts)
    run_fit(fit, log, run_dir, parts)
    report = _head(config) | evaluation_report(model, fit.train, fit.held_out)
    _write(run_dir, report, model, fit.held_out)
    return report


def save_data(run_dir: Path, step: int, episodes: EpisodeDataset) -> None:
    """Leave the real episodes beside a world model: once, since checkpoints come often and pictures are large."""
    save_episodes(run_dir / DATA_FOLDER, step, episodes)


def load_data(run_dir: Path) -> EpisodeDataset:
    """Read the real episodes of a world model."""
    return load_episodes(run_dir / DATA_FOLDER)


def run_fit(
    fit: Fit,
    log: Callable[[dict[str, float], int], None],
    run_dir: Path | None = None,
    parts: dict[str, Part] | None = None,
) -> None:
    """Fit to the end, with progress and checkpoints.

    Raises:
        StoppedError: a signal came; the updates since the last checkpoint will be made again.
        RunFailedError: what is learned is no number any more; the last checkpoint is older.
    """
    limit = fit.config.updates * (2 if fit.model.observation_model.learns else 1)
    progress = Progress(limit, start_step=fit.progress.total)

    def report(metrics: dict[str, float], update: int) -> None:
        log(metrics, update)
        progress.update(update)
        if what := broken_part({**fit.parts()}) or broken_metric(metrics):
            raise RunFailedError(f"the world model has diverged at update {update:,}: {what}")

    with caught_signals() as caught:

        def judged() -> bool:
            if run_dir is not None and parts is not None:
                check_still_there(run_dir, MODEL_CONFIG_FILE)
                save_checkpoint(run_dir, fit.progress.total, parts)
            return not caught

        try:
            fit.run(report, judged, lambda: bool(caught))
        finally:
            progress.close()
    if caught:
        raise StoppedError(caught[0])


@dataclass(frozen=True)
class FittedModel:
    """A world model and the real episodes that it has learned from."""

    config: WorldModelConfig
    model: WorldModel
    run_dir: Path

    @cached_property
    def episodes(self) -> EpisodeDataset:
        """The real episodes, read when they are wanted: pictures are large."""
        return load_data(self.run_dir)

    def difference(
        self, observation_space: spaces.Space, action_space: spaces.Space | None = None
    ) -> str | None:
        """In what the spaces that the model was fitted to differ from these; None where they are the same."""
        fitted = (self.model.observation_space, self.model.action_space)
        return space_difference(fitted, (observation_space, action_space))


def space_difference(
    own: tuple[spaces.Space, spaces.Space], given: tuple[spaces.Space, spaces.Space | None]
) -> str | None:
    """In what spaces of observations and actions differ; None where they are the same, or a given one is None."""
    for what, mine, other in zip(("observations", "actions"), own, given, strict=True):
        if other is not None and mine != other:
            return f"{what} {in_one_line(mine)}, not {in_one_line(other)}"
    return None


def load_world_model(run_dir: Path | str, device: torch.device | str | None = None) -> FittedModel:
    """Load what a fit has left, to where its networks shall be.

    Raises:
        UsageError: it is no world model, its fit has not ended, or it names code that is not trusted.
    """
    with as_usage_errors():
        chosen = choose_device(device) if isinstance(device, str) else device
    return _load_fitted(Path(run_dir), chosen)


def _load_fitted(run_dir: Path, device: torch.device | None) -> FittedModel:
    kept = load_model_config(run_dir)
    config = replace(kept, device=device.type if device else available(kept.device, run_dir))  # type: ignore[arg-type]
    not_done = f"{run_dir} has not been fitted to the end; go on with: " + typed_command(
        "world-model", "fit", "--resume", run_dir
    )
    with as_usage_errors(), closing(make_envs(replace(data_spec(config), num_envs=1))) as envs:
        model = build_world_model(config, envs.observation_space, envs.action_space)
    phase = Phase("")
    if not list_checkpoints(run_dir):
        raise UsageError(not_done)
    load_checkpoint(latest_checkpoint(run_dir), {"model": model, "progress": phase}, only_these=True)
    if phase.phase != "done":
        raise UsageError(not_done)
    model.eval()
    return FittedModel(config, model.to(device) if device else model, run_dir)


def evaluate_model(
    run_dir: Path,
    returns: dict[str, Any] | None = None,
    noise: float = 0.0,
    label: Label | None = None,
    label_fraction: float = 0.01,
) -> dict[str, Any]:
    """Judge a world model by the episodes that it has not learned from; the report is left in its folder, too.

    `returns` is what `dream_to_real` returns, if it was called. With `noise`, the true state is probed for in
    latents of noisy observations, too. With `label`, that of frames is looked for in the latents.

    Raises:
        UsageError: the frames that are drawn for the label are all alike.
    """
    fitted = load_world_model(run_dir)
    check_links(run_dir)
    set_threads(fitted.config.threads)
    train, held_out = fitted.episodes.split()
    report = _head(fitted.config) | evaluation_report(fitted.model, train, held_out) | probe(fitted, noise)
    if label is not None:
        with as_usage_errors():
            report |= probe_labels(fitted.model, train, held_out, label, label_fraction, fitted.config.seed)
    report |= mode_shares(data_spec(fitted.config), *drawn_successors(fitted.model, held_out))
    report |= dream_reachability(fitted.model, train, held_out) | (returns or {})
    _write(run_dir, report, fitted.model, held_out)
    return report


def _write(run_dir: Path, report: dict[str, Any], model: WorldModel, held_out: EpisodeDataset) -> None:
    """Leave a report and its pictures."""
    moved = traversals(model, held_out) if is_convolved(model.observation_space) else None
    write_report(run_dir, report, open_loop_example(model, held_out), moved)


def probe(fitted: FittedModel, noise: float) -> dict[str, Any]:
    """How well a linear map finds the true state, where an environment of ours knows it; in fresh, random play."""
    pairs = true_states(data_spec(fitted.config))
    if pairs is None:
        return {}
    report: dict[str, Any] = {}
    for suffix, deviation in {"": 0.0, "_noisy": noise}.items():
        if not suffix or noise:
            each = probe_states(fitted.model, *pairs, noise=deviation)
            report |= {f"probe_r2{suffix}": sum(each) / len(each), f"probe_r2_each{suffix}": each}
    return report


def _head(config: WorldModelConfig) -> dict[str, Any]:
    return {"env": config.env, "encoder": config.observation_model, "dynamics": config.dynamics}
