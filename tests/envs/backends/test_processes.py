"""What happens to the processes of `async` and to the memory that they share."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.backends import shared
from palaestra.envs.backends.shared import make_board, map_board

OBS, ACTION = spaces.Box(0, 255, (200, 200), np.uint8), spaces.Discrete(3)

STOPPED = """
import os, sys, time, gymnasium, numpy as np, cloudpickle
from palaestra.envs.backends.processes import AsyncBackend
cloudpickle.register_pickle_by_value(sys.modules["__main__"])

class Slow(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(0, 1, (1,)), gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}
    def step(self, action):
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
        return np.zeros(1, np.float32), 0.0, False, False, {}

backend = AsyncBackend(lambda i: Slow(), 1, 0, workers=1, timeout=2.0)
backend.start()
print("ready", flush=True)
failures = []
for _ in range(3):
    backend.step(np.zeros(1, int))
    failures += backend.failures
print(failures, flush=True)
backend.close()
"""


def test_a_program_that_is_stopped_and_goes_on_has_lost_no_worker():
    """Ctrl-Z, or a cluster that lets another job have the machine, for longer than a step may take."""
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.2)
        os.killpg(program.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.killpg(program.pid, signal.SIGCONT)
        assert program.stdout.readline() == "[]\n"


def test_a_board_has_its_memory_before_anything_is_written_to_it():
    """What is only given a length ends the process where memory runs out (SIGBUS)."""
    file, board = make_board(OBS, ACTION, 3)
    with file:
        assert os.fstat(file.fileno()).st_blocks * 512 >= os.fstat(file.fileno()).st_size > 2 * 3 * 200 * 200
        board.obs[1] = 7
        board.episode[:] = 1, 2, 3
        other = map_board(file.fileno(), OBS, ACTION, 3)
        assert other.obs[1].min() == 7 and other.episode.tolist() == [1, 2, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="no such folder")
def test_where_shared_memory_is_short_a_board_lies_on_the_disk(monkeypatch, tmp_path):
    reserve, asked = os.posix_fallocate, []

    def short(descriptor, offset, size):
        asked.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if asked[-1].startswith(shared.SHARED_MEMORY):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(descriptor, offset, size)

    monkeypatch.setattr(shared.os, "posix_fallocate", short)
    monkeypatch.setattr(shared.tempfile, "tempdir", str(tmp_path))
    file, board = make_board(OBS, ACTION, 3)
    with file:
        board.obs[:] = 1
    assert len(asked) == 2 and asked[1].startswith(str(tmp_path))
