"""Folders to give away."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
import yaml

from palaestra.training.cli.main import run
from palaestra.training.comparison.matrix import find_cells
from palaestra.training.imagination.dream_options import without_option
from palaestra.training.imagination.dyna_options import load_cycle, read_cycle_options
from palaestra.training.run.score import evaluate_run
from palaestra.training.run.session import Session
from palaestra.training.run.start import start_run
from palaestra.training.settings.config import load_config
from palaestra.training.settings.train_options import read_train_options
from palaestra.training.settings.usage import UsageError

from .hub_server import HubServer

TINY = ["--steps", "256", "--num-envs", "2", "--evaluate-episodes", "1", "--track", "none"]
SHORT = ["--env-kwargs", "max_episode_steps=20"]


@pytest.fixture
def train(tmp_path):
    def trained(agent, *words):
        folder = tmp_path / "run"
        assert run(["train", agent, *words, *TINY, "--out", str(folder)]) == 0
        return folder

    return trained


def share(run_dir, out, *words):
    return run(["share", str(run_dir), "--out", str(out), "--episodes", "3", "--no-export", *words])


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {".lock"}


def metadata(card):
    return yaml.safe_load(card.read_text().split("---\n")[1])


def test_a_shared_folder_acts_as_the_run_did_and_says_how_well(train, tmp_path, capsys):
    run_dir, out = (
        train("dqn", "--env", "CartPole-v1", "--agent.learning-starts", "200", *SHORT),
        tmp_path / "out",
    )
    capsys.readouterr()
    assert share(run_dir, out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(out), "card": str(out / "README.md")}
    expected = evaluate_run(run_dir, 3)
    assert evaluate_run(out, 3) == expected
    (found,) = metadata(out / "README.md")["model-index"]
    (result,) = found["results"]
    assert result["dataset"] == {"type": "CartPole-v1", "name": "CartPole-v1"}
    value = f"{expected['return_mean']:.2f} +/- {expected['return_std']:.2f}"
    assert result["metrics"][0]["value"] == value and result["metrics"][0]["type"] == "mean_reward"
    assert {"config.yaml", "learning_curve.png", "replay.mp4", "results.json", "metrics.jsonl"} < files_of(
        out
    )
    assert (
        f"palaestra evaluate FOLDER --episodes 3 --seed {expected['seed']}" in (out / "README.md").read_text()
    )


def test_the_exported_policy_comes_along(train, tmp_path):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    assert share(train("ppo", "--env", "CartPole-v1", *SHORT), out, "--no-video", "--export") == 0
    assert {"policy.onnx", "policy.json"} < files_of(out)
    assert "policy.onnx" in (out / "README.md").read_text()


def test_the_hub_can_read_the_card(train, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    out = tmp_path / "out"
    assert share(train("ppo", "--env", "CartPole-v1", *SHORT), out, "--no-video") == 0
    data = hub.ModelCard.load(out / "README.md").data
    (result,) = data.eval_results
    assert (data.library_name, result.dataset_type, result.metric_type) == (
        "palaestra",
        "CartPole-v1",
        "mean_reward",
    )


def test_what_only_training_needs_stays_at_home(train, tmp_path, capsys):
    run_dir, out = (
        train("dqn", "--env", "CartPole-v1", "--agent.learning-starts", "200", *SHORT),
        tmp_path / "out",
    )
    assert share(run_dir, out, "--no-video") == 0
    (tensors,) = out.rglob("tensors.safetensors")
    replay = {key for key in safetensors_keys(tensors) if "replay" in key}
    assert not replay, replay
    assert not [name for name in files_of(out) if name.endswith((".pt", ".pkl", ".zip")) or "replay" in name]
    assert str(tmp_path) not in "".join(path.read_text() for path in out.glob("*.[ymj]*"))
    capsys.readouterr()
    assert run(["train", "--resume", str(out), "--steps", "1k"]) == 2
    assert "not go on learning" in capsys.readouterr().err
    assert "steps: 256\n" in (out / "config.yaml").read_text()


def test_a_shared_run_is_finished_where_the_run_was(train, tmp_path, capsys):
    run_dir, out = train("ppo", "--env", "CartPole-v1", *SHORT), tmp_path / "out"
    assert share(run_dir, out, "--no-video") == 0
    capsys.readouterr()
    assert run(["runs", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["finished"]
    assert run(["compare", str(out), "--episodes", "2", "--out", str(tmp_path / "compared")]) == 0


def test_what_was_learned_in_rounds_of_dreams_says_so(tmp_path, capsys):
    rounds = "--real-steps 100 --rounds 2 --fit.updates 10 --fit.judge-every 10 --first-horizon 3"
    words = f"world-model dream --env CartPole-v1 --agent ppo {rounds} --agent.rollout-length 16".split()
    assert run([*words, *TINY, *SHORT, "--out", str(tmp_path / "run")]) == 0
    out = tmp_path / "out"
    assert share(tmp_path / "run", out, "--no-video") == 0
    card = (out / "README.md").read_text()
    assert "256 steps in dreams of a world model that knew 100 real ones" in card
    (command,) = [line for line in card.splitlines() if line.startswith("palaestra world-model dream")]
    _, _, _, *options = shlex.split(command)
    again = without_option([str(out / word) if word == "config.yaml" else word for word in options], "agent")
    cycle, config, _ = read_cycle_options("ppo", again)
    assert cycle == load_cycle(tmp_path / "run") == load_cycle(out)
    assert config == load_config(out)
    capsys.readouterr()
    assert run(["train", "--resume", str(out)]) == 2
    assert "can act, and not go on learning" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no finished runs"):
        find_cells([out, tmp_path / "run"])


def test_what_was_learned_in_a_dream_says_so(train, tmp_path):
    fit = "--steps 200 --num-envs 2 --fit.updates 10 --fit.judge-every 10 --track none"
    model, out = tmp_path / "model", tmp_path / "out"
    assert run(f"world-model fit --env CartPole-v1 {fit} --out {model}".split()) == 0
    run_dir = train(
        "ppo", "--env", "CartPole-v1", "--dream.model", str(model), "--agent.rollout-length", "16"
    )
    assert share(run_dir, out, "--no-video") == 0
    card = (out / "README.md").read_text()
    assert "256 steps in dreams of a world model." in card
    assert "palaestra world-model dream WORLD_MODEL --agent ppo --config config.yaml" in card
    config = (out / "config.yaml").read_text()
    assert "model: model\n" in config and str(tmp_path) not in config
    shutil.rmtree(model)
    assert run(["evaluate", str(out), "--episodes", "1"]) == 0


def test_shared_runs_of_several_seeds_cannot_go_on_either(train, tmp_path, capsys):
    one, other = tmp_path / "one", tmp_path / "other"
    run_dir = train("dqn", "--env", "CartPole-v1", "--agent.learning-starts", "200", *SHORT)
    assert share(run_dir, one, "--no-video") == 0
    shutil.copytree(one, other)
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("seed: 0\n", "seed: 1\n"))
    capsys.readouterr()
    assert run(["train", "--resume", str(one), str(other), "--steps", "1k"]) == 2
    assert "can act, and not go on learning" in capsys.readouterr().err
    assert "steps: 256\n" in (one / "config.yaml").read_text()


@pytest.mark.filterwarnings("ignore")
def test_a_baseline_that_was_shared_keeps_its_model(train, tmp_path, capsys):
    pytest.importorskip("stable_baselines3")
    out = tmp_path / "out"
    run_dir = train("sb3/ppo", "--env", "CartPole-v1", "--agent.n-steps", "32", *SHORT)
    assert share(run_dir, out, "--no-video") == 0
    before = (out / "model.zip").read_bytes()
    # Also one whose run had not finished.
    for _ in range(2):
        capsys.readouterr()
        assert run(["train", "--resume", str(out)]) == 2
        assert "can act, and not go on learning" in capsys.readouterr().err
        assert (out / "model.zip").read_bytes() == before
        (out / "summary.json").unlink(missing_ok=True)


@pytest.mark.filterwarnings("ignore")
def test_a_baseline_that_has_not_finished_is_shared_as_far_as_it_is(train, tmp_path):
    pytest.importorskip("stable_baselines3")
    run_dir, out = tmp_path / "run", tmp_path / "out"
    words = [
        "--agent.n-steps",
        "32",
        "--agent.normalize-obs",
        "--checkpoint-every",
        "64",
        "--evaluate-every",
        "200",
        *SHORT,
    ]
    config, _ = read_train_options("sb3/ppo", ["--env", "CartPole-v1", *words, *TINY])

    def stopped(session, actor):
        signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "evaluate", stopped)
        patched.setattr("palaestra.training.baselines.loop.save_model", lambda *arguments: None)
        assert start_run(config, run_dir).signal == signal.SIGTERM
    assert not (run_dir / "model.zip").exists()
    expected = evaluate_run(run_dir, 3)
    assert 0 < expected["steps_trained"] < 300
    assert share(run_dir, out, "--no-video") == 0
    assert evaluate_run(out, 3) == expected


def safetensors_keys(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return list(file.keys())


def test_an_environment_without_pictures_is_shared_without_a_film(train, tmp_path, capsys):
    out = tmp_path / "out"
    assert share(train("ppo", "--env", "palaestra/Recall-v0"), out) == 0
    assert "note: no film" in capsys.readouterr().err
    assert not (out / "replay.mp4").exists() and "film" not in (out / "README.md").read_text()


def test_a_folder_that_is_taken_is_left_alone(train, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert share(train("ppo", "--env", "CartPole-v1", *SHORT), out) == 2
    assert "is not empty" in capsys.readouterr().err and files_of(out) == {"thesis.txt"}


def test_facts_of_a_machine_are_not_shared(train, tmp_path):
    """Whoever gets the folder has another one."""
    out = tmp_path / "out"
    assert share(train("ppo", "--env", "CartPole-v1", *SHORT), out, "--no-video", "--no-export") == 0
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["device"], config["threads"]) == ("auto", 0)


def test_a_card_says_where_trust_is_needed(train, tmp_path):
    file = tmp_path / "shared_of_mine.py"
    file.write_text("from gymnasium.envs.classic_control import CartPoleEnv as Mine\n")
    run_dir, out = (
        train("ppo", "--env", f"{file}:Mine", *SHORT, "--env-kwargs", "max_episode_steps=20"),
        tmp_path / "out",
    )
    assert share(run_dir, out, "--no-video", "--no-export", "--trust") == 0
    card = (out / "README.md").read_text()
    assert "palaestra watch FOLDER --trust" in card
    assert 'palaestra.load_policy("FOLDER", trust=True)' in card


def test_code_from_outside_is_not_run_without_trust(train, tmp_path, capsys):
    out = tmp_path / "out"
    assert share(train("ppo", "--env", "CartPole-v1", *SHORT), out, "--no-video") == 0
    config = yaml.safe_load((out / "config.yaml").read_text())
    (out / "config.yaml").write_text(yaml.safe_dump(config | {"env": "antigravity:Flight-v0"}))
    assert run(["evaluate", str(out)]) == 2
    assert "antigravity:Flight-v0" in capsys.readouterr().err
    assert "antigravity" not in sys.modules


@pytest.fixture
def hub(monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub")
    server = HubServer()
    settings = {"HF_ENDPOINT": server.address, "HF_TOKEN": "hf_x", "HF_HUB_DISABLE_XET": "1"}
    for name, value in (
        settings | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    ).items():
        monkeypatch.setenv(name, value)
    yield server
    server.close()


def push(run_dir, out, repository):
    """In a process of its own: the hub's client reads its settings when it is imported."""
    words = [
        "share",
        str(run_dir),
        "--out",
        str(out),
        "--episodes",
        "2",
        "--no-video",
        "--no-export",
        "--push",
        repository,
    ]
    command = [sys.executable, "-m", "palaestra.training.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False, timeout=120)


def test_push_uploads_every_file(train, tmp_path, hub):
    run_dir, out = train("ppo", "--env", "CartPole-v1", *SHORT), tmp_path / "out"
    done = push(run_dir, out, "me/cartpole")
    assert done.returncode == 0, done.stderr
    assert hub.created[0]["name"] == "cartpole" and "me/cartpole" in done.stdout
    assert hub.files == {name: (out / name).read_bytes() for name in files_of(out)}
    hub.refuse = True
    refused = push(run_dir, tmp_path / "again", "me/cartpole")
    assert refused.returncode == 1 and "was not uploaded" in refused.stderr
    assert len(refused.stderr.strip().splitlines()[-1:]) == 1 and (tmp_path / "again/README.md").exists()


def test_push_without_a_login_says_how(train, tmp_path, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    done = push(train("ppo", "--env", "CartPole-v1", *SHORT), tmp_path / "out", "me/cartpole")
    assert done.returncode == 2 and "hf auth login" in done.stderr and not (tmp_path / "out").exists()
