"""Catch before a moving background, and the fork."""

import gymnasium
import numpy as np
import pytest

import palaestra.envs  # noqa: F401  registers them
from palaestra.envs.tasks.catch import Catch
from palaestra.envs.tasks.catch_distractor import CatchDistractor
from palaestra.envs.tasks.fork import Fork


def test_the_game_is_catch_and_the_background_moves():
    task, catch = CatchDistractor(height=6, width=5, brightness=120), Catch(6, 5)
    worlds = np.stack([task.draw(np.random.default_rng(seed)) for seed in range(50)])
    game = worlds[:, :3].astype(np.int64)
    generator = np.random.default_rng(0)
    for _ in range(5):
        before, board = task.observe(worlds)[..., 0], catch.picture(game) > 0
        assert before.dtype == np.uint8 and (before[board] == 255).all() and before[~board].max() <= 120
        action = generator.integers(0, 3, 50)
        ours, theirs = task.step(worlds, action), catch.step(game, action)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
        after, still = task.observe(worlds)[..., 0], ~board & (catch.picture(game) == 0)
        assert (before[still] != after[still]).mean() > 0.5
    assert (task.state(worlds) == game).all()
    # No two episodes have the same waves.
    assert len({tuple(world) for world in worlds[:, 3:]}) == 50


def test_large_cells_show_the_same_game_before_a_finer_background():
    small, large = CatchDistractor(height=6, width=5), CatchDistractor(height=6, width=5, pixels=4)
    assert large.observation_space.shape == (24, 20, 1)
    worlds = np.stack([small.draw(np.random.default_rng(seed)) for seed in range(20)])
    coarse, fine = small.observe(worlds), large.observe(worlds)
    assert large.observation_space.contains(fine[0])
    # The upper left pixel of every cell is the cell, and the other pixels of a cell are ball or paddle where it is.
    np.testing.assert_array_equal(fine[:, ::4, ::4], coarse)
    cells = fine.reshape(20, 6, 4, 5, 4).swapaxes(2, 3)
    np.testing.assert_array_equal((cells == 255).all((3, 4)), coarse[..., 0] == 255)
    assert (cells.min((3, 4)) < cells.max((3, 4)))[coarse[..., 0] < 255].mean() > 0.9
    with pytest.raises(ValueError, match="pixels"):
        CatchDistractor(pixels=0)


def test_without_waves_it_is_catch():
    plain, catch = (
        gymnasium.make("palaestra/CatchDistractor-v0", waves=0),
        gymnasium.make("palaestra/Catch-v0", width=10),
    )
    for seed in range(3):
        np.testing.assert_array_equal(plain.reset(seed=seed)[0], catch.reset(seed=seed)[0])
    with pytest.raises(ValueError, match="brightness must be at most 255, got 256"):
        gymnasium.make("palaestra/CatchDistractor-v0", brightness=256)


def test_the_fork_by_hand():
    task = Fork(length=2)
    worlds = np.array([[0.8, 0.0, 1.0, -1.0]])
    obs = task.observe(worlds)
    outcome = task.step(worlds, np.array([0]))
    # Half of 0.8, pushed left by 0.25, and one to the right.
    assert outcome.reward.tolist() == pytest.approx([1.15]) and not outcome.truncated[0]
    assert task.mode(obs, np.array([0]), task.observe(worlds)).tolist() == [1]
    assert task.mode(obs, np.array([0]), np.array([[0.6]])).tolist() == [0]
    assert task.mode(obs, np.array([0]), np.array([[-0.4]])).tolist() == [-1]
    outcome = task.step(worlds, np.array([1]))
    assert outcome.reward.tolist() == pytest.approx([1.15 / 2 + 0.25 - 1]) and outcome.truncated[0]
