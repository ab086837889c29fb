"""Wrappers that carry statistics from episode to episode are refused, with the option that does it right."""

import gymnasium
import pytest

from palaestra.envs.make import EnvSpec, make_envs


class Mine(gymnasium.wrappers.NormalizeObservation):
    """A wrapper of the user's own, derived from one with statistics."""


def both(env):
    """A function that puts several around."""
    return gymnasium.wrappers.ClipReward(gymnasium.wrappers.NormalizeReward(env), -1, 1)


@pytest.mark.parametrize(
    ("wrapper", "option"),
    [
        ("gymnasium.wrappers:NormalizeObservation", "--encoder.normalize"),
        ("gymnasium.wrappers:NormalizeObservation(epsilon=0.1)", "--encoder.normalize"),
        ("gymnasium.wrappers:NormalizeReward", "--agent.normalize-reward"),
        ("gymnasium.wrappers.vector:NormalizeObservation", "--encoder.normalize"),
        ("gymnasium.wrappers.vector:NormalizeReward", "--agent.normalize-reward"),
        (f"{__name__}:Mine", "--encoder.normalize"),
        (f"{__name__}:both", "--agent.normalize-reward"),
    ],
)
def test_statistics_of_wrappers_are_refused(wrapper, option):
    with pytest.raises(ValueError) as said:
        make_envs(EnvSpec("CartPole-v1", 1, wrappers=(wrapper,)))
    assert str(said.value).startswith(f"wrapper '{wrapper}' gathers statistics") and option in str(said.value)


def test_the_wrappers_of_stable_baselines3_that_go_on_after_a_lost_life():
    pytest.importorskip("stable_baselines3")
    wrapper = "stable_baselines3.common.atari_wrappers:EpisodicLifeEnv"
    with pytest.raises(ValueError, match=r"use palaestra.envs.wrappers.atari:preprocess"):
        make_envs(EnvSpec("CartPole-v1", 1, wrappers=(wrapper,)))


KEPT = ["RecordEpisodeStatistics", "TimeAwareObservation", "StickyAction(repeat_action_probability=0.5)"]


@pytest.mark.parametrize("wrapper", KEPT)
def test_what_begins_anew_with_every_episode_is_taken(wrapper):
    make_envs(EnvSpec("CartPole-v1", 1, wrappers=(f"gymnasium.wrappers:{wrapper}",))).close()
