"""What a run is told: dataclasses with typed defaults, presets in YAML, and strict reading of both."""

from __future__ import annotations

import dataclasses
import difflib
import re
import reprlib
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    LiteralString,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml
from annotated_types import Ge, Gt
from pydantic import BeforeValidator, ConfigDict, StrictBool, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from ..world_models.dream_config import DreamConfig

CONFIG_FILE = "config.yaml"


class UsageError(Exception):
    """The user asked for something impossible; the message is one line for them."""


@dataclass(frozen=True)
class EnvOptions:
    """How environments are wrapped and stepped."""

    wrappers: tuple[str, ...] = ()
    """Wrappers by name, innermost first: module:Wrapper, or module:Wrapper(name=value)."""
    on_error: Literal["stop", "restart"] = "stop"
    """What to do when a copy raises, dies, hangs or returns NaN: stop after a checkpoint, or make that copy anew,
    mark its episode as truncated and go on."""
    timeout: Annotated[float, Ge(0)] = 60.0
    """Seconds that a worker process of the async backend may take for a step; 0 waits for ever."""
    workers: Annotated[int, Ge(0)] = 0
    """Processes of the async backend; 0 is one a core. Results do not depend on it."""
    clip_reward: bool = False
    """Agents see the sign of each reward only (Mnih et al. 2015); returns of episodes are of the whole rewards."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run."""

    agent: str
    """Name of the agent: a file in `agents/`, or package.module:Class."""
    env: str
    """Gymnasium id of the environment; module:Id imports the module first."""
    agent_config: Any
    """The agent's hyper-parameters."""
    encoder_config: Any
    """The encoder's settings."""
    memory_config: Any
    """The memory's settings."""
    steps: Annotated[int, Gt(0)] = 100_000
    """Environment steps to train for, summed over environments; 1e5, 100k and 100_000 are the same."""
    seed: Annotated[int, Ge(0)] = 0
    """Everything random follows from it."""
    num_envs: Annotated[int, Gt(0)] = 8
    """Copies of the environment that are stepped together."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    frame_stack: Annotated[int, Gt(0)] = 1
    """Show this many of the last observations together, the newest last."""
    show_previous: bool = False
    """Show the last action and reward beside each observation (zeros in a first step), for memories."""
    env_options: EnvOptions = EnvOptions()
    """How environments are wrapped and stepped."""
    backend: Literal["auto", "sync", "async", "vector", "envpool", "ale"] = "auto"
    """What steps the environments; auto follows a fixed rule and is recorded in the run's config."""
    encoder: str = "mlp"
    """Name of the encoder: what one observation is seen with. By default cnn for pictures, mlp for all else."""
    memory: str = "none"
    """Name of the memory: what is carried from step to step."""
    log_every: Annotated[int, Ge(0)] = 0
    """Environment steps between rows of metrics; 0 chooses about 200 rows a run."""
    evaluate_every: Annotated[int, Ge(0)] = 0
    """Environment steps between evaluations; 0 chooses ten a run."""
    evaluate_episodes: Annotated[int, Gt(0)] = 20
    """Full episodes of each evaluation."""
    checkpoint_every: Annotated[int, Ge(0)] = 0
    """Environment steps between checkpoints; 0 chooses twenty a run."""
    track: Literal["auto", "wandb", "tensorboard", "none"] = "auto"
    """Where metrics go besides the run folder; auto is W&B for whoever is logged in."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile updates with torch.compile; auto does so where enough of them are planned to pay for it."""
    threads: Annotated[int, Ge(0)] = 0
    """Threads of torch; 0 is one for vectors (more make small networks slower) and every core for images."""
    dream: DreamConfig = field(default_factory=DreamConfig)
    """Train in the dream of a world model instead; evaluations are always in the real environment."""


