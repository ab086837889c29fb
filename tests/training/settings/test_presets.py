import pytest

from palaestra.training.settings.presets import find_preset, read_config
from palaestra.training.settings.usage import UsageError


def test_presets_are_found_by_agent_and_environment():
    assert find_preset("ppo", "CartPole-v1")["agent"]["rollout_length"] == 128
    assert find_preset("ppo", "nobody/Knows:This-v0") == {}


def test_a_preset_for_any_environment_is_found_by_its_name(tmp_path, monkeypatch):
    assert read_config("ddpg", "td3")["agent"]["twin_critics"] is True
    with pytest.raises(UsageError, match="neither a file nor a preset of ddpg; did you mean 'td3'"):
        read_config("ddpg", "td4")
    # A file of that name in the folder where the user stands is what they mean.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "td3").write_text("steps: 5")
    assert read_config("ddpg", "td3") == {"steps": 5}
