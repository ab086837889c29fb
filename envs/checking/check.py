"""Is this environment sound? Every finding says what to change, and where."""

from __future__ import annotations

import copy
import pickle
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs import registration
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from ...networks.tree import read_row, tree_map
from ..autoreset import BackendEnvs
from ..backends.copies import close_env, drawn
from ..backends.native import VectorBackend
from ..backends.returned import drawn_as
from ..make import EnvSpec, make_native_vector, make_single
from ..registry import find_environment
from ..validation import StackedFrames, obs_problems, resets_itself, result_problems
from .findings import MAX_SECONDS, Findings, plain_line
from .plays import SEED, RandomActions, mask_for
from .plays import STEPS as REPLAYED_STEPS
from .repeats import check_backends, check_determinism

RANDOM_STEPS = 1000

# Episodes that all terminate after the same number of steps, and at least so many, look like a time limit.
LIKE_A_TIME_LIMIT = 20

# What Gymnasium's checker says of reproducibility: `check_determinism` tells better, also where an environment shows
# the same array each time, or nobody resets it without a seed. And nobody recreates wrappers.
REPEATED = re.compile("non-deterministic|^Deterministic step|the wrapper cannot be recreated")

# Names of the agents that can train in an environment, and why others cannot.
Agents = tuple[list[str], dict[str, str]]


@dataclass(frozen=True)
class CheckReport:
    """What was found out about an environment."""

    id: str
    ok: bool
    """No errors."""
    errors: list[str]
    """What stops an agent from learning in it, or runs from being reproducible."""
    warnings: list[str]
    """What works, but probably not as meant."""
    steps_per_second: float | None
    """Of one copy under random actions; None where it cannot be stepped."""
    observation_space: str = ""
    action_space: str = ""
    render_modes: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    """Agents that can train in it, where it was asked for them; none where something stops all."""


def check_environment(
    env_id: str,
    kwargs: dict[str, Any] | None = None,
    wrappers: tuple[str, ...] = (),
    checkers: Mapping[str, Callable[[gymnasium.Env], None]] | None = None,
    processes: bool = True,
    seconds: float = MAX_SECONDS,
    agents: Callable[[EnvSpec], Agents] | None = None,
) -> CheckReport:
    """Check an environment; an unknown `env_id` is a `ValueError`.

    Args:
        env_id: As for training.
        kwargs: Arguments of the environment.
        wrappers: What goes around it.
        checkers: Other libraries' checkers by name; what they find is a warning.
        processes: Whether to try it in a worker process, too.
        seconds: Time for each part of the checks that steps it.
        agents: Tells who can train in it.
    """
    spec = EnvSpec(env_id, 1, seed=SEED, kwargs=kwargs or {}, wrappers=wrappers)
    # Gymnasium's passive checker would repeat what its explicit one finds.
    registered = replace(find_environment(env_id), disable_env_checker=True)
    findings = Findings(seconds=seconds)
    speed, about = None, dict[str, Any]()
    env = findings.attempt("making it", lambda: make_single(spec, registered))
    if env is not None:
        about = {
            "observation_space": str(env.observation_space),
            "action_space": str(env.action_space),
            "render_modes": tuple((env.metadata or {}).get("render_modes") or ()),
        }
        # As training keeps them; environments may have others later.
        env.observation_space, env.action_space = copy.deepcopy((env.observation_space, env.action_space))
        alone = findings.attempt(
            "a second copy", lambda: check_second(spec, registered, findings), quiet=True
        )
        spec = replace(spec, one_per_process=bool(alone))
        speed = check_single(spec, registered, env, checkers or {}, findings)
        if findings.trains:
            findings.attempt(
                "stepping copies",
                lambda: check_backends(spec, env, processes, findings),
                quiet=True,
            )
        if agents is not None and findings.trains:
            found = findings.attempt("agents", lambda: check_agents(agents(spec), findings), quiet=True)
            about["agents"] = found or ()
        findings.attempt("close", env.close, mild=True)
        if "rgb_array" in about["render_modes"]:
            findings.attempt("render", lambda: check_render(spec, registered, findings), mild=True)
    if registered.vector_entry_point is not None:
        findings.attempt("vector environment", lambda: check_vector(spec, registered, findings), mild=True)
    return CheckReport(env_id, not findings.errors, findings.errors, findings.warnings, speed, **about)


