"""Suites: which agents meet in which environments, for how many steps and seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, MinLen

from ..settings.components import find_component
from ..settings.config import CHOSEN, TELLING, RunConfig, run_config, to_dict
from ..settings.layers import merge_options
from ..settings.presets import find_preset
from ..settings.train_options import read_given
from ..settings.trust import check_names
from ..settings.typed import Count, build, flat, unlike
from ..settings.usage import UsageError, nearest
from ..settings.yaml_files import load_yaml, parse_yaml
from ..tracking.progress import say
from .references import References, read_references

# Options of its runs that a suite settles by itself, and where.
SETTLED = {
    "agent": "a contestant's agent stands beside its options",
    "env": "environments says where",
    "steps": "environments says how many",
    "seed": "seeds says which",
}
# Evaluation episodes of a run, where nothing says how many.
EPISODES = 100
# How many, from 0 on, or which.
Seeds = Count | Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)]


@dataclass(frozen=True)
class Contestant:
    """An agent with its options."""

    agent: str
    """Name of the agent: ours, sb3/NAME, or package.module:Class."""
    name: str = ""
    """What it is called in the report; the agent's name by default."""
    config: str | None = None
    """Preset of the agent, such as td3, or file, on top of the environment's preset."""
    options: dict[str, Any] = field(default_factory=dict)
    """More options, in the layout of a run's config.yaml."""

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or (f"{self.agent} {self.config}" if self.config else self.agent)


@dataclass(frozen=True)
class Match:
    """Agents that meet in the same environments, with the same steps and seeds."""

    agents: tuple[Contestant, ...]
    """The first one is compared with each of the others."""
    environments: dict[str, Count]
    """Environment steps by environment."""
    seeds: tuple[int, ...]
    """Seeds of each agent's runs in each environment."""


@dataclass(frozen=True)
class Suite:
    """Some matches."""

    name: str
    matches: tuple[Match, ...]
    episodes: int
    """Evaluation episodes that a run's score is the mean of."""
    references: References
    """Return of random actions and of a good agent, for environments that the package has none of."""
    source: str = "the suite"
    """As it was named: a file, or one that ships."""


@dataclass(frozen=True)
class Part:
    """What of a suite is wanted."""

    envs: tuple[str, ...] = ()
    """Its only environments; all of the suite's where there are none."""
    agents: tuple[str, ...] = ()
    """Its only agents, by what they are called; all of the suite's where there are none."""
    seeds: tuple[int, ...] = ()
    """Seeds instead of the suite's; the suite's where there are none."""


WHOLE = Part()


@dataclass(frozen=True)
class PlannedRun:
    """One run of a suite."""

    contestant: Contestant
    env: str
    steps: int
    seed: int
    folder: Path
    source: str = "the suite"
    """The suite as it was named."""


@dataclass(frozen=True)
class _SuiteFile:
    matches: Annotated[tuple[dict[str, Any], ...], MinLen(1)]
    seeds: Seeds = 5
    episodes: Count = EPISODES
    references: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _MatchFile:
    agents: Annotated[tuple[str | dict[str, Any], ...], MinLen(1)]
    environments: Annotated[dict[str, Count], MinLen(1)]
    seeds: Seeds | None = None


def suite_names() -> list[str]:
    """Names of the suites that ship with the package."""
    folder = files("palaestra.configs").joinpath("suites")
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def read_suite(name: str) -> Suite:
    """Read a suite: a file, or the name of one that ships with the package.

    Raises:
        UsageError: there is none, or something in it is wrong; one line that names where.
    """
    if Path(name).is_file():
        values, where = load_yaml(Path(name)), f"{name}: "
    elif name in suite_names():
        entry = files("palaestra.configs").joinpath(f"suites/{name}.yaml")
        values, where = parse_yaml(entry.read_text(encoding="utf-8"), name), f"{name}: "
    else:
        raise UsageError(f"there is no suite {name!r}; {nearest(name, suite_names())}")
    suite = build(_SuiteFile, values, where)
    matches = tuple(
        _read_match(match, suite.seeds, f"{where}matches[{index}].")
        for index, match in enumerate(suite.matches)
    )
    references = read_references(suite.references, f"{where}references.")
    return Suite(Path(name).stem, matches, suite.episodes, references, name)


def part_of(suite: Suite, part: Part) -> Suite:
    """Only that part of a suite.

    Raises:
        UsageError: the suite has no such environment or agent, or none of the agents is in the environments.
    """
    _check_chosen("--envs", part.envs, {env for match in suite.matches for env in match.environments}, suite)
    labels = {agent.label for match in suite.matches for agent in match.agents}
    _check_chosen("--agents", part.agents, labels, suite)
    own, count = {seed for match in suite.matches for seed in match.seeds}, len(part.seeds)
    if part.seeds == tuple(range(count)) and count in own and own.isdisjoint(part.seeds):
        say(f"note: --seeds {count} is seeds 0 to {count - 1}; seed {count} alone is --seeds {count}-{count}")
    matches = []
    for match in suite.matches:
        agents = tuple(agent for agent in match.agents if not part.agents or agent.label in part.agents)
        environments = {
            env: steps for env, steps in match.environments.items() if not part.envs or env in part.envs
        }
        if agents and environments:
            matches.append(Match(agents, environments, part.seeds or match.seeds))
    if not matches:
        raise UsageError(
            f"{suite.source} has {' and '.join(part.agents)} in other environments than {' and '.join(part.envs)}"
        )
    return replace(suite, matches=tuple(matches))


