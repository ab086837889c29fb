"""Is this environment sound? Every finding says what to change, and where."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs import registration
from gymnasium.utils.env_checker import check_env

from ..networks.tree import read_row, same_leaves, tree_map
from .autoreset import BackendEnvs
from .backends.copies import close_env, picture
from .backends.native import VectorBackend
from .findings import MAX_SECONDS, Findings, first_line
from .make import EnvSpec, make_envs, make_native_vector, make_single
from .registry import find_environment
from .validation import obs_problems, result_problems
from .vector import Envs

RANDOM_STEPS = 1000
REPLAYED_STEPS = 200
SEED = 123

# Episodes that all terminate after the same number of steps, and at least so many, look like a time limit.
LIKE_A_TIME_LIMIT = 20


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


def check_environment(
    env_id: str,
    kwargs: dict[str, Any] | None = None,
    wrappers: tuple[str, ...] = (),
    checkers: Mapping[str, Callable[[gymnasium.Env], None]] | None = None,
    processes: bool = True,
    seconds: float = MAX_SECONDS,
) -> CheckReport:
    """Check an environment; an unknown `env_id` is a `ValueError`.

    Args:
        env_id: As for training.
        kwargs: Arguments of the environment.
        wrappers: What goes around it.
        checkers: Other libraries' checkers by name; what they find is a warning.
        processes: Whether to try it in a worker process, too.
        seconds: Time for each part of the checks that steps it.
    """
    spec = EnvSpec(env_id, 1, seed=SEED, kwargs=kwargs or {}, wrappers=wrappers)
    # Gymnasium's passive checker would repeat what its explicit one finds.
    registered = replace(find_environment(env_id), disable_env_checker=True)
    findings = Findings(seconds=seconds)
    speed, about = None, dict[str, Any]()
    made = findings.attempt(
        "making it", lambda: (make_single(spec, registered), make_single(spec, registered))
    )
    if made is not None:
        env, fresh = made
        about = {
            "observation_space": str(env.observation_space),
            "action_space": str(env.action_space),
            "render_modes": tuple(env.metadata.get("render_modes", ())),
        }
        findings.lines.find_in(env.unwrapped)
        # Their wrappers may change the observations; then it is the whole that counts.
        core = env if wrappers or env.observation_space != env.unwrapped.observation_space else env.unwrapped
        if findings.attempt("one step", lambda: check_one_step(core, findings)):
            findings.attempt("Gymnasium's checker", lambda: gymnasium_checker(core, findings))
            for name, checker in (checkers or {}).items():
                findings.attempt(name, lambda checker=checker: checker(core), mild=True)  # type: ignore[misc]
            speed = findings.attempt("random steps", lambda: check_random_steps(env, findings))
            findings.attempt("replaying an episode", lambda: check_determinism(env, fresh, findings))
            if processes and not findings.errors:
                findings.attempt("in a worker process", lambda: check_worker(spec, env, findings), mild=True)
        if "rgb_array" in about["render_modes"]:
            findings.attempt("render", lambda: check_render(spec, registered, findings), mild=True)
        for each in made:
            findings.attempt("close", each.close, mild=True)
    if registered.vector_entry_point is not None:
        findings.attempt("vector environment", lambda: check_vector(spec, registered, findings), mild=True)
    return CheckReport(env_id, not findings.errors, findings.errors, findings.warnings, speed, **about)


def check_one_step(env: gymnasium.Env, findings: Findings) -> bool:
    """Look at the first observation and step; returns whether it is worth going on."""
    lines = findings.lines
    obs, _ = lines.watch(lambda: env.reset(seed=SEED))
    for problem in obs_problems(env.observation_space, obs):
        findings.error(f"reset returns {problem}{lines.at('reset')}")
    result = lines.watch(lambda: env.step(env.action_space.sample()))
    for problem in result_problems(env.observation_space, result):
        findings.error(f"step returns {problem}{lines.at('step')}")
    return isinstance(result, tuple) and len(result) == 5


def gymnasium_checker(env: gymnasium.Env, findings: Findings) -> None:
    """Run Gymnasium's own checker."""
    try:
        check_env(env, skip_render_check=True)
    except Exception as error:
        if "the wrapper cannot be recreated" in str(error):
            return  # that comes last, and nobody recreates it
        if "random number generator to have been generated" not in str(error):
            raise
        # It may have a generator of its own; whether its seed determines its episodes is checked below.
        findings.warn(f"Gymnasium's checker: {first_line(error)}")


