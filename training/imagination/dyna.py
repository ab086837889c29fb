"""Start and resume a cycle: collect real steps, fit a world model, train in its dream, and again (Dyna, MBPO)."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ...envs.make import make_envs
from ..run.build import build_agent, env_spec, evaluation_spec, resolve, set_threads
from ..run.checkpoint import latest_checkpoint, list_checkpoints
from ..run.describe import describe
from ..run.folder import CYCLE_FILE, check_new, new_folder
from ..run.lock import locked
from ..run.loop import AgentLoop, loop_of
from ..run.session import tracked
from ..run.signals import StoppedError
from ..run.start import finish
from ..run.video import check_video
from ..settings.config import RunConfig, load_config, save_config, to_dict
from ..settings.typed import build, plain
from ..settings.usage import RunFailedError, UsageError, as_usage_errors
from ..settings.yaml_files import load_yaml, save_yaml
from ..tracking.progress import say
from ..tracking.trackers import check_tracking, step_to_resume
from .dyna_options import CycleConfig, model_config
from .rounds import MODEL_FOLDER, train_in_rounds
from .world_model_config import MODEL_CONFIG_FILE, WorldModelConfig, build_world_model
from .world_model_config import to_dict as model_dict


def dream_cycle(cycle: CycleConfig, config: RunConfig, run_dir: Path) -> int:
    """Run a cycle from its beginning, into a folder that must be new or empty; returns the exit code.

    Raises:
        UsageError: the request is wrong, or something lies there already.
    """
    check_new(run_dir)
    model = model_config(cycle, config)
    config = checked_cycle(cycle, config, model)
    with new_folder(run_dir):
        (run_dir / MODEL_FOLDER).mkdir()
        # The config last: without it, what a kill leaves here counts as no run.
        save_yaml(run_dir / MODEL_FOLDER / MODEL_CONFIG_FILE, model_dict(model))
        save_yaml(run_dir / CYCLE_FILE, plain(cycle))
        save_config(run_dir, config)
        return _train_in(run_dir, cycle, config)


def checked_cycle(cycle: CycleConfig, config: RunConfig, model: WorldModelConfig) -> RunConfig:
    """Return the run's config, every `auto` resolved, after building everything once.

    Raises:
        UsageError: something is wrong with the request.
    """
    if loop_of(config) is not AgentLoop:
        raise UsageError(
            f"{config.agent} has a loop of its own and cannot alternate between real and dreamt steps; it can be "
            "trained in a finished dream: palaestra world-model dream DIR --agent ..."
        )
    if cycle.real_steps < cycle.rounds * cycle.collect_envs:
        raise UsageError(f"--real-steps: {cycle.real_steps} are too few for {cycle.rounds} rounds")
    if cycle.learn_from_real and cycle.collect_envs != config.num_envs:
        raise UsageError(
            f"--collect-envs: with --learn-from-real it must be as many copies as there are dreams, --collect-envs "
            f"{config.num_envs}; got {cycle.collect_envs}"
        )
    check_tracking(config.track)
    with as_usage_errors():
        config = resolve(config)
        with closing(make_envs(replace(env_spec(config), num_envs=1))) as envs:
            build_agent(config, envs.observation_space, envs.action_space)
            build_world_model(model, envs.observation_space, envs.action_space)
        if config.video:
            check_video(evaluation_spec(config))
    return config


def resume_cycle(run_dir: Path) -> int:
    """Go on with a cycle from its last whole round; the end is bit for bit as if it had never stopped.

    Raises:
        UsageError: the folder holds no cycle, or another process trains it.
    """
    config = load_config(run_dir)
    path = run_dir / CYCLE_FILE
    if not path.exists():
        raise UsageError(f"{run_dir} has no {CYCLE_FILE}; go on with: palaestra train --resume {run_dir}")
    cycle = build(CycleConfig, load_yaml(path), f"{path}: ")
    with locked(run_dir):
        return _train_in(run_dir, cycle, config)


def _train_in(run_dir: Path, cycle: CycleConfig, config: RunConfig) -> int:
    """Train in a folder that is locked."""
    set_threads(config.threads)
    checkpoint = latest_checkpoint(run_dir) if list_checkpoints(run_dir) else None
    advice = f"stopped; go on with: palaestra train --resume {run_dir}"
    with tracked(
        run_dir,
        config.track,
        env=config.env,
        agent=config.agent,
        seed=config.seed,
        config=to_dict(config) | {"cycle": plain(cycle)},
        resume_step=step_to_resume(run_dir, checkpoint),
    ) as opened:
        try:
            result = train_in_rounds(cycle, config, run_dir, opened.tracker, checkpoint)
        except StoppedError as stop:  # while it fitted
            say(advice)
            raise SystemExit(128 + stop.number) from None
        except RunFailedError as error:
            if str(run_dir) in str(error):
                raise
            raise RunFailedError(
                f"{error}; lower fit.learning_rate in {run_dir / CYCLE_FILE}, then go on: palaestra train --resume "
                f"{run_dir}"
            ) from error
        opened.exit_code = result.exit_code
        if result.signal is None:
            finish(run_dir, config, result, opened.tracker)
            opened.exit_code = result.exit_code
    print(describe(run_dir, result) if result.signal is None else advice)
    return result.exit_code
