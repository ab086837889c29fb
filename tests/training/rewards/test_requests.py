"""What is asked for in a command, and the one line where it cannot be had."""

import pytest

from palaestra.training.cli.main import run
from palaestra.training.comparison.matrix import command_of
from palaestra.training.settings.config import run_config, to_dict
from palaestra.training.settings.train_options import read_train_options

CARTPOLE = ["ppo", "--env", "CartPole-v1", "--steps", "5000"]
BIT_FLIP = ["dqn", "--env", "palaestra/BitFlip-v0", "--steps", "5000"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*CARTPOLE, "--bonus", "rdn"], "unknown bonus 'rdn'; did you mean 'rnd'?"),
        ([*CARTPOLE, "--reward", "gial"], "unknown reward 'gial'; did you mean 'gail'?"),
        ([*CARTPOLE, "--bonus", "count", "--bonus.cell", "0"], "--bonus.cell: must be > 0, got 0.0"),
        ([*CARTPOLE, "--bonus", "rnd", "--bonus.scale", "much"], "scale: cannot read schedule 'much'"),
        ([*CARTPOLE, "--reward", "gail"], "which demonstrations? --reward gail learns from --data DIR"),
        (
            [*CARTPOLE, "--reward", "gail", "--data", "nowhere"],
            "nowhere: no demonstrations: there is no such",
        ),
        ([*CARTPOLE, "--reward", "gail", "--data", "minari:a/b-v0"], "--data minari:a/b-v0: "),
        ([*CARTPOLE, "--reward", "gail", "--data", "."], "--data .: no demonstrations: it has no demonstr"),
        (
            [*CARTPOLE, "--data", "x"],
            "--data: ppo learns from what it does itself; give it to bc, or with --imi",
        ),
        (
            ["bc", *CARTPOLE[1:], "--data", "x", "--reward", "gail"],
            "--reward gail: bc learns from no reward",
        ),
        (["bc", *CARTPOLE[1:], "--data", "x", "--bonus", "rnd"], "--bonus rnd: bc learns from no reward"),
        (
            [*CARTPOLE, "--bonus", "rnd", "--bonus.train-every", "1e13"],
            "--bonus.train-every 10000000000008: ne",
        ),
        (
            [*CARTPOLE, "--bonus", "reachability", "--bonus.history", "1e13"],
            "--bonus.history 10000000000000: n",
        ),
        (
            [*BIT_FLIP, "--bonus", "rnd"],
            "--bonus rnd: goals in hindsight are paid by the environment's own rule",
        ),
        (["sb3/ppo", *CARTPOLE[1:], "--bonus", "rnd"], "--bonus: sb3/ppo brings its own training loop"),
        (
            [*CARTPOLE, "--bonus", "rnd", "--world-model", "identity+ensemble"],
            "--bonus rnd: cycles of real and dreamt steps learn from the environment's reward alone",
        ),
    ],
)
def test_what_cannot_be_had_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["train", *words, "--track", "none", "--out", "run"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1] and error[-1].startswith("error: "), error
    assert not (tmp_path / "run").exists()


def test_options_of_a_bonus_are_typed_and_kept():
    words = [
        "--env",
        "CartPole-v1",
        "--bonus",
        "reachability",
        "--bonus.near",
        "3",
        "--bonus.hidden",
        "8",
        "8",
    ]
    config, _ = read_train_options("ppo", words)
    assert (config.bonus, config.bonus_config.near, config.bonus_config.hidden) == ("reachability", 3, (8, 8))
    assert run_config(to_dict(config)) == config
    assert to_dict(config)["reward"] == {"name": "none"}
    words = command_of(config)
    assert words[words.index("--bonus") : words.index("--bonus") + 2] == ["--bonus", "reachability"]
    assert words[words.index("--bonus.near") + 1] == "3"


def test_runs_from_before_there_were_any_have_none():
    config = run_config({"agent": "ppo", "env": "CartPole-v1"})
    assert (config.bonus, config.reward) == ("none", "none")
