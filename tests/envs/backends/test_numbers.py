"""What an environment returns and an agent chooses stays the number that it was, or is named."""

import re
import sys

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from palaestra.envs.actions import ActionError, action_clipper
from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.failure import EnvironmentFailedError
from palaestra.envs.backends.native import VectorBackend
from palaestra.envs.backends.processes import AsyncBackend
from palaestra.envs.backends.sync import SyncBackend

# Worker processes cannot import a test module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

BYTES = spaces.Box(0, 255, (2,), np.uint8)
GO_AND_SEE = spaces.Dict(go=spaces.Discrete(2), see=spaces.Discrete(2))


class Odd(gymnasium.Env):
    """Copy 1 shows `odd` in its third observation, and pays `pay` then; all others are `even`."""

    action_space = spaces.Discrete(2)

    def __init__(self, index, space, even, odd, pay=1.0):
        self.index, self.observation_space, self.even, self.odd, self.pay = index, space, even, odd, pay

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.even, {}

    def step(self, action):
        self.time += 1
        late = self.index == 1 and self.time == 2
        return (self.odd if late else self.even), (self.pay if late else 1.0), False, False, {}


class OddVector(gymnasium.vector.VectorEnv):
    """The same as a vector environment of somebody else's, which resets by itself and ends copy 1 where it is odd."""

    single_action_space = spaces.Discrete(2)
    num_envs = 2

    def __init__(self, mode, space, even, odd, pay):
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space, self.even, self.odd, self.pay = space, even, odd, pay

    def batch(self, late):
        rows = [self.even, self.odd if late else self.even]
        if isinstance(self.even, dict):
            return {key: np.stack([np.asarray(row[key]) for row in rows]) for key in self.even}
        return np.stack([np.asarray(row) for row in rows])

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return self.batch(False), {}

    def step(self, actions):
        self.time += 1
        late, end = self.time == 2, np.array([False, self.time == 2])
        reward = np.array([1.0, self.pay if late else 1.0])
        if self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
            return self.batch(False), reward, end, ~end & end, {"final_obs": self.batch(late)}
        return self.batch(late), reward, ~end & end, ~end & end, {}


MAKERS = {
    "sync": lambda *odd: SyncBackend(lambda i: Odd(i, *odd), 2, 0),
    "async": lambda *odd: AsyncBackend(lambda i: Odd(i, *odd), 2, 0, workers=2),
    "next step": lambda *odd: VectorBackend(OddVector(AutoresetMode.NEXT_STEP, *odd), 0),
    "same step": lambda *odd: VectorBackend(OddVector(AutoresetMode.SAME_STEP, *odd), 0),
}
CASES = {
    "256 in bytes": (BYTES, np.array([7, 8]), np.array([7, 256]), 1.0, "256 at .1., .* uint8, makes 0"),
    "-1 in bytes": (BYTES, np.array([7, 8]), np.array([-1, 8]), 1.0, "-1 at .0., .* uint8, makes 255"),
    "0.9 in bytes": (BYTES, np.ones(2), np.array([1, 0.9]), 1.0, "0.9 at .1., .* uint8, makes 0"),
    "0.9 in whole numbers": (
        spaces.Box(-9, 9, (1,), np.int64),
        np.ones(1, np.int64),
        np.array([0.9]),
        1.0,
        "0.9 at .0., .* int64, makes 0",
    ),
    "1.7 in Discrete": (spaces.Discrete(5), 1, 1.7, 1.0, "1.7, which its space's type, int64, makes 1"),
    "-1 in Discrete": (spaces.Discrete(5), 1, -1, 1.0, "of -1; its space goes from 0 to 4"),
    "5 in Discrete": (spaces.Discrete(5), 1, 5, 1.0, "of 5; its space goes from 0 to 4"),
    "1 in Discrete from 2": (spaces.Discrete(5, start=2), 2, 1, 1.0, "of 1; its space goes from 2 to 6"),
    "MultiDiscrete": (
        spaces.MultiDiscrete([2, 3]),
        np.array([1, 2]),
        np.array([1, 3]),
        1.0,
        "of 3; its space goes from 0 to 2",
    ),
    "in a part": (
        spaces.Dict(a=spaces.Box(-1, 1, (1,)), b=spaces.Discrete(3)),
        {"a": np.zeros(1, np.float32), "b": np.int64(2)},
        {"a": np.zeros(1, np.float32), "b": np.int64(3)},
        1.0,
        r"\['b'\] of 3; its space goes from 0 to 2",
    ),
    "bytes in a part": (
        spaces.Dict(a=spaces.Box(-1, 1, (1,)), b=BYTES),
        {"a": np.zeros(1, np.float32), "b": np.array([1, 2])},
        {"a": np.zeros(1, np.float32), "b": np.array([1, 300])},
        1.0,
        r"\['b'\] with 300 at .1., .* uint8, makes 44",
    ),
    "1e300": (
        spaces.Box(-np.inf, np.inf, (2,), np.float64),
        np.ones(2),
        np.array([1, 1e300]),
        1.0,
        r"1e\+300, which is infinite as float32",
    ),
    "1e300 in a part": (
        spaces.Dict(a=spaces.Box(-np.inf, np.inf, (2,), np.float64), b=BYTES),
        {"a": np.ones(2), "b": np.zeros(2, np.uint8)},
        {"a": np.array([-1e300, 1]), "b": np.zeros(2, np.uint8)},
        1.0,
        r"-1e\+300, which is infinite as float32",
    ),
    "1e300 where float32 is": (
        spaces.Box(-1, 1, (1,), np.float32),
        np.ones(1),
        np.array([1e300]),
        1.0,
        r"(NaN or infinity|1e\+300, infinite as float32)",
    ),
    "reward": (spaces.Discrete(2), 1, 1, 1e300, r"the reward 1e\+300, which is infinite as float32"),
}


