"""`palaestra sweep`: search an agent's options with Optuna; trials are ordinary runs, and survive any kill."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt, MinLen

from ...envs.registry import find_environment
from ..run.listing import describe_run, evaluations
from ..run.lock import only_mine
from ..run.signals import handled_signals
from ..settings.config import run_config
from ..settings.presets import find_preset, merge
from ..settings.typed import build
from ..settings.usage import UsageError, as_usage_errors
from ..settings.yaml_files import dump_yaml, load_yaml, save_yaml
from ..tracking.progress import say
from .launch import begin, last_line

if TYPE_CHECKING:
    import optuna

Count = Annotated[int, Gt(0)]

STUDY = "sweep"
# Seconds between looks at what a run has evaluated so far.
LOOK_EVERY = 0.5


@dataclass(frozen=True)
class Range:
    """What an option may be: one of some choices, or a number between two; whole where both ends are."""

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
    def whole(self) -> bool:
        """Whether numbers are whole."""
        return all(float(end).is_integer() for end in self.ends)

    @property
    def example(self) -> Any:
        """Some value of the range."""
        return self.choices[0] if self.choices else int(self.ends[0]) if self.whole else self.ends[0]

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """Let Optuna choose."""
        if self.choices:
            # Optuna's categories are scalars; lists (widths of layers) go by their place.
            return self.choices[trial.suggest_categorical(name, list(range(len(self.choices))))]
        low, high = self.ends
        if self.whole:
            return trial.suggest_int(name, int(low), int(high), log=self.log)
        return trial.suggest_float(name, low, high, log=self.log)


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

    def ranges(self, where: str) -> dict[str, Range]:
        """Ranges by option."""
        return {name: build(Range, values, where, f"space.{name}.") for name, values in self.space.items()}


def read_space(path: Path) -> tuple[Space, dict[str, Range]]:
    """Read a space and check that the agent has such options.

    Raises:
        UsageError: something in it is wrong.
    """
    space = build(Space, load_yaml(path), f"{path}: ")
    ranges = space.ranges(f"{path}: ")
    chosen = nested({name: each.example for name, each in ranges.items()})
    run_config(trial_values(space, chosen), f"{path}: ")
    if space.options.get("backend") != "envpool":  # which has ids of its own
        with as_usage_errors():
            find_environment(space.env)
    return space, ranges


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """`{"agent.gamma": 1}` as `{"agent": {"gamma": 1}}`."""
    layers = []
    for name, value in values.items():
        for part in reversed(name.replace("-", "_").split(".")):
            value = {part: value}
        layers.append(value)
    return merge(*layers)


def trial_values(space: Space, chosen: dict[str, Any]) -> dict[str, Any]:
    """A trial's options in the layout of a run's config."""
    fixed = {"agent": {"name": space.agent}, "env": space.env, "steps": space.steps}
    return merge(find_preset(space.agent, space.env), {"threads": 1}, space.options, chosen, fixed)


class Sweep:
    """One process's part in a study, whose file others may share."""

    def __init__(self, space: Space, ranges: dict[str, Range], out: Path, track: str):
        try:
            import optuna
        except ImportError:
            raise UsageError("Optuna is not installed; run: pip install 'palaestra[sweep]'") from None
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.ranges, self.out, self.track = space, ranges, out, track
        out.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(out / "study.journal")))
        self.study = optuna.create_study(
            study_name=STUDY, storage=storage, direction="maximize", load_if_exists=True
        )
        known = self.study.user_attrs.get("space")
        asked = json.loads(
            json.dumps([space.agent, space.env, space.steps, space.seeds, space.space, space.options])
        )
        if known not in (None, asked):
            raise UsageError(f"{out} holds a sweep of another space; choose another --out")
        self.study.set_user_attr("space", asked)
        # A seed of its own for each start: what was drawn before is not drawn again.
        seed = len(self.study.get_trials(deepcopy=False))
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        self.study.sampler = samplers[space.sampler](seed=seed)
        self.study.pruner = {
            "none": optuna.pruners.NopPruner,
            "median": optuna.pruners.MedianPruner,
            "hyperband": optuna.pruners.HyperbandPruner,
        }[space.pruner]()
        self.stopping = threading.Event()
        self.failed = threading.Event()
        self.asking = threading.Lock()

    def run(self, trials: int, workers: int) -> None:
        """Go on until the study has so many finished trials, `workers` at a time; stops early where one has failed."""
        self._take_up_lost_trials()
        with ThreadPoolExecutor(workers) as pool, handled_signals(lambda number: self.stopping.set()):
            for future in [pool.submit(self._work, trials) for _ in range(workers)]:
                future.result()
        if self.stopping.is_set() and not self.failed.is_set():
            raise KeyboardInterrupt

    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that came to their end, or were pruned."""
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def _take_up_lost_trials(self) -> None:
        """Put trials whose process has died back into the queue; their runs go on from their checkpoints."""
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            folder = self.out / trial.user_attrs.get("folder", f"trial{trial.number}")
            folder.mkdir(exist_ok=True)
            with only_mine(folder) as mine:
                if mine:
                    self.study.tell(trial.number, state=TrialState.FAIL)
                    self.study.enqueue_trial(trial.params, user_attrs={"folder": folder.name})

    def _work(self, trials: int) -> None:
        from optuna.trial import TrialState

        while not self.stopping.is_set():
            with self.asking:
                running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
                if len(self.finished()) + len(running) >= trials:
                    return
                trial = self.study.ask()
                folder = self.out / trial.user_attrs.setdefault("folder", f"trial{trial.number}")
                trial.set_user_attr("folder", folder.name)
                chosen = {name: each.suggest(trial, name) for name, each in self.ranges.items()}
                trial.set_user_attr("options", chosen)
            folder.mkdir(exist_ok=True)
            with only_mine(folder):
                self._try(trial, folder, chosen)

    def _try(self, trial: optuna.Trial, folder: Path, chosen: dict[str, Any]) -> None:
        from optuna.trial import TrialState

        values = trial_values(self.space, nested(chosen)) | {"track": self.track}
        config = folder / "trial.yaml"
        save_yaml(config, values)
        results = []
        for seed in range(self.space.seeds):
            run, log = folder / f"seed{seed}", folder / f"seed{seed}.log"
            started = (run / "config.yaml").is_file()
            if not started or not describe_run(run).finished:
                words = [
                    "train",
                    self.space.agent,
                    "--config",
                    str(config),
                    "--seed",
                    str(seed),
                    "--out",
                    str(run),
                ]
                with begin(["train", "--resume", str(run)] if started else words, log) as process:
                    code = self._watch(process, trial if seed == 0 else None, run)
                if code is None:
                    self.study.tell(trial, state=TrialState.PRUNED)
                    say(f"{folder.name}: pruned")
                    return
                if self.stopping.is_set():
                    return
                if code != 0:
                    self.study.tell(trial, state=TrialState.FAIL)
                    say(f"{folder.name}: failed: {last_line(log)} ({log})")
                    self.failed.set()
                    self.stopping.set()
                    return
            results.append(evaluations(run)[-1][1])
        value = sum(results) / len(results)
        self.study.tell(trial, value)
        say(f"{folder.name}: return {value:.1f}  {chosen}")

    def _watch(self, process: subprocess.Popen, trial: optuna.Trial | None, run: Path) -> int | None:
        """Wait for a run; returns its exit code, or None when the pruner stopped it."""
        seen = 0
        while process.poll() is None:
            time.sleep(LOOK_EVERY)
            if self.stopping.is_set():
                process.terminate()
            elif trial is not None:
                for step, value in evaluations(run)[seen:]:
                    seen += 1
                    trial.report(value, step)
                if trial.should_prune():
                    process.terminate()
                    process.wait()
                    return None
        return process.returncode

    def report(self) -> dict[str, Any]:
        """All finished trials, the best first, and the file with the best one's options."""
        from optuna.trial import TrialState

        rows = [
            {
                "trial": trial.user_attrs["folder"],
                "value": trial.value if trial.state is TrialState.COMPLETE else None,
                "state": trial.state.name.lower(),
                "options": trial.user_attrs["options"],
            }
            for trial in self.finished()
        ]
        rows.sort(key=lambda row: (row["value"] is None, -(row["value"] or 0.0)))
        report: dict[str, Any] = {"agent": self.space.agent, "env": self.space.env, "trials": rows}
        if rows and rows[0]["value"] is not None:
            best = self.out / "best.yaml"
            values = trial_values(self.space, nested(rows[0]["options"]))
            del values["env"], values["threads"]
            text = dump_yaml(values)
            best.write_text(f"# Best of {len(rows)} trials: return {rows[0]['value']:.1f}.\n{text}")
            report["best"] = str(best)
        return report


