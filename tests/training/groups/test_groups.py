"""A seed of a group is, bit for bit, the run that the seed is alone; killed, resumed and stopped like one."""

import functools
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from palaestra.training.cli import main as cli
from palaestra.training.cli.main import run
from palaestra.training.groups import start as groups
from palaestra.training.groups.acting import JointActing
from palaestra.training.groups.loop import Group
from palaestra.training.groups.seeds import parse_seeds
from palaestra.training.groups.start import group_folders, resume_group, start_group
from palaestra.training.run import session
from palaestra.training.run.resuming import resume_run
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import STATE, TENSORS, latest_checkpoint, list_checkpoints
from palaestra.training.settings.train_options import read_train_options
from palaestra.training.settings.trust import trusting
from palaestra.training.settings.usage import UsageError
from palaestra.training.tracking.metrics_file import read_metrics

CLOCKS = "--checkpoint-every 200 --log-every 150 --evaluate-every 400 --evaluate-episodes 1 --track none"
SMALL = "--encoder.hidden 8 --compile off"
REPLAY = (
    "--agent.learning-starts 200 --agent.replay-capacity 600 --agent.train-every 16 --agent.gradient-steps 1 "
    "--compile off"
)
NARROW = f"--agent.hidden 16 --agent.batch-size 32 {REPLAY}"
KINDS = {
    "ppo, native vector with resets in steps": "ppo --env CartPole-v1 --steps 900 "
    f"--agent.rollout-length 20 --agent.epochs 2 {SMALL}",
    "ppo, vector of ours": "ppo --env palaestra/CartPoleNoVel-v0 --memory none --steps 900 "
    f"--agent.rollout-length 20 --agent.epochs 2 {SMALL}",
    "ppo, sync, normalisers, noise": "ppo --env Pendulum-v1 --steps 900 --num-envs 3 --agent.rollout-length 40 "
    f"--agent.epochs 2 --agent.normalize-reward --encoder.normalize --agent.noise-correlation 0.5 {SMALL}",
    "ppo, wrappers": "ppo --env CartPole-v1 --steps 800 --num-envs 2 --frame-stack 2 --show-previous "
    f"--agent.rollout-length 40 --agent.epochs 2 {SMALL}",
    "ppo, an update that stops early": "ppo --env CartPole-v1 --steps 900 --num-envs 2 --agent.rollout-length 64 "
    f"--agent.batch-size 16 --agent.target-kl 0.002 --agent.learning-rate 0.01 {SMALL}",
    "pqn": f"pqn --env CartPole-v1 --steps 900 --agent.hidden 16 {SMALL}",
    "reinforce": f"reinforce --env CartPole-v1 --steps 2500 --num-envs 3 {SMALL}",
    "dqn": f"dqn --env CartPole-v1 --steps 900 --num-envs 2 {NARROW}",
    "dqn, rainbow": "dqn --config rainbow --env CartPole-v1 --steps 800 --num-envs 2 --agent.value-min 0 "
    f"--agent.value-max 100 {NARROW}",
    "dqn, dueling, c51": "dqn --env CartPole-v1 --steps 800 --num-envs 2 --agent.dueling --agent.distribution c51 "
    f"--agent.atoms 11 --agent.value-max 100 --agent.value-min 0 {NARROW}",
    "ddpg, wide layers": f"ddpg --env Pendulum-v1 --steps 800 --num-envs 2 --agent.actor-hidden 128 128 {REPLAY}",
    "td3, persistent noise": "ddpg --config td3 --env Pendulum-v1 --steps 800 --num-envs 2 "
    f"--agent.noise ornstein-uhlenbeck --agent.batch-size 32 --agent.actor-hidden 16 --agent.critic-hidden 16 {REPLAY}",
}


@functools.cache
def config_of_words(words, seed):
    agent, *options = words.split()
    return read_train_options(agent, [*options, *([] if seed is None else ["--seed", str(seed)])])[0]


def config_of(kind, seed=None):
    return config_of_words(f"{KINDS[kind]} {CLOCKS}", seed)


def everything(run_dir):
    """All that a run leaves, but for the clock on the wall."""
    checkpoint = latest_checkpoint(run_dir)
    state = json.loads((checkpoint / STATE).read_text())
    state["clock"] = {name: state["clock"][name] for name in ("step", "updates")}
    rows = [
        {name: value for name, value in row.items() if not name.startswith("time/")}
        for row in read_metrics(run_dir)
    ]
    evaluations = json.loads((run_dir / "evaluations.json").read_text())
    return checkpoint.name, (checkpoint / TENSORS).read_bytes(), state, rows, evaluations


