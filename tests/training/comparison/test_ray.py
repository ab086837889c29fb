"""Runs on a Ray cluster: a fake one for what is asked of it, and real ones whose nodes and workers are killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import pytest

from palaestra.training.cli import main as cli
from palaestra.training.comparison import carrying, jobs
from palaestra.training.comparison.jobs import Job
from palaestra.training.comparison.launchers import LocalLauncher
from palaestra.training.comparison.ray_launcher import (
    RayCluster,
    RayLauncher,
    RayOptions,
    perform_on_node,
)
from palaestra.training.run.listing import describe_run, evaluations
from palaestra.training.settings.usage import UsageError

SUITE = """
seeds: 2
episodes: 3
matches:
  - agents:
      - agent: ppo
        options: {agent: {rollout_length: 16, batch_size: 32, epochs: 1}, num_envs: 2, evaluate_episodes: 2}
      - {agent: pqn, options: {num_envs: 2, evaluate_episodes: 2}}
    environments: {CartPole-v1: 8k}
"""


# -- A fake cluster -------------------------------------------------------------------------------------------------


class FakeRay(types.ModuleType):
    """Ray as far as it is used; tasks end at once, and their results arrive or do not."""

    def __init__(self, hangs=False, fails=(), nodes=({"CPU": 2.0},)):
        super().__init__("ray")
        error = type("RayError", (Exception,), {})
        timeout = type("GetTimeoutError", (error,), {})
        self.exceptions = types.SimpleNamespace(RayError=error, GetTimeoutError=timeout)
        self.hangs, self.fails, self.shares = hangs, fails, []
        self.alive = [{"Alive": True, "Resources": dict(node)} for node in nodes]
        self.units, self.most, self.open, self.cancelled = [], 0, 0, []

    def init(self, **options):
        self.options = options

    def shutdown(self):
        pass

    def nodes(self):
        return self.alive

    def remote(self, **options):
        self.shares.append(options)
        return lambda function: types.SimpleNamespace(remote=self.submit)

    def submit(self, unit, mark, home, seconds):
        self.units.append(unit)
        self.open += 1
        self.most = max(self.most, self.open)
        return len(self.units) - 1

    def wait(self, references, timeout):
        return references[:1], references[1:]

    def cancel(self, reference, force):
        self.cancelled.append((reference, force))

    def get(self, reference, timeout):
        self.open -= 1
        if self.hangs:
            raise self.exceptions.GetTimeoutError
        failed = "no room" if reference in self.fails else None
        return [jobs.Outcome(job.folder, failed) for job in self.units[reference]]


@pytest.fixture
def fake_ray(monkeypatch):
    def make(**arguments):
        fake = FakeRay(**arguments)
        monkeypatch.setitem(sys.modules, "ray", fake)
        return fake

    return make


def seeds(count, group="off"):
    return [Job("ppo", "config.yaml", f"runs/seed{seed}", seed, 1, group=group) for seed in range(count)]


@pytest.mark.parametrize("hangs", [False, True])
def test_the_drivers_variables_are_handed_on_and_no_result_is_waited_for_for_ever(
    hangs, monkeypatch, fake_ray
):
    fake = fake_ray(hangs=hangs)
    monkeypatch.setenv("NEEDED_BY_THE_ENVIRONMENT", "1")
    monkeypatch.setenv("RAY_OF_THE_DRIVER", "1")
    (outcome,) = RayLauncher(RayOptions()).run([Job("ppo", "", "run", 0, 1)], lambda done: None)
    environment = fake.units[0][0].environment
    assert environment["NEEDED_BY_THE_ENVIRONMENT"] == "1" and "RAY_OF_THE_DRIVER" not in environment
    assert outcome.error == ("Ray kept its result back for 60 s" if hangs else None)


def test_a_group_of_seeds_is_one_task_with_its_share_and_all_outcomes_are_shown(fake_ray):
    fake = fake_ray(fails=[1], nodes=[{"CPU": 4.0, "GPU": 1.0}])
    shown = []
    options = RayOptions(cpus=2, gpus=0.5)
    done = RayLauncher(options, 0, "auto").run(seeds(5), lambda outcomes: shown.append(len(outcomes)))
    assert [len(unit) for unit in fake.units] == [3, 2]  # two tasks fit: two CPUs each, half a GPU each
    assert fake.shares == [{"max_retries": 100, "num_cpus": 2, "num_gpus": 0.5}]
    assert [bool(outcome.error) for outcome in done] == [False] * 3 + [True] * 2 and shown == [3, 5]
    # So many at a time as asked.
    fake = fake_ray(nodes=[{"CPU": 64.0}])
    assert len(RayLauncher(RayOptions(), 3).run(seeds(10), lambda outcomes: None)) == 10
    assert (len(fake.units), fake.most, fake.options["num_cpus"]) == (10, 3, 3)
    # Nothing left to do needs no cluster.
    assert RayLauncher(RayOptions(address="nowhere")).run([], lambda outcomes: None) == []


@pytest.mark.parametrize(
    ("options", "nodes", "message"),
    [
        (
            {"gpus": 1},
            [{"CPU": 8.0}],
            "--gpus-per-run 1: no node of the cluster has any, so the runs would wait",
        ),
        ({"gpus": 2}, [{"CPU": 1.0, "GPU": 1.0}] * 2, "no node of the cluster has more than 1"),
        ({"cpus": 4}, [{"CPU": 2.0}], "--cpus-per-run 4: no node of the cluster has more than 2"),
        (
            {"cpus": 4, "gpus": 1},
            [{"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0}],
            "--gpus-per-run 1 and --cpus-per-run 4: no node has both",
        ),
    ],
)
def test_runs_that_would_wait_for_ever_are_refused(options, nodes, message, fake_ray):
    fake_ray(nodes=nodes)
    with pytest.raises(UsageError, match=message):
        RayLauncher(RayOptions(**options), 1).run(seeds(1), lambda outcomes: None)


@pytest.mark.parametrize("command", ["compare", "sweep"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpus-per-run", "1"], "--gpus-per-run: only with --launcher ray"),
        (["--ray-storage", "carried"], "--ray-storage: only with --launcher ray"),
        (["--launcher", "ray", "--cpus-per-run", "0"], "--cpus-per-run: must be at least 0.0001, got 0"),
        (["--launcher", "ray", "--gpus-per-run", "1.5"], "Ray shares one GPU (0.5), not several"),
        (
            ["--launcher", "ray", "--gpus-per-run", "-1"],
            "--gpus-per-run: must be 0 or at least 0.0001, got -1",
        ),
        (
            ["--launcher", "ray", "--ray-storage", "carried", "--ray-address", "ray://h:1"],
            "not through Ray Client",
        ),
    ],
)
def test_wrong_options_are_one_line(command, words, message, tmp_path, capsys):
    target = "quick" if command == "compare" else str(tmp_path / "space.yaml")
    assert cli.run([command, target, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_task_is_watched_and_ended_as_a_process_is(fake_ray):
    fake = fake_ray(fails=[1])
    with RayCluster(RayOptions(), 1) as cluster:
        first, second = (cluster.begin([job]) for job in seeds(2))
        assert (first.poll(), first.error) == (0, None)
        second.terminate()
        assert (second.wait(), second.returncode, second.error) == (1, 1, "no room")
    assert fake.cancelled == [(1, True)]


def test_a_sweep_sends_the_seeds_of_a_trial_as_one_task_that_is_not_scored(tmp_path, fake_ray, monkeypatch):
    pytest.importorskip("optuna")
    from palaestra.training.comparison import sweep

    fake = fake_ray()
    monkeypatch.setattr(sweep, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(sweep, "evaluations", lambda run: [(600, float(run.name[-1]))])
    monkeypatch.setattr(sweep, "describe_run", lambda run: types.SimpleNamespace(finished=True))
    space = tmp_path / "space.yaml"
    space.write_text(
        "agent: ppo\nenv: CartPole-v1\nsteps: 600\nseeds: 3\npruner: none\nspace: {agent.epochs: {low: 1, high: 3}}\n"
    )
    words = [str(space), "--trials", "2", "--launcher", "ray", "--out", str(tmp_path / "out"), "--json"]
    assert cli.run(["sweep", *words]) == 0
    whole = [unit for unit in fake.units if len(unit) == 3]
    assert len(whole) == 2 and {job.episodes for job in whole[0]} == {0}
    assert [Path(job.folder).name for job in whole[0]] == ["seed0", "seed1", "seed2"]
    # A job without scoring is trained, and no more.
    assert [words[0] for words in jobs.steps_left(whole[0][0])] == ["train"]


# -- Files that are carried -----------------------------------------------------------------------------------------


@pytest.fixture
def run_at_home(tmp_path, monkeypatch):
    """A job whose folder has a checkpoint, and a home that carries it."""
    job = Job("ppo", "config.yaml", "runs/seed0", 0, 1, home=str(tmp_path / "home"))
    folder = job.path / "checkpoints" / "000000010"
    folder.mkdir(parents=True)
    (tmp_path / "home" / "config.yaml").write_text("asked")
    (folder / "manifest.json").write_text("old")
    (job.path / "metrics.jsonl").write_text("1\n")
    (job.path / ".lock").touch()
    (job.path / "link").symlink_to("/etc/passwd")
    return job


def test_a_carried_run_goes_on_from_home_and_comes_back_whole(run_at_home, monkeypatch):
    """New, grown and removed files come home while the run is at work, and its log with them."""
    home, job = carrying.Home(), run_at_home
    sent = []

    def store(jobs, turn, files, names):
        sent.append(sorted(files))
        return home.store(jobs, turn, files, names)

    def perform_together(here, started, stopped):
        (away,) = here
        assert away.path != job.path and (Path(away.home) / away.config).read_text() == "asked"
        assert (away.path / "metrics.jsonl").read_text() == "1\n" and not (away.path / "link").exists()
        (away.path / "metrics.jsonl").write_text("1\n2\n")
        new = away.path / "checkpoints" / "000000020"
        new.mkdir()
        (new / "manifest.json").write_text("new")
        (away.path / "checkpoints" / "000000010" / "manifest.json").unlink()
        away.log.write_text(f"{away.path} said")
        deadline = time.monotonic() + 10
        while not job.log.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert job.log.read_text() == "runs/seed0 said"  # before the end
        return [jobs.Outcome(away.folder, f"failed ({away.log})")]

    monkeypatch.setattr(carrying, "perform_together", perform_together)
    (outcome,) = carrying.perform_carried([job], home.fetch, store, 0.01)
    assert outcome == jobs.Outcome("runs/seed0", "failed (runs/seed0.log)")
    assert (job.path / "metrics.jsonl").read_text() == "1\n2\n"
    assert [path.name for path in (job.path / "checkpoints").iterdir()] == ["000000020"]
    assert sum("0/metrics.jsonl" in files for files in sent) == 1  # what has not changed is not sent again


@pytest.mark.parametrize("folder", ["runs/seed0", "/data/runs/seed0", "../runs/seed0"])
def test_what_is_said_names_the_folders_at_home(folder, tmp_path):
    job = jobs.Job("ppo", "config.yaml", folder, 0, 0, home="/data/work")
    there = replace(job, home=str(tmp_path), folder=carrying._inside(job))
    for place in (there.folder, there.path):
        said = f"lower it in {place}/config.yaml ({place}.log): palaestra train --resume {place}"
        at_home = f"lower it in {folder}/config.yaml ({folder}.log): palaestra train --resume {folder}"
        assert carrying.at_home(said, job, there) == at_home


def test_a_machine_that_was_taken_for_lost_stores_nothing_more(run_at_home):
    home, job = carrying.Home(), run_at_home
    first, _ = home.fetch([job])
    second, _ = home.fetch([job])
    names = ["0/metrics.jsonl"]
    assert not home.store([job], first, {"0/metrics.jsonl": b"late"}, names)
    assert home.store([job], second, {"0/metrics.jsonl": b"2\n"}, names)
    assert (job.path / "metrics.jsonl").read_text() == "2\n"
    assert not (job.path / "checkpoints" / "000000010").exists()


@pytest.mark.parametrize("name", ["0/../../x", "1/x", "0//etc/x", "x", "../0.log", "0/out/x"])
def test_names_that_lead_out_of_a_run_are_refused(name, run_at_home, tmp_path):
    (run_at_home.path / "out").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="is no file of these runs"):
        carrying.write([run_at_home], {name: b""}, [name])
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("folder", "there"),
    [("runs/a", "runs/a"), ("/b/c", "b/c"), ("../b", "here/b"), ("runs/../../x", "here/x")],
)
def test_a_carried_run_lies_below_the_nodes_own_folder(folder, there):
    assert carrying._inside(Job("ppo", "", folder, 0, 1, home="/here/home")) == there


def test_checkpoints_are_read_before_what_they_count_on(run_at_home):
    files, known = carrying.changed([run_at_home], {})
    assert next(iter(files)) == "0/checkpoints/000000010/manifest.json"
    assert set(files) == {"0/checkpoints/000000010/manifest.json", "0/metrics.jsonl"}
    assert carrying.changed([run_at_home], known)[0] == {}


def test_a_node_looks_whether_it_shares_the_storage(tmp_path, monkeypatch):
    from palaestra.training.comparison import ray_launcher

    monkeypatch.setattr(ray_launcher, "perform_together", lambda jobs: "here")
    monkeypatch.setattr(ray_launcher, "perform_carried", lambda *given: "carried")
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
    (tmp_path / "mark").touch()
    home = object()
    assert perform_on_node([], str(tmp_path / "mark"), home, 1.0) == "here"
    assert perform_on_node([], str(tmp_path / "none"), home, 1.0) == "carried"
    assert perform_on_node([], "", home, 1.0) == "carried"
    assert perform_on_node([], "", None, 1.0) == "here"


# -- Real clusters --------------------------------------------------------------------------------------------------


def table(out):
    """All that was found: neither seconds, nor which machine and working tree it was found with."""
    comparison = json.loads((out / "comparison.json").read_text())
    del comparison["timing"], comparison["made_with"]
    tables = [(out / name).read_text() for name in ("scores.csv", "meetings.csv", "curves.csv")]
    return json.dumps(comparison).replace(str(out), "OUT"), *tables


def parents(pid):
    """Process ids of a process's parents, the nearest first."""
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def trainers(folder):
    """Process ids of the commands that train below a folder, or below a node's own copy of it."""
    pattern = f"palaestra.training.cli.child train .*{str(folder).lstrip('/')}"
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True)
    return [int(number) for number in found.stdout.split()]


