"""World models from their folder's point of view: collect, fit, go on with it, load what was fitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import torch
import yaml
from annotated_types import Ge, Gt
from gymnasium import spaces

from ..envs.make import EnvSpec, make_envs
from ..world_models.coding import is_picture
from ..world_models.episodes import Episodes
from ..world_models.fit import Fit, FitConfig, Phase
from ..world_models.heads import HeadsConfig
from ..world_models.report import open_loop_example, probe_states, report_on, traversals
from ..world_models.world_model import WorldModel
from .build import choose_device
from .checkpoint import Part, latest_checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from .collect import collect_episodes
from .components import find_component
from .config import UsageError, _Dumper, _plain, as_usage_errors, build, load_yaml, nearest, shallow_dict
from .loop import caught_signals
from .model_report import write_report
from .probe import true_states
from .progress import Progress, say
from .run import load_run, locked
from .tracking import check_tracking, open_tracker

MODEL_FILE = "world_model.yaml"
# Data have seeds of their own, as evaluations do.
DATA_SEED_OFFSET = 2_000_000


@dataclass(frozen=True)
class WorldModelConfig:
    """Everything that decides a world model."""

    env: str
    """Gymnasium id of the environment; module:Id imports the module first."""
    coder_config: Any
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
    coder: str = "auto"
    """What an observation is encoded by; auto is a VAE for pictures and nothing for vectors."""
    dynamics: str = "auto"
    """What predicts the next latent; auto is an MDN-RNN for pictures and an ensemble for vectors."""
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    """Predicting reward and termination."""
    fit: FitConfig = field(default_factory=FitConfig)
    """Learning."""
    track: Literal["auto", "wandb", "tensorboard", "none"] = "auto"
    """Where metrics go besides the folder; auto is W&B for whoever is logged in."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run."""
    threads: Annotated[int, Ge(0)] = 1
    """Threads of torch; 0 leaves it to torch."""


# Names of the nested blocks and the kinds of component that they are.
PARTS: dict[str, Literal["coder", "dynamics"]] = {"encoder": "coder", "dynamics": "dynamics"}


def config_class(coder: type[Any], dynamics: type[Any]) -> type[Any]:
    """Return `WorldModelConfig` with the config classes of these components in place of `Any`."""
    typed = {"coder_config": coder.Config, "dynamics_config": dynamics.Config}
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
    if "auto" in names.values():
        frames = flat.get("frame_stack", 1)
        spec = EnvSpec(str(flat["env"]), 1, kwargs=flat.get("env_kwargs") or {}, frame_stack=frames)
        names = resolve_names(names, observation_space(spec))
        flat |= names
    components = {kind: find_component(kind, names[kind]) for kind in PARTS.values()}
    for block, kind in PARTS.items():
        flat[f"{kind}_config"] = build(components[kind].Config, flat[f"{kind}_config"], where, f"{block}.")
    known = [item.name for item in dataclasses.fields(WorldModelConfig)]
    for key in flat:
        if key not in known:
            shown = [name for name in known if not name.endswith("_config") and name != "coder"]
            raise UsageError(f"{where}{key}: unknown key; {nearest(key, [*shown, 'encoder'])}")
    typed = build(config_class(components["coder"], components["dynamics"]), flat, where)
    return WorldModelConfig(**shallow_dict(typed))


def resolve_names(names: dict[str, str], space: spaces.Space) -> dict[str, str]:
    """Replace `auto` by what fits an observation space."""
    fitting = (
        {"coder": "vae", "dynamics": "mdn_rnn"}
        if is_picture(space)
        else {"coder": "identity", "dynamics": "ensemble"}
    )
    return {kind: fitting[kind] if name == "auto" else name for kind, name in names.items()}


def observation_space(spec: EnvSpec) -> spaces.Space:
    """Look at what an environment shows."""
    with as_usage_errors(), closing(make_envs(replace(spec, backend="sync"))) as envs:
        return envs.observation_space