def wandb_sweep(space: Space, ranges: dict[str, Range]) -> str:
    """The same search for `wandb sweep`: a file whose agents run `palaestra train`."""
    parameters: dict[str, Any] = {}
    for name, each in ranges.items():
        if each.choices:
            parameters[name] = {"values": list(each.choices)}
        else:
            low, high = each.ends
            kinds = (
                ("q_log_uniform_values", "int_uniform") if each.whole else ("log_uniform_values", "uniform")
            )
            ends = [int(end) if each.whole else float(end) for end in (low, high)]
            parameters[name] = {"distribution": kinds[not each.log], "min": ends[0], "max": ends[1]}
    command = ["palaestra", "train", space.agent, "--env", space.env, "--steps", str(space.steps)]
    values = {
        "method": "bayes" if space.sampler == "tpe" else "random",
        "metric": {"name": "eval/return", "goal": "maximize"},
        "parameters": parameters,
        "command": [*command, "--track", "wandb", "${args}"],
    }
    return dump_yaml(values)


def format_sweep(report: dict[str, Any]) -> str:
    """The ten best trials, and where the best one's options are."""
    lines = [f"{report['agent']} on {report['env']}: {len(report['trials'])} trials"]
    for row in report["trials"][:10]:
        value = "pruned" if row["value"] is None else f"{row['value']:.1f}"
        chosen = "  ".join(f"{name} {shown(option)}" for name, option in row["options"].items())
        lines.append(f"  {value:>9}  {row['trial']:<9} {chosen}")
    if "best" in report:
        lines.append(
            f"best: palaestra train {report['agent']} --env {report['env']} --config {report['best']}"
        )
    return "\n".join(lines)


def shown(value: Any) -> str:
    """An option's value, short."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
