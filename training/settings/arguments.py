"""How options are read: by tyro from dataclasses, errors in one line."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Annotated, Any

import tyro

from .typed import option_name, parse_count, parse_switch
from .usage import UsageError, nearest

# Read from the words of the command before its options are, by `trust.trusting`.
TrustSwitch = Annotated[
    bool,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.arg(help="Import what a file or folder names, even where it is neither ours nor installed."),
]
# Error of a dataclass of the agent, the encoder ... about one of its fields.
_FIELD = re.compile(r"Error parsing (?P<block>[a-z]+)-(config|options): (?P<field>\w+)(?P<text>: .*)")
_CHOICE = re.compile(
    r"invalid choice '(?P<given>[^']*)' for argument '(?P<option>\S+)'\. Expected one of \((?P<known>.*?)\)"
)


def parse(cls: Any, arguments: list[str], command: str, **options: Any) -> Any:
    """Read options into the dataclass `cls`; what is wrong with them is a UsageError of one line."""
    errors = io.StringIO()
    try:
        with registry(), contextlib.redirect_stderr(errors):
            return tyro.cli(cls, args=arguments, prog=f"palaestra {command}", **options)
    except SystemExit as stop:
        if not stop.code:
            raise
    raise UsageError(one_line(errors.getvalue(), command))


def registry() -> tyro.constructors.ConstructorRegistry:
    """Rules for reading options: whole numbers may be written 1e5, 100_000 or 100k, true and none as in YAML."""
    rules = tyro.constructors.ConstructorRegistry()

    @rules.primitive_rule
    def count(
        info: tyro.constructors.PrimitiveTypeInfo,
    ) -> tyro.constructors.PrimitiveConstructorSpec[int] | None:
        if info.type is not int:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="INT",
            instance_from_str=lambda words: parse_count(words[0]),
            is_instance=lambda value: isinstance(value, int),
            str_from_instance=lambda value: [str(value)],
        )

    @rules.primitive_rule
    def switch(
        info: tyro.constructors.PrimitiveTypeInfo,
    ) -> tyro.constructors.PrimitiveConstructorSpec[bool | None] | None:
        if info.type != bool | None:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="{true,false,none}",
            instance_from_str=lambda words: parse_switch(words[0]),
            is_instance=lambda value: value is None or isinstance(value, bool),
            str_from_instance=lambda value: [str(value).lower()],
        )

    return rules


def one_line(message: str, command: str) -> str:
    """Squeeze a boxed message of the option parser into one line."""
    # Boxes are drawn in ASCII where the terminal knows no other characters.
    words = re.sub(r"\x1b\[[0-9;]*m|[╭╮╰╯│─]|-{4,}", " ", message)
    choice = _CHOICE.search(" ".join(words.split()))
    if choice:
        known = re.findall("'([^']*)'", choice["known"])
        return f"{choice['option']}: unknown choice {choice['given']!r}; {nearest(choice['given'], known)}"
    text, _, hint = words.partition("For full helptext")[0].partition("Perhaps you meant:")
    text = text.partition("Argument helptext:")[0]
    text = re.sub(
        r"^.*?(?=(Unrecognized|Error parsing|Required|Missing|Invalid))", "", " ".join(text.split())
    )
    text = re.sub(r"^Unrecognized options (?=Unrecognized options)", "", text)
    if field := _FIELD.fullmatch(text):
        return f"--{field['block']}.{field['field'].replace('_', '-')}{field['text']}"
    option = re.search(r"--[\w.-]+", hint)
    return text + (f"; did you mean {option[0]}?" if option else f" (see palaestra {command} --help)")


def option_value(arguments: list[str], name: str) -> str | None:
    """Return what was given for `--name`, before the options are really parsed."""
    for index, word in enumerate(arguments):
        if word == f"--{name}" and index + 1 < len(arguments):
            return arguments[index + 1]
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return None


def gathered(arguments: list[str], name: str) -> list[str]:
    """Put what is given for `--name` here and there behind one `--name`: of an option given twice the last one wins."""
    rest: list[str] = []
    words: list[str] = []
    inside = False
    for word in arguments:
        if word.startswith("--"):
            given, equals, value = word.partition("=")
            inside = given == f"--{name}"
            if inside:
                words += [value] if equals else []
                continue
        (words if inside else rest).append(word)
    return [*rest, f"--{name}", *words] if words else rest


def option_words(arguments: list[str], name: str) -> list[str] | None:
    """Return the words that follow `--name`, up to the next option; None where it was not given."""
    words: list[str] | None = None
    inside = False
    for word in arguments:
        if word.startswith("--"):
            given, equals, value = word.partition("=")
            inside = given == f"--{name}"
            if inside:
                words = [value] if equals else []
        elif inside and words is not None:
            words.append(word)
    return words


def option_as_typed(name: str, value: Any) -> list[str]:
    """The words of an option, such as `agent.hidden` with its values."""
    name = option_name(name)
    if isinstance(value, bool):
        *above, last = name.split(".")
        return ["--" + ".".join([*above, last if value else f"no-{last}"])]
    values = value if isinstance(value, list | tuple) else [value]
    return [f"--{name}", *map(str, values)]
