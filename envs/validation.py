"""What is wrong with what an environment's reset and step return, and whether agents can learn all the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from ..networks.tree import NUMERIC, UnfitValueError, same_leaves, tree_leaves
from .backends.returned import ONE_NUMBER, described, flag, scalar_reward

# How far a number may lie outside a bound, in units of what float32 can tell apart there: bounds and observations
# are often computed in different ways.
ROUNDING = 4 * float(np.finfo(np.float32).eps)
LARGEST = float(np.finfo(np.float32).max)

# Names that vector environments have for the last observation of an episode.
FINAL_OBS = ("final_obs", "final_observation", "terminal_observation")


class Problem(NamedTuple):
    """Something that is not as the spaces say, or as Gymnasium wants it."""

    what: str
    """Ends the sentence `step returns ...`; the same for every step in which it happens."""
    detail: str = ""
    """What was found in this step."""
    stops: bool = True
    """Whether no agent can learn from it; otherwise training takes it as it is."""


def result_problems(space: spaces.Space, result: Any) -> Iterator[Problem]:
    """What is wrong with what `step` returned."""
    if not isinstance(result, (tuple, list)) or len(result) != 5:
        yield Problem(f"{described(result)} instead of (obs, reward, terminated, truncated, info)")
        return
    if not isinstance(result, tuple):
        yield Problem(f"a {type(result).__name__}; make it a tuple", stops=False)
    obs, reward, terminated, truncated, info = result
    yield from obs_problems(space, obs)
    yield from reward_problems(reward)
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(value, (bool, np.bool_)):
            yield Problem(f"{name} of type {type(value).__name__}; make it a bool", stops=not is_flag(value))
    if not isinstance(info, dict):
        yield Problem(f"an info of type {type(info).__name__}; make it a dict", stops=False)


def is_flag(value: Any) -> bool:
    """Whether training takes a value for True or False."""
    try:
        flag(value, "terminated")
    except UnfitValueError:
        return False
    return True


def reward_problems(reward: Any) -> Iterator[Problem]:
    """What is wrong with a reward; an array of one element and what float() reads are taken."""
    try:
        number = scalar_reward(reward)
    except Exception:
        if np.shape(reward) != ():
            yield Problem(f"a reward of shape {np.shape(reward)}; {ONE_NUMBER}")
        else:
            yield Problem(f"a reward of type {type(reward).__name__}; make it a float")
        return
    if not abs(number) <= LARGEST:
        yield Problem(f"the reward {number:g}; it must be finite")
    elif not isinstance(reward, (int, float, np.integer, np.floating, np.bool_)):
        yield Problem(f"a reward of type {type(reward).__name__}; make it a float", stops=False)


def obs_problems(space: spaces.Space, obs: Any, path: str = "") -> Iterator[Problem]:
    """What is wrong with an observation; nested spaces part by part."""
    name = f"the observation{path}"
    match space:
        case spaces.Dict():
            found = sorted(map(str, obs)) if isinstance(obs, Mapping) else type(obs).__name__
            named = f"its space has the keys {sorted(map(str, space))}"
            if not isinstance(obs, Mapping) or not obs.keys() >= space.keys():
                yield Problem(f"{name} with {found}; {named}")
                return
            if obs.keys() != space.keys() or not isinstance(obs, dict):
                yield Problem(f"{name} with {found}; {named}", stops=False)
            for key, part in space.items():
                yield from obs_problems(part, obs[key], f"{path}['{key}']")
        case spaces.Tuple():
            if not isinstance(obs, (tuple, list)) or len(obs) != len(space):
                yield Problem(f"{name} as {type(obs).__name__}; its space is a tuple of {len(space)}")
                return
            if not isinstance(obs, tuple):
                yield Problem(f"{name} as {type(obs).__name__}; make it a tuple", stops=False)
            for i, part in enumerate(space):
                yield from obs_problems(part, obs[i], f"{path}[{i}]")
        case _:
            yield from array_problems(space, obs, name)


def array_problems(space: spaces.Space, obs: Any, name: str) -> Iterator[Problem]:
    """What is wrong with an array, or a number, of a space that does not nest."""
    try:
        values = np.asarray(obs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cast = values.astype(space.dtype)
    except Exception:
        yield Problem(f"{name} of type {type(obs).__name__}; no {space.dtype} can be made of it")
        return
    if values.dtype.kind not in NUMERIC:
        yield Problem(f"{name} of dtype {values.dtype}; its space says {space.dtype}")
    elif values.shape != (space.shape or ()):
        yield Problem(f"{name} of shape {values.shape}; its space says {space.shape or ()}")
    elif values.dtype.kind == "f" and np.isnan(values).any():
        yield Problem(f"{name} with NaN in it", at(np.isnan(values)))
    elif cast.dtype.kind == "f" and not np.isfinite(cast).all():
        place = ~np.isfinite(cast)
        yield Problem(f"{name} with a number that is not finite in {space.dtype}", at(place, values))
    elif values.dtype.kind in "biufc" and (lost := lost_values(values, cast)).any():
        yield Problem(
            f"{name} of dtype {values.dtype}; {space.dtype} cannot hold its values", at(lost, values)
        )
    else:
        if values.dtype != space.dtype and isinstance(space, spaces.Box):
            yield Problem(f"{name} of dtype {values.dtype}; its space says {space.dtype}", stops=False)
        yield from bound_problems(space, cast, name)


def lost_values(values: np.ndarray, cast: np.ndarray) -> np.ndarray:
    """Where a cast has changed numbers; floats may be rounded to other floats."""
    if values.dtype.kind == "c":
        return values.imag != 0
    return np.zeros(values.shape, bool) if cast.dtype.kind == "f" else np.asarray(cast != values)


def bound_problems(space: spaces.Space, values: np.ndarray, name: str) -> Iterator[Problem]:
    """Where an array of a space's shape and dtype lies outside it."""
    match space:
        case spaces.Box():
            low, high = tolerated(space)
            outside = (values < low) | (values > high)
            if outside.any():
                first = tuple(np.argwhere(outside)[0])
                limits = f"which says {float(space.low[first]):g} to {float(space.high[first]):g}"
                detail = f"{at(outside, values)}, {limits}"
                # No agent needs the bounds of observations to be right, but some encoders divide by them.
                yield Problem(f"{name} outside the bounds of its space", detail, stops=False)
        case spaces.Discrete() | spaces.MultiDiscrete():
            first_value, count = space.start, space.n if isinstance(space, spaces.Discrete) else space.nvec
            outside = np.asarray((values < first_value) | (values >= first_value + count))
            if outside.any():
                yield Problem(f"{name} outside its space {space}", at(outside, values))
        case spaces.MultiBinary() if not np.isin(values, (0, 1)).all():
            yield Problem(
                f"{name} outside its space {space}", at(~np.isin(values, (0, 1)), values), stops=False
            )