@contextmanager
def as_usage_errors() -> Iterator[None]:
    """Turn what environments, networks and agents say of a wrong request into a UsageError."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UsageError(str(error).partition("\n")[0]) from error


Kind = Literal["agent", "encoder", "memory", "coder", "dynamics"]
# Names of the nested blocks, in YAML and on the command line, and the fields that they fill.
BLOCKS: dict[Kind, str] = {"agent": "agent_config", "encoder": "encoder_config", "memory": "memory_config"}


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, if one is."""
    by_folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[close[0]] if close else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint: the nearest of the known names, or all of them."""
    known = list(known)
    close = closest(name, known)
    return f"did you mean {close!r}?" if close else f"there are: {', '.join(known) or 'none'}"


# -- Reading --------------------------------------------------------------------------------------------------------


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
            arguments[name] = _checked(hint, value, where + full)
    missing = [name for name, item in fields.items() if name not in arguments and _is_required(item)]
    if missing:
        raise UsageError(f"{where}{path}{missing[0]}: is missing")
    try:
        return cls(**arguments)
    except ValueError as error:
        # Checks across fields name the field first.
        place = path if str(error).partition(":")[0] in fields else path and f"{path.rstrip('.')}: "
        raise UsageError(f"{where}{place}{error}") from None


def _is_required(item: dataclasses.Field) -> bool:
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
}


def _checked(hint: Any, value: Any, place: str) -> Any:
    """Return `value` as the type of an annotation, its range checked."""
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    wanted = (_MUST_BE.get(fault["type"], fault["msg"]).format(**fault.get("ctx", {})) for fault in faults)
    index = "".join(f"[{step}]" for step in faults[0]["loc"] if isinstance(step, int))
    got = reprlib.repr(faults[0]["input"])
    raise UsageError(f"{place}{index}: must be {' or '.join(dict.fromkeys(wanted))}, got {got}")


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


class _Loader(yaml.SafeLoader):
    """Reads YAML without its traps: `on` and `1e-3` are a word and a number, no key stands twice, no aliases.

    Aliases can make a small file hold a structure of any size, or one that contains itself.
    """

    yaml_implicit_resolvers: ClassVar[dict] = {}  # type: ignore[misc]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not supported", problem_mark=mark)
        return super().compose_node(parent, index)

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


def preset_path(agent: str, env: str) -> str:
    """Path of the preset for an agent in an environment, relative to `configs/`."""
    folder = re.sub("^sb3/", "baselines/", agent)
    return f"{folder}/{re.sub('[/:]', '_', env)}.yaml"


def find_preset(agent: str, env: str) -> dict[str, Any]:
    """Return the preset for an agent in an environment, empty where there is none."""
    return _read_preset(preset_path(agent, env)) or {}


def read_config(agent: str, name: str) -> dict[str, Any]:
    """Read what `--config` names: a file, or one of the agent's own presets, such as `td3`.

    Raises:
        UsageError: there is neither, or it is not a mapping.
    """
    preset = _read_preset(f"{agent}/{name}.yaml") if name.isidentifier() and not Path(name).exists() else None
    return load_yaml(Path(name)) if preset is None else preset


def _read_preset(path: str) -> dict[str, Any] | None:
    entry = files("palaestra.configs").joinpath(path)
    return parse_yaml(entry.read_text(encoding="utf-8"), f"configs/{path}") if entry.is_file() else None


def merge(*layers: dict[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; later ones win."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key], value) if both else value
    return merged


# -- Runs -----------------------------------------------------------------------------------------------------------


def run_config_class(agent: type[Any], encoder: type[Any], memory: type[Any]) -> type[Any]:
    """Return `RunConfig` with the config classes of these components in place of `Any`."""
    typed = {"agent_config": agent.Config, "encoder_config": encoder.Config, "memory_config": memory.Config}
    hints = get_type_hints(RunConfig, include_extras=True)
    return dataclasses.make_dataclass(
        "RunConfig",
        [
            (item.name, typed.get(item.name, hints[item.name]), dataclasses.field(**_default(item)))
            for item in dataclasses.fields(RunConfig)
        ],
        frozen=True,
    )


def _default(item: dataclasses.Field) -> dict[str, Any]:
    if item.default_factory is not dataclasses.MISSING:
        return {"default_factory": item.default_factory}
    return {} if item.default is dataclasses.MISSING else {"default": item.default}


def names_of(values: dict[str, Any]) -> dict[str, str]:
    """Return which agent, encoder and memory a mapping names, in `agent: {name: ...}` or as `agent: ...`."""
    names: dict[str, str] = {}
    for block in BLOCKS:
        value = values.get(block)
        name = value.get("name") if isinstance(value, dict) else value
        if name is not None:
            names[block] = str(name)
    return names


def run_config(values: dict[str, Any], where: str = "") -> RunConfig:
    """Build a run's config from a mapping as it stands in `config.yaml`; what is left out takes its default."""
    from .baselines import is_baseline
    from .build import default_encoder
    from .components import find_component

    names = {"memory": "none"} | names_of(values)
    if "agent" not in names:
        raise UsageError(f"{where}agent: is missing")
    if "encoder" not in names:
        options = values.get("env_options")
        wrappers = options.get("wrappers") if isinstance(options, dict) else ()
        names["encoder"] = default_encoder(
            str(values.get("env")),
            values.get("env_kwargs") or {},
            # Values of the wrong type are refused below.
            tuple(wrappers) if isinstance(wrappers, list | tuple) else (),
            str(values.get("backend", "auto")),
        )
    components = [find_component(kind, names[kind]) for kind in ("agent", "encoder", "memory")]
    known = [item.name for item in dataclasses.fields(RunConfig) if item.name not in BLOCKS.values()]
    for key in values:
        if key not in known:
            raise UsageError(f"{where}{key}: unknown key; {nearest(str(key), known)}")
    flat = {key: value for key, value in values.items() if key not in BLOCKS} | names
    if is_baseline(components[0]):
        flat = components[0].run_defaults | flat
    suited = {"encoder": components[0].encoder_defaults.get(names["encoder"], {})}
    for (block, target), component in zip(BLOCKS.items(), components, strict=True):
        given = values.get(block)
        options = suited.get(block, {}) | (given if isinstance(given, dict) else {})
        options.pop("name", None)
        flat[target] = build(component.Config, options, where, f"{block}.")
    typed = build(run_config_class(*components), flat, where)
    return RunConfig(**shallow_dict(typed))


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return a run's config as plain values, in the layout of `config.yaml`."""
    values = _plain(config)
    blocks = {block: {"name": values.pop(block), **values.pop(target)} for block, target in BLOCKS.items()}
    return values | blocks


