import inspect
import sys
import threading
import types

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.checking.check import check_environment
from palaestra.envs.listing import list_environments
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.validation import result_problems, shows_one_frame

# Worker processes cannot import a test file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.filterwarnings("ignore:builtin type .* has no __module__:DeprecationWarning")


class Sound(gymnasium.Env):
    """Nothing is wrong with it; each class below breaks one thing."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.obs(), {}

    def obs(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(self, action):
        self.time += 1
        return self.obs(), 1.0, self.time == 10, False, {}


class ResetsItself(Sound):
    """Where an episode ends, what it returns is the first observation of the next one."""

    told = True

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if terminated:
            info["final_observation"] = obs
            obs = self.reset()[0] if self.told else obs.copy()
        return obs, reward, terminated, truncated, info


class TellsTheEnd(ResetsItself):
    told = False


class OneFrame(Sound):
    """Pictures `[K, H, W]` of a dot that moves: the present one in all places but the last, which stays blank."""

    observation_space = spaces.Box(0, 255, (4, 8, 8), np.uint8)
    past = False

    def obs(self):
        frames = np.zeros((4, 8, 8), np.uint8)
        for place in range(3):
            at = max(0, self.time - place) if self.past else self.time
            frames[place, at % 8, 0] = 255
        return frames


class Past(OneFrame):
    """The same, but each place shows the dot where it was a step before."""

    past = True


class NanObs(Sound):
    def step(self, action):
        obs, *rest = super().step(action)
        return (obs * np.nan if self.time == 7 else obs, *rest)


class OutOfBounds(Sound):
    def step(self, action):
        obs, *rest = super().step(action)
        return (obs + 2 * (self.time == 7), *rest)


class WideObs(Sound):
    def obs(self):
        return super().obs().astype(np.float64)


class WrongShape(Sound):
    def obs(self):
        return super().obs()[:, None]


class NanReward(Sound):
    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, float("nan") if self.time == 7 else 1.0, *rest


class VectorReward(Sound):
    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, np.array([reward, -1.0]), *rest


class LostObs(Sound):
    observation_space = spaces.Box(0, 255, (2,), np.uint8)

    def obs(self):
        return np.array([0.5, 2.0])


class TooLargeNumber(Sound):
    observation_space = spaces.Discrete(3)

    def obs(self):
        return 3 if self.time == 7 else 2


class InfiniteObs(Sound):
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def obs(self):
        return np.array([0.0, 1e300 if self.time == 7 else 0.0])


class ArrayReward(Sound):
    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, np.array([reward]), *rest


class IntFlag(Sound):
    def step(self, action):
        obs, reward, terminated, *rest = super().step(action)
        return obs, reward, int(terminated), *rest


class OldStep(Sound):
    def step(self, action):
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, info


class OldReset(Sound):
    def reset(self):
        return super().reset()[0]


class GlobalRandom(Sound):
    def obs(self):
        return np.random.uniform(-1, 1, 2).astype(np.float32)


class Leaky(Sound):
    """What an episode shows depends on how many there were before."""

    episodes = 0

    def reset(self, *, seed=None, options=None):
        self.episodes += 1
        return super().reset(seed=seed)

    def obs(self):
        return np.full(2, min(self.episodes, 100) / 100, np.float32)


class Endless(Sound):
    def step(self, action):
        obs, reward, _, *rest = super().step(action)
        return obs, reward, False, *rest


class Failing(Sound):
    def step(self, action):
        if self.np_random.random() < 0.05:
            raise ZeroDivisionError("the pole has no length\nsecond line")
        return super().step(action)


class LimitAsEnd(Sound):
    def step(self, action):
        obs, reward, _, *rest = super().step(action)
        return obs, reward, self.time == 50, *rest


class LockInInfo(Sound):
    lock = threading.Lock()

    def step(self, action):
        *rest, _ = super().step(action)
        return *rest, {"lock": self.lock}


class HashedStrings(Sound):
    def obs(self):
        return np.full(2, hash("corridor") % 1000 / 1000, np.float32)


class NothingDrawn(Sound):
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def render(self):
        return None


class GreyPicture(Sound):
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def render(self):
        return np.zeros((4, 4))


class NoPicture(GreyPicture):
    def render(self):
        raise OSError("no display")


class TextObs(Sound):
    observation_space = spaces.Text(5)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (NanObs, "step returns the observation with NaN in it"),
        (WrongShape, "reset returns the observation of shape (2, 1); its space says (2,)"),
        (NanReward, "step returns the reward nan; it must be finite"),
        (VectorReward, "step returns a reward of shape (2,); it must be one number"),
        (LostObs, "reset returns the observation of dtype float64; uint8 cannot hold its values: 0.5 at [0]"),
        (TooLargeNumber, "step returns the observation outside its space Discrete(3): 3"),
        (
            InfiniteObs,
            "step returns the observation with a number that is not finite in float32: 1e+300 at [1]",
        ),
        (OldStep, "step returns 4 values instead of (obs, reward, terminated, truncated, info)"),
        (OldReset, "reset() got an unexpected keyword argument"),
        (GlobalRandom, "the same seed and actions lead elsewhere after 0 steps in another copy"),
        (Leaky, "the same seed and actions lead elsewhere after 0 steps in a copy that has played before"),
        (Failing, "random steps: ZeroDivisionError: the pole has no length"),
        (TextObs, "environment 'Checked-v0' has observations of type Text"),
    ],
    ids=lambda x: x.__name__ if isinstance(x, type) else "",
)
def test_every_fault_is_found(register, broken, expected):
    register("Checked-v0", broken)
    report = check_environment("Checked-v0")
    assert not report.ok
    assert any(expected in error for error in report.errors), report.errors
    assert all("\n" not in line for line in report.errors + report.warnings)


def test_a_sound_environment(register):
    register("Checked-v0", Sound)
    report = check_environment("Checked-v0")
    assert (report.id, report.ok, report.errors, report.warnings) == ("Checked-v0", True, [], [])
    assert report.steps_per_second > 1000


def line_of(function, text):
    lines, start = inspect.getsourcelines(function)
    return start + next(i for i, line in enumerate(lines) if text in line)


def test_findings_say_which_line_to_fix(register):
    register("Checked-v0", ArrayReward)
    line = line_of(ArrayReward.step, "return")
    assert f"make it a float (test_check.py:{line})" in check_environment("Checked-v0").warnings[0]
    register("Checked-v1", Failing)
    line = line_of(Failing.step, "raise")
    errors = check_environment("Checked-v1").errors
    assert f"random steps: ZeroDivisionError: the pole has no length (test_check.py:{line})" in errors


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        (OutOfBounds, "step returns the observation outside the bounds of its space: "),
        (WideObs, "step returns the observation of dtype float64; its space says float32"),
        (ArrayReward, "step returns a reward of type ndarray; make it a float"),
        (IntFlag, "step returns terminated of type int; make it a bool"),
        (
            LimitAsEnd,
            "every episode terminated after exactly 50 steps: if that is a time limit, return it as truncated",
        ),
        (OneFrame, "each of its stacks of 4 frames is one frame 3 times and a blank one"),
        (ResetsItself, "returns another observation than its info has as 'final_observation'"),
        (LockInInfo, "its info cannot be pickled: backend async leaves it out"),
        (
            GreyPicture,
            "render returns float64 of shape (4, 4); videos need uint8 of shape (height, width, 3)",
        ),
        (NothingDrawn, "render returns NoneType; videos need uint8 of shape (height, width, 3)"),
        (NoPicture, "render: OSError: no display"),
    ],
    ids=lambda x: x.__name__ if isinstance(x, type) else "",
)
def test_what_is_only_odd_is_a_warning(register, odd, expected):
    register("Checked-v0", odd)
    report = check_environment("Checked-v0", processes=False)
    assert report.ok and any(expected in line for line in report.warnings), report


@pytest.mark.parametrize(("sound", "unsaid"), [(Past, "one frame"), (TellsTheEnd, "final_observation")])
def test_what_only_looks_odd_is_no_warning(register, sound, unsaid):
    register("Checked-v0", sound)
    assert not any(unsaid in line for line in check_environment("Checked-v0", processes=False).warnings)


@pytest.mark.parametrize(
    ("planes", "expected"),
    [
        ([1, 1, 1, 0], True),
        ([0, 2, 2, 2], True),
        ([0, 0, 0, 0], True),
        ([1, 1, 1, 1], False),
        ([1, 1, 2, 0], False),
        ([1, 1, 0, 0], False),
    ],
)
def test_one_frame_and_a_blank_one(planes, expected):
    assert shows_one_frame(np.array(planes)[:, None, None] * np.eye(3)) is expected


def test_another_process_must_do_the_same(register):
    register("Checked-v0", HashedStrings)
    (error,) = check_environment("Checked-v0").errors
    assert error.startswith("in another process the same seed and actions lead elsewhere after 0 steps")
    assert check_environment("Checked-v0", processes=False).ok


def test_checkers_of_other_libraries_warn(register):
    def checker(env):
        env.reset()
        raise AssertionError("that library cannot read this space")

    register("Checked-v0", Sound)
    report = check_environment("Checked-v0", checkers={"Another checker": checker}, processes=False)
    assert report.ok and report.warnings[0].startswith("Another checker: that library cannot")


def test_vector_environments_are_looked_at(register):
    class Wide(gymnasium.vector.VectorEnv):
        metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012

        def __init__(self, num_envs):
            self.num_envs = num_envs
            self.single_observation_space, self.single_action_space = (
                Sound.observation_space,
                Sound.action_space,
            )

        def reset(self, *, seed=None, options=None):
            return np.zeros((2, 2)), {}

        def step(self, actions):
            return np.zeros((2, 2)), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool), {}

    register("Checked-v0", Sound, vector_entry_point=Wide)
    report = check_environment("Checked-v0", processes=False)
    assert report.ok
    assert report.warnings == [
        "vector environment: step returns the observation of dtype float64; its space says float32"
    ]


def test_vector_environments_may_take_actions_of_parts(register):
    parts = spaces.Dict(move=spaces.Discrete(3), look=spaces.Tuple([spaces.Box(-1, 1, (2,), np.float32)]))

    class Parts(Sound):
        action_space = parts

        def step(self, action):
            return super().step(int(action["move"] > 1))

    class Wide(gymnasium.vector.VectorEnv):
        metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012
        shapes = []  # noqa: RUF012

        def __init__(self, num_envs):
            self.num_envs = num_envs
            self.single_observation_space, self.single_action_space = Parts.observation_space, parts

        def reset(self, *, seed=None, options=None):
            return np.zeros((2, 2), np.float32), {}

        def step(self, actions):
            self.shapes.append((actions["move"].shape, actions["look"][0].shape))
            return np.zeros((2, 2), np.float32), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool), {}

    register("Checked-v0", Parts, vector_entry_point=Wide)
    report = check_environment("Checked-v0", processes=False)
    assert report.ok and report.warnings == [] and set(Wide.shapes) == {((2,), (2, 2))}


def test_flags_of_numpy_are_flags(register):
    """Gymnasium's checker (1.4.0) says of these that the environment truncates after a step."""

    class Flags(Sound):
        def step(self, action):
            obs, reward, terminated, truncated, info = super().step(action)
            return obs, reward, np.bool_(terminated), np.bool_(truncated), info

    class Short(Sound):
        def step(self, action):
            obs, reward, terminated, _, info = super().step(action)
            return obs, reward, terminated, True, info

    register("Checked-v0", Flags)
    register("Short-v0", Short)
    assert check_environment("Checked-v0", processes=False).warnings == []
    assert "truncates after 1 step" in " ".join(check_environment("Short-v0", processes=False).warnings)


