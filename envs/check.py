"""Which environments are there, and is this one sound? Every finding says what to change."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.envs import registration
from gymnasium.utils.env_checker import check_env

from .make import EnvSpec, make_single
from .registry import find_environment, load_plugins
from .returned import wrong_obs, wrong_result
from .tree import same_leaves, tree_map

RANDOM_STEPS = 1000
REPLAYED_STEPS = 200
MAX_SECONDS = 3.0
SEED = 123

# Gymnasium's families that need a package which Gymnasium itself does not.
REQUIRED_MODULES = {"box2d": "Box2D", "mujoco": "mujoco", "phys2d": "jax", "tabular": "jax"}

# Gymnasium's checker recommends what is of no concern here: policies work in units in which the bounds are
# [-1, 1], observations may be unbounded, and what is checked is the environment with its wrappers.
OF_NO_CONCERN = re.compile(
    r"symmetric and normalized|(minimum|maximum) value is -?infinity|unwrapped version"
)


class Listing(NamedTuple):
    """An environment that `palaestra envs list` shows."""

    id: str
    family: str
    installed: bool
    """Whether the packages that it needs are there."""


def list_environments(pattern: str = "") -> list[Listing]:
    """What is registered, plug-ins included, by family; `pattern` is a part of an id, or has wildcards."""
    load_plugins()
    wanted = pattern.lower() if set("*?[") & set(pattern) else f"*{pattern.lower()}*"
    found = [
        Listing(spec.id, family(spec), installed(spec))
        for spec in gymnasium.registry.values()
        # Gymnasium keeps the names of environments that it has dropped, to say so.
        if fnmatch.fnmatchcase(spec.id.lower(), wanted) and module_of(spec) != "gymnasium.envs"
    ]
    return sorted(found, key=lambda listing: (listing.family, listing.id))


def module_of(spec: registration.EnvSpec) -> str:
    """Module that an environment comes from."""
    entry_point = spec.entry_point or spec.vector_entry_point
    return entry_point.partition(":")[0] if isinstance(entry_point, str) else entry_point.__module__


def family(spec: registration.EnvSpec) -> str:
    """Gymnasium's own name for a family (`box2d`), the namespace of the id, or the package it comes from."""
    module = module_of(spec).split(".")
    if module[:2] == ["gymnasium", "envs"]:
        return module[2]
    return spec.namespace or module[0]


def installed(spec: registration.EnvSpec) -> bool:
    """Whether the packages that an environment needs can be found; nothing is imported."""
    modules = (module_of(spec).partition(".")[0], REQUIRED_MODULES.get(family(spec), "gymnasium"))
    return all(importlib.util.find_spec(module) is not None for module in modules)


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


@dataclass
class Findings:
    """Errors and warnings, each once."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def error(self, message: str) -> None:
        """Add an error, unless it is known."""
        if message not in self.errors:
            self.errors.append(message)

    def warn(self, message: str) -> None:
        """Add a warning, unless it is known."""
        if message not in self.warnings:
            self.warnings.append(message)

    def attempt(self, what: str, check: Callable[[], Any]) -> Any:
        """Run a part of the checks; what it raises is an error of the environment."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                return check()
            except Exception as error:
                telling = isinstance(error, (ValueError, TypeError, AssertionError))
                kind = "" if telling else f"{type(error).__name__}: "
                self.error(f"{what}: {kind}{first_line(error)}")
            finally:
                for warning in caught:
                    mild = not issubclass(warning.category, (UserWarning, RuntimeWarning))
                    if not (mild or OF_NO_CONCERN.search(str(warning.message))):
                        self.warn(f"{what}: {first_line(warning.message)}")


def first_line(message: object) -> str:
    """Without the colours and labels that Gymnasium adds."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(message)).removeprefix("WARN: ")
    return plain.partition("\n")[0]


def check_environment(env_id: str, kwargs: dict[str, Any] | None = None) -> CheckReport:
    """Check an environment; an unknown `env_id` is a `ValueError`."""
    spec = EnvSpec(env_id, kwargs=kwargs or {})
    # Gymnasium's passive checker would repeat what its explicit one finds.
    registered = replace(find_environment(env_id), disable_env_checker=True)
    findings = Findings()
    speed = None
    made = findings.attempt(
        "making it", lambda: (make_single(spec, registered), make_single(spec, registered))
    )
    if made is not None:
        env, fresh = made
        if findings.attempt("one step", lambda: check_one_step(env.unwrapped, findings)):
            findings.attempt("Gymnasium's checker", lambda: check_env(env.unwrapped, skip_render_check=True))
            speed = findings.attempt("random steps", lambda: check_random_steps(env, findings))
            findings.attempt("replaying an episode", lambda: check_determinism(env, fresh, findings))
        env.close()
        fresh.close()
    return CheckReport(env_id, not findings.errors, findings.errors, findings.warnings, speed)


def check_one_step(env: gymnasium.Env, findings: Findings) -> bool:
    """Look at the first observation and step; returns whether it is worth going on."""
    obs, _ = env.reset(seed=SEED)
    for problem in wrong_obs(env.observation_space, obs):
        findings.error(f"reset returns {problem}")
    result = env.step(env.action_space.sample())
    for problem in wrong_result(env.observation_space, result):
        findings.error(f"step returns {problem}")
    return isinstance(result, tuple) and len(result) == 5


def check_random_steps(env: gymnasium.Env, findings: Findings) -> float:
    """Look at everything that reset and step return; returns steps per second."""
    env.action_space.seed(SEED)
    env.reset(seed=SEED)
    steps, ends, seconds = 0, 0, 0.0
    while steps < RANDOM_STEPS and seconds < MAX_SECONDS:
        action = env.action_space.sample()
        started = time.perf_counter()
        result = env.step(action)
        seconds += time.perf_counter() - started
        steps += 1
        for problem in wrong_result(env.observation_space, result):
            findings.error(f"step returns {problem}")
        if result[2] or result[3]:
            ends += 1
            env.reset()
    if ends == 0 and (env.spec is None or env.spec.max_episode_steps is None):
        findings.warn(
            f"no episode ended in {steps} random steps and there is no time limit: "
            "register it with max_episode_steps, or pass that as an argument"
        )
    return steps / seconds


def check_determinism(env: gymnasium.Env, fresh: gymnasium.Env, findings: Findings) -> None:
    """Compare a used environment with a fresh one under one seed: they must agree bit for bit."""
    if env.spec is not None and env.spec.nondeterministic:
        findings.warn("it is registered as nondeterministic: runs in it cannot be resumed exactly")
        return
    for t, (used, new) in enumerate(zip(play(env), play(fresh), strict=False)):
        if not same_leaves(used, new):
            findings.error(
                f"the same seed and actions lead elsewhere after {t} steps: call super().reset(seed=seed), draw "
                "every random number from self.np_random, and let reset undo whatever an episode has changed"
            )
            return


def play(env: gymnasium.Env) -> Iterator[Any]:
    """Yield everything numeric that an environment shows under one seed and one sequence of actions."""
    env.action_space.seed(SEED)
    obs, _ = env.reset(seed=SEED)
    yield tree_map(np.copy, obs), 0.0, False, False
    started = time.perf_counter()
    for t in range(REPLAYED_STEPS):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        yield tree_map(np.copy, obs), reward, terminated, truncated
        if terminated or truncated:
            env.reset(seed=SEED + t)
        if time.perf_counter() - started > MAX_SECONDS:
            return
