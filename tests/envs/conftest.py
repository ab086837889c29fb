import gymnasium
import pytest

from palaestra.envs.listing import module_of
from palaestra.envs.registry import PACKAGES


@pytest.fixture
def register():
    """Register environments with Gymnasium for one test."""
    before = dict(gymnasium.registry)
    yield gymnasium.register
    # A package registers what it has when it is imported, which happens once.
    packages = {package.module for package in PACKAGES.values()}
    found = {
        name: spec for name, spec in gymnasium.registry.items() if module_of(spec).split(".")[0] in packages
    }
    gymnasium.registry.clear()
    gymnasium.registry.update(before | found)
