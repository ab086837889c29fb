"""Stable-Baselines3 as agents: the same environments, metrics, evaluation and folders as ours."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Union

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.sync import SyncBackend
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.loading import load_policy
from palaestra.training.baselines import algorithms as baselines
from palaestra.training.baselines import loop as baseline_loop
from palaestra.training.baselines.config import _kind as option_kind
from palaestra.training.baselines.config import as_schedule, baseline_config_class, constructor_arguments
from palaestra.training.baselines.model import choose_policy, unsuited
from palaestra.training.baselines.vec_env import as_vec_env
from palaestra.training.cli.main import run as palaestra
from palaestra.training.run.listing import describe_run
from palaestra.training.run.loaded import load_run
from palaestra.training.run.resuming import resume_run
from palaestra.training.run.score import evaluate_run
from palaestra.training.run.start import checked, start_run
from palaestra.training.run.storage.folder import default_run_dir
from palaestra.training.settings.components import find_component
from palaestra.training.settings.config import run_config
from palaestra.training.settings.trust import trusting
from palaestra.training.settings.usage import UsageError
from palaestra.training.settings.yaml_files import load_yaml
from palaestra.training.tracking.metrics_file import read_metrics

stable_baselines3 = pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")
pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[3]
PRESETS = sorted((ROOT / "configs" / "baselines").glob("*/*.yaml"))


class Spaces(gymnasium.Env):
    """Of any spaces."""

    def __init__(self, observation_space, action_space=None):
        self.observation_space = observation_space
        self.action_space = action_space or spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, True, {}


@pytest.mark.parametrize(
    ("space", "actions", "said"),
    [
        (
            spaces.Discrete(4, start=1),
            None,
            "takes discrete observations that begin at 0, got Discrete(4, start=1)",
        ),
        (spaces.MultiDiscrete([3, 3], start=[-1, 5]), None, "takes discrete observations that begin at 0"),
        (
            spaces.Dict(a=spaces.Box(0, 1, (2,)), b=spaces.Tuple([spaces.Discrete(3, start=-3)])),
            None,
            "takes discrete observations that begin at 0",
        ),
        (
            spaces.Box(0, 1, (2,)),
            spaces.MultiDiscrete([[2, 3], [4, 2]]),
            "takes MultiDiscrete actions in one row, got MultiDiscrete([[2 3] [4 2]])",
        ),
        (
            spaces.MultiDiscrete([[2, 3], [4, 2]]),
            None,
            "takes MultiDiscrete observations in one row, got MultiDiscrete([[2 3] [4 2]])",
        ),
        (
            spaces.Dict(a=spaces.Box(0, 1, (2,)), b=spaces.Box(0, 1, ())),
            None,
            "takes observations of at least one axis, got Box(0.0, 1.0, (), float32)",
        ),
        (spaces.Discrete(4), None, None),
    ],
    ids=["discrete", "multidiscrete", "nested", "matrix of actions", "matrix", "scalar", "begins at 0"],
)
def test_spaces_that_it_would_read_wrongly_are_one_line(space, actions, said):
    envs = BackendEnvs(SyncBackend(lambda i: Spaces(space, actions), 1, seed=0))
    found = list(unsuited(stable_baselines3.PPO, find_component("agent", "sb3/ppo").Config(), envs))
    assert [said in line for line in found] == ([] if said is None else [True])


class Counting(gymnasium.Env):
    """Shows episode and step; episodes end after 3 steps by termination, every second one after 2 by truncation."""

    observation_space = spaces.Box(0, 1000, (2,), np.float32)
    action_space = spaces.Discrete(2)
    episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.time = 0
        return self.obs, {}

    @property
    def obs(self):
        return np.array([self.episode, self.time], np.float32)

    def step(self, action):
        self.time += 1
        even = self.episode % 2 == 0
        return self.obs, float(self.time), even and self.time == 3, not even and self.time == 2, {}


class Masked(Counting):
    """Allows the second action alone."""

    observation_space = spaces.Dict(
        {"obs": Counting.observation_space, "action_mask": spaces.Box(0, 1, (2,), np.int8)}
    )
    obs = property(lambda self: {"obs": Counting.obs.fget(self), "action_mask": np.array([0, 1], np.int8)})


gymnasium.register("Counting-v0", Counting)
gymnasium.register("Masked-v0", Masked)


def config_of(name, env="CartPole-v1", steps=400, **values):
    block = {"name": name} | values.pop("agent", {})
    clocks = {"evaluate_episodes": 2, "log_every": 100, "track": "none", "device": "cpu"}
    return run_config({"agent": block, "env": env, "steps": steps, "num_envs": 2} | clocks | values)


SMALL_PPO = {"n_steps": 32, "batch_size": 32, "n_epochs": 2}
SMALL_Q = {"learning_starts": 100, "train_freq": 8}


def test_the_view_says_how_episodes_end_and_what_came_last():
    reported = []
    view = as_vec_env(make_envs(EnvSpec("Counting-v0", 2, seed=0)), reported.extend)
    np.testing.assert_array_equal(view.reset(), [[0, 0], [0, 0]])
    rows = []
    for _ in range(5):
        obs, reward, done, infos = view.step(np.zeros(2, int))
        rows.append((obs[0].tolist(), float(reward[0]), bool(done[0]), infos[0]))
    assert [row[:3] for row in rows] == [
        ([0, 1], 1.0, False),
        ([0, 2], 2.0, False),
        ([1, 0], 3.0, True),
        ([1, 1], 1.0, False),
        ([2, 0], 2.0, True),
    ]
    ended = [rows[2][3], rows[4][3]]
    assert [info["terminal_observation"].tolist() for info in ended] == [[0, 3], [1, 2]]
    assert [info["TimeLimit.truncated"] for info in ended] == [False, True]
    assert [(e.env_index, e.episode_return, e.length) for e in reported] == [
        (0, 6.0, 3),
        (1, 6.0, 3),
        (0, 3.0, 2),
        (1, 3.0, 2),
    ]


def test_a_backend_that_resets_in_steps_is_refused():
    with pytest.raises(ValueError, match="use sync or async"):
        as_vec_env(make_envs(EnvSpec("CartPole-v1", 8, backend="vector")))


ALGORITHMS = {
    "sb3/ppo": ("CartPole-v1", SMALL_PPO),
    "sb3/a2c": ("CartPole-v1", {}),
    "sb3/dqn": ("CartPole-v1", SMALL_Q),
    "sb3/qrdqn": ("CartPole-v1", SMALL_Q),
    "sb3/ddpg": ("Pendulum-v1", SMALL_Q | {"noise": "gaussian"}),
    "sb3/td3": ("Pendulum-v1", SMALL_Q | {"noise": "ornstein-uhlenbeck"}),
    "sb3/sac": ("Pendulum-v1", SMALL_Q),
    "sb3/recurrent_ppo": ("CartPole-v1", {"n_steps": 32, "n_epochs": 1}),
    "sb3/maskable_ppo": ("Masked-v0", SMALL_PPO),
}


@pytest.mark.parametrize("agent", ALGORITHMS)
def test_an_algorithm_leaves_what_our_agents_leave(agent, tmp_path):
    env, options = ALGORITHMS[agent]
    config = config_of(agent, env, agent=options, evaluate_every=200)
    result = start_run(config, tmp_path / "run")
    assert result.step == 400
    rows = read_metrics(tmp_path / "run")
    names = {name for row in rows for name in row}
    assert {"step", "episode/return", "eval/return", "time/steps_per_second"} <= names
    assert any(name.startswith("loss/") for name in names), names
    assert [row["step"] for row in rows if "time/total" in row] == [100, 200, 300, 400]
    evaluations = json.loads((tmp_path / "run" / "evaluations.json").read_text())
    assert [row["step"] for row in evaluations] == [200, 400]
    # What was saved is what was evaluated.
    again = evaluate_run(tmp_path / "run", 2)
    assert again["return_mean"] == evaluations[-1]["return_mean"]
    assert (again["agent"], again["steps_trained"]) == (agent, 400)
    info = describe_run(tmp_path / "run")
    assert info.finished and info.step == 400


@pytest.mark.parametrize(
    ("space", "policy"),
    [
        (spaces.Box(0, 255, (84, 84, 3), np.uint8), "CnnPolicy"),
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), "MlpPolicy"),  # too small
        (spaces.Box(0, 10, (64, 64, 3), np.uint8), "MlpPolicy"),  # not whole bytes
        (spaces.Box(0, 1, (10, 10, 4), bool), "MlpPolicy"),  # MinAtar's
        (spaces.Box(0, 1, (10, 5), np.float32), "MlpPolicy"),
        (spaces.Dict(camera=spaces.Box(0, 255, (84, 84, 3), np.uint8)), "MultiInputPolicy"),
    ],
)
def test_pictures_that_their_convolutions_refuse_go_to_perceptrons(space, policy):
    assert choose_policy("auto", stable_baselines3.PPO, space) == policy


def test_small_pictures_are_learned_from(tmp_path):
    start_run(config_of("sb3/ppo", "palaestra/Catch-v0", 64, agent=SMALL_PPO), tmp_path / "run")
    assert describe_run(tmp_path / "run").finished


def test_masks_reach_the_algorithm(tmp_path):
    start_run(config_of("sb3/maskable_ppo", "Masked-v0", agent=SMALL_PPO), tmp_path / "run")
    policy = load_policy(tmp_path / "run")
    obs = Masked().reset()[0]
    assert all(policy.predict(obs, deterministic=False)[0] == 1 for _ in range(20))


def test_the_same_seed_gives_the_same_run_and_one_without_a_checkpoint_begins_again(tmp_path, capsys):
    config = config_of("sb3/ppo", agent=SMALL_PPO | {"normalize_obs": True, "normalize_reward": True})
    start_run(config, tmp_path / "one")
    start_run(config, tmp_path / "two")

    def left(run_dir):
        rows = [
            {name: value for name, value in row.items() if not name.startswith("time/")}
            for row in read_metrics(run_dir)
        ]
        return json.dumps(rows), (run_dir / "evaluations.json").read_text()

    undisturbed = left(tmp_path / "one")
    assert left(tmp_path / "two") == undisturbed
    # As SIGKILL in the middle would leave it: some rows, an evaluation, no summary; then half a model.
    for name in ("summary.json", "model.zip", "normalization.npz"):
        (tmp_path / "two" / name).unlink()
    (tmp_path / "two" / "unfinished.zip").write_bytes(b"half")
    with pytest.raises(UsageError, match="has not finished"):
        evaluate_run(tmp_path / "two", 1)
    resume_run(tmp_path / "two")
    assert "begins again" in capsys.readouterr().err
    assert left(tmp_path / "two") == undisturbed
    with pytest.raises(UsageError, match="has finished"):
        resume_run(tmp_path / "two")
    with pytest.raises(UsageError, match="train anew with --steps 800"):
        resume_run(tmp_path / "two", 800)


def test_a_signal_stops_it_without_a_model(tmp_path, monkeypatch):
    def stop(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return {}

    monkeypatch.setattr(baseline_loop, "translated", stop)
    result = start_run(config_of("sb3/ppo", agent=SMALL_PPO), tmp_path / "run")
    assert result.signal == signal.SIGTERM and result.step < 400
    assert not (tmp_path / "run" / "model.zip").exists()


def test_normalisation_is_that_of_training_and_frozen(tmp_path):
    config = config_of("sb3/ppo", agent=SMALL_PPO | {"normalize_obs": True})
    start_run(config, tmp_path / "run")
    actor = load_run(tmp_path / "run").agent
    obs = np.array([[0.5, 0.0, -0.2, 4.0]], np.float32)
    expected = (obs - actor.normalizer.mean) / np.sqrt(actor.normalizer.variance + 1e-8)
    np.testing.assert_allclose(actor.normalizer(obs), expected.clip(-10, 10), rtol=1e-5)
    assert actor.normalizer.mean.shape == (4,) and (actor.normalizer.variance > 0).all()


def test_a_memory_is_a_value(tmp_path):
    """Rows of different episodes, reset one by one: as if each had been alone."""
    start_run(
        config_of("sb3/recurrent_ppo", agent={"n_steps": 32, "n_epochs": 1}, steps=64), tmp_path / "run"
    )
    actor = load_run(tmp_path / "run").agent
    obs = np.random.default_rng(0).standard_normal((6, 2, 4)).astype(np.float32)
    state = actor.initial_state(2)
    assert state.shape == (2, 512)
    for t in range(4):
        first = np.array([t == 0, t in (0, 2)])
        _, state = actor.act(obs[t], state, first, explore=False)
    alone = actor.initial_state(1)
    for t in (2, 3):
        _, alone = actor.act(obs[t, 1:], alone, np.array([t == 2]), explore=False)
    np.testing.assert_allclose(state[1:], alone, atol=1e-6)


def test_options_become_arguments():
    td3 = baseline_config_class(stable_baselines3.TD3)
    arguments = constructor_arguments(td3(net_arch=(8, 4), activation="tanh", noise="gaussian"), 3)
    assert arguments["policy_kwargs"]["net_arch"] == [8, 4]
    assert arguments["action_noise"]._sigma.tolist() == [0.1, 0.1, 0.1]
    assert arguments["policy_delay"] == 2 and "noise" not in arguments
    assert as_schedule("linear(1, 0)")(0.25) == pytest.approx(0.25)
    assert as_schedule("linear(1, 0, 0.5)")(0.75) == pytest.approx(0.5)
    ppo = baseline_config_class(stable_baselines3.PPO)()
    assert constructor_arguments(ppo, 1)["learning_rate"] == 3e-4 and ppo.target_kl is None


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_preset_is_understood(path):
    if path.stem.startswith("MinAtar"):
        pytest.importorskip("minatar")
    agent, env = f"sb3/{path.parent.name}", re.sub("^(palaestra|MinAtar|ALE)_", r"\1/", path.stem)
    values = load_yaml(path)
    config = config_of(agent, env, **{k: v for k, v in values.items() if k not in ("steps", "num_envs")})
    checked(config)


def test_a_class_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "my_algorithm.py").write_text(
        "from stable_baselines3 import PPO\n\nclass Mine(PPO):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    config = config_of("my_algorithm:Mine", agent=SMALL_PPO, steps=64)
    assert start_run(config, tmp_path / "run").step == 64
    with trusting(everything=True):
        assert evaluate_run(tmp_path / "run", 1)["agent"] == "my_algorithm:Mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sb3/pp", "--env", "CartPole-v1"], "did you mean 'sb3/ppo'?"),
        (["sb3/ppo", "--env", "CartPole-v1", "--agent.gama", "1"], "did you mean --agent.gamma?"),
        (["sb3/ppo", "--env", "CartPole-v1", "--encoder", "mlp"], "brings its own networks"),
        (["sb3/ppo", "--env", "CartPole-v1", "--agent.policy", "MlpPolic"], "did you mean 'MlpPolicy'?"),
        (
            ["sb3/ppo", "--env", "CartPole-v1", "--world-model", "auto+auto"],
            "cannot alternate between real and",
        ),
        (["sb3/dqn", "--env", "Pendulum-v1"], "only supports (Discrete,) as action spaces"),
        (["sb3/ppo", "--env", "CartPole-v1", "--backend", "vector", "--num-envs", "8"], "use sync or async"),
    ],
)
def test_a_wrong_request_is_one_line(words, message, tmp_path, capsys):
    assert palaestra(["train", *words, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and message in said
    assert not (tmp_path / "run").exists()


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(baselines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'palaestra\[baselines\]'"):
        find_component("agent", "sb3/ppo")
    assert baselines.baseline_names() == []


def test_names_folders_and_help(capsys):
    assert {"sb3/ppo", "sb3/recurrent_ppo", "sb3/maskable_ppo", "sb3/qrdqn"} <= set(
        baselines.baseline_names()
    )
    assert default_run_dir(config_of("sb3/ppo")).name.startswith("sb3-ppo-seed0")
    with pytest.raises(SystemExit):
        palaestra(["train", "sb3/sac", "--env", "Pendulum-v1", "--help"])
    shown = capsys.readouterr().out
    assert "--agent.ent-coef" in shown and "--memory" not in shown and "--encoder" not in shown


OLD = Union[None, float, Callable[[float], float]]  # noqa: UP007


@pytest.mark.parametrize("annotation", [OLD, "float | Schedule | None"])
def test_options_that_may_be_none_are_read_as_each_version_writes_them(annotation):
    """Stable-Baselines3 2.7 writes Union[None, float, Schedule], which prints as Union[NoneType, ...]."""
    assert option_kind(annotation) == float | str | None
