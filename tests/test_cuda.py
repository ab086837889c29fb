"""What a machine with a GPU does; without one everything here is skipped, and `test_devices.py` must serve."""

import json
import shutil

import pytest
import torch

from palaestra.training.cli.main import run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SMALL = ["--num-envs", "2", "--steps", "600", "--evaluate-episodes", "2", "--track", "none"]
REPLAY = ["--agent.learning-starts", "100"]
AGENTS = {
    "ppo": ["ppo", "--env", "CartPole-v1", "--agent.rollout-length", "32"],
    "ppo, Box": ["ppo", "--env", "Pendulum-v1", "--agent.rollout-length", "32", "--agent.squash"],
    "reinforce": ["reinforce", "--env", "CartPole-v1", "--agent.steps-per-update", "100"],
    "dqn": ["dqn", "--env", "CartPole-v1", *REPLAY],
    "rainbow": ["dqn", "--config", "rainbow", "--env", "CartPole-v1", *REPLAY],
    "quantile": ["dqn", "--env", "CartPole-v1", "--agent.distribution", "quantile", *REPLAY],
    "pqn": ["pqn", "--env", "CartPole-v1", "--agent.rollout-length", "32"],
    "ddpg": ["ddpg", "--env", "Pendulum-v1", *REPLAY],
    "td3": ["ddpg", "--config", "td3", "--env", "Pendulum-v1", *REPLAY],
}
MEMORIES = ("none", "lstm", "gru", "transformer")
# PQN learns from single steps.
CELLS = [(agent, memory) for agent in AGENTS for memory in MEMORIES if memory == "none" or agent != "pqn"]


def train(tmp_path, words, device="cuda", more=()):
    run_dir = tmp_path / "run"
    assert run(["train", *words, *SMALL, "--device", device, "--out", str(run_dir), *more]) == 0
    return run_dir


@pytest.mark.parametrize(("agent", "memory"), CELLS)
def test_agents_train_and_act(agent, memory, tmp_path):
    run_dir = train(tmp_path, AGENTS[agent], more=["--memory", memory])
    assert run(["evaluate", str(run_dir), "--episodes", "2"]) == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, when it first compiles
@pytest.mark.parametrize("agent", ["ppo", "dqn", "td3"])
def test_a_compiled_update(agent, tmp_path):
    train(tmp_path, AGENTS[agent], more=["--compile", "on"])


@pytest.mark.parametrize("agent", ["ppo", "dqn"])
@pytest.mark.parametrize("encoder", ["cnn", "impala", "capsule"])
def test_encoders_of_pictures(agent, encoder, tmp_path):
    words = [agent, "--env", "palaestra/CartPolePixels-v0", "--encoder", encoder, "--frame-stack", "2"]
    words += ["--agent.rollout-length", "32"] if agent == "ppo" else [*REPLAY, "--agent.train-every", "50"]
    train(tmp_path, words)


@pytest.mark.parametrize("agent", ["ppo", "dqn", "td3"])
@pytest.mark.parametrize(("begun", "continued"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_on_the_other_device(agent, begun, continued, tmp_path):
    run_dir = train(tmp_path, AGENTS[agent], begun)
    config = (run_dir / "config.yaml").read_text()
    (run_dir / "config.yaml").write_text(config.replace(f"device: {begun}", f"device: {continued}"))
    assert run(["train", "--resume", str(run_dir), "--steps", "800"]) == 0


def test_the_same_seed_gives_the_same_metrics_after_a_kill(tmp_path):
    """A copy of the run that has lost its last checkpoint goes on to the same numbers, on a GPU too."""
    run_dir = train(tmp_path, AGENTS["ppo"], more=["--checkpoint-every", "200"])
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    newest = sorted((copy / "checkpoints").iterdir())[-1]
    shutil.rmtree(newest)
    (copy / "summary.json").unlink()
    assert run(["train", "--resume", str(copy)]) == 0

    def rows(folder):
        found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [{name: x for name, x in row.items() if not name.startswith("time/")} for row in found]

    assert rows(copy) == rows(run_dir)


@pytest.mark.parametrize("dynamics", ["adversarial", "ensemble", "mdn_rnn", "transformer", "rssm"])
@pytest.mark.parametrize("encoder", ["identity", "autoencoder", "vae", "semi_supervised"])
def test_world_models_are_fitted_and_dream(encoder, dynamics, tmp_path):
    words = ["world-model", "fit", "--env", "CartPole-v1", "--steps", "400", "--fit.updates", "20"]
    words += ["--encoder", encoder, "--dynamics", dynamics, "--device", "cuda", "--track", "none"]
    assert run([*words, "--out", str(tmp_path / "model")]) == 0
    dream = ["world-model", "dream", str(tmp_path / "model"), "--agent", "ppo", "--device", "cuda", *SMALL]
    assert run([*dream, "--agent.rollout-length", "32", "--out", str(tmp_path / "dreamer")]) == 0
