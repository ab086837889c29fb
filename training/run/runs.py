"""A run from its folder's point of view: start it, go on with it, load what it has learned."""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces

from ...envs.backends.failure import EnvironmentFailedError, RemoteError
from ...envs.make import EnvSpec, make_envs
from ..baselines.algorithms import is_baseline
from ..baselines.loop import check_baseline, is_finished, train_baseline
from ..baselines.model import MODEL_FILE, NORMALIZATION_FILE, load_baseline
from ..imagination.dream_envs import training_envs
from ..settings.components import find_component
from ..settings.config import RunConfig, load_config, save_config, to_dict
from ..settings.usage import UsageError, as_usage_errors
from ..tracking.plots import plot_learning_curve
from ..tracking.progress import Progress, say
from ..tracking.provenance import record_session
from ..tracking.tracker import Tracker
from ..tracking.trackers import check_tracking, open_tracker
from .beginnings import begin_differently
from .build import build_agent, env_spec, evaluation_spec, resolve
from .checkpoint import latest_checkpoint, list_checkpoints, load_checkpoint
from .evaluate import Actor, evaluate
from .lock import locked
from .loop import Result, train
from .video import envs_to_draw, record_video

# Beside the config of a run that alternates between the real environment and dreams.
CYCLE_FILE = "cycle.yaml"


def default_run_dir(config: RunConfig) -> Path:
    """Return `runs/<env>/<agent>-seed<seed>`, with a number behind it where that is taken."""
    parent = Path("runs") / config.env.replace("/", "_").replace(":", "_")
    name = f"{config.agent.split(':')[-1].replace('/', '-')}-seed{config.seed}"
    candidates = (parent / (name if n == 1 else f"{name}-{n}") for n in range(1, sys.maxsize))
    return next(path for path in candidates if not path.exists())


def start_run(config: RunConfig, run_dir: Path) -> Result:
    """Train from the beginning, into a folder that must be new or empty.

    Raises:
        UsageError: something lies there already; nothing is overwritten.
    """
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise UsageError(f"{run_dir} is not empty; choose another --out, or go on with --resume {run_dir}")
    # Everything that can be wrong with the request shows here, before anything is written.
    check_tracking(config.track)
    with as_usage_errors():
        config = resolve(config)
        set_threads(config)
        baseline = is_baseline(find_component("agent", config.agent))
        if baseline:
            # The one backend that never resets in steps of its own, whatever the environment.
            config = replace(config, backend="sync") if config.backend == "auto" else config
            check_baseline(config)
        with closing(training_envs(config)) as envs:
            if not baseline:
                build_agent(config, envs.observation_space, envs.action_space)
            if config.dream.model is None:
                if config.backend == "auto":
                    say(f"note: {config.num_envs} copies of {config.env}, stepped by backend {envs.backend}")
                config = replace(config, backend=envs.backend)  # type: ignore[arg-type]
            if config.video:
                check_video(config)
            if not envs.exact_resume and not baseline:
                say(
                    f"note: {config.env} cannot be restored in mid-episode; a resumed run begins new episodes"
                )
            if envs.exact_resume and config.dream.model is None and begin_differently(envs):
                say(
                    f"note: the same seeds begin other episodes in {config.env}: the run cannot be reproduced or "
                    f"resumed exactly; palaestra envs check {config.env} says more"
                )
    run_dir.mkdir(parents=True, exist_ok=True)
    save_config(run_dir, config)
    return _run(config, run_dir, None, resume_step=None)


def resume_run(run_dir: Path, steps: int | None = None) -> Result:
    """Go on from the last checkpoint, bit for bit as if the run had never stopped; `steps` sets a new total."""
    config = load_config(run_dir)
    if (run_dir / CYCLE_FILE).exists():
        raise UsageError(f"{run_dir} trains in dreams; go on with: palaestra train --resume {run_dir}")
    if is_baseline(find_component("agent", config.agent)):
        return _resume_baseline(config, run_dir, steps)
    # A run that was killed before its first checkpoint begins again.
    checkpoint = latest_checkpoint(run_dir) if list_checkpoints(run_dir) else None
    done = int(checkpoint.name) if checkpoint else 0
    if steps is not None and steps != config.steps:
        if steps < done:
            raise UsageError(f"{run_dir} has {done} steps already; --steps must be more than that")
        config = replace(config, steps=steps)
        save_config(run_dir, config)
    set_threads(config)
    return _run(config, run_dir, checkpoint, resume_step=done)


