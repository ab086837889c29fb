"""Learned rewards on another device, without one (see tests/agents/test_devices.py)."""

import itertools

import pytest

from palaestra.training.rewards.count import Count

from ...agents.test_devices import OneDevice
from .steps import SPACES, random_steps
from .test_resume_rewards import SOURCES, made_for


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", SOURCES)
def test_everything_happens_on_the_rewards_device(name, space, tmp_path):
    """Statistics, networks, losses with their gradients, memories; some rows are no steps."""
    source_class, config, options = SOURCES[name]
    made = made_for(source_class, tmp_path, SPACES[space], device="meta")
    source, learned = source_class(config(**options), made), 0
    with OneDevice():
        for transition in itertools.islice(random_steps(made), 60):
            _, metrics = source.reward(transition)
            learned += any("loss" in metric for metric in metrics)
    assert learned or source_class is Count
