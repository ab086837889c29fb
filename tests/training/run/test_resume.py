"""A run that is killed and resumed is, bit for bit, the run that was left alone."""

import json
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from palaestra.training.cli import main as cli
from palaestra.training.run.resuming import resume_run
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import STATE, TENSORS, latest_checkpoint
from palaestra.training.run.storage.lock import LOCK_FILE, locked
from palaestra.training.settings.config import CONFIG_FILE, load_config
from palaestra.training.settings.usage import UsageError
from palaestra.training.tracking.metrics_file import METRICS_FILE, read_metrics

TRAIN = [sys.executable, "-m", "palaestra.training.cli.main", "train"]
# Small clocks, so that a kill falls between all kinds of events.
CLOCKS = ["--checkpoint-every", "1500", "--log-every", "400", "--evaluate-every", "4000", "--track", "none"]
RECALL = ["--env", "palaestra/Recall-v0", "--env-kwargs", "delay=3"]
RUNS = {
    "vector backend": ["ppo", "--env", "CartPole-v1", "--steps", "20k", "--agent.epochs", "5"],
    "sync backend, normalisers, noise": [
        *["ppo", "--env", "Pendulum-v1", "--steps", "8k", "--num-envs", "3", "--agent.rollout-length", "100"],
        *["--agent.epochs", "2"],
        *["--agent.normalize-reward", "--encoder.normalize", "--agent.noise-correlation", "0.5"],
    ],
    "a ring that goes round, priorities, noisy layers": [
        *["dqn", "--env", "CartPole-v1", "--config", "rainbow", "--steps", "5k", "--num-envs", "2"],
        *["--agent.replay-capacity", "1000", "--agent.learning-starts", "500", "--agent.train-every", "16"],
        *["--agent.gradient-steps", "1", "--agent.hidden", "16", "--agent.batch-size", "32"],
    ],
    "a contrastive loss beside two networks with memories": [
        *["ppo", *RECALL, "--steps", "8k", "--memory", "gru", "--auxiliary", "curl"],
        *["--auxiliary.capacity", "1000", "--auxiliary.batch-size", "16"],
    ],
    "prediction beside a target network": [
        *["dqn", "--env", "CartPole-v1", "--steps", "5k", "--num-envs", "2", "--agent.train-every", "16"],
        *["--agent.gradient-steps", "1", "--agent.learning-starts", "500", "--auxiliary", "predict"],
        *["--auxiliary.batch-size", "16", "--auxiliary.capacity", "1000", "--agent.hidden", "16"],
        *["--encoder.hidden", "16", "--agent.batch-size", "32"],
    ],
    "pqn": ["pqn", "--env", "CartPole-v1", "--steps", "12k"],
    "hindsight in a ring that goes round": [
        *["dqn", "--env", "palaestra/BitFlip-v0", "--steps", "5k", "--agent.replay-capacity", "1000"],
        *["--agent.learning-starts", "500", "--agent.train-every", "16", "--agent.gradient-steps", "1"],
        *["--agent.hidden", "16", "--agent.batch-size", "32"],
    ],
    "episodes under way": ["reinforce", "--env", "CartPole-v1", "--steps", "20k"],
    "targets, delayed actor, persistent noise": [
        *["ddpg", "--env", "Pendulum-v1", "--config", "td3", "--steps", "5k", "--num-envs", "2"],
        *["--agent.noise", "ornstein-uhlenbeck", "--agent.train-every", "17"],
        *["--agent.learning-starts", "99", "--agent.actor-hidden", "16", "--agent.critic-hidden", "16"],
        *["--agent.batch-size", "64"],
    ],
    "ppo with a transformer, last action and reward shown": [
        *["ppo", *RECALL, "--steps", "8k", "--memory", "transformer", "--memory.size", "8"],
        *["--memory.heads", "2", "--memory.window", "8", "--show-previous"],
    ],
    "ppo with an LSTM, compiled": [
        *["ppo", *RECALL, "--steps", "8k", "--memory", "lstm", "--memory.hidden", "16", "--compile", "on"],
    ],
    "reinforce with a GRU": ["reinforce", *RECALL, "--steps", "8k", "--memory", "gru"],
    "dqn with an LSTM, states in a ring that goes round": [
        *["dqn", *RECALL, "--steps", "4500", "--memory", "lstm", "--agent.replay-capacity", "1000"],
        *["--agent.learning-starts", "500", "--agent.train-every", "64", "--agent.gradient-steps", "4"],
        *["--agent.hidden", "16", "--memory.hidden", "16", "--agent.batch-size", "32"],
    ],
    "ddpg with two LSTMs": [
        *["ddpg", *RECALL, "continuous=true", "--steps", "4500", "--memory", "lstm", "--memory.hidden", "16"],
        *["--agent.learning-starts", "500", "--agent.train-every", "64", "--agent.critic-hidden", "16"],
        *["--agent.actor-hidden", "16", "--agent.batch-size", "64"],
    ],
    "bc": ["bc", "--env", "CartPole-v1", "--data", "TEACHER/demo", "--steps", "12k", "--encoder.normalize"],
    "bc with a GRU": [
        *["bc", "--env", "CartPole-v1", "--data", "TEACHER/demo", "--steps", "8k", "--memory", "gru"],
        *["--agent.held-out-share", "0.5"],
    ],
    "ppo that begins with parts of another run": [
        *["ppo", "--env", "CartPole-v1", "--init-from", "TEACHER/run", "--steps", "10k"],
    ],
}

