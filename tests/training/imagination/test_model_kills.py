"""Fits, cycles of dreaming, Dyna and training in a dream: killed and resumed, they are what they would have been."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from palaestra.training.run.storage.checkpoint import STATE, TENSORS, latest_checkpoint
from palaestra.training.tracking.metrics_file import METRICS_FILE, read_metrics

PALAESTRA = [sys.executable, "-m", "palaestra.training.cli.main"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
FIT = "--fit.updates 60 --fit.judge-every 6 --fit.batch-size 64 --track none"
AGENT = "--num-envs 4 --agent.rollout-length 16 --agent.batch-size 32 --evaluate-episodes 2 --log-every 50"
CASES = {
    "fit": (
        f"world-model fit --env CartPole-v1 --encoder vae --dynamics rssm --steps 500 {FIT}",
        "world-model fit --resume",
    ),
    "semi-supervised fit": (
        f"world-model fit --env CartPole-v1 --encoder semi_supervised --encoder.fraction 0.2 --steps 500 {FIT}",
        "world-model fit --resume",
    ),
    "adversarial fit": (
        f"world-model fit --env palaestra/Fork-v0 --dynamics adversarial --steps 500 {FIT}",
        "world-model fit --resume",
    ),
    "cycle": (
        f"world-model dream --env CartPole-v1 --agent ppo --real-steps 400 --rounds 4 --steps 2000 {FIT} {AGENT}",
        "world-model dream --resume",
    ),
    "dyna": (
        "train ddpg --env Pendulum-v1 --world-model auto+ensemble --steps 400 --rounds 4 --dream-ratio 2 "
        f"--min-skill -1e9 --num-envs 2 --agent.learning-starts 50 --agent.train-every 9 --log-every 50 {FIT}",
        "train --resume",
    ),
    "dream": (
        f"world-model dream MODEL --agent ppo --steps 4000 {AGENT} --checkpoint-every 300 --track none",
        "train --resume",
    ),
}


def everything(run_dir):
    """All that is left behind, but for the clock on the wall."""
    state = json.loads((latest_checkpoint(run_dir) / STATE).read_text())
    for name in ("seconds", "cpu"):
        state.get("clock", {}).pop(name, None)
    rows = [
        {name: value for name, value in row.items() if not name.startswith("time/")}
        for row in read_metrics(run_dir)
    ]
    return (latest_checkpoint(run_dir) / TENSORS).read_bytes(), state, json.dumps(rows)


def kill_when(process, run_dir, rows):
    """SIGKILL a process once there are this many rows of metrics; False if it ended before."""
    path = run_dir / METRICS_FILE
    while process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= rows:
            time.sleep(random.Random(rows).uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    return False


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "cartpole"
    words = f"world-model fit --env CartPole-v1 --steps 400 {FIT} --out {folder}"
    subprocess.run([*PALAESTRA, *words.split()], check=True, **QUIET)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_again_and_again_it_ends_the_same(case, tmp_path, request):
    words, resume = CASES[case]
    if "MODEL" in words:
        words = words.replace("MODEL", str(request.getfixturevalue("model")))
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    subprocess.run([*PALAESTRA, *words.split(), "--out", str(alone)], check=True, **QUIET)
    command, kills = [*PALAESTRA, *words.split(), "--out", str(killed)], 0
    total = len(read_metrics(alone))
    for rows in sorted(random.Random(0).sample(range(1, total - 2), 2)):
        kills += kill_when(subprocess.Popen(command, **QUIET), killed, rows)
        command = [*PALAESTRA, *resume.split(), str(killed)]
    subprocess.run(command, check=True, **QUIET)
    assert kills == 2
    for left, right in zip(everything(alone), everything(killed), strict=True):
        assert left == right
    if case in ("cycle", "dyna"):
        left, right = (latest_checkpoint(run / "world_model") / TENSORS for run in (alone, killed))
        assert left.read_bytes() == right.read_bytes()
