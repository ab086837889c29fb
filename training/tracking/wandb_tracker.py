"""Weights & Biases: a run mirrored while it trains."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from .metrics_file import read_metrics
from .progress import say
from .tracker import Tracker, first_line
from .wandb_login import wandb_login, wandb_mode
from .wandb_sent import Row, SentRows

# Seconds that W&B may take to answer at the start, and to upload what is left at the end; and how much longer before
# its process is killed.
WANDB_INIT_TIMEOUT, WANDB_FINISH_TIMEOUT, WANDB_GRACE = 15, 30, 15
# Sending a row takes up to a millisecond: in a run that logs often, more than it may. This much of the time is spent
# on it, and what is left then is sent at the end.
SHARE = 0.01


class WandbTracker(Tracker):
    """Mirrors the metrics file to a Weights & Biases run.

    The run folder holds the W&B run's id (`wandb_id.txt`) and what it has (`wandb_sent.txt`). Rows up to there are
    never sent again; later ones of the file, from a session without W&B or one that was killed, are sent first. So a
    resumed run neither doubles nor lacks points.
    """

    def __init__(self, run_dir: Path, *, env: str, agent: str, seed: int, config: dict[str, Any]):
        id_file = run_dir / "wandb_id.txt"
        resumed = id_file.exists()
        if not resumed:
            id_file.write_text(uuid.uuid4().hex[:8] + "\n", encoding="utf-8")
        tags = (agent, env, f"v{version('palaestra')}", *config.get("tag", ()))
        self._run = start_wandb(
            project=config.get("project") or wandb_project(),
            # What is None here wandb takes from the environment variables.
            entity=config.get("entity") or None,
            group=config.get("group") or os.environ.get("WANDB_RUN_GROUP", env),
            notes=config.get("notes") or None,
            job_type=agent,
            name=f"{agent}-seed{seed}",
            tags=[tag[:64] for tag in tags],  # 64 is W&B's limit
            config=config,
            allow_val_change=True,  # a resumed run may have more steps
            dir=str(run_dir),
            id=id_file.read_text(encoding="utf-8").strip(),
            resume="allow" if resumed else None,
        )
        # Nothing is sent while W&B is disabled.
        self._sent = None if self._run.disabled else SentRows(run_dir)
        if self._sent is not None:
            self._sent.begin(Path(self._run.dir).parent)
        self._row = (-1, 0)
        self._waiting: deque[tuple[dict[str, float], Row]] = deque()
        self._spent, self._opened = 0.0, time.perf_counter()
        for row in read_metrics(run_dir):
            self.log(row, int(row["step"]))
        self._send(lambda: True)
        self._spent, self._opened = 0.0, time.perf_counter()

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Send a row, unless it was sent before the run was resumed; later, if sending has taken too long so far."""
        self._row = (step, self._row[1] + 1 if step == self._row[0] else 1)
        if self._sent is not None and self._row > self._sent.last:
            self._waiting.append((metrics, self._row))
        self._send(lambda: self._spent <= SHARE * (time.perf_counter() - self._opened))

    def _send(self, may: Callable[[], bool]) -> None:
        while self._sent is not None and self._waiting and may():
            began = time.perf_counter()
            metrics, row = self._waiting.popleft()
            self._run.log({**metrics, "step": row[0]})
            self._sent.advance(row)
            self._spent += time.perf_counter() - began

    def video(self, path: Path, name: str, step: int) -> None:
        """Show an mp4 file."""
        import wandb

        self._run.log({name: wandb.Video(str(path), format="mp4"), "step": step})

    def figure(self, path: Path, name: str, step: int) -> None:
        """Show a PNG file."""
        import wandb

        self._run.log({name: wandb.Image(str(path)), "step": step})

    def artifact(self, path: Path, name: str, kind: str) -> None:
        """Upload a file or folder in the background; `name` is made unique among the project's runs."""
        import wandb

        artifact = wandb.Artifact(f"{name}-{self._run.id}", type=kind)
        if path.is_dir():
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def summary(self, values: dict[str, float]) -> None:
        """Put values into the run's summary, under `final/`."""
        self._run.summary.update({f"final/{name}": value for name, value in values.items()})

    def close(self, exit_code: int = 0) -> None:
        """Send and upload what is left, for half a minute at most; all of it stays on disk for `wandb sync`."""
        self._send(lambda: True)
        finish_wandb(self._run, exit_code)
        if self._sent is not None:
            self._sent.end()


