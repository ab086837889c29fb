"""Settings of a world model: from options and files to a config, and from a config to the model."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Gt
from gymnasium import spaces

from ...envs.make import EnvSpec, make_envs
from ...envs.outside import absolute_name
from ...networks.layers import initialized
from ...world_models.fit import FitConfig
from ...world_models.observation_networks import is_convolved
from ...world_models.prediction_heads import PredictionHeadsConfig
from ...world_models.world_model import WorldModel
from ..run.build import choose_device
from ..run.storage.folder import MODEL_CONFIG_FILE
from ..settings.absolute_names import absolute_folder
from ..settings.components import find_component
from ..settings.seeds import DATA_SEED
from ..settings.trust import check_names
from ..settings.typed import build, plain, shallow_dict
from ..settings.usage import UsageError, as_usage_errors, nearest
from ..settings.yaml_files import load_yaml


@dataclass(frozen=True)
class WorldModelConfig:
    """Everything that decides a world model."""

    env: str
    """Gymnasium id of the environment; module:Id imports the module first."""
    observation_model_config: Any
    """The encoder's settings."""
    dynamics_config: Any
    """The dynamics' settings."""
    steps: Annotated[int, Gt(0)] = 10_000
    """Real steps to learn from, summed over environments."""
    data: str = "random"
    """Where they come from: random actions, or the folder of a run whose agent explores."""
    seed: Annotated[int, Ge(0)] = 0
    """Everything random follows from it."""
    num_envs: Annotated[int, Gt(0)] = 8
    """Copies of the environment that data are collected with."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    frame_stack: Annotated[int, Gt(0)] = 1
    """Show this many of the last observations together, the newest last; pictures of two steps show velocities."""
    observation_model: str = "auto"
    """What an observation is encoded by; auto is a VAE for pictures and nothing for vectors."""
    dynamics: str = "auto"
    """What predicts the next latent; auto is an MDN-RNN for pictures and an ensemble for vectors."""
    heads: PredictionHeadsConfig = field(default_factory=PredictionHeadsConfig)
    """Predicting reward and termination."""
    fit: FitConfig = field(default_factory=FitConfig)
    """Learning."""
    track: Literal["auto", "wandb", "tensorboard", "none"] = "auto"
    """Where metrics go besides the folder; auto is W&B for whoever is logged in."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run."""
    threads: Annotated[int, Ge(0)] = 1
    """Threads of torch; 0 is every core that this process may use."""


# Names of the nested blocks and the kinds of component that they are.
PARTS: dict[str, Literal["observation_model", "dynamics"]] = {
    "encoder": "observation_model",
    "dynamics": "dynamics",
}


def config_class(observation_model: type[Any], dynamics: type[Any]) -> type[Any]:
    """Return `WorldModelConfig` with the config classes of these components in place of `Any`."""
    typed = {"observation_model_config": observation_model.Config, "dynamics_config": dynamics.Config}
    hints = get_type_hints(WorldModelConfig, include_extras=True)
    fields: list[tuple[str, Any, Any]] = []
    for item in dataclasses.fields(WorldModelConfig):
        kind = typed.get(item.name, hints[item.name])
        default: Any = item.default
        if item.name in typed:
            default = kind()
        factory = item.default_factory
        made = (
            dataclasses.field(default=default)
            if factory is dataclasses.MISSING
            else field(default_factory=factory)
        )
        required = default is dataclasses.MISSING and factory is dataclasses.MISSING
        fields.append((item.name, kind, dataclasses.field() if required else made))
    return dataclasses.make_dataclass("WorldModelConfig", fields, frozen=True)


