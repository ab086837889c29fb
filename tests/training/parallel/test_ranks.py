"""A run in two processes equals that of one but for rounding, and goes on bit for bit."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from palaestra.training.run.resuming import resume_run
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import STATE, TENSORS, latest_checkpoint, list_checkpoints
from palaestra.training.settings.train_options import read_train_options

_spec = importlib.util.spec_from_file_location("processes", Path(__file__).with_name("processes.py"))
processes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(processes)

CLOCKS = (
    "--log-every 100 --evaluate-every 100000 --evaluate-episodes 1 --track none --compile off --backend sync"
)
SMALL = f"--num-envs 4 --encoder.hidden 8 {CLOCKS}"
# Ragged minibatches, windows that are padded, steps that end in the middle of a rollout.
# Many processes, for a minute.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")]

KINDS = {
    "ppo": "ppo --env CartPole-v1 --steps 300 --schedule-steps 300 --agent.epochs 20 "
    "--agent.rollout-length 30 --agent.batch-size 50 "
    f"--agent.target-kl 0.001 --agent.learning-rate 0.003 --agent.normalize-reward --encoder.normalize {SMALL}",
    "ppo, lstm": "ppo --env Pendulum-v1 --steps 200 --memory lstm --memory.hidden 8 --agent.rollout-length 20 "
    "--agent.sequence-length 8 --agent.batch-size 24 --agent.epochs 1 --agent.noise-correlation 0.5 "
    f"--frame-stack 2 --show-previous --encoder.normalize {SMALL}",
    "ppo, compiled": "ppo --env CartPole-v1 --steps 300 --agent.rollout-length 30 --agent.batch-size 60 "
    f"--agent.epochs 2 {SMALL.replace('off', 'on')}",
    "pqn": "pqn --env CartPole-v1 --steps 300 --agent.rollout-length 16 --agent.batch-size 50 --agent.hidden 8 "
    f"{SMALL}",
}
# Agents of which every process has all steps.
TOGETHER = {
    "dqn": "dqn --env CartPole-v1 --steps 300 --schedule-steps 300 --agent.learning-starts 60 "
    f"--agent.replay-capacity 200 --agent.hidden 8 --agent.prioritized {SMALL}",
    "td3": "ddpg --config td3 --env Pendulum-v1 --steps 200 --agent.learning-starts 60 --frame-stack 2 "
    f"--agent.noise ornstein-uhlenbeck {SMALL}",
    "reinforce": f"reinforce --env CartPole-v1 --steps 300 --agent.steps-per-update 100 {SMALL}",
    "auxiliary": f"ppo --env Pendulum-v1 --steps 200 --agent.rollout-length 20 --auxiliary predict {SMALL}",
}
PAUSE, END = 212, 300


def config_of(words):
    agent, *options = words.split()
    return read_train_options(agent, options)[0]


def saved(run_dir):
    """Tensors, and all else that a checkpoint holds but for the clock on the wall."""
    checkpoint = latest_checkpoint(run_dir)
    state = json.loads((checkpoint / STATE).read_text())
    del state["clock"]["seconds"], state["clock"]["cpu"], state["meter"]
    return checkpoint.name, load_file(checkpoint / TENSORS), state


def check_close(one, other):
    (name, mine, state), (other_name, theirs, other_state) = saved(one), saved(other)
    assert name == other_name and mine.keys() == theirs.keys()
    for key in mine:
        np.testing.assert_allclose(mine[key], theirs[key], rtol=1e-4, atol=1e-5, err_msg=key)
    assert state == other_state


def check_equal(one, other):
    (name, mine, state), (other_name, theirs, other_state) = saved(one), saved(other)
    assert name == other_name and state == other_state and mine.keys() == theirs.keys()
    for key in mine:
        np.testing.assert_array_equal(mine[key], theirs[key], err_msg=key)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of every kind in two processes and in one, and one that was gone on with."""
    folder = tmp_path_factory.mktemp("ranks")
    jobs = [[words, str(folder / f"two {kind}"), None] for kind, words in KINDS.items()]
    part = KINDS["ppo"].replace(f"--steps {END}", f"--steps {PAUSE}")
    jobs += [[part, str(folder / "part"), None], [part, str(folder / "resumed"), None]]
    jobs += [["", str(folder / "resumed"), END]]
    jobs += [[f"{KINDS['ppo']} --notes {notes}", str(folder / notes), None] for notes in ("whole", "gloo")]
    jobs += [[words, str(folder / f"two {kind}"), None] for kind, words in TOGETHER.items()]
    jobs += [
        [
            TOGETHER["dqn"].replace(f"--steps {END} --sch", f"--steps {PAUSE} --sch"),
            str(folder / "resumed dqn"),
            None,
        ]
    ]
    jobs += [["", str(folder / "resumed dqn"), END]]
    started = processes.begin(jobs, 2)
    try:
        warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
        for kind, words in (KINDS | TOGETHER).items():
            start_run(config_of(words), folder / f"one {kind}")
    finally:
        processes.end(started)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_learn_what_one_does(folder, kind):
    check_close(folder / f"one {kind}", folder / f"two {kind}")


