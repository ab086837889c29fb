import io
import os
import signal
import subprocess
import sys

import pytest
from tqdm import tqdm

from palaestra.training.tracking.progress import Progress
from palaestra.training.tracking.stderr import LastingStream

COMMAND = [sys.executable, "-m", "palaestra"]


class Gone(io.StringIO):
    """A log file on a full disk, or a terminal that was closed."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    def flush(self):
        raise ValueError("I/O operation on closed file")


def test_what_cannot_be_said_is_dropped(monkeypatch):
    stream = LastingStream(Gone())
    assert stream.write("twelve words") == 12
    stream.flush()
    progress = Progress(100, stream=Gone())
    monkeypatch.setattr(progress, "_next_show", 0.0)
    progress.update(50)
    progress.write("a line")
    progress.close()


def test_a_line_goes_above_the_bar_on_the_same_stream():
    terminal = io.StringIO()
    assert LastingStream(terminal) == terminal and LastingStream(LastingStream(terminal)) == terminal
    assert LastingStream(terminal) != LastingStream(io.StringIO())
    with tqdm(total=10, file=LastingStream(terminal), mininterval=0) as bar:
        bar.update(1)
        tqdm.write("a line", file=LastingStream(terminal))
    # The bar was cleared first: the line does not begin behind it.
    assert "\ra line\n" in terminal.getvalue() and LastingStream(terminal).getvalue() == terminal.getvalue()


def test_a_run_outlives_its_log(tmp_path):
    words = ["train", "ppo", "--env", "CartPole-v1", "--steps", "2k", "--num-envs", "4", "--track", "none"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run([*COMMAND, *words, "--out", str(tmp_path / "run")], stderr=full)
    assert ended.returncode == 0
    assert any((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize("words", [["--help"], ["runs", ".", "--json"]])
def test_whoever_reads_results_may_have_seen_enough(words, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        ended = subprocess.run([*COMMAND, *words], stdout=gone, stderr=subprocess.PIPE, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")
