import copy

import numpy as np
import pytest

from palaestra.agents.agent import Transition
from palaestra.agents.storage import episode_buffer as module
from palaestra.agents.storage.episode_buffer import EpisodeBuffer


def scripted(lengths, steps, truncated=lambda env, episode: episode % 2 == 1, reset_rows=False):
    """A stream in which environment `i` plays episodes of the lengths `lengths[i]`, over and over.

    Observations are (environment, episode, time), so that every step can be told; the successor of the last step
    has time = length. Actions and rewards follow from them. With `reset_rows` the backend spends a step on resetting.
    """
    num_envs = len(lengths)
    place = [[env, 0, 0] for env in range(num_envs)]
    resetting = np.zeros(num_envs, bool)
    for _ in range(steps):
        obs = np.array(place, np.float32)
        first = (obs[:, 2] == 0) & ~resetting
        ends = np.array([t + 1 == lengths[env][k % len(lengths[env])] for env, k, t in place]) & ~resetting
        cut = np.array([truncated(env, k) for env, k, _ in place]) & ends
        next_obs = obs + np.float32([0, 0, 1])
        yield Transition(
            obs=obs,
            action=action_of(obs),
            reward=reward_of(obs).astype(np.float64),
            terminated=ends & ~cut,
            truncated=cut,
            next_obs=next_obs,
            first=first,
            state=np.zeros((num_envs, 0), np.float32),
            valid=~resetting if reset_rows else None,
        )
        for env in range(num_envs):
            if resetting[env]:
                continue
            env_index, k, t = place[env]
            place[env] = [env_index, k + 1, 0] if ends[env] else [env_index, k, t + 1]
        if reset_rows:
            resetting = ends


def action_of(obs):
    return obs.sum(-1).astype(np.int64) % 2


def reward_of(obs):
    return np.sin(obs @ np.array([3.0, 5.0, 7.0]))


LENGTHS = [[3, 1, 7], [20], [1, 2], [50, 4]]


def taken(episodes):
    """The finished episodes by (environment, episode): rows of time, and how each ended."""
    batch = episodes.finished()
    found = {}
    for t, column in zip(*np.nonzero(batch.valid), strict=True):
        env, episode, time = batch.obs[t, column].astype(int)
        assert column == env and batch.action[t, column] == action_of(batch.obs[t, column])
        np.testing.assert_allclose(batch.reward[t, column], reward_of(batch.obs[t, column]), rtol=1e-6)
        assert batch.first[t, column] == (time == 0)
        times, end = found.setdefault((env, episode), ([], []))
        times.append(time)
        if batch.terminated[t, column]:
            end.append("terminated")
        if batch.truncated[t, column]:
            # Below a truncated step lies its true successor, which is no step.
            assert not batch.valid[t + 1, column] and not batch.first[t + 1, column]
            assert batch.reward[t + 1, column] == 0
            assert batch.obs[t + 1, column].tolist() == [env, episode, time + 1]
            end.append("truncated")
    return found


@pytest.mark.parametrize("reset_rows", [False, True])
@pytest.mark.parametrize("wanted", [1, 40, 300])
def test_every_step_comes_out_once_and_in_whole_episodes(reset_rows, wanted):
    episodes, out, steps, count = EpisodeBuffer(), {}, 0, 0
    for transition in scripted(LENGTHS, 400, reset_rows=reset_rows):
        episodes.add(transition)
        if episodes.steps >= wanted:
            found = taken(episodes)
            assert episodes.steps == sum(len(times) for times, _ in found.values())
            assert episodes.count == len(found)
            assert not set(found) & set(out)
            out |= found
            steps, count = steps + episodes.steps, count + episodes.count
            episodes.drop_finished()
            assert episodes.steps == episodes.count == 0
    out |= taken(episodes)
    # Long episodes are there as often as they were played: none is lost, whenever it ended.
    for env, lengths in enumerate(LENGTHS):
        played = [episode for e, episode in out if e == env]
        assert sorted(played) == list(range(len(played)))
        for episode in played:
            length = lengths[episode % len(lengths)]
            times, end = out[env, episode]
            assert times == list(range(length))
            assert end == ["truncated" if episode % 2 else "terminated"]
        total = sum(len(out[env, episode][0]) for episode in played)
        resets = len(played) if reset_rows else 0
        unfinished = 400 - total - resets
        assert -1 <= unfinished < max(lengths)


def test_a_step_that_terminates_and_is_truncated_has_no_successor():
    episodes = EpisodeBuffer()
    transition = next(scripted([[1]], 1, truncated=lambda env, episode: True))
    episodes.add(transition._replace(terminated=np.array([True])))
    assert len(episodes.finished().valid) == 1


