"""Where a run's numbers go: always to its metrics file, and to W&B or TensorBoard, which may fail."""

from __future__ import annotations

import configparser
import errno
import importlib.util
import json
import netrc
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from .config import UsageError, nearest
from .progress import say

METRICS_FILE = "metrics.jsonl"
MODES = ("auto", "wandb", "tensorboard", "none")
# W&B's own servers, by their old and new names.
WANDB_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")
# Seconds that W&B may take to answer at the start, and to upload what is left at the end.
WANDB_INIT_TIMEOUT, WANDB_FINISH_TIMEOUT = 15, 30


class Tracker(Protocol):
    """Takes what a run reports. Who subclasses it leaves out what it cannot show."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Take one row of numbers; `step` never decreases."""
        return None

    def video(self, path: Path, name: str, step: int) -> None:
        """Take an mp4 file."""
        return None

    def figure(self, path: Path, name: str, step: int) -> None:
        """Take a PNG file."""
        return None

    def artifact(self, path: Path, name: str, kind: str) -> None:
        """Take a file or folder to keep, such as a checkpoint."""
        return None

    def close(self, exit_code: int = 0) -> None:
        """Finish; a run that failed says so by its exit code."""
        return None


class JsonlTracker(Tracker):
    """The truth about a run: one JSON object a line, `step` first, written at once.

    On resume, rows after `resume_step` are cut off: the run is about to make them again. Videos, figures and
    checkpoints lie in the run folder already.
    """

    def __init__(self, run_dir: Path, resume_step: int | None = None):
        self._path = run_dir / METRICS_FILE
        if resume_step is not None and self._path.exists():
            truncate_after(self._path, resume_step)
        # Unbuffered: a row is one system call, so a kill loses none and a full disk shows at once.
        self._file = self._path.open("xb" if resume_step is None else "ab", buffering=0)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Append a row, NaN and infinities included; raises OSError where it cannot be written."""
        row = {"step": step} | {name: float(value) for name, value in metrics.items()}
        line = json.dumps(row).encode() + b"\n"
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            message = f"cannot write metrics ({error.strerror}); make room, then go on with --resume"
            raise OSError(error.errno, message, str(self._path)) from error

    def close(self, exit_code: int = 0) -> None:
        """Close the file."""
        self._file.close()


def numbered_rows(path: Path) -> Iterator[tuple[dict[str, float], int]]:
    """Yield each row of a metrics file and the byte offset behind it, but not a last line cut short."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                row = json.loads(line)
                row["step"]
            except (ValueError, KeyError, TypeError):
                raise UsageError(f"{path}, line {number} is not a row of metrics: {line[:60]!r}") from None
            yield row, end


def truncate_after(path: Path, step: int) -> None:
    """Cut off the rows of a metrics file that come after `step`."""
    end = 0
    for row, row_end in numbered_rows(path):
        if row["step"] > step:
            break
        end = row_end
    os.truncate(path, end)


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """Return the rows of a run's metrics file, in order; none where there is no file yet."""
    path = run_dir / METRICS_FILE
    return [row for row, _ in numbered_rows(path)] if path.exists() else []


class WandbTracker(Tracker):
    """Mirrors the metrics file to a Weights & Biases run.

    The run folder holds the W&B run's id (`wandb_id.txt`) and what was sent (`wandb_sent.txt`: the last row's
    step, and which of that step's rows it is). Rows up to there are never sent again; later ones of the file,
    from a session without W&B, are sent first. So a resumed run neither doubles nor lacks points.
    """

    def __init__(self, run_dir: Path, *, env: str, agent: str, seed: int, config: dict[str, Any]):
        id_file = run_dir / "wandb_id.txt"
        resumed = id_file.exists()
        if not resumed:
            id_file.write_text(uuid.uuid4().hex[:8] + "\n")
        self._run = start_wandb(
            project=os.environ.get("WANDB_PROJECT", "palaestra"),
            group=env,
            job_type=agent,
            name=f"{agent}-seed{seed}",
            tags=[tag[:64] for tag in (agent, env, f"v{version('palaestra')}")],  # 64 is W&B's limit
            config=config,
            allow_val_change=True,  # a resumed run may have more steps
            dir=str(run_dir),
            id=id_file.read_text().strip(),
            resume="allow" if resumed else None,
        )
        # W&B drops rows whose own step goes back, so that is left alone, and ours is a metric like any other.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

        self._sent_file = run_dir / "wandb_sent.txt"
        self._sent_file.touch()
        step, nth = self._sent_file.read_text().split() or ("-1", "0")
        self._sent = (int(step), int(nth))
        self._row = (-1, 0)
        for row in read_metrics(run_dir):
            self.log(row, int(row["step"]))

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Send a row, unless it was sent before the run was resumed."""
        self._row = (step, self._row[1] + 1 if step == self._row[0] else 1)
        if self._row > self._sent:
            self._run.log({**metrics, "step": step})
            self._sent = self._row
            with self._sent_file.open("r+b") as file:  # never empty, should a kill come now
                file.write(b"%15d %5d\n" % self._sent)

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

    def close(self, exit_code: int = 0) -> None:
        """Upload what is left, for half a minute at most; all of it stays on disk for `wandb sync`."""
        self._run.finish(exit_code=exit_code)


def start_wandb(**arguments: Any) -> Any:
    """Start a W&B run, offline where there is no key or no network, and say in one line where it is."""
    # Where the server hangs, W&B's telemetry would hold up the end of the program for 20 s (tried with 0.31).
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

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
    if run.offline:
        say(f"W&B: offline ({why_offline or 'as set'}); upload with: wandb sync {Path(run.dir).parent}")
    elif not run.disabled:
        say(f"W&B: {run.url}")
    return run


def wandb_mode() -> str:
    """What the user's WANDB_MODE asks for: `online`, `offline`, `disabled`, or nothing."""
    mode = os.environ.get("WANDB_MODE", "").lower()
    return {"dryrun": "offline"}.get(mode, mode)