def kill_a_node(cluster, node, out, driver):
    """Kill a node, which is not the driver's, when its run has a checkpoint at home; returns the run."""
    raylet = node.all_processes["raylet"][0].process.pid
    while driver.poll() is None:
        time.sleep(0.05)
        for pid in trainers(out):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                there = raylet in parents(pid)
            except OSError:
                continue  # it has ended
            run = Path("/" + next(word for word in reversed(words) if "/seed" in word).lstrip("/"))
            if there and list(run.glob("checkpoints/*")):
                cluster.remove_node(node, allow_graceful=False)
                return run
    raise AssertionError(f"nothing ran at the node: {driver.stderr.read()}")


def sessions(run):
    return [json.loads(line)["step"] for line in (Path(run) / "sessions.jsonl").read_text().splitlines()]


# Files come home more often than they otherwise would: the runs are short.
DRIVER = """
import sys
from palaestra.training.cli.main import run
from palaestra.training.comparison import carrying
carrying.CARRY_SECONDS = 0.3
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("storage", ["auto", "carried"])
def test_a_killed_nodes_runs_go_on_at_another_and_the_table_is_the_same(storage, tmp_path):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE)
    outs = [tmp_path / "ray", tmp_path / "local"]
    # The driver goes to the first node.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    words = ["compare", str(suite), "--workers", "2", "--group-seeds", "off"]
    there = ["--launcher", "ray", "--ray-address", cluster.address, "--ray-storage", storage]
    command = [sys.executable, "-W", "ignore", "-c", DRIVER, *words, *there, "--out", str(outs[0])]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        killed = kill_a_node(cluster, node, outs[0], driver)
        _, said = driver.communicate()
    finally:
        driver.kill()
        cluster.shutdown()
    assert driver.returncode == 0, said
    first, second = sessions(killed)
    assert first == 0 < second
    assert cli.run([*words, "--out", str(outs[1])]) == 0
    assert table(outs[0]) == table(outs[1])
    assert not list(outs[0].rglob(".shared-*"))


# Of ten runs each.
UNITS = 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_of_200_runs_none_is_lost_and_none_run_twice_where_workers_are_killed(tmp_path):
    pytest.importorskip("ray")
    planned = {}
    for name in ("ray", "local"):
        planned[name] = []
        for unit in range(UNITS):
            config = tmp_path / f"config{unit}.yaml"
            config.write_text(
                f"agent: {{name: pqn, learning_rate: 0.0{unit + 1:02d}, hidden: [8], rollout_length: 16}}\n"
                "env: CartPole-v1\nsteps: 200\nnum_envs: 2\nevaluate_episodes: 1\nevaluate_every: 100\nthreads: 1\n"
                "checkpoint_every: 50\ntrack: none\n"
            )
            runs = [tmp_path / name / f"unit{unit}" / f"seed{seed}" for seed in range(10)]
            planned[name] += [
                Job("pqn", str(config), str(run), seed, 0, group="off") for seed, run in enumerate(runs)
            ]
    chance = random.Random(0)
    killed = []

    def kill(done):
        """Kill a worker that trains, in one of four tasks chosen beforehand."""
        if len(killed) < 4 and len(done) >= 2 * UNITS * len(killed) and (found := trainers(tmp_path / "ray")):
            try:
                worker = parents(chance.choice(found))[0]
                if b"ray::" in Path(f"/proc/{worker}/cmdline").read_bytes():
                    os.kill(worker, signal.SIGKILL)
                    killed.append(worker)
            except OSError:
                pass

    done = RayLauncher(RayOptions(), 2, "on").run(planned["ray"], kill)
    assert len(killed) == 4
    assert not [outcome for outcome in done if outcome.error]
    assert sorted(outcome.folder for outcome in done) == sorted(job.folder for job in planned["ray"])
    again = 0
    for job in planned["ray"]:
        began = sessions(job.path)
        again += len(began) - 1
        # A run that was begun again went on from where it was, and did no step twice.
        assert began == sorted(began) and began[-1] <= 200 and describe_run(job.path).finished
    assert again <= 4 * 10
    LocalLauncher(2, "on").run([replace(job) for job in planned["local"]], lambda outcomes: None)
    for one, other in zip(planned["ray"], planned["local"], strict=True):
        assert evaluations(one.path) == evaluations(other.path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_on_ray_that_carries_its_runs_comes_to_the_same(tmp_path):
    pytest.importorskip("ray")
    pytest.importorskip("optuna")
    space = tmp_path / "space.yaml"
    space.write_text(
        "agent: pqn\nenv: CartPole-v1\nsteps: 400\nseeds: 2\nsampler: random\npruner: none\n"
        "options: {num_envs: 2, evaluate_episodes: 1}\nspace: {agent.learning_rate: {low: 1e-4, high: 1e-3}}\n"
    )
    reports = []
    for where in (["--launcher", "ray", "--ray-storage", "carried"], []):
        out = tmp_path / f"out{len(reports)}"
        words = ["sweep", str(space), "--trials", "1", "--workers", "1", "--out", str(out), "--json"]
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DRIVER, *words, *where], capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        reports.append(json.loads(ended.stdout)["trials"])
        assert "over 2 seeds" in (out / "trial0" / "seed0.log").read_text()
    assert reports[0] == reports[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_task_that_is_ended_is_not_begun_again(tmp_path):
    """As the pruner, and Ctrl-C, end tasks."""
    pytest.importorskip("ray")
    long = Job("pqn", str(tmp_path / "long.yaml"), str(tmp_path / "long" / "seed0"), 0, 0)
    Path(long.config).write_text("agent: {name: pqn}\nenv: CartPole-v1\nsteps: 10000000\nthreads: 1\n")
    with RayCluster(RayOptions(), 1) as cluster, cluster.begin([long]) as command:
        while command.poll() is None and not (long.path / "metrics.jsonl").exists():
            time.sleep(0.1)
        command.terminate()
        assert command.wait() == 1 and command.error
        deadline = time.monotonic() + 60
        while trainers(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.5)
        time.sleep(5)
        assert not trainers(tmp_path) and sessions(long.path) == [0]
