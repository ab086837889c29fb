"""Runs whose agent diverges, and evaluations that would never end or are interrupted."""

import json
import os
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
import pytest

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.native import VectorBackend
from palaestra.envs.make import EnvSpec
from palaestra.training.cli.main import run
from palaestra.training.run.build import evaluation_limit
from palaestra.training.run.evaluate import Evaluation, evaluate, play
from palaestra.training.run.resuming import resume_run
from palaestra.training.run.session import Session
from palaestra.training.run.signals import StoppedError
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import list_checkpoints, verify
from palaestra.training.settings.usage import RunFailedError
from palaestra.training.tracking.metrics_file import read_metrics

ENVIRONMENTS = '''
import time
import gymnasium, numpy as np


class Stuck(gymnasium.Env):
    """Action 0 changes nothing and pays, so that the best policy never ends; `slow` seconds a step."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, slow=0.0, last=10, pay=1.0):
        self.slow, self.last, self.pay = slow, last, pay

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        time.sleep(self.slow)
        self.count += int(action == 1)
        return np.zeros(2, np.float32), self.pay * float(action == 0), self.count >= self.last, False, {}


class Odd(Stuck):
    """Pays 1e25: a number, whose square is none."""

    def __init__(self):
        super().__init__(pay=1e25)
'''


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "stuck_of_mine.py").write_text(ENVIRONMENTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


class Waiter:
    """Always takes action 0."""

    def initial_state(self, num_envs):
        return np.zeros((num_envs, 0), np.float32)

    def act(self, obs, state, first, explore=True):
        return np.zeros(len(first), np.int64), state


def test_episodes_without_an_end_are_cut_off_and_counted(capsys):
    evaluation = evaluate(Waiter(), EnvSpec("stuck_of_mine:Stuck", 1, max_steps=30), 60)
    assert evaluation.lengths == [30] * 60 and evaluation.returns == [30.0] * 60
    assert evaluation.cut == evaluation.summary()["cut"] == 60
    said = (
        "note: 60 of 60 evaluation episodes were cut off after 30 steps; --evaluate-max-steps N allows more"
    )
    assert said in capsys.readouterr().err


def test_episodes_that_end_by_themselves_are_not_counted():
    """CartPole's pole falls within 12 steps or so; 30 are enough, and one that is just in time is not cut."""
    free = evaluate(Waiter(), EnvSpec("CartPole-v1", 1, seed=1), 20)
    longest = max(free.lengths)
    assert evaluate(Waiter(), EnvSpec("CartPole-v1", 1, seed=1, max_steps=longest), 20) == free
    assert evaluate(Waiter(), EnvSpec("CartPole-v1", 1, seed=1, max_steps=longest - 1), 20).cut >= 1


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
def test_backends_that_reset_by_themselves_are_bounded_too(mode):
    mode = gymnasium.vector.AutoresetMode[mode]
    envs = gymnasium.make_vec(
        "CartPole-v1",
        2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
    )
    played = play(Waiter(), BackendEnvs(VectorBackend(envs, 0), max_steps=5), [3, 3], explore=False)
    assert [copy[0].length for copy in played] == [5, 5]
    assert all(len(copy) == 3 and copy[0].cut for copy in played)
    assert all(episode.length <= 5 for copy in played for episode in copy)


def test_the_limit_is_an_option_and_longer_ones_of_the_environment_count(small_config):
    assert evaluation_limit(small_config()) == 27_000
    assert evaluation_limit(small_config(env_kwargs={"max_episode_steps": 50_000})) == 50_000
    assert evaluation_limit(small_config(env_kwargs={"max_episode_steps": -1})) == 27_000
    assert evaluation_limit(small_config(evaluate_max_steps=7)) == 7


def test_a_signal_ends_an_evaluation():
    class Interrupted(Waiter):
        def act(self, *given, **more):
            signals.append(signal.SIGTERM)
            return super().act(*given, **more)

    signals = []
    with pytest.raises(StoppedError) as stop:
        evaluate(Interrupted(), EnvSpec("CartPole-v1", 1), 5, signals=signals)
    assert stop.value.number == signal.SIGTERM and len(signals) == 1


def test_an_evaluation_that_was_interrupted_is_made_up_for(small_config, tmp_path, monkeypatch):
    """The checkpoint is there before it, so the run goes on after it, but with it."""
    options = {"evaluate_every": 800, "checkpoint_every": 400, "log_every": 400}
    start_run(small_config(**options), tmp_path / "alone")
    whole = Session.evaluate

    def interrupted(session, actor):
        session.signals.append(signal.SIGTERM)
        whole(session, actor)

    monkeypatch.setattr(Session, "evaluate", interrupted)
    result = start_run(small_config(**options), tmp_path / "stopped")
    assert result.step == 800 and result.signal == signal.SIGTERM
    assert [int(path.name) for path in list_checkpoints(tmp_path / "stopped")] == [400, 800]
    assert not (tmp_path / "stopped" / "evaluations.json").exists()
    monkeypatch.setattr(Session, "evaluate", whole)
    resume_run(tmp_path / "stopped")
    rows = [
        [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_metrics(tmp_path / name)]
        for name in ("alone", "stopped")
    ]
    assert rows[0] == rows[1]
    evaluations = [(tmp_path / name / "evaluations.json").read_text() for name in ("alone", "stopped")]
    assert evaluations[0] == evaluations[1]


TRAIN = ["--env", "stuck_of_mine:Stuck", "--num-envs", "2", "--track", "none", "--agent.rollout-length", "16"]


def begin(out, *words):
    code = "import sys; from palaestra.training.cli.main import run; sys.exit(run(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words, "--out", str(out)], stderr=subprocess.PIPE, text=True, bufsize=1
    )


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGHUP],
    ids=lambda number: signal.Signals(number).name,
)
def test_a_signal_in_an_endless_evaluation_stops_with_a_checkpoint(number, tmp_path):
    words = ["train", "ppo", *TRAIN, "--steps", "400", "--env-kwargs", "last=400", "slow=0.002"]
    words += ["--evaluate-every", "100", "--checkpoint-every", "100", "--log-every", "10"]
    process = begin(tmp_path / "run", *words)
    while not list_checkpoints(tmp_path / "run"):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(number)
    sent = time.perf_counter()
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, errors
    assert time.perf_counter() - sent < 20
    verify(list_checkpoints(tmp_path / "run")[-1])


