"""What W&B has of a run whose sessions were killed."""

import shutil

import imageio.v3 as imageio
import numpy as np
import pytest

from palaestra.training.tracking.trackers import open_tracker
from palaestra.training.tracking.wandb_offline import read_run
from palaestra.training.tracking.wandb_sent import SentRows

from ..wandb_file import finished_run

RUN = {"env": "CartPole-v1", "agent": "ppo", "seed": 3, "config": {}}
ROWS = [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (4, 2)]


def log(tracker, rows):
    for step, nth in rows:
        tracker.log({("episode/return", "eval/return")[nth - 1]: float(step)}, step)


@pytest.fixture
def killed(tmp_path, monkeypatch, offline_wandb):
    """A run of two sessions, of which the second, from (2, 2) on, was killed; and the second's file."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    picture = tmp_path / "curve.png"
    imageio.imwrite(picture, np.zeros((4, 4, 3), np.uint8))
    with monkeypatch.context() as context:
        for rows in (ROWS[:2], ROWS[2:]):
            tracker = open_tracker(run_dir, "wandb", **RUN, resume_step=rows[0][0])
            log(tracker, rows[:-1])
            tracker.figure(picture, "learning_curve", rows[-1][0])
            log(tracker, rows[-1:])
            tracker.close()
            context.setattr(SentRows, "end", lambda self: None)
    files = sorted((run_dir / "wandb").glob("offline-run-*/*.wandb"), key=steps_in)
    return run_dir, files[1]


def steps_in(path):
    return [row["step"] for row in finished_run(path).history]


def numbers(run):
    return [row["step"] for row in run.history if "episode/return" in row or "eval/return" in row]


def cut(file, kept):
    """Leave only the first so many rows of a file, as a kill does."""
    whole = file.read_bytes()
    for length in range(len(whole), 0, -1):
        file.write_bytes(whole[:length])
        if len(numbers(read_run(file))) == kept:
            return


@pytest.mark.parametrize(("kept", "last"), [(4, (4, 2)), (3, (4, 1)), (2, (3, 1)), (1, (2, 2)), (0, (2, 1))])
def test_what_a_killed_session_kept_is_counted_in_its_file(killed, kept, last):
    """Among them two rows of one step, which two sessions sent, and a picture, which is none."""
    run_dir, file = killed
    cut(file, kept)
    assert SentRows(run_dir).last == last


def test_the_next_session_sends_the_rest(killed):
    run_dir, file = killed
    cut(file, 1)
    before = set((run_dir / "wandb").glob("offline-run-*/*.wandb"))
    tracker = open_tracker(run_dir, "wandb", **RUN, resume_step=3)
    log(tracker, [*ROWS[4:], (5, 1)])
    tracker.close()
    # The third session's file, and nothing twice.
    (third,) = set((run_dir / "wandb").glob("offline-run-*/*.wandb")) - before
    assert numbers(finished_run(third)) == [3, 4, 4, 5]
    assert SentRows(run_dir).last == (5, 1)
    assert len((run_dir / "wandb_sent.txt").read_text().splitlines()) == 1


def test_files_that_are_gone_or_broken_leave_what_was_handed_over(killed):
    run_dir, file = killed
    file.write_bytes(b"no log of W&B")
    assert SentRows(run_dir).last == (4, 2)
    shutil.rmtree(run_dir / "wandb")
    assert SentRows(run_dir).last == (4, 2)
