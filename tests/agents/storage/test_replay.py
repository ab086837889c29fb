import copy
from typing import NamedTuple

import numpy as np
import pytest

from palaestra.agents.agent import Transition
from palaestra.agents.storage.frame_ring import Pool
from palaestra.agents.storage.replay import Replay


class Step(NamedTuple):
    """What one environment did in one step; `after` is the mark of the true successor."""

    mark: int
    reward: float
    terminated: bool
    truncated: bool
    valid: bool
    after: int


class World:
    """Environments with episodes of random length whose every observation has a mark of its own.

    Keeps all steps in plain lists, from which windows can be read off one step at a time.
    """

    def __init__(self, num_envs: int, *, next_step_resets: bool = False, seed: int = 0):
        self.num_envs = num_envs
        self.next_step_resets = next_step_resets
        self.generator = np.random.default_rng(seed)
        self.marks = 0
        self.now = [self.new_mark() for _ in range(num_envs)]
        self.resetting = [False] * num_envs
        self.opens = [True] * num_envs
        self.history: list[list[Step]] = []

    def new_mark(self) -> int:
        self.marks += 1
        return self.marks

    def step(self) -> Transition:
        row, firsts = [], []
        for index in range(self.num_envs):
            mark, reset = self.now[index], self.resetting[index]
            ends = not reset and self.generator.random() < 0.3
            terminated = ends and self.generator.random() < 0.5
            step = Step(
                mark, self.generator.random(), terminated, ends and not terminated, not reset, self.new_mark()
            )
            # In next-step mode the row after an end repeats the last observation and leads to the reset one.
            self.now[index] = step.after if not ends or self.next_step_resets else self.new_mark()
            self.resetting[index] = ends and self.next_step_resets
            firsts.append(self.opens[index])
            self.opens[index] = reset if self.next_step_resets else ends
            row.append(step)
        self.history.append(row)
        columns = Step(*(np.array(column) for column in zip(*row, strict=True)))
        return Transition(
            obs=self.observe(columns.mark),
            action=columns.mark % 7,
            reward=columns.reward,
            terminated=columns.terminated,
            truncated=columns.truncated,
            next_obs=self.observe(columns.after),
            first=np.array(firsts),
            state=np.zeros((self.num_envs, 0), np.float32),
            valid=columns.valid if self.next_step_resets else None,
        )

    @staticmethod
    def observe(marks: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "mark": marks[:, None].astype(np.float64),
            "image": (marks[:, None] % [251, 256]).astype(np.uint8),
        }

    def window(self, mark: int, n_step: int, gamma: float) -> tuple[float, float, int]:
        """Reward, discount and successor's mark of the window that begins at a mark, step by step."""
        start, index = next(
            (t, index)
            for t, row in enumerate(self.history)
            for index, step in enumerate(row)
            if step.mark == mark and step.valid
        )
        total, factor = 0.0, 1.0
        for row in self.history[start : start + n_step]:
            step = row[index]
            assert step.valid
            total += factor * step.reward
            factor *= gamma
            if step.terminated:
                return total, 0.0, step.after
            if step.truncated:
                break
        return total, factor, step.after


def mark_of(obs) -> np.ndarray:
    return obs["mark"][:, 0].astype(int)


@pytest.mark.parametrize("next_step_resets", [False, True])
@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("n_step", [1, 2, 5])
def test_every_window_equals_one_read_step_by_step(n_step, num_envs, next_step_resets):
    """Over a filling and a wrapping ring: no window crosses an episode end, the write position or an invalid row."""
    world = World(num_envs, next_step_resets=next_step_resets)
    replay = Replay(10 * num_envs + num_envs - 1, n_step=n_step, gamma=0.9)
    for count in range(1, 36):
        replay.add(world.step())
        newest = world.history[-10:]
        alive = {step.mark for row in newest for step in row if step.valid}
        assert len(replay) == len(alive)

        slots = np.flatnonzero(replay.valid)
        batch = replay.transitions(slots)
        marks = mark_of(batch.obs)
        assert set(marks) == alive and len(marks) == len(alive), f"after {count} steps"
        np.testing.assert_array_equal(batch.action, marks % 7)
        np.testing.assert_array_equal(batch.indices, slots)
        expected = [world.window(mark, n_step, 0.9) for mark in marks]
        reward, discount, after = zip(*expected, strict=True)
        np.testing.assert_allclose(batch.reward, reward, rtol=1e-5)
        np.testing.assert_allclose(batch.discount, discount, rtol=1e-6)
        np.testing.assert_array_equal(mark_of(batch.next_obs), after)
        np.testing.assert_array_equal(batch.next_obs["image"], World.observe(np.array(after))["image"])


