"""Wrappers by name: `my_pkg:MyWrapper`, or `my_pkg:MyWrapper(size=9)` with arguments."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import gymnasium

from ..arguments import with_arrays
from ..moved import current_name
from ..outside import is_file, load_module
from .stateful import refuse_stateful, wrapped_since


def apply_wrappers(env: gymnasium.Env, wrappers: Iterable[str]) -> gymnasium.Env:
    """Put wrappers around `env`, the first one innermost; what is wrong with one is a `ValueError`."""
    for wrapper in wrappers:
        make, arguments = find_wrapper(wrapper)
        around = env
        try:
            env = make(env, **arguments)
        except Exception as error:
            message = str(error).partition("\n")[0] or type(error).__name__
            raise ValueError(f"wrapper '{wrapper}' does not go around {env}: {message}") from error
        if not isinstance(env, gymnasium.Env):
            raise ValueError(f"wrapper '{wrapper}' returned {type(env).__name__} instead of an environment")
        for kind in wrapped_since(env, around):
            refuse_stateful(wrapper, kind)
    return env


def find_wrapper(wrapper: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return what makes a wrapper, a class or a function, and its arguments."""
    path, arguments = _parse(current_name(wrapper))
    module_name, _, name = path.rpartition(":")
    if not module_name:
        raise ValueError(f"wrapper '{wrapper}': say where it is, for example gymnasium.wrappers:{path}")
    if not is_file(module_name) and not all(part.isidentifier() for part in module_name.split(".")):
        raise ValueError(f"wrapper '{wrapper}': expected module:Name or module:Name(name=value)")
    try:
        module = load_module(module_name)
    except ImportError as error:
        raise ValueError(f"wrapper '{wrapper}': {error}") from error
    found = getattr(module, name, None)
    if inspect.isclass(found):
        refuse_stateful(wrapper, found)
    if found is None or not _can_wrap(found):
        known = [key for key, value in vars(module).items() if _can_wrap(value)]
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{module_name}:{nearest[0]}'?" if nearest else ""
        what = f"has no {name}" if found is None else f"has a {name}, but it is no wrapper and no function"
        raise ValueError(f"wrapper '{wrapper}': {module_name} {what}{hint}")
    return found, with_arrays(found, arguments)


def _can_wrap(value: Any) -> bool:
    """Whether something is a class of environments, as wrappers are, or a function."""
    return inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, gymnasium.Env))


def _parse(wrapper: str) -> tuple[str, dict[str, Any]]:
    """`module:Name(size=9)` is `("module:Name", {"size": 9})`; values are Python literals."""
    path, bracket, rest = wrapper.partition("(")
    if not bracket:
        return path, {}
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError
        return path, {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError):
        raise ValueError(
            f"wrapper '{wrapper}': expected module:Name(name=value, ...) with plain values"
        ) from None
