"""Environments of which a process can hold one only: checked, trained, judged and filmed."""

from pathlib import Path

import pytest

from palaestra.envs.checking.check import check_environment
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.training.benchmarks.candidates import trainable_agents
from palaestra.training.cli.main import run
from palaestra.training.run.evaluate import MAX_PROCESSES, copies_of

OnlyOne = f"{Path(__file__).with_name('only_one.py')}:OnlyOne"
PPO = ["train", "ppo", "--env", OnlyOne, "--num-envs", "2", "--agent.rollout-length", "20", "--steps", "80"]
BRIEF = ["--evaluate-every", "40", "--evaluate-episodes", "3", "--track", "none"]


def test_a_run_has_a_process_for_each_copy(tmp_path, capsys):
    out = tmp_path / "run"
    more = ["--env.one-per-process", "--out", str(out)]
    assert run([*PPO, *BRIEF, *more]) == 0
    assert "backend: async" in (out / "config.yaml").read_text()
    assert "return   10.0 +- 0.0" in capsys.readouterr().out
    film = ["--video", str(tmp_path / "films"), "--video-copies", "2"]
    assert run(["evaluate", str(out), "--episodes", "5", "--trust", *film]) == 0
    assert list(tmp_path.glob("films/*.mp4"))
    assert run(["record", str(out), "--episodes", "5", "--out", str(tmp_path / "data"), "--trust"]) == 0


def test_a_baseline_too(tmp_path):
    pytest.importorskip("stable_baselines3")
    words = ["train", "sb3/ppo", "--env", OnlyOne, "--num-envs", "2", "--steps", "80"]
    words += ["--agent.n-steps", "20", "--agent.batch-size", "40"]
    assert run([*words, *BRIEF, "--env.one-per-process", "--out", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "it could be made once: where a process can hold no second one, give --env.one-per-process"),
        (["--backend", "sync", "--env.one-per-process"], "--env.one-per-process takes async"),
        (
            ["--env.workers", "2", "--env.one-per-process"],
            "--env.workers: every copy has a process of its own",
        ),
        (
            ["--world-model", "identity+ensemble", "--env.one-per-process"],
            "cycles of real and dreamt steps have all real copies in one process",
        ),
    ],
)
def test_what_cannot_be_says_what_to_give(words, told, tmp_path, capsys):
    assert run([*PPO, *BRIEF, *words, "--out", str(tmp_path / "run")]) == 2
    assert told in capsys.readouterr().err
    # Those that could be made were closed: the next one can be.
    make_envs(EnvSpec(OnlyOne, 1)).close()


def test_a_first_evaluation_says_it_too(tmp_path, capsys):
    words = [*PPO, *BRIEF, "--num-envs", "1", "--out", str(tmp_path / "run")]
    assert run(words) == 2
    assert "give --env.one-per-process" in capsys.readouterr().err


def test_the_check_says_how_to_train_in_it():
    report = check_environment(OnlyOne, agents=trainable_agents)
    assert report.ok and not report.errors
    assert len(report.warnings) == 1 and "train in it with --env.one-per-process" in report.warnings[0]
    assert "ppo" in report.agents


def test_copies_of_an_evaluation_do_not_depend_on_the_machine():
    spec = EnvSpec(OnlyOne, one_per_process=True)
    assert [copies_of(spec, episodes) for episodes in (3, 20)] == [3, MAX_PROCESSES]
    assert copies_of(EnvSpec("CartPole-v1"), 20) == 20
