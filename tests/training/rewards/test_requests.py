"""What is asked for in a command, and the one line where it cannot be had."""

import re

import numpy as np
import pytest

from palaestra.training.cli.main import run
from palaestra.training.comparison.matrix import command_of
from palaestra.training.settings.config import load_config, run_config, save_config, to_dict
from palaestra.training.settings.resources import in_mb
from palaestra.training.settings.train_options import read_train_options

from .steps import demonstrations


def megabytes(text):
    return float(text.removesuffix(" MB").replace(",", ""))


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
            "--data: ppo learns from what it does itself; give it to bc, or with --rew",
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


def told(words, capsys):
    """What a dry run prints, by name."""
    assert run(["train", *words, "--dry-run"]) == 0
    said = capsys.readouterr()
    lines = (re.split(r"  +", line) for line in said.out.splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}, said.err


def test_a_plan_counts_a_bonus(capsys):
    """1,500 + 8 observations of four float32; 5,000 cells of 100 bytes."""
    plan, _ = told([*CARTPOLE, "--bonus", "rnd", "--bonus.train-every", "1500"], capsys)
    assert plan["bonus.train-every"] == in_mb(1508 * 16) and plan["cells, at most"] == in_mb(5000 * 100)
    small, _ = told([*CARTPOLE, "--bonus", "rnd", "--bonus.hidden", "8", "--bonus.batch-size", "8"], capsys)
    large = ["--bonus.hidden", "1024", "1024", "--bonus.batch-size", "4096"]
    wide, _ = told([*CARTPOLE, "--bonus", "rnd", *large], capsys)
    more = {name: megabytes(wide[name]) - megabytes(small[name]) for name in ("bonus rnd", "updates")}
    # Three layers of a million weights with two moments each for the predictor, one for the target.
    assert more["bonus rnd"] > 4 * 1024**2 * 4 / 1e6
    # A minibatch through five layers of 1,024 with activations, and back.
    assert more["updates"] > 4096 * 5 * 2 * 1024 * 4 * 2 / 1e6
    assert megabytes(wide["checkpoints"]) > 3 * more["bonus rnd"]


def test_a_plan_counts_demonstrations_and_says_how_many_there_are(capsys, tmp_path):
    """Eleven observations of four float32, ten actions and rewards of 8 and 4 bytes, kept twice."""
    data = demonstrations(tmp_path, np.zeros((11, 4), np.float32), np.zeros(10, np.int64))
    plan, said = told([*CARTPOLE, "--reward", "gail", "--data", data], capsys)
    assert plan["demonstrations"] == in_mb(2 * (11 * 16 + 10 * 12))
    assert "note: 1 demonstrations to imitate, 10 steps, mean return 0.00" in said


def test_a_run_with_a_bonus_begins_with_parts_of_another_one(tmp_path, capsys):
    short = ["--steps", "400", "--evaluate-episodes", "1", "--track", "none", "--agent.rollout-length", "16"]
    other, warm = str(tmp_path / "other"), str(tmp_path / "warm")
    words = ["train", "ppo", "--env", "CartPole-v1", *short]
    assert run([*words, "--out", other]) == 0
    assert run([*words, "--init-from", other, "--bonus", "rnd", "--out", warm]) == 0
    assert "taken      networks.head" in capsys.readouterr().err


def test_a_folder_of_before_the_slot_was_renamed_is_read(tmp_path):
    save_config(tmp_path, run_config({"agent": "ppo", "env": "CartPole-v1"}))
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("\nreward:", "\nimitate:"))
    assert load_config(tmp_path).reward == "none"