def check_second(spec: EnvSpec, registered: registration.EnvSpec, findings: Findings) -> bool:
    """Try to make a second copy beside the first one; returns whether a process can hold one only."""
    try:
        second = make_single(replace(spec, one_per_process=True), registered)
    except ValueError as error:
        findings.warn(
            f"there can be no second copy beside a first one ({plain_line(error)}): if that holds for one process, "
            "train in it with --env.one-per-process"
        )
        return True
    findings.attempt("close", second.close, mild=True)
    return False


def check_single(
    spec: EnvSpec,
    registered: registration.EnvSpec,
    env: gymnasium.Env,
    checkers: Mapping[str, Callable[[gymnasium.Env], None]],
    findings: Findings,
) -> float | None:
    """Look at one copy; returns steps per second."""
    findings.lines.find_in(env.unwrapped)
    if env.render_mode == "human" and "render_mode" not in spec.kwargs:
        findings.warn("it opens a window unless told otherwise: give it --env-kwargs render_mode=rgb_array")
    if not findings.attempt("one step", lambda: check_one_step(env, findings)):
        return None
    # Other checkers take random actions, which an environment with masks may refuse.
    if mask_for(env.action_space, findings.attempt("reset", lambda: env.reset(seed=SEED)[0])) is None:
        # Agents learn in much of what they object to: they only warn.
        bare = without_gymnasiums_own(env)
        findings.attempt(
            "Gymnasium's checker", lambda: gymnasium_checker(bare, spec.one_per_process), mild=True
        )
        for name, checker in checkers.items():
            findings.attempt(name, lambda checker=checker: checker(bare), mild=True)  # type: ignore[misc]
    speed = findings.attempt("random steps", lambda: check_random_steps(env, findings))
    if findings.trains:
        findings.attempt("replaying an episode", lambda: check_determinism(spec, registered, env, findings))
    return speed


def without_gymnasiums_own(env: gymnasium.Env) -> gymnasium.Env:
    """The environment without what `gymnasium.make` has put around it; the wrappers of its makers and users stay."""
    while isinstance(env, OrderEnforcing | TimeLimit):
        env = env.env
    return env


def check_agents(found: Agents, findings: Findings) -> tuple[str, ...]:
    """Return the agents that can train; that there are none is an error."""
    names, refusals = found
    if not names:
        by_reason: dict[str, list[str]] = {}
        for name, why in refusals.items():
            by_reason.setdefault(why, []).append(name)
        reasons = "; ".join(f"{', '.join(alike)}: {why}" for why, alike in by_reason.items())
        findings.error(f"no agent can train in it ({reasons})")
    return tuple(names)


def check_one_step(env: gymnasium.Env, findings: Findings) -> bool:
    """Look at the first observation and step; returns whether it is worth going on."""
    lines, act = findings.lines, RandomActions(env.action_space)
    obs, _ = lines.watch(lambda: env.reset(seed=SEED))
    findings.returned("reset", obs_problems(env.observation_space, obs))
    result = lines.watch(lambda: env.step(act(obs)))
    findings.returned("step", result_problems(env.observation_space, result))
    return isinstance(result, (tuple, list)) and len(result) == 5


def gymnasium_checker(env: gymnasium.Env, one_per_process: bool) -> None:
    """Run Gymnasium's own checker, which makes another copy in order to close it twice."""
    try:
        check_env(env, skip_render_check=True, skip_close_check=one_per_process)
    except Exception as error:
        if not REPEATED.search(str(error)) and not sees_an_end_that_is_none(env, error):
            raise


