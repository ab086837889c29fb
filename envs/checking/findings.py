"""What the checks of an environment find, with the line of its code that each finding is about."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium

from ..validation import Problem

MAX_SECONDS = 3.0

# Gymnasium's checker recommends what is of no concern here: policies work in units in which the bounds are
# [-1, 1], observations may be unbounded, and what is checked is the environment with its wrappers.
OF_NO_CONCERN = re.compile(
    r"symmetric and normalized|(minimum|maximum) value is -?infinity|unwrapped version"
)


class Lines:
    """Where the code of an environment stands, so that findings can say which line to fix."""

    def __init__(self) -> None:
        self.code: dict[str, Any] = {}
        self.returned: dict[str, int] = {}

    def find_in(self, env: gymnasium.Env) -> None:
        """Find `reset` and `step` of an environment."""
        for name in ("reset", "step"):
            function = inspect.unwrap(getattr(type(env), name, None))  # type: ignore[arg-type]
            self.code[name] = getattr(function, "__code__", None)

    def watch(self, call: Callable[[], Any]) -> Any:
        """Run `call` and note the lines on which `reset` and `step` return."""
        by_code = {code: name for name, code in self.code.items() if code is not None}

        def note(frame: Any, event: str, _: Any) -> None:
            if event == "return" and frame.f_code in by_code:
                self.returned[by_code[frame.f_code]] = frame.f_lineno

        sys.setprofile(note)
        try:
            return call()
        finally:
            sys.setprofile(None)

    def at(self, name: str) -> str:
        """` (file.py:51)`: where `reset` or `step` returns; empty where it is not Python."""
        code = self.code.get(name)
        return (
            ""
            if code is None
            else source_line(code.co_filename, self.returned.get(name, code.co_firstlineno))
        )

    def of(self, error: BaseException | None) -> str:
        """Where an exception was raised, as far as it is the environment's own file; nothing where there was none."""
        if error is None:
            return ""
        files = {code.co_filename for code in self.code.values() if code is not None}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
        return source_line(frames[-1].filename, frames[-1].lineno or 0) if frames else ""


def source_line(file: str, line: int) -> str:
    """How findings point at a line."""
    return f" ({Path(file).name}:{line})"


@dataclass
class Findings:
    """Errors and warnings, each once."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    trains: bool = True
    """Whether nothing was found that stops an agent from learning."""
    lines: Lines = field(default_factory=Lines)
    seconds: float = MAX_SECONDS
    """Time for each part of the checks that steps the environment."""
    _returned: set[str] = field(default_factory=set)
    _said: set[str] = field(default_factory=set)

    def error(self, message: str, *, stops: bool = True) -> None:
        """Add an error, unless it is known; `stops` says that no agent can learn with it."""
        self.trains &= not stops
        if message not in self.errors:
            self.errors.append(message)

    def warn(self, message: str) -> None:
        """Add a warning, unless it is known."""
        if message not in self.warnings:
            self.warnings.append(message)

    def returned(self, function: str, problems: Iterable[Problem]) -> None:
        """Add what is wrong with what `reset` or `step` returned, each the first time that it happens."""
        for problem in problems:
            what = f"{function} returns {problem.what}"
            if what not in self._returned:
                self._returned.add(what)
                detail = f": {problem.detail}" if problem.detail else ""
                message = f"{what}{detail}{self.lines.at(function)}"
                self.error(message) if problem.stops else self.warn(message)

    def attempt(self, what: str, check: Callable[[], Any], *, mild: bool = False, quiet: bool = False) -> Any:
        """Run a part of the checks; what it raises is an error of the environment, or a warning where `mild`.

        Where `quiet`, what it warns of was said before, or is none of the environment's business.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                return check()
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                telling = isinstance(error, (ValueError, TypeError, AssertionError)) and str(error)
                parts = [what] if telling else [what, type(error).__name__]
                parts += [plain_line(error)] if str(error) else []
                message = f"{': '.join(parts)}{self.lines.of(error)}"
                self.warn(message) if mild else self.error(message)
            finally:
                files = {code.co_filename for code in self.lines.code.values() if code is not None}
                for warning in [] if quiet else caught:
                    ours = issubclass(warning.category, (UserWarning, RuntimeWarning))
                    said = plain_line(warning.message)
                    if ours and said not in self._said and not OF_NO_CONCERN.search(said):
                        self._said.add(said)
                        at = (
                            source_line(warning.filename, warning.lineno) if warning.filename in files else ""
                        )
                        self.warn(f"{what}: {said}{at}")


def plain_line(message: object) -> str:
    """Without the colours and labels that Gymnasium adds."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(message)).removeprefix("WARN: ")
    return " ".join(plain.strip().partition("\n")[0].split())
