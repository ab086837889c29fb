import gymnasium
import pytest


@pytest.fixture
def register():
    """Register environments with Gymnasium for one test."""
    before = dict(gymnasium.registry)
    yield gymnasium.register
    gymnasium.registry.clear()
    gymnasium.registry.update(before)