def test_a_signal_to_the_whole_group_leaves_a_checkpoint(tmp_path):
    words = ["train", "ppo", *TRAIN, "--steps", "100k", "--backend", "async", "--env.workers", "2"]
    code = "import sys; from palaestra.training.cli.main import run; sys.exit(run(sys.argv[1:]))"
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "--log-every", "100", "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (out / "metrics.jsonl").exists() or not read_metrics(out):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert f"go on with: palaestra train --resume {out}" in output
    verify(list_checkpoints(out)[-1])


@pytest.mark.parametrize(
    ("agent", "env", "options", "said"),
    [
        ("ppo", "CartPole-v1", ["--agent.learning-rate", "1e30"], "loss/policy is nan"),
        (
            "dqn",
            "CartPole-v1",
            ["--agent.learning-rate", "1e30", "--agent.learning-starts", "100"],
            "loss/q is",
        ),
        ("pqn", "CartPole-v1", ["--agent.learning-rate", "1e30"], "loss/q is"),
        ("ddpg", "Pendulum-v1", ["--agent.learning-rate", "1e30", "--agent.learning-starts", "100"], ""),
        ("ppo", "stuck_of_mine:Odd", [], "loss/value is inf"),
        ("sb3/ppo", "CartPole-v1", ["--agent.learning-rate", "1e30"], "it has diverged"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_diverged_run_stops_and_keeps_what_was_sound(agent, env, options, said, tmp_path, capsys):
    out = tmp_path / "run"
    words = [
        "train",
        agent,
        "--env",
        env,
        "--steps",
        "6000",
        "--log-every",
        "100",
        "--track",
        "none",
        *options,
    ]
    assert run([*words, "--evaluate-every", "100k", "--evaluate-episodes", "1", "--out", str(out)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: agent {agent} cannot go on at step ") and said in error
    assert f"learning_rate in {out / 'config.yaml'}" in error
    assert error.endswith(f"palaestra train --resume {out}" + " --trust" * (":" in env))
    for path in list_checkpoints(out):
        verify(path)
    assert not (out / "summary.json").exists()
    assert "NaN" not in (out / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("acts", "said"),
    [
        (99, "at step 392: it chose actions (1,) of int64, where 4 copies take numbers (4,)"),
        (
            101,
            "at step 400: in an evaluation the agent chose actions (1,) of int64, where 20 copies take numbers (20,)",
        ),
    ],
)
def test_smaller_steps_are_no_advice_where_actions_have_another_form(acts, said, tmp_path, capsys):
    (tmp_path / f"acts_{acts}_times.py").write_text(
        "from palaestra.agents.ppo import PPO\n"
        "class Short(PPO):\n"
        "    acted = 0\n"
        "    def act(self, obs, state, first, explore=True):\n"
        "        self.acted += 1\n"
        "        action, state = super().act(obs, state, first, explore)\n"
        f"        return action[: 1 if self.acted > {acts} else None], state\n"
    )
    words = (
        f"train acts_{acts}_times:Short --env CartPole-v1 --steps 2000 --num-envs 4 --track none --out run"
    )
    assert run([*words.split(), "--evaluate-every", "400"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: agent acts_{acts}_times:Short cannot go on {said}; what its `act` returns has to be changed"
    )


def test_a_diverged_run_goes_on_with_a_smaller_step_size(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["train", "ppo", "--env", "CartPole-v1", "--steps", "4000", "--agent.learning-rate", "1e30"]
    assert run([*words, "--track", "none", "--evaluate-episodes", "1", "--out", str(out)]) == 1
    saved = list_checkpoints(out)
    assert f"go on from the checkpoint of step {int(saved[-1].name):,}" in capsys.readouterr().err
    config = out / "config.yaml"
    config.write_text(config.read_text().replace("learning_rate: 1.0e+30", "learning_rate: 0.001"))
    assert "0.001" in config.read_text()
    assert run(["train", "--resume", str(out)]) == 0
    assert json.loads((out / "summary.json").read_text())["step"] >= 4000


class Dizzy(Waiter):
    def act(self, obs, state, first, explore=True):
        return np.full((len(first), 1), np.nan, np.float32), state


def test_what_an_agent_chooses_in_an_evaluation_is_checked():
    with pytest.raises(RunFailedError, match=r"the agent chose \[nan\] in copy 0, which is no action"):
        evaluate(Dizzy(), EnvSpec("Pendulum-v1", 1), 1)


def test_evaluations_of_before_had_none_cut():
    assert Evaluation([1.0], [1]).summary()["cut"] == 0
