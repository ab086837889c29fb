"""Rewards by the labels that a semi-supervised world model tells."""

import itertools
import json
import random

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.training.cli import main as cli
from palaestra.training.rewards.labels import Labels, LabelsConfig, expected_sign
from palaestra.training.run.storage.checkpoint import load_checkpoint, save_checkpoint
from palaestra.training.tracking.metrics_file import read_metrics

from ...agents.test_devices import OneDevice
from ..run.test_resume import everything, kill_when
from ..run.test_resume import start as start
from .steps import one_step, random_steps, setting

CATCH = ["--env", "palaestra/Catch-v0", "--env-kwargs", "height=4", "width=3"]
BOARD = spaces.Box(0, 255, (4, 3, 1), np.uint8)
SMALL = [
    "--steps",
    "400",
    "--encoder.latent-size",
    "2",
    "--encoder.hidden",
    "8",
]
SHORT = ["--fit.updates", "40", "--fit.judge-every", "20", "--fit.untrained-dynamics", "--track", "none"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of world models, by the labels that they tell."""
    folder = tmp_path_factory.mktemp("models")
    for label in ("reward", "termination"):
        words = ["--encoder", "semi_supervised", "--encoder.label", label, "--encoder.fraction", "0.5"]
        out = ["--out", str(folder / label)]
        assert cli.run(["world-model", "fit", *CATCH, *words, *SMALL, *SHORT, *out]) == 0
    return folder


def source_of(models, **more):
    return Labels(LabelsConfig(model=str(models / "reward")), setting(BOARD, spaces.Discrete(3), **more))


def test_the_expected_sign():
    """Negative, zero and positive with 0.1, 0.2, 0.7: 0.7 - 0.1."""
    assert expected_sign(torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])).tolist() == pytest.approx(
        [0.6, -0.5]
    )


def test_the_classifier_pays_for_the_successor_and_the_environment_is_not_asked(models):
    source = source_of(models)
    boards = np.random.default_rng(0).integers(0, 2, (3, 4, 3, 1)).astype(np.uint8) * 255
    shares = source.model.class_shares(torch.from_numpy(boards)).detach()
    signs = shares.argmax(-1).numpy() - 1.0
    reward, metrics = source.reward(one_step(boards, reward=9 * signs, valid=[True, True, False]))
    wanted = (shares[:, 2] - shares[:, 0]).tolist()
    assert reward.tolist() == pytest.approx([wanted[0], wanted[1], 0.0])
    assert metrics["labels/reward"] == pytest.approx((wanted[0] + wanted[1]) / 2)
    assert metrics["labels/agreement"] == 1.0
    again, metrics = source.reward(one_step(boards, reward=-7 * signs - 1, valid=[True, True, False]))
    np.testing.assert_array_equal(again, reward)
    assert metrics["labels/agreement"] == 0.0
    none = source.reward(one_step(boards, valid=np.zeros(3, bool)))
    assert not none[0].any() and none[1] == {}


def test_a_run_goes_on_with_the_classifier_that_it_began_with(models, tmp_path):
    one, other = source_of(models), source_of(models)
    save_checkpoint(tmp_path, 0, one.parts())
    with torch.no_grad():
        for parameter in other.model.classifier.parameters():
            parameter.add_(0.5)
    steps = list(itertools.islice(random_steps(setting(BOARD, spaces.Discrete(3))), 10))
    assert any((one.reward(each)[0] != other.reward(each)[0]).any() for each in steps)
    load_checkpoint(tmp_path / "checkpoints" / "000000000", other.parts())
    for each in steps:
        np.testing.assert_array_equal(one.reward(each)[0], other.reward(each)[0])


def test_all_of_it_is_on_its_device(models):
    source = source_of(models)
    source.device = torch.device("meta")
    source.model.to("meta")
    with OneDevice():
        reward, _ = source.reward(next(random_steps(setting(BOARD, spaces.Discrete(3)))))
    assert reward.shape == (3,)


@pytest.mark.parametrize(
    ("env", "model", "message"),
    [
        (CATCH, None, "reward labels: whose? give --reward.model DIR"),
        (CATCH, "nowhere", "nowhere is not a world model: there is no such folder"),
        (
            CATCH,
            "termination",
            "tells labels of terminations; fit one with --encoder semi_supervised --encoder.l",
        ),
        (["--env", "CartPole-v1"], "reward", "(4, 3, 1), uint8), not Box("),
    ],
)
def test_what_pays_for_nothing_is_one_line(env, model, message, models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(models)
    words = ["train", "ppo", *env, "--reward", "labels", *(["--reward.model", model] if model else [])]
    assert cli.run([*words, "--track", "none", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ") and message in error[-1], error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_killed_and_resumed_equals_one_left_alone(models, start, tmp_path):
    words = ["dqn", *CATCH, "--steps", "3k", "--agent.learning-starts", "300", "--agent.batch-size", "16"]
    words += ["--reward", "labels", "--reward.model", str(models / "reward"), "--threads", "1"]
    words += [
        "--checkpoint-every",
        "400",
        "--log-every",
        "100",
        "--evaluate-episodes",
        "1",
        "--track",
        "none",
    ]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    start(*words, "--out", str(alone)).join()
    rows = random.Random("labels").randrange(5, len(read_metrics(alone)) - 2)
    assert kill_when(start(*words, "--out", str(killed)), killed, rows)
    start("--resume", str(killed)).join()
    for left, right in zip(everything(alone), everything(killed), strict=True):
        assert left == right
    assert any("labels/agreement" in row for row in read_metrics(alone))
    # Returns are the environment's: whole numbers a game.
    assert json.loads((alone / "summary.json").read_text())["return_mean"] in (-1.0, 1.0)
