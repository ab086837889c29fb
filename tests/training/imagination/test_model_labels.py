"""Labels of frames in the reports of world models."""

import json

import pytest

from palaestra.training.cli.main import run
from palaestra.training.imagination.fits import load_world_model
from palaestra.world_models.labels import draw_labelled, label_generator

SMALL = "--env CartPole-v1 --steps 400 --fit.updates 20 --fit.judge-every 10 --fit.batch-size 32 --track none"
SMALL += " --encoder.hidden 8 --dynamics.members 2 --dynamics.elites 1 --dynamics.hidden 8 --heads.hidden 8"


def command(words):
    return run(["world-model", *words.split()])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "labelled"
    words = f"fit {SMALL} --encoder semi_supervised --encoder.fraction 0.3 --out {folder}"
    assert command(words) == 0
    return folder


def test_the_report_says_how_well_labels_are_found(labelled, capsys):
    at_the_end = json.loads((labelled / "report.json").read_text())
    assert (
        at_the_end["label"] == "termination" and 0 < at_the_end["labelled_positive"] < at_the_end["labelled"]
    )
    assert command(f"evaluate {labelled} --label termination --label-fraction 0.3 --json") == 0
    report = json.loads(capsys.readouterr().out)
    for name in ("label_f1", "label_precision", "label_recall"):
        assert report[name] == at_the_end[name]
        assert name.replace("label_", "label_probe_") in report


def test_the_control_is_told_of_the_same_frames(labelled):
    fitted = load_world_model(labelled)
    train, _ = fitted.episodes.split()
    rows, classes = draw_labelled(train, "termination", 0.3, label_generator(fitted.config.seed))
    kept = fitted.model.observation_model
    assert kept.labelled_rows.tolist() == rows.tolist() and kept.labels.tolist() == classes.tolist()


def test_agents_see_with_its_encoder_and_dream(labelled, tmp_path):
    train = "--steps 200 --num-envs 2 --agent.rollout-length 16 --agent.batch-size 32"
    train += " --evaluate-episodes 1 --track none"
    seen, dreamt = tmp_path / "seen", tmp_path / "dreamt"
    assert (
        run(f"train ppo --env CartPole-v1 --encoder world-model:{labelled} --out {seen} {train}".split()) == 0
    )
    assert run(["evaluate", str(seen), "--episodes", "1"]) == 0
    assert command(f"dream {labelled} --agent ppo --out {dreamt} {train}") == 0


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("fit --encoder semi_supervised --encoder.fraction 0", ["encoder.fraction", "0"]),
        ("fit --encoder semi_supervised --encoder.fraction 1.5", ["encoder.fraction", "1"]),
        (
            f"fit {SMALL} --encoder semi_supervised --encoder.fraction 0.01",
            ["none of the 4 labelled frames is pos"],
        ),
        (f"fit {SMALL} --encoder semi_supervised --encoder.label reward", ["all of the", "another label"]),
        ("evaluate MODEL --label-fraction 0.1", ["--label-fraction", "--label termination"]),
        ("evaluate MODEL --label reward", ["all of the", "labelled frames are positive"]),
    ],
)
def test_labels_that_do_not_do_get_one_line(words, parts, labelled, tmp_path, capsys):
    words = words.replace("MODEL", str(labelled))
    if words.startswith("fit"):
        words += f" --out {tmp_path / 'x'}" + ("" if "--env" in words else " --env CartPole-v1")
    assert command(words) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("collecting")]
    assert len(errors) == 1 and errors[0].startswith("error: "), errors
    for part in parts:
        assert part in errors[0]
