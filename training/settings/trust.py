"""What a file may name: this page is the one rule for everything that turns a name out of a file into an import.

What the user types on the command line is theirs. What a file names (a run's config.yaml, world_model.yaml,
cycle.yaml, `--config FILE`, a suite, a sweep) is data: it may name what is ours, and environments that installed
packages register with Gymnasium. Everything else is code of whoever wrote the file, and takes `--trust`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .providers import provider_of
from .usage import UsageError, typed_command

# What names of objects begin with that a program has passed, as in `envs/outside.py`, whose import takes long.
FROM_PYTHON = "from-python:"
_KEYWORDS = {"environment": "env"}
TASKS, WRAPPERS = "palaestra.envs.tasks.", "palaestra.envs.wrappers."
# They make an environment of another library from a name in their arguments.
ADAPTERS = ("GymV21Environment", "GymV26Environment")


@dataclass(frozen=True)
class Trust:
    """What the user has said about names that are not ours."""

    command: tuple[str, ...] = ()
    """Words behind `palaestra`; none where other programs call us."""
    typed: frozenset[str] = frozenset()
    everything: bool = False
    """Files may name anything."""


_NOTHING = Trust()
_TRUST: ContextVar[Trust] = ContextVar("trust", default=_NOTHING)


@contextmanager
def trusting(
    words: Sequence[str] = (), everything: bool = False, names: Iterable[str] = ()
) -> Iterator[None]:
    """Trust the names among the words of a command, and with `--trust` there, or `everything`, all names in files.

    `names` are those that a program gives. What was trusted before remains so; all of it ends with the context.
    """
    outer = _TRUST.get()
    # --option=NAME, and ENCODER+DYNAMICS.
    names = {*names} | {part for word in words for part in (word, word.partition("=")[2], *word.split("+"))}
    if any(".py:" in name for name in names):
        from ...envs.outside import absolute_name  # imports every environment of ours

        names |= {absolute_name(name) for name in names}
    asked = everything or ("--trust" in words and "--no-trust" not in words)
    token = _TRUST.set(
        Trust(tuple(words) or outer.command, outer.typed | names, outer.everything or bool(asked))
    )
    try:
        yield
    finally:
        _TRUST.reset(token)


def trusts_everything() -> bool:
    """Whether files may name anything: what is passed on to the commands that this one starts."""
    return _TRUST.get().everything


def names_outside(words: Iterable[str]) -> bool:
    """Whether a command has a word of the form `module:Name`, or lets files have them."""
    return any(re.search(r"\w:\w", word) or word == "--trust" for word in words)


def check_names(values: dict[str, Any], where: Path | str) -> None:
    """Look at the names in a file, in the layout of a run's or a world model's config, before any is imported.

    Raises:
        UsageError: one is neither ours nor registered by an installed package, and the user has not said that it is
            trusted; one line with the command that says so.
    """
    for kind, name in named_in(values):
        if not may_name(kind, name):
            if name.startswith(FROM_PYTHON):
                raise UsageError(f"{where}: {_not_given(kind, name, Path(where).parent)}")
            raise refusal(kind, name, where)


def refusal(kind: str, name: str, where: Path | str) -> UsageError:
    """What is said about a name that is not trusted."""
    command = _TRUST.get().command
    how = typed_command(*command, "--trust") if command else "pass trust=True"
    article = "an" if kind[0] in "aeiou" else "a"
    what = f"{kind} from outside, {name!r}, whose code would be run"
    if kind == "file":
        what = f"file, {name!r}, which the environment may read or write"
    return UsageError(f"{where} names {article} {what}; if you trust it: {how}")


def _not_given(kind: str, name: str, folder: Path) -> str:
    from ...envs.outside import not_given  # imports every environment of ours

    return not_given(kind, name).replace("RUN_DIR", repr(str(folder)))


def command_for(values: dict[str, Any], *words: object) -> str:
    """A command that reads a config of these values, as the user must type it: with `--trust` where that is needed.

    Where a program has passed objects, it is what to write there.
    """
    passed = {kind: name for kind, name in named_in(values) if name.startswith(FROM_PYTHON)}
    if passed:
        keywords = (
            (_KEYWORDS.get(kind, kind), name.removeprefix(FROM_PYTHON)) for kind, name in passed.items()
        )
        folder = str(words[2 if words[1] == "--resume" else 1])
        verb = "resume" if words[1] == "--resume" else "evaluate"
        given = ", ".join(f"{keyword}={name}" for keyword, name in keywords)
        return f"palaestra.load({folder!r}, {given}).{verb}()"
    return typed_command(*words, *(["--trust"] if needs_trust(values) else []))


def needs_trust(values: dict[str, Any]) -> bool:
    """Whether a config of these values names what must be trusted; objects that a program passed are passed again."""
    token = _TRUST.set(_NOTHING)
    try:
        return not all(
            may_name(kind, name) for kind, name in named_in(values) if not name.startswith(FROM_PYTHON)
        )
    finally:
        _TRUST.reset(token)


def named_in(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and name of everything that a config would have imported."""
    for kind in ("agent", "encoder", "memory", "auxiliary", "bonus", "reward", "dynamics"):
        value = values.get(kind)
        name = value.get("name") if isinstance(value, dict) else value
        if name is not None:
            yield kind, str(name)
    if values.get("env") is not None:
        yield "environment", str(values["env"])
    for path in paths_in(values.get("env_kwargs")):
        yield "file", path
    options = values.get("env_options")
    wrappers = options.get("wrappers") if isinstance(options, dict) else None
    for wrapper in wrappers if isinstance(wrappers, list | tuple) else ():
        yield "wrapper", str(wrapper)


