"""`palaestra.train`, `load` and `make_envs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .envs.make import BackendName, EnvSpec
from .envs.make import make_envs as make_from_spec
from .envs.outside import is_from_python
from .envs.vector import Envs
from .keywords import config_of, several
from .passed import EnvLike, Passed
from .run_object import Run, end_of, noting_failures
from .training.run.start import start_run
from .training.run.storage.folder import absolute, default_run_dir
from .training.settings.config import load_plain_config
from .training.settings.usage import UsageError, as_usage_errors
from .within import within

if TYPE_CHECKING:
    from .agents.agent import Agent
    from .networks.torso import Encoder, Memory


def train(
    agent: str | type[Agent] | type[Any],
    env: EnvLike | None = None,
    *,
    steps: int | str | None = None,
    seed: int | None = None,
    num_envs: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    backend: BackendName | None = None,
    encoder: str | type[Encoder] | None = None,
    memory: str | type[Memory] | None = None,
    agent_options: Mapping[str, Any] | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    memory_options: Mapping[str, Any] | None = None,
    env_options: Mapping[str, Any] | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    track: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    trust: bool = False,
    **options: Any,
) -> Run:
    """Train an agent, as `palaestra train` does: the same config, presets and run folder.

    Later ones win: defaults, the preset for agent and environment, `config`, keywords.

    Args:
        agent: a name such as "ppo", "sb3/ppo", "my_pkg.my_agent:MyAgent" or "./my_agent.py:MyAgent"; or a class.
        env: a Gymnasium id, "my_pkg:MyEnv" or "./my_env.py:MyEnv"; a class, a function that makes an environment, or
            an environment object, which is copied and itself never stepped.
        steps: environment steps, summed over copies; "100k" and "1e5" are read too.
        seed: everything random follows from it.
        num_envs: copies of the environment.
        env_kwargs: arguments of the environment; `max_episode_steps` is one for all.
        backend: what steps the copies: "auto", "sync", "async" (worker processes), "vector", "envpool" or "ale".
        encoder: a name or a class.
        memory: a name, such as "lstm", or a class.
        agent_options: hyper-parameters of the agent, such as `{"learning_rate": 1e-3}`.
        encoder_options: settings of the encoder, such as `{"hidden": [128, 128]}`.
        memory_options: settings of the memory.
        env_options: how environments are wrapped and stepped, such as `{"on_error": "restart"}`.
        config: a YAML file, the name of a preset of the agent, or a mapping in the layout of a run's config.yaml.
        track: "auto" (W&B where the user is logged in), "wandb", "tensorboard" or "none".
        device: "auto", "cpu" or "cuda".
        threads: threads of torch for this run; the program has its own number again afterwards.
        out: folder of the run, new or empty; by default runs/ENV/AGENT-seedN in the working directory.
        progress: show a bar and notes on stderr; False is silent but for warnings.
        trust: import what `config` names, even where it is neither ours nor installed.
        options: every other option of `palaestra train AGENT --help`, with underscores: `evaluate_every=10_000`.

    Returns:
        The run, trained.

    Raises:
        UsageError: the request is wrong; nothing was written.
        RunInterrupted: Ctrl-C or a notebook's stop button; a checkpoint was saved, and `.run.resume()` goes on.
        RunFailedError: the run cannot go on, for instance because it diverged or the disk is full.
        EnvironmentFailedError: a copy of the environment failed; its own error is the cause.
    """
    passed = Passed()
    named = {
        "steps": steps,
        "seed": seed,
        "num_envs": num_envs,
        "env_kwargs": env_kwargs,
        "backend": backend,
        "agent_options": agent_options,
        "encoder_options": encoder_options,
        "memory_options": memory_options,
        "env_options": env_options,
        "track": track,
        "device": device,
        "threads": threads,
    }
    given = {name: value for name, value in (named | options).items() if value is not None}
    with within(passed, progress, trust):
        agent_name = passed.component("agent", agent)
        if env is not None:
            given["env"] = passed.env(env)
        if encoder is not None:
            given["encoder"] = passed.component("encoder", encoder)
        if memory is not None:
            given["memory"] = passed.component("memory", memory)
    # Again, because what was passed is known only now.
    with within(passed, progress, trust):
        asked = config_of(agent_name, config, passed.preset_env, given)
        run = Run(absolute(default_run_dir(asked) if out is None else Path(out)), passed, trust)
        with noting_failures(run):
            result = start_run(asked, run.folder)
    return end_of(run, result)


def load(
    run_dir: str | Path,
    *,
    env: EnvLike | None = None,
    agent: str | type[Any] | None = None,
    encoder: str | type[Any] | None = None,
    memory: str | type[Any] | None = None,
    trust: bool = False,
) -> Run:
    """Return a run that was trained before, here or from the command line. Nothing that its folder names is run yet.

    Args:
        run_dir: its folder.
        env: the environment again, where it was an object in a program.
        agent: the agent's class again, where it was one.
        encoder: the encoder's class again.
        memory: the memory's class again.
        trust: import what the folder names even where it is neither ours nor registered by an installed package.

    Raises:
        UsageError: it is no run, or was made with something else than what is passed.
    """
    passed, folder = Passed(), absolute(Path(run_dir))
    with within(passed):
        config = load_plain_config(folder)
        if env is not None:
            passed.again(config.env, env)
        for kind, given in (("agent", agent), ("encoder", encoder), ("memory", memory)):
            if given is not None:
                passed.again(getattr(config, kind), given, kind)  # type: ignore[arg-type]
    return Run(folder, passed, trust)


def make_envs(
    env: EnvLike,
    num_envs: int = 8,
    *,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    backend: BackendName = "auto",
    wrappers: str | Sequence[str] = (),
    frame_stack: int = 1,
    show_previous: bool = False,
    clip_reward: bool = False,
) -> Envs:
    """Make copies of an environment as agents train in them: one contract, whatever steps them.

    Args:
        env: as for `train`.
        num_envs: how many.
        seed: all episodes follow from it.
        env_kwargs: arguments of the environment.
        backend: what steps them.
        wrappers: a name or several, the first one innermost: "module:Wrapper(size=9)".
        frame_stack: observations that come together, the newest last.
        show_previous: add the previous action and reward to each observation.
        clip_reward: rewards are their signs.

    Returns:
        Environments with `reset()` and `step(actions)`; the latter returns the true successor of every step, also
        where an episode ended, and the episodes that ended. `palaestra.as_vec_env` shows them to Stable-Baselines3.

    Raises:
        UsageError: there is no such environment, or it cannot be made.
    """
    passed = Passed()
    with within(passed):
        name = passed.env(env)
    with within(passed), as_usage_errors():
        if backend in ("vector", "envpool", "ale") and is_from_python(name):
            raise UsageError(f"backend: {backend} steps environments of packages only; use sync or async")
        return make_from_spec(
            EnvSpec(
                name,
                num_envs,
                seed=seed,
                kwargs=dict(env_kwargs or {}),
                backend=backend,
                wrappers=several(wrappers),
                frame_stack=frame_stack,
                show_previous=show_previous,
                clip_reward=clip_reward,
            )
        )
