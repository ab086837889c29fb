"""Suites: what they ask for, what is done once only, what survives a kill, and what the report says."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from palaestra.training.cli import main as cli
from palaestra.training.comparison import jobs, processes
from palaestra.training.comparison.caveats import notes
from palaestra.training.comparison.comparison import AT_WORK
from palaestra.training.comparison.jobs import Job, grouped, perform, score_of, steps_left
from palaestra.training.comparison.launchers import LocalLauncher
from palaestra.training.comparison.report import report
from palaestra.training.comparison.report.tables import short
from palaestra.training.comparison.scoring import make_jobs, run_suite
from palaestra.training.comparison.suites import (
    Contestant,
    Part,
    PlannedRun,
    differences,
    part_of,
    plan,
    read_suite,
    requested_config,
    suite_names,
)
from palaestra.training.run.listing import find_runs
from palaestra.training.run.signals import StoppedError
from palaestra.training.run.storage.lock import locked
from palaestra.training.settings.usage import UsageError

from ..wandb_file import finished_run

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


def here(words, job, started):
    """Run a command in this process."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = cli.run(words)
    job.log.write_text(errors.getvalue())
    return code, output.getvalue()


@pytest.fixture
def in_process(monkeypatch):
    """Run commands here instead of in processes of their own; returns the list of those that were run."""
    commands = []

    def palaestra(words, job, started):
        commands.append(words)
        return here(words, job, started)

    monkeypatch.setattr(jobs, "_palaestra", palaestra)
    return commands


@pytest.fixture
def no_charts(monkeypatch):
    """Drawing takes most of the time of a small comparison."""
    monkeypatch.setattr(report, "draw_charts", lambda findings, out: [])


def compare(*words):
    return cli.run(["compare", *map(str, words), "--workers", "1", "--group-seeds", "off"])


def results(out):
    """All that does not depend on how fast the machine is."""
    comparison = json.loads((out / "comparison.json").read_text())
    del comparison["timing"]
    tables = [(out / name).read_text() for name in ("scores.csv", "meetings.csv", "curves.csv")]
    return json.dumps(comparison).replace(str(out), "OUT"), *tables


# -- Reading suites -------------------------------------------------------------------------------------------------


def test_the_suite_of_memories_has_agents_without_one(tmp_path):
    """The presets of its environments have an LSTM."""
    runs = [run for run in plan(read_suite("memory"), tmp_path) if run.contestant.agent == "ppo"]
    memories = {run.contestant.label: requested_config(run).memory for run in runs}
    assert memories == {"ppo lstm": "lstm", "ppo none": "none", "ppo 4 frames": "none"}


@pytest.mark.filterwarnings("ignore")  # SWIG's, where Box2D is imported
def test_shipped_suites_ask_for_runs_that_can_be_configured(tmp_path):
    names = [
        "atari",
        "box2d",
        "classic",
        "masks",
        "memory",
        "minatar",
        "minigrid",
        "mujoco",
        "quick",
        "readme",
    ]
    assert suite_names() == names
    for name in suite_names():
        runs = plan(read_suite(name), tmp_path)
        assert len({run.folder for run in runs}) == len(runs) >= 6
        seen = set()
        for run in runs:
            if (run.contestant.label, run.env) not in seen:
                config = requested_config(run)
                assert (config.steps, config.threads, config.track) == (run.steps, 1, "none")
                seen.add((run.contestant.label, run.env))


@pytest.mark.filterwarnings("ignore")  # SWIG's, where Box2D is imported
@pytest.mark.parametrize("name", suite_names())
def test_all_sides_of_a_shipped_suite_have_the_same_task(name, tmp_path):
    runs = {
        (run.env, run.contestant.label): requested_config(run) for run in plan(read_suite(name), tmp_path)
    }
    for env in {env for env, _ in runs}:
        sides = [config for (where, _), config in runs.items() if where == env]
        tasks = [
            (
                each.env_kwargs,
                each.env_options.wrappers,
                each.env_options.clip_reward,
                each.evaluate_max_steps,
            )
            for each in sides
        ]
        assert all(task == tasks[0] for task in tasks), env
        # What plays Atari in C++ also prepares its pictures.
        assert len({each.backend == "ale" for each in sides}) == 1, env


