"""Runs that begin with parts of other runs."""

import shutil

import pytest
import torch

from palaestra.training.cli.main import run
from palaestra.training.demonstrations.storage import read_folder
from palaestra.training.run.loaded import load_run
from palaestra.training.run.resuming import resume_run
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import TENSORS, latest_checkpoint, list_checkpoints
from palaestra.training.settings.config import load_config
from palaestra.training.settings.usage import UsageError


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "other"
    words = "train ppo --env CartPole-v1 --steps 1k --num-envs 4 --evaluate-episodes 1 --track none"
    assert run([*words.split(), "--agent.rollout-length", "32", "--out", str(folder)]) == 0
    return folder


def test_it_begins_as_the_other_ended_and_is_resumed_without_it(other, small_config, tmp_path, capsys):
    source, folder = tmp_path / "source", tmp_path / "run"
    shutil.copytree(other, source)
    start_run(small_config(init_from=str(source), checkpoint_every=5000), folder)
    said = capsys.readouterr().err
    assert f"note: from {source}:" in said and "taken      networks.value_head" in said
    assert "not taken" not in said
    assert load_config(folder).init_from == str(source)
    shutil.rmtree(source)
    # Two are kept: that of the beginning, and that of the end.
    first, last = list_checkpoints(folder)
    assert int(first.name) == 0
    ended = (last / TENSORS).read_bytes()
    shutil.rmtree(last)
    begun = load_run(folder).agent
    for name, value in load_run(other).agent.networks.state_dict().items():
        assert torch.equal(value, begun.networks.state_dict()[name]), name
    assert begun.optimizer.count == 0 and begun.steps.count == 0
    resume_run(folder)
    assert (latest_checkpoint(folder) / TENSORS).read_bytes() == ended


def test_one_killed_before_its_first_checkpoint_takes_the_parts_again(other, small_config, tmp_path):
    one, again = tmp_path / "one", tmp_path / "again"
    start_run(small_config(init_from=str(other)), one)
    again.mkdir()
    shutil.copy(one / "config.yaml", again)
    resume_run(again)
    left, right = ((latest_checkpoint(folder) / TENSORS).read_bytes() for folder in (one, again))
    assert left == right


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("train ppo --env CartPole-v1 --init-from nowhere", ["nowhere is not a run", "no such folder"]),
        (
            "train ppo --env Acrobot-v1 --init-from OTHER",
            ["nothing of ppo on CartPole-v1 fits", "it has RunningNormalizer where the other has Identity"],
        ),
        (
            "train ppo --env CartPole-v1 --init-from OTHER --encoder.hidden 32",
            ["nothing of ppo", "encoder: layers.0.weight is [32, 4], there [64, 4]"],
        ),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(words, parts, other, tmp_path, capsys):
    out = tmp_path / "out"
    assert run([*words.replace("OTHER", str(other)).split(), "--track", "none", "--out", str(out)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    for part in parts:
        assert part in said
    assert not out.exists()


def test_across_environments_what_fits_is_taken(other, small_config, tmp_path, capsys):
    """Of a memory on an encoder that does not fit, the memory."""
    with_gru = small_config(memory="gru", steps=600)
    start_run(with_gru, tmp_path / "gru")
    config = small_config(memory="gru", steps=600, init_from=str(tmp_path / "gru"), env="Acrobot-v1")
    start_run(config, tmp_path / "run")
    said = capsys.readouterr().err
    assert "taken      networks.torso.memory" in said
    assert "not taken  networks.torso.encoder: layers.0.weight is [64, 6], there [64, 4]" in said
    assert "not taken  networks.head: it stands on networks.torso, which was not taken whole" in said


def test_runs_of_stable_baselines_are_to_be_cloned(small_config, tmp_path):
    pytest.importorskip("stable_baselines3")
    words = "train sb3/ppo --env CartPole-v1 --steps 64 --num-envs 2 --agent.n-steps 32 --agent.batch-size 64"
    words = f"{words} --evaluate-episodes 1 --track none"
    assert run([*words.split(), "--out", str(tmp_path / "sb3")]) == 0
    with pytest.raises(UsageError, match=r"not built like ours.* clone it instead: palaestra record"):
        start_run(small_config(init_from=str(tmp_path / "sb3")), tmp_path / "run")
    # And that works.
    assert run(["record", str(tmp_path / "sb3"), "--episodes", "2", "--out", str(tmp_path / "demo")]) == 0
    assert len(read_folder(tmp_path / "demo")) == 2
