"""`palaestra export`: the contract, what is refused, and that nothing is left where a file acts otherwise."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

import palaestra
from palaestra.training.cli.main import run
from palaestra.training.export import export as exporting
from palaestra.training.export.choices import Choice
from palaestra.training.run.start import start_run
from palaestra.training.settings.config import run_config
from palaestra.training.settings.usage import RunFailedError, UsageError

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def train(folder, **changes):
    values = {
        "agent": {"name": "ppo", "rollout_length": 32, "batch_size": 64, "epochs": 1},
        "env": "palaestra/CartPoleNoVel-v0",
        "steps": 256,
        "num_envs": 4,
        "evaluate_episodes": 1,
        "track": "none",
    }
    start_run(run_config(values | changes), folder)
    return folder


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory):
    return train(tmp_path_factory.mktemp("export") / "run", memory="gru")


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    agent = {"name": "dqn", "learning_starts": 50, "replay_capacity": 200}
    return train(tmp_path_factory.mktemp("export") / "run", agent=agent)


def test_the_contract(recurrent, tmp_path, capsys):
    out = tmp_path / "deep" / "policy.onnx"
    assert run(["export", str(recurrent), "--out", str(out), "--json"]) == 0
    report, written = (
        json.loads(capsys.readouterr().out),
        json.loads((out.parent / "policy.json").read_text()),
    )
    assert report == written | {"path": str(out), "contract": str(out.parent / "policy.json")}
    assert written["file"] == "policy.onnx" and written["format"] == "onnx"
    assert written["inputs"] == [
        {"name": "obs", "role": "observation", "shape": ["batch", 2], "dtype": "float32", "key": None},
        {"name": "first", "role": "first", "shape": ["batch"], "dtype": "bool", "key": None},
        {"name": "state", "role": "state", "shape": ["batch", 64], "dtype": "float32", "key": None},
    ]
    assert written["outputs"] == [
        {"name": "action", "role": "action", "shape": ["batch"], "dtype": "int64", "key": None},
        {
            "name": "next_state",
            "role": "state",
            "shape": ["batch", 64],
            "dtype": "float32",
            "key": None,
            "input": "state",
        },
    ]
    assert written["initial_state"] == {"state": [[0.0] * 64]}
    assert written["action_space"] == "Discrete(2)" and written["observation_space"].startswith("Box(")
    assert written["environment"]["id"] == "palaestra/CartPoleNoVel-v0"
    assert written["checked"]["observations"] == 1000 and written["checked"]["episode_steps"] > 0

    import onnxruntime

    session = onnxruntime.InferenceSession(out)
    assert [port.name for port in session.get_inputs()] == ["obs", "first", "state"]
    assert [port.name for port in session.get_outputs()] == ["action", "next_state"]
    for rows in (1, 7):
        feeds = {
            "obs": np.zeros((rows, 2), np.float32),
            "first": np.ones(rows, bool),
            "state": np.zeros((rows, 64), np.float32),
        }
        assert [len(output) for output in session.run(None, feeds)] == [rows, rows]


def test_formats_follow_from_the_suffix(recurrent, tmp_path):
    written = palaestra.export(recurrent, out=tmp_path / "policy.pt")
    assert written["format"] == "torchscript"
    with pytest.warns(DeprecationWarning):
        module = torch.jit.load(tmp_path / "policy.pt")
    action, state = module(torch.zeros(3, 2), torch.ones(3, dtype=torch.bool), torch.zeros(3, 64))
    assert action.shape == (3,) and state.shape == (3, 64)
    with pytest.raises(UsageError, match=r"suffix names no format \(\.onnx"):
        palaestra.export(recurrent, out=tmp_path / "policy.bin")
    with pytest.raises(UsageError, match="did you mean 'onnx'"):
        palaestra.export(recurrent, format="onx")


def test_torch_export(recurrent, tmp_path):
    written = palaestra.export(recurrent, out=tmp_path / "policy.pt2")
    assert written["format"] == "torch-export" and (tmp_path / "policy.pt2").stat().st_size > 1000


def test_a_policy_that_acts_otherwise_is_not_left(recurrent, tmp_path, monkeypatch, capsys):
    out = tmp_path / "policy.onnx"
    scores = Choice.scores
    monkeypatch.setattr(Choice, "scores", lambda *arguments: -scores(*arguments))
    # What it is compared with knows better.
    monkeypatch.setattr("palaestra.training.export.policy.ExportedPolicy.scores", actual(scores))
    assert run(["export", str(recurrent), "--out", str(out)]) == 1
    assert "was not exported as onnx: it chooses" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def actual(scores):
    def of_policy(policy, *tensors):
        obs, _, features, _ = policy._features(tensors)
        return scores(policy.choice, features, policy.choice.allowed(obs))

    return of_policy


def test_an_exporter_that_fails_leaves_what_was_there(recurrent, tmp_path, monkeypatch):
    out = tmp_path / "policy.pt"
    palaestra.export(recurrent, out=out)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fails(*arguments):
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(exporting, "write", fails)
    with pytest.raises(RunFailedError, match="RuntimeError: no such operation"):
        palaestra.export(recurrent, out=out)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_actions_that_are_worth_the_same_may_differ(values, tmp_path):
    """With all weights of the head zero every action is as good; both sides take the first."""
    from palaestra.training.run.loaded import load_run

    run = load_run(values, device="cpu")
    for parameter in run.agent.network.head.parameters():
        parameter.data.zero_()
    policy = exporting.exported_policy(run)
    written = exporting.export_loaded(run, policy, "onnx", tmp_path / "policy.onnx")
    assert written["checked"]["ties"] == 0


def test_a_file_that_cannot_be_run_is_not_left(recurrent, tmp_path, monkeypatch, capsys):
    def refuses(inputs):
        raise ValueError("got 10 rows,\nexpected 2")

    monkeypatch.setattr(exporting, "open_policy", lambda *arguments: refuses)
    assert run(["export", str(recurrent), "--out", str(tmp_path / "policy.pt")]) == 1
    assert "it cannot be run: ValueError: got 10 rows, expected 2" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stochastic"], "--stochastic: dqn has a best action and no distribution"),
        (["--out", "policy.json"], "policy.json is written beside the policy"),
    ],
)
def test_what_is_refused(values, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(values), "--format", "onnx", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_contract_of_another_file_is_kept(recurrent, values, tmp_path):
    palaestra.export(recurrent, out=tmp_path / "one.pt")
    with pytest.raises(UsageError, match=r"describes one\.pt, which has other inputs; export into a folder"):
        palaestra.export(values, out=tmp_path / "two.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.pt", "policy.json"]
    # Of the same run it stays true.
    assert palaestra.export(recurrent, out=tmp_path / "two.pt")["file"] == "two.pt"
    (tmp_path / "policy.json").write_text("[]")
    with pytest.raises(UsageError, match=r"policy\.json is not about an exported policy"):
        palaestra.export(recurrent, out=tmp_path / "one.pt")


def test_code_from_outside_needs_trust(recurrent, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    shutil.copytree(recurrent, folder)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("env: palaestra/CartPoleNoVel-v0", "env: evil:Env-v0"))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(folder), "--out", "x/policy.onnx"]) == 2
    assert "evil:Env-v0" in (said := capsys.readouterr().err) and "--trust" in said
    assert not (tmp_path / "ran").exists()


def test_a_baseline_is_one_line(tmp_path, capsys):
    pytest.importorskip("stable_baselines3")
    folder = train(tmp_path / "run", agent={"name": "sb3/ppo", "n_steps": 32, "batch_size": 32})
    assert run(["export", str(folder)]) == 2
    assert "holds a model of sb3/ppo" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(recurrent, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert run(["export", str(recurrent), "--out", str(tmp_path / "policy.onnx")]) == 2
    assert 'pip install "palaestra[export]"' in capsys.readouterr().err
