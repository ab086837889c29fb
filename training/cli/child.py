"""A command as the child of a launcher: `python -m palaestra.training.cli.child WORDS`.

It stops, with a checkpoint, when the process that began it is gone. `comparison/` starts it by this name alone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from ..tracking.stderr import keep_stderr
from .main import run

# Seconds that a command whose parent is gone may take to end by itself.
GRACE = 5.0


def main() -> None:
    """Run the command, and watch for the end of the parent process meanwhile."""
    keep_stderr()
    threading.Thread(target=stop_with_parent, daemon=True).start()
    sys.exit(run(sys.argv[1:]))


def stop_with_parent() -> None:
    """Wait until the parent process ends, then end this one."""
    # Our end of a pipe that the parent never writes to: it ends when the parent does. Not by way of sys.stdin, whose
    # lock would be held when the interpreter ends.
    os.read(0, 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody is there to read what the command prints at its end
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        # The training loop writes a checkpoint.
        if sys.platform == "win32":
            signal.raise_signal(signal.SIGTERM)  # os.kill would end the process
        else:
            os.kill(os.getpid(), signal.SIGTERM)  # wakes the main thread
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