def world_model_config(values: dict[str, Any], where: str = "") -> WorldModelConfig:
    """Build a config from a mapping as it stands in `world_model.yaml`; what is left out takes its default.

    Raises:
        UsageError: a key, a name or a value is wrong.
    """
    flat: dict[str, Any] = dict(values)
    names: dict[str, str] = {}
    for block, kind in PARTS.items():
        given = flat.pop(block, None)
        options = dict(given) if isinstance(given, dict) else {"name": given} if given else {}
        names[kind] = str(options.pop("name", "auto"))
        flat |= {kind: names[kind], f"{kind}_config": options}
    if "env" not in flat:
        raise UsageError(f"{where}env: is missing")
    flat["env"] = absolute_name(str(flat["env"]))
    if isinstance(data := flat.get("data"), str) and data != "random":
        flat["data"] = absolute_folder(data)
    if "auto" in names.values():
        frames = flat.get("frame_stack", 1)
        with as_usage_errors():
            spec = EnvSpec(str(flat["env"]), 1, kwargs=flat.get("env_kwargs") or {}, frame_stack=frames)
        names = resolve_names(names, observation_space(spec))
        flat |= names
    components = {kind: find_component(kind, names[kind]) for kind in PARTS.values()}
    for block, kind in PARTS.items():
        flat[f"{kind}_config"] = build(components[kind].Config, flat[f"{kind}_config"], where, f"{block}.")
    known = [item.name for item in dataclasses.fields(WorldModelConfig)]
    for key in flat:
        if key not in known:
            shown = [name for name in known if not name.endswith("_config") and name != "observation_model"]
            raise UsageError(f"{where}{key}: unknown key; {nearest(key, [*shown, 'encoder'])}")
    typed = build(config_class(components["observation_model"], components["dynamics"]), flat, where)
    return WorldModelConfig(**shallow_dict(typed))


def resolve_names(names: dict[str, str], space: spaces.Space) -> dict[str, str]:
    """Replace `auto` by what fits an observation space."""
    fitting = (
        {"observation_model": "vae", "dynamics": "mdn_rnn"}
        if is_convolved(space)
        else {"observation_model": "identity", "dynamics": "ensemble"}
    )
    return {kind: fitting[kind] if name == "auto" else name for kind, name in names.items()}


def observation_space(spec: EnvSpec) -> spaces.Space:
    """Look at what an environment shows."""
    with as_usage_errors(), closing(make_envs(replace(spec, backend="sync"))) as envs:
        return envs.observation_space


def to_dict(config: WorldModelConfig) -> dict[str, Any]:
    """Return a config as plain values, in the layout of `world_model.yaml`."""
    values = plain(config)
    blocks = {
        block: {"name": values.pop(kind), **values.pop(f"{kind}_config")} for block, kind in PARTS.items()
    }
    return values | blocks


def build_world_model(
    config: WorldModelConfig, observation_space: spaces.Space, action_space: spaces.Space
) -> WorldModel:
    """Build the model; its initial weights depend on the seed alone."""
    with initialized(config.seed):
        return WorldModel(
            observation_space,
            action_space,
            find_component("observation_model", config.observation_model),
            find_component("dynamics", config.dynamics),
            config.observation_model_config,
            config.dynamics_config,
            config.heads,
        ).to(choose_device(config.device))


def data_spec(config: WorldModelConfig) -> EnvSpec:
    """Environments to collect data in; `sync`, which spends no step on resetting."""
    seed = DATA_SEED + config.seed
    return EnvSpec(
        config.env,
        config.num_envs,
        seed=seed,
        kwargs=dict(config.env_kwargs),
        backend="sync",
        frame_stack=config.frame_stack,
    )


def load_model_config(run_dir: Path) -> WorldModelConfig:
    """Read the config of a world model's folder."""
    path = run_dir / MODEL_CONFIG_FILE
    if not path.is_file():
        why = f"it has no {MODEL_CONFIG_FILE}" if run_dir.is_dir() else "there is no such folder"
        raise UsageError(f"{run_dir} is not a world model: {why}")
    values = load_yaml(path)
    check_names(values, path)
    return world_model_config(values, f"{path}: ")
