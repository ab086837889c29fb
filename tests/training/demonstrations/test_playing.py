import copy

import numpy as np
import pytest

from palaestra.training.demonstrations.playing import DemonstrationPlayer, columns
from palaestra.training.settings.usage import UsageError
from palaestra.world_models.datasets import EpisodeDataset, RecordedEpisode

LENGTHS = (3, 5, 2, 7)


def episode(number, length):
    """Observation and action say which episode and step it is."""
    steps = number * 100 + np.arange(length + 1, dtype=np.float32)
    obs = {"a": steps[:, None], "b": (steps[:, None, None] * [[1, 2]]).astype(np.float32)}
    return RecordedEpisode(obs, steps[:-1], np.ones(length, np.float32), terminated=number % 2 == 0)


class Watcher:
    """Remembers the number of steps since the first."""

    def __init__(self, memory):
        self.memory = memory

    def initial_state(self, num_envs):
        return np.zeros((num_envs, int(self.memory)), np.float32)

    def act(self, obs, state, first, explore=True):
        assert not explore
        return None, np.where(first[:, None], 0, state) + 1


@pytest.fixture
def episodes():
    return EpisodeDataset([episode(number, length) for number, length in enumerate(LENGTHS)])


def test_without_a_memory_every_step_comes_once_before_any_comes_again(episodes):
    player = DemonstrationPlayer(episodes, Watcher(False), None, num_columns=3, seed=0)
    seen = np.concatenate([player.step()[0].action for _ in range(2 * sum(LENGTHS) // 3 + 1)])
    everything = sorted(np.concatenate([e.action for e in episodes.episodes]).tolist())
    passes = [seen[:17], seen[17:34]]
    for one in passes:
        assert sorted(one.tolist()) == everything
    assert passes[0].tolist() != passes[1].tolist()


def test_a_step_has_what_belongs_to_it(episodes):
    player = DemonstrationPlayer(episodes, Watcher(False), None, num_columns=3, seed=0)
    for _ in range(20):
        step, ended = player.step()
        assert ended == [] and not step.first.any()
        np.testing.assert_array_equal(step.obs["a"][:, 0], step.action)
        np.testing.assert_array_equal(step.next_obs["b"][:, 0, 1], 2 * (step.action + 1))
        number, at = np.divmod(step.action.astype(int), 100)
        over = at == np.array(LENGTHS)[number] - 1
        np.testing.assert_array_equal(step.terminated, over & (number % 2 == 0))
        np.testing.assert_array_equal(step.truncated, over & (number % 2 == 1))


def test_with_a_memory_columns_play_whole_episodes_and_the_memory_follows(episodes):
    player = DemonstrationPlayer(episodes, Watcher(True), None, num_columns=2, seed=0)
    before = None
    for _ in range(60):
        step, _ = player.step()
        at = step.action.astype(int) % 100
        for column in range(2):
            if before is not None:
                if before.done[column]:
                    assert step.first[column] and at[column] == 0
                else:
                    assert not step.first[column]
                    assert step.action[column] == before.action[column] + 1
                    assert step.state[column] == before.next_state[column]
        before = step
    assert before is not None


def test_columns_that_begin_the_same_episode_do_not_stay_together():
    one = EpisodeDataset([episode(0, 50)])
    player = DemonstrationPlayer(one, Watcher(True), None, num_columns=4, seed=0)
    step, _ = player.step()
    assert len(set(step.action.tolist())) == 4 and step.first.all()


@pytest.mark.parametrize("memory", [False, True])
def test_it_goes_on_exactly_and_only_with_the_same_demonstrations(episodes, memory):
    player = DemonstrationPlayer(episodes, Watcher(memory), None, num_columns=2, seed=0)
    for _ in range(7):
        player.step()
    state = copy.deepcopy(player.state_dict())
    fresh = DemonstrationPlayer(episodes, Watcher(memory), None, num_columns=2, seed=1)
    fresh.load_state_dict(state)
    for _ in range(30):
        for left, right in zip(player.step()[0], fresh.step()[0], strict=True):
            if isinstance(left, np.ndarray):
                np.testing.assert_array_equal(left, right)
    others = EpisodeDataset([*episodes.episodes[:-1], episode(9, 7)])
    other = DemonstrationPlayer(others, Watcher(memory), None, num_columns=2, seed=0)
    with pytest.raises(UsageError, match="the demonstrations have changed"):
        other.load_state_dict(state)


def test_episodes_stand_side_by_side(episodes):
    found = columns(episodes)
    assert found.valid.sum(0).tolist() == list(LENGTHS)
    assert found.first.sum() == 4 and found.first[0].all()
    np.testing.assert_array_equal(found.action[:3, 0], [0, 1, 2])
    np.testing.assert_array_equal(found.action[3:, 0], 2)  # padding repeats the last step
    np.testing.assert_array_equal(found.obs["b"][:, 3, 0, 0], 300 + np.arange(7))
    assert found.terminated[2, 0] and found.truncated[4, 1] and not found.truncated[2, 0]
