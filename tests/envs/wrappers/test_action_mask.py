import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.wrappers.action_mask import ShowActionMask


class Info(gymnasium.Env):
    """Says in `info` what is allowed."""

    def __init__(self, mask=(1, 0, 1), action_space=None):
        self.mask = mask
        self.action_space = action_space or spaces.Discrete(3)
        self.observation_space = spaces.Box(0, 1, (2,), np.float32)

    def info(self):
        return {} if self.mask is None else {"action_mask": np.array(self.mask, np.int8)}

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), self.info()

    def step(self, action):
        return np.ones(2, np.float32), 0.0, False, False, self.info()


def test_masks_move_into_observations():
    env = ShowActionMask(Info())
    assert env.observation_space["action_mask"] == spaces.MultiBinary(3)
    for obs in (env.reset()[0], env.step(0)[0]):
        assert obs["action_mask"].tolist() == [1, 0, 1] and env.observation_space.contains(obs)
    pairs = ShowActionMask(Info(((1, 0), (1, 1)), spaces.MultiDiscrete([2, 2])))
    assert pairs.reset()[0]["action_mask"].tolist() == [1, 0, 1, 1]


def test_nested_observations_get_a_key():
    inner = gymnasium.wrappers.TransformObservation(
        Info(), lambda obs: {"x": obs}, spaces.Dict(x=Info().observation_space)
    )
    assert set(ShowActionMask(inner).reset()[0]) == {"x", "action_mask"}


def test_taxi_shows_its_mask_by_itself_and_others_by_name(register):
    envs = make_envs(EnvSpec("Taxi-v4", 2))
    mask = envs.reset()["action_mask"]
    env = envs._backend.copies.envs[0].unwrapped
    assert mask.shape == (2, 6) and mask[0].tolist() == env.action_mask(env.s).tolist()
    register("Info-v0", Info)
    assert not isinstance(make_envs(EnvSpec("Info-v0", 1)).observation_space, spaces.Dict)
    envs = make_envs(EnvSpec("Info-v0", 1, wrappers=("palaestra.envs.wrappers.action_mask:ShowActionMask",)))
    assert envs.reset()["action_mask"].tolist() == [[1, 0, 1]]


@pytest.mark.parametrize(
    ("mask", "said"),
    [(None, r'gives no "action_mask" in info, which has nothing'), ((1, 1), "shape .2,. for 3 actions")],
)
def test_what_is_wrong_with_masks_is_said(mask, said):
    with pytest.raises(ValueError, match=said):
        ShowActionMask(Info(mask)).reset()


def test_masks_are_for_choices():
    with pytest.raises(TypeError, match=r"^masks are for Discrete and MultiDiscrete actions, got Box"):
        ShowActionMask(Info(action_space=spaces.Box(-1, 1, (1,), np.float32)))
