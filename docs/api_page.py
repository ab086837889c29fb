"""Write docs/api.md, the public names of `palaestra`, from their signatures and docstrings.

python docs/api_page.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import palaestra

PAGE = Path(__file__).parent / "api.md"
HEAD = """# API

Written by `python docs/api_page.py` from the docstrings; do not edit. [python.md](python.md) explains
the calls with examples. Whatever is not on this page may change without notice.
"""
SECTIONS = ("Args", "Returns", "Raises")
# In the order in which people need them.
ORDER = ("train", "load", "Run", "Table", "compare", "Comparison", "make_envs", "load_policy", "LoadedPolicy")
LONGEST_LINE = 100


def page() -> str:
    """The whole page."""
    names = [*ORDER, *sorted(set(palaestra.__all__) - set(ORDER) - {"__version__"})]
    lines = [HEAD, "## `palaestra.__version__`", "", "The version that is installed, as text.", ""]
    for name in names:
        found = getattr(palaestra, name)
        lines += [f"## `palaestra.{name}`", ""]
        lines += class_lines(found) if inspect.isclass(found) else function_lines(found, name)
    return "\n".join(lines).rstrip() + "\n"


def class_lines(found: type[Any]) -> Iterator[str]:
    """A class with its attributes and methods."""
    yield from text_lines(inspect.getdoc(found) or "")
    for name, value in vars(found).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            yield from (f"### `{found.__name__}.{name}`", "", f"Type: `{annotation(value.fget)}`.", "")
            yield from text_lines(inspect.getdoc(value) or "")
        elif inspect.isfunction(value):
            yield from (f"### `{found.__name__}.{name}()`", "")
            yield from function_lines(value, name)
    yield from attribute_lines(found)


def attribute_lines(found: type[Any]) -> Iterator[str]:
    """Attributes that a docstring below them explains."""
    pattern = r"^ +(?:self\.)?(\w+)(?:: ([^=\n]+))?(?: = [^\n]+)?\n +\"\"\"(.*?)\"\"\""
    body = inspect.getsource(found)
    for name, kind, text in re.findall(pattern, body, re.MULTILINE | re.DOTALL):
        if not name.startswith("_"):
            yield from (f"### `{found.__name__}.{name}`", "")
            if kind.strip():
                yield from (f"Type: `{kind.strip()}`.", "")
            yield from text_lines(inspect.cleandoc(text))


def annotation(function: Any) -> str:
    """What a function says that it returns."""
    return str(function.__annotations__["return"])


def function_lines(function: Any, name: str) -> Iterator[str]:
    """A function with its signature."""
    yield from ("```text", signature(function, name), "```", "")
    yield from text_lines(inspect.getdoc(function) or "")


def signature(function: Any, name: str) -> str:
    """A signature, a parameter a line where it is long."""
    found = inspect.signature(function)
    texts, bare = [], False
    for parameter in found.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not bare:
            texts.append("*")
            bare = True
        texts.append(argument(parameter))
    short = f"{name}({', '.join(texts)}) -> {found.return_annotation}"
    if len(short) <= LONGEST_LINE - 10:
        return short
    return f"{name}(\n" + "".join(f"    {text},\n" for text in texts) + f") -> {found.return_annotation}"


def argument(parameter: inspect.Parameter) -> str:
    """One parameter with its type and default."""
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    text = f"{stars}{parameter.name}: {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    return f"{text} = {'...' if inspect.isfunction(parameter.default) else repr(parameter.default)}"


def text_lines(text: str) -> Iterator[str]:
    """A docstring as Markdown: its sections are lists."""
    section = None
    item: list[str] = []
    # Lines of a paragraph are one.
    text = re.sub(r"(?<=\S)\n(?=[^\s-])", " ", text)
    for line in [*text.splitlines(), ""]:
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            section = line.rstrip(":")
            yield from (f"{section}:", "")
        elif section is None:
            yield from wrapped(line)
        elif not line.strip():
            yield from joined(item, section)
            section, item = None, []
            yield ""
        elif re.match(r" {4}\S", line) and (section != "Returns" or not item):
            yield from joined(item, section)
            item = [line.strip()]
        else:
            item.append(line.strip())


def joined(item: list[str], section: str) -> Iterator[str]:
    """One entry of a section."""
    if not item:
        return
    name, colon, text = " ".join(item).partition(": ")
    if section != "Returns" and colon:
        name = ", ".join(f"`{part}`" for part in name.split(", "))
        yield from wrapped(f"- {name}: {text}", "  ")
    else:
        yield from wrapped(f"- {' '.join(item)}", "  ")


def wrapped(line: str, indent: str = "") -> Iterator[str]:
    """A paragraph in lines that are short enough."""
    words, current = line.split(" "), ""
    for word in words:
        if current and len(current) + 1 + len(word) > LONGEST_LINE:
            yield current
            current = indent + word
        else:
            current = f"{current} {word}" if current else word
    yield current


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
