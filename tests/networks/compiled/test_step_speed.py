"""CPU time of one compiled step of PPO, the table of docs/decisions.md: `pytest -m benchmark tests/networks -s`."""

import statistics
import time

import pytest
import torch

from palaestra.envs.make import EnvSpec, make_envs
from palaestra.networks.compiled.step import compile_step, functional_step
from palaestra.training.run.build import build_agent
from palaestra.training.run.collect import Collector
from palaestra.training.settings.config import run_config

TURNS, CALLS = 15, 200


def microseconds(call):
    start = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - start) / CALLS * 1e6


@pytest.mark.benchmark
@pytest.mark.filterwarnings("ignore")
def test_a_traced_step_takes_less_than_one_of_torch_compile(monkeypatch):
    """256 samples, two 64-64 networks of tanh units."""
    values = {"agent": {"name": "ppo", "batch_size": 256, "rollout_length": 128}, "env": "CartPole-v1"}
    config = run_config({**values, "compile": "off", "track": "none"})
    envs = make_envs(EnvSpec("CartPole-v1"))
    agent = build_agent(config, envs.observation_space, envs.action_space)
    taken = []

    def take(loss, batch, learning_rate):
        taken.append((loss, batch))
        return step(loss, batch, learning_rate)

    step = agent.optimizer.step
    monkeypatch.setattr(agent.optimizer, "step", take)
    collector = Collector(agent, envs)
    while not taken:
        agent.learn(collector.step()[0])
    loss, batch = taken[0]
    plain = functional_step(agent.optimizer.modules, loss, agent.optimizer.apply)
    steps = {"torch.compile": torch.compile(plain, dynamic=False), "traced": compile_step(plain)}
    calls = {}
    for name, compiled in steps.items():
        optimizer = agent.optimizer
        state = [optimizer.vector.clone(), optimizer.mean.clone(), optimizer.square.clone()]
        calls[name] = lambda compiled=compiled, state=state: compiled(
            *state, torch.tensor([1e-3, 1.0]), batch
        )
        start = time.perf_counter()
        calls[name]()
        print(f"{name}: ready after {time.perf_counter() - start:.1f} s")
    times = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            times[name].append(microseconds(call))
    medians = {name: statistics.median(each) for name, each in times.items()}
    print(", ".join(f"{name}: {median:.0f} us" for name, median in medians.items()))
    assert medians["traced"] < medians["torch.compile"]