def start_wandb(**arguments: Any) -> Any:
    """Start a W&B run, offline where there is no key or no network, and say in one line where it is."""
    # Where the server hangs, W&B's telemetry would hold up the end of the program for 20 s (tried with 0.31).
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    drop_inherited_process()
    settings = wandb.Settings(
        init_timeout=WANDB_INIT_TIMEOUT,
        finish_timeout=WANDB_FINISH_TIMEOUT,
        finish_timeout_raises=True,
        console="off",
        silent=True,
        reinit="create_new",  # leaves a run that the user's own program may have alone
    )
    why_offline = None
    if wandb_mode() not in ("offline", "disabled") and wandb_login() is None:
        why_offline = "not logged in"
    else:
        try:
            run = wandb.init(settings=settings, **arguments)
        except Exception as error:
            why_offline = first_line(error)
            wandb.teardown()  # frees the run's id, which the failed attempt still holds
    if why_offline is not None:
        run = wandb.init(settings=settings, mode="offline", **arguments)
    # W&B drops rows whose own step goes back, so that is left alone, and ours is a metric like any other.
    run.define_metric("step")
    run.define_metric("*", step_metric="step")
    run._cached_public_api = NoQuestions()  # type: ignore[assignment]
    if run.offline:
        say(f"W&B: offline ({why_offline or 'as set'}); upload with: wandb sync {Path(run.dir).parent}")
    elif not run.disabled:
        say(f"W&B: {run.url}")
    return run


def finish_wandb(run: Any, exit_code: int = 0) -> None:
    """Upload what is left of a run, for half a minute at most; all of it stays on disk.

    Raises:
        RuntimeError: the server does not answer, or W&B's own process is gone.
        KeyboardInterrupt: Ctrl-C, which ends the waiting for W&B, too.
    """
    import wandb

    process = wandb_process()
    failure: BaseException
    # wandb's own time-outs (tried with 0.31) do not end all of its waiting; the end of its process does. Left alone it
    # would go on trying, and the program would wait for that at its end.
    with killed_after(process, WANDB_FINISH_TIMEOUT + WANDB_GRACE):
        try:
            run.finish(exit_code=exit_code)
            return
        except (Exception, KeyboardInterrupt) as error:
            failure = error
    try:
        # What the process has not written to disk by its end is lost, so it is asked to end first.
        with killed_after(process, WANDB_GRACE), suppress(Exception, SystemExit):
            wandb.teardown()
    finally:
        process.kill()
    upload = f"upload with: wandb sync {Path(run.dir).parent}"
    if isinstance(failure, KeyboardInterrupt):
        say(f"W&B: interrupted; {upload}")
        raise failure
    raise RuntimeError(f"{first_line(failure)}; {upload}") from failure


@contextmanager
def killed_after(process: Any, seconds: float) -> Iterator[None]:
    """Kill a process if what is done here takes longer."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def drop_inherited_process() -> None:
    """Let W&B start a background process of its own.

    A program with a W&B run hands the address of its background process to all that it starts, by WANDB_SERVICE. That
    process ends with that program, whose run it serves: it cannot be waited for, nor ended, from here.
    """
    from wandb.sdk import wandb_setup

    if wandb_setup.singleton()._connection is None:
        os.environ.pop("WANDB_SERVICE", None)


def wandb_process() -> Any:
    """W&B's own process, which talks to the server."""
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().ensure_service()._proc._process  # type: ignore[union-attr]


class NoQuestions:
    """Stands in for what wandb 0.31 asks the server through before it takes an artifact.

    It asks for the type of other artifacts of that name, and waits for the answer for minutes where the server hangs;
    ours have names of their own, and are uploaded in the background anyway.
    """

    settings: ClassVar[dict[str, None]] = {"entity": None, "project": None}

    def _expected_artifact_type(self, **artifact: Any) -> None:
        return None

    def _set_artifact_save_handle(self, artifact: Any, handle: Any) -> None:
        return None


def wandb_project() -> str:
    """The project that everything goes to."""
    return os.environ.get("WANDB_PROJECT", "palaestra")
