"""Options do what they say, or say that they do not."""

import json
import re
from dataclasses import replace

import pytest
import torch

from palaestra.envs import machine
from palaestra.training.cli.main import run
from palaestra.training.run.build import on_this_machine
from palaestra.training.run.listing import describe_run
from palaestra.training.run.loop import AgentLoop
from palaestra.training.run.resuming import note_other_machine, resume_run
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import TENSORS, latest_checkpoint
from palaestra.training.settings.config import load_config
from palaestra.training.settings.planning import scheduled_options
from palaestra.training.settings.usage import UsageError
from palaestra.training.tracking.metrics_file import read_metrics

QUICK = ["--track", "none", "--evaluate-episodes", "1"]
PPO = ["train", "ppo", "--env", "CartPole-v1", "--num-envs", "2", *QUICK]
LINEAR = {"name": "ppo", "rollout_length": 32, "learning_rate": "linear(9e-4, 0)"}


@pytest.fixture
def finished(tmp_path, small_config):
    start_run(small_config(steps=1024, agent=LINEAR, backend="sync"), tmp_path / "run")
    return tmp_path / "run"


def parameters(run_dir):
    return (latest_checkpoint(run_dir) / TENSORS).read_bytes()


# -- More steps -----------------------------------------------------------------------------------------------------


def test_more_steps_say_what_becomes_of_schedules(finished, capsys):
    resume_run(finished, steps=2048)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "schedules" in line]
    assert "2,048 steps now, not 1,024" in line and "agent.learning-rate 0 -> 0.00045" in line
    assert "--schedule-steps 1024" in line


def test_schedule_steps_keep_schedules(finished, capsys):
    resume_run(finished, steps=2048, schedule_steps=1024)
    assert "schedules" not in capsys.readouterr().err
    config = load_config(finished)
    assert config.schedule_steps == 1024 and scheduled_options(config, 1500)["agent.learning-rate"] == 0
    later = [row for row in read_metrics(finished) if row["step"] > 1024 and "policy/learning_rate" in row]
    assert later and all(row["policy/learning_rate"] == 0 for row in later)


def test_a_refused_resume_leaves_the_config_as_it_was(finished, monkeypatch):
    before = (finished / "config.yaml").read_text()

    def gone(*arguments):
        raise UsageError("no demonstrations")

    monkeypatch.setattr(AgentLoop, "train", gone)
    with pytest.raises(UsageError, match="no demonstrations"):
        resume_run(finished, steps=2048)
    assert (finished / "config.yaml").read_text() == before and describe_run(finished).finished


def test_schedules_longer_than_the_run_are_those_of_the_longer_run(tmp_path, small_config):
    options = {
        "agent": LINEAR,
        "backend": "sync",
        "evaluate_every": 512,
        "checkpoint_every": 512,
        "log_every": 128,
    }
    start_run(small_config(steps=1024, schedule_steps=2048, **options), tmp_path / "two")
    resume_run(tmp_path / "two", steps=2048)
    start_run(small_config(steps=2048, **options), tmp_path / "one")
    assert parameters(tmp_path / "one") == parameters(tmp_path / "two")


def test_what_a_baseline_does_not_take_is_refused(tmp_path):
    pytest.importorskip("stable_baselines3")
    out = str(tmp_path / "run")
    words = ["train", "sb3/dqn", "--env", "CartPole-v1", "--steps", "300", "--agent.learning-starts", "100"]
    assert run([*words, *QUICK, "--out", out]) == 0
    with pytest.raises(UsageError, match="--schedule-steps: sb3/dqn does not take it"):
        resume_run(tmp_path / "run", schedule_steps=10)