def start(kind, folder, seeds=(1, 2)):
    return start_group(config_of(kind), seeds, group_folders(config_of(kind), seeds, folder))


def check_same(one, other):
    """Compare piece by piece, for a failure that can be read."""
    for mine, theirs in zip(everything(one), everything(other), strict=True):
        assert mine == theirs


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_of_a_group_is_the_run_that_it_is_alone(kind, tmp_path):
    result = start(kind, tmp_path / "group")
    assert result.signal is None and not result.failed
    start_run(config_of(kind, 2), tmp_path / "alone")
    check_same(tmp_path / "group/seed2", tmp_path / "alone")
    names = {path.name for path in (tmp_path / "alone").iterdir()} - {".lock"}
    assert {path.name for path in (tmp_path / "group/seed2").iterdir()} - {".lock"} == names


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch warns about itself when it compiles
@pytest.mark.parametrize("kind", ["ppo, native vector with resets in steps", "dqn", "td3, persistent noise"])
def test_what_is_compiled_for_all_is_what_is_compiled_for_one(kind, tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, kind, KINDS[kind].replace("--compile off", "--compile on"))
    start(kind, tmp_path / "group")
    start_run(config_of(kind, 2), tmp_path / "alone")
    check_same(tmp_path / "group/seed2", tmp_path / "alone")


class KilledError(BaseException):
    """What a SIGKILL is to a test."""


def kill_after_saves(monkeypatch, count):
    """Let only so many checkpoints be written."""
    saved, save = [], session.save_checkpoint

    def save_or_die(*arguments):
        if len(saved) == count:
            raise KilledError
        saved.append(save(*arguments))
        return saved[-1]

    monkeypatch.setattr(session, "save_checkpoint", save_or_die)


@pytest.mark.parametrize(
    "kind", ["ppo, native vector with resets in steps", "dqn", "reinforce", "ppo, vector of ours"]
)
def test_a_group_that_was_killed_between_two_of_its_checkpoints_goes_on_exactly(kind, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        kill_after_saves(patched, 5)
        with pytest.raises(KilledError):
            start(kind, tmp_path / "group")
    folders = [tmp_path / "group/seed1", tmp_path / "group/seed2"]
    assert len({len(list_checkpoints(folder)) for folder in folders}) <= 2
    result = resume_group(folders)
    assert all(each is not None for each in result.results)
    for seed, folder in zip((1, 2), folders, strict=True):
        start_run(config_of(kind, seed), tmp_path / f"alone{seed}")
        check_same(folder, tmp_path / f"alone{seed}")


def test_a_run_of_a_group_goes_on_alone(tmp_path, monkeypatch):
    kind = "ppo, native vector with resets in steps"
    with monkeypatch.context() as patched:
        kill_after_saves(patched, 4)
        with pytest.raises(KilledError):
            start(kind, tmp_path / "group")
    resume_run(tmp_path / "group/seed1")
    start_run(config_of(kind, 1), tmp_path / "alone")
    check_same(tmp_path / "group/seed1", tmp_path / "alone")
    # One has its steps: the group that is left is the other one.
    resume_group([tmp_path / "group/seed1", tmp_path / "group/seed2"])
    assert (tmp_path / "group/seed2/summary.json").is_file()


@pytest.mark.parametrize("kind", ["dqn", "ppo, native vector with resets in steps"])
def test_a_finished_group_goes_on_to_more_steps(kind, tmp_path):
    """Rollouts that end at steps of their own cannot go on side by side; one by one they do."""
    start(kind, tmp_path / "group")
    folders = [tmp_path / "group/seed1", tmp_path / "group/seed2"]
    resume_group(folders, steps=1300)
    assert all(int(latest_checkpoint(folder).name) >= 1300 for folder in folders)
    start_run(config_of(kind, 2), tmp_path / "alone")
    resume_run(tmp_path / "alone", steps=1300)
    check_same(folders[1], tmp_path / "alone")


def test_a_longer_group_says_what_becomes_of_its_schedules_once(tmp_path, capsys):
    words = ["--agent.learning-rate", "linear(0.001, 0)", "--agent.epsilon", "0.1"]
    config, _ = read_train_options("dqn", [*f"{KINDS['dqn']} {CLOCKS}".split()[1:], *words])
    folders = [tmp_path / "seed1", tmp_path / "seed2"]
    start_group(config, [1, 2], folders)
    capsys.readouterr()
    assert run(["train", "--resume", str(tmp_path), "--steps", "1300", "--schedule-steps", "900"]) == 0
    assert "schedules" not in capsys.readouterr().err
    later = [row for row in read_metrics(folders[1]) if row["step"] > 900 and "policy/learning_rate" in row]
    assert later and all(row["policy/learning_rate"] == 0 for row in later)
    resume_group(folders, steps=1700, schedule_steps=1700)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "schedules" in line]
    assert "1,700 steps now, not 900" in line and "agent.learning-rate 0 -> 0.000" in line


