"""Sweeps: what is searched, what survives a kill, and what is left for others to use."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import yaml

from palaestra.training.cli.main import run as palaestra
from palaestra.training.comparison import sweep
from palaestra.training.comparison.search_space import read_space, trial_values
from palaestra.training.comparison.sweep import Sweep, planned_step
from palaestra.training.settings.config import load_config, run_config
from palaestra.training.settings.layers import nested
from palaestra.training.settings.usage import UsageError

pytest.importorskip("optuna")

SPACE = """
agent: ppo
env: CartPole-v1
steps: 600
options: {num_envs: 2, evaluate_episodes: 2, agent: {rollout_length: 16, batch_size: 32}}
space:
  agent.learning_rate: {low: 1e-5, high: 1e-2, log: true}
  agent.epochs: {low: 1, high: 3}
  encoder.hidden: {choices: [[8], [16, 16]]}
"""


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def test_names_nest():
    assert nested({"agent.gamma": 1, "agent.learning-rate": 2, "seed": 3}) == {
        "agent": {"gamma": 1, "learning_rate": 2},
        "seed": 3,
    }


def test_a_range_is_whole_where_the_option_is(space):
    """By the option's own type: from 0.0 to 1.0 there are more than two numbers."""
    more = "  agent.gae_lambda: {low: 0.0, high: 1.0}\n  num_envs: {low: 1.0, high: 4.0}\n  encoder.hidden"
    space.write_text(SPACE.replace("  encoder.hidden", more))
    searched = read_space(space)[1]
    assert {name: option.whole for name, option in searched.items()} == {
        "agent.learning_rate": False,
        "agent.epochs": True,
        "agent.gae_lambda": False,
        "num_envs": True,
        "encoder.hidden": False,
    }
    space.write_text(SPACE.replace("low: 1, high: 3", "low: 1, high: 3.5"))
    with pytest.raises(UsageError, match=r"space\.agent\.epochs: must be a whole number, got 3\.5"):
        read_space(space)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("agent.epochs", "agent.epoch: unknown key; did you mean 'agent.epochs'?"),
        ("low: 1, high: 3", "low must be below high"),
        ("choices:", "did you mean 'space.encoder.hidden.choices'?"),
        ("steps", "step: unknown key; did you mean 'steps'?"),
        ("low: 1, high: 3}", "space.agent.epochs: must be > 0, got 0"),
        ("low: 1e-5, high: 1e-2", "space.agent.learning_rate"),
        ("[16, 16]", "space.encoder.hidden[1]: must be > 0, got 0"),
        ("  agent.epochs", "space.seed: trials have seeds from 0 on; give seeds, how many"),
        ("num_envs: 2", "options.steps: the sweep's own steps are those of all trials"),
    ],
)
def test_what_is_wrong_with_a_space_is_one_line(wrong, message, space):
    right = {"agent.epochs": "agent.epoch", "low: 1, high: 3": "low: 3, high: 1", "choices:": "choice:"}
    right |= {"low: 1, high: 3}": "choices: [1, 0]}", "low: 1e-5, high: 1e-2": "low: -1, high: 1"}
    right |= {"[16, 16]": "[16, 0]", "  agent.epochs": "  seed", "num_envs: 2": "steps: 100"}
    space.write_text(SPACE.replace(wrong, right.get(wrong, "step")))
    with pytest.raises(UsageError, match=re.escape(message)):
        read_space(space)


@pytest.mark.parametrize("name", ["agent", "agent.name"])
def test_another_agent_is_another_sweep(name, space):
    space.write_text(SPACE + f"  {name}: {{choices: [ppo, reinforce]}}\n")
    with pytest.raises(UsageError, match=rf"space\.{name}: the sweep's own agent is that of all trials"):
        read_space(space)


def test_components_are_searched_with_their_options(tmp_path):
    """In an environment whose preset has a memory, too."""
    file = tmp_path / "space.yaml"
    text = (
        "agent: ppo\nenv: palaestra/RepeatPrevious-v0\nsteps: 100\nspace:\n  memory: {choices: [gru, lstm]}\n"
    )
    file.write_text(text + "  memory.hidden: {choices: [8, 24]}\n")
    space, searched = read_space(file)
    assert list(searched) == ["memory", "memory.hidden"]
    for name, hidden in (("gru", 8), ("lstm", 24)):
        config = run_config(trial_values(space, nested({"memory": name, "memory.hidden": hidden})))
        assert (config.memory, config.memory_config.hidden) == (name, hidden)
    file.write_text(text + "options: {memory: {hidden: 16}}\n")
    space, _ = read_space(file)
    config = run_config(trial_values(space, {"memory": "lstm"}))
    assert (config.memory, config.memory_config.hidden) == ("lstm", 16)
    file.write_text(text + "  env.on_error: {choices: [stop, restart]}\n  env.timeout: {low: 1, high: 9}\n")
    space, searched = read_space(file)
    assert not searched["env.timeout"].whole
    chosen = nested({"memory": "gru", "env.on_error": "restart", "env.timeout": 3.0})
    assert run_config(trial_values(space, chosen)).env_options.on_error == "restart"
    # What one of the choices does not take is said before the first trial.
    file.write_text(text.replace("gru,", "none,") + "  memory.hidden: {choices: [8, 24]}\n")
    with pytest.raises(UsageError, match=r"memory\.hidden: unknown key"):
        read_space(file)


