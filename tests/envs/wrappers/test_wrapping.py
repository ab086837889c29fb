import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.wrappers.by_name import find_wrapper


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module with a wrapper class, a wrapping function, and what is neither."""
    (tmp_path / "wrappers_of_mine.py").write_text(
        "import gymnasium\n"
        "class Scale(gymnasium.RewardWrapper):\n"
        "    def __init__(self, env, by=10): super().__init__(env); self.by = by\n"
        "    def reward(self, reward): return reward * self.by\n"
        "def plus_one(env): return gymnasium.wrappers.TransformReward(env, lambda reward: reward + 1)\n"
        "def forgetful(env): pass\n"
        "import numpy as np\n"
        "def weighted(env, weight: np.ndarray, names: 'list | np.ndarray' = ()):\n"
        "    assert weight.shape == (2,) and list(names) == names\n"
        "    return gymnasium.wrappers.TransformReward(env, lambda reward: float(weight @ [reward, reward]))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def reward(*wrappers, **kwargs):
    envs = make_envs(EnvSpec("CartPole-v1", 2, wrappers=wrappers, **kwargs))
    envs.reset()
    found = envs.step([0, 1]).reward.tolist()
    envs.close()
    return found


def test_wrappers_go_on_from_the_inside_out(mine):
    assert reward("wrappers_of_mine:Scale", "wrappers_of_mine:plus_one") == [11, 11]
    assert reward("wrappers_of_mine:plus_one", "wrappers_of_mine:Scale(by=3)") == [6, 6]


def test_lists_are_arrays_where_an_argument_is_annotated_as_one(mine):
    """As `mo_gymnasium.wrappers:LinearReward` wants its weights (1.3.2)."""
    assert reward("wrappers_of_mine:weighted(weight=[0.5, 2], names=['a'])") == [2.5, 2.5]
    _, arguments = find_wrapper("gymnasium.wrappers:RescaleAction(min_action=[-1, -2], max_action=1)")
    assert arguments["min_action"].tolist() == [-1, -2] and arguments["max_action"] == 1


def test_wrappers_in_worker_processes(mine):
    assert reward("wrappers_of_mine:Scale", backend="async", workers=1) == [10, 10]


def test_wrappers_rule_out_native_vector_environments():
    spec = EnvSpec("CartPole-v1", 16, wrappers=("gymnasium.wrappers:TimeAwareObservation",))
    envs = make_envs(spec)
    assert envs.backend == "sync" and envs.observation_space.shape == (5,)
    with pytest.raises(
        ValueError, match=r"^wrappers cannot be had with backend 'vector'; use sync or async$"
    ):
        EnvSpec("CartPole-v1", wrappers=("a:B",), backend="vector")


@pytest.mark.parametrize(
    ("wrapper", "said"),
    [
        ("Scale", "wrapper 'Scale': say where it is, for example gymnasium.wrappers:Scale"),
        ("no_such_package:Scale", "wrapper 'no_such_package:Scale': No module named 'no_such_package'"),
        ("wrappers_of_mine:Scal", "wrappers_of_mine has no Scal; did you mean 'wrappers_of_mine:Scale'?"),
        ("wrappers_of_mine:Scale(by=)", "expected module:Name(name=value, ...) with plain values"),
        ("wrappers_of_mine:Scale(open('x'))", "expected module:Name(name=value, ...) with plain values"),
        ("wrappers_of_mine:Scale(factor=2)", "does not go around"),
        ("wrappers_of_mine:forgetful", "returned NoneType instead of an environment"),
    ],
)
def test_what_is_wrong_with_a_wrapper(mine, wrapper, said):
    with pytest.raises(ValueError) as caught:
        reward(wrapper)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_arguments_are_literals():
    make, arguments = find_wrapper(
        "gymnasium.wrappers:FrameStackObservation(stack_size=4, padding_type='zero')"
    )
    assert make is gymnasium.wrappers.FrameStackObservation
    assert arguments == {"stack_size": 4, "padding_type": "zero"}


def test_a_wrapper_can_make_a_space_that_is_supported(register, mine, tmp_path):
    (tmp_path / "dropping.py").write_text(
        "import gymnasium\n"
        "def without_text(env):\n"
        "    return gymnasium.wrappers.FilterObservation(env, ['place'])\n"
    )

    class Talking(gymnasium.Env):
        observation_space = spaces.Dict({"place": spaces.Box(0, 1, (2,)), "said": spaces.Text(9)})
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return {"place": np.zeros(2, np.float32), "said": "hello"}, {}

    register("Talking-v0", Talking)
    envs = make_envs(EnvSpec("Talking-v0", 1, wrappers=("dropping:without_text",)))
    assert list(envs.observation_space) == ["place"]
