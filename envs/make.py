"""From an environment's name to `Envs`; what is wrong with a request ends in one line that says so."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium
from gymnasium import spaces
from gymnasium.envs import registration
from gymnasium.vector import VectorEnv

from .arguments import creator_of, nearest_argument, with_arrays
from .autoreset import BackendEnvs
from .backends.backend import Backend
from .backends.cartpole import FastCartPole, same_as_gymnasium
from .backends.failure import innermost
from .backends.native import VectorBackend
from .backends.pools import AleBackend, EnvPoolBackend, envpool_maker
from .backends.processes import AsyncBackend
from .backends.sync import SyncBackend
from .backends.torch_settings import keeps_torch_settings
from .machine import usable_cores
from .moved import current_name
from .quiet import quieten_mujoco
from .registry import find_environment
from .supported import check_spaces
from .vector import Envs
from .wrappers import minigrid
from .wrappers.action_mask import ShowActionMask
from .wrappers.atari import VECTOR_PROTOCOL
from .wrappers.by_name import apply_wrappers
from .wrappers.clip_reward import ClipReward
from .wrappers.frame_stack import FrameStack
from .wrappers.model_memory import MemoryModel, ShowModelMemory
from .wrappers.previous import ShowPrevious
from .wrappers.repairs import FreshWorld, minatar

BackendName = Literal["auto", "sync", "async", "vector", "envpool", "ale"]
OnError = Literal["stop", "restart"]
# Those that step single environments: they take wrappers, and can make a copy anew.
SINGLE = ("sync", "async")

# Native vector environments whose episodes follow the same law as those of the single environment. Others may
# differ silently: Atari's, for instance, clips rewards and stacks frames.
FAITHFUL = {"CartPole-v0", "CartPole-v1"}
GYMNASIUM_CARTPOLE = "gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv"
OUR_CARTPOLE = f"{FastCartPole.__module__}:{FastCartPole.__name__}"
OUR_NAMESPACE = "palaestra"
# A native CartPole step costs as much as 8 single ones, and hardly more for 64 copies than for 1.
NATIVE_FROM_COPIES = 8

# What it takes for an environment's seed to determine its episodes, and for its pictures to be pictures.
REPAIRS: dict[str, Callable[[gymnasium.Env], gymnasium.Env]] = {
    "BipedalWalker-v3": FreshWorld,
    "BipedalWalkerHardcore-v3": FreshWorld,
    "MinAtar/": minatar,
}
# What could be made in this process, as ids and arguments: a second copy that cannot be is another matter.
_made_here: set[str] = set()
# Wrappers of environments that the user gives none.
DEFAULT_WRAPPERS: dict[str, Callable[[gymnasium.Env], gymnasium.Env]] = {
    "MiniGrid-": minigrid.image,
    "BabyAI-": minigrid.image,
    "Taxi-": ShowActionMask,
}


@dataclass(frozen=True)
class EnvSpec:
    """Which environments to make."""

    id: str
    """Name in Gymnasium's registry; `module:Id` imports `module` first."""
    num_envs: int = 8
    """Copies that are stepped together."""
    seed: int = 0
    """All episodes follow from it."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment; `max_episode_steps` is one for all."""
    backend: BackendName = "auto"
    """What steps them; `auto`: `vector` where there is a faithful one and at least 8 copies, else `sync`."""
    render_mode: str | None = None
    """`rgb_array` to get pictures."""
    wrappers: tuple[str, ...] = ()
    """`module:Wrapper`, or `module:Wrapper(name=value)`; the first one is innermost."""
    on_error: OnError = "stop"
    """What to do when a copy fails: stop, or make that copy anew and go on."""
    timeout: float = 60.0
    """Seconds that a worker process of `async` may take for a step; 0 waits for ever."""
    workers: int = 0
    """Processes of `async`; 0 is one a core. Results do not depend on it."""
    one_per_process: bool = False
    """Whether a process can hold one copy only: `auto` is `async` then, with a process for each copy."""
    frame_stack: int = 1
    """Observations that come together, the newest last; 1 is none but the newest, without an axis for it."""
    max_steps: int | None = None
    """Cut episodes off after so many steps, whatever steps them; `max_episode_steps` is a limit that belongs to the
    environment."""
    clip_reward: bool = False
    """Rewards are their signs; returns of episodes are of the whole ones."""
    show_previous: bool = False
    """Add the previous action and reward to each observation."""
    backend_maker: Callable[[EnvSpec], Backend] | None = None
    """Makes what steps them instead of `backend`, from this spec."""
    memory_model: Callable[[spaces.Space, spaces.Space], MemoryModel] | None = None
    """Add the memory of the world model that this makes for the observation and action spaces to each observation."""

    def __post_init__(self) -> None:
        if self.num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {self.num_envs}")
        if self.frame_stack < 1:
            raise ValueError(f"frame_stack must be at least 1, got {self.frame_stack}")
        limit = self.kwargs.get("max_episode_steps", 1)
        if limit is not None and (type(limit) is not int or (limit < 1 and not self.endless)):
            raise ValueError(f"max_episode_steps must be a whole number, at least 1, got {limit!r}")
        if self.backend not in get_args(BackendName):
            names = ", ".join(get_args(BackendName))
            raise ValueError(f"unknown backend '{self.backend}'; there are {names}")
        if self.backend not in ("auto", *SINGLE):
            wishes = {
                "wrappers": bool(self.wrappers),
                "on_error 'restart'": self.on_error == "restart",
                "max_episode_steps=-1": self.endless,
            }
            wish = next((name for name, wanted in wishes.items() if wanted), None)
            if wish:
                raise ValueError(f"{wish} cannot be had with backend '{self.backend}'; use sync or async")

    @property
    def endless(self) -> bool:
        """Whether the time limit is taken away, as Gymnasium writes it; native vector environments cannot do that."""
        return self.kwargs.get("max_episode_steps") == -1


