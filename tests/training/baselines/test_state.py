"""Stable-Baselines3's algorithms go on from a checkpoint as if they had never been stopped, bit for bit."""

import json
import signal
import zipfile
from contextlib import closing

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.envs.make import make_envs
from palaestra.training.baselines import loop as baseline_loop
from palaestra.training.baselines.model import build_model
from palaestra.training.baselines.state import Episodes, Generators
from palaestra.training.run.build import training_spec
from palaestra.training.run.listing import describe_run
from palaestra.training.run.loaded import load_run
from palaestra.training.run.resuming import resume_run
from palaestra.training.run.session import Session
from palaestra.training.run.start import start_run
from palaestra.training.run.storage.checkpoint import list_checkpoints
from palaestra.training.settings.config import run_config
from palaestra.training.settings.trust import trusting
from palaestra.training.tracking.metrics_file import read_metrics

LIBRARIES = {
    "PPO": pytest.importorskip("stable_baselines3"),
    "MaskablePPO": pytest.importorskip("sb3_contrib"),
}
pytestmark = pytest.mark.filterwarnings("ignore")

ROLLOUT = {"n_steps": 16, "net_arch": [8]}
SMALL_PPO = ROLLOUT | {"batch_size": 16, "n_epochs": 2}
REPLAY = {"learning_starts": 40, "buffer_size": 150, "batch_size": 16, "train_freq": 4, "net_arch": [8]}
BOTH_NORMALIZED = {"normalize_obs": True, "normalize_reward": True}
# Algorithm, environment and options; each has something to remember that the others have not.
KINDS = {
    "ppo": ("sb3/ppo", "CartPole-v1", SMALL_PPO | {"learning_rate": "linear(0.001, 0)"}),
    "ppo, normalised": ("sb3/ppo", "Pendulum-v1", SMALL_PPO | BOTH_NORMALIZED),
    "ppo, noise for its parameters": (
        "sb3/ppo",
        "Pendulum-v1",
        SMALL_PPO | {"use_sde": True, "sde_sample_freq": 4},
    ),
    "ppo, Dict": ("sb3/ppo", "Masked-v1", SMALL_PPO),
    "a2c": ("sb3/a2c", "CartPole-v1", ROLLOUT),
    "trpo": ("sb3/trpo", "Pendulum-v1", ROLLOUT | {"batch_size": 16}),
    "recurrent ppo": ("sb3/recurrent_ppo", "CartPole-v1", SMALL_PPO),
    "maskable ppo": ("sb3/maskable_ppo", "Masked-v1", SMALL_PPO),
    "maskable ppo, pictures that it transposes": ("sb3/maskable_ppo", "Coloured-v0", SMALL_PPO),
    "dqn": ("sb3/dqn", "CartPole-v1", REPLAY | {"target_update_interval": 24}),
    "dqn, targets of three steps": ("sb3/dqn", "CartPole-v1", REPLAY | {"n_steps": 3}),
    "dqn, Dict": ("sb3/dqn", "Masked-v1", REPLAY),
    "qrdqn": ("sb3/qrdqn", "CartPole-v1", REPLAY),
    "ddpg": ("sb3/ddpg", "Pendulum-v1", REPLAY | {"noise": "ornstein-uhlenbeck"}),
    "td3, normalised": ("sb3/td3", "Pendulum-v1", REPLAY | BOTH_NORMALIZED | {"noise": "gaussian"}),
    "sac": ("sb3/sac", "Pendulum-v1", REPLAY),
    "tqc": ("sb3/tqc", "Pendulum-v1", REPLAY),
    "crossq": ("sb3/cross_q", "Pendulum-v1", REPLAY),
}
# Their state is of the same parts as that of another one.
LIKE_OTHERS = ("trpo", "qrdqn", "tqc", "crossq")


