"""What `palaestra wandb` reads back from W&B's own files."""

import json

import pytest

from palaestra.training.cli.main import run
from palaestra.training.tracking.trackers import open_tracker
from palaestra.training.tracking.wandb_offline import shown

from ..wandb_file import finished_run

LABELS = {"project": "thesis", "entity": "lab", "group": "clipping", "tag": ["draft", "clip"], "notes": "why"}


@pytest.fixture
def offline(tmp_path, monkeypatch, offline_wandb):
    """Folder of a run that was logged offline, with two curves and a picture."""
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_GROUP", "WANDB_NOTES"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "run"
    folder.mkdir()
    picture = tmp_path / "curve.png"
    import imageio.v3 as imageio
    import numpy as np

    imageio.imwrite(picture, np.zeros((4, 4, 3), np.uint8))
    tracker = open_tracker(folder, "wandb", env="CartPole-v1", agent="ppo", seed=3, config=LABELS)
    for step in (1, 2):
        tracker.log({"episode/return": 2.0 * step, "loss/policy": 0.5}, step)
    tracker.figure(picture, "learning_curve", 2)
    tracker.close()
    finished_run(next(folder.rglob("*.wandb")))
    return folder


def test_labels_curves_and_media_are_what_was_logged(offline, capsys):
    capsys.readouterr()
    assert run(["wandb", str(offline), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    assert (found["project"], found["entity"], found["group"], found["notes"]) == (
        "thesis",
        "lab",
        "clipping",
        "why",
    )
    assert {"ppo", "CartPole-v1", "draft", "clip"} < set(found["tags"])
    assert found["curves"]["episode/return"] == {"points": 2, "last": 4.0}
    assert found["media"]["learning_curve"]["_type"] == "image-file"
    assert found["faults"] == [] and found["finished"]


def test_a_damaged_and_a_missing_picture_are_named(offline, capsys):
    path = next(offline.rglob("files/media/**/*.png"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "is not what was logged" in shown(offline)[0].faults[0]
    path.unlink()
    assert "is missing" in shown(offline)[0].faults[0]
    assert run(["wandb", str(offline)]) == 1
    assert "FAULT" in capsys.readouterr().out


def test_a_folder_without_offline_runs_is_refused(tmp_path, capsys):
    assert run(["wandb", str(tmp_path)]) == 2
    assert "--track wandb" in capsys.readouterr().err
