import io
import re
import time

import pytest

from palaestra.training.tracking import progress as module
from palaestra.training.tracking.progress import Progress, duration, say


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Clock:
    """Stands in for `time.perf_counter`."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module.time, "perf_counter", clock)
    return clock


def test_without_a_terminal_a_plain_line_comes_every_five_seconds(clock):
    stream = io.StringIO()
    progress = Progress(100_000, stream=stream)
    for second in range(1, 21):
        clock.now += 1
        progress.update(second * 2000, [100.0, 200.0] if second == 3 else [])
    progress.close()
    assert stream.getvalue().splitlines() == [
        f"step {step}/100000  return 150.0  2000 steps/s  {left} s left"
        for step, left in ((10_000, 45), (20_000, 40), (30_000, 35), (40_000, 30))
    ]


def test_the_end_is_always_shown(clock):
    stream = io.StringIO()
    progress = Progress(1000, stream=stream)
    clock.now += 0.5
    progress.update(1008)
    assert stream.getvalue() == ""
    progress.close()
    assert stream.getvalue() == "step 1008/1000  2016 steps/s  0 s left\n"


def test_a_resumed_run_counts_only_its_own_steps_as_speed(clock):
    stream = io.StringIO()
    progress = Progress(1000, start_step=900, stream=stream)
    clock.now += 10
    progress.update(950)
    assert stream.getvalue() == "step 950/1000  5.0 steps/s  10 s left\n"


def test_speed_and_return_are_recent_ones(clock):
    stream = io.StringIO()
    progress = Progress(10_000, stream=stream)
    for second in range(1, 61):
        clock.now += 1
        progress.update(second * 100, [0.0])
    for second in range(1, 61):
        clock.now += 1
        progress.update(6000 + second * 10, [1.0, 1.0])
    last = stream.getvalue().splitlines()[-1]
    assert last == "step 6600/10000  return 1.00  10 steps/s  5 min 40 s left"


def test_on_a_terminal_a_bar_shows_the_same(clock):
    stream = Terminal()
    progress = Progress(1000, stream=stream)
    clock.now += 0.5
    progress.update(250, [12.0])
    assert stream.getvalue().split("\r")[-1].startswith(" 25%|██▌       | ")
    assert "step 250/1000  return 12.0  500 steps/s  2 s left" in stream.getvalue()
    clock.now += 0.5
    progress.update(1004)
    progress.close()
    end = stream.getvalue().split("\r")[-1]
    assert end.startswith("100%|██████████| step 1004/1000") and end.endswith("\n")


def test_a_message_does_not_break_the_bar(clock):
    stream = Terminal()
    progress = Progress(1000, stream=stream)
    clock.now += 1
    progress.update(500)
    progress.write("checkpoint written")
    shown = [re.sub(r"\x1b\[\w", "", part).rstrip(" ") for part in stream.getvalue().split("\r")]
    assert "checkpoint written\n" in shown
    assert shown[-1].startswith(" 50%|")
    progress.close()


def test_messages_go_to_stderr(capsys):
    say("hello")
    Progress(10).write("there")
    assert capsys.readouterr() == ("", "hello\nthere\n")


def test_updates_are_cheap():
    """About 0.2 us; the bound leaves room for a busy machine."""
    progress = Progress(10**9, stream=io.StringIO())
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for step in range(10_000):
            progress.update(step, [])
        best = min(best, time.perf_counter() - start)
    assert best / 10_000 < 2e-6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (5.2, "6 s"), (59.5, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text