def wandb_login() -> str | None:
    """Return where the user's W&B credentials are, or None.

    Asks neither the network nor the wandb package, whose import takes half a second.
    """
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if os.environ.get(name):
            return name
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        entries = netrc.netrc(path)
    except (OSError, netrc.NetrcParseError):
        return None
    return str(path) if any(map(entries.authenticators, wandb_hosts())) else None


def wandb_hosts() -> tuple[str, ...]:
    """Return the names under which the key of the user's W&B server may be filed."""
    folder = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(folder / "settings")
    except configparser.Error:
        settings.clear()
    url = os.environ.get("WANDB_BASE_URL") or settings.get("default", "base_url", fallback="")
    return (urlsplit(url).netloc,) if url else WANDB_HOSTS


class TensorboardTracker(Tracker):
    """Writes event files for TensorBoard, in the run folder's `tensorboard/`."""

    def __init__(self, run_dir: Path, resume_step: int | None = None):
        from torch.utils.tensorboard import SummaryWriter

        purge = None if resume_step is None else resume_step + 1  # hides what is about to be made again
        self._writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=purge, flush_secs=10)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Write a row of numbers."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def figure(self, path: Path, name: str, step: int) -> None:
        """Write a PNG file."""
        import imageio.v3 as imageio

        self._writer.add_image(name, imageio.imread(path), step, dataformats="HWC")

    def close(self, exit_code: int = 0) -> None:
        """Write what is left."""
        self._writer.close()


class Trackers(Tracker):
    """The metrics file, whose failure is the run's, and sinks, each switched off at its first failure."""

    def __init__(self, file: JsonlTracker, sinks: list[Tracker], again: Iterable[dict[str, float]] = ()):
        self._file = file
        self._sinks = sinks
        # A run killed between its last checkpoint and its end evaluates at that step again: the same row.
        self._again = {(row["step"], frozenset(row)) for row in again}

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log a row everywhere, unless it is one of those in `again`."""
        if (step, frozenset(metrics) | {"step"}) in self._again:
            return
        self._file.log(metrics, step)
        self._forward(lambda sink: sink.log(metrics, step))

    def video(self, path: Path, name: str, step: int) -> None:
        """Show a video in every sink."""
        self._forward(lambda sink: sink.video(path, name, step))

    def figure(self, path: Path, name: str, step: int) -> None:
        """Show a figure in every sink."""
        self._forward(lambda sink: sink.figure(path, name, step))

    def artifact(self, path: Path, name: str, kind: str) -> None:
        """Give a file or folder to every sink."""
        self._forward(lambda sink: sink.artifact(path, name, kind))

    def close(self, exit_code: int = 0) -> None:
        """Close the file first, so that no sink can keep it from that."""
        self._file.close()
        self._forward(lambda sink: sink.close(exit_code))

    def _forward(self, action: Callable[[Tracker], None]) -> None:
        for sink in list(self._sinks):
            try:
                action(sink)
            except Exception as error:
                self._sinks.remove(sink)
                switched_off(type(sink), error)


def switched_off(sink: type[Tracker], error: Exception) -> None:
    """Say that a sink failed."""
    reason = first_line(error)
    say(f"warning: {sink.__name__} failed and is switched off, {METRICS_FILE} has everything: {reason}")


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def open_tracker(
    run_dir: Path,
    mode: Literal["auto", "wandb", "tensorboard", "none"],
    *,
    env: str,
    agent: str,
    seed: int,
    config: dict[str, Any],
    resume_step: int | None = None,
) -> Tracker:
    """Return the tracker of a run: its metrics file and, as `mode` says, a sink.

    `auto` is W&B where the user is logged in. `resume_step` is the step of the checkpoint to go on from, None
    for a new run.
    """
    check_tracking(mode)
    file = JsonlTracker(run_dir, resume_step)
    sinks: list[Tracker] = []
    if mode == "tensorboard":
        sinks.append(TensorboardTracker(run_dir, resume_step))
    if mode == "wandb" or (mode == "auto" and wandb_wanted()):
        try:
            sinks.append(WandbTracker(run_dir, env=env, agent=agent, seed=seed, config=config))
        except Exception as error:
            switched_off(WandbTracker, error)
    again = [row for row in read_metrics(run_dir) if row["step"] == resume_step]
    return Trackers(file, sinks, again)


def check_tracking(mode: str) -> None:
    """Raise UsageError where `open_tracker` could not open this mode; touches no file."""
    if mode not in MODES:
        raise UsageError(f"unknown tracker {mode!r}; {nearest(mode, MODES)}")
    if mode == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise UsageError("TensorBoard is not installed; run: pip install 'palaestra[tensorboard]'")


def wandb_wanted() -> bool:
    """Whether `auto` means W&B; where it does not, say how to turn it on."""
    if wandb_mode() == "disabled":
        return False
    if wandb_mode() == "offline" or wandb_login() is not None:
        return True
    say("W&B is off, as you are not logged in; `wandb login` turns it on, `--track wandb` logs offline")
    return False