def test_environments_that_would_share_a_folder_are_refused(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text("matches: [{agents: [ppo], environments: {My/Env-v0: 1k, My_Env-v0: 1k}}]")
    with pytest.raises(UsageError, match="My/Env-v0 and My_Env-v0 would share a folder"):
        plan(read_suite(str(path)), tmp_path)


def test_a_contestant_of_two_matches_runs_once(tmp_path):
    path = tmp_path / "twice.yaml"
    match = "{agents: [ppo, %s], environments: {CartPole-v1: 1k}}"
    path.write_text(f"seeds: 2\nmatches:\n  - {match % 'dqn'}\n  - {match % 'pqn'}\n")
    assert len(plan(read_suite(str(path)), tmp_path)) == 6


def test_seeds_are_a_number_or_a_list_and_a_match_may_have_its_own(tmp_path):
    path = tmp_path / "seeds.yaml"
    own = "{agents: [ppo], environments: {Acrobot-v1: 1k}, seeds: 2}"
    path.write_text(f"seeds: [5, 7]\nmatches: [{{agents: [ppo], environments: {{CartPole-v1: 1k}}}}, {own}]")
    runs = [(run.env, run.seed, run.folder.name) for run in plan(read_suite(str(path)), tmp_path)]
    assert runs == [
        ("CartPole-v1", 5, "seed5"),
        ("CartPole-v1", 7, "seed7"),
        ("Acrobot-v1", 0, "seed0"),
        ("Acrobot-v1", 1, "seed1"),
    ]


def test_a_part_of_a_suite_has_some_of_its_environments_and_other_seeds(tmp_path):
    path = tmp_path / "three.yaml"
    own = "{agents: [ddpg], environments: {Pendulum-v1: 2k}, seeds: 2}"
    both = "{agents: [ppo, sb3/ppo], environments: {CartPole-v1: 1k, Acrobot-v1: 3k}}"
    path.write_text(f"seeds: [5, 7]\nmatches: [{both}, {own}]")
    suite = read_suite(str(path))
    assert part_of(suite, Part()) == suite
    runs = plan(part_of(suite, Part(envs=("Acrobot-v1",))), tmp_path)
    assert [(run.env, run.steps, run.seed) for run in runs[::2]] == [
        ("Acrobot-v1", 3000, 5),
        ("Acrobot-v1", 3000, 7),
    ]
    runs = plan(part_of(suite, Part(("Pendulum-v1", "Acrobot-v1"), seeds=(9,))), tmp_path)
    assert [(run.contestant.agent, run.env, run.seed) for run in runs] == [
        ("ppo", "Acrobot-v1", 9),
        ("sb3/ppo", "Acrobot-v1", 9),
        ("ddpg", "Pendulum-v1", 9),
    ]


def test_a_number_of_seeds_that_is_one_of_the_suites_is_told_apart(tmp_path, capsys):
    path = tmp_path / "fresh.yaml"
    path.write_text("seeds: [7, 8]\nmatches: [{agents: [ppo], environments: {CartPole-v1: 1k}}]")
    suite = read_suite(str(path))
    for seeds in [range(3), [7], range(9), range(7)]:
        part_of(suite, Part(seeds=tuple(seeds)))
    assert capsys.readouterr().err == "note: --seeds 7 is seeds 0 to 6; seed 7 alone is --seeds 7-7\n"


def test_a_part_of_a_suite_has_some_of_its_agents_by_what_they_are_called(tmp_path):
    path = tmp_path / "two.yaml"
    first = "{agents: [ppo, sb3/ppo], environments: {CartPole-v1: 1k, Pendulum-v1: 3k}}"
    second = "{agents: [{agent: ddpg, config: td3}, sb3/td3], environments: {Pendulum-v1: 2k}}"
    path.write_text(f"seeds: [5]\nmatches: [{first}, {second}]")
    suite = read_suite(str(path))
    runs = plan(part_of(suite, Part(agents=("sb3/ppo", "ddpg td3"))), tmp_path)
    assert [(run.contestant.label, run.env) for run in runs] == [
        ("sb3/ppo", "CartPole-v1"),
        ("sb3/ppo", "Pendulum-v1"),
        ("ddpg td3", "Pendulum-v1"),
    ]
    with pytest.raises(UsageError, match=r"--agents: .*has no agent 'sb3/pp'; did you mean 'sb3/ppo'"):
        part_of(suite, Part(agents=("sb3/pp",)))
    with pytest.raises(UsageError, match="has sb3/td3 in other environments than CartPole-v1"):
        part_of(suite, Part(("CartPole-v1",), ("sb3/td3",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("matches: []", "matches"),
        ("seeds: 0\nmatches: [{agents: [ppo], environments: {A: 1}}]", "seeds: must be > 0 or a list, got 0"),
        ("seeds: []\nmatches: [{agents: [ppo], environments: {A: 1}}]", "seeds"),
        (
            "seeds: [1, -2]\nmatches: [{agents: [ppo], environments: {A: 1}}]",
            "seeds: must be a whole number or >= 0, got [1, -2]",
        ),
        ("seed: 3\nmatches: [{agents: [ppo], environments: {A: 1}}]", "did you mean 'seeds'?"),
        (
            "matches: [{agent: [ppo], environments: {A: 1}}]",
            "matches[0].agent: unknown key; did you mean 'agents'?",
        ),
        (
            "matches: [{agents: [ppo], environments: {A: 1, B: 0}}]",
            "matches[0].environments.B: must be > 0, got 0",
        ),
        ("matches: [ppo]", "matches[0]: must be a mapping"),
        ("matches: [{agents: [], environments: {A: 1}}]", "matches[0].agents: must be not empty, got []"),
        (
            "matches: [{agents: [{agent: ppo, options: {steps: 3000}}], environments: {A: 1}}]",
            "matches[0].agents[0].options.steps: environments says how many",
        ),
        (
            "matches: [{agents: [{agent: ppo, options: {agent: dqn}}], environments: {A: 1}}]",
            "matches[0].agents[0].options.agent: a contestant's agent stands beside its options",
        ),
        (
            "matches: [{agents: [{agent: ppo, options: {agent: {name: dqn}}}], environments: {A: 1}}]",
            "matches[0].agents[0].options.agent: a contestant's agent stands beside its options",
        ),
        (
            "references: {A: [0, .nan]}\nmatches: [{agents: [ppo], environments: {A: 1}}]",
            "references.A: must be [return of random actions, return of a good agent], got [0, nan]",
        ),
        ("matches: [{agents: [ppo, ppo], environments: {A: 1}}]", "two are called 'ppo'; give them a name"),
        (
            "seeds: [1, 2, 1]\nmatches: [{agents: [ppo], environments: {A: 1}}]",
            "[1, 2, 1] names a seed twice",
        ),
        (
            "matches: [{agents: [{agent: ppo, confg: x}], environments: {A: 1}}]",
            "agents[0].confg: unknown key; did you mean 'config'?",
        ),
        (
            "references: {A: [0, 0]}\nmatches: [{agents: [ppo], environments: {A: 1}}]",
            "references.A: must be [return of random actions, return of a good agent], got [0, 0]",
        ),
        (
            "references: {A: [100, 10]}\nmatches: [{agents: [ppo], environments: {A: 1}}]",
            "references.A: must be [return of random actions, return of a good agent], got [100, 10]",
        ),
    ],
)
def test_what_is_wrong_with_a_suite_is_one_line(text, message, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        read_suite(str(path))


def test_an_agent_has_one_number_of_steps_in_an_environment(tmp_path):
    path = tmp_path / "two.yaml"
    match = "{agents: [ppo], environments: {CartPole-v1: %s}}"
    path.write_text(f"matches: [{match % '1k'}, {match % '2k'}]")
    with pytest.raises(
        UsageError, match="'ppo' has two numbers of steps on CartPole-v1; give one of them a name"
    ):
        plan(read_suite(str(path)), tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            "what shall be compared? a suite (atari, box2d, classic, masks, memory, minatar, minigrid, mujoco, quick, "
            "readme)",
        ),
        (["quik"], "there is no suite 'quik'; did you mean 'quick'?"),
        (["quick", "nowhere"], "is not a folder of runs"),
        ([".", "nowhere", "--episodes", "3"], "nowhere is not a folder of runs"),
        (["quick", "--ray-address", "x"], "--ray-address: only with --launcher ray"),
        (["mujoco", "--envs", "Hoper-v5"], "mujoco has no environment 'Hoper-v5'; did you mean 'Hopper-v5'?"),
        (["quick", "--agents", "pp"], "quick has no agent 'pp'; did you mean 'ppo'"),
        (["quick", "--seeds", "5-3"], "--seeds 5-3: give a number of seeds"),
        ([".", "--seeds", "3"], "--envs, --agents and --seeds choose from a suite; . is none"),
        (["quick", "--episodes", "3"], "--episodes is for folders of runs; quick says itself how many"),
        (["a.json", "--episodes", "3"], "--episodes is for folders of runs; a.json says itself how many"),
    ],
)
def test_a_wrong_request_is_one_line(words, message, capsys):
    assert compare(*words) == 2
    assert message in capsys.readouterr().err


# -- Running them ---------------------------------------------------------------------------------------------------


def is_in_wandb(comparison, out):
    """All that was found is in the offline run."""
    (path,) = (out / "wandb").glob("offline-run-*/*.wandb")
    run = finished_run(path)
    assert (run.job_type, run.name, run.exit_code) == ("comparison", "tiny", 0)
    assert {"seeds": [0, 1], "contestants": ["ppo", "pqn"]}.items() <= run.config.items()
    points = [(row["step"], row[name]) for row in run.history if (name := "CartPole-v1/ppo") in row]
    curves = [curve for curve in comparison["curves"] if curve["contestant"] == "ppo"]
    assert points == [
        (np.mean(steps), pytest.approx(np.mean(returns)))
        for steps, returns in zip(
            zip(*(curve["steps"] for curve in curves), strict=True),
            zip(*(curve["returns"] for curve in curves), strict=True),
            strict=True,
        )
    ]
    assert run.summary["return/CartPole-v1/pqn"] == pytest.approx(comparison["table"][1]["mean"][0])
    assert run.summary["verdict/ppo against pqn"] == "too few runs"
    kinds = [row[key] for row in run.history for key in row if key.endswith("/_type")]
    assert kinds.count("image-file") == len(list(out.glob("*.png"))) and "table-file" in kinds
    assert run.artifacts[-1] == f"comparison-{run.run_id}"


def test_a_suite_is_run_reported_and_not_run_again(suite, tmp_path, in_process, capsys, offline_wandb):
    out = tmp_path / "out"
    assert compare(suite, "--out", out) == 0
    said = capsys.readouterr()
    assert len(in_process) == 8  # four runs are trained and evaluated
    assert (
        "4/4" in said.err
        and "Too few seeds" in said.out
        and "Few seeds" not in said.out
        and "report.html" in said.out
    )
    rows = (out / "scores.csv").read_text().splitlines()
    assert rows[0] == "environment,contestant,steps,seed,return" and len(rows) == 5
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(list(out.glob("*.png"))) >= 5
    assert "http" not in page and "palaestra train ppo --config" in page and "torch" in page
    report = (out / "report.md").read_text()
    for file in re.findall(r"\]\((\w+\.png)\)", report):
        assert (out / file).stat().st_size > 1000
    before = results(out)

    in_process.clear()
    assert cli.run(["compare", str(suite), "--out", str(out), "--json", "--wandb"]) == 0
    assert in_process == [] and results(out) == before
    said = capsys.readouterr()
    assert "wandb sync" in said.err
    comparison = json.loads(said.out)
    is_in_wandb(comparison, out)
    assert comparison["contestants"] == ["ppo", "pqn"]
    assert comparison["pairs"][0]["verdict"] == "too few runs"

    # A part of it has what is there already.
    assert compare(suite, "--envs", "CartPole-v1", "--seeds", "1,", "--out", out) == 0
    assert in_process == []
    assert [row.split(",")[:4] for row in (out / "scores.csv").read_text().splitlines()[1:]] == [
        ["CartPole-v1", agent, "600", "1"] for agent in ("ppo", "pqn")
    ]
    # Scores are those that `evaluate` reports.
    score = json.loads((out / "runs/CartPole-v1/ppo-600/seed1/score.json").read_text())
    assert comparison["table"][0]["runs"][1] == score["return_mean"] and score["seed"] == 2_000_001

    suite.write_text(TINY.replace("epochs: 1", "epochs: 2"))
    assert compare(suite, "--out", out) == 2
    assert "is not what the suite asks for: agent.epochs is 1, not 2" in capsys.readouterr().err
    # The configs that the suite asks for are no runs.
    runs = find_runs(out)
    assert len(runs) == 4 and all(each.finished for each in runs)


def test_only_what_a_run_chooses_by_itself_may_be_left_open(tmp_path):
    run = PlannedRun(Contestant("dqn"), "CartPole-v1", 600, 0, tmp_path)
    asked = requested_config(run)
    found = replace(asked, backend="sync", compile="off", evaluate_every=60, checkpoint_every=30, log_every=3)
    assert differences(run, asked, found) == []
    warm = replace(asked, agent_config=replace(asked.agent_config, learning_starts=500))
    none = replace(asked, agent_config=replace(asked.agent_config, learning_starts=0))
    assert differences(run, none, warm) == ["agent.learning_starts is 500, not 0"]
    other = replace(asked, env_kwargs={"sutton_barto_reward": True})
    assert differences(run, asked, other) == ["env_kwargs.sutton_barto_reward is True, not None"]


def test_a_run_that_fails_does_not_stop_the_others(
    suite, tmp_path, in_process, monkeypatch, capsys, no_charts
):
    working = jobs._palaestra

    def fail(words, job, started):
        if words[0] == "train" and "seed1" in str(words) and "pqn" in str(words):
            job.log.write_text("something\nerror: the cat sat on it\n")
            return 1, ""
        return working(words, job, started)

    monkeypatch.setattr(jobs, "_palaestra", fail)
    assert compare(suite, "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "error: the cat sat on it (exit code 1" in said.err.splitlines()[-1]
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 4


def test_finished_runs_are_compared_without_a_suite(tmp_path, in_process, capsys, small_config, no_charts):
    from palaestra.training.run.start import start_run

    for seed in (0, 1):
        start_run(small_config(seed=seed, steps=600), tmp_path / "runs" / f"a{seed}")
    start_run(_pqn(), tmp_path / "runs" / "b")
    out = tmp_path / "out"
    assert compare(tmp_path / "runs", "--out", out, "--episodes", "3") == 0
    comparison = json.loads((out / "comparison.json").read_text())
    assert [len(row["runs"]) for row in comparison["table"]] == [2, 1]
    assert [row["options"]["agent"]["name"] for row in comparison["table"]] == ["ppo", "pqn"]
    assert "pairs" in comparison and comparison["pairs"][0]["first"] == "ppo"
    start_run(small_config(seed=1, steps=600), tmp_path / "runs" / "twin")
    assert compare(tmp_path / "runs", "--out", out, "--episodes", "3") == 2
    assert "twin are both ppo on CartPole-v1 with seed 1: name one" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "runs" / "twin")
    start_run(small_config(seed=2, steps=700), tmp_path / "runs" / "a2")
    assert compare(tmp_path / "runs", "--out", out, "--episodes", "3") == 2
    assert "differ in steps" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "runs" / "a2")
    # One that has dreamt in between, as its other file says, is another agent.
    (tmp_path / "runs" / "a1" / "cycle.yaml").write_text("real_steps: 100\n")
    assert compare(tmp_path / "runs", "--out", out, "--episodes", "3") == 2
    assert "differ in cycle.yaml; compare runs that dream by themselves" in capsys.readouterr().err
    (tmp_path / "runs" / "b" / "summary.json").unlink()
    assert compare(tmp_path / "runs" / "b", "--out", out) == 2
    assert "has not finished; go on with: palaestra train --resume" in capsys.readouterr().err


def _pqn():
    from palaestra.training.settings.config import run_config

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
        locked(tmp_path, AT_WORK),
        pytest.raises(UsageError, match="another comparison is at work"),
        locked(tmp_path, AT_WORK),
    ):
        pass


