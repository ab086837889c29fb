"""Runs of a comparison: train what is missing, and score every run in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ...envs.make import make_envs
from ..groups.start import why_alone
from ..run.build import env_spec, resolve
from ..run.listing import RunInfo, describe_run, find_runs
from ..run.storage.folder import CYCLE_FILE
from ..settings.config import check_config, load_plain_config, save_config
from ..settings.usage import UsageError, as_usage_errors, typed_command
from ..settings.yaml_files import load_yaml
from .jobs import Job, Outcome, score_of
from .launchers import Launcher
from .results import FinishedRun, Pair, finished_run, options_of
from .suites import PlannedRun, Suite, differences, plan, requested_config, slug

Say = Callable[[str], None]
# What is to be done about runs of one agent that differ, by the option in which they do.
NAMES = "write a suite that gives them names"
SEPARATELY = dict.fromkeys((CYCLE_FILE, "dream"), "compare runs that dream by themselves")


def run_suite(
    suite: Suite,
    out: Path,
    launcher: Launcher,
    watch: Callable[[list[PlannedRun], list[Outcome]], None],
) -> tuple[list[FinishedRun], list[Outcome]]:
    """Do what is missing of a suite in `out`; returns the finished runs and the outcomes that failed.

    Raises:
        UsageError: options are wrong, or a run that exists already is not what the suite asks for.
    """
    planned = plan(suite, out)
    jobs = make_jobs(planned, suite.episodes, out)
    missing = [job for job in jobs if score_of(job) is None]
    finished = [Outcome(job.folder) for job in jobs if job not in missing]
    outcomes = finished + launcher.run(missing, lambda done: watch(planned, finished + done))
    scored = []
    for job, run in zip(jobs, planned, strict=True):
        score = score_of(job)
        if score is not None:
            scored.append(finished_run(run.contestant.label, describe_run(run.folder), score, job.commands))
    return scored, [outcome for outcome in outcomes if outcome.error]


def make_jobs(planned: list[PlannedRun], episodes: int, out: Path) -> list[Job]:
    """Write the config of every kind of run, and compare it with the runs that exist already."""
    jobs, checked = [], set()
    for run in planned:
        config = requested_config(run)
        if run.env not in checked:
            with as_usage_errors():
                make_envs(env_spec(config)).close()
            checked.add(run.env)
        if (run.folder / "config.yaml").is_file() and (
            differing := differences(run, config, load_plain_config(run.folder))
        ):
            raise UsageError(
                f"{run.folder} is not what the suite asks for: {differing[0]}; choose another --out, or remove it"
            )
        folder, name = out / "configs" / slug(run.env), f"{slug(run.contestant.label)}-{run.steps}.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        save_config(folder, config, name)
        file = str(folder / name)
        group = "" if why_alone(config) else resolve(config).compile
        jobs.append(Job(run.contestant.agent, file, str(run.folder), run.seed, episodes, group=group))
    return jobs


def score_runs(folders: Iterable[Path], episodes: int, launcher: Launcher, say: Say) -> list[FinishedRun]:
    """Score runs that exist already; a folder of runs stands for all in it.

    Raises:
        UsageError: there is none, one has not finished, or two of an agent differ in their options.
    """
    infos = {info.path: info for folder in folders for info in find_runs(folder)}
    if not infos:
        raise UsageError("there are no runs to compare; see palaestra runs")
    check_alike(infos)
    jobs = [Job(info.agent, "", path, info.seed, episodes) for path, info in infos.items()]
    for job in jobs:
        if score_of(job) is None:
            check_config(job.path)  # here, where the user reads it, and not in the process that evaluates
    for outcome in launcher.run(jobs, lambda done: None):
        if outcome.error:
            raise UsageError(f"{outcome.folder} cannot be evaluated: {outcome.error}")
        say(f"evaluated {outcome.folder}")
    finished = []
    for job in jobs:
        info, score = infos[job.folder], score_of(job)
        assert score is not None
        finished.append(finished_run(info.agent, info, score, job.commands[1:]))
    return finished


def check_alike(infos: dict[str, RunInfo]) -> None:
    """Raise `UsageError` unless runs have finished, and those of one agent differ in their seeds only."""
    options: dict[Pair, tuple[str, dict[str, Any]]] = {}
    seeds: dict[tuple[str, str, int], str] = {}
    for path, info in infos.items():
        if info.damaged:
            raise UsageError(f"{path} cannot be compared: its {info.damaged} is damaged")
        if not info.finished:
            raise UsageError(
                f"{path} has not finished; go on with: {typed_command('train', '--resume', path)}"
            )
        twin = seeds.setdefault((info.agent, info.env, info.seed), path)
        values = options_of(load_plain_config(Path(path)))
        # Rounds of real and dreamt steps are an option of a run that stands in a file of its own.
        cycle = Path(path) / CYCLE_FILE
        values[CYCLE_FILE] = load_yaml(cycle) if cycle.exists() else None
        first, known = options.setdefault((info.agent, info.env), (path, values))
        both = f"{first} and {path} are both {info.agent} on {info.env}"
        if known != values:
            name = next(name for name in values if known.get(name) != values[name])
            raise UsageError(f"{both}, but differ in {name}; {SEPARATELY.get(name, NAMES)}")
        if twin != path:
            raise UsageError(
                f"{twin} and {path} are both {info.agent} on {info.env} with seed {info.seed}: name one"
            )


def pairings(suite: Suite) -> list[Pair]:
    """Who is compared with whom: the first agent of each match with the others."""
    found = [(match.agents[0].label, other.label) for match in suite.matches for other in match.agents[1:]]
    return list(dict.fromkeys(found))


def natural_pairings(runs: list[FinishedRun]) -> list[Pair]:
    """The same for runs without a suite: ours with every baseline, or, without baselines, everybody with everybody."""
    names = list(dict.fromkeys(run.contestant for run in runs))
    theirs = [name for name in names if name.startswith("sb3/")]
    ours = [name for name in names if name not in theirs]
    if theirs and ours:
        return [(one, other) for one in ours for other in theirs]
    return [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]