def paths_in(arguments: Any) -> Iterator[str]:
    """What looks like the path of a file among an environment's arguments."""
    return (text for text in texts_in(arguments) if re.search(r"[/\\]|^~|^file:", text))


def texts_in(arguments: Any) -> Iterator[str]:
    """Every text among arguments, however they nest."""
    if isinstance(arguments, str):
        yield arguments
    elif isinstance(arguments, dict):
        for part in arguments.values():
            yield from texts_in(part)
    elif isinstance(arguments, list | tuple):
        for part in arguments:
            yield from texts_in(part)


def names_code(values: dict[str, Any]) -> bool:
    """Whether an agent, or a part of one, is code from outside."""
    return any(
        ":" in name and provider_of(kind, name) is None  # type: ignore[arg-type]
        for kind, name in named_in(values)
        if kind not in ("environment", "wrapper", "file")
    )


def may_name(kind: str, name: str) -> bool:
    """Whether a file may name this agent, encoder, memory, bonus, dynamics, environment, wrapper or another file."""
    trust = _TRUST.get()
    if trust.everything or name in trust.typed:
        return True
    if kind == "file":
        return False
    if kind in ("environment", "wrapper"):
        from ...envs.moved import current_name  # imports every environment of ours

        return (_is_registered if kind == "environment" else _is_our_wrapper)(current_name(name))
    # Without a colon it is a file of ours, or there is none; a provider's is ours, too.
    return ":" not in name or provider_of(kind, name) is not None


def _is_registered(name: str) -> bool:
    """Whether an environment is ours, or registered by an installed package; imports at most that package."""
    import gymnasium

    module, _, attribute = name.rpartition(":")
    if not module:
        return not attribute.startswith(ADAPTERS)
    if module in ("palaestra", "palaestra.envs"):
        return attribute in gymnasium.registry
    if module.startswith(TASKS):
        found = _of_ours(module, TASKS, attribute)
        is_environment = inspect.isclass(found) and issubclass(found, gymnasium.Env)
        return is_environment or attribute in gymnasium.registry
    if not _is_installed(module) or attribute.startswith(ADAPTERS):
        return False
    from ...envs.registry import registers  # imports every environment of ours

    try:
        return registers(importlib.import_module(module), attribute)
    except Exception:  # whatever it is, it does not register the environment
        return False


def _is_our_wrapper(name: str) -> bool:
    """Whether a wrapper, which may be followed by arguments, is one of ours."""
    import gymnasium

    module, _, attribute = name.partition("(")[0].rpartition(":")
    # Functions in by_name apply others, which their arguments name.
    if not module.startswith(WRAPPERS) or module == f"{WRAPPERS}by_name":
        return False
    found = _of_ours(module, WRAPPERS, attribute)
    if inspect.isclass(found):
        return issubclass(found, gymnasium.Wrapper) and found.__module__ == module
    return inspect.isfunction(found) and found.__module__ == module


def _of_ours(module: str, package: str, attribute: str) -> Any:
    """Return an attribute of one of our modules; None where there is none."""
    stem = module.removeprefix(package)
    if not stem.isidentifier() or importlib.util.find_spec(module) is None:
        return None
    return getattr(importlib.import_module(module), attribute, None)


def _is_installed(module: str) -> bool:
    """Whether a module belongs to an installed distribution: not to Python itself, nor to the working directory."""
    from importlib.metadata import packages_distributions  # takes longer than all of `palaestra --help`

    parts = module.split(".")
    if not all(part.isidentifier() and not part.startswith("__") for part in parts):
        return False
    if parts[0] in {*sys.stdlib_module_names, "palaestra"} or parts[0] not in packages_distributions():
        return False
    with warnings.catch_warnings():
        # Setuptools' finder warns where it is asked for pip and distutils is there already.
        warnings.simplefilter("ignore")
        found = importlib.util.find_spec(parts[0])
    if found is None:
        return False
    places: list[str | None] = [*(found.submodule_search_locations or ())] or [found.origin]
    homes = {Path(place).resolve().parent for place in places if place}
    return bool(homes) and Path.cwd().resolve() not in homes
