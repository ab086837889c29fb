"""The table of those who answer for names that no file bears."""

import pytest

from palaestra.training.settings import providers
from palaestra.training.settings.providers import load_provider, provider_of

NAMED = [
    *(provider.find for provider in providers.PROVIDERS.values()),
    *providers.ADAPTERS.values(),
    providers.DREAM_BACKEND,
    providers.MODEL_MEMORY,
]


@pytest.mark.parametrize("name", NAMED)
def test_everything_in_the_table_is_there(name):
    assert callable(load_provider(name))


def test_a_name_leads_to_its_provider():
    assert provider_of("agent", "sb3/ppo").presets == "baselines"
    assert provider_of("encoder", "world-model:runs/x").find.endswith(":for_run")
    assert provider_of("agent", "ppo") is None
    assert provider_of("encoder", "sb3/ppo") is None
    assert provider_of("memory", "world-model:runs/x") is None
