import re
import sys
from importlib.metadata import EntryPoint

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from palaestra.envs import registry
from palaestra.envs.make import EnvSpec, make_envs


class Space(gymnasium.Env):
    """Any spaces; nothing else."""

    def __init__(self, obs=None, action=None):
        self.observation_space = obs or spaces.Box(-1, 1, (2,))
        self.action_space = action or spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert action in self.action_space
        return self.observation_space.sample(), 1.0, False, False, {}


def message(spec, error=ValueError):
    """The error that making it raises: one line."""
    with pytest.raises(error) as caught:
        make_envs(spec)
    text = str(caught.value)
    assert text and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("CartPol-v1", "CartPole-v1"),
        ("cartpole-v1", "CartPole-v1"),
        ("CartPole", "CartPole-v1"),
        ("HalfCheetah-v7", "HalfCheetah-v5"),
        ("palaestra/ProbeConstat-v0", "palaestra/ProbeConstant-v0"),
        ("gymnasium:Pendulumm-v1", "gymnasium:Pendulum-v1"),
    ],
)
def test_unknown_ids_name_the_nearest(wrong, right):
    assert message(EnvSpec(wrong)) == f"unknown environment '{wrong}'; did you mean '{right}'?"


def test_unknown_ids_with_nothing_near():
    assert message(EnvSpec("Zzzzqqqq")) == (
        "unknown environment 'Zzzzqqqq'; `palaestra envs list` shows what there is; ids that a package registers "
        "when it is imported are written module:Id, for example flappy_bird_gymnasium:FlappyBird-v0"
    )


def test_unknown_modules():
    assert message(EnvSpec("no_such_package.corridor:Corridor-v0")) == (
        "environment 'no_such_package.corridor:Corridor-v0': No module named 'no_such_package'"
    )


def test_environments_that_gymnasium_has_dropped():
    assert "cannot be made" in message(EnvSpec("Ant-v2"))


def test_missing_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "Box2D", None)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d", raising=False)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d.car_racing", raising=False)
    text = message(EnvSpec("CarRacing-v3"))
    assert text.startswith("environment 'CarRacing-v3' cannot be made: ") and "gymnasium[box2d]" in text


@pytest.mark.parametrize("backend", ["sync", "vector"])
def test_unknown_arguments(backend):
    spec = EnvSpec("CartPole-v1", kwargs={"sutton_barto": True}, backend=backend)
    assert message(spec) == (
        "environment 'CartPole-v1' takes no argument 'sutton_barto'; did you mean 'sutton_barto_reward'?"
    )
    spec = EnvSpec("CartPole-v1", kwargs={"length": 2}, backend=backend)
    assert message(spec) == (
        "environment 'CartPole-v1' takes no argument 'length'; it takes max_episode_steps, sutton_barto_reward"
    )


def test_arguments_of_the_wrong_kind():
    assert message(EnvSpec("FrozenLake-v1", kwargs={"map_name": "9x9"})).startswith(
        "environment 'FrozenLake-v1' cannot be made with {'map_name': '9x9'}: KeyError: "
    )


def test_arguments_are_used():
    envs = make_envs(EnvSpec("Pendulum-v1", 2, kwargs={"max_episode_steps": 3}))
    envs.reset()
    lengths = [e.length for _ in range(7) for e in envs.step(np.zeros((2, 1))).episodes]
    assert lengths == [3, 3, 3, 3]


def test_errors_of_the_environment_itself_are_not_hidden(register):
    def broken():
        raise KeyError("a bug")

    register("Broken-v0", broken)
    said = r"^environment 'Broken-v0' cannot be made: KeyError: 'a bug', in test_make\.py:\d+$"
    with pytest.raises(ValueError, match=said) as error:
        make_envs(EnvSpec("Broken-v0"))
    assert isinstance(error.value.__cause__, KeyError)


