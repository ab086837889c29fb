"""Every preset builds, on both sides of the comparison with what it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from palaestra.envs.make import make_envs
from palaestra.envs.registry import find_environment
from palaestra.training.run.build import build_agent, env_spec, resolve
from palaestra.training.run.collect import Collector
from palaestra.training.settings.config import run_config
from palaestra.training.settings.layers import merge
from palaestra.training.settings.presets import find_preset
from palaestra.training.settings.usage import UsageError
from palaestra.training.settings.yaml_files import load_yaml

ROOT = Path(__file__).parent.parent
AGENTS = sorted(
    path
    for path in (ROOT / "configs").iterdir()
    if path.is_dir() and path.name not in ("baselines", "suites", "sweeps")
)
PRESETS = sorted(path for folder in AGENTS for path in folder.glob("*.yaml"))


def environment_of(path: Path) -> str:
    """Environment that a preset is for, whose id may have a slash; presets that fit any are tried on a fitting one."""
    candidates = (path.stem, path.stem.replace("_", "/", 1))
    for name in candidates:
        try:
            find_environment(name)
            return name
        except ValueError as error:
            if "pip install" in str(error):
                pytest.skip(str(error))
    return "Pendulum-v1" if path.parent.name == "ddpg" else "CartPole-v1"


# What lets an agent learn after a few steps.
SHORT = {
    "bc": {"rollout_length": 8, "batch_size": 8},
    "dqn": {"learning_starts": 0, "train_every": 8, "gradient_steps": 2},
    "ddpg": {"learning_starts": 0, "train_every": 8, "gradient_steps": 2},
    "ppo": {"rollout_length": 8, "batch_size": 8, "epochs": 1},
    "reinforce": {"steps_per_update": 8},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", PRESETS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_preset_builds_an_agent_that_learns(path):
    env_id = environment_of(path)
    values = merge({"agent": path.parent.name, "env": env_id}, _named(load_yaml(path), path.parent.name))
    assert resolve(run_config(values, f"{path}: ")).steps >= 10_000
    config = resolve(run_config(merge(values, {"agent": SHORT[path.parent.name], "compile": "off"})))
    try:
        envs = make_envs(replace(env_spec(config), num_envs=1))
    except ValueError as error:
        if "cannot be made" not in str(error):
            raise
        pytest.skip(f"{env_id} is not installed here: {error}")
    agent = build_agent(config, envs.observation_space, envs.action_space)
    collector, metrics = Collector(agent, envs), {}
    while not any(name.startswith("loss/") for name in metrics):
        metrics = agent.learn(collector.step()[0])
    envs.close()
    assert all(np.isfinite(float(value)) for value in metrics.values())


def _named(values, agent):
    block = values.get("agent", {})
    return {**values, "agent": {"name": agent, **block} if isinstance(block, dict) else block}


def test_presets_exist_for_what_the_documentation_names():
    for env in (
        "CartPole-v1",
        "Acrobot-v1",
        "MountainCar-v0",
        "MountainCarContinuous-v0",
        "Pendulum-v1",
        "palaestra/Catch-v0",
        "palaestra/CartPolePixels-v0",
    ):
        assert find_preset("ppo", env), env
    for env in (
        "LunarLander-v3",
        "LunarLanderContinuous-v3",
        "BipedalWalker-v3",
        "HalfCheetah-v5",
        "Hopper-v5",
        "Walker2d-v5",
    ):
        assert find_preset("ppo", env), env


@pytest.mark.parametrize("path", PRESETS[:3], ids=lambda path: path.stem)
def test_an_unknown_key_in_a_preset_fails(path):
    values = _named(load_yaml(path), path.parent.name)
    values["agent"]["clipp_range"] = 0.1
    with pytest.raises(UsageError, match=r"clipp_range.*unknown key"):
        run_config(merge({"env": "CartPole-v1"}, values), f"{path}: ")
