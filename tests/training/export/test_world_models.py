"""Policies with parts of a world model: its encoder, and its memory beside the observations."""

import pytest

from palaestra.training.cli.main import run

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]

NO_VEL = "palaestra/CartPoleNoVel-v0"
SMALL = ["--track", "none", "--num-envs", "4", "--agent.rollout-length", "32", "--evaluate-episodes", "1"]


@pytest.mark.parametrize("dynamics", ["mdn_rnn", "rssm", "transformer"])
def test_the_memory_of_a_model_is_a_state(dynamics, tmp_path):
    model, folder = tmp_path / "model", tmp_path / "run"
    fit = [
        "world-model",
        "fit",
        "--env",
        NO_VEL,
        "--steps",
        "500",
        "--dynamics",
        dynamics,
        "--fit.updates",
        "5",
    ]
    assert run([*fit, "--out", str(model)]) == 0
    train = ["train", "ppo", "--env", NO_VEL, "--steps", "256", "--memory", "none", *SMALL]
    assert run([*train, "--show-model-memory", str(model), "--out", str(folder)]) == 0
    check_export(folder, tmp_path, {"model_memory"})


@pytest.mark.parametrize("mode", ["frozen", "joint"])
@pytest.mark.parametrize("env", ["CartPole-v1", "palaestra/CartPolePixels-v0"])
def test_the_encoder_of_a_model(env, mode, tmp_path):
    model, folder = tmp_path / "model", tmp_path / "run"
    fit = ["world-model", "fit", "--env", env, "--encoder", "vae", "--steps", "300", "--fit.updates", "3"]
    assert run([*fit, "--out", str(model)]) == 0
    encoder = ["--encoder", f"world-model:{model}", "--encoder.mode", mode]
    assert run(["train", "ppo", "--env", env, "--steps", "256", *encoder, *SMALL, "--out", str(folder)]) == 0
    check_export(folder, tmp_path, set())


def check_export(folder, tmp_path, states):
    import onnxruntime

    out = tmp_path / "exported" / "policy.onnx"
    assert run(["export", str(folder), "--out", str(out)]) == 0
    inputs = {port.name: port for port in onnxruntime.InferenceSession(out).get_inputs()}
    assert set(inputs) == {"obs", *states, *(["first"] if states else [])}
    assert all(isinstance(port.shape[0], str) for port in inputs.values())  # of any length
