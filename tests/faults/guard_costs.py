"""What the guards of numbers cost: `python tests/faults/guard_costs.py [SECONDS]`.

In one process, by its CPU time: the guards of a vector step (observations, rewards, flags and actions) and of a row of
metrics (losses, parameters, moments), called alone on a benchmark's own arrays, against a whole step of training; and,
beside it, training with guards and with nothing in their places, in turns.
"""

import statistics
import sys
from time import process_time

import numpy as np
import torch

from palaestra.agents.divergence import broken_part
from palaestra.envs.make import make_envs
from palaestra.training.benchmarks.tasks import BENCHMARKS
from palaestra.training.run.build import build_agent, resolve, training_spec
from palaestra.training.run.collect import Collector
from palaestra.training.settings.config import run_config

CHUNK = 400
CALLS = 5000


def alone(guard):
    """Seconds of one call: the least of some means, since all that disturbs only adds."""
    means = []
    for _ in range(9):
        begun = process_time()
        for _ in range(CALLS):
            guard()
        means.append((process_time() - begun) / CALLS)
    return min(means)


def measure(name, seconds):
    """Return the share that guards take of training, by themselves and by turns."""
    task = BENCHMARKS[name]
    config = resolve(
        run_config(
            task.ours
            | {
                "agent": {"name": task.agent, **task.ours["agent"]},
                "env": task.env,
                "num_envs": task.num_envs,
            }
            | {"steps": task.steps, "device": "cpu", "compile": "off"}
        )
    )
    envs = make_envs(training_spec(config))
    agent = build_agent(config, envs.observation_space, envs.action_space)
    collector, parts = Collector(agent, envs), agent.parts()

    def train(steps):
        begun = process_time()
        for _ in range(steps):
            transition, _ = collector.step()
            agent.learn(transition)
        return (process_time() - begun) / steps

    # Until it learns, and has learned for a while.
    warm = 10 * CHUNK + getattr(config.agent_config, "learning_starts", 0) // config.num_envs
    train(warm)
    guards = {"_is_sound": envs._is_sound, "_clip": envs._clip}
    nothing = {"_is_sound": lambda obs, reward: True, "_clip": np.array}
    taken, begun = {"on": [], "off": []}, process_time()
    while process_time() - begun < seconds:
        for side, parts_of in (("on", guards), ("off", nothing)):
            for attribute, function in parts_of.items():
                setattr(envs, attribute, function)
            taken[side].append(train(CHUNK))
    whole = statistics.median(taken["on"])

    obs, reward = collector.obs, np.ones(envs.num_envs)
    action = agent.act(obs, collector.state, collector.first)[0]
    step = alone(lambda: guards["_is_sound"](obs, reward)) - alone(lambda: nothing["_is_sound"](obs, reward))
    step += alone(lambda: guards["_clip"](action)) - alone(lambda: nothing["_clip"](action))
    rows = alone(lambda: broken_part(parts)) * config.num_envs / config.log_every
    turns = statistics.median(on / off for on, off in zip(taken["on"], taken["off"], strict=True)) - 1
    print(
        f"{name}: a vector step takes {1e6 * whole:.1f} us of CPU, its guards {1e6 * step:.2f} us, those of rows of "
        f"metrics {1e6 * rows:.3f} us a step: {100 * (step + rows) / whole:.2f} %; in turns {100 * turns:+.1f} % "
        f"({len(taken['on'])} pairs of {CHUNK} steps)"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for benchmark in ("ppo-cartpole", "dqn-cartpole"):
        measure(benchmark, float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)