class Masked(gymnasium.Env):
    """Half of the actions are allowed; which ones follows from a number that is drawn."""

    observation_space = spaces.Dict(
        {"x": spaces.Box(0, 1, (2,), np.float32), "action_mask": spaces.MultiBinary(4)}
    )
    action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.look(), {}

    def look(self):
        self.x = self.np_random.random(2, np.float32)
        allowed = np.arange(4) % 2 == (self.x[0] > 0.5)
        return {"x": self.x, "action_mask": allowed.astype(np.int8)}

    def step(self, action):
        self.time += 1
        reward = float(self.x[action // 2])
        return self.look(), reward, self.time == 9, False, {}


class Coloured(Masked):
    """The same in pictures; an action that is forbidden is an error."""

    observation_space = spaces.Dict(
        {"x": spaces.Box(0, 255, (36, 36, 3), np.uint8), "action_mask": spaces.MultiBinary(4)}
    )

    def look(self):
        seen = super().look()
        self.allowed = seen["action_mask"]
        return seen | {"x": np.full((36, 36, 3), 255 * self.x[0], np.uint8)}


gymnasium.register("Masked-v1", Masked)
gymnasium.register("Coloured-v0", Coloured)


def config_of(name, env, agent, **values):
    clocks = {
        "steps": 320,
        "evaluate_every": 100,
        "evaluate_episodes": 1,
        "log_every": 30,
        "checkpoint_every": 48,
    }
    block = {"agent": {"name": name} | agent, "env": env, "num_envs": 2, "track": "none", "device": "cpu"}
    return run_config(clocks | block | values)


def left(run_dir):
    """Everything that a run leaves but for its times: rows of metrics, evaluations, parameters."""
    rows = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_metrics(run_dir)]
    with zipfile.ZipFile(run_dir / "model.zip") as archive:
        networks = {name: archive.read(name) for name in archive.namelist() if name.endswith(".pth")}
    return json.dumps(rows), (run_dir / "evaluations.json").read_text(), networks


class Killed(Exception):  # noqa: N818
    """Ends a run where it is, as SIGKILL does: nothing of ours is written after it."""


def stop_at(step):
    """Let a model of Stable-Baselines3 end at a step."""

    def after_step(local, outer):
        if local["self"].num_timesteps >= step:
            raise Killed
        return True

    return after_step


def kill_at(monkeypatch, step):
    """Let runs of baselines end at a step."""
    after_step = baseline_loop.Callback.__call__

    def interrupted(self, *arguments):
        go_on = after_step(self, *arguments)
        if self.session.clock.step >= step:
            raise Killed
        return go_on

    monkeypatch.setattr(baseline_loop.Callback, "__call__", interrupted)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind in LIKE_OTHERS else []) for kind in KINDS]
)
def test_a_killed_run_equals_one_left_alone(kind, tmp_path, monkeypatch):
    config = config_of(*KINDS[kind])
    start_run(config, tmp_path / "alone")
    for step in (180, 250):
        with monkeypatch.context() as patched:
            kill_at(patched, step)
            with pytest.raises(Killed):
                if step == 180:
                    start_run(config, tmp_path / "killed")
                else:
                    resume_run(tmp_path / "killed")
        saved = [int(path.name) for path in list_checkpoints(tmp_path / "killed")]
        assert len(saved) == 2 and step - 80 < saved[-1] <= step
    assert load_run(tmp_path / "killed").step == saved[-1]
    assert resume_run(tmp_path / "killed").step == 320
    assert left(tmp_path / "killed") == left(tmp_path / "alone")
    assert not list_checkpoints(tmp_path / "killed")  # nothing goes on from a finished run


def test_what_acts_in_an_unfinished_run_is_what_its_checkpoint_holds(tmp_path, monkeypatch):
    config = config_of(*KINDS["td3, normalised"])
    kill_at(monkeypatch, 200)
    with pytest.raises(Killed):
        start_run(config, tmp_path / "run")
    monkeypatch.undo()
    obs = np.array([[0.5, -0.5, 2.0]], np.float32)

    def action():
        actor = load_run(tmp_path / "run").agent
        return actor.act(obs, actor.initial_state(1), np.array([True]), explore=False)[0]

    before = action()
    assert describe_run(tmp_path / "run").step == 192
    # The same steps, ending there.
    start_run(config_of(*KINDS["td3, normalised"], steps=192), tmp_path / "short")
    actor = load_run(tmp_path / "short").agent
    np.testing.assert_array_equal(
        before, actor.act(obs, actor.initial_state(1), np.array([True]), explore=False)[0]
    )


@pytest.mark.parametrize(("kind", "lost"), [("dqn", 8), ("ppo", 80)])
def test_a_signal_loses_no_more_than_a_rollout_or_what_follows_the_last_checkpoint(
    kind, lost, tmp_path, monkeypatch
):
    config = config_of(*KINDS[kind])
    after_step = baseline_loop.Callback.__call__

    def signalled(self, *arguments):
        if self.session.clock.step == 198:
            signal.raise_signal(signal.SIGTERM)
        return after_step(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(baseline_loop.Callback, "__call__", signalled)
        result = start_run(config, tmp_path / "run")
    assert result.signal == signal.SIGTERM and not (tmp_path / "run" / "model.zip").exists()
    assert abs(int(list_checkpoints(tmp_path / "run")[-1].name) - 198) <= lost
    resume_run(tmp_path / "run")
    start_run(config, tmp_path / "alone")
    assert left(tmp_path / "run") == left(tmp_path / "alone")


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("ppo, normalised", "PPO"), ("maskable ppo, pictures that it transposes", "MaskablePPO")],
)
def test_where_episodes_cannot_be_restored_the_model_is_told_of_new_ones(kind, algorithm, monkeypatch):
    config = config_of(*KINDS[kind])
    with closing(make_envs(training_spec(config))) as envs:
        model, normalizer = build_model(getattr(LIBRARIES[algorithm], algorithm), config, envs, [])
        with pytest.raises(Killed):
            model.learn(320, callback=stop_at(100))
        # As after an episode that is too long to be replayed.
        begin = envs.load_state_dict

        def begin_next(state):
            begin(state)
            envs.begin_next()
            return False

        monkeypatch.setattr(envs, "load_state_dict", begin_next)
        episodes = Episodes(model, normalizer, envs)
        episodes.load_state_dict(episodes.state_dict())
        assert model._last_episode_starts.all() and envs.first.all()
        shown = model._last_obs
        if normalizer is None:
            np.testing.assert_array_equal(shown["x"].transpose(0, 2, 3, 1), envs.obs["x"])
        else:
            np.testing.assert_array_equal(shown, normalizer.normalize_obs(envs.obs))
            np.testing.assert_array_equal(normalizer.old_obs, envs.obs)
            assert not normalizer.returns.any()
        model.learn(32, reset_num_timesteps=False)


