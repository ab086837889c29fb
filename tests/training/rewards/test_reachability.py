"""The reachability network, its pairs and memory, against numbers computed by hand and on a line."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.training.rewards.reachability import (
    EpisodicMemory,
    Reachability,
    ReachabilityConfig,
    Trajectories,
    upper_quantile,
)
from palaestra.training.rewards.reachability_network import area_under_curve, draw_pairs

from .steps import one_step, setting

LINE = spaces.Box(0, 1, (1,), np.float32)


def test_area_under_the_curve():
    """Of the pairs (3, 1), (3, 2), (2, 1), (2, 2) the positive is higher in three, and one is a tie: 3.5 / 4."""
    assert area_under_curve(np.array([3, 2]), np.array([1, 2])) == 0.875
    assert area_under_curve(np.array([1.0]), np.array([2.0, 3.0])) == 0.0


def test_the_quantile_is_one_of_the_known_values():
    """Of 11 similarities 0, 0.1 ... 1 the 0.9 quantile is 0.9; of one, itself; what lies beyond is not known."""
    values = np.stack([np.arange(11)[::-1] / 10, [0.3, *[9.0] * 10]])
    assert upper_quantile(values, np.array([11, 1]), 0.9).tolist() == [0.9, 0.3]
    assert upper_quantile(np.array([[0.1, 0.5, 0.3, 9.0]]), np.array([3]), 0.9).tolist() == [0.5]


def test_pairs_are_near_or_far_within_one_piece():
    piece = np.stack([np.repeat([0, 1], 40), np.full(80, -1)], 1)
    pairs = draw_pairs(piece, 64, near=3, far=15, generator=np.random.default_rng(0), longest=40)
    (start, column), (end, other), near = *pairs[:2], pairs.reachable > 0
    gap = end - start
    assert len(near) == 64 and near.sum() == 32
    assert (column == 0).all() and (other == 0).all()
    assert set(gap[near]) == {1, 2, 3} and gap[~near].min() == 16 and gap.max() <= 39
    assert (start // 40 == end // 40).all()


def test_pieces_that_are_too_short_give_way_to_pairs_of_two():
    piece = np.repeat(np.arange(10), 4)[:, None]
    pairs = draw_pairs(piece, 64, near=1, far=5, generator=np.random.default_rng(0))
    start, end, near = pairs.earlier[0], pairs.later[0], pairs.reachable > 0
    assert (end - start)[near].tolist() == [1] * near.sum()
    assert (start[~near] // 4 != end[~near] // 4).all()
    anywhere = draw_pairs(piece, 64, near=1, far=5, generator=np.random.default_rng(0), across=True)
    assert (anywhere.earlier[0] > anywhere.later[0]).any()
    assert draw_pairs(piece[:4], 64, near=1, far=5, generator=np.random.default_rng(0)) is None


def test_trajectories_are_cut_where_episodes_begin_and_go_round():
    trajectories = Trajectories(setting(LINE, num_envs=2), steps=8, longest=3)
    rows = np.arange(2)
    for t in range(5):
        obs = np.array([[t], [t + 10]], np.float32)
        trajectories.add(one_step(obs, obs=obs, first=[t == 0, t in (0, 2)]), rows)
    held_out = trajectories.pieces(held_out=True)
    # The first step is overwritten. Copy 0: a piece of three steps, then the next; copy 1: a new episode at step 2.
    assert trajectories.pieces(held_out=False).tolist() == [[0, 0], [0, 1], [1, 1], [1, 1]]
    assert (held_out == -1).all()
    assert trajectories.read((np.array([0, 3]), np.array([0, 1]))).ravel().tolist() == [1, 14]


def test_one_piece_in_ten_is_held_out_of_each_copy_another():
    trajectories = Trajectories(setting(LINE, num_envs=2), steps=40, longest=1)
    for _ in range(20):
        obs = np.zeros((2, 1), np.float32)
        trajectories.add(one_step(obs, first=[True, True]), np.arange(2))
    held_out = trajectories.pieces(held_out=True)
    assert np.argwhere(held_out >= 0).tolist() == [[8, 1], [9, 0], [18, 1], [19, 0]]
    assert ((trajectories.pieces(held_out=False) >= 0) != (held_out >= 0)).all()


def test_memories_fill_forget_and_replace():
    memory, generator = EpisodicMemory(2, 2, 1, torch.device("cpu")), np.random.default_rng(0)
    for value in (1.0, 2.0, 3.0):
        memory.add(np.array([1]), torch.tensor([[value]]), generator)
    assert memory.count.tolist() == [0, 2]
    assert 3.0 in memory.embeddings[1, :, 0] and memory.embeddings[0].sum() == 0
    memory.forget(np.array([1]))
    memory.add(np.array([1]), torch.tensor([[5.0]]), generator)
    assert memory.count.tolist() == [0, 1] and memory.embeddings[1, 0] == 5.0


def make(**options):
    """One that knows from the beginning that a step of 1 is a logit of -1: similarity(x, y) = sigmoid(y - x)."""
    made = setting(LINE, num_envs=2)
    source = Reachability(ReachabilityConfig(scale=1.0, size=1, hidden=(), warm_up=0, **options), made)
    with torch.no_grad():
        source.network.encoder.output.weight.fill_(1.0)
        source.network.comparator[0][0].weight.copy_(torch.tensor([[-1.0, 1.0]]))
        source.network.comparator[1].weight.fill_(-1.0)
    source.optimizer.count = 1
    return source


def test_the_bonus_is_what_the_memory_lacks():
    """The memory holds 0, where the episode began. At 2: logit -relu(2 - 0), bonus 0.5 - sigmoid(-2) = 0.381, so it is
    remembered. Back at 1, with the higher of two quantiles 1: logit 0 from 2, bonus 0.5 - sigmoid(0) = 0.
    """
    source = make(quantile=1.0)
    zero, one, two = (np.full((2, 1), x, np.float32) for x in (0, 1, 2))
    new = 0.5 - 1 / (1 + np.exp(2.0))
    reward, _ = source.reward(one_step(two, obs=zero, first=[True, True]))
    assert reward == pytest.approx([new, new], rel=1e-5)
    assert source.memory.count.tolist() == [2, 2]
    reward, _ = source.reward(one_step(one, obs=two, valid=[True, False]))
    assert reward == pytest.approx([0, 0], abs=1e-6)
    assert source.memory.count.tolist() == [2, 2]
    # A new episode has seen nothing but its beginning.
    reward, _ = source.reward(one_step(two, obs=zero, first=[False, True], valid=[False, True]))
    assert reward == pytest.approx([0, new], rel=1e-5)
    assert source.memory.count.tolist() == [2, 2]


def test_the_network_learns_what_is_near_on_a_line():
    """Walks to and fro on a line: held-out pairs are told apart, with the same weights for both observations."""
    source = Reachability(ReachabilityConfig(near=2, updates=4), setting(LINE, num_envs=4))
    begin, found = 0.3 * np.arange(4)[:, None], []
    for t in range(1500):
        place, following = (np.abs((begin + x / 60) % 2 - 1).astype(np.float32) for x in (t, t + 1))
        first = np.full(4, t == 0)
        _, metrics = source.reward(one_step(following, obs=place, first=first))
        found += [metrics["bonus/auc"]] if "bonus/auc" in metrics else []
    assert np.mean(found[-3:]) > 0.9