def _resume_baseline(config: RunConfig, run_dir: Path, steps: int | None) -> Result:
    if steps not in (None, config.steps):
        raise UsageError(f"{config.agent} cannot be trained on; train anew with --steps {steps}")
    if is_finished(run_dir, config):
        raise UsageError(f"{run_dir} has finished, and {config.agent} cannot be trained on")
    say(
        f"note: {config.agent} begins again: it saves no checkpoints, but comes to the same with the same seed"
    )
    set_threads(config)
    return _run(config, run_dir, None, resume_step=0)


def _run(config: RunConfig, run_dir: Path, checkpoint: Path | None, resume_step: int | None) -> Result:
    with locked(run_dir):
        record_session(run_dir, resume_step or 0)
        tracker = open_tracker(
            run_dir,
            config.track,
            env=config.env,
            agent=config.agent,
            seed=config.seed,
            config=to_dict(config),
            resume_step=resume_step,
        )
        # After the tracker: W&B may take seconds to start, which are not training.
        progress = Progress(config.steps, start_step=resume_step or 0)
        exit_code = 1
        try:
            if is_baseline(find_component("agent", config.agent)):
                result = train_baseline(config, run_dir, tracker, progress)
            else:
                result = train(config, run_dir, tracker, progress, checkpoint)
            exit_code = 0 if result.signal is None else 128 + result.signal
            if result.signal is None:
                finish(run_dir, config, result, tracker)
        finally:
            progress.close()
            tracker.close(exit_code)
    return result


def learned(run_dir: Path) -> dict[str, Path]:
    """Files or folders that hold what a finished run has learned, by what they are called among artifacts."""
    baseline = {"checkpoint": run_dir / MODEL_FILE, "normalization": run_dir / NORMALIZATION_FILE}
    return {name: path for name, path in baseline.items() if path.is_file()} or {
        "checkpoint": latest_checkpoint(run_dir)
    }


