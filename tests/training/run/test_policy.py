import pickle

import numpy as np
import pytest
import torch
from gymnasium import spaces

import palaestra
from palaestra.loading import load_policy
from palaestra.training.run.policy import fitting
from palaestra.training.run.score import evaluate_run
from palaestra.training.run.start import start_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from palaestra.training.settings.config import run_config

    run_dir = tmp_path_factory.mktemp("policy") / "run"
    start_run(run_config({"agent": "ppo", "env": "CartPole-v1", "steps": 20_000, "track": "none"}), run_dir)
    return run_dir


@pytest.mark.filterwarnings("ignore")
def test_stable_baselines3_judges_as_we_do(trained):
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    from stable_baselines3.common.env_util import make_vec_env

    envs = make_vec_env("CartPole-v1", n_envs=4, seed=7)
    theirs, _ = evaluation.evaluate_policy(
        load_policy(trained), envs, n_eval_episodes=100, return_episode_rewards=True
    )
    ours = evaluate_run(trained, episodes=100)
    error = np.hypot(np.std(theirs), ours["return_std"]) / 10
    assert abs(np.mean(theirs) - ours["return_mean"]) <= 3 * error + 1e-9
    assert ours["return_mean"] > 60


def test_one_observation_or_a_batch(trained):
    policy = load_policy(trained)
    one = np.array([0.1, 0.0, -0.1, 0.2], np.float32)
    action, _ = policy.predict(one, deterministic=True)
    actions, _ = policy.predict(np.stack([one, -one]), deterministic=True)
    assert np.shape(action) == () and np.shape(actions) == (2,)
    assert actions[0] == action


def test_exploring_actions_vary(trained):
    policy = load_policy(trained)
    flat = np.zeros((1, 4), np.float32)
    assert len({int(policy.predict(flat)[0][0]) for _ in range(50)}) == 2


def test_a_policy_leaves_the_threads_of_the_program_alone(trained):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        load_policy(trained)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


PICTURES = spaces.Box(0, 255, (10, 5, 1), np.uint8)
PARTS = spaces.Dict({"at": spaces.Box(-1, 1, (2,)), "map": PICTURES})


@pytest.mark.parametrize(
    ("space", "observation", "told"),
    [
        (spaces.Box(-1, 1, (4,)), np.zeros(5), r"of shape \(5,\) was given; the policy's are \(4,\)"),
        (spaces.Box(-1, 1, (4,)), 0.5, r"of shape \(\) was given"),
        (spaces.Box(-1, 1, (4,)), np.full(4, np.nan), "that is not finite"),
        (spaces.Box(-1, 1, (4,)), [[0.0] * 4, [np.inf] * 4], "that is not finite"),
        (spaces.Box(-1, 1, (4,)), [None] * 4, "of type object; its space says float32"),
        (PICTURES, np.zeros((5, 10, 1), np.uint8), r"of shape \(5, 10, 1\)"),
        (PICTURES, np.full((10, 5, 1), 0.5), "with 0.5"),
        (PICTURES, np.full((10, 5, 1), -1), "with -1"),
        (spaces.Discrete(5), 3.5, "with 3.5"),
        (PARTS, {"at": np.zeros(2)}, "lacks a part of Dict.*: 'map'"),
        (PARTS, {"at": np.zeros((3, 2)), "map": np.zeros((10, 5, 1))}, r"of shape \(10, 5, 1\)"),
        (PARTS, np.zeros(4), "lacks a part"),
    ],
)
def test_what_is_no_observation_is_refused(space, observation, told):
    with pytest.raises(ValueError, match=told):
        fitting(space, observation)


def test_observations_are_read_as_people_write_them():
    obs, single = fitting(PARTS, {"map": np.ones((10, 5, 1), int), "at": [0.5, 1]})
    assert single and obs["at"].dtype == np.float32 and obs["map"].dtype == np.uint8
    assert list(obs) == ["at", "map"] and obs["map"].shape == (1, 10, 5, 1)
    obs, single = fitting(spaces.Box(-1, 1, (2,)), torch.ones(3, 2, dtype=torch.float64))
    assert not single and obs.dtype == np.float32 and obs.shape == (3, 2)


def test_a_state_is_of_as_many_copies(trained):
    policy = load_policy(trained)
    _, state = policy.predict(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="a state of 1 copies was given with observations of 3"):
        policy.predict(np.zeros((3, 4)), state)


def test_a_run_travels_without_what_was_loaded_from_it(trained):
    run = palaestra.load(trained)
    assert run.policy is not None
    assert pickle.loads(pickle.dumps(run)).folder == run.folder
