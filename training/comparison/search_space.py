"""What a sweep searches: a file, and the ranges of the agent's options that it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import MinLen

from ...envs.registry import find_environment
from ..settings.config import BLOCKS, RunConfig, run_config
from ..settings.layers import merge_options, nested
from ..settings.presets import find_preset
from ..settings.trust import check_names
from ..settings.typed import Count, build, checked_value, option_path
from ..settings.usage import as_usage_errors
from ..settings.yaml_files import load_yaml
from .suites import check_not_settled

if TYPE_CHECKING:
    import optuna

# Options of its runs that a sweep settles by itself, and where.
SETTLED = {
    "agent": "the sweep's own agent is that of all trials",
    "env": "the sweep's own env is that of all trials",
    "steps": "the sweep's own steps are those of all trials",
    "seed": "trials have seeds from 0 on; give seeds, how many",
    "track": "give palaestra sweep --track",
}


@dataclass(frozen=True)
class Range:
    """What an option may be: one of some choices, or a number between two."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Orders of magnitude are equally likely."""
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise ValueError("give choices, or low and high")
        if not self.choices and not self.ends[0] < self.ends[1]:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and not self.choices and not self.ends[0] > 0:
            raise ValueError(f"low must be above 0 where log is true, got {self.low}")

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest number."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    @property
    def example(self) -> Any:
        """Some value of the range."""
        if self.choices:
            return self.choices[0]
        low = self.ends[0]
        return int(low) if low.is_integer() else low


@dataclass(frozen=True)
class SearchedOption:
    """An option that a sweep searches."""

    range: Range
    whole: bool
    """Whether the option takes whole numbers only."""

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """Let Optuna choose."""
        if self.range.choices:
            # Optuna's categories are scalars; lists (widths of layers) go by their index.
            choices = self.range.choices
            return choices[trial.suggest_categorical(name, list(range(len(choices))))]
        low, high = self.range.ends
        if self.whole:
            return trial.suggest_int(name, int(low), int(high), log=self.range.log)
        return trial.suggest_float(name, low, high, log=self.range.log)


@dataclass(frozen=True)
class Space:
    """What a sweep searches."""

    agent: str
    """Name of the agent."""
    env: str
    """Environment to train in."""
    steps: Count
    """Environment steps of a run."""
    space: Annotated[dict[str, dict[str, Any]], MinLen(1)]
    """Ranges by option, named as on the command line: agent.learning_rate, encoder.hidden, num_envs."""
    seeds: Count = 1
    """Runs of a trial; its value is the mean of their final evaluations."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options that all trials have, in the layout of a run's config.yaml."""
    sampler: Literal["tpe", "random"] = "tpe"
    """How options are chosen."""
    pruner: Literal["none", "median", "hyperband"] = "median"
    """What stops trials that go badly, by the evaluations of their first run."""


def read_space(path: Path) -> tuple[Space, dict[str, SearchedOption]]:
    """Read a space and check that the agent has such options.

    Raises:
        UsageError: something in it is wrong.
    """
    space, where = build(Space, load_yaml(path), f"{path}: "), f"{path}: "
    ranges: dict[str, Range] = {
        name: build(Range, values, where, f"space.{name}.") for name, values in space.space.items()
    }
    examples = {name: each.example for name, each in ranges.items()}
    for name, each in ranges.items():
        for choice in each.choices:
            check_names(nested({name: choice}), path)
    check_not_settled(ranges, SETTLED, f"{where}space.")
    check_not_settled(space.options, SETTLED, f"{where}options.")
    values = trial_values(space, nested(examples))
    check_names(values, path)
    config = run_config(values, where)
    searched = {}
    for name, each in ranges.items():
        if name in BLOCKS:
            for choice in each.choices:  # with what else is searched, which each of them must take
                run_config(trial_values(space, nested(examples | {name: choice})), where)
        elif (annotation := option_type(config, name)) is not None:
            for value in each.choices or each.ends:
                checked_value(annotation, value, f"{where}space.{name}")
        whole = not each.choices and is_whole(option_type(config, name), space.space[name])
        searched[name] = SearchedOption(each, whole)
    if space.options.get("backend") != "envpool":  # which has ids of its own
        with as_usage_errors():
            find_environment(space.env)
    return space, searched


def option_type(config: RunConfig, name: str) -> Any:
    """Annotation of the option `name`, such as `agent.gamma`; None where it is a free argument (`env_kwargs.size`)."""
    first, *rest = option_path(name)
    owner: Any = config
    if first in BLOCKS and rest:
        owner = getattr(config, BLOCKS[first])  # type: ignore[index]
    else:
        rest = [first, *rest]
    for part in rest[:-1]:
        owner = getattr(owner, part)
    return None if isinstance(owner, dict) else get_type_hints(type(owner), include_extras=True)[rest[-1]]


def is_whole(annotation: Any, given: dict[str, Any]) -> bool:
    """Whether an option of this type takes whole numbers only; a free argument does where both ends are written so."""
    if annotation is None:
        return isinstance(given["low"], int) and isinstance(given["high"], int)
    members = set(plain_types(annotation))
    return int in members and float not in members


def plain_types(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, without their ranges."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from plain_types(arguments[0])
    elif origin in (Union, UnionType):
        for each in arguments:
            yield from plain_types(each)
    else:
        yield annotation


def trial_values(space: Space, chosen: dict[str, Any]) -> dict[str, Any]:
    """A trial's options in the layout of a run's config."""
    fixed = {"agent": {"name": space.agent}, "env": space.env, "steps": space.steps}
    return merge_options(find_preset(space.agent, space.env), {"threads": 1}, space.options, chosen, fixed)