def test_an_environment_that_ends_the_program_is_not_done(register):
    register("Leaving-v0", lambda: sys.exit(0))
    with pytest.raises(ValueError, match=r"^environment 'Leaving-v0' cannot be made: SystemExit: 0, in "):
        make_envs(EnvSpec("Leaving-v0"))


def test_bad_specs():
    with pytest.raises(ValueError, match=r"^num_envs must be at least 1, got 0$"):
        EnvSpec("CartPole-v1", 0)
    with pytest.raises(
        ValueError, match=r"^unknown backend 'snyc'; there are auto, sync, async, vector, envpool, ale$"
    ):
        EnvSpec("CartPole-v1", backend="snyc")


@pytest.mark.parametrize("limit", [0, -3, "abc", 2.5, True])
def test_time_limits_that_are_none(limit):
    with pytest.raises(ValueError, match=r"^max_episode_steps must be a whole number, at least 1, got "):
        EnvSpec("CartPole-v1", kwargs={"max_episode_steps": limit})


def test_without_a_time_limit_single_environments_are_stepped():
    assert make_envs(EnvSpec("CartPole-v1", 8, kwargs={"max_episode_steps": -1})).backend == "sync"
    with pytest.raises(ValueError, match="max_episode_steps=-1 cannot be had with backend 'vector'"):
        EnvSpec("CartPole-v1", backend="vector", kwargs={"max_episode_steps": -1})


def test_no_native_vector_environment():
    text = message(EnvSpec("Pendulum-v1", backend="vector"))
    assert text == "environment 'Pendulum-v1' has no vector environment of its own; use backend 'sync'"


class Native(VectorEnv):
    """A vector environment that does not say how it resets."""

    def __init__(self, num_envs, max_episode_steps=0):
        self.single_observation_space, self.single_action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)
        self.num_envs, self.metadata = num_envs, {}


@pytest.mark.filterwarnings("ignore:.*missing AutoresetMode metadata")
def test_vector_environments_must_say_how_they_reset(register):
    register("Native-v0", Space, vector_entry_point=Native)
    assert "does not say how it resets" in message(EnvSpec("Native-v0", backend="vector"))


def test_the_rule_of_auto(register):
    def known(num_envs):
        env = Native(num_envs)
        env.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        return env

    register("palaestra/Fast-v0", Space, vector_entry_point=known)
    register("foreign/Fast-v0", Space, vector_entry_point=known)
    ids = ("CartPole-v1", "palaestra/Fast-v0", "foreign/Fast-v0", "Pendulum-v1")
    assert [make_envs(EnvSpec(i, 8)).backend for i in ids] == ["vector", "vector", "sync", "sync"]
    assert [make_envs(EnvSpec(i, 7)).backend for i in ids] == ["sync", "sync", "sync", "sync"]
    assert make_envs(EnvSpec("foreign/Fast-v0", 2, backend="vector")).backend == "vector"
    assert make_envs(EnvSpec("CartPole-v1", 2, backend="sync")).backend == "sync"


@pytest.mark.parametrize(
    ("obs", "where"),
    [
        (spaces.Text(5), "observations of type Text;"),
        (spaces.Sequence(spaces.Discrete(2)), "observations of type Sequence;"),
        (spaces.Graph(spaces.Box(0, 1, (2,)), None), "observations of type Graph;"),
        (spaces.Dict({"a": spaces.Tuple([spaces.Discrete(2), spaces.Text(5)])}), "of type Text at ['a'][1];"),
    ],
)
def test_unsupported_observations(register, obs, where):
    register("Odd-v0", lambda: Space(obs))
    text = message(EnvSpec("Odd-v0"), TypeError)
    assert text.startswith("environment 'Odd-v0' has ") and where in text
    assert text.endswith(
        "supported are Box, Discrete, MultiDiscrete, MultiBinary, Dict, Tuple: transform or drop it with a wrapper"
    )


def test_unsupported_actions(register):
    register("Odd-v0", lambda: Space(action=spaces.Text(5)))
    assert "has actions of type Text;" in message(EnvSpec("Odd-v0"), TypeError)