@pytest.mark.parametrize("kind", TOGETHER)
def test_agents_that_have_all_steps_are_those_of_one_process_bit_for_bit(folder, kind):
    check_equal(folder / f"one {kind}", folder / f"two {kind}")


def test_small_steps_are_not_shared_and_equal_those_of_one_process_bit_for_bit(folder):
    check_equal(folder / "one ppo", folder / "whole")


def test_sums_of_two_are_the_same_through_memory_and_by_gloo(folder):
    check_equal(folder / "two ppo", folder / "gloo")


def test_an_update_that_stops_early_is_among_them(folder):
    """Else target_kl would not have been tested: two updates of 20 epochs with 3 minibatches are 120 steps."""
    _, _, state = saved(folder / "two ppo")
    assert 2 <= state["agent.optimizer"]["count"] < 120


def test_episodes_of_all_processes_are_counted(folder):
    def episodes(name):
        state = json.loads((latest_checkpoint(folder / name) / STATE).read_text())
        rows = [json.loads(row) for row in (folder / name / "metrics.jsonl").read_text().splitlines()]
        lengths = [row["episode/length"] for row in rows if "episode/length" in row]
        return state["meter"]["counts"].get("episode/return", 0), bool(lengths)

    assert episodes("two ppo")[1] and episodes("one ppo")[1]


def test_a_run_goes_on_bit_for_bit(folder):
    check_equal(folder / "two ppo", folder / "resumed")
    check_equal(folder / "two dqn", folder / "resumed dqn")


def test_a_run_goes_on_in_another_number_of_processes(folder, tmp_path, capsys):
    shutil.copytree(folder / "part", tmp_path / "part")
    resume_run(tmp_path / "part", END)
    assert "goes on where it was with one process, after 2 processes" in capsys.readouterr().err
    check_close(tmp_path / "part", folder / "two ppo")


# -- With torchrun ---------------------------------------------------------------------------------------------------


def torchrun(ranks, *words):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    return subprocess.Popen(
        [*command, "-m", "palaestra", "train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_ends_well(process):
    said = process.communicate(timeout=300)
    assert process.returncode == 0, said


def children(process):
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    return [int(pid) for pid in found.stdout.split()]


def wait_for_checkpoint(run_dir, process):
    deadline = time.monotonic() + 120
    while not list_checkpoints(run_dir):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_four_processes_learn_what_one_does(tmp_path):
    jobs = [[words, str(tmp_path / f"four {kind}"), None] for kind, words in KINDS.items()]
    processes.end(processes.begin(jobs, 4), 300)
    for kind, words in KINDS.items():
        start_run(config_of(words), tmp_path / f"one {kind}")
        check_close(tmp_path / f"one {kind}", tmp_path / f"four {kind}")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_run_in_one_line(tmp_path, victim):
    words = KINDS["ppo"].replace(f"--steps {END}", "--steps 4000 --checkpoint-every 256").split()
    whole = tmp_path / "whole"
    check_ends_well(torchrun(2, *words, "--out", str(whole)))
    run_dir = tmp_path / "killed"
    process = torchrun(2, *words, "--out", str(run_dir))
    wait_for_checkpoint(run_dir, process)
    subprocess.run(["kill", "-KILL", str(sorted(children(process))[victim])], check=True)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert [line for line in said.splitlines() if line.startswith("error:")] != []
    assert said.count("has lost another one") == 1 and f"train --resume {run_dir}" in said
    check_ends_well(torchrun(2, "--resume", str(run_dir)))
    check_equal(whole, run_dir)


@pytest.mark.slow
def test_a_signal_stops_all_of_them_at_the_same_step(tmp_path):
    words = KINDS["ppo"].replace(f"--steps {END}", "--steps 400000 --checkpoint-every 256").split()
    process = torchrun(2, *words, "--out", str(tmp_path / "run"))
    wait_for_checkpoint(tmp_path / "run", process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    step = int(list_checkpoints(tmp_path / "run")[-1].name)
    assert f"stopped at step {step:,}; go on with" in said and step % 120 == 0


@pytest.mark.slow
def test_a_refusal_is_said_once_and_writes_nothing(tmp_path):
    words = f"ppo --env CartPole-v1 --steps 300 --bonus rnd --out {tmp_path / 'run'}".split()
    process = torchrun(2, *words)
    _, said = process.communicate(timeout=120)
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and "learned rewards are those of one process" in lines[0]
    assert not (tmp_path / "run").exists()
