"""SIGKILL at random moments, also while a checkpoint is written: what goes on is what was never killed."""

import random
import signal
import time

import pytest

from .runs import CLOCKS, KINDS, everything

# How often each kind is killed; a moment is drawn for each.
KILLS = 4


def killed_at(process, moment, run_dir, while_saving):
    """SIGKILL a process some seconds after its start, or in the first write of a checkpoint after that."""
    begun = time.monotonic()
    while process.is_alive():
        if time.monotonic() - begun >= moment and (
            not while_saving
            or any((run_dir / "checkpoints").glob("*.tmp"))
            or time.monotonic() - begun > moment + 1
        ):
            process.kill()
            process.join()
            return process.exitcode == -signal.SIGKILL
        time.sleep(0.0005)
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_at_random_moments_equals_one_left_alone(kind, start, tried, tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    begun = time.monotonic()
    words = [*KINDS[kind].split(), *CLOCKS.split()]
    start(*words, "--out", str(alone)).join()
    seconds = time.monotonic() - begun

    draw, command = random.Random(kind), [*words, "--out", str(killed)]
    for number in range(KILLS):
        if killed_at(start(*command), draw.uniform(0.1, seconds), killed, while_saving=number % 2 == 1):
            tried("SIGKILL, then --resume")
        if (killed / "config.yaml").exists():
            command = ["train", "--resume", str(killed)]
    process = start(*command)
    process.join()
    if process.exitcode == 2:  # it had ended before the last kill
        assert (killed / "summary.json").exists()
    assert everything(alone) == everything(killed)
