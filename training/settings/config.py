"""Everything that decides a run, and the file that keeps it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Gt, Interval

from ...world_models.dream_config import DreamConfig
from .absolute_names import with_absolute_names
from .components import Kind, find_component
from .own_loop import OwnLoopOptions
from .providers import provider_of
from .trust import check_names
from .typed import build, flat, plain, shallow_dict
from .usage import UsageError, nearest
from .yaml_files import dump_yaml, load_yaml, save_yaml

CONFIG_FILE = "config.yaml"
# Options that tell of a run and decide nothing in it.
TELLING = {"track", "project", "entity", "group", "tag", "notes", "video", "log_every"}
# What a run chooses by itself where it is asked for "auto" or 0; its config says what it has chosen.
CHOSEN = {"backend", "device", "compile", "threads", "log_every", "evaluate_every", "checkpoint_every"}


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
    """Processes of the async backend; 0 is one a core that this process may use. Results do not depend on it."""
    one_per_process: bool = False
    """Give every copy a process of its own, with backend async: for emulators, ports and whatever else a process can
    hold one of only."""
    clip_reward: bool = False
    """Agents see the sign of each reward only (Mnih et al. 2015); returns of episodes are of the whole rewards."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run."""

    agent: str
    """Name of the agent: a file in `agents/`, or package.module:Class, or FILE.py:Class."""
    env: str
    """Gymnasium id of the environment; module:Id imports the module first, FILE.py:Class is a class in a file."""
    agent_config: Any
    """The agent's hyper-parameters."""
    encoder_config: Any
    """The encoder's settings."""
    memory_config: Any
    """The memory's settings."""
    steps: Annotated[int, Gt(0)] = 100_000
    """Environment steps to train for, summed over environments; 1e5, 100k and 100_000 are the same."""
    schedule_steps: Annotated[int, Ge(0)] = 0
    """Environment steps over which schedules run; 0 is all of --steps."""
    seed: Annotated[int, Interval(ge=0, lt=2**63)] = 0
    """Everything random follows from it."""
    num_envs: Annotated[int, Gt(0)] = 8
    """Copies of the environment that are stepped together."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    frame_stack: Annotated[int, Gt(0)] = 1
    """Show this many of the last observations together, the newest last."""
    show_previous: bool = False
    """Show the last action and reward beside each observation (zeros in a first step), for memories."""
    show_model_memory: str = ""
    """Folder of a fitted world model whose memory is shown beside each observation (zeros in a first step)."""
    env_options: EnvOptions = EnvOptions()
    """How environments are wrapped and stepped."""
    backend: Literal["auto", "sync", "async", "vector", "envpool", "ale"] = "auto"
    """What steps the environments; auto follows a fixed rule and is recorded in the run's config."""
    encoder: str = "mlp"
    """Name of the encoder: what one observation is encoded by. By default cnn for pictures, mlp for all else."""
    memory: str = "none"
    """Name of the memory: what is carried from step to step."""
    auxiliary: str = "none"
    """Name of the auxiliary loss: what the encoder learns from beside the agent's loss."""
    auxiliary_config: Any = None
    """The auxiliary loss's settings."""
    log_every: Annotated[int, Ge(0)] = 0
    """Environment steps between rows of metrics; 0 chooses about 200 rows a run."""
    evaluate_every: Annotated[int, Ge(0)] = 0
    """Environment steps between evaluations; 0 chooses ten a run."""
    evaluate_episodes: Annotated[int, Gt(0)] = 20
    """Full episodes of each evaluation."""
    evaluate_max_steps: Annotated[int, Ge(0)] = 0
    """Cut off episodes of evaluations after so many steps; 0 is 27,000, or the environment's own limit if longer."""
    checkpoint_every: Annotated[int, Ge(0)] = 0
    """Environment steps between checkpoints; 0 chooses twenty a run."""
    track: Literal["auto", "wandb", "tensorboard", "none"] = "auto"
    """Where metrics go besides the run folder; auto is W&B for whoever is logged in."""
    project: str = ""
    """W&B project; by default WANDB_PROJECT, or palaestra."""
    entity: str = ""
    """W&B user or team; by default WANDB_ENTITY, or the user's own."""
    group: str = ""
    """W&B group; by default WANDB_RUN_GROUP, or the environment."""
    tag: tuple[str, ...] = ()
    """W&B tags, beside agent, environment and version."""
    notes: str = ""
    """W&B notes: what the run is for."""
    video: bool = False
    """Film an episode at the end, into the run's videos/; W&B shows it, and keeps it as an artifact."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; auto is a GPU where there is one."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile updates, or the LSTM or GRU in them; auto does so where enough of them are planned to pay for it."""
    threads: Annotated[int, Ge(0)] = 0
    """Threads of torch; 0 is every core that this process may use for pictures of 36x36 or more, and one for all
    else (more make small networks slower)."""
    data: tuple[str, ...] = ()
    """Demonstrations, for bc and --reward gail: folders of `palaestra record`, and minari:NAME."""
    episodes: Annotated[int, Ge(0)] = 0
    """Use only the first so many episodes of --data; 0 is all."""
    init_from: str = ""
    """Folder of another run: begin with whatever parts of its networks fit, of the same agent or of another one."""
    dream: DreamConfig = field(default_factory=DreamConfig)
    """Train in the dream of a world model instead; evaluations are always in the real environment."""
    bonus: str = "none"
    """Name of the bonus for novelty, added to the rewards that the agent learns from: count, rnd or reachability."""
    bonus_config: Any = field(default_factory=dict)
    """The bonus's settings."""
    reward: str = "none"
    """Name of what pays the agent in place of the environment: gail, which learns from demonstrations, or labels."""
    reward_config: Any = field(default_factory=dict)
    """Its settings."""