@keeps_torch_settings
def make_envs(spec: EnvSpec) -> Envs:
    """Make the environments; errors that a user can cause are a `ValueError` or `TypeError` of one line."""
    if spec.backend_maker is not None:
        backend: Backend = spec.backend_maker(spec)
    elif spec.backend == "envpool":
        # EnvPool has ids of its own.
        threads = min(spec.num_envs, spec.workers or usable_cores())
        maker = envpool_maker(spec.id, spec.num_envs, threads, spec.kwargs)
        backend = EnvPoolBackend(maker, spec.num_envs, spec.seed)
        check_spaces(spec.id, backend.observation_space, backend.action_space)
    else:
        backend = make_backend(spec, find_environment(spec.id))
    draws = spec.render_mode == "rgb_array"
    envs = BackendEnvs(backend, spec.on_error == "restart", spec.max_steps, draws)
    try:
        return wrap_envs(spec, envs)
    except BaseException:
        envs.close()
        raise


def wrap_envs(spec: EnvSpec, envs: Envs) -> Envs:
    """Put the wrappers around that `spec` asks for; rewards are clipped last, so that all others get the whole ones."""
    if spec.frame_stack > 1:
        envs = FrameStack(envs, spec.frame_stack)
    if spec.memory_model is not None:
        envs = ShowModelMemory(envs, spec.memory_model(envs.observation_space, envs.action_space))
    if spec.show_previous:
        envs = ShowPrevious(envs)
    return ClipReward(envs) if spec.clip_reward else envs


def make_backend(spec: EnvSpec, registered: registration.EnvSpec) -> Backend:
    """Make what steps the environments."""
    name = choose_backend(spec, registered)
    if name == "vector":
        return VectorBackend(make_native_vector(spec, registered), spec.seed)
    if name == "ale":
        return AleBackend(make_ale(spec, registered), spec.seed)

    make = single_maker(spec, registered)
    if name == "async":
        replace_lost = spec.on_error == "restart"
        workers = spec.num_envs if spec.one_per_process else spec.workers
        return AsyncBackend(
            make, spec.num_envs, spec.seed, replace_lost, workers=workers, timeout=spec.timeout
        )
    return SyncBackend(make, spec.num_envs, spec.seed)


def single_maker(spec: EnvSpec, registered: registration.EnvSpec) -> Callable[[int], gymnasium.Env]:
    """Return what makes copies, by their number."""
    # Here and not in every worker process, so that what has moved is reported once.
    single = replace(spec, wrappers=tuple(current_name(wrapper) for wrapper in spec.wrappers))
    return lambda index: make_single(single, registered)


def choose_backend(spec: EnvSpec, registered: registration.EnvSpec) -> str:
    """Return what `auto` stands for: a fixed rule, no timing, so that a run is the same on every machine."""
    if spec.backend != "auto":
        return spec.backend
    if spec.one_per_process:
        return "async"
    if spec.wrappers or spec.on_error == "restart" or spec.endless:
        return "sync"
    faithful = registered.id in FAITHFUL or registered.namespace == OUR_NAMESPACE
    native = faithful and registered.vector_entry_point is not None
    return "vector" if native and spec.num_envs >= NATIVE_FROM_COPIES else "sync"


