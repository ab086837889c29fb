"""`torchrun ... -m palaestra train`: one run in many processes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..settings.arguments import option_value, option_words
from ..settings.ranks import this_rank
from ..settings.usage import RunFailedError, UsageError
from .terminal.options import read_options
from .terminal.output import BAD_INPUT, FAILURE, exit_code

if TYPE_CHECKING:
    from ..parallel.team import Team
    from ..run.session import Result


def train_ranks(arguments: list[str], resume_options: type[Any]) -> int:
    """Train in this process and in those that torchrun has started beside it; one of them says what went wrong."""
    from ...envs.backends.failure import EnvironmentFailedError
    from ..parallel.start import NotStartedError
    from ..parallel.team import Team
    from ..run.describe import describe, describe_failure

    team = Team(this_rank())
    try:
        result = _train(team, arguments, resume_options)
    except NotStartedError:
        return BAD_INPUT
    except (UsageError, RunFailedError) as error:
        if team.is_first_to_say():
            raise
        return BAD_INPUT if isinstance(error, UsageError) else FAILURE
    except EnvironmentFailedError as failure:
        if team.is_first_to_say():
            if team.run_dir is None:  # before anything was begun
                raise
            print(describe_failure(team.run_dir, failure), file=sys.stderr)
        return FAILURE
    if team.rank == 0 and team.run_dir is not None:
        print(describe(team.run_dir, result))
    team.close()
    return exit_code(result.signal)


def _train(team: Team, arguments: list[str], resume_options: type[Any]) -> Result:
    from ..parallel.start import resume_ranked, start_ranked
    from ..run.storage.folder import default_run_dir
    from ..settings.train_options import read_train_options

    for name in ("seeds", "world-model"):
        if option_value(arguments, name) is not None:
            raise UsageError(f"--{name}: not in many processes; give the command without torchrun")
    if "--dry-run" in arguments:
        raise UsageError("--dry-run: give the command without torchrun")
    if option_value(arguments, "resume") is not None:
        if len(option_words(arguments, "resume") or []) > 1:
            raise UsageError("--resume: one run in many processes; give several runs without torchrun")
        options = read_options(resume_options, arguments, "train")
        changes = (options.steps, options.schedule_steps, options.device, options.threads)
        return resume_ranked(team, options.resume, *changes)
    config, given = read_train_options(arguments[0], arguments[1:])
    return start_ranked(team, config, given or default_run_dir(config))
