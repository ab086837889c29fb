"""SIGKILL of what is more than one training: fits, Dyna, cycles, dreams, suites and sweeps."""

import json
import random
import time

import pytest
import yaml

from palaestra.training.run.storage.checkpoint import TENSORS, latest_checkpoint

from .runs import everything
from .test_kills import killed_at

FIT = "--fit.updates 60 --fit.judge-every 6 --fit.batch-size 64 --track none"
AGENT = "--num-envs 4 --agent.rollout-length 16 --agent.batch-size 32 --evaluate-episodes 2 --log-every 50"
# What begins it, and what goes on with it.
CASES = {
    "fit of a VAE and an RSSM": (
        f"world-model fit --env CartPole-v1 --encoder vae --dynamics rssm --steps 500 {FIT}",
        "world-model fit --resume",
    ),
    "cycle of dreams": (
        f"world-model dream --env CartPole-v1 --agent ppo --real-steps 400 --rounds 4 --steps 2000 {FIT} {AGENT}",
        "world-model dream --resume",
    ),
    "Dyna": (
        "train ddpg --env Pendulum-v1 --world-model auto+ensemble --steps 400 --rounds 4 --dream-ratio 2 "
        f"--min-skill -1e9 --num-envs 2 --agent.learning-starts 50 --agent.train-every 9 --log-every 50 {FIT}",
        "train --resume",
    ),
    "dream": (
        f"world-model dream MODEL --agent ppo --steps 4000 {AGENT} --checkpoint-every 300 --track none",
        "train --resume",
    ),
}
KILLS = 3
RUN = {"num_envs": 2, "evaluate_episodes": 2, "encoder": {"hidden": [8]}, "checkpoint_every": 200}
SMALL = {"agent": {"rollout_length": 16, "batch_size": 32}}
SUITE = {
    "seeds": 1,
    "episodes": 4,
    "matches": [
        {"agents": [{"agent": "ppo", "options": RUN | SMALL}], "environments": {"CartPole-v1": 2000}}
    ],
}
SPACE = {
    "agent": "ppo",
    "env": "CartPole-v1",
    "steps": 2000,
    "options": RUN | SMALL,
    "space": {"agent.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}},
}


@pytest.fixture(scope="module")
def model(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "cartpole"
    process = start(*f"world-model fit --env CartPole-v1 --steps 400 {FIT} --out {folder}".split())
    process.join()
    assert process.exitcode == 0
    return folder


def is_begun(folder):
    """Whether there is something to go on with."""
    return any((folder / name).exists() for name in ("config.yaml", "world_model.yaml"))


@pytest.mark.parametrize("case", CASES)
def test_killed_at_random_moments_it_ends_the_same(case, start, tried, tmp_path, request):
    words, resume = CASES[case]
    if "MODEL" in words:
        words = words.replace("MODEL", str(request.getfixturevalue("model")))
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    begun = time.monotonic()
    start(*words.split(), "--out", str(alone)).join()
    seconds = time.monotonic() - begun

    draw, first = random.Random(case), [*words.split(), "--out", str(killed)]
    for number in range(KILLS):
        command = [*resume.split(), str(killed)] if is_begun(killed) else first
        if killed_at(start(*command), draw.uniform(0.1, seconds), killed, while_saving=number % 2 == 1):
            tried("SIGKILL of fits, Dyna and dreams")
    process = start(*([*resume.split(), str(killed)] if is_begun(killed) else first))
    process.join()
    assert process.exitcode in (0, 2)  # 2 where it had ended before the last kill
    assert everything(alone) == everything(killed)
    for folder in {path.parent for path in alone.rglob("checkpoints") if path.parent != alone}:
        there = killed / folder.relative_to(alone)
        left, right = ((latest_checkpoint(run) / TENSORS).read_bytes() for run in (folder, there))
        assert left == right


def killed_and_run(command, out, seconds, draw, start, tried, kind):
    """Kill a command some times, let it end then, and wait for what it left running."""
    for _ in range(KILLS):
        if killed_at(start(*command), draw.uniform(0.5, seconds), out, while_saving=False):
            tried(kind)
        # What it had started stops by itself, with a checkpoint.
        time.sleep(1)
    process = start(*command)
    process.join()
    return process.exitcode


def test_a_suite_killed_at_random_moments_ends_the_same(start, tried, tmp_path):
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump(SUITE))
    words = ["compare", str(suite), "--workers", "1", "--out"]
    begun = time.monotonic()
    process = start(*words, str(tmp_path / "alone"))
    process.join()
    assert process.exitcode == 0
    seconds = time.monotonic() - begun
    out = tmp_path / "killed"
    draw = random.Random("suite")
    assert killed_and_run([*words, str(out)], out, seconds, draw, start, tried, "SIGKILL of suites") == 0
    runs = sorted(path.parent.relative_to(out) for path in out.rglob("summary.json"))
    assert len(runs) == 1
    for run in runs:
        assert everything(tmp_path / "alone" / run) == everything(out / run)


def test_a_sweep_killed_at_random_moments_finishes_its_trials(start, tried, tmp_path):
    pytest.importorskip("optuna")
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    out = tmp_path / "killed"
    command = ["sweep", str(space), "--trials", "3", "--workers", "1", "--out", str(out)]
    draw = random.Random("sweep")
    assert killed_and_run(command, out, 12.0, draw, start, tried, "SIGKILL of sweeps") == 0
    assert len(list(out.glob("trial*/seed0/summary.json"))) == 3
    for summary in out.glob("trial*/seed0/summary.json"):
        assert json.loads(summary.read_text())["step"] == 2000