def shallow_dict(instance: Any) -> dict[str, Any]:
    """Fields of a dataclass, nested ones left as they are."""
    return {item.name: getattr(instance, item.name) for item in dataclasses.fields(instance)}


def _plain(value: Any) -> Any:
    """Dataclasses as dicts and tuples as lists, at every depth."""
    if dataclasses.is_dataclass(value):
        return {name: _plain(item) for name, item in shallow_dict(value).items()}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def save_config(run_dir: Path, config: RunConfig) -> None:
    """Write `config.yaml`, complete: `--config` with it trains the same run again.

    Raises:
        UsageError: an argument of the environment is something that YAML cannot say.
    """
    try:
        text = yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    except yaml.representer.RepresenterError as error:
        raise UsageError(f"env_kwargs: {type(error.args[-1]).__name__} cannot be written to a file") from None
    temporary = run_dir / f"{CONFIG_FILE}.tmp"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(run_dir / CONFIG_FILE)


def load_config(run_dir: Path) -> RunConfig:
    """Read the config of a run folder.

    Raises:
        UsageError: it is not a run folder, or its config is broken.
    """
    path = run_dir / CONFIG_FILE
    if not path.is_file():
        why = f"it has no {CONFIG_FILE}" if run_dir.is_dir() else "there is no such folder"
        raise UsageError(f"{run_dir} is not a run: {why}")
    return run_config(load_yaml(path), f"{path}: ")