def test_a_job_goes_on_where_it_stopped(tmp_path, in_process):
    job = Job("ppo", "config.yaml", str(tmp_path / "run"), 3, 5)
    (tmp_path / "run").mkdir()
    score = {"episodes": 5, "return_mean": 1.0, "seed": 2_000_003, "steps_trained": 100}
    (tmp_path / "run" / "score.json").write_text(json.dumps(score))
    (tmp_path / "run" / "summary.json").write_text('{"step": 100}')
    assert perform(job).error is None and in_process == []
    assert job.commands[0] == ["train", "ppo", "--config", "config.yaml", "--seed", "3", "--out", job.folder]
    # Trained on since then: what it had learned is not what it has learned now.
    (tmp_path / "run" / "summary.json").write_text('{"step": 200}')
    assert score_of(job) is None


COMMAND = [sys.executable, "-W", "ignore", "-m", "palaestra.training.cli.main", "compare"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def children(number):
    """Processes that a process has begun."""
    found = subprocess.run(["pgrep", "-P", str(number)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


LONGER = TINY.replace("seeds: 2", "seeds: 1").replace("600", "3k")


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """Results of the longer suite, trained in one go."""
    suite = tmp_path_factory.mktemp("whole") / "tiny.yaml"
    suite.write_text(LONGER)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jobs, "_palaestra", here)
        patched.setattr(report, "draw_charts", lambda findings, out: [])
        assert compare(suite, "--out", suite.parent / "out") == 0
    return results(suite.parent / "out")


@pytest.mark.parametrize(
    "victims", ["comparison and runs", pytest.param("comparison alone", marks=pytest.mark.slow), "group"]
)
def test_a_suite_that_was_killed_ends_with_the_same_table(
    victims, left_alone, tmp_path, in_process, no_charts
):
    """SIGKILL for everything, as when a machine goes down; for the comparison alone; and for its process group."""
    suite, killed = tmp_path / "tiny.yaml", tmp_path / "killed"
    suite.write_text(LONGER)
    process = subprocess.Popen(
        [*COMMAND, str(suite), "--workers", "1", "--out", str(killed)], start_new_session=True, **QUIET
    )
    metrics = killed / "runs" / "CartPole-v1" / "ppo-3000" / "seed0" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 4):
        time.sleep(0.01)
    runs = children(process.pid)
    if victims == "group":
        os.killpg(process.pid, signal.SIGKILL)
    for number in [process.pid, *(runs if victims == "comparison and runs" else [])]:
        os.kill(number, signal.SIGKILL)
    process.wait()
    assert runs and not (killed / "comparison.json").exists(), "too late to be killed"
    # A run that has lost its comparison writes a checkpoint and ends; the next comparison waits for that.
    assert compare(suite, "--out", killed) == 0
    assert in_process[0] == ["train", "--resume", str(metrics.parent)]
    assert left_alone == results(killed)


def test_a_run_killed_while_it_wrote_its_config_begins_anew(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml.tmp").write_text("agent: pp")
    job = Job("ppo", "config.yaml", str(tmp_path / "run"), 3, 5)
    assert steps_left(job) == job.commands and not list((tmp_path / "run").iterdir())


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
    assert process.returncode == 130 and "stopped; the same command goes on from here" in said
    assert list((run / "checkpoints").iterdir())


def test_one_run_of_one_agent_is_said_to_be_too_few_once():
    (said,) = notes([], [], {"ppo": {"CartPole-v1": np.ones(1)}}, {})
    assert said.startswith("Too few seeds: some agents have only 1 run in an environment.")


@pytest.mark.slow
def test_ray_does_the_runs_of_a_lost_worker_again(tmp_path, in_process, no_charts):
    pytest.importorskip("ray")
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY.replace("600", "20k"))
    outs = [tmp_path / "ray", tmp_path / "local"]
    command = [*COMMAND, str(suite), "--workers", "2", "--launcher", "ray", "--out", str(outs[0])]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    first = outs[0] / "runs" / "CartPole-v1" / "ppo-20000" / "seed0"
    while process.poll() is None and not list(first.glob("checkpoints/*")):
        time.sleep(0.05)
    # The worker, found as the parent of the process that trains.
    found = subprocess.run(["pgrep", "-f", str(first)], capture_output=True, text=True, check=True)
    trainer = int(found.stdout.split()[0])
    worker = int(Path(f"/proc/{trainer}/stat").read_text().rpartition(")")[2].split()[1])
    assert b"ray::" in Path(f"/proc/{worker}/cmdline").read_bytes()
    os.kill(worker, signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == 0, said
    sessions = [json.loads(line)["step"] for line in (first / "sessions.jsonl").read_text().splitlines()]
    assert len(sessions) == 2 and sessions[0] == 0 < sessions[1]
    assert compare(suite, "--out", outs[1]) == 0
    assert results(outs[0]) == results(outs[1])


def test_a_launcher_begins_nothing_more_once_it_stops():
    launcher = LocalLauncher(1)
    launcher.signals.append(signal.SIGTERM)
    with pytest.raises(StoppedError):
        launcher.run([Job("ppo", "", "nowhere", 0, 1)], lambda done: None)
    assert not Path("nowhere").exists()


def test_steps_are_written_as_people_write_them():
    assert [short(steps) for steps in (500, 20_000, 35_002.5, 1_000_000)] == ["500", "20k", "35k", "1M"]


def test_a_child_is_named_by_its_module_and_gets_what_its_machine_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", "own")
    words = ["--version"]
    given = {"HERE": "driver's", "ONLY_THERE": "driver's"}
    log = tmp_path / "log"
    monkeypatch.setattr(processes, "COMMAND_LINE", "print_environment")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the working directory is not searched
    (tmp_path / "print_environment.py").write_text(
        "import os; print(os.environ['HERE'], os.environ['ONLY_THERE'])"
    )
    with processes.begin(words, log, str(tmp_path), given) as child:
        assert child.stdout.read() == "own driver's\n", log.read_text()
    monkeypatch.undo()
    with processes.begin(words, log) as child:
        assert child.stdout.read().startswith("palaestra "), log.read_text()


@pytest.mark.parametrize("file", ["score.json", "summary.json"])
def test_a_damaged_score_is_made_again(file, tmp_path):
    job = Job("ppo", "config.yaml", str(tmp_path), 3, 5)
    score = {"episodes": 5, "return_mean": 1.0, "seed": 2_000_003, "steps_trained": 100}
    (tmp_path / "score.json").write_text(json.dumps(score))
    (tmp_path / "summary.json").write_text('{"step": 100}')
    assert score_of(job) == score
    (tmp_path / file).write_text("{")
    assert score_of(job) is None


@pytest.mark.parametrize(
    "own", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["here", "in processes of their own"]
)
def test_seeds_of_one_agent_are_trained_in_one_process_and_come_to_the_same(own, tmp_path, request):
    """`--group-seeds` changes how runs are trained, and no result."""
    commands = [] if own else request.getfixturevalue("in_process")
    suite = tmp_path / "two.yaml"
    suite.write_text(
        "seeds: 3\nepisodes: 2\nmatches:\n- agents:\n"
        "  - agent: pqn\n"
        "    options: {num_envs: 2, evaluate_episodes: 1, agent: {hidden: [8], rollout_length: 16}}\n"
        "  - agent: dqn\n"
        "    options: {memory: {name: gru, hidden: 4}, evaluate_episodes: 1, agent: {learning_starts: 100,"
        " train_every: 64, hidden: [8], batch_size: 16}}\n"
        "  environments: {palaestra/Recall-v0: 300}\n"
    )
    planned = plan(read_suite(str(suite)), tmp_path / "on")
    jobs = make_jobs(planned, 2, tmp_path / "on")
    names = [
        [Path(job.folder).parent.name + job.folder[-1] for job in unit] for unit in grouped(jobs, 1, "on")
    ]
    assert names == [["pqn-3000", "pqn-3001", "pqn-3002"], ["dqn-3000"], ["dqn-3001"], ["dqn-3002"]]
    assert [len(unit) for unit in grouped(jobs, 3, "auto")] == [2, 1, 1, 1, 1]
    assert all(len(unit) == 1 for unit in grouped(jobs, 1, "off"))

    scores = {}
    for mode in ("on", "off"):
        commands.clear()
        finished, failed = run_suite(
            read_suite(str(suite)),
            tmp_path / mode,
            LocalLauncher(1 + own, mode),
            lambda planned, outcomes: None,
        )
        trained = sorted((words[1], "--seeds" in words) for words in commands if words[0] == "train")
        together = [("pqn", True)] if mode == "on" else [("pqn", False)] * 3
        assert own or trained == [("dqn", False)] * 3 + together
        assert not failed and len(finished) == 6
        scores[mode] = [(run.contestant, run.seed, run.score, run.curve) for run in finished]
    assert scores["on"] == scores["off"]
    if own:
        log = tmp_path / "on/runs/palaestra_Recall-v0/pqn-300/seed0.log"
        assert "over 3 seeds" in log.read_text()