def test_an_n_step_target_by_hand():
    """Three steps with rewards 1, 2, 4; gamma 0.5. Cut by nothing, a truncation, a termination, the newest row."""

    def targets(terminated=(), truncated=()):
        replay = Replay(10, n_step=2, gamma=0.5)
        for t, reward in enumerate([1.0, 2.0, 4.0]):
            replay.add(
                Transition(
                    obs=np.array([[t]]),
                    action=np.array([0]),
                    reward=np.array([reward]),
                    terminated=np.array([t in terminated]),
                    truncated=np.array([t in truncated]),
                    next_obs=np.array([[t + 1 if t not in (*terminated, *truncated) else 100 + t]]),
                    first=np.array([t == 0]),
                    state=np.zeros((1, 0)),
                )
            )
        batch = replay.transitions(np.arange(3))
        return [x.flatten().tolist() for x in (batch.reward, batch.discount, batch.next_obs)]

    assert targets() == [[2.0, 4.0, 4.0], [0.25, 0.25, 0.5], [2, 3, 3]]
    assert targets(truncated=[1]) == [[2.0, 2.0, 4.0], [0.25, 0.5, 0.5], [101, 101, 3]]
    assert targets(terminated=[1]) == [[2.0, 2.0, 4.0], [0.0, 0.0, 0.5], [101, 101, 3]]


@pytest.mark.parametrize("capacity", [2, 4, 20])
def test_an_episode_that_is_given_up_is_cut_off(capacity):
    """A run that went on with new episodes, in one of two environments after step 2: nothing reaches over to them."""
    replay, fresh = Replay(capacity, n_step=2, gamma=0.5), Replay(capacity, n_step=2, gamma=0.5)
    for t in range(6):
        if t == 3:
            fresh.load_state_dict(copy.deepcopy(replay.state_dict()))
            replay = fresh
        replay.add(
            Transition(
                obs=np.array([[t], [100 + t]]) + 10 * (t > 2) * np.array([[1], [0]]),
                action=np.array([0, 0]),
                reward=np.array([1.0, 2.0]),
                terminated=np.array([False, False]),
                truncated=np.array([False, False]),
                next_obs=np.array([[t + 1], [101 + t]]) + 10 * (t > 2) * np.array([[1], [0]]),
                first=np.array([t in (0, 3), t == 0]),
                state=np.zeros((2, 0)),
            )
        )
    slots = np.flatnonzero(replay.valid)
    batch = replay.transitions(slots)
    for obs, reward, discount, next_obs in zip(
        batch.obs[:, 0], batch.reward, batch.discount, batch.next_obs[:, 0], strict=True
    ):
        alone = obs in (2, 15, 105)  # the last steps of their episodes so far
        assert (reward, discount, next_obs) == (
            ((1.0 + (obs > 99)) * (1 if alone else 1.5)),
            0.5 if alone else 0.25,
            obs + (1 if alone else 2),
        )
    assert len(slots) == min(capacity, 12)


@pytest.mark.parametrize("prioritized", [None, 0.7])
def test_samples_are_valid_and_cover_everything(prioritized):
    world, generator = World(3, next_step_resets=True), np.random.default_rng(0)
    replay = Replay(24, n_step=3, prioritized=prioritized)
    for _ in range(30):
        replay.add(world.step())
    alive = {step.mark for row in world.history[-8:] for step in row if step.valid}
    assert 0 < len(alive) < 24
    batch = replay.sample(4000, generator)
    marks, counts = np.unique(mark_of(batch.obs), return_counts=True)
    assert set(marks) == alive
    # All priorities are still the same, so both kinds sample uniformly.
    np.testing.assert_allclose(counts / 4000, 1 / len(alive), atol=0.02)
    np.testing.assert_array_equal(batch.weights, np.ones(4000, np.float32))