def check_random_steps(env: gymnasium.Env, findings: Findings) -> float:
    """Look at everything that reset and step return; returns steps per second."""
    env.action_space.seed(SEED)
    env.reset(seed=SEED)
    steps, length, seconds = 0, 0, 0.0
    ends: list[tuple[int, bool]] = []
    while steps < RANDOM_STEPS and seconds < findings.seconds:
        action = env.action_space.sample()
        started = time.perf_counter()
        result = env.step(action)
        seconds += time.perf_counter() - started
        steps, length = steps + 1, length + 1
        for problem in result_problems(env.observation_space, result):
            findings.error(f"step returns {problem}{findings.lines.at('step')}")
        if result[2] or result[3]:
            ends.append((length, bool(result[2])))
            obs, _ = env.reset()
            for problem in obs_problems(env.observation_space, obs):
                findings.error(f"reset returns {problem}{findings.lines.at('reset')}")
            length = 0
    try:
        pickle.dumps(result[4])
    except Exception:
        findings.warn(f"its info cannot be pickled: backend async leaves it out{findings.lines.at('step')}")
    check_ends(env, ends, steps, findings)
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


def check_determinism(env: gymnasium.Env, fresh: gymnasium.Env, findings: Findings) -> None:
    """Compare a used environment with a fresh one under one seed: they must agree bit for bit."""
    if env.spec is not None and env.spec.nondeterministic:
        findings.warn("it is registered as nondeterministic: runs in it cannot be resumed exactly")
        return
    for t, (used, new) in enumerate(
        zip(play(env, findings.seconds), play(fresh, findings.seconds), strict=False)
    ):
        if not same_leaves(used, new):
            findings.error(
                f"the same seed and actions lead elsewhere after {t} steps: call super().reset(seed=seed), draw "
                "every random number from self.np_random, and let reset undo whatever an episode has changed"
                + findings.lines.at("reset" if t == 0 else "step")
            )
            return


def play(env: gymnasium.Env, seconds: float) -> Iterator[Any]:
    """Yield everything numeric that an environment returns under one seed and one sequence of actions."""
    env.action_space.seed(SEED)
    obs, _ = env.reset(seed=SEED)
    yield tree_map(np.copy, obs), 0.0, False, False
    started = time.perf_counter()
    for t in range(REPLAYED_STEPS):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        yield tree_map(np.copy, obs), reward, terminated, truncated
        if terminated or truncated:
            env.reset(seed=SEED + t)
        if time.perf_counter() - started > seconds:
            return


def check_worker(spec: EnvSpec, env: gymnasium.Env, findings: Findings) -> None:
    """Step it in a worker process, too: it must get there, and do the same as here."""
    streams = []
    for backend in ("sync", "async"):
        envs = make_envs(replace(spec, backend=backend, workers=1, timeout=MAX_SECONDS * 10))
        try:
            streams.append(list(play_through(envs, env)))
        finally:
            envs.close()
    nondeterministic = env.spec is not None and env.spec.nondeterministic
    for t, (here, there) in enumerate(zip(*streams, strict=False)):
        if not nondeterministic and not same_leaves(here, there):
            findings.error(
                f"in another process the same seed and actions lead elsewhere after {t} steps: do not iterate over "
                "sets of strings, and do not depend on what else the process has done"
                + findings.lines.at("step")
            )
            return


def play_through(envs: Envs, env: gymnasium.Env) -> Iterator[Any]:
    """Yield what `envs`, of one copy, returns under random actions."""
    env.action_space.seed(SEED)
    yield envs.reset(), np.zeros(1), np.zeros(1, bool)
    started = time.perf_counter()
    for _ in range(REPLAYED_STEPS):
        step = envs.step(tree_map(lambda leaf: np.asarray(leaf)[None], env.action_space.sample()))
        yield step.obs, step.reward, step.terminated
        if time.perf_counter() - started > MAX_SECONDS:
            return


def check_render(spec: EnvSpec, registered: registration.EnvSpec, findings: Findings) -> None:
    """Draw one picture."""
    env = make_single(replace(spec, render_mode="rgb_array"), registered)
    try:
        env.reset(seed=SEED)
        frame = np.asarray(picture(env))
    finally:
        close_env(env)
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        findings.warn(
            f"render returns {frame.dtype} of shape {frame.shape}; videos need uint8 of shape (height, width, 3)"
        )


def check_vector(spec: EnvSpec, registered: registration.EnvSpec, findings: Findings) -> None:
    """Step the vector environment that comes along through its auto-resets."""
    raw = make_native_vector(replace(spec, num_envs=2, wrappers=()), registered)
    envs = BackendEnvs(VectorBackend(raw, SEED))
    try:
        envs.action_space.seed(SEED)
        envs.reset()
        started = time.perf_counter()
        for _ in range(REPLAYED_STEPS):
            actions = [envs.action_space.sample() for _ in range(2)]
            step = envs.step(np.stack(actions) if isinstance(actions[0], np.ndarray) else np.array(actions))
            for problem in obs_problems(envs.observation_space, read_row(step.next_obs, 0)):
                findings.warn(f"vector environment: step returns {problem}")
            if time.perf_counter() - started > findings.seconds:
                return
    finally:
        envs.close()
