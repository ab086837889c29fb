"""`palaestra train`: train an agent, or go on with a run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..settings.arguments import option_value
from ..settings.ranks import this_rank
from ..settings.typed import option_name
from ..settings.usage import UsageError
from .terminal.options import TrustSwitch, read_options
from .terminal.output import DONE, FAILURE, exit_code, format_values

# Says what a run comes to, and trains nothing.
DRY_RUN = "--dry-run"


@dataclass(frozen=True)
class ResumeOptions:
    """Go on with a run, bit for bit as if it had never stopped."""

    resume: Path
    """Folder of the run."""
    steps: int | None = None
    """New total of environment steps."""
    schedule_steps: int | None = None
    """Environment steps over which schedules run from now on; by default all."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where networks run from now on; then it is not bit for bit the same."""
    threads: int | None = None
    """Threads of torch from now on; then it is not bit for bit the same."""
    trust: TrustSwitch = False


def train(arguments: list[str]) -> int:
    """Train an agent, or go on with a run."""
    resume = option_value(arguments, "resume") is not None
    if not resume and (not arguments or arguments[0].startswith("-")):
        return _train_usage(arguments)
    from ...envs.backends.failure import EnvironmentFailedError
    from ..run.describe import describe, describe_failure
    from ..run.resuming import resume_run
    from ..run.start import plan, start_run
    from ..run.storage.folder import CYCLE_FILE, default_run_dir

    if this_rank().size > 1:
        from .train_ranks import train_ranks

        return train_ranks(arguments, ResumeOptions)
    from .train_group import resumed_folders, train_seeds, without_seeds

    if not resume and option_value(arguments, "world-model") is not None:
        from ..imagination.dyna import dream_cycle, plan_cycle
        from ..imagination.dyna_options import read_dyna_options

        words = [word for word in arguments[1:] if word != DRY_RUN]
        cycle, config, folder = read_dyna_options(arguments[0], words)
        if DRY_RUN in arguments:
            print(format_values(plan_cycle(cycle, config), width=24, digits=0))
            return DONE
        return dream_cycle(cycle, config, folder)
    if resume and (folders := resumed_folders(arguments)):
        return train_seeds(arguments, folders)
    if not resume and option_value(arguments, "seeds") is not None and DRY_RUN not in arguments:
        return train_seeds(arguments)
    try:
        if resume:
            options = read_options(ResumeOptions, arguments, "train")
            run_dir = options.resume
            if (run_dir / CYCLE_FILE).exists():
                from ..imagination.dyna import resume_cycle

                for name in ("steps", "schedule_steps"):
                    if getattr(options, name) is not None:
                        word = option_name(name)
                        raise UsageError(
                            f"--{word}: {run_dir} takes as many real steps as it was started with"
                        )
                return resume_cycle(run_dir, options.device, options.threads)
            result = resume_run(
                run_dir, options.steps, options.schedule_steps, options.device, options.threads
            )
        else:
            from ..settings.train_options import read_train_options

            config, given = read_train_options(
                arguments[0], without_seeds([word for word in arguments[1:] if word != DRY_RUN])
            )
            if DRY_RUN in arguments:
                print(format_values(plan(config), width=24, digits=0))
                return DONE
            run_dir = given or default_run_dir(config)
            result = start_run(config, run_dir)
    except EnvironmentFailedError as failure:
        print(describe_failure(run_dir, failure), file=sys.stderr)
        return FAILURE
    print(describe(run_dir, result))
    return exit_code(result.signal)


def _train_usage(arguments: list[str]) -> int:
    from ..settings.components import component_names

    agents = ", ".join(component_names("agent"))
    if not {"-h", "--help"} & set(arguments):
        raise UsageError(f"which agent? palaestra train AGENT --env ID (agents: {agents})")
    print(
        "usage: palaestra train AGENT --env ID [options]\n"
        "       palaestra train AGENT --env ID --seeds 8 [options]\n"
        "       palaestra train --resume RUN_DIR [--steps N] [--schedule-steps N]\n"
        "       palaestra train --resume RUN_DIR RUN_DIR ... [--steps N]\n"
    )
    print(
        f"agents: {agents}, package.module:Class, or Stable-Baselines3's as sb3/ppo, sb3/dqn, ...\n"
        "A preset for the agent and environment is used where there is one."
    )
    print(
        "With --dry-run nothing is trained: it says what is chosen, and what the run takes of memory and disk."
    )
    print("palaestra train AGENT --help shows every option with its default.")
    return DONE