def to_dict(config: WorldModelConfig) -> dict[str, Any]:
    """Return a config as plain values, in the layout of `world_model.yaml`."""
    values = _plain(config)
    blocks = {
        block: {"name": values.pop(kind), **values.pop(f"{kind}_config")} for block, kind in PARTS.items()
    }
    return values | blocks


def build_world_model(
    config: WorldModelConfig, observation_space: spaces.Space, action_space: spaces.Space
) -> WorldModel:
    """Build the model; its initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return WorldModel(
            observation_space,
            action_space,
            find_component("coder", config.coder),
            find_component("dynamics", config.dynamics),
            config.coder_config,
            config.dynamics_config,
            config.heads,
        ).to(choose_device(config.device))


def env_spec(config: WorldModelConfig) -> EnvSpec:
    """Environments to collect data in; `sync`, which spends no step on resetting."""
    seed = DATA_SEED_OFFSET + config.seed
    return EnvSpec(
        config.env,
        config.num_envs,
        seed=seed,
        kwargs=dict(config.env_kwargs),
        backend="sync",
        frame_stack=config.frame_stack,
    )


def start_fit(config: WorldModelConfig, run_dir: Path) -> dict[str, Any]:
    """Collect data and fit a world model to them, into a folder that must be new or empty; returns the report."""
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise UsageError(f"{run_dir} is not empty; choose another --out, or go on with --resume {run_dir}")
    check_tracking(config.track)
    with as_usage_errors(), closing(make_envs(replace(env_spec(config), num_envs=1))) as envs:
        build_world_model(config, envs.observation_space, envs.action_space)
    if config.data != "random":
        load_run(Path(config.data))
    run_dir.mkdir(parents=True, exist_ok=True)
    text = yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    (run_dir / MODEL_FILE).write_text(text, encoding="utf-8")
    return resume_fit(run_dir)


def resume_fit(run_dir: Path) -> dict[str, Any]:
    """Go on with a fit, bit for bit as if it had never stopped; returns the report."""
    config = load_model_config(run_dir)
    set_threads(config)
    with locked(run_dir):
        checkpoint = latest_checkpoint(run_dir) if list_checkpoints(run_dir) else None
        step = int(checkpoint.name) if checkpoint else None
        tracker = open_tracker(
            run_dir,
            config.track,
            env=config.env,
            agent=f"{config.coder}+{config.dynamics}",
            seed=config.seed,
            config=to_dict(config),
            resume_step=step,
        )
        code = 1
        try:
            report = _fit(config, run_dir, checkpoint, tracker.log)
            code = 0
        finally:
            tracker.close(code)
    return report


def _fit(
    config: WorldModelConfig,
    run_dir: Path,
    checkpoint: Path | None,
    log: Callable[[dict[str, float], int], None],
) -> dict[str, Any]:
    episodes = Episodes()
    if checkpoint is None:
        actor = None if config.data == "random" else load_run(Path(config.data)).agent
        say(f"collecting {config.steps:,} steps of {config.env}")
        episodes, _ = collect_episodes(env_spec(config), config.steps, actor)
    else:
        load_checkpoint(checkpoint, {"episodes": episodes}, only_these=True)
    with closing(make_envs(replace(env_spec(config), num_envs=1))) as envs:
        model = build_world_model(config, envs.observation_space, envs.action_space)
    with as_usage_errors():
        fit = Fit(model, episodes, config.fit, config.seed)
    parts: dict[str, Part] = {"episodes": episodes, **fit.parts()}
    if checkpoint is None:
        save_checkpoint(run_dir, 0, parts)
    else:
        load_checkpoint(checkpoint, parts)
    run_fit(fit, log, run_dir, parts)
    report = _head(config) | report_on(model, fit.train, fit.held_out)
    _write(run_dir, report, model, fit.held_out)
    return report


def run_fit(
    fit: Fit,
    log: Callable[[dict[str, float], int], None],
    run_dir: Path | None = None,
    parts: dict[str, Part] | None = None,
) -> None:
    """Fit to the end, with progress and checkpoints; a signal leaves a checkpoint and ends the program."""
    limit = fit.config.updates * (2 if fit.model.coder.learns else 1)
    progress = Progress(limit, start_step=fit.progress.total)

    def report(metrics: dict[str, float], update: int) -> None:
        log(metrics, update)
        progress.update(update)

    with caught_signals() as caught:

        def looked() -> bool:
            if run_dir is not None and parts is not None:
                save_checkpoint(run_dir, fit.progress.total, parts)
            return not caught

        try:
            fit.run(report, looked)
        finally:
            progress.close()
    if caught:
        raise SystemExit(128 + caught[0])


def set_threads(config: WorldModelConfig) -> None:
    """Use as many torch threads as the config says."""
    if config.threads:
        torch.set_num_threads(config.threads)


def load_model_config(run_dir: Path) -> WorldModelConfig:
    """Read the config of a world model's folder."""
    path = run_dir / MODEL_FILE
    if not path.is_file():
        why = f"it has no {MODEL_FILE}" if run_dir.is_dir() else "there is no such folder"
        raise UsageError(f"{run_dir} is not a world model: {why}")
    return world_model_config(load_yaml(path), f"{path}: ")