# Their agents are killed without a memory, and their memory with another agent; or they take long to compile.
LIKE_OTHERS = (
    *("reinforce with a GRU", "bc with a GRU", "ppo with an LSTM, compiled", "ddpg with two LSTMs"),
    "a contrastive loss beside two networks with memories",
)


def everything(run_dir):
    """All that a run leaves, but for the clock on the wall and the seconds of the cores."""
    state = json.loads((latest_checkpoint(run_dir) / STATE).read_text())
    del state["clock"]["seconds"], state["clock"]["cpu"]
    rows = [
        {name: value for name, value in row.items() if not name.startswith("time/")}
        for row in read_metrics(run_dir)
    ]
    evaluations = json.loads((run_dir / "evaluations.json").read_text())
    return (latest_checkpoint(run_dir) / TENSORS).read_bytes(), state, json.dumps(rows), evaluations


@pytest.fixture(scope="module")
def start():
    """Start a command in a process of its own: a fork of one that has imported everything and done nothing."""
    context = multiprocessing.get_context("forkserver")
    drawing = ["matplotlib.figure", "matplotlib.backends.backend_agg"]
    context.set_forkserver_preload(
        ["palaestra.training.settings.train_options", "palaestra.training.run.start", *drawing]
    )

    def start(*words):
        process = context.Process(target=cli.run, args=(["train", *words],))
        process.start()
        return process

    return start