# Names of the nested blocks, in YAML and on the command line, and the fields that they fill.
BLOCKS: dict[Kind, str] = {
    "agent": "agent_config",
    "encoder": "encoder_config",
    "memory": "memory_config",
    "auxiliary": "auxiliary_config",
    "bonus": "bonus_config",
    "reward": "reward_config",
}
# What blocks name where nothing is said; the encoder follows from the observations.
USUAL: dict[str, str] = {"memory": "none", "auxiliary": "none", "bonus": "none", "reward": "none"}


def run_config_class(*components: type[Any]) -> type[Any]:
    """Return `RunConfig` with the config classes of these components, one for each block, in place of `Any`."""
    return _typed_config_class(component.Config for component in components)


def _typed_config_class(configs: Iterable[Any]) -> type[Any]:
    """Return `RunConfig` with these types for the options of the blocks."""
    typed = dict(zip(BLOCKS.values(), configs, strict=True))
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


def names_of(values: dict[str, Any], blocks: Iterable[str] = BLOCKS) -> dict[str, str]:
    """Return the names of blocks in a mapping, in `agent: {name: ...}` or as `agent: ...`."""
    names: dict[str, str] = {}
    for block in blocks:
        value = values.get(block)
        name = value.get("name") if isinstance(value, dict) else value
        if name is not None:
            names[block] = str(name)
    return names


def run_config(values: dict[str, Any], where: str = "") -> RunConfig:
    """Build a run's config from a mapping as it stands in `config.yaml`; what is left out takes its default.

    What it names is imported, and the environment is built where no encoder is named: mappings out of a file pass
    `trust.check_names` first.
    """
    values = with_absolute_names(values)
    names = USUAL | names_of(values)
    if "agent" in names and "encoder" not in names:
        from .default_encoder import default_encoder  # imports torch

        options = values.get("env_options")
        wrappers = options.get("wrappers") if isinstance(options, dict) else ()
        names["encoder"] = default_encoder(
            str(values.get("env")),
            values.get("env_kwargs") or {},
            # Values of the wrong type are refused below.
            tuple(wrappers) if isinstance(wrappers, list | tuple) else (),
            str(values.get("backend", "auto")),
        )
    return _checked_config(values, names, where, find_component)


def plain_config(values: dict[str, Any], where: str = "") -> RunConfig:
    """Build the same for lists and tables: nothing is built, and nothing from outside is imported.

    Options of components that are not ours stay as they are, a mapping.
    """

    def find(kind: Kind, name: str) -> type[Any] | None:
        outside = ":" in name or provider_of(kind, name) is not None
        return None if outside else find_component(kind, name)

    names = {"encoder": "mlp"} | USUAL | names_of(values)
    return _checked_config(values, names, where, find)


