import copy

import numpy as np
import pytest

from palaestra.agents.agent import Transition
from palaestra.agents.storage import replay as module
from palaestra.agents.storage.frame_ring import FrameRing, stacked_frames
from palaestra.agents.storage.replay import Replay
from palaestra.agents.storage.replay_batches import sample_windows

SHAPE, COUNT = (32, 32), 4  # frames of 1,024 bytes, four together


def stream(num_envs, steps, seed, odd=0.0):
    """Steps of environments that stack their frames; a share of `odd` observations has other frames than those before.

    An episode opens with its first frame repeated.
    """
    generator = np.random.default_rng(seed)

    def frames(*lead):
        return generator.integers(0, 256, (*lead, *SHAPE), np.uint8)

    def opening():
        return np.repeat(frames(1), COUNT, 0)

    obs, first = np.stack([opening() for _ in range(num_envs)]), np.ones(num_envs, bool)
    for t in range(steps):
        next_obs = np.concatenate([obs[:, 1:], frames(num_envs, 1)], 1)
        for index in np.flatnonzero(generator.random(num_envs) < odd) if t else ():
            next_obs[index] = frames(COUNT)
        terminated, truncated = generator.random((2, num_envs)) < 0.1
        yield Transition(
            obs=obs,
            action=generator.integers(0, 4, num_envs),
            reward=generator.random(num_envs),
            terminated=terminated,
            truncated=truncated & ~terminated,
            next_obs=next_obs,
            first=first,
            state=np.zeros((num_envs, 0), np.float32),
        )
        first = terminated | truncated
        obs = next_obs
        if first.any():
            obs = next_obs.copy()
            for index in np.flatnonzero(first):
                obs[index] = opening()


def pair(capacity, **options):
    """A replay that keeps each frame once, and one that keeps whole stacks."""
    return Replay(capacity, **options), Replay(capacity, **options)


def fill(ours, whole, transitions, monkeypatch):
    for transition in transitions:
        ours.add(transition)
        with monkeypatch.context() as patch:
            patch.setattr(module, "stacked_frames", lambda obs, next_obs: 1)
            whole.add(transition)


def same(ours, whole, seed):
    draws = [replay.sample(64, np.random.default_rng(seed)) for replay in (ours, whole)]
    for left, right in zip(*draws, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("odd", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_what_is_drawn_is_as_if_stacks_were_kept_whole(num_envs, odd, monkeypatch):
    """Over three rounds of the ring, and after a save midway."""
    ours, whole = pair(30, n_step=2)
    for part, seed in enumerate(range(12)):
        fill(ours, whole, stream(num_envs, 9, seed, odd), monkeypatch)
        assert ours.stacks is not None and whole.stacks is None
        same(ours, whole, seed)
        if part % 3 == 1:
            restored = Replay(30, n_step=2)
            restored.load_state_dict(copy.deepcopy(ours.state_dict()))
            ours = restored
            same(ours, whole, seed + 100)
    windows = [sample_windows(each, 5, 4, 2, np.random.default_rng(0)) for each in (ours, whole)]
    for left, right in zip(*windows, strict=True):
        np.testing.assert_array_equal(left, right)


def test_each_frame_is_stored_once(monkeypatch):
    """100 steps of 2 copies are 50 rows, one more for the newest successor, and 3 before them: 54 x 2 frames."""
    ours, whole = pair(100)
    fill(ours, whole, stream(2, 200, seed=0), monkeypatch)
    assert ours.stacks.frames.nbytes == 54 * 2 * 1024
    assert whole.obs.nbytes == 51 * 2 * 4 * 1024
    assert ours.stacks.stacks.rows is None  # nothing had to be kept whole
    saved = ours.state_dict()["stacks"]
    assert saved["frames"].base is not None and saved["frames"].nbytes == 54 * 2 * 1024


def test_only_stacks_are_taken_for_stacks():
    step = next(stream(2, 1, seed=0))
    assert stacked_frames(step.obs, step.next_obs) == COUNT
    assert stacked_frames(step.obs, step.obs[:, ::-1].copy()) == COUNT  # the opening frame, four times
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, (2, 2, 3, 32, 32), np.uint8)
    assert stacked_frames(*colours) == 1
    vectors = np.zeros((2, 4, 300), np.float32)
    assert stacked_frames(vectors, vectors) == 1
    assert stacked_frames({"picture": step.obs}, {"picture": step.next_obs}) == 1


def test_an_episode_that_was_given_up_keeps_its_successor(monkeypatch):
    """A run that went on with new episodes: the successor of the last step is what was seen then."""
    ours, whole = pair(40)
    fill(ours, whole, stream(2, 7, seed=0), monkeypatch)
    fill(ours, whole, stream(2, 7, seed=1), monkeypatch)
    same(ours, whole, 0)


def test_the_ring_is_as_long_as_its_oldest_stack_needs():
    ring = FrameRing(5, next(stream(1, 1, seed=0)).obs)
    assert ring.total == 8
    seen = []
    for transition in stream(1, 40, seed=0):
        ring.add(transition.obs, transition.next_obs)
        seen.append(transition.obs[0])
        position = len(seen) % 5
        for back in range(1, min(5, len(seen) + 1)):
            stack = ring.take(np.array([(position - back) % 5]), position)[0]
            np.testing.assert_array_equal(stack, seen[-back])