@keeps_torch_settings
def make_single(spec: EnvSpec, registered: registration.EnvSpec) -> gymnasium.Env:
    """Make one copy."""
    if spec.render_mode is not None and "DISPLAY" not in os.environ:
        # MuJoCo draws without a display only through EGL, and has to be asked.
        os.environ.setdefault("MUJOCO_GL", "egl")
    quieten_mujoco(registered.entry_point)
    try:
        # Without Gymnasium's checker, which asserts more than agents need, and warns in every worker process.
        env = gymnasium.make(
            registered, **{"disable_env_checker": True} | _arguments(spec, registered.entry_point)
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # one that wants to end the whole program has failed
        raise _explained(spec, registered.entry_point, error) from error
    _made_here.add(repr((spec.id, spec.kwargs)))
    for beginning, repair in REPAIRS.items():
        if registered.id.startswith(beginning):
            env = repair(env)
    for beginning, wrap in DEFAULT_WRAPPERS.items():
        if registered.id.startswith(beginning) and not spec.wrappers:
            env = wrap(env)
    env = apply_wrappers(env, spec.wrappers)
    for name in ("observation_space", "action_space"):
        if not isinstance(getattr(env, name, None), spaces.Space):
            raise ValueError(f"environment '{spec.id}' has no {name}: its constructor has to set one")
    check_spaces(spec.id, env.observation_space, env.action_space)
    modes = (env.metadata or {}).get("render_modes") or []
    # Gymnasium opens a window for whatever gives pictures.
    drawn = {*modes, "human"} if "rgb_array" in modes else modes
    if spec.render_mode is not None and spec.render_mode not in drawn:
        raise ValueError(f"environment '{spec.id}' has no render mode '{spec.render_mode}'; it has {modes}")
    return env


def make_native_vector(spec: EnvSpec, registered: registration.EnvSpec) -> VectorEnv:
    """Make the vector environment that the environment's package brings along."""
    if registered.vector_entry_point is None:
        raise ValueError(f"environment '{spec.id}' has no vector environment of its own; use backend 'sync'")
    quieten_mujoco(registered.vector_entry_point)
    if registered.vector_entry_point == GYMNASIUM_CARTPOLE and same_as_gymnasium():
        registered = replace(registered, vector_entry_point=OUR_CARTPOLE)
    try:
        env = gymnasium.make_vec(
            registered,
            spec.num_envs,
            vectorization_mode="vector_entry_point",
            **_arguments(spec, registered.vector_entry_point),
        )
    except Exception as error:
        raise _explained(spec, registered.vector_entry_point, error) from error
    check_spaces(spec.id, env.single_observation_space, env.single_action_space)
    if "autoreset_mode" not in env.metadata:
        raise ValueError(
            f"the vector environment of '{spec.id}' does not say how it resets (metadata['autoreset_mode']); "
            "use backend 'sync'"
        )
    return env


def make_ale(spec: EnvSpec, registered: registration.EnvSpec) -> VectorEnv:
    """Make the Arcade Learning Environment's own vector environment, with the protocol of `atari.preprocess`."""
    if registered.namespace != "ALE":
        raise ValueError(f"environment '{spec.id}' is not one of the ALE/ ids; use backend 'sync'")
    protocol = (
        VECTOR_PROTOCOL | {"num_threads": min(spec.num_envs, spec.workers or usable_cores())} | spec.kwargs
    )
    # Its observations are pictures anyway.
    return make_native_vector(replace(spec, kwargs=protocol, render_mode=None), registered)


def _arguments(spec: EnvSpec, entry_point: Any) -> dict[str, Any]:
    lists = any(isinstance(value, list) for value in spec.kwargs.values())
    kwargs = with_arrays(creator_of(entry_point), spec.kwargs) if lists else spec.kwargs
    # Many constructors take no render_mode at all.
    return kwargs if spec.render_mode is None else kwargs | {"render_mode": spec.render_mode}


def _explained(spec: EnvSpec, entry_point: Any, error: BaseException) -> ValueError:
    """Return what to raise: one line, with the line of code where the environment is to blame."""
    message = str(error).partition("\n")[0]
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", message)
    if unexpected and unexpected[1] == "render_mode":
        return ValueError(f"environment '{spec.id}' cannot be drawn: it takes no render_mode")
    if unexpected and unexpected[1] in spec.kwargs:
        return ValueError(
            f"environment '{spec.id}' takes no argument {nearest_argument(unexpected[1], creator_of(entry_point))}"
        )
    if missing := re.search(r"missing \d+ required (?:\S+ )?arguments?: (.*?)( was raised|$)", message):
        return ValueError(f"environment '{spec.id}' needs {missing[1]}: give it with --env-kwargs NAME=VALUE")
    if isinstance(error, AssertionError | AttributeError) and _raised_by_gymnasium(error):
        # It notes the id in what is inside, and asserts without a word that it could.
        foreign = not message or "has no attribute 'spec'" in message
        what = "its `unwrapped` is no Gymnasium environment" if foreign else message
        return ValueError(f"environment '{spec.id}' cannot be made: {what}")
    spaces_missing = isinstance(error, AttributeError) and "must specify an" in message
    if spaces_missing or isinstance(error, (gymnasium.error.Error, ImportError)):
        return ValueError(f"environment '{spec.id}' cannot be made: {message}")
    given = f" with {spec.kwargs}" if spec.kwargs else ""
    said = f": {message}" if message else ""
    at = innermost(traceback.extract_tb(error.__traceback__))
    again = ""
    if repr((spec.id, spec.kwargs)) in _made_here and not spec.one_per_process:
        again = "; it could be made once: where a process can hold no second one, give --env.one-per-process"
    return ValueError(
        f"environment '{spec.id}' cannot be made{given}: {type(error).__name__}{said}{at}{again}"
    )


def _raised_by_gymnasium(error: Exception) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return Path(gymnasium.__file__).parent in Path(frames[-1].filename).parents