def _checked_config(
    values: dict[str, Any],
    names: dict[str, str],
    where: str,
    find: Callable[[Kind, str], type[Any] | None],
) -> RunConfig:
    """Build a config whose components have these names."""
    if "agent" not in names:
        raise UsageError(f"{where}agent: is missing")
    agent, *_ = components = [find(kind, names[kind]) for kind in BLOCKS]
    known = [item.name for item in dataclasses.fields(RunConfig) if item.name not in BLOCKS.values()]
    for key in values:
        if key not in known:
            raise UsageError(f"{where}{key}: unknown key; {nearest(str(key), known)}")
    kept = {key: value for key, value in values.items() if key not in BLOCKS} | names
    suited: dict[str, dict[str, Any]] = {}
    if agent is not None:
        if issubclass(agent, OwnLoopOptions):
            kept = agent.run_defaults | kept
        suited = {"encoder": agent.encoder_defaults.get(names["encoder"], {})}
    for (block, target), component in zip(BLOCKS.items(), components, strict=True):
        given = values.get(block)
        options = suited.get(block, {}) | (given if isinstance(given, dict) else {})
        options.pop("name", None)
        kept[target] = options if component is None else build(component.Config, options, where, f"{block}.")
    types = [dict[str, Any] if component is None else component.Config for component in components]
    typed = build(_typed_config_class(types), kept, where)
    return RunConfig(**shallow_dict(typed))


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return a run's config as plain values, in the layout of `config.yaml`."""
    values = plain(config)
    blocks = {block: {"name": values.pop(block), **values.pop(target)} for block, target in BLOCKS.items()}
    return values | blocks


def save_config(run_dir: Path, config: RunConfig, name: str = CONFIG_FILE) -> None:
    """Write a config, complete, as `config.yaml`, which makes a folder a run's, or under another name.

    `--config` with it trains the same run again.

    Raises:
        UsageError: an argument of the environment is something that YAML cannot say.
    """
    values = to_dict(config)
    try:
        save_yaml(run_dir / name, values)
    except TypeError as error:
        raise UsageError(f"{_unwritable(values)}: {error}") from None


def _unwritable(values: dict[str, Any]) -> str:
    """Name of the first value that YAML cannot say."""
    for name, value in flat(values).items():
        try:
            dump_yaml({name: value})
        except TypeError:
            return "env_kwargs" if name.startswith("env_kwargs.") else name
    return "config"


@contextmanager
def changed_config(run_dir: Path, kept: RunConfig, config: RunConfig) -> Iterator[None]:
    """Save another config of a run, and put the kept one back if the request is refused after all."""
    if config == kept:
        yield
        return
    save_config(run_dir, config)
    try:
        yield
    except UsageError:
        save_config(run_dir, kept)
        raise


def load_config(run_dir: Path) -> RunConfig:
    """Read the config of a run folder, to build what it names.

    Raises:
        UsageError: it is not a run folder, its config is broken, or it names what the user does not trust.
    """
    values, path = _read_config_file(run_dir)
    check_names(values, path)
    return run_config(values, f"{path}: ")


def load_plain_config(run_dir: Path) -> RunConfig:
    """Read the config of a run folder for lists and tables, see `plain_config`; whoever wrote it.

    Raises:
        UsageError: it is not a run folder, or its config is broken.
    """
    values, path = _read_config_file(run_dir)
    return plain_config(values, f"{path}: ")


def check_config(run_dir: Path) -> None:
    """Raise `UsageError` where `load_config` would refuse what a run folder names; imports nothing from outside."""
    values, path = _read_config_file(run_dir)
    check_names(values, path)


def _read_config_file(run_dir: Path) -> tuple[dict[str, Any], Path]:
    path = run_dir / CONFIG_FILE
    if not path.is_file():
        why = f"it has no {CONFIG_FILE}" if run_dir.is_dir() else "there is no such folder"
        raise UsageError(f"{run_dir} is not a run: {why}")
    values = load_yaml(path)
    if "imitate" in values:  # what `reward` was called before 0.2
        values["reward"] = values.pop("imitate")
    return values, path