# Worker processes take a second to start, and write with the same writer.
HERE = [name for name in MAKERS if name != "async"]
PAIRS = [(case, backend) for case in CASES for backend in HERE]
PAIRS += [("256 in bytes", "async"), ("5 in Discrete", "async"), ("reward", "async")]


@pytest.mark.parametrize(("case", "backend"), PAIRS)
def test_what_a_cast_would_change_is_a_failure_of_its_copy(case, backend):
    space, even, odd, pay, said = CASES[case]
    envs = BackendEnvs(MAKERS[backend](space, even, odd, pay))
    envs.reset()
    envs.step(np.zeros(2, np.int64))
    with pytest.raises(EnvironmentFailedError, match=f"^environment 1 .*{said}.* step 2"):
        envs.step(np.zeros(2, np.int64))
    envs.close()


@pytest.mark.parametrize("backend", HERE)
def test_what_a_cast_leaves_alone_is_taken(backend):
    """Whole numbers of another type; float64 for float32; and numbers that are large, but not too large."""
    for space, even in [
        (BYTES, np.array([255, 0])),
        (BYTES, np.array([3.0, 4.0])),
        (spaces.Discrete(3), np.int32(2)),
        (spaces.Box(-1, 1, (2,)), np.array([0.1, 1 / 3])),
        (spaces.Box(-np.inf, np.inf, (2,), np.float64), np.full(2, 3.3e38)),
        (spaces.Box(-np.inf, np.inf, (2,), np.float32), np.full(2, np.finfo(np.float32).max)),
        (spaces.Box(0, 1, (2,), bool), np.array([1, 0])),
    ]:
        envs = BackendEnvs(MAKERS[backend](space, even, even, 3e38))
        obs = envs.reset()
        for _ in range(3):
            obs = envs.step(np.zeros(2, np.int64)).next_obs
        np.testing.assert_array_equal(
            obs[1], even.astype(space.dtype) if space.dtype != np.float32 else obs[1]
        )
        np.testing.assert_allclose(obs[1].astype(float), np.asarray(even, float), rtol=1e-6)
        envs.close()


@pytest.mark.filterwarnings("ignore:environment 1 .*; restarted:RuntimeWarning")
def test_a_copy_that_returns_odd_numbers_is_made_anew():
    envs = BackendEnvs(MAKERS["sync"](BYTES, np.array([7, 8]), np.array([7, 256])), restart_failed=True)
    envs.reset()
    for _ in range(4):
        step = envs.step(np.zeros(2, np.int64))
        assert step.obs.max() == 8
    assert envs.restarts == 2