def sees_an_end_that_is_none(env: gymnasium.Env, error: Exception) -> bool:
    """Whether Gymnasium's checker takes NumPy's false for true: it wants Python's own (1.4.0)."""
    if "truncates after 1 step" not in str(error):
        return False
    obs, _ = env.reset(seed=SEED)
    return not env.step(RandomActions(env.action_space)(obs))[3]


def check_random_steps(env: gymnasium.Env, findings: Findings) -> float:
    """Look at everything that reset and step return; returns steps per second."""
    act, space = RandomActions(env.action_space), env.observation_space
    obs, _ = env.reset(seed=SEED)
    steps, length, seconds = 0, 0, 0.0
    ends: list[tuple[int, bool]] = []
    frames = StackedFrames(space)
    while steps < RANDOM_STEPS and seconds < findings.seconds:
        action = act(obs)
        started = time.perf_counter()
        result = env.step(action)
        seconds += time.perf_counter() - started
        steps, length = steps + 1, length + 1
        findings.returned("step", result_problems(space, result))
        obs = result[0]
        frames.add(obs)
        if result[2] or result[3]:
            ends.append((length, bool(result[2])))
            if problem := resets_itself(obs, result[4]):
                findings.warn(problem + findings.lines.at("step"))
            obs, _ = env.reset(seed=SEED + steps)
            findings.returned("reset", obs_problems(space, obs))
            length = 0
    try:
        pickle.loads(pickle.dumps(result[4]))
    except Exception:
        findings.warn(f"its info cannot be pickled: backend async leaves it out{findings.lines.at('step')}")
    check_ends(env, ends, steps, findings)
    if problem := frames.problem():
        findings.warn(problem)
    return steps / seconds


def check_ends(env: gymnasium.Env, ends: list[tuple[int, bool]], steps: int, findings: Findings) -> None:
    """Does it ever end, and does a time limit pass for a termination?"""
    limited = env.spec is not None and env.spec.max_episode_steps is not None
    if not ends and not limited and steps == RANDOM_STEPS:
        findings.warn(
            f"no episode ended in {steps} random steps and there is no time limit: "
            "register it with max_episode_steps, or pass that as an argument"
        )
    lengths = {length for length, _ in ends}
    if len(ends) >= 3 and len(lengths) == 1 and all(terminated for _, terminated in ends):
        (length,) = lengths
        if length >= LIKE_A_TIME_LIMIT:
            findings.warn(
                f"every episode terminated after exactly {length} steps: if that is a time limit, return it as "
                f"truncated, or agents learn that nothing comes after{findings.lines.at('step')}"
            )


def check_render(spec: EnvSpec, registered: registration.EnvSpec, findings: Findings) -> None:
    """Draw one picture."""
    env = make_single(replace(spec, render_mode="rgb_array"), registered)
    try:
        env.reset(seed=SEED)
        frame = drawn(env)
    finally:
        close_env(env)
    values = np.asarray(frame)
    if values.ndim != 3 or values.shape[2] != 3 or values.dtype != np.uint8:
        findings.warn(f"render returns {drawn_as(frame)}; videos need uint8 of shape (height, width, 3)")


def check_vector(spec: EnvSpec, registered: registration.EnvSpec, findings: Findings) -> None:
    """Step the vector environment that comes along through its auto-resets."""
    raw = make_native_vector(replace(spec, num_envs=2, wrappers=()), registered)
    envs = BackendEnvs(VectorBackend(raw, SEED))
    try:
        envs.action_space.seed(SEED)
        envs.reset()
        started = time.perf_counter()
        for _ in range(REPLAYED_STEPS):
            actions = (envs.action_space.sample() for _ in range(2))
            step = envs.step(tree_map(lambda *leaves: np.stack(leaves), *actions))
            for problem in obs_problems(envs.observation_space, read_row(step.next_obs, 0)):
                findings.warn(f"vector environment: step returns {problem.what}")
            if time.perf_counter() - started > findings.seconds:
                return
    finally:
        envs.close()
