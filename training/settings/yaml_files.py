"""YAML without its traps, to read and to write."""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from typing import Any, ClassVar

import yaml

from .usage import UsageError

# Far more than any file of ours needs; reading deeper ones takes time and memory.
MAX_DEPTH = 64


class _Loader(yaml.SafeLoader):
    """Reads YAML without its traps: `on` and `1e-3` are a word and a number, no key stands twice, no aliases.

    Aliases can make a small file hold a structure of any size, or one that contains itself.
    """

    yaml_implicit_resolvers: ClassVar[dict] = {}  # type: ignore[misc]
    depth = 0
    """Mappings and lists around what is read."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not supported", problem_mark=mark)
        if self.depth >= MAX_DEPTH:
            raise RecursionError
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)  # type: ignore[no-untyped-call]
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return mapping


class _Dumper(yaml.SafeDumper):
    """Writes mappings as blocks and lists in brackets."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# The scalars of YAML 1.2's core schema. Those of 1.1, PyYAML's own, remain for writing, so that `on` is quoted.
for _tag, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"[Tt]rue|[Ff]alse", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
        list("-+.0123456789"),
    ),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


_Dumper.add_representer(
    list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Read YAML whose top level is a mapping; nothing in it is executed."""
    try:
        values = yaml.load(text, _Loader)
    except RecursionError:
        raise UsageError(f"{where}: nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise UsageError(f"{where}{line}: {problem}") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # Of a scalar behind a tag: `!!int x`, or one of thousands of digits.
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{where}: not readable as YAML: {problem}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{where}: expected a mapping at the top level, got {reprlib.repr(values)}")
    return values


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def dump_yaml(values: dict[str, Any]) -> str:
    """Write plain values as YAML that `parse_yaml` reads.

    Raises:
        TypeError: one of them is something that YAML cannot say.
    """
    try:
        return yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    except yaml.representer.RepresenterError as error:
        raise TypeError(f"{type(error.args[-1]).__name__} cannot be written to a file") from None


def yaml_word(value: Any) -> str:
    """Write a plain value on one line, as it is read behind `NAME=`."""
    text = yaml.dump([value], Dumper=_Dumper, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n").removeprefix("[").removesuffix("]")


def save_yaml(path: Path, values: dict[str, Any]) -> None:
    """Write a YAML file, whole or not at all."""
    text = dump_yaml(values)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