def test_a_window_that_nobody_asked_for(register):
    class Window(Sound):
        metadata = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012

        def __init__(self, render_mode="human"):
            super().__init__()
            self.render_mode = render_mode

        def render(self):
            return np.zeros((4, 4, 3), np.uint8)

    register("Checked-v0", Window)
    said = "it opens a window unless told otherwise: give it --env-kwargs render_mode=rgb_array"
    assert said in check_environment("Checked-v0", processes=False).warnings
    asked = {"render_mode": "rgb_array"}
    assert said not in check_environment("Checked-v0", kwargs=asked, processes=False).warnings


def test_an_episode_that_never_ends(register):
    register("Checked-v0", Endless)
    register("Limited-v0", Endless, max_episode_steps=2000)
    report = check_environment("Checked-v0")
    assert report.ok and len(report.warnings) == 1
    assert report.warnings[0].startswith("no episode ended in 1000 random steps and there is no time limit")
    assert check_environment("Limited-v0").warnings == []


def test_what_is_registered_as_nondeterministic_may_be(register):
    register("Checked-v0", Leaky, nondeterministic=True)
    report = check_environment("Checked-v0")
    assert report.ok
    assert report.warnings == ["it is registered as nondeterministic: runs in it cannot be resumed exactly"]


class SameInfo(Sound):
    info = {}  # noqa: RUF012

    def step(self, action):
        *rest, _ = super().step(action)
        return (*rest, self.info)