def test_an_unknown_environment_and_a_logarithm_of_nothing_are_refused(space):
    space.write_text(SPACE.replace("CartPole-v1", "CartPol-v1"))
    with pytest.raises(UsageError, match="did you mean 'CartPole-v1'"):
        read_space(space)
    space.write_text(SPACE.replace("low: 1e-5", "low: 0"))
    with pytest.raises(UsageError, match="learning_rate: low must be above 0 where log is true, got 0"):
        read_space(space)


def test_a_trial_that_fails_ends_the_sweep_with_exit_code_1(space, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "FAILURES", 1)  # each is a process that imports everything
    space.write_text(SPACE.replace("evaluate_episodes: 2", "env_kwargs: {size: 9}"))
    out = str(tmp_path / "out")
    assert palaestra(["sweep", str(space), "--trials", "1", "--workers", "1", "--out", out]) == 1
    said = capsys.readouterr()
    assert "trial0: failed: error: " in said.err and "go on" not in said.err


def test_a_file_for_wandb(space, tmp_path, capsys):
    assert palaestra(["sweep", str(space), "--export-wandb", str(tmp_path / "wandb.yaml")]) == 0
    exported = yaml.safe_load((tmp_path / "wandb.yaml").read_text())
    assert exported["method"] == "bayes" and exported["command"][:3] == ["palaestra", "train", "ppo"]
    assert exported["parameters"]["agent.learning_rate"] == {
        "distribution": "log_uniform_values",
        "min": 1e-5,
        "max": 1e-2,
    }
    assert exported["parameters"]["agent.epochs"]["distribution"] == "int_uniform"
    assert exported["metric"] == {"name": "eval/return", "goal": "maximize"}
    assert exported["parameters"]["seed"] == {"value": 0}
    space.write_text(SPACE + "seeds: 3\n")
    assert palaestra(["sweep", str(space), "--export-wandb", str(tmp_path / "wandb.yaml")]) == 0
    exported = yaml.safe_load((tmp_path / "wandb.yaml").read_text())
    assert exported["parameters"]["seed"] == {"values": [0, 1, 2]}


