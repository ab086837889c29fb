"""What environments return, however they write it, is taken as what it is, or said in one line."""

import decimal
import fractions
import re
import sys
import types

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.failure import EnvironmentFailedError, where
from palaestra.envs.backends.processes import AsyncBackend
from palaestra.envs.backends.returned import as_picture, flag, scalar_reward
from palaestra.envs.backends.sync import SyncBackend
from palaestra.networks.tree import UnfitValueError

# Worker processes cannot import a test module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.mark.parametrize(
    "reward",
    [
        1,
        True,
        np.bool_(True),
        np.float16(1),
        np.int64(1),
        np.array(1.0),
        np.array([[1]]),
        [1.0],
        (1,),
        decimal.Decimal("1"),
        fractions.Fraction(3, 3),
    ],
)
def test_one_number_however_it_is_written(reward):
    assert scalar_reward(reward) == 1.0


def test_a_number_beyond_floats_is_infinite():
    assert scalar_reward(-(10**400)) == -np.inf


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("1", "a reward of type str"),
        (None, "a reward of type NoneType"),
        (1j, "a reward of type complex"),
        ({"r": 1}, "a reward of type dict"),
        (np.datetime64("2020"), "a reward of type datetime64"),
        (np.array([None]), "a reward of type ndarray"),
        (np.ma.masked, "a reward of type MaskedConstant"),
        ([1.0, 2.0], r"a reward of shape \(2,\)"),
    ],
)
def test_what_is_no_number_is_no_reward(reward, said):
    with pytest.raises(UnfitValueError, match=f"^{said}; it must be "):
        scalar_reward(reward)


@pytest.mark.parametrize("value", [False, np.bool_(False), 0, 0.0, np.array(False), np.array([0])])
def test_a_flag_however_it_is_written(value):
    assert flag(value, "terminated") is False


@pytest.mark.parametrize("value", [None, "False", "", np.nan, 2, [], {}, np.array([False, False])])
def test_what_python_takes_for_true_or_false_is_no_flag(value):
    with pytest.raises(UnfitValueError, match=r"^terminated of type \w+, '.*'; it must be a bool$"):
        flag(value, "terminated")


class Returns(gymnasium.Env):
    """Returns what it is told to."""

    observation_space = spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Tuple([spaces.Discrete(3)]))
    action_space = spaces.Discrete(2)
    OBS = types.MappingProxyType({"b": [1], "a": [0.5, 0.25], "more": None})

    def __init__(self, first=(OBS, None), then=(OBS, 1, 0, np.False_, None)):
        self.first, self.then = first, then

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.first

    def step(self, action):
        if isinstance(self.then, BaseException):
            raise self.then
        return self.then


def envs_of(backend, **returned):
    def make(index):
        return Returns(**returned)

    made = SyncBackend(make, 1, 0) if backend == "sync" else AsyncBackend(make, 1, 0, workers=1, timeout=30)
    return BackendEnvs(made)


# A mapping proxy cannot be pickled: what a worker is given has to be.
PLAIN = dict(Returns.OBS)
STEP = (PLAIN, 1.0, False, False, {})
RETURNED = {
    "the old reset": (
        {"first": PLAIN},
        r"returned dict instead of \(obs, info\) \(episode seed \d+, in reset\)",
    ),
    "a reset of nothing": ({"first": None}, r"returned NoneType instead of \(obs, info\)"),
    "the old step": (
        {"then": STEP[:4]},
        r"returned 4 values instead of \(obs, reward, terminated, truncated, info\)",
    ),
    "a step of nothing": ({"then": None}, "returned NoneType instead of"),
    "a flag in words": (
        {"then": (PLAIN, 1.0, "no", False, {})},
        "returned terminated of type str, 'no'; it must",
    ),
    "a key too few": (
        {"then": ({"a": [0, 0]}, *STEP[1:])},
        r"returned an observation with \['a'\]; its space has the keys \['a', 'b'\]",
    ),
    "no dict": (
        {"then": (np.zeros(2), *STEP[1:])},
        "returned an observation with ndarray; its space has the keys",
    ),
    "no tuple": (
        {"then": (PLAIN | {"b": 1}, *STEP[1:])},
        r"returned an observation\['b'\] as int; its space is a tuple of 1",
    ),
    "ragged": (
        {"then": (PLAIN | {"a": [[1], [1, 2]]}, *STEP[1:])},
        r"returned an observation\['a'\] of type list; no",
    ),
    "words": (
        {"then": (PLAIN | {"a": ["x", "y"]}, *STEP[1:])},
        r"returned an observation\['a'\] of type <U1; its",
    ),
    "no exception of its own kind": ({"then": GeneratorExit()}, "failed: GeneratorExit"),
}