def test_a_group_says_where_its_code_has_changed(tmp_path, monkeypatch, capsys):
    file = tmp_path / "room.py"
    file.write_text("from palaestra.envs.tasks.corridor import Corridor\n\nclass Room(Corridor):\n    pass\n")
    words = f"--env {file}:Room --steps 300 {NARROW} {CLOCKS} --env-kwargs max_episode_steps=20".split()
    folders = [tmp_path / "seed1", tmp_path / "seed2"]
    with trusting(everything=True):
        start_group(read_train_options("dqn", words)[0], [1, 2], folders)
        file.write_text(file.read_text() + "\n# another room\n")
        capsys.readouterr()
        resume_group(folders, steps=400)
    assert "room.py has changed since the last session" in capsys.readouterr().err


def test_a_refused_group_keeps_its_configs(tmp_path, monkeypatch):
    start("dqn", tmp_path)
    folders = [tmp_path / "seed1", tmp_path / "seed2"]
    before = [(folder / "config.yaml").read_text() for folder in folders]

    def gone(*arguments):
        raise UsageError("no environment")

    monkeypatch.setattr(groups, "make_together", gone)
    with pytest.raises(UsageError, match="no environment"):
        resume_group(folders, steps=1300)
    assert [(folder / "config.yaml").read_text() for folder in folders] == before


def test_runs_that_were_begun_alone_go_on_together(tmp_path):
    for seed in (1, 2):
        start_run(config_of("dqn", seed), tmp_path / f"alone{seed}")
        start_run(config_of("dqn", seed), tmp_path / f"seed{seed}")
        resume_run(tmp_path / f"alone{seed}", steps=1300)
    result = resume_group([tmp_path / "seed1", tmp_path / "seed2"], steps=1300)
    assert not result.failed
    check_same(tmp_path / "seed2", tmp_path / "alone2")


def test_a_run_that_fails_leaves_the_others_alone(tmp_path, monkeypatch, capfd):
    check = session.Session.check

    def check_or_fail(self, parts, meter):
        if self.config.seed == 1 and self.clock.step > 500:
            raise self.failed("it has diverged: as the test wants")
        check(self, parts, meter)

    monkeypatch.setattr(session.Session, "check", check_or_fail)
    result = start("pqn", tmp_path / "group")
    assert [each is None for each in result.results] == [True, False]
    assert "as the test wants" in capfd.readouterr().err
    monkeypatch.undo()
    start_run(config_of("pqn", 2), tmp_path / "alone")
    check_same(tmp_path / "group/seed2", tmp_path / "alone")


def test_a_start_that_was_killed_while_it_wrote_configs_is_begun_again(tmp_path, monkeypatch):
    written, save = [], groups.save_config

    def save_or_die(folder, config):
        if len(written) == 1:
            raise KilledError
        written.append(save(folder, config))

    with monkeypatch.context() as patched:
        patched.setattr(groups, "save_config", save_or_die)
        with pytest.raises(KilledError):
            start("pqn", tmp_path / "group")
    folders = group_folders(config_of("pqn"), (1, 2), tmp_path / "group")
    with pytest.raises(UsageError, match="seed1 is not empty"):
        start_group(config_of("dqn"), (1, 2), folders)  # what lies there is of another run
    result = start("pqn", tmp_path / "group")
    assert all(each is not None for each in result.results)


def test_what_holds_for_all_runs_is_said_once(tmp_path, capfd):
    words = f"{KINDS['pqn']} {CLOCKS} --evaluate-max-steps 5"
    folders = [tmp_path / f"seed{seed}" for seed in (1, 2)]
    start_group(config_of_words(words, None), (1, 2), folders)
    assert capfd.readouterr().err.count("were cut off after 5 steps") == 1


def test_a_run_that_chooses_no_number_leaves_the_others_alone(tmp_path, monkeypatch, capfd):
    """Its networks are not looked at before the next row of metrics, but its actions go to all environments at once."""
    kind, act, acted = "ppo, sync, normalisers, noise", JointActing.act, []

    def odd(self, obs, state, first):
        action, state = act(self, obs, state, first)
        acted.append(None)
        if len(acted) > 90:
            action[1] = np.nan
        return action, state

    monkeypatch.setattr(JointActing, "act", odd)
    shares, leave = [], Group._leave

    def left(self, over, learning):
        leave(self, over, learning)
        shares.extend([member.clock.cpu_share for member in self.members] if over else [])

    monkeypatch.setattr(Group, "_leave", left)
    result = start(kind, tmp_path / "group")
    assert [each is None for each in result.results] == [True, False]
    said = capfd.readouterr().err
    assert "at step 270: it chose [nan] in copy 1" in said and said.count("error:") == 1
    assert shares[:2] == [0.0, 1.0]
    monkeypatch.undo()
    start_run(config_of(kind, 2), tmp_path / "alone")
    check_same(tmp_path / "group/seed2", tmp_path / "alone")