@dataclass(frozen=True)
class FittedModel:
    """A world model and the real episodes that it has learned from."""

    config: WorldModelConfig
    model: WorldModel
    episodes: Episodes


def load_world_model(run_dir: Path, device: torch.device | None = None) -> FittedModel:
    """Load what a fit has left.

    Raises:
        UsageError: it is no world model, or its fit has not ended.
    """
    config = load_model_config(run_dir)
    with as_usage_errors(), closing(make_envs(replace(env_spec(config), num_envs=1))) as envs:
        model = build_world_model(config, envs.observation_space, envs.action_space)
    episodes, phase = Episodes(), Phase("")
    load_checkpoint(
        latest_checkpoint(run_dir), {"model": model, "episodes": episodes, "progress": phase}, only_these=True
    )
    if phase.phase != "done":
        raise UsageError(
            f"{run_dir} has not been fitted to the end; go on with: palaestra world-model fit --resume {run_dir}"
        )
    model.eval()
    return FittedModel(config, model.to(device) if device else model, episodes)


def evaluate_model(
    run_dir: Path, returns: dict[str, Any] | None = None, noise: float = 0.0
) -> dict[str, Any]:
    """Judge a world model by the episodes that it has not learned from; the report is left in its folder, too.

    `returns` is what `dream_to_real` has found out, if it was asked. With `noise`, the true state is looked for in
    latents of noisy observations, too.
    """
    fitted = load_world_model(run_dir)
    set_threads(fitted.config)
    train, held_out = fitted.episodes.split()
    report = _head(fitted.config) | report_on(fitted.model, train, held_out) | probe(fitted, noise)
    report |= returns or {}
    _write(run_dir, report, fitted.model, held_out)
    return report


def _write(run_dir: Path, report: dict[str, Any], model: WorldModel, held_out: Episodes) -> None:
    """Leave a report and its pictures."""
    moved = traversals(model, held_out) if is_picture(model.observation_space) else None
    write_report(run_dir, report, open_loop_example(model, held_out), moved)


def probe(fitted: FittedModel, noise: float) -> dict[str, Any]:
    """How well a linear map finds the true state, where an environment of ours tells it; in fresh, random play."""
    seen = true_states(env_spec(fitted.config))
    if seen is None:
        return {}
    report: dict[str, Any] = {}
    for suffix, deviation in {"": 0.0, "_noisy": noise}.items():
        if not suffix or noise:
            each = probe_states(fitted.model, *seen, noise=deviation)
            report |= {f"probe_r2{suffix}": sum(each) / len(each), f"probe_r2_each{suffix}": each}
    return report


def _head(config: WorldModelConfig) -> dict[str, Any]:
    return {"env": config.env, "encoder": config.coder, "dynamics": config.dynamics}