def finish(run_dir: Path, config: RunConfig, result: Result, tracker: Tracker) -> None:
    """Leave a finished run's summary, learning curve and film, and give them and what was learned to the tracker."""
    evaluation = result.evaluation.summary() if result.evaluation else {}
    summary = {"step": result.step, "seconds": round(result.seconds, 3), **evaluation}
    (run_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    tracker.summary(summary)
    tracker.figure(plot_learning_curve(run_dir), "learning_curve", result.step)
    for name, path in learned(run_dir).items():
        tracker.artifact(path, name, "model")
    if config.video:
        run = load_run(run_dir)
        film = film_run(run, evaluation_spec(config), run_dir / "videos")[0]
        tracker.video(film, "video", result.step)
        tracker.artifact(film, "video", "video")


def check_video(config: RunConfig) -> None:
    """Make sure that an environment can be drawn.

    Raises:
        ValueError: it cannot.
    """
    envs_to_draw(replace(evaluation_spec(config), num_envs=1, render_mode="rgb_array")).close()


def film_run(run: LoadedRun, spec: EnvSpec, folder: Path, copies: int = 1, gif: bool = False) -> list[Path]:
    """Film an episode of what a run has learned; returns the files, named by the steps that were trained."""
    return record_video(run.agent, spec, folder / f"step-{run.step:09d}.mp4", copies, gif)


def set_threads(config: RunConfig) -> None:
    """Use as many torch threads as the run says: results depend on it in the last bits."""
    torch.set_num_threads(config.threads)


@dataclass(frozen=True)
class LoadedRun:
    """A run's agent as its last checkpoint left it, and what belongs to it."""

    config: RunConfig
    agent: Actor
    step: int
    observation_space: spaces.Space
    action_space: spaces.Space


def load_run(run_dir: Path) -> LoadedRun:
    """Load a run's agent from its last checkpoint."""
    config = load_config(run_dir)
    set_threads(config)
    if is_baseline(find_component("agent", config.agent)):
        actor, step = load_baseline(run_dir, config)
        with closing(make_envs(replace(env_spec(config), num_envs=1))) as envs:
            return LoadedRun(config, actor, step, envs.observation_space, envs.action_space)
    checkpoint = latest_checkpoint(run_dir)
    with as_usage_errors(), closing(make_envs(replace(env_spec(config), num_envs=1))) as envs:
        # Compiled functions serve learning only.
        agent = build_agent(replace(config, compile="off"), envs.observation_space, envs.action_space)
    parts = {f"agent.{name}": part for name, part in agent.parts().items()}
    load_checkpoint(checkpoint, parts, only_these=True)
    return LoadedRun(config, agent, int(checkpoint.name), envs.observation_space, envs.action_space)


def evaluate_run(
    run_dir: Path,
    episodes: int,
    seed: int | None = None,
    explore: bool = False,
    video: Path | None = None,
    video_copies: int = 1,
    gif: bool = False,
) -> dict[str, Any]:
    """Play full episodes with a run's agent; returns what `palaestra evaluate --json` prints."""
    run = load_run(run_dir)
    if video is not None:
        # What cannot be filmed, or kept, shows before the episodes are played.
        with as_usage_errors():
            check_video(run.config)
        video.mkdir(parents=True, exist_ok=True)
    spec = evaluation_spec(run.config, seed)
    evaluation = evaluate(run.agent, spec, episodes, explore=explore)
    report: dict[str, Any] = {"env": run.config.env, "agent": run.config.agent, "seed": spec.seed}
    report |= evaluation.summary() | {"steps_trained": run.step}
    if video is not None:
        with as_usage_errors():
            files = film_run(run, spec, video, video_copies, gif)
        report |= {"video": str(files[0])} | ({"gif": str(files[1])} if gif else {})
    return report


def describe_failure(run_dir: Path, failure: EnvironmentFailedError) -> str:
    """The environment's own traceback, what happened in one line, and how to go on."""
    cause = failure.__cause__
    lines = [] if cause is None else [str(cause).strip()]
    if cause is not None and not isinstance(cause, RemoteError):
        lines = ["".join(traceback.format_exception(cause)).strip()]
    lines.append(f"error: {failure}")
    if run_dir.is_dir():
        saved = list_checkpoints(run_dir)
        start = (
            f"the checkpoint of step {int(latest_checkpoint(run_dir).name):,}" if saved else "the beginning"
        )
        lines.append(f"when it is repaired, go on from {start}: palaestra train --resume {run_dir}")
    lines.append("--env.on-error restart goes on without the episode that fails")
    return "\n".join(lines)


def describe(run_dir: Path, result: Result) -> str:
    """One screen about a run that has just ended."""
    config = load_config(run_dir)
    if result.signal is not None:
        return f"stopped at step {result.step:,}; go on with: palaestra train --resume {run_dir}"
    assert result.evaluation is not None
    summary = result.evaluation.summary()
    speed = result.step / result.seconds if result.seconds > 0 else 0.0
    lines = {
        "run": str(run_dir),
        "trained": f"{result.step:,} steps in {result.seconds:.1f} s ({speed:,.0f} steps/s)",
        "return": f"{summary['return_mean']:.1f} +- {summary['return_std']:.1f} over {summary['episodes']} "
        f"evaluation episodes (min {summary['return_min']:.1f}, max {summary['return_max']:.1f})",
        "curve": str(run_dir / "learning_curve.png"),
        "next": f"palaestra evaluate {run_dir} --episodes 100 --video {run_dir / 'videos'}",
    }
    head = f"{config.agent} on {config.env}, seed {config.seed}"
    return "\n".join([head, *(f"  {name:<8} {text}" for name, text in lines.items())])