def test_gymnasiums_own_checker_is_included(register):
    register("Checked-v0", SameInfo)
    report = check_environment("Checked-v0")
    (warning,) = report.warnings
    assert warning.startswith("Gymnasium's checker: The infos returned by ") and "share an object" in warning
    assert report.ok


class SpaceInReset(Sound):
    """A new action space, with a generator of its own, at every reset."""

    def reset(self, *, seed=None, options=None):
        self.action_space = spaces.Discrete(5)
        return super().reset(seed=seed)

    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, float(action), *rest


class SharedSpace(Sound):
    """All copies draw their actions from one space."""

    action_space = spaces.Discrete(5)

    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, float(action), *rest


class GeneratorOfItsOwn(Sound):
    """Only a seed determines an episode; training gives one to every reset."""

    def reset(self, *, seed=None, options=None):
        self.random = np.random.default_rng(seed)
        return super().reset(seed=seed)

    def obs(self):
        return self.random.uniform(-1, 1, 2).astype(np.float32)


class SameArray(Sound):
    def __init__(self):
        self.array = np.zeros(2, np.float32)

    def obs(self):
        self.array[:] = super().obs()
        return self.array


class ChangesActions(Sound):
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def step(self, action):
        action *= 100
        obs, _, *rest = super().step(0)
        return obs, float(action.sum()), *rest


