"""What a run is told: dataclasses with typed defaults, presets in YAML, and strict reading of both."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Ge, Gt
from pydantic import TypeAdapter, ValidationError

CONFIG_FILE = "config.yaml"


class UsageError(Exception):
    """The user asked for something impossible; the message is one line for them."""


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
    backend: Literal["auto", "sync", "vector"] = "auto"
    """What steps the environments; auto follows a fixed rule and is recorded in the run's config."""
    encoder: str = "mlp"
    """Name of the encoder: what one observation is seen with."""
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


@contextmanager
def as_usage_errors() -> Iterator[None]:
    """Turn what environments, networks and agents say of a wrong request into a UsageError."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UsageError(str(error).partition("\n")[0]) from error


# Names of the nested blocks, in YAML and on the command line, and the fields that they fill.
BLOCKS = {"agent": "agent_config", "encoder": "encoder_config", "memory": "memory_config"}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint: the nearest of the known names, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known) or 'none'}"


# -- Reading --------------------------------------------------------------------------------------------------------


_COUNT = re.compile(r"^([+-]?[\d_]*\.?\d+(?:e[+-]?\d+)?)([kM]?)$", re.IGNORECASE)


def parse_count(text: str) -> int:
    """Read a whole number as people write it: 100000, 100_000, 1e5, 100k, 0.1M.

    Raises:
        ValueError: it is not one.
    """
    match = _COUNT.match(text.strip())
    value = float(match[1].replace("_", "")) * {"": 1, "k": 1e3, "m": 1e6}[match[2].lower()] if match else 0.5
    if value != int(value):
        raise ValueError(f"not a whole number: {text!r}")
    return int(value)


def build(cls: type[Any], values: dict[str, Any], where: str = "", path: str = "") -> Any:
    """Build the dataclass `cls` from plain values, as YAML gives them; nested dataclasses from nested mappings.

    Raises:
        UsageError: an unknown key, or a value of the wrong type or out of range; one line that names `where` it
            stands, its dotted path, and the nearest thing that is right.
    """
    hints = get_type_hints(cls, include_extras=True)
    fields = {item.name: item for item in dataclasses.fields(cls)}
    if not isinstance(values, dict):
        raise UsageError(f"{where}{path.rstrip('.') or 'top level'}: expected a mapping, got {values!r}")
    for key in values:
        if key not in fields:
            names = [path + name for name in fields]
            raise UsageError(f"{where}{path}{key}: unknown key; {nearest(path + str(key), names)}")
    arguments = {}
    for name, value in values.items():
        hint, full = hints[name], path + name
        if dataclasses.is_dataclass(hint) and not isinstance(value, hint):
            arguments[name] = build(hint, value, where, full + ".")
        elif dataclasses.is_dataclass(hint):
            arguments[name] = build(hint, shallow_dict(value), where, full + ".")
        else:
            arguments[name] = _checked(hint, value, where + full)
    missing = [name for name, item in fields.items() if name not in arguments and _is_required(item)]
    if missing:
        raise UsageError(f"{where}{path}{missing[0]}: is missing")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise UsageError(f"{where}{path}{error}") from None


def _is_required(item: dataclasses.Field) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _checked(hint: Any, value: Any, place: str) -> Any:
    """Return `value` as the type of an annotation, its range checked."""
    numbers = {int, float} & set(_plain_types(hint))
    try:
        if isinstance(value, bool) and numbers and bool not in _plain_types(hint):
            raise ValueError("expected a number")
        if isinstance(value, str) and numbers == {int} and str not in _plain_types(hint):
            value = parse_count(value)
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"{place}: {message[0].lower()}{message[1:]}, got {value!r}") from None
    except ValueError as error:
        raise UsageError(f"{place}: {error}, got {value!r}") from None


def _plain_types(hint: Any) -> list[Any]:
    """Types that an annotation allows, unions and `Annotated` taken apart."""
    if get_origin(hint) is Annotated:
        return _plain_types(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [plain for part in get_args(hint) for plain in _plain_types(part)]
    return [hint]


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice: the second would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Read YAML whose top level is a mapping; nothing in it is executed."""
    try:
        values = yaml.load(text, _UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{where}{line}: {getattr(error, 'problem', None) or error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{where}: expected a mapping at the top level, got {values!r}")
    return values


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping."""
    try:
        return parse_yaml(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def preset_path(agent: str, env: str) -> str:
    """Path of the preset for an agent in an environment, relative to `configs/`."""
    return f"{agent}/{re.sub('[/:]', '_', env)}.yaml"


def find_preset(agent: str, env: str) -> dict[str, Any]:
    """Return the preset for an agent in an environment, empty where there is none."""
    entry = files("palaestra.configs").joinpath(preset_path(agent, env))
    return parse_yaml(entry.read_text(), f"configs/{preset_path(agent, env)}") if entry.is_file() else {}


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
    names = {}
    for block in BLOCKS:
        value = values.get(block)
        name = value.get("name") if isinstance(value, dict) else value
        if name is not None:
            names[block] = str(name)
    return names


def run_config(values: dict[str, Any], where: str = "") -> RunConfig:
    """Build a run's config from a mapping as it stands in `config.yaml`; what is left out takes its default."""
    from .components import find_component

    defaults = {"encoder": "mlp", "memory": "none"}
    names = defaults | names_of(values)
    if "agent" not in names:
        raise UsageError(f"{where}agent: is missing")
    components = [find_component(kind, names[kind]) for kind in ("agent", "encoder", "memory")]
    flat = {key: value for key, value in values.items() if key not in BLOCKS} | names
    for (block, target), component in zip(BLOCKS.items(), components, strict=True):
        given = values.get(block)
        options = (
            {key: value for key, value in given.items() if key != "name"} if isinstance(given, dict) else {}
        )
        flat[target] = build(component.Config, options, where, f"{block}.")
    unknown = [key for key in values if key not in {item.name for item in dataclasses.fields(RunConfig)}]
    if unknown:
        known = [item.name for item in dataclasses.fields(RunConfig) if item.name not in BLOCKS.values()]
        raise UsageError(f"{where}{unknown[0]}: unknown key; {nearest(str(unknown[0]), known)}")
    typed = build(run_config_class(*components), flat, where)
    return RunConfig(**shallow_dict(typed))


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return a run's config as plain values, in the layout of `config.yaml`."""
    values: dict[str, Any] = {}
    for name, value in shallow_dict(config).items():
        if name in BLOCKS:
            values[name] = {"name": value}
    for name, value in shallow_dict(config).items():
        block = next((block for block, target in BLOCKS.items() if target == name), None)
        if block is not None:
            values[block] |= {key: _plain(item) for key, item in shallow_dict(value).items()}
        elif name not in BLOCKS:
            values[name] = _plain(value)
    order = ["agent", "env", *(key for key in values if key not in ("agent", "env", "encoder", "memory"))]
    return {key: values[key] for key in (*order, "encoder", "memory")}


def shallow_dict(instance: Any) -> dict[str, Any]:
    """Fields of a dataclass, nested ones left as they are."""
    return {item.name: getattr(instance, item.name) for item in dataclasses.fields(instance)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def save_config(run_dir: Path, config: RunConfig) -> None:
    """Write `config.yaml`, complete: `--config` with it trains the same run again."""
    text = yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None, width=110)
    temporary = run_dir / f"{CONFIG_FILE}.tmp"
    temporary.write_text(text)
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
