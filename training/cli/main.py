"""The `palaestra` command: usage, which command is asked for, and exit codes."""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

from ..run.signals import StoppedError, stopping_signals
from ..settings.trust import names_outside, trusting
from ..settings.usage import RunFailedError, UsageError, nearest
from ..tracking.stderr import keep_stderr
from .terminal.output import BAD_INPUT, DONE, FAILURE, exit_code, only_results, print_any_letter

JSON = "--json"
SIGPIPE = 13  # Windows has no name for it

USAGE = """usage: palaestra COMMAND ...

  train AGENT --env ID      train an agent, for example: palaestra train ppo --env CartPole-v1
  train --resume RUN_DIR    go on with a run that was stopped
  evaluate RUN_DIR          play full episodes with what a run has learned
  watch RUN_DIR             the same in the environment's own window
  share RUN_DIR --out DIR   a folder to give away: weights, model card, curve, film
  export RUN_DIR            the policy of a run as a file for other programs (ONNX)
  record RUN_DIR --out DIR  keep full episodes of it, for `train bc --data DIR`
  runs [DIR]                what has been trained here
  matrix DIR ...            what each agent, encoder and memory has reached, as a page
  sweep SPACE               search an agent's options
  compare SUITE             agents against baselines, with statistics; or compare RUN_DIR ...
  wandb DIR                 what W&B will show of what was logged offline
  world-model COMMAND       fit a world model, judge it, train in its dreams
  bench [NAME ...]          throughput and memory, side by side with Stable-Baselines3
  bench envs ID             which backend steps this environment fastest
  bench export-latency      one action of an exported policy, of ours and of Stable-Baselines3's
  bench dream [DIR]         dreamt steps per second of a world model
  envs list [PATTERN]       environments that are installed
  envs check ID             is this environment sound?
  envs survey [PATTERN]     check and step every environment that is installed
  doctor                    device, torch, threads, optional packages, W&B

palaestra COMMAND --help says more; palaestra --version."""

# Each is the file of that name here, imported only when it is asked for.
COMMANDS = (
    "train",
    "evaluate",
    "watch",
    "share",
    "export",
    "record",
    "runs",
    "matrix",
    "compare",
    "sweep",
    "wandb",
    "bench",
    "envs",
    "world-model",
    "doctor",
)


def run(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    # Shells read ~ only where it begins a word.
    arguments = [
        re.sub(r"^(--[\w.-]+=)(~.*)", lambda m: m[1] + os.path.expanduser(m[2]), a) for a in arguments
    ]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return DONE if arguments else BAD_INPUT
    if arguments[0] == "--version":
        from importlib.metadata import version  # takes longer than all of --help

        print(f"palaestra {version('palaestra')}")
        return DONE
    # As `python -m` does: environments and agents of the user's own lie where the command is typed. Only for commands
    # that name some: a folder from someone else may hold modules with the names of ours and of other packages.
    if names_outside(arguments) and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        json = JSON in arguments and not {"-h", "--help"} & set(arguments)
        # From here on a signal ends the command in order, also while nothing is there yet that could be saved.
        with trusting(arguments), only_results() if json else nullcontext(), stopping_signals():
            return _dispatch(arguments[0], arguments[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except RunFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILURE
    except RuntimeError as error:
        from ...envs.backends.failure import EnvironmentFailedError, where

        if not isinstance(error, EnvironmentFailedError):
            raise
        print(f"error: {error}{where(error)}", file=sys.stderr)
        return FAILURE
    except OSError as error:
        # The user's files and folders; an environment's own errors have been reported already.
        if error.filename is None and error.errno == errno.ENOSPC:
            print(f"error: {error.strerror}; make room, and give the command again", file=sys.stderr)
            return FAILURE
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILURE if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else BAD_INPUT
    except StoppedError as stop:
        print("stopped", file=sys.stderr)
        return exit_code(stop.number)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return exit_code(signal.SIGINT)


def reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more; on Windows, which does not tell, it is."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(1, 0)
    return bool(poll.poll(0))


def _dispatch(command: str, arguments: list[str]) -> int:
    if command not in COMMANDS:
        raise UsageError(f"unknown command {command!r}; {nearest(command, COMMANDS)}")
    if arguments[-1:] == ["--resume"]:
        raise UsageError("--resume: say which folder; `palaestra runs` lists the runs that are here")
    name = command.replace("-", "_")
    return getattr(import_module(f".{name}", __package__), name)(arguments)


def main() -> None:
    """Entry point of the `palaestra` command."""
    keep_stderr()
    print_any_letter()
    try:
        code = run(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        if not reader_is_gone():
            raise
        # `palaestra envs list | head`: whoever reads has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(exit_code(SIGPIPE))
    if JSON in sys.argv:
        # What environments print when the interpreter ends is no result either.
        os.dup2(2, 1)
    sys.exit(code)


if __name__ == "__main__":
    main()