class RoundedBeyond(Sound):
    def obs(self):
        return np.array([1, -1], np.float32) * np.float32(1.0000002)


class ObeysMask(Sound):
    observation_space = spaces.Dict(x=spaces.Box(-1, 1, (2,)), action_mask=spaces.MultiBinary(4))
    action_space = spaces.Discrete(4)

    def obs(self):
        self.allowed = np.eye(4, dtype=np.int8)[self.time % 4]
        return {"x": super().obs(), "action_mask": self.allowed}

    def step(self, action):
        assert self.allowed[action], f"{action} is forbidden"
        return super().step(action)


class LargerSpace(Sound):
    """Has more actions from its first reset on: training goes by those it had when it was made."""

    def __init__(self):
        super().__init__()
        self.action_space = spaces.Discrete(2)

    def reset(self, **options):
        self.action_space = spaces.Discrete(9)
        return super().reset(**options)


class FirstObjective(gymnasium.Wrapper):
    def step(self, action):
        obs, reward, *rest = self.env.step(action)
        return obs, float(reward[0]), *rest


def weighed():
    return FirstObjective(VectorReward())


@pytest.mark.parametrize(
    "sound",
    [
        SpaceInReset,
        SharedSpace,
        GeneratorOfItsOwn,
        SameArray,
        ChangesActions,
        RoundedBeyond,
        ObeysMask,
        LargerSpace,
        weighed,
    ],
    ids=lambda sound: sound.__name__,
)
def test_sound_environments_in_which_checks_easily_err(register, sound):
    register("Checked-v0", sound)
    report = check_environment("Checked-v0")
    assert report.errors == []
    assert [line for line in report.warnings if not line.startswith("Gymnasium's checker: ")] == []


