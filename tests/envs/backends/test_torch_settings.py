"""Whatever an environment does to torch is undone by the time that making and stepping it return."""

import gymnasium
import numpy as np
import pytest
import torch

from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.registry import find_environment


def meddle():
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)


class Meddling(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        meddle()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        meddle()
        return np.zeros(3, np.float32), {}

    def step(self, action):
        meddle()
        return np.zeros(3, np.float32), 0.0, False, False, {}


@pytest.fixture(autouse=True)
def registered():
    gymnasium.register("Meddling-v0", Meddling, max_episode_steps=3)
    yield
    del gymnasium.registry["Meddling-v0"]
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("grad_enabled", [True, False])
def test_settings_are_after_every_call_what_they_were_before(grad_enabled):
    def untouched():
        return torch.is_grad_enabled() == grad_enabled and torch.get_default_dtype() == torch.float32

    with torch.set_grad_enabled(grad_enabled):
        envs = make_envs(EnvSpec("Meddling-v0", num_envs=2))
        assert untouched()
        envs.reset()
        assert untouched()
        for _ in range(7):  # two ends
            envs.step(np.zeros(2, np.int64))
            assert untouched()
        envs.begin_next()
        assert untouched()
        state = envs.state_dict()
        assert untouched()
        envs.load_state_dict(state)
        assert untouched()
        envs.close()


def test_what_importing_a_module_of_environments_changes_is_undone(tmp_path, monkeypatch):
    (tmp_path / "meddling_module.py").write_text(
        "import gymnasium, torch\n"
        "torch.set_default_dtype(torch.float64)\n"
        "class Still(gymnasium.Env):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    find_environment("meddling_module:Still")
    assert torch.get_default_dtype() == torch.float32
