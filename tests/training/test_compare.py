"""Suites: what they ask for, what is done once only, what survives a kill, and what the report says."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from palaestra.training import cli, launch
from palaestra.training.config import UsageError
from palaestra.training.launch import Job, LocalLauncher, only_one, perform
from palaestra.training.suites import plan, read_suite, requested_config, suite_names

TINY = """
seeds: 2
episodes: 3
matches:
  - agents:
      - agent: ppo
        options: {agent: {rollout_length: 16, batch_size: 32, epochs: 1}, num_envs: 2, evaluate_episodes: 2}
      - {agent: pqn, options: {num_envs: 2, evaluate_episodes: 2}}
    environments: {CartPole-v1: 600}
"""


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def in_process(monkeypatch):
    """Run commands here instead of in processes of their own; returns the list of those that were run."""
    commands = []

    def palaestra(words, log, started):
        commands.append(words)
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = cli.run(words)
        log.write_text(errors.getvalue())
        return code, output.getvalue()

    monkeypatch.setattr(launch, "_palaestra", palaestra)
    return commands


def compare(*words):
    return cli.run(["compare", *map(str, words), "--workers", "1"])


def results(out):
    """All that does not depend on how fast the machine is."""
    comparison = json.loads((out / "comparison.json").read_text())
    del comparison["timing"]
    return json.dumps(comparison).replace(str(out), "OUT"), (out / "scores.csv").read_text()


# -- Reading suites -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # SWIG's, where Box2D is imported
def test_shipped_suites_ask_for_runs_that_can_be_configured(tmp_path):
    assert suite_names() == ["atari", "box2d", "classic", "memory", "mujoco", "quick"]
    for name in suite_names():
        runs = plan(read_suite(name), tmp_path)
        assert len({run.folder for run in runs}) == len(runs) >= 6
        seen = set()
        for run in runs:
            if (run.contestant.label, run.env) not in seen:
                config = requested_config(run)
                assert (config.steps, config.threads, config.track) == (run.steps, 1, "none")
                seen.add((run.contestant.label, run.env))


def test_a_contestant_of_two_matches_runs_once(tmp_path):
    path = tmp_path / "twice.yaml"
    match = "{agents: [ppo, %s], environments: {CartPole-v1: 1k}}"
    path.write_text(f"seeds: 2\nmatches:\n  - {match % 'dqn'}\n  - {match % 'pqn'}\n")
    assert len(plan(read_suite(str(path)), tmp_path)) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("matches: []", "matches"),
        ("seed: 3\nmatches: [{agents: [ppo], environments: {A: 1}}]", "did you mean 'seeds'?"),
        (
            "matches: [{agent: [ppo], environments: {A: 1}}]",
            "matches[0].agent: unknown key; did you mean 'agents'?",
        ),
        ("matches: [{agents: [ppo], environments: {A: 0}}]", "must be > 0"),
        ("matches: [{agents: [ppo, ppo], environments: {A: 1}}]", "two are called 'ppo'; give them a name"),
        (
            "matches: [{agents: [{agent: ppo, confg: x}], environments: {A: 1}}]",
            "agents[0].confg: unknown key; did you mean 'config'?",
        ),
    ],
)
def test_what_is_wrong_with_a_suite_is_one_line(text, message, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        read_suite(str(path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "what shall be compared? a suite (atari, box2d, classic, memory, mujoco, quick)"),
        (["quik"], "there is no suite 'quik'; did you mean 'quick'?"),
        (["quick", "nowhere"], "is not a folder of runs"),
        (["quick", "--ray-address", "x"], "--ray-address: only with --launcher ray"),
    ],
)
def test_a_wrong_request_is_one_line(words, message, capsys):
    assert compare(*words) == 2
    assert message in capsys.readouterr().err


# -- Running them ---------------------------------------------------------------------------------------------------


def test_a_suite_is_run_reported_and_not_run_again(suite, tmp_path, in_process, capsys):
    out = tmp_path / "out"
    assert compare(suite, "--out", out) == 0
    said = capsys.readouterr()
    assert len(in_process) == 8  # four runs are trained and evaluated
    assert "4/4" in said.err and "only 2 runs" in said.out and "report.html" in said.out
    rows = (out / "scores.csv").read_text().splitlines()
    assert rows[0] == "environment,contestant,steps,run,return" and len(rows) == 5
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert "http" not in page and "palaestra train ppo --config" in page and "torch" in page
    report = (out / "report.md").read_text()
    for file in re.findall(r"\]\((\w+\.png)\)", report):
        assert (out / file).stat().st_size > 1000
    before = results(out)

    in_process.clear()
    assert cli.run(["compare", str(suite), "--out", str(out), "--json"]) == 0
    assert in_process == [] and results(out) == before
    comparison = json.loads(capsys.readouterr().out)
    assert comparison["contestants"] == ["ppo", "pqn"]
    assert comparison["pairs"][0]["verdict"] in ("better", "worse", "tie")
    # Scores are those that `evaluate` reports.
    score = json.loads((out / "runs/CartPole-v1/ppo-600/seed1/score.json").read_text())
    assert comparison["scores"]["ppo"]["CartPole-v1"][1] == score["return_mean"]

    suite.write_text(TINY.replace("epochs: 1", "epochs: 2"))
    assert compare(suite, "--out", out) == 2
    assert "is not what the suite asks for: agent.epochs is 1, not 2" in capsys.readouterr().err


def test_a_run_that_fails_does_not_stop_the_others(suite, tmp_path, in_process, monkeypatch, capsys):
    working = launch._palaestra

    def fail(words, log, started):
        if words[0] == "train" and "seed1" in str(words) and "pqn" in str(words):
            log.write_text("something\nerror: the cat sat on it\n")
            return 1, ""
        return working(words, log, started)

    monkeypatch.setattr(launch, "_palaestra", fail)
    assert compare(suite, "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "error: the cat sat on it (exit code 1" in said.err.splitlines()[-1]
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 4


def test_finished_runs_are_compared_without_a_suite(tmp_path, in_process, capsys, small_config):
    from palaestra.training.run import start_run

    for seed in (0, 1):
        start_run(small_config(seed=seed, steps=600), tmp_path / "runs" / f"a{seed}")
    start_run(_pqn(), tmp_path / "runs" / "b")
    out = tmp_path / "out"
    assert compare(tmp_path / "runs", "--out", out, "--episodes", "3") == 0
    comparison = json.loads((out / "comparison.json").read_text())
    assert [len(row["runs"]) for row in comparison["table"]] == [2, 1]
    assert "pairs" in comparison and comparison["pairs"][0]["first"] == "ppo"
    start_run(small_config(seed=2, steps=700), tmp_path / "runs" / "a2")
    assert compare(tmp_path / "runs", "--out", out, "--episodes", "3") == 2
    assert "differ in steps" in capsys.readouterr().err
    (tmp_path / "runs" / "b" / "summary.json").unlink()
    assert compare(tmp_path / "runs" / "b", "--out", out) == 2
    assert "has not finished; go on with: palaestra train --resume" in capsys.readouterr().err


def _pqn():
    from palaestra.training.config import run_config

    return run_config(
        {
            "agent": "pqn",
            "env": "CartPole-v1",
            "steps": 600,
            "num_envs": 4,
            "evaluate_episodes": 2,
            "track": "none",
        }
    )


def test_only_one_comparison_works_in_a_folder(tmp_path):
    with (
        only_one(tmp_path),
        pytest.raises(UsageError, match="another comparison is at work"),
        only_one(tmp_path),
    ):
        pass


def test_a_job_goes_on_where_it_stopped(tmp_path, in_process):
    job = Job("ppo", "config.yaml", str(tmp_path / "run"), 3, 5)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "score.json").write_text('{"episodes": 5, "return_mean": 1.0}')
    assert perform(job).error is None and in_process == []
    assert job.commands[0] == ["train", "ppo", "--config", "config.yaml", "--seed", "3", "--out", job.folder]


COMMAND = [sys.executable, "-W", "ignore", "-m", "palaestra.training.cli", "compare"]


def test_a_suite_that_was_killed_ends_with_the_same_table(tmp_path):
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY.replace("seeds: 2", "seeds: 1").replace("600", "3k"))
    outs = [tmp_path / "whole", tmp_path / "killed"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [*COMMAND, str(suite), "--workers", "1", "--out"]
    whole = subprocess.Popen([*command, str(outs[0])], **quiet)
    process = subprocess.Popen([*command, str(outs[1])], **quiet)
    metrics = outs[1] / "runs" / "CartPole-v1" / "ppo-3000" / "seed0" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 8):
        time.sleep(0.01)
    assert process.poll() is None, "too quick to be killed"
    # The comparison and all runs, as when a machine goes down.
    found = subprocess.run(["pgrep", "-f", str(outs[1])], capture_output=True, text=True, check=True)
    for number in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)
    process.wait()
    assert not (outs[1] / "comparison.json").exists()
    assert subprocess.run([*command, str(outs[1])], check=False, **quiet).returncode == 0
    assert whole.wait() == 0
    assert results(outs[0]) == results(outs[1])


def test_an_interrupt_reaches_the_runs_and_they_can_go_on(tmp_path):
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY.replace("seeds: 2", "seeds: 1").replace("600", "500k"))
    process = subprocess.Popen(
        [*COMMAND, str(suite), "--out", str(tmp_path / "out"), "--workers", "1"],
        stderr=subprocess.PIPE,
        text=True,
    )
    run = tmp_path / "out" / "runs" / "CartPole-v1" / "ppo-500000" / "seed0"
    while process.poll() is None and not (run / "metrics.jsonl").exists():
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130 and "go on with the same command" in said
    assert list((run / "checkpoints").iterdir())


@pytest.mark.slow
def test_ray_runs_a_suite_and_does_lost_runs_again(tmp_path):
    ray = pytest.importorskip("ray")
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY)
    outs = [tmp_path / "ray", tmp_path / "local"]
    command = [*COMMAND, str(suite), "--workers", "2", "--out"]
    process = subprocess.Popen(
        [*command, str(outs[0]), "--launcher", "ray"], stderr=subprocess.PIPE, text=True
    )
    # A worker is lost while it trains: its run is done again.
    killed = False
    while process.poll() is None and not killed:
        found = subprocess.run(["pgrep", "-f", "ray::perform"], capture_output=True, text=True, check=False)
        if found.stdout and list(outs[0].rglob("metrics.jsonl")):
            os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
            killed = True
        time.sleep(0.05)
    assert process.wait() == 0 and killed, ray.__version__
    assert subprocess.run([*command, str(outs[1])], check=False, capture_output=True).returncode == 0
    assert results(outs[0]) == results(outs[1])


def test_a_launcher_begins_nothing_more_once_it_stops():
    launcher = LocalLauncher(1)
    launcher.stopping.set()
    with pytest.raises(KeyboardInterrupt):
        launcher.run([Job("ppo", "", "nowhere", 0, 1)], lambda done: None)
    assert not Path("nowhere").exists()