def test_bounds_are_reported_with_key_place_and_value(register):
    class Nested(Sound):
        observation_space = spaces.Dict(a=spaces.Box(-1, 1, (2, 3)))

        def obs(self):
            return {"a": np.array([[0, 0, 0], [0, 0, -1.5]], np.float32)}

    register("Checked-v0", Nested)
    report = check_environment("Checked-v0", processes=False)
    said = "reset returns the observation['a'] outside the bounds of its space: -1.5 at [1, 2], which says -1 to 1"
    assert report.ok and any(line.startswith(said) for line in report.warnings)


def test_what_stops_training_later_is_found(register):
    made = []

    class Hidden(gymnasium.Wrapper):
        """Raises only in the copy that is stepped as training does it, after four that the checks make."""

        def __init__(self, env):
            super().__init__(env)
            self.number = len(made)

        def step(self, action):
            if self.number > 4:
                raise RuntimeError("no licence for so many")
            return self.env.step(action)

    def make():
        made.append(None)
        return Hidden(Sound())

    register("Checked-v0", make)
    report = check_environment("Checked-v0", processes=False)
    (error,) = report.errors
    assert error.startswith("training in it stops: environment 0 failed: RuntimeError: no licence")


def test_what_training_takes_is_a_warning(register):
    """Lists, mappings and flags of other types end as what they must be; see test_returned.py."""

    class Loose(Sound):
        observation_space = spaces.Dict(a=spaces.Tuple([spaces.Box(-1, 1, (2,))]))

        def obs(self):
            return types.MappingProxyType({"a": [super().obs()], "more": 1})

        def step(self, action):
            obs, reward, terminated, truncated, _ = super().step(action)
            return [obs, np.array([reward]), int(terminated), np.array([truncated]), None]

    register("Checked-v0", Loose)
    report = check_environment("Checked-v0", processes=False)
    assert report.errors == []
    assert any("a list; make it a tuple" in line for line in report.warnings)


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "Pendulum-v1", "LunarLander-v3", "BipedalWalker-v3", "FrozenLake-v1"]
)
def test_gymnasiums_environments_are_sound(env_id):
    report = check_environment(env_id)
    assert (report.errors, report.warnings) == ([], [])


@pytest.mark.parametrize(
    "name", ["Constant", "Observation", "Delayed", "Action", "ActionObservationContinuous"]
)
def test_the_probes_are_sound(name):
    report = check_environment(f"palaestra/Probe{name}-v0")
    assert (report.errors, report.warnings) == ([], [])


def test_arguments_reach_the_environment():
    assert check_environment("LunarLander-v3", {"continuous": True}).ok
    report = check_environment("CartPole-v1", {"colour": "red"})
    assert report.errors == [
        "making it: environment 'CartPole-v1' takes no argument 'colour'; "
        "it takes max_episode_steps, sutton_barto_reward"
    ]


def test_unknown_ids():
    with pytest.raises(ValueError, match=r"^unknown environment 'CartPol-v1'; did you mean 'CartPole-v1'\?$"):
        check_environment("CartPol-v1")


def test_lists_families(register):
    listings = {listing.id: listing for listing in list_environments()}
    assert listings["CartPole-v1"][1:] == ("classic_control", True)
    assert listings["LunarLander-v3"].family == "box2d"
    assert listings["HalfCheetah-v5"].family == "mujoco"
    assert listings["palaestra/ProbeAction-v0"][1:] == ("palaestra", True)
    assert "Ant-v2" not in listings  # dropped by Gymnasium
    families = [listing.family for listing in list_environments()]
    assert families == sorted(families)