def test_an_episode_that_was_given_up_leaves_nothing():
    """A run that resumes at an episode boundary sees a new start where the old episode never ended."""
    episodes = EpisodeBuffer()
    stream = list(scripted([[6], [4]], 10))
    for transition in stream[:5]:
        episodes.add(transition)
    restarted = [t._replace(obs=t.obs + np.float32([0, 10, 0])) for t in stream]
    for transition in restarted[:6]:
        episodes.add(transition)
    batch = episodes.finished()
    assert batch.obs[batch.valid[:, 0], 0].tolist() == [[0, 10, t] for t in range(6)]
    assert batch.obs[batch.valid[:, 1], 1].tolist() == [[1, e, t] for e in (0, 10) for t in range(4)]
    assert episodes.count == 3 and episodes.steps == 14


def test_nested_and_small_observations_keep_their_types():
    episodes = EpisodeBuffer()
    for transition in scripted([[2], [3]], 7):
        nested, after = (
            {"image": x.astype(np.uint8), "rest": (x[:, 0].astype(np.float64),)}
            for x in (transition.obs, transition.next_obs)
        )
        episodes.add(transition._replace(obs=nested, next_obs=after))
    batch = episodes.finished()
    assert batch.obs["image"].dtype == np.uint8 and batch.obs["rest"][0].dtype == np.float32
    assert batch.obs["image"][batch.valid].tolist()[:4] == [[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]]
    episodes.drop_finished()
    assert len(episodes.finished().reward) == 0


@pytest.mark.parametrize("at", [0, 1, 37, 90])
def test_collecting_goes_on_exactly_from_a_saved_state(at):
    ours, theirs = EpisodeBuffer(), EpisodeBuffer()
    for i, transition in enumerate(scripted(LENGTHS, 150)):
        if i == at:
            theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
        for each in (ours, theirs) if i >= at else (ours,):
            each.add(transition)
        if i == 60:
            for each in (ours, theirs) if i >= at else (ours,):
                each.drop_finished()
    left, right = ours.finished(), theirs.finished()
    for name in left._fields:
        a, b = getattr(left, name)[left.valid], getattr(right, name)[right.valid]
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert (ours.steps, ours.count) == (theirs.steps, theirs.count)


def test_loading_an_empty_state_forgets():
    episodes = EpisodeBuffer()
    for transition in scripted(LENGTHS, 9):
        episodes.add(transition)
    episodes.load_state_dict(EpisodeBuffer().state_dict())
    assert episodes.steps == episodes.count == 0 and episodes.rows is None


def test_an_episode_without_end_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "MAX_EPISODE_STEPS", 300)
    episodes = EpisodeBuffer()
    with pytest.raises(
        ValueError, match=r"environment 1 has not ended its episode within 300 steps.*time limit"
    ):
        for transition in scripted([[5], [10**9]], 10_000):
            episodes.add(transition)
            if episodes.steps > 50:
                episodes.drop_finished()


def test_a_long_episode_makes_no_other_column_long():
    """320 steps in one of 8 columns: 5 pages of 64 rows; the others have one each, and at times a second one.

    So there are at most 5 + 7 x 2 = 19 pages, for which 24 are made, eight at a time. Columns of equal length would
    have 8 x 512 rows, 64 pages.
    """
    episodes, page = EpisodeBuffer(), module.PAGE
    for transition in scripted([[10**9], *[[5]] * 7], 5 * page):
        episodes.add(transition)
        if episodes.steps >= 35:
            episodes.drop_finished()
    assert [len(pages) for pages in episodes.pages] == [5, *[1] * 7]
    # An observation of 3 float32, an action of 8 bytes, a reward and four flags.
    assert episodes.num_bytes == 24 * page * (12 + 8 + 4 + 4)
    saved = episodes.state_dict()
    assert len(saved["rows"]["reward"]) == 5 * page + episodes.size[1:].sum()


def test_columns_side_by_side_are_taken():
    """Checkpoints of before: `[T, B]`, short columns filled up with zeros."""
    ours, theirs = EpisodeBuffer(), EpisodeBuffer()
    for transition in scripted(LENGTHS, 90):
        ours.add(transition)
    saved = copy.deepcopy(ours.state_dict())
    ends, longest = np.cumsum(saved["size"]), max(saved["size"])

    def beside(x):
        columns = np.zeros((longest, len(ends), *x.shape[1:]), x.dtype)
        for column, (end, size) in enumerate(zip(ends, saved["size"], strict=True)):
            columns[:size, column] = x[end - size : end]
        return columns

    theirs.load_state_dict(saved | {"rows": {name: beside(x) for name, x in saved["rows"].items()}})
    for transition in list(scripted(LENGTHS, 150))[90:]:
        ours.add(transition)
        theirs.add(transition)
    for left, right in zip(ours.finished(), theirs.finished(), strict=True):
        np.testing.assert_array_equal(left, right)