def test_types_that_torch_does_not_know(register):
    """Unless a machine's long double is a double."""
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("long double is double here")
    wide = spaces.Box(-1, 1, (2,), np.longdouble)
    register("Wide-v0", lambda: Space(spaces.Dict(a=spaces.Discrete(2), b=wide)))
    text = message(EnvSpec("Wide-v0"), TypeError)
    assert f"has observations of {wide.dtype} at ['b'], which torch does not know" in text
    assert text.endswith("give the space another dtype, for example float64")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (4, 5, 3), np.uint8),
        spaces.Box(-1, 1, (), np.float64),
        spaces.Discrete(3, start=5),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary((2, 2)),
        spaces.Dict(
            {"a": spaces.Discrete(3), "b": spaces.Tuple([spaces.Box(0, 1, (2,)), spaces.MultiBinary(3)])}
        ),
    ],
    ids=lambda space: type(space).__name__,
)
def test_supported_observations(register, space):
    register("Any-v0", lambda: Space(space))
    envs = make_envs(EnvSpec("Any-v0", 3))
    obs = envs.reset()
    for _ in range(3):
        batch = gymnasium.vector.utils.batch_space(space, 3)
        assert obs in batch
        obs = envs.step(np.zeros(3, np.int64)).obs


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=5),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Box(-2, 2, (3,)),
        spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(0, 1, (2,))}),
    ],
    ids=lambda space: type(space).__name__,
)
def test_supported_actions(register, space):
    # The environment itself asserts that each action lies in its space.
    register("Any-v0", lambda: Space(action=space))
    envs = make_envs(EnvSpec("Any-v0", 2))
    envs.reset()
    batch = gymnasium.vector.utils.batch_space(space, 2)
    assert all(envs.step(batch.sample()).reward.tolist() == [1, 1] for _ in range(5))