def test_one_of_those_one_after_another_that_fails_does_not_keep_others_back(tmp_path, monkeypatch, capfd):
    check = session.Session.check

    def check_or_fail(self, parts, meter):
        if self.config.seed == 1:
            raise self.failed("it has diverged: as the test wants")
        check(self, parts, meter)

    monkeypatch.setattr(session.Session, "check", check_or_fail)
    words = "ppo --env CartPole-v1 --steps 160 --num-envs 2 --agent.rollout-length 20 --memory gru --memory.hidden 4"
    folders = [tmp_path / f"seed{seed}" for seed in (1, 2)]
    result = start_group(config_of_words(f"{words} {CLOCKS}", None), (1, 2), folders)
    assert [each is None for each in result.results] == [True, False]
    assert result.failed == folders[:1] and "as the test wants" in capfd.readouterr().err


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_of_each_run_and_says_how_to_go_on(number, tmp_path):
    options = f"--steps 1M --seeds [3,5] --out group {SMALL} --track none --log-every 100 --compile off"
    words = ["train", "ppo", "--env", "CartPole-v1", *options.split()]
    process = subprocess.Popen(
        [sys.executable, "-m", cli.__name__, *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    rows = tmp_path / "group/seed5/metrics.jsonl"
    while not (rows.exists() and rows.stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert output.splitlines()[-1].endswith("go on with: palaestra train --resume group")
    assert all(len(list_checkpoints(tmp_path / f"group/seed{seed}")) == 1 for seed in (3, 5))


def test_seeds_as_they_are_typed():
    assert parse_seeds("3") == [0, 1, 2]
    assert parse_seeds("10-12") == [10, 11, 12]
    assert parse_seeds("[3,5]") == parse_seeds("3, 5") == [3, 5]
    for wrong in ("", "0", "x", "5-3", "-2", "1,1", "[3", "3;5", "2-", "1.5", "99999999"):
        with pytest.raises(UsageError, match="--seeds"):
            parse_seeds(wrong)


def test_wrong_requests_are_one_line_and_leave_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ppo = ["train", "ppo", "--env", "CartPole-v1", "--track", "none"]
    assert run([*ppo, "--seed", "1", "--seeds", "3"]) == 2
    assert capsys.readouterr().err == "error: --seed and --seeds: give one of them\n"
    assert run([*ppo, "--seeds", "three"]) == 2
    assert "(10-19)" in capsys.readouterr().err
    assert run([*ppo, "--seeds", "2", "--agent.gamma", "2"]) == 2
    assert not list(tmp_path.iterdir())


def test_runs_that_differ_in_more_than_seeds_are_refused(tmp_path):
    for seed, kind in ((1, "dqn"), (2, "dqn, rainbow")):
        start_run(config_of(kind, seed), tmp_path / f"{seed}")
    with pytest.raises(UsageError, match="differ in steps: resume them one by one"):
        resume_group([tmp_path / "1", tmp_path / "2"])
    with pytest.raises(UsageError, match="same seed"):
        resume_group([tmp_path / "1", tmp_path / "1/../1"])


def test_what_cannot_be_stepped_together_is_trained_one_after_another(tmp_path, capfd):
    words = f"--env palaestra/Recall-v0 --steps 600 --num-envs 4 --agent.rollout-length 20 {SMALL} {CLOCKS}"
    config, _ = read_train_options("ppo", [*words.split(), "--memory", "gru", "--memory.hidden", "4"])
    result = start_group(config, [0, 1], group_folders(config, [0, 1], tmp_path))
    assert "one after another: a memory (gru)" in capfd.readouterr().err
    assert [each.step for each in result.results] == [600, 600]


def test_a_group_learns_the_smallest_problem_that_can_tell(tmp_path):
    words = ["--env", "palaestra/ProbeAction-v0", "--steps", "6000", "--compile", "off", "--track", "none"]
    config, _ = read_train_options("ppo", words)
    result = start_group(config, [0, 1, 2], group_folders(config, [0, 1, 2], tmp_path))
    returns = [each.evaluation.summary()["return_mean"] for each in result.results]
    assert np.min(returns) > 0.9
