"""`palaestra sweep`: search an agent's options with Optuna; trials are ordinary runs, and survive any kill."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..run.listing import describe_run, evaluations
from ..run.signals import StoppedError, handled_signals
from ..run.storage.lock import only_mine
from ..settings.config import RunConfig, load_plain_config
from ..settings.layers import nested
from ..settings.trust import trusts_everything
from ..settings.usage import UsageError, typed_command
from ..settings.yaml_files import dump_yaml, save_yaml
from ..tracking.progress import say
from ..tracking.return_text import return_text
from .jobs import GroupSeeds, Job
from .processes import begin, last_line, worker_count
from .ray_launcher import RayCluster, RayCommand
from .search_space import SearchedOption, Space, trial_values

if TYPE_CHECKING:
    import optuna

STUDY = "sweep"
# Seconds between readings of a run's evaluations so far.
POLL_SECONDS = 0.5
# A sweep stops where so many of its trials have failed in one start, or a quarter of them, if that is more.
FAILURES = 3


class TrialFailedError(Exception):
    """A trial's run came to no result; the message says why."""


class TrialPrunedError(Exception):
    """The pruner stopped a trial."""


class Sweep:
    """One process's part in a study, whose file others may share."""

    def __init__(
        self,
        space: Space,
        searched: dict[str, SearchedOption],
        out: Path,
        track: str,
        group_seeds: GroupSeeds = "auto",
    ):
        try:
            import optuna
        except ImportError:
            raise UsageError("Optuna is not installed; run: pip install 'palaestra[sweep]'") from None
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.searched, self.out, self.track = space, searched, out, track
        self.trust = trusts_everything()  # here: the threads that begin runs know nothing of it
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
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        self.sampler = samplers[space.sampler]
        self.study.pruner = {
            "none": optuna.pruners.NopPruner,
            "median": optuna.pruners.MedianPruner,
            "hyperband": optuna.pruners.HyperbandPruner,
        }[space.pruner]()
        self.together = space.seeds > 1 and (
            group_seeds == "on" or (group_seeds == "auto" and space.pruner == "none")
        )
        self.stopping = threading.Event()
        self.failures = 0
        """Trials that failed since this process began."""
        self.asking = threading.Lock()
        self.cluster: RayCluster | None = None

    def run(self, trials: int, workers: int, cluster: RayCluster | None = None) -> None:
        """Go on until the study has so many finished trials, `workers` at a time (0: one a core), here or in a cluster.

        A trial that fails does not count; many of them end it early.
        """
        workers, self.cluster = worker_count(workers), cluster
        self._take_up_lost_trials()
        interrupted: list[int] = []

        def interrupt(number: int) -> None:
            interrupted.append(number)
            self.stopping.set()

        with ThreadPoolExecutor(workers) as pool, handled_signals(interrupt):
            for future in [pool.submit(self._work, trials) for _ in range(workers)]:
                future.result()
        if interrupted:
            raise StoppedError(interrupted[0])

    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that came to their end, or were pruned."""
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def _take_up_lost_trials(self) -> None:
        """Put trials whose process has died back into the queue; their runs go on from their checkpoints."""
        from optuna.trial import TrialState

        for trial in self._running():
            folder = self.folder_of(trial)
            folder.mkdir(exist_ok=True)
            with only_mine(folder) as mine:
                # Another process may have been faster, and be through with it.
                if mine and trial.number in {lost.number for lost in self._running()}:
                    self.study.tell(trial.number, state=TrialState.FAIL)
                    self.study.enqueue_trial(trial.params, user_attrs={"folder": folder.name})

    def _running(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that were begun, here or by another process, and not ended."""
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _work(self, trials: int) -> None:
        while not self.stopping.is_set():
            with self.asking:
                if len(self.finished()) + len(self._running()) >= trials:
                    return
                trial, chosen = self.ask()
            folder = self.folder_of(trial)
            folder.mkdir(exist_ok=True)
            with only_mine(folder):
                self._perform(trial, folder, chosen, limit=max(FAILURES, trials // 4))

    def folder_of(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> Path:
        """Folder of a trial: that of an earlier one that was lost, or one with its number.

        Raises:
            UsageError: the study's file names another one, which might lie anywhere.
        """
        name = trial.user_attrs.get("folder", f"trial{trial.number}")
        if not re.fullmatch(r"trial\d+", str(name)):
            raise UsageError(f"{self.out / 'study.journal'} is damaged: no trial has the folder {name!r}")
        return self.out / str(name)

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """Begin a trial; returns it, its folder's name among its attributes, and its options."""
        trial = self.study.ask()
        # By its number, which no other process has: those that begin together draw different options.
        self.study.sampler = self.sampler(seed=trial.number)
        trial.set_user_attr("folder", self.folder_of(trial).name)
        chosen = {name: option.suggest(trial, name) for name, option in self.searched.items()}
        trial.set_user_attr("options", chosen)
        return trial, chosen

    def _perform(self, trial: optuna.Trial, folder: Path, chosen: dict[str, Any], limit: int) -> None:
        """Do a trial's runs and tell the study how they ended; `limit` failures stop the sweep."""
        from optuna.trial import TrialState

        config = folder / "trial.yaml"
        try:
            save_yaml(config, trial_values(self.space, nested(chosen)) | {"track": self.track})
            results = []
            if self.together:
                self._train_together(trial, config)
            for seed in range(self.space.seeds):
                result = self._result(trial, config, seed)
                if result is None:
                    return
                results.append(result)
        except TrialPrunedError:
            self.study.tell(trial, state=TrialState.PRUNED)
            say(f"{folder.name}: pruned")
        except Exception as error:  # whatever it is, the other trials go on
            self.study.tell(trial, state=TrialState.FAIL)
            say(f"{folder.name}: failed: {error}")
            with self.asking:
                self.failures += 1
            if self.failures >= limit:
                say(f"{self.failures} trials failed; the sweep stops")
                self.stopping.set()
        else:
            value = sum(results) / len(results)
            self.study.tell(trial, value)
            say(f"{folder.name}: return {return_text(value)}  {chosen}")

    def _train_together(self, trial: optuna.Trial, config: Path) -> None:
        """Train all runs of a trial in one process; what it leaves undone, `_result` does run by run."""
        runs = [config.parent / f"seed{seed}" for seed in range(self.space.seeds)]
        if self.cluster is not None:
            jobs = [self._job(config, seed) for seed in range(self.space.seeds)]
            with self.cluster.begin(jobs) as command:
                self._watch(command, trial, runs[0])
            return
        if all((run / "config.yaml").is_file() for run in runs):
            words = ["train", "--resume", *map(str, runs)]
        elif not any(run.exists() for run in runs):
            words = ["train", self.space.agent, "--config", str(config), "--out", str(config.parent)]
            words += ["--seeds", str(self.space.seeds)]
        else:
            return
        if self.trust:
            words.append("--trust")
        with begin(words, config.parent / "seed0.log") as process:
            self._watch(process, trial, runs[0])

    def _result(self, trial: optuna.Trial, config: Path, seed: int) -> float | None:
        """Do what is left of one run of a trial; returns its last evaluation, or None when the sweep stops.

        Raises:
            TrialFailedError: the run failed.
            TrialPrunedError: the pruner stopped it.
        """
        run, log = config.parent / f"seed{seed}", config.parent / f"seed{seed}.log"
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
            command = ["train", "--resume", str(run)] if started else words
            command += ["--trust"] if self.trust else []
            cluster = self.cluster
            with (
                cluster.begin([self._job(config, seed)]) if cluster is not None else begin(command, log)
            ) as process:
                code = self._watch(process, trial if seed == 0 else None, run)
            if self.stopping.is_set():
                return None
            if code != 0:
                away = process.error if isinstance(process, RayCommand) else None
                raise TrialFailedError(away or f"{last_line(log)} ({log})")
        reached = evaluations(run)
        if not reached:
            raise TrialFailedError(f"{run} has no evaluation")
        return reached[-1][1]

    def _job(self, config: Path, seed: int) -> Job:
        """A run of a trial as a cluster does it."""
        run = config.parent / f"seed{seed}"
        return Job(self.space.agent, str(config), str(run), seed, 0, trust=self.trust)

    def _watch(self, process: subprocess.Popen | RayCommand, trial: optuna.Trial | None, run: Path) -> int:
        """Wait for a run, and report its evaluations to the pruner; returns its exit code."""
        reported, told = 0, False
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            if self.stopping.is_set():
                # Once: a second signal would cost the checkpoint.
                if not told:
                    process.terminate()
                told = True
            elif trial is not None:
                reported = self._report(trial, run, reported)
                if trial.should_prune():
                    process.terminate()
                    process.wait()
                    raise TrialPrunedError
        return process.returncode

    def _report(self, trial: optuna.Trial, run: Path, reported: int) -> int:
        """Report evaluations that are new; returns how many there are."""
        reached = evaluations(run)
        config = load_plain_config(run) if len(reached) > reported else None
        for step, value in reached[reported:]:
            assert config is not None
            trial.report(value, planned_step(step, config))
        return max(reported, len(reached))

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
            best.write_text(
                f"# Best of {len(rows)} trials: return {return_text(rows[0]['value'])}.\n{text}",
                encoding="utf-8",
            )
            report["best"] = str(best)
        return report


def planned_step(step: int, config: RunConfig) -> int:
    """Step that an evaluation was planned for: vector steps go a little beyond it, and pruners compare equal steps."""
    return config.steps if step >= config.steps else step // config.evaluate_every * config.evaluate_every


def format_sweep(report: dict[str, Any]) -> str:
    """The ten best trials, and where the best one's options are."""
    lines = [f"{report['agent']} on {report['env']}: {len(report['trials'])} trials"]
    for row in report["trials"][:10]:
        value = "pruned" if row["value"] is None else return_text(row["value"])
        chosen = "  ".join(f"{name} {short_value(option)}" for name, option in row["options"].items())
        lines.append(f"  {value:>9}  {row['trial']:<9} {chosen}")
    if "best" in report:
        command = typed_command("train", report["agent"], "--env", report["env"], "--config", report["best"])
        lines.append(f"best: {command}")
    return "\n".join(lines)


def short_value(value: Any) -> str:
    """An option's value, short."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
