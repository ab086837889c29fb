"""Start and resume a cycle: collect real steps, fit a world model, train in its dream, and again (Dyna, MBPO)."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...envs.make import make_envs
from ...world_models.dream import check_disagreement
from ...world_models.world_model import WorldModel
from ..run.build import build_agent, env_spec, evaluation_spec, on_this_machine, resolve, set_threads
from ..run.describe import describe
from ..run.listing import check_not_shared
from ..run.loop import AgentLoop, footprint, loop_of
from ..run.resuming import note_differences, with_changes
from ..run.session import Result
from ..run.signals import StoppedError
from ..run.start import finish, opened_session, resources_of
from ..run.storage.checkpoint import latest_checkpoint, list_checkpoints
from ..run.storage.folder import (
    CYCLE_FILE,
    MODEL_CONFIG_FILE,
    MODEL_FOLDER,
    absolute,
    check_links,
    check_new,
    new_folder,
    write_errors,
)
from ..run.storage.lock import locked
from ..run.video import check_video
from ..settings.config import RunConfig, changed_config, load_config, save_config, to_dict
from ..settings.planning import check_learns, step_bytes
from ..settings.resources import Footprint, config_names, family_memory
from ..settings.trust import check_names, command_for
from ..settings.typed import plain
from ..settings.usage import RunFailedError, UsageError, as_usage_errors, typed_command
from ..settings.yaml_files import save_yaml
from ..tracking.evaluations_file import repair_logged
from ..tracking.progress import say
from ..tracking.trackers import check_tracking, step_to_resume
from .dyna_options import CycleConfig, load_cycle, model_config
from .rounds import train_in_rounds
from .world_model_config import WorldModelConfig, build_world_model
from .world_model_config import to_dict as model_dict


def dream_cycle(cycle: CycleConfig, config: RunConfig, run_dir: Path) -> int:
    """Run a cycle from its beginning, into a folder that must be new or empty; returns the exit code.

    Raises:
        UsageError: the request is wrong, or something lies there already.
    """
    check_new(run_dir)
    model = model_config(cycle, config)
    config, _ = checked_cycle(cycle, config, model)
    with new_folder(run_dir):
        (run_dir / MODEL_FOLDER).mkdir()
        # The config last: without it, what a kill leaves here counts as no run.
        save_yaml(run_dir / MODEL_FOLDER / MODEL_CONFIG_FILE, model_dict(model))
        save_yaml(run_dir / CYCLE_FILE, plain(cycle))
        save_config(run_dir, config)
        return _train_in(run_dir, cycle, on_this_machine(config))


def plan_cycle(cycle: CycleConfig, config: RunConfig) -> dict[str, Any]:
    """Do nothing but say what a cycle comes to, as `plan` does of a run."""
    model = model_config(cycle, config)
    config, taken = checked_cycle(cycle, config, model)
    here = on_this_machine(config)
    models = {"world_model": f"{model.observation_model}+{model.dynamics}", "rounds": cycle.rounds}
    return config_names(here) | models | resources_of(here, taken)


def checked_cycle(
    cycle: CycleConfig, config: RunConfig, model: WorldModelConfig
) -> tuple[RunConfig, Footprint]:
    """Return the run's config, every `auto` resolved, and what it takes, after building everything once.

    Raises:
        UsageError: something is wrong with the request.
    """
    if loop_of(config) is not AgentLoop:
        raise UsageError(
            f"{config.agent} has a loop of its own and cannot alternate between real and dreamt steps; it can be "
            "trained in a finished dream: palaestra world-model dream DIR --agent ..."
        )
    for name, given in {"bonus": config.bonus, "reward": config.reward}.items():
        if given != "none":
            raise UsageError(
                f"--{name} {given}: cycles of real and dreamt steps learn from the environment's reward alone; a "
                "finished world model can be dreamt with it: palaestra world-model dream DIR --agent ..."
            )
    if config.dream.model:
        raise UsageError(
            f"--dream.model {config.dream.model}: it is fitted anew in each round; dream in a finished one with: "
            f"{typed_command('world-model', 'dream', config.dream.model, '--agent', config.agent)}"
        )
    if cycle.real_steps < cycle.rounds * cycle.collect_envs:
        # What the two commands that begin a cycle call it.
        option = "--steps" if cycle.learn_from_real else "--real-steps"
        raise UsageError(f"{option}: {cycle.real_steps} are too few for {cycle.rounds} rounds")
    if cycle.learn_from_real and cycle.collect_envs != config.num_envs:
        raise UsageError(
            f"--collect-envs: with --learn-from-real it must be as many copies as there are dreams, --collect-envs "
            f"{config.num_envs}; got {cycle.collect_envs}"
        )
    if config.env_options.one_per_process:
        raise UsageError(
            "--env.one-per-process: cycles of real and dreamt steps have all real copies in one process"
        )
    if config.backend not in ("auto", "sync"):
        raise UsageError(
            f"--backend {config.backend}: cycles of real and dreamt steps step the real environment by sync alone"
        )
    check_tracking(config.track)
    with as_usage_errors():
        config = resolve(config)
        check_learns(config)
        here = on_this_machine(config)
        before = family_memory()
        with closing(make_envs(replace(env_spec(here), num_envs=1))) as envs:
            made = max(0, family_memory() - before)
            agent = build_agent(here, envs.observation_space, envs.action_space)
            networks = build_world_model(model, envs.observation_space, envs.action_space)
            check_disagreement(config.dream, networks)
            taken = footprint(here, agent, envs)._replace(environments=made * here.num_envs)
            taken = with_world_model(
                cycle, taken, networks, step_bytes(envs.observation_space, envs.action_space)
            )
        if config.video:
            check_video(evaluation_spec(config))
    return config, taken


def with_world_model(cycle: CycleConfig, taken: Footprint, networks: WorldModel, one: int) -> Footprint:
    """What a run takes, with the real steps of `one` bytes each and the world model that is fitted to them."""
    # Rewards and three flags go with the steps.
    real = cycle.real_steps * (one + 7)
    latents = cycle.real_steps * networks.observation_model.latent_size * 4
    # Parameters, Adam's two moments and the best parameters so far.
    model = 4 * sum(parameter.nbytes for parameter in networks.parameters())
    more = (("real steps", real), ("their latents", latents), ("world model", model))
    return taken._replace(more=more, checkpoint=taken.checkpoint + real + model)


def resume_cycle(run_dir: Path, device: str | None = None, threads: int | None = None) -> int:
    """Go on with a cycle from its last whole round; the end is bit for bit as if it had never stopped.

    Raises:
        UsageError: the folder holds no cycle, or another process trains it.
    """
    config = load_config(run_dir)
    cycle = load_cycle(run_dir)
    if cycle is None:
        raise UsageError(
            f"{run_dir} has no {CYCLE_FILE}; go on with: {typed_command('train', '--resume', run_dir)}"
        )
    encoder, _, dynamics = cycle.world_model.partition("+")
    check_names({"encoder": encoder, "dynamics": dynamics}, run_dir / CYCLE_FILE)
    check_links(run_dir)
    check_not_shared(run_dir)
    with locked(run_dir):
        repair_logged(run_dir)
        changed = with_changes(config, device=device, threads=threads)
        here = on_this_machine(changed, run_dir)
        note_differences(run_dir, config, here)
        with changed_config(run_dir, config, changed):
            return _train_in(run_dir, cycle, here)


def _train_in(run_dir: Path, cycle: CycleConfig, config: RunConfig) -> int:
    """Train in a folder that is locked."""
    go_on = command_for(to_dict(config), "train", "--resume", run_dir)
    with write_errors(f"go on with: {go_on}"):
        result = _rounds_in(absolute(run_dir), cycle, config, f"stopped; go on with: {go_on}")
    print(describe(run_dir, result) if result.signal is None else f"stopped; go on with: {go_on}")
    return result.exit_code


def _rounds_in(run_dir: Path, cycle: CycleConfig, config: RunConfig, advice: str) -> Result:
    """Do the rounds; `advice` is said where a signal stops them."""
    set_threads(config.threads)
    checkpoint = latest_checkpoint(run_dir) if list_checkpoints(run_dir) else None
    resume_step = step_to_resume(run_dir, checkpoint)
    with opened_session(run_dir, config, resume_step, {"cycle": plain(cycle)}) as opened:
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
    return result
