"""Policies that see the memory of a world model beside the observations."""

import pytest

from palaestra.training.cli.main import run

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]

NO_VEL = "palaestra/CartPoleNoVel-v0"
SMALL = ["--track", "none", "--num-envs", "4", "--agent.rollout-length", "32", "--evaluate-episodes", "1"]


@pytest.mark.parametrize("dynamics", ["mdn_rnn", "rssm"])
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


def check_export(folder, tmp_path, states):
    import onnxruntime

    out = tmp_path / "exported" / "policy.onnx"
    assert run(["export", str(folder), "--out", str(out)]) == 0
    inputs = {port.name: port for port in onnxruntime.InferenceSession(out).get_inputs()}
    assert set(inputs) == {"obs", *states, *(["first"] if states else [])}
    assert all(isinstance(port.shape[0], str) for port in inputs.values())  # of any length
