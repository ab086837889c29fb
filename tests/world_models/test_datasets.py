import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.training.run.storage.packing import pack, unpack
from palaestra.world_models import encoded_dataset
from palaestra.world_models.datasets import EpisodeDataset, EpisodeRecorder, RecordedEpisode
from palaestra.world_models.dynamics.ensemble import Ensemble
from palaestra.world_models.dynamics.mdn_rnn import MDNRNN
from palaestra.world_models.encoded_dataset import EncodedDataset, predict_all
from palaestra.world_models.identity import Identity
from palaestra.world_models.world_model import WorldModel


def episode(length, terminated=True, base=0.0):
    obs = (base + np.arange(length + 1, dtype=np.float32))[:, None]
    return RecordedEpisode(obs, np.arange(length), np.arange(length, dtype=np.float32) * 10, terminated)


@pytest.fixture
def encoded():
    """EpisodeDataset of 3 steps (terminated) and 5 (cut off)."""
    space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    model = WorldModel(space, spaces.Discrete(9), Identity, Ensemble)
    return EncodedDataset(model, EpisodeDataset([episode(3), episode(5, False, base=100.0)]))


def test_steps_become_episodes():
    recorder = EpisodeRecorder(2)
    flags = [np.array([False, False]), np.array([True, False]), np.array([False, False])]
    ended = []
    for t, terminated in enumerate(flags):
        obs, after = np.array([[t], [10 + t]], np.float64), np.array([[t + 1], [11 + t]], np.float64)
        reward, action = np.array([t, -t], np.float64), np.array([t, t + 1])
        ended += recorder.add(obs, action, reward, terminated, np.zeros(2, bool), after)
    (first,) = ended
    assert first.obs.tolist() == [[0], [1], [2]] and first.obs.dtype == np.float32
    assert first.action.tolist() == [0, 1] and first.reward.tolist() == [0, 1] and first.terminated
    cut = recorder.cut()
    assert [(e.length, e.terminated) for e in cut] == [(1, False), (3, False)]
    assert cut[1].obs.tolist() == [[10], [11], [12], [13]]
    assert recorder.cut() == []
    assert first.opens and cut[0].opens and cut[1].opens


@pytest.mark.parametrize("told", [False, True])
def test_what_goes_on_with_a_cut_episode_opens_none(told):
    recorder, no, yes = EpisodeRecorder(1), np.array([False]), np.array([True])
    found = []
    for ends, first, cut in ((no, yes, False), (no, no, True), (yes, no, False), (no, yes, True)):
        arrays = np.zeros((1, 1)), np.zeros(1), np.zeros(1), ends, no, np.ones((1, 1))
        found += recorder.add(*arrays, first=first if told else None)
        found += recorder.cut() if cut else []
    assert [(e.length, e.opens) for e in found] == [(2, True), (1, False), (1, True)]
    again = EpisodeDataset()
    again.load_state_dict(EpisodeDataset(found).state_dict())
    assert [e.opens for e in again.episodes] == [True, False, True]


def test_a_truncation_is_no_termination():
    recorder, yes, no = EpisodeRecorder(1), np.array([True]), np.array([False])
    for terminated, truncated in ((no, yes), (yes, no), (yes, yes)):
        (ended,) = recorder.add(
            np.zeros((1, 1)), np.zeros(1), np.zeros(1), terminated, truncated, np.ones((1, 1))
        )
        assert ended.terminated == bool(terminated[0])


def test_rows_spent_on_resetting_are_left_out():
    recorder, no = EpisodeRecorder(1), np.array([False])
    for valid in (None, np.array([False]), np.array([True])):
        recorder.add(np.zeros((1, 1)), np.zeros(1), np.zeros(1), no, no, np.ones((1, 1)), valid)
    assert recorder.cut()[0].length == 2


def test_what_is_held_out_stays_held_out():
    episodes = [episode(n + 1) for n in range(25)]
    sizes = []
    for count in (4, 13, 25):
        train, held_out = EpisodeDataset(episodes[:count]).split()
        assert len(train) + len(held_out) == count
        sizes.append([e.length for e in held_out.episodes])
    assert sizes == [[4], [4], [4, 14, 24]]
    assert [len(part) for part in EpisodeDataset(episodes[:2]).split()] == [1, 1]
    alone = EpisodeDataset(episodes[:1])
    assert alone.split() == (alone, alone)


def test_pieces_of_an_episode_are_held_out_together():
    """Of two environments, each cut twice; the fourth episode is the second environment's, in three pieces."""
    pieces = [episode(n + 1, base=1000.0 * n) for n in range(2)]
    for round_ in range(3):
        for env in (0, 1):
            base = 10.0 * env + 2 * round_ + 0.5
            pieces.append(episode(2, terminated=round_ == 2, base=base)._replace(opens=round_ == 0))
    pieces += [episode(1, base=50.0 * n) for n in range(8)]
    train, held_out = EpisodeDataset(pieces).split()
    assert [e.obs[0, 0] for e in held_out.episodes] == [10.5, 12.5, 14.5]
    assert len(train) + len(held_out) == len(pieces)
    # Growing moves nothing, and what goes on with an unknown episode is one of its own.
    assert [e.obs[0, 0] for e in EpisodeDataset(pieces[:6]).split()[1].episodes] == [10.5, 12.5]
    stray = [episode(1, base=7.0 * n)._replace(opens=False) for n in range(4)]
    assert [e.obs[0, 0] for e in EpisodeDataset(stray).split()[1].episodes] == [21.0]
    # Pieces of a single episode are on both sides, as a single episode is.
    alone = EpisodeDataset([episode(2, False), episode(2, base=2.0)._replace(opens=False)])
    assert alone.split() == (alone, alone)