def test_generators_of_a_gpu_are_left_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    # Without a GPU torch keeps the call for later, and fails then.
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *arguments: pytest.fail("there is no GPU"))
    generators = Generators(spaces.Discrete(2))
    state = generators.state_dict() | {"cuda": [torch.zeros(16, dtype=torch.uint8)]}
    drawn = torch.rand(1), np.random.rand()
    generators.load_state_dict(state)
    assert (torch.rand(1), np.random.rand()) == drawn


def test_a_signal_in_the_last_evaluation_keeps_what_the_run_goes_on_from(tmp_path, monkeypatch):
    config = config_of(*KINDS["dqn"])
    start_run(config, tmp_path / "alone")
    evaluate = Session.evaluate

    def signalled(self, actor):
        if self.clock.step >= 320:
            signal.raise_signal(signal.SIGTERM)
        evaluate(self, actor)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "evaluate", signalled)
        assert start_run(config, tmp_path / "run").signal == signal.SIGTERM
    assert int(list_checkpoints(tmp_path / "run")[-1].name) > 200
    resume_run(tmp_path / "run")
    assert left(tmp_path / "run") == left(tmp_path / "alone")


@pytest.mark.parametrize("kind", ["dqn", "ppo"])
def test_an_evaluation_that_a_signal_ends_is_made_again_of_the_same_model(kind, tmp_path, monkeypatch):
    config = config_of(*KINDS[kind], evaluate_every=101)
    start_run(config, tmp_path / "alone")
    evaluate = Session.evaluate

    def signalled(self, actor):
        if 200 < self.clock.step < 210:
            signal.raise_signal(signal.SIGTERM)
        evaluate(self, actor)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "evaluate", signalled)
        assert start_run(config, tmp_path / "run").signal == signal.SIGTERM
    resume_run(tmp_path / "run")
    assert left(tmp_path / "run") == left(tmp_path / "alone")


@pytest.mark.parametrize("summary", ["", '{"step": null}', "[]"])
def test_a_damaged_summary_is_no_end(summary, tmp_path):
    config = config_of(*KINDS["a2c"])
    start_run(config, tmp_path / "run")
    undisturbed = left(tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text(summary)
    resume_run(tmp_path / "run")
    assert left(tmp_path / "run") == undisturbed


def test_a_model_stays_until_the_next_one_takes_its_place(tmp_path, monkeypatch):
    config = config_of(*KINDS["a2c"])
    start_run(config, tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text("{")
    before = (tmp_path / "run" / "model.zip").read_bytes()

    def stopped(session, learned, meter):
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "check", stopped)
        assert resume_run(tmp_path / "run").signal == signal.SIGTERM
    assert (tmp_path / "run" / "model.zip").read_bytes() == before


def test_an_algorithm_that_holds_what_no_checkpoint_can_says_so_and_trains(tmp_path, monkeypatch, capsys):
    (tmp_path / "odd_algorithm.py").write_text(
        "import threading\n"
        "from stable_baselines3 import PPO\n\n"
        "class Odd(PPO):\n"
        "    def _setup_model(self):\n"
        "        super()._setup_model()\n"
        "        self.guard = threading.Lock()\n"
        "    def _excluded_save_params(self):\n"
        "        return [*super()._excluded_save_params(), 'guard']\n"
    )
    monkeypatch.chdir(tmp_path)
    with trusting(everything=True):
        start_run(config_of("odd_algorithm:Odd", "CartPole-v1", SMALL_PPO), tmp_path / "run")
    assert "attributes/guard: a checkpoint cannot hold lock" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists() and (tmp_path / "run" / "model.zip").exists()


def test_an_algorithm_without_rollouts_begins_again(tmp_path, capsys):
    config = config_of("sb3/ars", "CartPole-v1", {"n_delta": 2})
    start_run(config, tmp_path / "run")
    undisturbed = left(tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    resume_run(tmp_path / "run")
    assert "begins again" in capsys.readouterr().err
    assert left(tmp_path / "run") == undisturbed
