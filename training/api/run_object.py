"""A run as an object: what it has learned, its numbers, and how it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .envs.backends.failure import EnvironmentFailedError
from .envs.outside import short_name
from .keywords import Device, keyword
from .passed import Passed
from .table import Table
from .training.run.listing import describe_run
from .training.run.loaded import load_run
from .training.run.policy import LoadedPolicy
from .training.run.resuming import resume_run
from .training.run.score import evaluate_run
from .training.run.session import Result
from .training.run.storage.folder import CYCLE_FILE
from .training.settings.config import CONFIG_FILE, load_plain_config, to_dict
from .training.settings.trust import command_for
from .training.settings.typed import Count, CountOrZero
from .training.settings.usage import UsageError, typed_command
from .training.settings.yaml_files import load_yaml
from .training.tracking.evaluations_file import read_evaluations
from .training.tracking.metrics_file import read_metrics
from .training.tracking.return_text import return_text
from .within import pass_on, within


class Run:
    """A run and its folder. `palaestra.train` and `palaestra.load` return one."""

    def __init__(self, folder: Path, passed: Passed | None = None, trust: bool = False):
        self.folder = folder
        """Absolute path of the run's folder."""
        self._passed = passed or Passed()
        self._trust = trust
        self._policy: LoadedPolicy | None = None

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the run, in the layout of its `config.yaml`."""
        return load_yaml(self.folder / CONFIG_FILE)

    @property
    def steps(self) -> int:
        """Environment steps that it was trained for, as of its last checkpoint."""
        return describe_run(self.folder).step

    @property
    def finished(self) -> bool:
        """Whether it was trained for all the steps that were planned."""
        return describe_run(self.folder).finished

    @property
    def metrics(self) -> Table:
        """What was measured on the way, by environment steps: `run.metrics["episode/return"]`.

        docs/metrics.md explains each column; see `Table` for curves and pandas.
        """
        return Table(read_metrics(self.folder))

    @property
    def evaluations(self) -> Table:
        """Evaluations on the way, in full episodes that training never saw: step, return_mean, return_std, ..."""
        return Table(read_evaluations(self.folder)[0])

    @property
    def policy(self) -> LoadedPolicy:
        """What was learned, as the last checkpoint holds it; `predict` has the signature of Stable-Baselines3's.

        It is loaded once, and again after `resume`.

        Raises:
            UsageError: the folder names what is not trusted, or an object that was not passed.
        """
        if self._policy is None:
            with within(self._passed, trust=self._trust):
                run = load_run(self.folder)
            self._policy = LoadedPolicy(run.agent, run.observation_space, run.action_space)
        return self._policy

    def evaluate(
        self,
        episodes: int = 100,
        *,
        seed: int | None = None,
        explore: bool = False,
        video: str | Path | None = None,
        device: str | None = None,
        max_steps: int = 0,
        progress: bool = True,
    ) -> dict[str, Any]:
        """Play full episodes with what was learned, in environments that training never saw.

        Args:
            episodes: how many.
            seed: of the episodes; by default one that training never used.
            explore: act as in training instead of always taking the best action.
            video: folder for an mp4 of one more episode.
            device: where networks run; by default where the run asks for.
            max_steps: cut off episodes after so many steps; 0 is what the run's own evaluations did.
            progress: say on stderr how far it is, where it takes long.

        Returns:
            What `palaestra evaluate --json` prints: `return_mean`, `return_std`, `return_iqm`, `length_mean`, ...

        Raises:
            UsageError: nothing was saved yet, the folder names what is not trusted, or an object was not passed.
        """
        episodes = keyword("episodes", episodes, Count)
        seed = keyword("seed", seed, CountOrZero | None)
        device = keyword("device", device, Device | None)
        max_steps = keyword("max_steps", max_steps, CountOrZero)
        film = None if video is None else Path(video)
        with within(self._passed, progress, self._trust):
            return evaluate_run(
                self.folder, episodes, seed, explore, film, device=device, max_steps=max_steps
            )

    def resume(
        self,
        steps: int | None = None,
        *,
        schedule_steps: int | None = None,
        device: str | None = None,
        threads: int | None = None,
        progress: bool = True,
    ) -> Run:
        """Go on from the last checkpoint, bit for bit as if the run had never stopped.

        Args:
            steps: a new total of environment steps; by default what is left of the planned ones.
            schedule_steps: steps over which schedules run from now on.
            device: where networks run from now on; then it is not bit for bit the same.
            threads: threads of torch from now on; then it is not bit for bit the same.
            progress: show a bar and notes on stderr.

        Returns:
            The run itself.

        Raises:
            UsageError: it cannot go on, or an object was not passed; `palaestra.load` says how.
            RunInterrupted, RunFailedError, EnvironmentFailedError: as `palaestra.train`.
        """
        if (self.folder / CYCLE_FILE).exists():
            raise UsageError(
                f"{self.folder} trains in dreams; go on with: {typed_command('train', '--resume', self.folder)}"
            )
        steps = keyword("steps", steps, Count | None)
        schedule_steps = keyword("schedule_steps", schedule_steps, CountOrZero | None)
        device = keyword("device", device, Device | None)
        threads = keyword("threads", threads, CountOrZero | None)
        self._policy = None
        with noting_failures(self), within(self._passed, progress, self._trust):
            result = resume_run(self.folder, steps, schedule_steps, device, threads)
        return end_of(self, result)

    def __getstate__(self) -> dict[str, Any]:
        """A run is its folder: what was loaded from it is loaded again where a copy arrives."""
        return self.__dict__ | {"_policy": None}

    def __repr__(self) -> str:
        text = f"Run({str(self.folder)!r})"
        with suppress(UsageError):
            found = describe_run(self.folder)
            value = "" if found.return_mean is None else f", return {return_text(found.return_mean)}"
            done = f"{found.step:,} steps" if found.finished else f"{found.step:,} of {found.steps:,} steps"
            who = f"{short_name(found.agent)} on {short_name(found.env)}"
            text = f"Run({who}, seed {found.seed}, {done}{value}, {self.folder})"
        return text


def end_of(run: Run, result: Result) -> Run:
    """Return a run whose session has ended.

    Raises:
        RunInterrupted: a signal ended it.
    """
    if result.signal is not None:
        message = (
            f"stopped at step {result.step:,}; a checkpoint was saved; go on with: {call_to_resume(run)}"
        )
        pass_on(result.signal, message, run)
    return run


@contextmanager
def noting_failures(run: Run) -> Iterator[None]:
    """Add to the error of an environment how a run goes on, which tracebacks show behind it."""
    try:
        yield
    except EnvironmentFailedError as error:
        if (run.folder / CONFIG_FILE).is_file():
            error.add_note(f"when it is repaired, go on from the last checkpoint: {call_to_resume(run)}")
        raise


def call_to_resume(run: Run) -> str:
    """What to write to go on with a run."""
    command = command_for(to_dict(load_plain_config(run.folder)), "train", "--resume", run.folder)
    if command.startswith("palaestra.load"):
        return command
    trust = ", trust=True" if command.endswith("--trust") else ""
    return f"palaestra.load({str(run.folder)!r}{trust}).resume()"