def test_ids_with_a_module(tmp_path, monkeypatch, register):
    (tmp_path / "corridor_of_mine.py").write_text(
        "import gymnasium\nfrom gymnasium.envs.classic_control import CartPoleEnv\n"
        "gymnasium.register('Corridor-v0', CartPoleEnv, max_episode_steps=5)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    envs = make_envs(EnvSpec("corridor_of_mine:Corridor-v0", 1))
    envs.reset()
    assert [bool(envs.step([0]).truncated[0]) for _ in range(5)] == [False] * 4 + [True]
    assert message(EnvSpec("corridor_of_mine:Coridor-v0")) == (
        "unknown environment 'corridor_of_mine:Coridor-v0'; did you mean 'corridor_of_mine:Corridor-v0'?"
    )


def test_classes_and_functions_that_nobody_registered(tmp_path, monkeypatch):
    (tmp_path / "classes_of_mine.py").write_text(
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Heavy(CartPoleEnv): pass\n"
        "def light(length=1, render_mode=None): return CartPoleEnv()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("classes_of_mine:Heavy", "classes_of_mine:light"):
        envs = make_envs(EnvSpec(name, 1, kwargs={"max_episode_steps": 2}))
        envs.reset()
        assert [bool(envs.step([0]).truncated[0]) for _ in range(2)] == [False, True]
    make_envs(EnvSpec("classes_of_mine:light", 1, kwargs={"length": 2}))
    assert message(EnvSpec("classes_of_mine:Havy")) == (
        "unknown environment 'classes_of_mine:Havy'; did you mean 'classes_of_mine:Heavy'?"
    )
    assert "takes no argument 'lenght'; did you mean 'length'?" in message(
        EnvSpec("classes_of_mine:light", kwargs={"lenght": 2})
    )


def test_lists_are_arrays_where_an_environment_takes_arrays(tmp_path, monkeypatch):
    """As mo-gymnasium's `four-room-v0` takes its map (1.3.2)."""
    (tmp_path / "maps_of_mine.py").write_text(
        "import numpy as np\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Sea(CartPoleEnv):\n"
        "    def __init__(self, depth: 'np.ndarray', map=np.eye(2), names=('a',), render_mode=None):\n"
        "        super().__init__()\n"
        "        assert depth.shape == (2,) and map.shape == (2, 1) and names == ['b']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    kwargs = {"depth": [1, 2], "map": [[3], [4]], "names": ["b"]}
    for name in ("maps_of_mine:Sea", f"{tmp_path}/maps_of_mine.py:Sea"):
        make_envs(EnvSpec(name, 1, kwargs=kwargs)).close()
    assert kwargs["depth"] == [1, 2]  # what a checkpoint remembers
    assert message(EnvSpec("maps_of_mine:Sea", 1, kwargs={"dept": [1, 2]})) == (
        "environment 'maps_of_mine:Sea' takes no argument 'dept'; did you mean 'depth'?"
    )


def test_packages_that_are_not_installed_name_the_extra(monkeypatch):
    monkeypatch.setitem(registry.PACKAGES, "Far-", registry.Package("no_such_package", "far"))
    assert message(EnvSpec("Far-Away-v0")) == (
        "environment 'Far-Away-v0' needs no_such_package: pip install 'palaestra[far]'"
    )


@pytest.fixture
def plugins(tmp_path, monkeypatch, register):
    """A package with environments under a namespace and under none, and one that fails."""
    (tmp_path / "plugin_of_mine.py").write_text(
        "import gymnasium\n"
        "def named(): gymnasium.register('Maze-v0', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
        "def unnamed(): gymnasium.register('Bare-v0', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
        "def broken(): raise OSError('no licence')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_loaded", set())
    found = [
        EntryPoint("Mine", "plugin_of_mine:named", "gymnasium.envs"),
        EntryPoint("__root__", "plugin_of_mine:unnamed", "gymnasium.envs"),
        EntryPoint("Bad", "plugin_of_mine:broken", "gymnasium.envs"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)
    monkeypatch.delitem(sys.modules, "plugin_of_mine", raising=False)


def test_plugins_register_when_they_are_asked_for(plugins):
    make_envs(EnvSpec("CartPole-v1", 1))
    assert "plugin_of_mine" not in sys.modules
    make_envs(EnvSpec("Mine/Maze-v0", 1))
    assert "Bare-v0" not in gymnasium.registry
    make_envs(EnvSpec("Bare-v0", 1))
    assert message(EnvSpec("Mine/Mase-v0")) == (
        "unknown environment 'Mine/Mase-v0'; did you mean 'Mine/Maze-v0'?"
    )


def test_a_broken_plugin_is_reported_and_harms_no_other(plugins):
    expected = re.escape(
        "the environments of plug-in 'Bad = plugin_of_mine:broken' are missing: OSError: no licence"
    )
    with pytest.warns(RuntimeWarning, match=f"^{expected}$"):
        registry.load_plugins()
    gymnasium.register("Free-v0", Space)
    assert {"Mine/Maze-v0", "Bare-v0", "Free-v0"} <= gymnasium.registry.keys()


def test_render():
    envs = make_envs(EnvSpec("CartPole-v1", 2, backend="sync", render_mode="rgb_array"))
    envs.reset()
    for _ in range(5):
        envs.step([0, 1])
    assert envs.render().shape == (400, 600, 3)
    assert not np.array_equal(envs.render(0), envs.render(1))
    assert envs.frames_per_second == 50
    envs.close()


@pytest.mark.filterwarnings("ignore:.*not in the possible render_modes")
def test_unknown_render_modes():
    text = message(EnvSpec("CartPole-v1", backend="sync", render_mode="ascii"))
    assert text == "environment 'CartPole-v1' has no render mode 'ascii'; it has ['human', 'rgb_array']"
    text = message(EnvSpec("palaestra/ProbeAction-v0", render_mode="rgb_array"))
    assert text == "environment 'palaestra/ProbeAction-v0' cannot be drawn: it takes no render_mode"
