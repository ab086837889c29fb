"""Every family works out of the box: named, made and stepped. Skipped where its package is not installed."""

import numpy as np
import pytest

from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.wrappers.minigrid import flat, image, onehot, picture

pytestmark = pytest.mark.filterwarnings("ignore:builtin type .* has no __module__:DeprecationWarning")

ATARI = {"kwargs": {"frameskip": 1}, "wrappers": ("palaestra.envs.wrappers.atari:preprocess",)}
# Family: package, id, settings, shape and dtype of observations.
FAMILIES = {
    "classic control": ("gymnasium", "Acrobot-v1", {}, (6,), np.float32),
    "toy text": ("gymnasium", "FrozenLake-v1", {}, (), np.int64),
    "Box2D": ("Box2D", "LunarLander-v3", {}, (8,), np.float32),
    "MuJoCo": ("mujoco", "Hopper-v5", {}, (11,), np.float64),
    "Atari": ("ale_py", "ALE/Pong-v5", ATARI, (4, 84, 84), np.uint8),
    "Atari, as it is": ("ale_py", "ALE/Pong-v5", {}, (210, 160, 3), np.uint8),
    "MiniGrid": ("minigrid", "MiniGrid-DoorKey-5x5-v0", {}, (7, 7, 3), np.uint8),
    "BabyAI": ("minigrid", "BabyAI-GoToRedBall-v0", {}, (7, 7, 3), np.uint8),
    "MinAtar": ("minatar", "MinAtar/Breakout-v1", {}, (10, 10, 4), bool),
    "DeepMind Control": ("dm_control", "dm_control/cartpole-swingup-v0", {}, None, np.float64),
    "DeepMind Control in EnvPool": ("envpool", "CheetahRun-v1", {"backend": "envpool"}, None, np.float64),
}


@pytest.mark.parametrize(("package", "env_id", "settings", "shape", "dtype"), FAMILIES.values(), ids=FAMILIES)
def test_a_family_is_stepped(package, env_id, settings, shape, dtype, tmp_path, monkeypatch):
    pytest.importorskip(package)
    if package == "minatar":
        pytest.importorskip("seaborn")
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log where it runs
    envs = make_envs(EnvSpec(env_id, 2, **settings))
    obs = envs.reset()
    if shape is not None:
        assert obs.shape == (2, *shape) and obs.dtype == dtype
    envs.action_space.seed(0)
    for _ in range(20):
        pair = [envs.action_space.sample() for _ in range(2)]
        step = envs.step(np.array(pair))
        assert np.isfinite(step.reward).all()
    envs.close()


@pytest.mark.parametrize(
    ("view", "shape", "largest"),
    [(image, (7, 7, 3), 10), (onehot, (7, 7, 20), 1), (flat, (2835,), 255), (picture, (56, 56, 3), 255)],
)
def test_views_of_minigrid(view, shape, largest):
    pytest.importorskip("minigrid")
    name = f"palaestra.envs.wrappers.minigrid:{view.__name__}"
    envs = make_envs(EnvSpec("MiniGrid-Empty-5x5-v0", 2, wrappers=(name,)))
    obs = envs.reset()
    assert obs.shape == (2, *shape) and obs.dtype == np.uint8
    # What encoders divide pictures by.
    assert (envs.observation_space.high == largest).all() and obs.max() <= largest
    if view is onehot:
        # One object, one colour and one state in each of 49 cells.
        assert (obs.sum((1, 2, 3)) == 3 * 49).all() and obs.max() == 1


def test_atari_repeats_actions_and_gives_the_whole_score():
    ale = pytest.importorskip("ale_py")
    envs = make_envs(EnvSpec("ALE/Pong-v5", 1, **ATARI))
    single = envs._backend.copies.envs[0]
    assert single.unwrapped.ale.getFloat("repeat_action_probability") == 0.25
    assert single.unwrapped.ale.getInt("frame_skip") == 1  # the wrapper skips
    assert isinstance(single.unwrapped, ale.AtariEnv)
    with pytest.raises(ValueError, match="Disable frame-skipping in the original env"):
        make_envs(EnvSpec("ALE/Pong-v5", 1, wrappers=ATARI["wrappers"]))


@pytest.mark.filterwarnings("ignore:.*No render fps was declared", "ignore:.*RGB-array rendering should")
def test_pictures_of_minatar():
    pytest.importorskip("minatar")
    pytest.importorskip("seaborn")
    envs = make_envs(EnvSpec("MinAtar/Freeway-v1", 1, render_mode="rgb_array"))
    envs.reset()
    frame = envs.render()
    assert frame.shape == (160, 160, 3) and frame.dtype == np.uint8 and frame.max() > 100