def tolerated(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """Bounds with room for rounding, relative to the larger of the two finite ones."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if np.dtype(space.dtype).kind != "f":
        return low, high
    size = np.maximum(*(np.where(np.isfinite(bound), np.abs(bound), 0) for bound in (low, high)))
    return low - ROUNDING * size, high + ROUNDING * size


def at(places: np.ndarray, values: np.ndarray | None = None) -> str:
    """`-1.01 at [2]`: the first of some places in an array, and what stands there; a scalar has no place."""
    index = tuple(np.argwhere(places)[0].tolist())
    where = f"at {list(index)}" if index else ""
    return where if values is None else f"{values[index]} {where}".strip()


def resets_itself(obs: Any, info: Any) -> str | None:
    """What is wrong, in words, where the info of an episode's last step holds another last observation.

    So do environments that begin the next episode in `step`, as gymnax's GymnaxToGymWrapper does (1.0.1).
    """
    for name in FINAL_OBS:
        final = info.get(name) if isinstance(info, dict) else None
        if final is None:
            continue
        shapes, others = ([np.shape(leaf) for leaf in tree_leaves(tree)] for tree in (obs, final))
        # A wrapper may have given observations another shape.
        if shapes == others and not same_leaves(obs, final):
            return (
                f"the last step of an episode returns another observation than its info has as {name!r}: return that "
                "one, which is what the action led to, and begin the next episode in reset"
            )
    return None


class StackedFrames:
    """Watches pictures `[K, H, W]` for stacks that show no past: one frame K - 1 times and a blank one.

    SuperSuit's `frame_stack` makes such of grey frames with `stack_dim=0` (3.11.0).
    """

    # Three planes may be colours: yellow on black is one frame twice, and a blank one.
    least, most = 4, 16

    def __init__(self, space: spaces.Space):
        self.number = space.shape[0] if isinstance(space, spaces.Box) and len(space.shape) == 3 else 0
        self.suspected = self.least <= self.number <= self.most
        self.moves = False
        self.before: np.ndarray | None = None

    def add(self, obs: Any) -> None:
        """Look at one observation."""
        if not self.suspected:
            return
        obs = np.asarray(obs)
        self.moves = self.moves or (self.before is not None and not np.array_equal(self.before, obs))
        self.before = obs.copy()
        self.suspected = shows_one_frame(obs)

    def problem(self) -> str | None:
        """What is wrong, in words, if every observation was like that."""
        if not self.suspected or not self.moves:
            return None
        return (
            f"each of its stacks of {self.number} frames is one frame {self.number - 1} times and a blank one, so that "
            f"nothing shows what moves: leave out the wrapper that stacks them, and give --frame-stack {self.number}"
        )


def shows_one_frame(planes: np.ndarray) -> bool:
    """Whether of `planes [K, ...]` all but one are the same, and that one is zero."""
    blank = [n for n, plane in enumerate(planes) if not plane.any()]
    if len(blank) != 1:
        return len(blank) == len(planes)  # a frame without anything on it says nothing
    first, *others = (plane for n, plane in enumerate(planes) if n != blank[0])
    return all(np.array_equal(first, plane) for plane in others)