def test_lists_what_is_not_installed(register):
    register("Far-v0", "no_such_package.worlds:Far")
    register("phys/Far-v0", "no_such_package.worlds:Far")
    assert [tuple(x) for x in list_environments("far-v0")] == [
        ("Far-v0", "no_such_package", False),
        ("phys/Far-v0", "phys", False),
    ]


def test_list_patterns():
    assert [x.id for x in list_environments("cartpole")] == [
        "CartPole-v0",
        "CartPole-v1",
        "palaestra/CartPoleNoVel-v0",
        "palaestra/CartPolePixels-v0",
        "phys2d/CartPole-v0",
        "phys2d/CartPole-v1",
    ]
    assert [x.id for x in list_environments("CartPole-v[01]")] == ["CartPole-v0", "CartPole-v1"]
    assert list_environments("no such thing") == []


def test_a_vector_of_rewards_names_its_shape_and_the_wrapper_for_it():
    result = (np.zeros(2, np.float32), np.zeros(3), False, False, {})
    assert [problem.what for problem in result_problems(Sound.observation_space, result)] == [
        "a reward of shape (3,); it must be one number: "
        "weigh several objectives with the wrapper mo_gymnasium.wrappers:LinearReward"
    ]


class EmptyObs(gymnasium.Env):
    observation_space = spaces.Dict(x=spaces.Box(-1, 1, (0,)))
    action_space = spaces.Discrete(2)


class EmptyDict(EmptyObs):
    observation_space = spaces.Dict(x=spaces.Dict())


class NoSpaces(gymnasium.Env):
    pass


class Stranger(Sound):
    """What is inside it knows nothing of Gymnasium."""

    @property
    def unwrapped(self):
        return object()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            EmptyObs,
            r"^environment 'Checked-v0' has observations of shape \(0,\) at \['x'\], which hold nothing$",
        ),
        (
            EmptyDict,
            r"^environment 'Checked-v0' has observations of Dict\(\) at \['x'\], which hold nothing",
        ),
        (NoSpaces, r"^environment 'Checked-v0' has no observation_space: its constructor has to set one$"),
        (Stranger, r"^environment 'Checked-v0' cannot be made: its `unwrapped` is no Gymnasium environment$"),
    ],
)
def test_spaces_that_no_agent_can_use_are_one_line(register, fault, said):
    register("Checked-v0", fault)
    with pytest.raises((TypeError, ValueError), match=said):
        make_envs(EnvSpec("Checked-v0", 1))


def test_an_environment_that_cannot_be_closed_keeps_its_report(register):
    class Stuck(Sound):
        def close(self):
            raise AttributeError("no renderer")

    register("Checked-v0", Stuck)
    report = check_environment("Checked-v0", processes=False)
    assert report.steps_per_second and any("no renderer" in line for line in report.warnings)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            NoSpaces,
            "making it: environment 'Checked-v0' has no observation_space: its constructor has to set one",
        ),
        (
            EmptyDict,
            "making it: environment 'Checked-v0' has observations of Dict() at ['x'], which hold nothing",
        ),
    ],
)
def test_checks_of_spaces_that_no_agent_can_use(register, fault, said):
    register("Checked-v0", fault)
    assert check_environment("Checked-v0").errors == [said]


def test_an_argument_that_is_missing_is_named(register):
    class Data(Sound):
        def __init__(self, dataset):
            self.dataset = dataset

    register("Checked-v0", Data)
    (error,) = check_environment("Checked-v0").errors
    assert (
        error == "making it: environment 'Checked-v0' needs 'dataset': give it with --env-kwargs NAME=VALUE"
    )
    assert check_environment("Checked-v0", {"dataset": "mine"}, processes=False).ok