# -- Nothing learned ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "ppo --env Acrobot-v1 --steps 1000 --num-envs 8 --agent.rollout-length 256",
            "rollout-length 256.* 125",
        ),
        ("pqn --env CartPole-v1 --steps 100 --num-envs 8", "rollout-length 32.* at most 13, or --steps 256"),
        (
            "dqn --env CartPole-v1 --num-envs 1 --steps 900 --agent.learning-starts 1000",
            "learning-starts 1000",
        ),
        (
            "ddpg --env Pendulum-v1 --steps 900 --agent.learning-starts 1000",
            "learning-starts 1000.* at most 8",
        ),
        ("reinforce --env CartPole-v1 --steps 500 --agent.steps-per-update 600", "steps-per-update 600"),
        (
            "sb3/ppo --env CartPole-v1 --num-envs 1 --steps 500 --agent.n-steps 600",
            "n-steps 600.* at most 500",
        ),
        ("sb3/dqn --env CartPole-v1 --steps 500 --agent.learning-starts 600", "learning-starts 600"),
    ],
)
def test_a_run_that_cannot_learn_is_refused(words, told, tmp_path, capsys):
    if words.startswith("sb3"):
        pytest.importorskip("stable_baselines3")
    assert run(["train", *words.split(), *QUICK, "--out", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(told, message) and "nothing would be learned" in message
    assert not (tmp_path / "run").exists()


def test_the_values_that_a_refusal_names_are_accepted(tmp_path, capsys):
    words = ["--steps", "100", "--agent.rollout-length", "64"]
    assert run([*PPO, *words, "--out", str(tmp_path / "run")]) == 2
    largest, steps = re.search(r"at most (\d+), or --steps (\d+)", capsys.readouterr().err).groups()
    words = ["--steps", steps, "--agent.rollout-length", "64", "--dry-run"]
    assert run([*PPO, *words]) == 0
    assert run([*PPO, "--steps", "100", "--agent.rollout-length", largest, "--dry-run"]) == 0


def test_the_summary_says_first_that_nothing_was_learned(tmp_path, capsys):
    words = ["train", "reinforce", "--env", "CartPole-v1", "--steps", "96", "--agent.steps-per-update", "96"]
    assert run([*words, *QUICK, "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith("nothing was learned: ")
    # A longer run of it has learned something.
    assert run(["train", "--resume", str(tmp_path / "run"), "--steps", "1000"]) == 0
    assert capsys.readouterr().out.startswith("reinforce on CartPole-v1")
    assert run(["train", "--resume", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith("reinforce on CartPole-v1")


# -- Machines -------------------------------------------------------------------------------------------------------


@pytest.fixture
def of_a_gpu(finished, monkeypatch):
    """A run of a machine with a GPU, on one without."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = finished / "config.yaml"
    path.write_text(path.read_text().replace("device: auto", "device: cuda"))
    sessions = finished / "sessions.jsonl"
    sessions.write_text(sessions.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    return finished


def test_device_and_threads_are_kept_as_they_were_asked_for(finished):
    config = load_config(finished)
    assert (config.device, config.threads) == ("auto", 0)
    (session,) = [json.loads(line) for line in (finished / "sessions.jsonl").read_text().splitlines()]
    assert session["device"] in ("cpu", "cuda") and session["threads"] == 1


def test_a_run_of_a_gpu_is_evaluated_and_goes_on_without_one(of_a_gpu, capsys):
    assert run(["evaluate", str(of_a_gpu), "--episodes", "1"]) == 0
    assert "was made for device cuda, which is not here" in capsys.readouterr().err
    assert run(["train", "--resume", str(of_a_gpu), "--steps", "2048"]) == 0
    errors = capsys.readouterr().err
    assert "runs on the cpu" in errors and "not bit for bit" in errors
    assert load_config(of_a_gpu).device == "cuda"  # where there is one, it goes on there


def test_a_device_that_is_asked_for_now_must_be_here(of_a_gpu, capsys):
    for words in (["evaluate", str(of_a_gpu)], ["train", "--resume", str(of_a_gpu)]):
        assert run([*words, "--device", "cuda"]) == 2
        assert "is not available here" in capsys.readouterr().err
    assert run(["evaluate", str(of_a_gpu), "--device", "cpu", "--episodes", "1"]) == 0
    assert run(["train", "--resume", str(of_a_gpu), "--steps", "2048", "--device", "cpu"]) == 0
    assert load_config(of_a_gpu).device == "cpu"


def test_other_threads_are_not_bit_for_bit(finished, capsys):
    kept = load_config(finished)
    here = on_this_machine(kept)
    note_other_machine(finished, kept, here)
    assert "bit for bit" not in capsys.readouterr().err
    note_other_machine(finished, kept, replace(here, threads=2))
    assert "threads 2, after device cpu, threads 1: not bit for bit" in capsys.readouterr().err
    # Runs of 0.1.0 have no sessions that tell, but a config that does.
    (finished / "sessions.jsonl").unlink()
    note_other_machine(finished, replace(kept, device="cpu", threads=1), replace(here, threads=2))
    assert "threads 2, after device cpu, threads 1: not bit for bit" in capsys.readouterr().err


def test_threads_follow_from_the_cores_that_may_be_used(monkeypatch, capsys):
    monkeypatch.setattr("palaestra.training.run.build.usable_cores", lambda: 3)
    words = "train ppo --env palaestra/CartPolePixels-v0 --num-envs 2 --track none --dry-run"
    assert run(words.split()) == 0
    assert re.search(r"threads +3\n", capsys.readouterr().out)
    torch.set_num_threads(1)


# -- Memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "dqn --env CartPole-v1 --agent.replay-capacity 1000000000000",
        "dqn --env CartPole-v1 --config rainbow --memory gru --agent.replay-capacity 1000000000000",
        "ddpg --env Pendulum-v1 --agent.replay-capacity 1000000000000",
        "ppo --env CartPole-v1 --steps 1e15 --agent.rollout-length 100000000000",
        "pqn --env CartPole-v1 --steps 1e15 --agent.rollout-length 100000000000",
        "reinforce --env CartPole-v1 --steps 1e15 --agent.steps-per-update 100000000000000",
    ],
)
def test_what_does_not_fit_into_memory_is_refused(words, tmp_path, capsys):
    assert run(["train", *words.split(), *QUICK, "--out", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    value = words.split()[-1]
    assert re.search(rf"{value}: needs [\d,]+ bytes .*this process may use .*; give at most \d+$", message)
    assert not (tmp_path / "run").exists()


def test_the_memory_of_a_control_group_counts(tmp_path, monkeypatch, capsys):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("10000000")
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    words = ["train", "dqn", "--env", "CartPole-v1", "--num-envs", "2", "--dry-run"]
    assert run([*words, "--agent.replay-capacity", "500k"]) == 2
    assert "may use 10,000,000" in capsys.readouterr().err
    assert run([*words, "--agent.replay-capacity", "100k"]) == 0


def test_a_dry_run_says_what_a_run_takes_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", "dqn", "--env", "CartPole-v1", "--num-envs", "1", "--agent.replay-capacity", "999999"]
    assert run([*words, "--dry-run", *QUICK]) == 0
    told = dict(re.findall(r"^(\S+(?: here)?) +(.+)$", capsys.readouterr().out, re.MULTILINE))
    # Four numbers, an action, a reward, an index and five flags.
    assert told["agent.replay-capacity"] == f"{1_000_000 * (16 + 8 + 4 + 4 + 5) / 1e6:.1f} MB"
    assert {"networks", "checkpoints", "memory here", "disk here", "backend"} <= set(told)
    assert not list(tmp_path.iterdir())


# -- Others ---------------------------------------------------------------------------------------------------------


def test_compiling_what_is_never_compiled_is_refused(tmp_path, capsys):
    words = ["--memory", "transformer", "--compile", "on", "--steps", "1024", "--out", str(tmp_path / "run")]
    assert run([*PPO, *words]) == 2
    assert "--compile on: ppo with memory transformer is never compiled" in capsys.readouterr().err


def test_copies_of_no_video_are_refused(finished, capsys):
    assert run(["evaluate", str(finished), "--video-copies", "4"]) == 2
    assert "--video-copies: say where to, with --video FOLDER" in capsys.readouterr().err


def test_a_config_of_another_agent_is_refused(finished, tmp_path, capsys):
    words = ["train", "dqn", "--config", str(finished / "config.yaml"), "--out", str(tmp_path / "other")]
    assert run(words) == 2
    assert "written for agent ppo, not for dqn" in capsys.readouterr().err
