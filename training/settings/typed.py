"""Plain values, as YAML gives them, into dataclasses and back: strict about names, types and ranges."""

from __future__ import annotations

import dataclasses
import re
import reprlib
import types
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from pathlib import PurePath
from typing import Annotated, Any, LiteralString, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt
from pydantic import BeforeValidator, ConfigDict, StrictBool, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from .usage import UsageError, nearest

# What many options are.
Count = Annotated[int, Gt(0)]
CountOrZero = Annotated[int, Ge(0)]

# Fields of blocks that are called otherwise on the command line: --env is the environment, --env.timeout an option.
AS_TYPED = {"env_options": "env"}

_COUNT = re.compile(r"([+-]?(?:\d[\d_]*(?:\.\d+)?|\.\d+)(?:e[+-]?\d{1,2})?)([kM]?)", re.IGNORECASE)


def parse_count(text: str) -> int:
    """Read a whole number as people write it: 100000, 100_000, 1e5, 100k, 0.1M.

    Raises:
        ValueError: it is not one.
    """
    match = _COUNT.fullmatch(text.strip())
    if match is not None:
        # Not a float, which would round large numbers.
        value = Fraction(match[1].replace("_", "")) * {"": 1, "k": 10**3, "m": 10**6}[match[2].lower()]
        if value.denominator == 1:
            return int(value)
    raise ValueError(f"not a whole number: {text!r}")


def parse_switch(text: str) -> bool | None:
    """Read true, false or none, however they are capitalised.

    Raises:
        ValueError: it is none of them.
    """
    known = {"true": True, "false": False, "none": None}
    if text.lower() not in known:
        raise ValueError(f"neither true nor false nor none: {text!r}")
    return known[text.lower()]


def build(cls: type[Any], values: dict[str, Any], where: str = "", path: str = "") -> Any:
    """Build the dataclass `cls` from plain values, as YAML gives them; nested dataclasses from nested mappings.

    Raises:
        UsageError: an unknown key, or a value of the wrong type or out of range; one line that names `where` it
            stands, its dotted path, and the nearest thing that is right.
    """
    hints = get_type_hints(cls, include_extras=True)
    fields = {item.name: item for item in dataclasses.fields(cls)}
    if not isinstance(values, dict):
        raise UsageError(
            f"{where}{path.rstrip('.') or 'top level'}: expected a mapping, got {reprlib.repr(values)}"
        )
    for key in values:
        if key not in fields:
            names = [path + name for name in fields]
            raise UsageError(f"{where}{path}{key}: unknown key; {nearest(path + str(key), names)}")
    arguments = {}
    for name, value in values.items():
        hint, full = hints[name], path + name
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            nested = shallow_dict(value) if isinstance(value, hint) else value
            arguments[name] = build(hint, nested, where, full + ".")
        else:
            arguments[name] = checked_value(hint, value, _place(where, full))
    missing = [name for name, item in fields.items() if name not in arguments and is_required(item)]
    if missing:
        raise UsageError(f"{where}{path}{missing[0]}: is missing")
    try:
        return cls(**arguments)
    except (ValueError, TypeError, AssertionError, ArithmeticError, LookupError) as error:
        # Checks across fields name the field first.
        place = path if str(error).partition(":")[0] in fields else path and f"{path.rstrip('.')}: "
        raise UsageError(f"{_place(where, place)}{str(error) or type(error).__name__}") from None


def _place(where: str, path: str) -> str:
    """Where a value stands; options are spelled as they are typed."""
    return where + (option_name(path) if where == "--" else path)


def option_name(path: str) -> str:
    """A field's path as it is typed on the command line, behind `--`."""
    first, *rest = path.split(".")
    if rest:
        first = AS_TYPED.get(first, first)
    return ".".join([first, *rest]).replace("_", "-")


def option_path(name: str) -> list[str]:
    """The fields that an option's name on the command line leads through: the inverse of `option_name`."""
    first, *rest = name.replace("-", "_").split(".")
    if rest:
        first = next((field for field, typed in AS_TYPED.items() if typed == first), first)
    return [first, *rest]


def unlike(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names, as `flat` gives them, of what two nested mappings do not have in common."""
    one, other = flat(one), flat(other)
    return [name for name in one | other if one.get(name) != other.get(name)]


def is_required(item: dataclasses.Field) -> bool:
    """Whether a dataclass cannot be made without a value for a field."""
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


# What a value must be, by pydantic's name of the error.
_MUST_BE = {
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "none_required": "null",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    "dict_type": "a mapping",
    "string_type": "text",
    "too_short": "not empty",
}


def checked_value(hint: Any, value: Any, place: str) -> Any:
    """Return `value`, named by its `place`, as the type of an annotation, its range checked.

    Raises:
        UsageError: it is of another type, or out of range.
    """
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    wanted = (_MUST_BE.get(fault["type"], fault["msg"]).format(**fault.get("ctx", {})) for fault in faults)
    got = reprlib.repr(faults[0]["input"])
    place += _path_in(value, faults[0]["loc"])
    raise UsageError(f"{place}: must be {' or '.join(dict.fromkeys(wanted))}, got {got}")


def _path_in(value: Any, steps: Iterable[int | str]) -> str:
    """Where in lists and mappings a fault is; pydantic's steps name branches of unions, too."""
    path = ""
    for step in steps:
        if isinstance(value, dict) and step in value:
            path, value = f"{path}.{step}", value[step]
        elif isinstance(value, list | tuple) and isinstance(step, int):
            path, value = f"{path}[{step}]", value[step]
    return path


@cache
def _adapter(hint: Any) -> TypeAdapter:
    return TypeAdapter(_strict(hint), config=ConfigDict(allow_inf_nan=False))


def _strict(hint: Any) -> Any:
    """Return an annotation that takes counts as people write them, and never one of bool and number for the other."""
    if hint in _STRICT:
        return _STRICT[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[_strict(arguments[0]), *arguments[1:]]
    if origin in (Union, types.UnionType):
        return Union[tuple(_strict(argument) for argument in arguments)]  # noqa: UP007
    if origin in (tuple, list, dict):
        return origin[tuple(_strict(argument) for argument in arguments)]
    return hint


def _read_int(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return parse_count(value)
        except ValueError:
            pass
    return _not_bool(value, "int_type")


def _not_bool(value: Any, fault: LiteralString = "float_type") -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError(fault, "a number")
    return value


_STRICT: dict[Any, Any] = {
    int: Annotated[int, BeforeValidator(_read_int)],
    float: Annotated[float, BeforeValidator(_not_bool)],
    bool: StrictBool,
}


def shallow_dict(instance: Any) -> dict[str, Any]:
    """Fields of a dataclass, nested ones left as they are."""
    return {item.name: getattr(instance, item.name) for item in dataclasses.fields(instance)}


def plain(value: Any) -> Any:
    """Dataclasses as dicts, tuples as lists and paths as text, at every depth."""
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {name: plain(item) for name, item in shallow_dict(value).items()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Name every value of nested mappings by its path: `agent.gamma`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
    return found
