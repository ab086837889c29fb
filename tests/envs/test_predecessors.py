"""An episode depends on its seed and actions alone, not on the episodes before it: what exact resumption rests on."""

import gymnasium
import numpy as np
import pytest

from palaestra.envs.checking.plays import RandomActions
from palaestra.envs.make import EnvSpec, make_single
from palaestra.envs.registry import find_environment
from palaestra.networks.tree import same_leaves, tree_map

pytestmark = pytest.mark.filterwarnings("ignore:builtin type .* has no __module__:DeprecationWarning")

# Package, id, arguments, steps of an episode that are compared.
EXACT = [
    ("gymnasium", "CartPole-v1", {}, 60),
    ("gymnasium", "Acrobot-v1", {}, 60),
    ("gymnasium", "MountainCarContinuous-v0", {}, 60),
    ("gymnasium", "Pendulum-v1", {}, 60),
    ("gymnasium", "FrozenLake-v1", {}, 60),
    ("gymnasium", "Blackjack-v1", {}, 10),
    ("Box2D", "LunarLander-v3", {}, 120),
    ("Box2D", "LunarLander-v3", {"continuous": True, "enable_wind": True}, 120),
    ("Box2D", "BipedalWalker-v3", {}, 120),
    ("Box2D", "BipedalWalkerHardcore-v3", {}, 120),
    ("Box2D", "CarRacing-v3", {}, 20),
    ("mujoco", "Hopper-v5", {}, 60),
    ("mujoco", "HalfCheetah-v5", {}, 60),
    ("mujoco", "Humanoid-v5", {}, 30),
    ("ale_py", "ALE/Pong-v5", {}, 60),
    pytest.param("ale_py", "ALE/Breakout-v5", {}, 60, marks=pytest.mark.slow),
    ("minigrid", "MiniGrid-DoorKey-5x5-v0", {}, 60),
    ("minigrid", "MiniGrid-Dynamic-Obstacles-6x6-v0", {}, 60),
    ("minigrid", "BabyAI-GoToRedBall-v0", {}, 60),
    *[("minatar", f"MinAtar/{game}-v1", {}, 200) for game in ("Asterix", "Breakout", "Freeway", "Seaquest")],
    ("minatar", "MinAtar/SpaceInvaders-v1", {}, 200),
    ("minatar", "MinAtar/SpaceInvaders-v0", {}, 200),
    ("dm_control", "dm_control/cartpole-swingup-v0", {}, 60),
    ("palaestra", "palaestra/Recall-v0", {}, 60),
    ("palaestra", "palaestra/TMaze-v0", {}, 60),
    ("palaestra", "palaestra/Catch-v0", {}, 60),
    ("palaestra", "palaestra/CartPolePixels-v0", {}, 60),
    ("palaestra", "palaestra/Corridor-v0", {}, 60),
]


def episode(env: gymnasium.Env, seed: int, steps: int) -> list:
    """Everything that an episode returns, under actions that depend on the seed alone."""
    act = RandomActions(env.action_space, seed)
    obs, _ = env.reset(seed=seed)
    seen: list = [tree_map(np.copy, obs)]
    for _ in range(steps):
        obs, reward, terminated, truncated, _ = env.step(act(obs))
        seen.append((tree_map(np.copy, obs), np.copy(reward), terminated, truncated))
        if terminated or truncated:
            break
    return seen


@pytest.mark.parametrize(("package", "env_id", "kwargs", "steps"), EXACT, ids=lambda x: str(x))
def test_an_episode_is_the_same_after_others(package, env_id, kwargs, steps, tmp_path, monkeypatch):
    pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log where it runs
    compare(EnvSpec(env_id, kwargs=kwargs), steps)


def test_an_atari_episode_with_its_preprocessing_is_the_same_after_others():
    """Its no-ops at the start are drawn, too."""
    pytest.importorskip("ale_py")
    wrappers = ("palaestra.envs.wrappers.atari:preprocess",)
    compare(EnvSpec("ALE/Breakout-v5", kwargs={"frameskip": 1}, wrappers=wrappers), 40)


def compare(spec: EnvSpec, steps: int) -> None:
    """Play the same episodes in a copy that goes on from one to the next, and each in a copy of its own."""
    used = make_single(spec, find_environment(spec.id))
    for seed in range(8):
        fresh = make_single(spec, find_environment(spec.id))
        alone, after = episode(fresh, seed, steps), episode(used, seed, steps)
        fresh.close()
        assert len(alone) == len(after), f"episode of seed {seed}"
        for t, (one, other) in enumerate(zip(alone, after, strict=True)):
            assert same_leaves(one, other), f"episode of seed {seed}, step {t}"
    used.close()
