"""How far a run is, on stderr: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from tqdm import tqdm

from .return_text import return_text, spread_texts
from .stderr import LastingStream

EPISODES = 100
BAR_SECONDS, NOTEBOOK_SECONDS, LINE_SECONDS = 0.1, 0.5, 5.0
# Speed is measured over this long: an average since the start would hide that an agent begins to learn.
SPEED_SECONDS = 30.0


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
_notes: ContextVar[set[str] | None] = ContextVar("notes", default=None)
_wording: ContextVar[Callable[[str], str]] = ContextVar("wording", default=str)


@contextmanager
def quietly(quiet: bool = True) -> Iterator[None]:
    """Show no progress and no notes in this thread; warnings are said all the same."""
    token = _quiet.set(quiet)
    try:
        yield
    finally:
        _quiet.reset(token)


@contextmanager
def worded(wording: Callable[[str], str]) -> Iterator[None]:
    """Put each line into other words in this thread: a program's options are no `--options`."""
    token = _wording.set(wording)
    try:
        yield
    finally:
        _wording.reset(token)


@contextmanager
def notes_said_once() -> Iterator[None]:
    """Say a note the first time only, in this thread: what holds for one of many runs holds for the others."""
    token = _notes.set(set())
    try:
        yield
    finally:
        _notes.reset(token)


def say(line: str) -> None:
    """Print a line on stderr, above any progress bar there."""
    notes = _notes.get()
    if notes is not None and line.startswith("note"):
        if line in notes:
            return
        notes.add(line)
    if not _quiet.get() or line.startswith("warning"):
        tqdm.write(_wording.get()(line), file=LastingStream(sys.stderr))


def in_notebook(stream: TextIO) -> bool:
    """Whether a stream is that of a Jupyter kernel, which shows a bar although it is no terminal."""
    return type(stream).__module__.partition(".")[0] == "ipykernel"


class Progress:
    """Steps done, mean return of the last 100 episodes, steps a second and time left.

    `update` may be called at every step: it does little (0.2 us) until it is time to show something.
    """

    def __init__(self, total_steps: int, start_step: int = 0, stream: TextIO | None = None):
        shown_on = stream if stream is not None else sys.stderr
        self._stream: Any = LastingStream(shown_on)
        self._total = total_steps
        self._step = self._shown = start_step
        self._returns: deque[float] = deque(maxlen=EPISODES)
        self._marks: deque[tuple[float, int]] = deque([(time.perf_counter(), start_step)])
        self._bar: tqdm | None = None
        self._hidden = _quiet.get()
        notebook = in_notebook(shown_on)
        if not self._hidden and (notebook or self._stream.isatty()):
            # tqdm would hide the bar on a terminal that does not know its size.
            columns, lines = shutil.get_terminal_size()
            self._bar = tqdm(
                total=total_steps,
                initial=start_step,
                file=self._stream,
                bar_format="{percentage:3.0f}%|{bar:10}| {desc}",
                mininterval=0,
                ncols=columns,
                nrows=lines,
            )
        self._interval = LINE_SECONDS if self._bar is None else NOTEBOOK_SECONDS if notebook else BAR_SECONDS
        self._next_show = time.perf_counter() + self._interval

    def update(self, step: int, episode_returns: Sequence[float] = ()) -> None:
        """Report the steps done so far and the returns of the episodes that ended since the last call."""
        self._step = step
        if episode_returns:
            self._returns.extend(episode_returns)
        now = time.perf_counter()
        if now >= self._next_show:
            self._show(now)

    def write(self, line: str) -> None:
        """Print a line without breaking the bar."""
        tqdm.write(_wording.get()(line), file=self._stream)

    def close(self) -> None:
        """Show where the run ended."""
        if self._step != self._shown:
            self._show(time.perf_counter())
        if self._bar is not None:
            self._bar.close()

    def _show(self, now: float) -> None:
        self._next_show = now + self._interval
        self._shown = self._step
        if self._hidden:
            return
        text = self._text(self._speed(now))
        if self._bar is None:
            print(text, file=self._stream, flush=True)
        else:
            # Vector steps can go a little over the total, for which tqdm would drop the bar.
            self._bar.n = min(self._step, self._total)
            self._bar.set_description_str(text)

    def _speed(self, now: float) -> float:
        """Steps a second, lately."""
        self._marks.append((now, self._step))
        while len(self._marks) > 2 and now - self._marks[1][0] > SPEED_SECONDS:
            self._marks.popleft()
        then, step = self._marks[0]
        return (self._step - step) / max(now - then, 1e-9)

    def _text(self, speed: float) -> str:
        parts = [f"step {self._step}/{self._total}"]
        if text := self._return_text():
            parts.append(f"return {text}")
        parts.append(f"{speed:.0f} steps/s" if speed >= 10 else f"{speed:.1f} steps/s")
        if speed > 0:
            parts.append(f"{duration(max(self._total - self._step, 0) / speed)} left")
        return "  ".join(parts)

    def _return_text(self) -> str:
        """Mean return of the last episodes; empty where none has ended."""
        return return_text(sum(self._returns) / len(self._returns)) if self._returns else ""


class GroupProgress(Progress):
    """The same for several runs at once: their steps together, and how their returns spread."""

    def __init__(self, total_steps: int, runs: int, start_step: int = 0, stream: TextIO | None = None):
        super().__init__(total_steps, start_step, stream)
        self._of_runs: list[deque[float]] = [deque(maxlen=EPISODES) for _ in range(runs)]

    def add(self, run: int, episode_returns: Sequence[float]) -> None:
        """Take the returns of one run's episodes."""
        self._of_runs[run].extend(episode_returns)

    def _return_text(self) -> str:
        """Mean over runs, the deviation between them, and the extremes."""
        means = [sum(own) / len(own) for own in self._of_runs if own]
        if not means:
            return ""
        mean, deviation, least, most = spread_texts(means)
        return f"{mean} +- {deviation} over {len(means)} seeds ({least} to {most})"


def duration(seconds: float) -> str:
    """Return seconds as people say them: `6 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
