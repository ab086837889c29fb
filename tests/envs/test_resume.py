"""Environments that come back from `state_dict` go on exactly as the original does."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends import action_log
from palaestra.envs.backends.native import VectorBackend
from palaestra.envs.backends.sync import SyncBackend
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.networks.tree import tree_leaves

# Box2D's bindings on import, and MuJoCo's engine on compiling an older model.
pytestmark = pytest.mark.filterwarnings("ignore:builtin type .* has no __module__:DeprecationWarning")


def stored(state):
    """What a checkpoint makes of a state: arrays stay arrays, the rest goes through JSON."""
    arrays = []

    def encode(value):
        assert isinstance(value, np.ndarray) and value.dtype != object, f"{type(value)} cannot be stored"
        arrays.append(value.copy())
        return {"__array__": len(arrays) - 1}

    def decode(value):
        return arrays[value["__array__"]] if "__array__" in value else value

    return json.loads(json.dumps(state, default=encode), object_hook=decode)


def same(one, other):
    """Whether two EnvSteps are equal, bit for bit, up to their infos."""
    assert one.episodes == other.episodes
    for a, b in zip(one[:7], other[:7], strict=True):
        if a is None or b is None:
            assert a is b
            continue
        for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype


def actions(envs, steps, seed):
    """Random actions [steps, B, ...]; those of a Box go beyond its bounds."""
    space = gymnasium.vector.utils.batch_space(envs.action_space, envs.num_envs)
    space.seed(seed)
    scale = 1.3 if isinstance(space, spaces.Box) else 1
    return [space.sample() * scale for _ in range(steps)]


CASES = [
    (EnvSpec("CartPole-v1", 3, backend="sync"), 130),
    (EnvSpec("CartPole-v1", 3, backend="vector"), 130),
    (EnvSpec("CartPole-v1", 3, backend="async", workers=2), 130),
    (EnvSpec("Pendulum-v1", 2, kwargs={"max_episode_steps": 50}), 130),
    (EnvSpec("Acrobot-v1", 2, kwargs={"max_episode_steps": 50}), 130),
    (EnvSpec("MountainCar-v0", 2, kwargs={"max_episode_steps": 50}), 130),
    (EnvSpec("LunarLander-v3", 2), 230),
    (EnvSpec("LunarLander-v3", 2, kwargs={"continuous": True}), 230),
    (EnvSpec("BipedalWalker-v3", 2, kwargs={"max_episode_steps": 60}), 150),
    (EnvSpec("HalfCheetah-v5", 2, kwargs={"max_episode_steps": 50}), 130),
    (EnvSpec("palaestra/ProbeDelayed-v0", 3), 7),
]


def name(case):
    spec, _ = case
    return f"{spec.id} {spec.backend}" + " continuous" * spec.kwargs.get("continuous", False)


@pytest.mark.parametrize(("spec", "before"), CASES, ids=map(name, CASES))
def test_restored_environments_go_on_as_the_original(spec, before, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log where it runs
    original = make_envs(spec)
    assert original.exact_resume
    original.reset()
    early, late = actions(original, before, seed=1), actions(original, 60, seed=2)
    ended = [episode for action in early for episode in original.step(action).episodes]
    # Several episodes have passed, and one at least is under way.
    assert len({episode.env_index for episode in ended}) == spec.num_envs
    state, obs, first = original.state_dict(), original.obs, original.first
    expected = [original.step(action) for action in late]

    fresh, used = make_envs(spec), make_envs(spec)
    used.reset()
    for action in actions(used, 33, seed=3):
        used.step(action)
    for restored in (fresh, used):
        restored.load_state_dict(stored(state))
        np.testing.assert_array_equal(restored.obs, obs)
        np.testing.assert_array_equal(restored.first, first)
        for action, step in zip(late, expected, strict=True):
            same(restored.step(action), step)
    for envs in (original, fresh, used):
        envs.close()


def test_at_every_step_of_next_step_resetting():
    """Also in the row between the end of an episode and the next one."""
    spec = EnvSpec("CartPole-v1", 2, seed=3, backend="vector")
    original = make_envs(spec)
    original.reset()
    plan = actions(original, 80, seed=0)
    states, steps = [], []
    for action in plan:
        states.append(original.state_dict())
        steps.append(original.step(action))
    pending = [t for t, state in enumerate(states) if state["resetting"].any()]
    assert len(pending) >= 4
    assert any(step.valid is not None for step in steps)
    for start in (0, pending[0] - 1, *pending[:3], pending[2] + 1):
        restored = make_envs(spec)
        restored.load_state_dict(stored(states[start]))
        for action, step in zip(plan[start:], steps[start:], strict=True):
            same(restored.step(action), step)


def test_a_second_generation():
    """A run that was restored is saved and restored again."""
    spec = EnvSpec("Acrobot-v1", 2, kwargs={"max_episode_steps": 20})
    original, current = make_envs(spec), make_envs(spec)
    original.reset()
    current.reset()
    for generation in range(4):
        for action in actions(original, 13, seed=generation):
            same(current.step(action), original.step(action))
        state = stored(current.state_dict())
        current = make_envs(spec)
        current.load_state_dict(state)


class Nested(gymnasium.Env):
    """A random walk seen through nested spaces; steps draw random numbers."""

    def __init__(self):
        self.observation_space = spaces.Dict(
            {"walk": spaces.Tuple([spaces.Box(-np.inf, np.inf, (2,)), spaces.Discrete(100)])}
        )
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = self.np_random.normal(size=2), 0
        return self.show(), {}

    def show(self):
        return {"walk": (self.place.astype(np.float32), self.time)}

    def step(self, action):
        self.place = self.place + action * self.np_random.normal(size=2)
        self.time += 1
        return self.show(), float(self.place[0]), self.place[1] > 2, self.time == 9, {}


def test_nested_observations_and_random_transitions():
    original = BackendEnvs(SyncBackend(lambda i: Nested(), 2, seed=0))
    original.reset()
    for action in actions(original, 30, seed=0):
        original.step(action)
    state = original.state_dict()
    restored = BackendEnvs(SyncBackend(lambda i: Nested(), 2, seed=0))
    restored.load_state_dict(stored(state))
    assert isinstance(restored.obs["walk"], tuple)
    for action in actions(original, 30, seed=1):
        same(restored.step(action), original.step(action))


class Unseeded(Nested):
    """Forgets to take its random numbers from the seed."""

    def step(self, action):
        self.place = self.place + np.random.default_rng().normal(size=2)
        self.time += 1
        return self.show(), 0.0, False, False, {}


def test_an_environment_that_does_not_come_back_is_reported():
    original = BackendEnvs(SyncBackend(lambda i: [Nested, Unseeded][i](), 2, seed=0))
    original.reset()
    for _ in range(3):
        original.step([1, 1])
    restored = BackendEnvs(SyncBackend(lambda i: [Nested, Unseeded][i](), 2, seed=0))
    with pytest.warns(RuntimeWarning, match="^environment 1 did not come back as it was") as caught:
        restored.load_state_dict(stored(original.state_dict()))
    assert len(caught) == 1


def test_nondeterministic_environments_begin_new_episodes(register):
    register("Unseeded-v0", Unseeded, nondeterministic=True, max_episode_steps=5)
    original = make_envs(EnvSpec("Unseeded-v0", 2))
    assert not original.exact_resume
    original.reset()
    episodes = [e for _ in range(12) for e in original.step([1, 1]).episodes]
    assert len(episodes) == 4
    restored = make_envs(EnvSpec("Unseeded-v0", 2))
    restored.load_state_dict(stored(original.state_dict()))
    assert restored.first.all()
    following = [e for _ in range(5) for e in restored.step([1, 1]).episodes]
    assert [e.length for e in following] == [5, 5]
    # Episode 2 was under way and is lost; these are new, of seeds that were not used.
    assert not {e.seed for e in following} & {e.seed for e in episodes}


class Counter(VectorEnv):
    """Counts from a random number; with `helper` it keeps something that no snapshot can hold."""

    def __init__(self, helper=None):
        self.num_envs, self.metadata = 2, {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = spaces.Box(0, 1e9, (1,)), spaces.Discrete(2)
        self.helper, self.step_size, self.label = helper, np.float32(0.1), "counter"
        self.count = np.zeros((2, 1), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = self.np_random.random((2, 1), np.float32)
        return self.count, {}

    def step(self, actions):
        self.count += self.step_size * self.np_random.random((2, 1), np.float32)
        return self.count, self.count[:, 0], np.zeros(2, bool), np.zeros(2, bool), {}


def test_snapshots_keep_generators_and_the_types_of_scalars():
    original = BackendEnvs(VectorBackend(Counter(), seed=0))
    assert original.exact_resume
    original.reset()
    original.step([0, 0])
    taken = original.state_dict()
    expected = [original.step([0, 0]) for _ in range(5)]
    state = stored(taken)
    for _ in range(2):  # what was loaded once is still whole
        inner = Counter()
        restored = BackendEnvs(VectorBackend(inner, seed=9))
        restored.load_state_dict(state)
        assert isinstance(inner.step_size, np.float32)
        for step in expected:
            same(restored.step([0, 0]), step)


class Twice(Counter):
    """Has two names for one array and for one generator; with `part` also one for a part of it, once it is stepped."""

    def __init__(self, part=False):
        super().__init__()
        self.part = part

    def reset(self, *, seed=None, options=None):
        obs = super().reset(seed=seed)
        self.also, self.draws = self.count, self.np_random
        return obs

    def step(self, actions):
        if self.part:
            self.row = self.count[0]
        self.also += self.draws.random((2, 1), np.float32)
        return super().step(actions)


def test_two_names_of_one_array_or_generator_stay_one():
    original, restored = (BackendEnvs(VectorBackend(Twice(), seed)) for seed in (0, 9))
    original.reset()
    original.step([0, 0])
    assert restored.load_state_dict(stored(original.state_dict()))
    for _ in range(5):
        same(restored.step([0, 0]), original.step([0, 0]))


def test_an_array_that_is_a_part_of_another_begins_new_episodes():
    original, restored = (BackendEnvs(VectorBackend(Twice(part=True), seed)) for seed in (0, 9))
    original.reset()
    original.step([0, 0])
    assert not restored.load_state_dict(stored(original.state_dict()))
    assert restored.first.all()


def test_vector_environments_without_a_snapshot_begin_new_episodes():
    original = BackendEnvs(VectorBackend(Counter(helper=object()), seed=0))
    assert not original.exact_resume
    obs = original.reset()
    original.step([0, 0])
    restored = BackendEnvs(VectorBackend(Counter(helper=object()), seed=0))
    restored.load_state_dict(stored(original.state_dict()))
    assert restored.first.all()
    # Not the episodes that the run began with.
    assert not (restored.obs == obs).any()


def test_a_snapshot_of_what_cannot_be_set_back_any_more_begins_new_episodes():
    """Checkpoints of before hold snapshots of environments that are no longer taken for plain ones."""
    original = BackendEnvs(VectorBackend(Counter(), seed=0))
    obs = original.reset()
    original.step([0, 0])
    restored = BackendEnvs(VectorBackend(Counter(helper=object()), seed=0))
    assert not restored.load_state_dict(stored(original.state_dict()))
    assert restored.first.all() and not (restored.obs == obs).any()


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_an_episode_too_long_to_be_replayed_begins_anew(backend, monkeypatch):
    """Pendulum's actions of 4 bytes, 2 copies: 128 rows are more than 512 bytes allow, so one copy is given up."""
    monkeypatch.setattr(action_log, "MOST_BYTES", 512)
    spec = EnvSpec("Pendulum-v1", 2, backend=backend, seed=5, frame_stack=2)
    original, restored = make_envs(spec), make_envs(spec)
    original.reset()
    with pytest.warns(RuntimeWarning, match="has not ended its episode within 128 steps"):
        for action in actions(original, 130, seed=0):
            original.step(action)
    state = stored(original.state_dict())
    assert not restored.load_state_dict(state)
    assert restored.first.all()
    # The first observations of episode 1 stand for those that were not.
    np.testing.assert_array_equal(restored.obs[:, 0], restored.obs[:, 1])
    assert not np.array_equal(restored.obs, original.obs)
    step = restored.step(actions(restored, 1, seed=0)[0])
    np.testing.assert_array_equal(step.obs[:, 0], restored.obs[:, 0])
    for envs in (original, restored):
        envs.close()