def test_the_exported_command_runs_as_written(space, tmp_path, monkeypatch):
    """As `wandb agent` runs it: parameters in a JSON file, its path in place of the macro."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    assert palaestra(["sweep", str(space), "--export-wandb", str(tmp_path / "wandb.yaml")]) == 0
    exported = yaml.safe_load((tmp_path / "wandb.yaml").read_text())
    drawn = {
        name: {
            "value": parameter["values"][-1]
            if "values" in parameter
            else parameter.get("value", parameter.get("min"))
        }
        for name, parameter in exported["parameters"].items()
    }
    file = tmp_path / "config.json"
    file.write_text(create_sweep_command_args({"args": drawn})["args_json"][0])
    program, *words = [str(file) if word == "${args_json_file}" else word for word in exported["command"]]
    assert program == exported["program"] == "palaestra"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert palaestra([*words, "--out", str(tmp_path / "run")]) == 0
    config = load_config(tmp_path / "run")
    assert (config.seed, config.num_envs, config.evaluate_episodes) == (0, 2, 2)
    assert config.agent_config.rollout_length == 16
    assert (config.agent_config.learning_rate, config.agent_config.epochs) == (1e-5, 1)
    assert config.encoder_config.hidden == (16, 16)


def test_a_trial_that_raises_does_not_stop_the_others(space, tmp_path, monkeypatch, capsys):
    def result(search, trial, config, seed):
        if trial.params["agent.epochs"] == 3:
            raise ValueError("too many for me")
        return 1.0

    monkeypatch.setattr(Sweep, "_result", result)
    space.write_text(SPACE + "sampler: random\n")
    search = Sweep(*read_space(space), tmp_path / "out", "none")
    others = {"agent.learning_rate": 1e-3, "encoder.hidden": 0}
    for epochs in (3, 1, 2):
        search.study.enqueue_trial({"agent.epochs": epochs, **others})
    search.run(2, 1)
    assert (search.failures, len(search.finished())) == (1, 2)
    assert "trial0: failed: too many for me" in capsys.readouterr().err
    # Many of them do: the sweep ends, and may be begun again.
    search = Sweep(*read_space(space), tmp_path / "out", "none")
    for _ in range(5):
        search.study.enqueue_trial({"agent.epochs": 3, **others})
    search.run(10, 1)
    assert (search.failures, len(search.finished())) == (3, 2)
    assert "3 trials failed; the sweep stops" in capsys.readouterr().err


def test_a_sweep_that_stops_tells_its_run_once(space, tmp_path, monkeypatch):
    """The second signal would end it without a checkpoint."""
    monkeypatch.setattr(sweep, "POLL_SECONDS", 0.0)
    search, told = Sweep(*read_space(space), tmp_path / "out", "none"), []
    ends = iter([None] * 5 + [143])
    process = SimpleNamespace(poll=lambda: next(ends), terminate=lambda: told.append(None), returncode=143)
    search.stopping.set()
    assert search._watch(process, None, tmp_path) == 143 and len(told) == 1


def test_a_lost_trial_is_taken_up_by_one_process(space, tmp_path, monkeypatch):
    """The other had seen it, too, and was slower."""
    first, second = (Sweep(*read_space(space), tmp_path / "out", "none") for _ in range(2))
    first.ask()
    seen, running = second._running(), Sweep._running
    first._take_up_lost_trials()
    answers = iter([seen])
    monkeypatch.setattr(Sweep, "_running", lambda self: next(answers, None) or running(self))
    second._take_up_lost_trials()
    assert [trial.state.name for trial in second.study.trials] == ["FAIL", "WAITING"]


def test_processes_of_one_study_draw_different_options(space, tmp_path):
    searches = [Sweep(*read_space(space), tmp_path / "out", "none") for _ in range(2)]
    drawn = [search.ask()[1]["agent.learning_rate"] for search in searches]
    assert drawn[0] != drawn[1]


def test_evaluations_are_reported_at_the_steps_they_were_planned_for(space, tmp_path):
    """So that the pruner compares runs whose vector steps have other sizes."""
    config = SimpleNamespace(steps=1000, evaluate_every=100)
    for num_envs in (1, 7, 64):
        reached = [num_envs * -(-step // num_envs) for step in range(100, 1001, 100)]
        assert [planned_step(step, config) for step in reached] == list(range(100, 1001, 100))


COMMAND = [sys.executable, "-W", "ignore", "-m", "palaestra.training.cli.main", "sweep"]


def test_a_sweep_that_was_killed_goes_on_and_leaves_a_preset(space, tmp_path):
    out = tmp_path / "out"
    words = [*COMMAND, str(space), "--out", str(out), "--trials", "2", "--workers", "1", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (out / "trial0" / "seed0" / "config.yaml").exists():
        time.sleep(0.01)
    found = subprocess.run(["pgrep", "-f", str(out)], capture_output=True, text=True, check=True)
    for number in found.stdout.split():
        os.kill(int(number), signal.SIGKILL)
    process.wait()
    interrupted = load_config(out / "trial0" / "seed0")

    ended = subprocess.run(words, check=True, capture_output=True, text=True)
    report = json.loads(ended.stdout)
    # The interrupted trial came to its end in its own folder, with its own options.
    assert [row["state"] for row in report["trials"]] == ["complete", "complete"]
    trial = next(row for row in report["trials"] if row["trial"] == "trial0")
    assert trial["options"]["agent.learning_rate"] == interrupted.agent_config.learning_rate
    assert report["trials"][0]["value"] >= report["trials"][1]["value"]
    best = yaml.safe_load((out / "best.yaml").read_text())
    assert best["agent"]["epochs"] == report["trials"][0]["options"]["agent.epochs"]
    preset = ["train", "ppo", "--env", "CartPole-v1", "--config", str(out / "best.yaml"), "--track", "none"]
    assert palaestra([*preset, "--out", str(tmp_path / "run")]) == 0


def test_a_folder_of_another_space_is_refused(space, tmp_path):
    Sweep(*read_space(space), tmp_path / "out", "none")
    space.write_text(SPACE.replace("high: 3", "high: 4"))
    with pytest.raises(UsageError, match="a sweep of another space"):
        Sweep(*read_space(space), tmp_path / "out", "none")


def test_the_pruner_stops_what_goes_badly(space, tmp_path):
    """Trials that are worse than the median of the others, from the first evaluation on."""
    search = Sweep(*read_space(space), tmp_path / "out", "none")
    for value in (100.0, 110.0, 120.0, 130.0, 140.0):
        trial = search.study.ask()
        trial.report(value, 60)
        search.study.tell(trial, value)
    bad = search.study.ask()
    bad.report(10.0, 60)
    assert bad.should_prune()


def test_a_wrong_number_is_one_line(space, capsys):
    assert palaestra(["sweep", str(space), "--trials", "0"]) == 2
    assert "--trials: must be at least 1, got 0" in capsys.readouterr().err
