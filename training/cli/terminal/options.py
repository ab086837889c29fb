"""Reading a command's options: types that commands share, and ranges, checked in one way."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_type_hints

import tyro
from annotated_types import Ge, Gt

from ...settings.arguments import TrustSwitch as TrustSwitch
from ...settings.arguments import parse
from ...settings.typed import CountOrZero as CountOrZero
from ...settings.typed import option_name
from ...settings.usage import UsageError

JsonSwitch = Annotated[bool, tyro.conf.arg(help="Print one JSON object.")]
Count = Annotated[int, Ge(1)]
Counts = Annotated[tuple[int, ...], Gt(0)]
Positive = Annotated[float, Gt(0)]


def read_options(cls: Any, arguments: list[str], command: str) -> Any:
    """Read options into the dataclass `cls`, whose annotations give their ranges.

    Raises:
        UsageError: an option is unknown, of the wrong type or out of its range; one line.
    """
    options = parse(cls, arguments, command)
    for name, hint in get_type_hints(cls, include_extras=True).items():
        value = getattr(options, name)
        # `Count | None` has its bound one level below.
        bounds = (bound for part in (hint, *get_args(hint)) for bound in getattr(part, "__metadata__", ()))
        for bound in bounds:
            if isinstance(bound, Ge | Gt) and value is not None:
                _check(option_name(name), value, bound)
    return options


def _check(option: str, value: Any, bound: Ge | Gt) -> None:
    """Raise `UsageError` unless a number, or each of several, keeps to a bound."""
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(bound, Ge) and not number >= bound.ge:
            raise UsageError(f"--{option}: must be at least {bound.ge}, got {number}")
        if isinstance(bound, Gt) and not number > bound.gt:
            raise UsageError(f"--{option}: must be above {bound.gt}, got {number:g}")