@pytest.mark.parametrize("backend", ["sync", "async"])
@pytest.mark.parametrize("case", RETURNED)
def test_what_no_agent_can_take_is_one_line(case, backend):
    returned, said = RETURNED[case]
    envs = envs_of(backend, **{"first": (PLAIN, {}), "then": STEP} | returned)
    with pytest.raises(EnvironmentFailedError, match=f"^environment 0 {said}"):
        envs.reset()
        envs.step(np.zeros(1, int))
    envs.close()


def test_lists_mappings_and_numbers_are_taken():
    envs = envs_of("sync")
    np.testing.assert_equal(envs.reset(), {"a": [[0.5, 0.25]], "b": (np.array([1]),)})
    step = envs.step(np.zeros(1, int))
    np.testing.assert_equal(step.obs, {"a": [[0.5, 0.25]], "b": (np.array([1]),)})
    assert (step.reward[0], step.terminated[0], step.info) == (1.0, False, {"infos": [{}]})


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_what_a_copy_says_in_its_info_keeps_its_type_beside_the_others(backend):
    """Gymnasium's vector environments would cut 0.7 to 0 here, and fail over None."""
    said = [0, 0.7, None]

    def make(index):
        return Returns(then=(PLAIN, 1.0, False, False, {"score": said[index]}))

    envs = BackendEnvs(
        SyncBackend(make, 3, 0) if backend == "sync" else AsyncBackend(make, 3, 0, workers=2, timeout=30)
    )
    envs.reset()
    scores = [info["score"] for info in envs.step(np.zeros(3, int)).info["infos"]]
    assert scores == said and isinstance(scores[0], int)
    envs.close()


class TwoArgumentsError(Exception):
    """Can be pickled, and not read again."""

    def __init__(self, one, other):
        super().__init__(f"{one} {other}")


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_an_info_that_cannot_be_read_elsewhere_stops_nothing(backend):
    def make(index):
        return Returns(then=(PLAIN, 1.0, False, False, {"error": TwoArgumentsError(1, 2)}))

    envs = BackendEnvs(
        SyncBackend(make, 1, 0) if backend == "sync" else AsyncBackend(make, 1, 0, workers=1, timeout=30)
    )
    envs.reset()
    assert envs.step(np.zeros(1, int)).reward[0] == 1.0
    envs.close()


class UnsayableError(Exception):
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UnsayableError(), r"failed: UnsayableError \("),
        (ValueError("\x1b[31mred\nand more"), r"failed: ValueError: \[31mred \("),
    ],
)
def test_messages_of_environments_are_one_plain_line(error, said):
    envs = envs_of("sync", first=(PLAIN, {}), then=error)
    envs.reset()
    with pytest.raises(EnvironmentFailedError, match=said):
        envs.step(np.zeros(1, int))


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_failure_knows_its_line_of_code(backend):
    envs = envs_of(backend, first=(PLAIN, {}), then=ValueError("lost"))
    envs.reset()
    with pytest.raises(EnvironmentFailedError) as failure:
        envs.step(np.zeros(1, int))
    # What a worker gets as a value has a file of that name.
    assert re.fullmatch(r", in (test_returned\.py|<dynamic-code>):\d+", where(failure.value))
    envs.close()


@pytest.mark.parametrize(
    ("drawn", "pixel"),
    [
        (np.full((4, 5, 3), 7, np.uint8), [7, 7, 7]),
        (np.full((4, 5), 7, np.uint8), [7, 7, 7]),
        (np.full((4, 5, 1), 300), [255, 255, 255]),
        (np.full((4, 5, 4), [1, 2, 3, 9], np.uint8), [1, 2, 3]),
        (np.full((4, 5, 3), 0.5), [127, 127, 127]),
        (np.full((4, 5, 3), 20.0), [20, 20, 20]),
    ],
)
def test_pictures_however_they_are_drawn(drawn, pixel):
    picture = as_picture(drawn)
    assert picture.shape == (4, 5, 3) and picture.dtype == np.uint8
    assert picture[0, 0].tolist() == pixel


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        (None, "NoneType from render; pictures are uint8"),
        ("ansi", "str from render"),
        (np.zeros((2, 3, 4, 5)), r"float64 of shape \(2, 3, 4, 5\) from render"),
        (np.zeros((0, 0, 3), np.uint8), "a picture of 0 by 0 from render"),
        (np.full((4, 4), np.nan), "a picture with NaN or infinity"),
    ],
)
def test_what_is_no_picture_is_one_line(drawn, said):
    with pytest.raises(UnfitValueError, match=f"^{said}"):
        as_picture(drawn)


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        (lambda: None, r"^environment 0 returned NoneType from render; .* \(in render\)$"),
        (lambda: sys.exit(3), r"^environment 0 failed: SystemExit: 3 \(in render\)$"),
    ],
)
def test_an_environment_that_cannot_be_drawn_has_failed(drawn, said, monkeypatch):
    monkeypatch.setattr(Returns, "render", lambda self: drawn())
    with pytest.raises(EnvironmentFailedError, match=said):
        envs_of("sync").render()
