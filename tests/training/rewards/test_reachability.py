"""The reachability network, its pairs and memory, against numbers computed by hand and on a line."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.training.rewards.reachability import (
    EpisodicMemory,
    Reachability,
    ReachabilityConfig,
    upper_quantile,
)
from palaestra.training.rewards.reachability_network import area_under_curve

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
    """The memory holds 0, where the episode began. At 2: logit -relu(2 - 0), bonus 1 - sigmoid(-2) = 0.881, and it is
    remembered. Back at 1, with the higher of two quantiles 1: logit 0 from 2, bonus 1 - sigmoid(0) = 0.5.
    """
    source = make(quantile=1.0)
    zero, one, two = (np.full((2, 1), x, np.float32) for x in (0, 1, 2))
    new = 1 - 1 / (1 + np.exp(2.0))
    reward, _ = source.reward(one_step(two, obs=zero, first=[True, True]))
    assert reward == pytest.approx([new, new], rel=1e-5)
    assert source.memory.count.tolist() == [2, 2]
    reward, _ = source.reward(one_step(one, obs=two, valid=[True, False]))
    assert reward == pytest.approx([0.5, 0], rel=1e-5)
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


def test_a_place_to_which_it_is_lured_is_told_from_the_others():
    """Walks on a line, then nothing but to and fro between two places at its end, three times as long as the history.

    Held-out pairs are told apart as before, and what is far from the two places still counts as new there. A network
    that learns from the latest steps knows two places after that, and tells nothing (area 0.5).
    """
    source = Reachability(
        ReachabilityConfig(near=2, updates=4, history=2000, cell=0.01), setting(LINE, num_envs=4)
    )
    begin, found = 0.3 * np.arange(4)[:, None], []
    for t in range(2500):
        place, following = (
            (np.abs((begin + x / 60) % 2 - 1) if t < 1000 else np.full((4, 1), x % 2 / 60)).astype(np.float32)
            for x in (t, t + 1)
        )
        _, metrics = source.reward(one_step(following, obs=place, first=np.full(4, t % 500 == 0)))
        found += [metrics["bonus/auc"]] if "bonus/auc" in metrics else []
    assert np.mean(found[-3:]) > 0.9
    assert source.history.obs.max() > 0.9
    with torch.no_grad():
        here, there = (torch.tensor([[x]]) for x in (1 / 60, 0.8))
        near, far = (torch.sigmoid(source.network(here, x)).item() for x in (here, there))
    assert near > 0.8 and far < 0.2


@pytest.mark.filterwarnings("ignore")  # Matplotlib's own
def test_the_picture_of_the_maze_is_drawn(tmp_path, capsys):
    """`python docs/reachability_picture.py` writes it, from three times as many steps; 0.5 is guessing."""
    docs = Path(__file__).parents[3] / "docs"
    script = runpy.run_path(str(docs / "reachability_picture.py"))
    script["main"](tmp_path / "maze.png", num_steps=1200)
    assert float(capsys.readouterr().out.split()[-1]) > 0.6
    for picture in (tmp_path / "maze.png", docs / "pictures" / "reachability.png"):
        assert 1_000 < picture.stat().st_size < 100_000
