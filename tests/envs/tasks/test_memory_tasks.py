import gymnasium
import numpy as np
import pytest

import palaestra.envs  # noqa: F401  registers them
from palaestra.envs.make import EnvSpec, make_envs


def play(env, policy, seed):
    """Observations, rewards and how the episode ended; `policy(observations so far)` is an action."""
    obs, _ = env.reset(seed=seed)
    seen, rewards = [obs.tolist()], []
    while True:
        obs, reward, terminated, truncated, _ = env.step(policy(seen))
        rewards.append(reward)
        if terminated or truncated:
            return seen, rewards, "terminated" if terminated else "truncated"
        seen.append(obs.tolist())


def seeds_by_sign(env):
    """A seed whose episode begins with -1, and one with 1."""
    found = {env.reset(seed=seed)[0][0]: seed for seed in range(20)}
    assert sorted(found) == [-1, 1]
    return found


def test_recall_by_hand():
    env = gymnasium.make("palaestra/Recall-v0", delay=2)
    for sign, seed in seeds_by_sign(env).items():
        for action in (0, 1):
            seen, rewards, end = play(env, lambda seen, action=action: action, seed)
            assert seen == [[sign, 0], [0, 0], [0, 1]]
            assert rewards == [0, 0, float(action == (sign > 0))] and end == "terminated"


def test_recall_without_delay_shows_the_cue_with_the_question():
    env = gymnasium.make("palaestra/Recall-v0", delay=0)
    for sign, seed in seeds_by_sign(env).items():
        seen, rewards, _ = play(env, lambda seen: int(seen[0][0] > 0), seed)
        assert seen == [[sign, 1]] and rewards == [1]


def test_continuous_recall():
    env = gymnasium.make("palaestra/Recall-v0", delay=1, continuous=True)
    for sign, seed in seeds_by_sign(env).items():
        for number, reward in ((sign, 1.0), (0.0, 0.5), (-sign, 0.0), (0.5 * sign, 0.75)):
            _, rewards, _ = play(env, lambda seen, n=number: np.array([n], np.float32), seed)
            assert rewards == [0, reward]


def test_recall_as_pictures():
    env = gymnasium.make("palaestra/Recall-v0", delay=2, pixels=4)
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (4, 4, 1), np.uint8)
    shown = set()
    for seed in range(10):
        obs, _ = env.reset(seed=seed)
        cue = 1 if obs[2, 3, 0] else -1
        white = np.zeros((4, 4, 1), bool)
        white[2:, 2:] = cue > 0
        white[2:, :2] = cue < 0
        np.testing.assert_array_equal(obs, white * 255)
        assert not env.step(0)[0].any()
        question = env.step(0)[0]
        assert question[:2].all() and not question[2:].any()
        assert env.step(1)[1] == (cue > 0)
        shown.add(cue)
    assert shown == {-1, 1}


def test_tmaze_by_hand():
    env = gymnasium.make("palaestra/TMaze-v0", length=3)
    for sign, seed in seeds_by_sign(env).items():
        for turn in (1, 2):
            # Bumping into the walls of the corridor, and then into the wall at its end, costs only time.
            plan = iter([2, 0, 1, 0, 0, 0, turn])
            seen, rewards, end = play(env, lambda seen, plan=plan: next(plan), seed)
            assert seen == [[sign, 0], [sign, 0], [0, 0], [0, 0], [0, 0], [0, 1], [0, 1]]
            assert rewards == [0] * 6 + [float((turn == 1) == (sign > 0))] and end == "terminated"


def test_tmaze_is_cut_off():
    seen, rewards, end = play(gymnasium.make("palaestra/TMaze-v0", length=3), lambda seen: 1, 0)
    assert len(seen) == 25 and sum(rewards) == 0 and end == "truncated"


def test_a_turn_in_the_last_step_terminates():
    plan = iter([1] * 21 + [0, 0, 0, 1])
    _, _, end = play(gymnasium.make("palaestra/TMaze-v0", length=3), lambda seen: next(plan), 0)
    assert end == "terminated"


def test_repeat_previous_by_hand():
    env = gymnasium.make("palaestra/RepeatPrevious-v0", k=2, length=6)

    def remember(seen):
        return int(np.argmax(seen[-3])) if len(seen) > 2 else 0

    def opposite(seen):
        return (remember(seen) + 1) % 4

    seen, rewards, end = play(env, remember, 3)
    assert len(seen) == 6 and all(sum(obs) == 1 for obs in seen) and end == "terminated"
    assert rewards == [0, 0, 0.25, 0.25, 0.25, 0.25]
    assert play(env, opposite, 3)[1] == [0, 0, -0.25, -0.25, -0.25, -0.25]


def test_the_cards_are_even_and_independent():
    env = gymnasium.make("palaestra/RepeatPrevious-v0", length=4000)
    env.reset(seed=0)
    cards = env.unwrapped.worlds[0, 1:]
    pairs = np.bincount(cards[:-4] * 4 + cards[4:], minlength=16) / (len(cards) - 4)
    np.testing.assert_allclose(pairs, 1 / 16, atol=0.02)


def returns(env_id, policy, episodes, **kwargs):
    """Mean return of `policy(obs [B, D], last answers) -> actions` in many copies."""
    envs = make_envs(EnvSpec(env_id, 64, kwargs=kwargs))
    obs, total = envs.reset(), []
    while len(total) < episodes:
        step = envs.step(policy(obs))
        obs = step.obs
        total += [episode.episode_return for episode in step.episodes]
    return np.mean(total)


@pytest.mark.parametrize("answer", [0, 1])
def test_chance_in_recall_is_a_half(answer):
    assert returns("palaestra/Recall-v0", lambda obs: np.full(64, answer), 3000) == pytest.approx(
        0.5, abs=0.04
    )


def test_the_best_without_memory_in_the_maze_is_a_half():
    def policy(obs):
        return np.where(obs[:, 1] == 1, 1, 0)

    assert returns("palaestra/TMaze-v0", policy, 3000) == pytest.approx(0.5, abs=0.04)


def test_without_memory_one_of_four_cards_is_right():
    def policy(obs):
        return obs.argmax(-1)

    assert returns("palaestra/RepeatPrevious-v0", policy, 500) == pytest.approx(-0.5, abs=0.03)
    assert returns("palaestra/RepeatPrevious-v0", policy, 64, k=0) == pytest.approx(1)