def kill_when(process, run_dir, rows) -> bool:
    """SIGKILL a process once its run has this many rows of metrics; False if it ended before."""
    path = run_dir / METRICS_FILE
    while process.is_alive():
        if path.exists() and path.read_bytes().count(b"\n") >= rows:
            time.sleep(random.Random(rows).uniform(0, 0.05))
            process.kill()
            process.join()
            return process.exitcode == -signal.SIGKILL
        time.sleep(0.002)
    return False


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A folder with a run and with demonstrations of it."""
    folder = tmp_path_factory.mktemp("teacher")
    env = ["--env", "CartPole-v1", "--steps", "2k", "--evaluate-episodes", "1", "--track", "none"]
    assert cli.run(["train", "ppo", *env, "--agent.rollout-length", "64", "--out", f"{folder}/run"]) == 0
    assert cli.run(["record", f"{folder}/run", "--episodes", "10", "--out", f"{folder}/demo"]) == 0
    return folder


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=[pytest.mark.slow] if name in LIKE_OTHERS else [])
        for name, options in RUNS.items()
    ],
)
def test_a_run_killed_again_and_again_equals_one_left_alone(options, start, tmp_path, request):
    if any("TEACHER" in word for word in options):
        folder = str(request.getfixturevalue("teacher"))
        options = [word.replace("TEACHER", folder) for word in options]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    start(*options, *CLOCKS, "--out", str(alone)).join()

    words, kills = [*options, *CLOCKS, "--out", str(killed)], 0
    total = len(read_metrics(alone))
    for rows in sorted(random.Random(0).sample(range(1, total - 2), 2)):
        kills += kill_when(start(*words), killed, rows)
        words = ["--resume", str(killed)]
    start(*words).join()

    assert kills == 2
    for left, right in zip(everything(alone), everything(killed), strict=True):
        assert left == right


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGINT, 130)]
)
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(number, code, tmp_path):
    run_dir = tmp_path / "run"
    command = [
        *TRAIN,
        "ppo",
        "--env",
        "CartPole-v1",
        "--steps",
        "10M",
        "--compile",
        "off",
        "--log-every",
        "500",
        "--track",
        "none",
    ]
    process = subprocess.Popen(
        [*command, "--out", str(run_dir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (run_dir / METRICS_FILE).exists() or len(read_metrics(run_dir)) < 3:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"--resume {run_dir}" in output and "Traceback" not in errors
    assert int(latest_checkpoint(run_dir).name) >= 1500


@pytest.fixture
def finished(tmp_path, small_config):
    start_run(small_config(steps=1000), tmp_path / "run")
    return tmp_path / "run"


def test_more_steps_can_be_asked_for(finished):
    result = resume_run(finished, steps=2000)
    assert result.step >= 2000 and load_config(finished).steps == 2000
    steps = [row["step"] for row in read_metrics(finished)]
    assert steps == sorted(steps) and steps[-1] >= 2000
    with pytest.raises(UsageError, match="--steps must be more"):
        resume_run(finished, steps=500)


def test_a_run_killed_before_its_first_checkpoint_begins_again(finished, small_config, tmp_path):
    for checkpoint in (finished / "checkpoints").iterdir():
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    resume_run(finished)
    start_run(small_config(steps=1000), tmp_path / "other")
    assert everything(finished)[0] == everything(tmp_path / "other")[0]


def test_a_damaged_checkpoint_is_passed_over(finished, capsys):
    newest = latest_checkpoint(finished)
    tensors = newest / TENSORS
    data = bytearray(tensors.read_bytes())
    data[len(data) // 2] ^= 1
    tensors.write_bytes(data)
    older = latest_checkpoint(finished)
    assert older.name < newest.name
    assert "has changed since it was written" in capsys.readouterr().err
    assert resume_run(finished).step >= 1000


def test_holes_in_the_metrics_cost_their_rows_and_nothing_else(finished, capsys):
    """As a power cut leaves them: a page that did not reach the disk."""
    path = finished / METRICS_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\r\0" + bytes(38) + lines[1][40:], *lines[2:]]))
    newest = int(latest_checkpoint(finished).name)
    shutil.rmtree(latest_checkpoint(finished))
    resume_run(finished)
    assert "1 of" in (told := capsys.readouterr().err) and "metrics.jsonl.damaged" in told
    rows = path.read_bytes().splitlines(keepends=True)
    assert [json.loads(row)["step"] for row in rows] == [
        json.loads(line)["step"] for line in (lines[0], *lines[2:])
    ]
    assert int(latest_checkpoint(finished).name) == newest


def test_two_processes_do_not_share_a_run(finished):
    import fcntl

    with (finished / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = (finished / CONFIG_FILE).read_bytes()
        with pytest.raises(UsageError, match="another process"):
            resume_run(finished, steps=2000)
        assert (finished / CONFIG_FILE).read_bytes() == before


def test_a_new_run_writes_nothing_before_it_holds_its_folder(tmp_path, small_config):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with locked(run_dir), pytest.raises(UsageError, match="another process"):
        start_run(small_config(steps=200), run_dir)
    assert [path.name for path in run_dir.iterdir()] == [LOCK_FILE]
    # What a start leaves that was killed here is no run, and in nobody's way.
    (run_dir / f"{CONFIG_FILE}.tmp").write_text("half")
    assert start_run(small_config(steps=200), run_dir).step >= 200


def test_a_folder_that_is_no_run_is_left_as_it_is(tmp_path):
    with pytest.raises(UsageError, match="is not a run"):
        resume_run(tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(finished, small_config):
    before = sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*") if path.is_file())
    with pytest.raises(UsageError, match="not empty"):
        start_run(small_config(), finished)
    assert before == sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*") if path.is_file())
