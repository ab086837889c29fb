import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace

import pytest

from palaestra.training.settings.usage import UsageError
from palaestra.training.tracking import trackers as tracking
from palaestra.training.tracking import wandb_publish
from palaestra.training.tracking import wandb_tracker as tracking_wandb
from palaestra.training.tracking.metrics_file import read_metrics
from palaestra.training.tracking.tracker import Tracker, first_line
from palaestra.training.tracking.trackers import JsonlTracker, Trackers, open_tracker
from palaestra.training.tracking.wandb_login import wandb_login, wandb_wanted
from palaestra.training.tracking.wandb_offline import WandbRun, read_run

from ..wandb_file import finished_run
from .wandb_server import WandbServer

RUN = {"env": "CartPole-v1", "agent": "ppo", "seed": 3, "config": {"gamma": 0.99, "agent": {"epochs": 4}}}


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """No test finds the developer's own W&B account or settings."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def run_dir(tmp_path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.fixture
def wandb():
    """W&B with no memory of other tests; its background process ends with the test."""
    import wandb

    wandb.teardown()
    yield wandb
    wandb.teardown()
    for thread in threading.enumerate():
        if thread.name in ("NetStatThr", "ChkStopThr", "IntMsgThr"):  # of a run that could not be finished
            thread.join()


def log_steps(tracker: Tracker, steps: range) -> None:
    for step in steps:
        tracker.log({"episode/return": step * 1.5}, step)


# --- the metrics file


@pytest.mark.parametrize(
    ("error", "line"),
    [(OSError("a\nb"), "a"), (OSError("\n  a\nb"), "a"), (OSError(), "OSError"), (OSError(" "), "OSError")],
)
def test_an_error_that_says_nothing_is_named(error, line):
    assert first_line(error) == line


def test_a_row_is_a_line_with_the_step_first_and_on_disk_at_once(run_dir):
    tracker = JsonlTracker(run_dir)
    tracker.log({"episode/return": 12.5, "loss/policy": 0.25}, 128)
    assert (run_dir / "metrics.jsonl").read_text() == (
        '{"step": 128, "episode/return": 12.5, "loss/policy": 0.25}\n'
    )
    assert read_metrics(run_dir) == [{"step": 128, "episode/return": 12.5, "loss/policy": 0.25}]
    tracker.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_left_out_as_json_cannot_hold_it(run_dir, value):
    tracker = JsonlTracker(run_dir)
    tracker.log({"episode/return": 12.5, "value/explained_variance": value}, 128)
    tracker.close()
    assert (run_dir / "metrics.jsonl").read_text() == '{"step": 128, "episode/return": 12.5}\n'


def test_a_row_without_what_is_not_finite_is_not_doubled_on_resume(run_dir):
    for resume_step in (None, 10):
        tracker = open_tracker(run_dir, "none", **RUN, resume_step=resume_step)
        tracker.log({"eval/return": 7.0, "eval/length": math.inf}, 10)
        tracker.close()
    assert read_metrics(run_dir) == [{"step": 10, "eval/return": 7.0}]


def test_a_run_without_metrics_has_no_rows(run_dir):
    assert read_metrics(run_dir) == []


@pytest.mark.parametrize("torn", [b"", b"{", b'{"step": 60, "x": 1.0', b'{"step": 20, "x": 9.0}', b"\0\0\0"])
def test_a_resumed_file_equals_an_undisturbed_one(tmp_path, torn):
    rows = [
        (10, {"x": 1.0}),
        (20, {"x": 2.0}),
        (20, {"eval/return": 5.0}),
        (30, {"x": 3.0}),
        (40, {"x": 4.0}),
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        tracker = JsonlTracker(folder)
        for step, metrics in rows:
            tracker.log(metrics, step)
        tracker.close()
    with (killed / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    assert len(read_metrics(killed)) == 5

    tracker = JsonlTracker(killed, resume_step=20)
    assert len(read_metrics(killed)) == 3
    for step, metrics in rows[3:]:
        tracker.log(metrics, step)
    tracker.close()
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("line", ["not json", "[1]", '{"x": 1}'])
def test_a_line_that_is_no_row_is_named(run_dir, line):
    (run_dir / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n')
    with pytest.raises(UsageError, match=r"metrics\.jsonl, line 2 is not a row"):
        read_metrics(run_dir)


def test_a_new_run_overwrites_no_metrics(run_dir):
    JsonlTracker(run_dir).close()
    with pytest.raises(FileExistsError):
        JsonlTracker(run_dir)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_clear_error(run_dir):
    tracker = JsonlTracker(run_dir)
    tracker.close()
    with Path("/dev/full").open("wb", buffering=0) as full:
        tracker._file = full
        with pytest.raises(OSError, match=r"No space left on device.*--resume.*metrics\.jsonl"):
            tracker.log({"x": 1.0}, 1)


def test_an_evaluation_made_again_on_resume_is_not_doubled(run_dir):
    """A run killed between its last checkpoint and its end evaluates at that step a second time."""
    for resume_step in (None, 10):
        tracker = open_tracker(run_dir, "none", **RUN, resume_step=resume_step)
        if resume_step is None:
            tracker.log({"loss": 0.5}, 10)
        tracker.log({"eval/return": 7.0, "eval/length": 9.0}, 10)
        tracker.close()
    assert read_metrics(run_dir) == [
        {"step": 10, "loss": 0.5},
        {"step": 10, "eval/return": 7.0, "eval/length": 9.0},
    ]


# --- which sink


@pytest.mark.parametrize(
    ("files", "variables", "logged_in"),
    [
        ({}, {}, False),
        ({}, {"WANDB_API_KEY": "k"}, True),
        ({"netrc": "machine api.wandb.ai login user password k"}, {}, True),
        ({"netrc": "machine api.forge.coreweave.com login user password k"}, {}, True),
        ({"netrc": "machine github.com login user password k"}, {}, False),
        (
            {"netrc": "machine api.wandb.ai login user password k"},
            {"WANDB_BASE_URL": "https://own.org"},
            False,
        ),
        ({"netrc": "machine own.org login user password k"}, {"WANDB_BASE_URL": "https://own.org"}, True),
        (
            {
                "netrc": "machine own.org login user password k",
                "config/settings": "[default]\nbase_url = http://own.org",
            },
            {},
            True,
        ),
        ({"netrc": "machine own.org login user password k", "config/settings": "broken"}, {}, False),
        ({"netrc": "machine"}, {}, False),
    ],
)
def test_login_is_found_without_asking_wandb(tmp_path, monkeypatch, files, variables, logged_in):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (wandb_login() is not None) == logged_in


@pytest.mark.parametrize(
    ("variables", "wanted", "lines"),
    [
        ({}, False, 1),
        ({"WANDB_API_KEY": "k"}, True, 0),
        ({"WANDB_MODE": "offline"}, True, 0),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, False, 0),
    ],
)
def test_auto_is_wandb_where_the_user_is_logged_in(monkeypatch, capsys, variables, wanted, lines):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wandb_wanted() == wanted
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == lines
    assert not lines or "wandb login" in output.err


def test_auto_without_an_account_keeps_local_files_only(run_dir):
    tracker = open_tracker(run_dir, "auto", **RUN)
    log_steps(tracker, range(3))
    tracker.close()
    assert [path.name for path in run_dir.iterdir()] == ["metrics.jsonl"]


def test_an_unknown_tracker_is_named_with_the_nearest(run_dir):
    with pytest.raises(UsageError, match="unknown tracker 'wanbd'; did you mean 'wandb'"):
        open_tracker(run_dir, "wanbd", **RUN)


# --- W&B


def read_runs(run_dir: Path) -> list[WandbRun]:
    """Offline parts of the run, in the order of their steps."""
    runs = [finished_run(path) for path in (run_dir / "wandb").glob("offline-run-*/*.wandb")]
    return sorted(runs, key=lambda run: run.history[0]["step"])


def points(run: WandbRun) -> list[tuple[int, float]]:
    return [(row["step"], row["episode/return"]) for row in run.history if "episode/return" in row]


def test_wandb_mirrors_the_file_over_three_sessions(run_dir, wandb, capsys):
    """One session without W&B, one with, and one that resumes from a checkpoint before the last row sent."""
    tracker = open_tracker(run_dir, "none", **RUN)
    log_steps(tracker, range(1, 3))
    tracker.close()

    tracker = open_tracker(run_dir, "wandb", **RUN, resume_step=2)
    log_steps(tracker, range(3, 6))
    tracker.log({"eval/return": math.nan}, 5)
    for name in ("curve.png", "clip.mp4"):
        source = run_dir / name
        source.write_bytes(PNG)
    tracker.figure(run_dir / "curve.png", "learning_curve", 5)
    tracker.video(run_dir / "clip.mp4", "video", 5)
    tracker.artifact(run_dir / "curve.png", "plot", "figure")
    tracker.summary({"return_mean": 7.5})
    tracker.close(exit_code=7)

    tracker = open_tracker(run_dir, "wandb", **RUN, resume_step=3)
    log_steps(tracker, range(4, 6))
    tracker.log({"eval/return": math.nan}, 5)
    log_steps(tracker, range(6, 8))
    tracker.close()

    second, third = read_runs(run_dir)
    assert points(second) == [(step, step * 1.5) for step in range(1, 6)]
    assert points(third) == [(6, 9.0), (7, 10.5)]
    assert sum("eval/return" in row for run in (second, third) for row in run.history) == 1
    assert [row["step"] for row in read_metrics(run_dir)] == [1, 2, 3, 4, 5, 5, 6, 7]

    assert second.run_id == third.run_id == (run_dir / "wandb_id.txt").read_text().strip()
    assert (second.project, second.group, second.job_type) == ("palaestra", "CartPole-v1", "ppo")
    assert second.name == "ppo-seed3" and {"ppo", "CartPole-v1"} < set(second.tags)
    assert RUN["config"].items() <= second.config.items()
    assert second.step_metrics == {"step": "", "*": "step"}
    media = {row[key]: row["step"] for row in second.history for key in row if key.endswith("/_type")}
    assert media == {"image-file": 5, "video-file": 5}
    assert second.summary["final/return_mean"] == 7.5
    assert second.artifacts == [f"plot-{second.run_id}"]
    assert (second.exit_code, third.exit_code) == (7, 0)

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("offline" in line and "wandb sync" in line for line in lines)


def test_without_a_server_a_run_is_logged_offline(run_dir, wandb, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(tracking_wandb, "WANDB_INIT_TIMEOUT", 1)
    tracker = open_tracker(run_dir, "auto", **RUN)
    log_steps(tracker, range(3))
    tracker.close()
    (run,) = read_runs(run_dir)
    assert points(run) == [(0, 0.0), (1, 1.5), (2, 3.0)]
    assert "W&B: offline" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("program", ["runs", "ended"])
def test_a_process_of_the_program_that_started_the_run_is_left_alone(run_dir, wandb, monkeypatch, program):
    """As under `wandb agent`, or in a subprocess of a script that has a W&B run of its own."""
    code = "import os, wandb; wandb.setup(); print(os.environ['WANDB_SERVICE'], flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True) as other:
        monkeypatch.setenv("WANDB_SERVICE", other.stdout.readline().strip())
        if program == "ended":
            other.communicate("\n")
        monkeypatch.setenv("WANDB_MODE", "offline")
        tracker = open_tracker(run_dir, "wandb", **RUN)
        log_steps(tracker, range(3))
        tracker.close()
        if program == "runs":
            other.communicate("\n")
    (run,) = read_runs(run_dir)
    assert points(run) == [(0, 0.0), (1, 1.5), (2, 3.0)]
    assert other.returncode == 0


def test_wandb_can_be_disabled(run_dir, wandb, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    tracker = open_tracker(run_dir, "wandb", **RUN)
    log_steps(tracker, range(3))
    tracker.close()
    assert len(read_metrics(run_dir)) == 3 and not (run_dir / "wandb").exists()
    assert capsys.readouterr().err == ""
    # W&B has none of it, so a session that is not disabled sends it.
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    open_tracker(run_dir, "wandb", **RUN, resume_step=3).close()
    (run,) = read_runs(run_dir)
    assert points(run) == [(0, 0.0), (1, 1.5), (2, 3.0)]


@pytest.fixture
def server(wandb, monkeypatch):
    server = WandbServer()
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setattr(tracking_wandb, "WANDB_FINISH_TIMEOUT", 1)
    yield server
    server.die()


def test_a_server_gets_every_row_of_a_resumed_run_once(run_dir, server):
    for resume_step, steps in ((None, range(1, 6)), (3, range(4, 8))):
        tracker = open_tracker(run_dir, "auto", **RUN, resume_step=resume_step)
        log_steps(tracker, steps)
        tracker.close()
    assert len({run["name"] for run in server.runs}) == 1
    rows = [
        (place, row["step"], row["episode/return"]) for place in server.rows for row in server.rows[place]
    ]
    assert rows == [(step - 1, step, step * 1.5) for step in range(1, 8)]


# W&B's own threads, when their background process goes away.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("trouble", ["hangs", "dies"])
def test_a_server_that_is_lost_costs_neither_time_nor_data(run_dir, server, trouble, capsys, monkeypatch):
    spent, send = [], tracking_wandb.WandbTracker.log

    def timed(*arguments):
        began = time.perf_counter()
        send(*arguments)
        spent.append(time.perf_counter() - began)

    monkeypatch.setattr(tracking_wandb.WandbTracker, "log", timed)
    tracker = open_tracker(run_dir, "auto", **RUN)
    {"hangs": server.hang, "dies": server.die}[trouble]()
    started = time.perf_counter()
    for step in range(150):
        log_steps(tracker, range(step, step + 1))
        time.sleep(0.01)  # the rest of the training
    assert sum(spent) < 0.02 * (time.perf_counter() - started)
    tracker.close()
    (path,) = (run_dir / "wandb").glob("run-*/*.wandb")
    rows = [(step, step * 1.5) for step in range(150)]
    assert (
        points(read_run(path))
        == rows
        == [(row["step"], row["episode/return"]) for row in read_metrics(run_dir)]
    )
    assert "wandb sync" in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts: a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_ctrl_c_ends_the_waiting_for_a_server_that_hangs(run_dir, server, capsys, monkeypatch, interruptible):
    monkeypatch.setattr(tracking_wandb, "WANDB_FINISH_TIMEOUT", 60)
    monkeypatch.setattr(tracking_wandb, "WANDB_GRACE", 1)
    tracker = open_tracker(run_dir, "auto", **RUN)
    process = tracking_wandb.wandb_process()
    server.hang()
    log_steps(tracker, range(5))
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        tracker.close()
    assert time.perf_counter() - started < 30
    # Whoever waits for it at the end of the program waits for nothing.
    assert process.wait(timeout=10) is not None
    assert "wandb sync" in capsys.readouterr().err.splitlines()[-1]


def test_findings_become_a_report(server, monkeypatch, capsys):
    reports = pytest.importorskip("wandb_workspaces.reports.v2")
    saved = []
    monkeypatch.setattr(reports.Report, "save", lambda self: saved.append(self._to_model()))
    monkeypatch.setattr(reports.Report, "url", "http://example.org/report")
    lines = {"ppo": ([1.0, 2.0], [3.0, 4.0]), "sb3/ppo": ([1.0, 2.0], [3.0, 5.0])}
    findings = wandb_publish.Publication(
        *("comparison", "quick", ["- ppo wins", "## Scores"], {}, {}, {}, {"CartPole-v1": lines}, [], [])
    )
    wandb_publish.write_report(SimpleNamespace(entity="me", project="palaestra", id="abc"), findings)
    spec = saved[0].spec.model_dump_json(by_alias=True)
    assert saved[0].display_name == "quick"
    for text in ("- ppo wins", "## Scores", "CartPole-v1/ppo", "CartPole-v1/sb3/ppo", "abc"):
        assert text in spec
    assert "W&B Report: http://example.org/report" in capsys.readouterr().err


class BrokenRun:
    """A W&B run in which one call fails, as when its background process was killed."""

    id, offline, disabled, url, dir = "abc", False, False, "http://example.org", "."

    def __init__(self, fails: str):
        self.fails = fails
        self.calls = 0

    def define_metric(self, *args: str, **kwargs: str) -> None:
        pass

    def log(self, row: dict[str, float]) -> None:
        self.calls += 1
        if self.fails == "log" and self.calls == 2:
            raise ConnectionResetError("Connection lost\nand more")

    def finish(self, exit_code: int) -> None:
        if self.fails == "finish":
            raise TimeoutError("Timed out finishing run.")


@pytest.mark.parametrize("fails", ["init", "log", "finish"])
def test_a_broken_wandb_costs_one_warning(run_dir, wandb, monkeypatch, capsys, fails):
    def init(**arguments: object) -> BrokenRun:
        if fails == "init":
            raise RuntimeError("no such service")
        return BrokenRun(fails)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    tracker = open_tracker(run_dir, "wandb", **RUN)
    log_steps(tracker, range(5))
    tracker.close()
    assert [row["step"] for row in read_metrics(run_dir)] == [0, 1, 2, 3, 4]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1 and "WandbTracker failed" in warnings[0] and "metrics.jsonl" in warnings[0]


def test_one_broken_sink_does_not_stop_the_others(run_dir, capsys):
    class Broken(Tracker):
        def log(self, metrics, step):
            raise ValueError("out of order")

    class Whole(Tracker):
        def __init__(self):
            self.rows = []

        def log(self, metrics, step):
            self.rows.append({"step": step, **metrics})

    whole = Whole()
    tracker = Trackers(JsonlTracker(run_dir), [Broken(), whole])
    log_steps(tracker, range(3))
    tracker.close()
    assert whole.rows == read_metrics(run_dir) and len(whole.rows) == 3
    assert capsys.readouterr().err.count("warning: Broken failed") == 1


# --- TensorBoard


def test_missing_tensorboard_names_what_to_install(run_dir, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'palaestra\[tensorboard\]'"):
        open_tracker(run_dir, "tensorboard", **RUN)
    assert not list(run_dir.iterdir())


def test_tensorboard_shows_a_resumed_run_once(run_dir):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for resume_step, steps in ((None, range(1, 6)), (3, range(4, 8))):
        tracker = open_tracker(run_dir, "tensorboard", **RUN, resume_step=resume_step)
        log_steps(tracker, steps)
        tracker.close()
    events = accumulator.EventAccumulator(str(run_dir / "tensorboard"))
    events.Reload()
    scalars = events.Scalars("episode/return")
    assert [(event.step, event.value) for event in scalars] == [(step, step * 1.5) for step in range(1, 8)]


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63600000000200"
    "01e221bc330000000049454e44ae426082"
)
