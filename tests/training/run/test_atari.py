"""Presets of Atari: built as a user gets them, stepped for some hundred frames, and learned from."""

import numpy as np
import pytest

from palaestra.envs.make import EnvSpec, make_envs
from palaestra.networks.encoders.cnn import CNN
from palaestra.training.run.build import build_agent, env_spec, evaluation_spec
from palaestra.training.run.collect import Collector
from palaestra.training.settings.train_options import read_train_options

pytest.importorskip("ale_py")

# What makes a run of some hundred steps learn; nothing of what is seen or of the network changes.
SMALL = {
    "ppo": ["--agent.rollout-length", "16", "--agent.batch-size", "32", "--agent.epochs", "1"],
    "dqn": ["--agent.learning-starts", "100", "--agent.replay-capacity", "400", "--agent.train-every", "32"],
}


@pytest.mark.parametrize("game", ["Pong", "Breakout"])
@pytest.mark.parametrize("agent", SMALL)
def test_a_preset_learns_from_what_it_sees(agent, game):
    words = ["--env", f"ALE/{game}-v5", "--num-envs", "2", "--device", "cpu", *SMALL[agent]]
    config, _ = read_train_options(agent, words)
    assert config.backend == "ale" and config.steps == 10_000_000 and config.encoder == "cnn"
    envs = make_envs(env_spec(config))
    assert envs.observation_space.shape == (4, 84, 84) and envs.exact_resume
    built = build_agent(config, envs.observation_space, envs.action_space)
    network = next(module for module in built.optimizer.modules.modules() if isinstance(module, CNN))
    assert network.size == 512 and network.planes.channels == 4
    collector, metrics, before = Collector(built, envs), [], built.optimizer.vector.clone()
    for _ in range(150):
        transition, _ = collector.step()
        metrics += [reported] if (reported := built.learn(transition)) else []
    envs.close()
    assert len(metrics) >= 4
    assert all(np.isfinite(float(value)) for reported in metrics for value in reported.values())
    assert not (built.optimizer.vector == before).all()
    # Evaluations are of the whole score, in the same protocol.
    assert evaluation_spec(config).backend == "ale"


def test_actions_stick_and_nothing_presses_fire():
    """The Arcade Learning Environment's own vector environment has other defaults than its single one."""
    seen = {}
    for sticky in (None, 0.0):
        kwargs = {"noop_max": 0} if sticky is None else {"noop_max": 0, "repeat_action_probability": sticky}
        envs = make_envs(EnvSpec("ALE/Breakout-v5", 2, backend="ale", workers=1, kwargs=kwargs))
        first = envs.reset()
        if sticky is None:
            # No ball before FIRE: nothing moves while nothing is done.
            still = [envs.step(np.zeros(2, np.int64)).next_obs[:, -1] for _ in range(10)][-1]
            np.testing.assert_array_equal(first[:, -1, 100:], still[:, 100:])
        rng = np.random.default_rng(0)
        steps = [envs.step(np.full(2, rng.integers(4))).next_obs for _ in range(40)]
        seen[sticky] = all((obs == obs[:1]).all() for obs in steps)
        envs.close()
    assert seen == {None: False, 0.0: True}
