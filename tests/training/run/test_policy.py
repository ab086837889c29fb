import numpy as np
import pytest

from palaestra.training.run.policy import load_policy
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