def test_observations_by_row():
    dataset = EpisodeDataset([episode(3), episode(1, base=10.0)])
    assert dataset.num_observations == 6
    assert dataset.observations().ravel().tolist() == [0, 1, 2, 3, 10, 11]
    assert dataset.observations(np.array([5, 0, 3, 4])).ravel().tolist() == [11, 0, 3, 10]


@pytest.mark.parametrize("dynamics", [Ensemble, MDNRNN])
def test_predictions_of_all_steps_do_not_depend_on_the_parts(dynamics, monkeypatch):
    torch.manual_seed(0)
    space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    model = WorldModel(space, spaces.Discrete(99), Identity, dynamics)
    data = EncodedDataset(model, EpisodeDataset([episode(23), episode(5, False, base=100.0)]))
    whole = predict_all(model, data)
    assert len(whole.reward) == 28 and whole.state.shape == (28, 0)
    monkeypatch.setattr(encoded_dataset, "PREDICT_ROWS", 10)
    for left, right in zip(predict_all(model, data), whole, strict=True):
        torch.testing.assert_close(left, right)


def test_episodes_survive_a_checkpoint():
    episodes = EpisodeDataset([episode(3), episode(1, False), episode(4)])
    tensors: dict = {}
    again = EpisodeDataset()
    again.load_state_dict(unpack(pack(episodes.state_dict(), "episodes", tensors), tensors))
    assert again.num_steps == 8 and again.num_terminated == 2
    for left, right in zip(episodes.episodes, again.episodes, strict=True):
        assert left.terminated == right.terminated
        for a, b in zip(left[:3], right[:3], strict=True):
            np.testing.assert_array_equal(a, b)
    empty = EpisodeDataset([episode(1)])
    empty.load_state_dict(EpisodeDataset().state_dict())
    assert len(empty) == 0


def test_windows_stop_at_the_end_of_an_episode(encoded):
    sequences = encoded.sequences(np.array([1, 3]), 4)
    assert sequences.mask.T.tolist() == [[True, True, False, False], [True] * 4]
    assert sequences.latent[..., 0].T.tolist()[0][:2] == [1, 2]
    assert sequences.next_latent[..., 0].T.tolist()[0][:2] == [2, 3]
    assert sequences.latent[..., 0].T.tolist()[1] == [100, 101, 102, 103]
    assert sequences.next_latent[..., 0].T.tolist()[1] == [101, 102, 103, 104]
    assert sequences.action.T.tolist()[1] == [0, 1, 2, 3] and sequences.reward.T.tolist()[1] == [
        0,
        10,
        20,
        30,
    ]
    assert sequences.terminated.T.tolist()[0][:2] == [False, True] and not sequences.terminated[:, 1].any()


def test_nobody_knows_whether_a_cut_episode_would_have_ended(encoded):
    assert encoded.end_known.tolist() == [True] * 7 + [False]
    assert encoded.end_rate == 1 / 8


def test_terminations_are_sampled_more_often_than_they_happen(encoded):
    generator = np.random.default_rng(0)
    for share in (0.0, 0.5):
        sequences = encoded.sample(generator, 4000, 1, share)
        expected = share + (1 - share) / 8
        assert sequences.terminated.float().mean().item() == pytest.approx(expected, abs=0.02)
        assert encoded.sampled_end_rate(1, share) == pytest.approx(expected)
    # The end of three steps is the first of one step or the second of two.
    assert encoded.sampled_end_rate(2, 1.0) == pytest.approx(2 / 3)
    for length, share in ((2, 0.5), (3, 1.0), (4, 0.0)):
        sequences = encoded.sample(generator, 4000, length, share)
        expected = sequences.terminated[sequences.mask].float().mean().item()
        assert encoded.sampled_end_rate(length, share) == pytest.approx(expected, rel=0.05)
    sequences = encoded.sample(generator, 4000, 2, 1.0)
    # Every sequence holds the end of the first episode, at either place of its mask.
    assert (sequences.terminated & sequences.mask).any(0).all()
    assert 0.4 < sequences.terminated[0].float().mean().item() < 0.6


def test_no_episodes_is_said():
    space = spaces.Box(-1, 1, (1,), np.float32)
    with pytest.raises(ValueError, match="no episodes to learn from"):
        EncodedDataset(WorldModel(space, spaces.Discrete(2), Identity, Ensemble), EpisodeDataset())


def test_pictures_are_saved_without_a_second_copy():
    """Two episodes of 40 and 30 pictures of 96 x 96 bytes: 645,120 bytes, which lie where they were."""
    generator = np.random.default_rng(0)

    def episode(rows):
        pictures = generator.integers(0, 256, (rows, 96, 96), np.uint8)
        steps = np.zeros(rows - 1, np.float32)
        return RecordedEpisode(pictures, steps.astype(np.int64), steps, terminated=True)

    data = EpisodeDataset([episode(40), episode(30)])
    saved = data.state_dict()
    assert sum(obs.nbytes for obs in saved["obs"]) == 70 * 96 * 96
    for obs, recorded in zip(saved["obs"], data.episodes, strict=True):
        assert obs is recorded.obs
    # Vectors are still one array, as checkpoints of before have pictures, too.
    joined = saved | {"obs": np.concatenate(saved["obs"])}
    for state in (saved, joined):
        loaded = EpisodeDataset()
        loaded.load_state_dict(state)
        for left, right in zip(loaded.episodes, data.episodes, strict=True):
            np.testing.assert_array_equal(left.obs, right.obs)
            np.testing.assert_array_equal(left.reward, right.reward)