def test_priorities_weights_and_insertion_by_hand():
    world = World(1)
    replay = Replay(4, prioritized=0.5)
    for _ in range(4):
        replay.add(world.step())
    replay.update_priorities(np.arange(4), np.array([1.0, 4.0, 9.0, 16.0]))  # to the power 0.5: 1, 2, 3, 4
    batch = replay.sample(10_000, np.random.default_rng(0), beta=0.5)
    frequency = np.bincount(batch.indices, minlength=4) / 10_000
    np.testing.assert_allclose(frequency[:4], [0.1, 0.2, 0.3, 0.4], atol=1e-3)
    # (4 * probability)^-0.5, divided by the largest, which is that of probability 0.1.
    expected = (np.array([0.1, 0.2, 0.3, 0.4]) / 0.1) ** -0.5
    np.testing.assert_allclose(batch.weights, expected[batch.indices], rtol=1e-5)
    # A new step comes in with the largest priority so far, and takes the place of the oldest, which had 1.
    replay.add(world.step())
    np.testing.assert_allclose(replay.tree.priorities, [0, 2, 3, 4, 4])


def test_one_draw_from_every_part_of_the_priorities():
    world, replay = World(1), Replay(100, prioritized=1.0)
    for _ in range(100):
        replay.add(world.step())
    batch = replay.sample(100, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(batch.indices), np.arange(100))


@pytest.mark.parametrize("prioritized", [None, 0.6])
@pytest.mark.parametrize("steps", [0, 1, 7, 10, 11, 37])
def test_a_restored_replay_goes_on_exactly(steps, prioritized):
    """Empty, filling, just full, wrapped: the same samples now, and after more steps."""
    world = World(2, next_step_resets=True, seed=3)
    options = {"n_step": 3, "prioritized": prioritized}
    replay = Replay(20, **options)
    for _ in range(steps):
        replay.add(world.step())
    if prioritized and steps:
        slots = np.flatnonzero(replay.valid)
        replay.update_priorities(slots, 1 + np.arange(len(slots)) / 10)
    state = copy.deepcopy(replay.state_dict())
    fresh = Replay(20, **options)
    fresh.load_state_dict(state)
    for _ in range(30):
        assert len(fresh) == len(replay) and fresh.max_priority == replay.max_priority
        if len(replay):
            batches = [each.sample(16, np.random.default_rng(5), beta=0.4) for each in (replay, fresh)]
            for left, right in zip(*batches, strict=True):
                np.testing.assert_equal(right, left)
        step = world.step()
        replay.add(step)
        fresh.add(step)


def test_a_checkpoint_holds_only_the_rows_in_use():
    world, replay = World(2), Replay(1000)
    for _ in range(5):
        replay.add(world.step())
    state = replay.state_dict()
    assert len(state["arrays"]["reward"]) == 12  # five rows, and one for the newest row's successor
    assert len(state["arrays"]["obs"]["image"]) == 12


def test_observations_keep_their_type_and_are_stored_once():
    world, replay = World(4), Replay(4000)
    for _ in range(1500):
        replay.add(world.step())
    assert replay.obs["image"].dtype == np.uint8 and replay.obs["mark"].dtype == np.float32
    assert len(replay.obs["image"]) == 4004
    batch = replay.sample(8, np.random.default_rng(0))
    assert batch.obs["image"].dtype == batch.next_obs["image"].dtype == np.uint8
    # Places of successors kept apart are used again: about 0.3 of the steps end an episode.
    ends = int((replay.end >= 0).sum())
    assert ends == replay.ends.capacity - len(replay.ends.free)
    assert replay.ends.capacity <= 2 * ends


def test_pool_uses_free_places_again():
    pool = Pool()
    first = pool.add(np.arange(10)[:, None])
    pool.remove(first[:5])
    second = pool.add(np.arange(100, 105)[:, None])
    assert set(second) == set(first[:5]) and pool.capacity == 16
    third = pool.add(np.arange(200, 230)[:, None])
    assert pool.capacity >= 40
    np.testing.assert_array_equal(pool.rows[first[5:], 0], np.arange(5, 10))
    np.testing.assert_array_equal(pool.rows[second, 0], np.arange(100, 105))
    np.testing.assert_array_equal(pool.rows[third, 0], np.arange(200, 230))


def test_bad_uses_are_refused():
    with pytest.raises(ValueError, match="n_step must be at least 1, got 0"):
        Replay(10, n_step=0)
    with pytest.raises(ValueError, match="replay of 3 steps is too small for 4 environments"):
        Replay(3).add(World(4).step())
    with pytest.raises(ValueError, match="the replay is empty"):
        Replay(3).sample(1, np.random.default_rng(0))