@pytest.mark.parametrize(
    ("space", "action", "said"),
    [
        (spaces.Box(-1, 1, (2,)), [[0, 0], [0, np.nan]], r"\[0.0, nan\] in copy 1"),
        (spaces.Box(-1, 1, (2,)), [[0, np.inf], [0, 0]], r"\[0.0, inf\] in copy 0"),
        (spaces.Box(-np.inf, np.inf, (1,)), [[0], [np.nan]], r"\[nan\] in copy 1"),
        (spaces.Box(-3, 3, (1,), np.int64), [[0], [np.nan]], r"\[nan\] in copy 1"),
        (spaces.Discrete(3), [0, 3], "3 in copy 1"),
        (spaces.Discrete(3, start=1), [0, 3], "0 in copy 0"),
        (spaces.Discrete(3), [np.nan, 1], "nan in copy 0"),
        (spaces.Discrete(3), [0.5, 1], "0.5 in copy 0"),
        (spaces.MultiDiscrete([2, 3]), [[1, 2], [2, 0]], r"\[2, 0\] in copy 1"),
        (spaces.MultiBinary(2), [[1, 0], [1, 2]], r"\[1, 2\] in copy 1"),
        (spaces.MultiBinary([1, 2]), [[[0, 0.5]], [[0, 1]]], r"\[\[0.0, 0.5\]\] in copy 0"),
        (spaces.Dict(go=spaces.Discrete(2)), {"go": [0, 2]}, r"2 as action\['go'\] in copy 1"),
        (spaces.Tuple([spaces.Discrete(2)]), ([0, -1],), r"-1 as action\[0\] in copy 1"),
    ],
)
def test_an_action_that_is_none_is_the_agents(space, action, said):
    with pytest.raises(ActionError, match=f"^{said}, which is no action of its space$"):
        action_clipper(space, 2)(action)


@pytest.mark.parametrize(
    ("space", "action", "said"),
    [
        (spaces.Discrete(3), [0], "actions (1,) of int64, where 2 copies take numbers (2,)"),
        (spaces.Discrete(3), 0, "actions () of int64, where 2 copies take numbers (2,)"),
        (spaces.Discrete(3), ["a", "b"], "actions (2,) of <U1, where 2 copies take numbers (2,)"),
        (spaces.Discrete(3), [[0], [1]], "actions (2, 1) of int64, where 2 copies take numbers (2,)"),
        (spaces.MultiDiscrete([2, 3]), [1, 2], "actions (2,) of int64, where 2 copies take numbers (2, 2)"),
        (spaces.Box(-1, 1, (1,)), [0.5, 0.5], "actions (2,) of float64, where 2 copies take numbers (2, 1)"),
        (spaces.Box(-1, 1, (1,)), None, "actions () of object, where 2 copies take numbers (2, 1)"),
        (spaces.Dict(go=spaces.Box(-1, 1)), {"go": 0.5}, "actions['go'] () of float64, where 2 copies take"),
        (GO_AND_SEE, {"go": [0, 1]}, "actions without 'see', where copies take a dict of 'go', 'see'"),
        (GO_AND_SEE, [0, 1], "actions as list, where copies take a dict of 'go', 'see'"),
        (
            spaces.Dict(a=GO_AND_SEE),
            {"a": {}},
            "actions['a'] without 'go', where copies take a dict of 'go', 'see'",
        ),
        (
            spaces.Tuple([spaces.Discrete(2)]),
            ([0, 1], [0, 1]),
            "actions as 2 values, where copies take a tuple of 1",
        ),
        (spaces.Tuple([spaces.Discrete(2)]), 0, "actions as int, where copies take a tuple of 1"),
    ],
)
def test_an_action_for_other_copies_is_told(space, action, said):
    """As a program may give them; NumPy would broadcast some of them, and speak of axes of others."""
    with pytest.raises(ActionError, match=re.escape(said)):
        action_clipper(space, 2)(action)
