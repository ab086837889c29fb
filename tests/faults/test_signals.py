"""SIGINT, SIGTERM and SIGHUP at random moments: a checkpoint, the right exit code, and the same run afterwards."""

import os
import random
import signal
import time

import pytest

from .runs import CLOCKS, KINDS, everything

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("kind", ["ppo, async", "ppo, vector", "dqn", "reinforce, lstm", "td3"])
def test_a_stopped_run_goes_on_exactly(kind, number, start, tried, tmp_path):
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    words = [*KINDS[kind].split(), *CLOCKS.split()]
    start(*words, "--out", str(alone)).join()
    process = start(*words, "--out", str(stopped))
    while not (stopped / "metrics.jsonl").exists() and process.is_alive():
        time.sleep(0.001)
    time.sleep(random.Random(f"{kind}{number}").uniform(0, 0.5))
    if process.is_alive():
        os.kill(process.pid, number)
    process.join(timeout=60)
    assert process.exitcode in (0, 128 + number)
    if process.exitcode:
        tried("signals, then --resume")
        resumed = start("train", "--resume", str(stopped))
        resumed.join()
        assert resumed.exitcode == 0
    assert everything(alone) == everything(stopped)