def _check_chosen(option: str, chosen: tuple[str, ...], known: set[str], suite: Suite) -> None:
    kind = {"--envs": "environment", "--agents": "agent"}[option]
    for name in chosen:
        if name not in known:
            raise UsageError(
                f"{option}: {suite.source} has no {kind} {name!r}; {nearest(name, sorted(known))}"
            )


def _read_match(values: dict[str, Any], seeds: Seeds, where: str) -> Match:
    match = build(_MatchFile, values, where)
    agents = tuple(
        build(Contestant, {"agent": agent} if isinstance(agent, str) else agent, f"{where}agents[{index}].")
        for index, agent in enumerate(match.agents)
    )
    for index, agent in enumerate(agents):
        check_not_settled(agent.options, SETTLED, f"{where}agents[{index}].options.")
    labels = [agent.label for agent in agents]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"{where}agents: two are called {label!r}; give them a name")
    seeds = match.seeds or seeds
    if not isinstance(seeds, int) and len(set(seeds)) < len(seeds):
        raise UsageError(f"{where}seeds: {list(seeds)} names a seed twice; each is one run")
    return Match(agents, match.environments, tuple(range(seeds)) if isinstance(seeds, int) else seeds)


def plan(suite: Suite, out: Path) -> list[PlannedRun]:
    """Return every run of a suite, each once, in an order that finishes all contestants of an environment together."""
    runs: dict[Path, PlannedRun] = {}
    budgets: dict[tuple[str, str], int] = {}
    for match in suite.matches:
        for env, steps in match.environments.items():
            for contestant in match.agents:
                if budgets.setdefault((contestant.label, env), steps) != steps:
                    raise UsageError(
                        f"{suite.name}: {contestant.label!r} has two numbers of steps on {env}; give one of them a name"
                    )
            for seed in match.seeds:
                for contestant in match.agents:
                    folder = out / "runs" / place_of(env, contestant.label, steps, seed)
                    run = PlannedRun(contestant, env, steps, seed, folder, suite.source)
                    known = runs.setdefault(folder, run)
                    if known.env != env:
                        raise UsageError(
                            f"{suite.name}: {known.env} and {env} would share a folder; give each its own suite"
                        )
                    if known.contestant != contestant:
                        raise UsageError(
                            f"{suite.name}: two contestants are called {contestant.label!r}, with other options"
                        )
    return list(runs.values())


def place_of(env: str, label: str, steps: int, seed: int) -> Path:
    """Where a run lies among those of its suite."""
    return Path(slug(env), f"{slug(label)}-{steps}", f"seed{seed}")


def slug(name: str) -> str:
    """A name that can be one of a folder."""
    return re.sub(r"[^\w.-]+|^\.+", "_", name)


def requested_config(run: PlannedRun) -> RunConfig:
    """The complete config of a run.

    Raises:
        UsageError: the contestant's options are wrong.
    """
    contestant = run.contestant
    check_names({"agent": contestant.agent, "env": run.env}, run.source)
    find_component("agent", contestant.agent)
    given = read_given(contestant.agent, contestant.config) if contestant.config else {}
    preset = find_preset(contestant.agent, run.env)
    named = {"agent": {"name": contestant.agent}, "env": run.env, "steps": run.steps, "seed": run.seed}
    # One thread each: runs share the machine, and results do not depend on how many there are at once.
    settled = {"threads": 1, "track": "none"}
    layers = merge_options(preset, given, settled, contestant.options, named)
    check_names(layers, run.source)
    return run_config(layers, f"{contestant.label} on {run.env}: ")


def check_not_settled(options: Mapping[str, Any], settled: Mapping[str, str], where: str) -> None:
    """Raise `UsageError` where an option is given that would have no effect, since `settled` says it already.

    An agent may have options, but no other name.
    """
    for name, value in options.items():
        if name == "agent" and isinstance(value, dict) and "name" not in value:
            continue
        if name.removesuffix(".name") in settled:
            raise UsageError(f"{where}{name}: {settled[name.removesuffix('.name')]}")


def differences(run: PlannedRun, config: RunConfig, existing: RunConfig) -> list[str]:
    """Where an existing run is not what a suite asks for; what the run chose for `auto` and 0 is no difference."""
    asked, found = flat(to_dict(config)), flat(to_dict(existing))
    return [
        f"{name} is {found.get(name)!r}, not {asked.get(name)!r}"
        for name in unlike(asked, found)
        if name not in TELLING and not is_left_open(name, asked.get(name))
    ]


def is_left_open(name: str, value: Any) -> bool:
    """Whether an option leaves it to the run what it stands for."""
    return name in CHOSEN and value in ("auto", 0)
