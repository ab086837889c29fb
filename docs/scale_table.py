"""Make the simulated tables of docs/scale.md: `python docs/scale_table.py`; `--measure` times the inputs here.

The formulas stand in docs/scale.md. Nothing here was run on more than one machine.
"""

import heapq
import sys
import time
from dataclasses import dataclass, replace

import numpy as np

NODES = (1, 2, 4, 8, 16, 32, 64)
# Seconds of an environment step: the native CartPole's, HalfCheetah-v5's, and two slower ones.
STEPS = (1e-6, 49e-6, 200e-6, 1e-3)
SEED = 0


@dataclass(frozen=True)
class Inputs:
    """What a table is made of; seconds, bytes and bytes a second."""

    step: float = 49e-6  # one step of HalfCheetah-v5 on one core: measured
    step_spread: float = 0.3  # standard deviation of a step's time, as a share of it: assumed
    update_fixed: float = 950e-6  # an optimiser step without compiling, whatever its batch: measured
    update_sample: float = 2.2e-6  # and for each sample of its batch, on one core: measured
    parameters: float = 44e3  # bytes of the gradients: 2 x 64 hidden units, actor and critic: counted
    latency: float = 50e-6  # of one message of an all-reduce, between machines: assumed
    bandwidth: float = 1.25e9  # of a machine's network, 10 Gbit/s: assumed
    cores: int = 16  # of a node: assumed
    rollout: int = 512  # steps of each copy between updates
    copies_a_core: int = 4
    epochs: int = 10
    batches: int = 8  # optimiser steps of an epoch
    start: float = 4.7  # CPU seconds of a run of 64 steps and its evaluation, two processes: measured
    tasks: float = 1650.0  # tasks a second that Ray hands out: measured, trivial tasks on one machine
    carried: float = 1.8e6  # bytes of a checkpoint of PPO on HalfCheetah-v5: measured
    carry_every: float = 10.0
    home: float = 0.5e9  # bytes a second that one actor at home takes and writes: assumed
    failure: float = 1 / (30 * 24 * 3600)  # failures of a node a second, one a month: assumed
    price: float = 0.04  # dollars of a core for an hour: assumed


def iteration(inputs: Inputs, nodes: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Simulate one rollout and its update, one rank a core; returns seconds of stepping, learning and network; steps.

    The batch grows with the ranks. Every rank waits for the slowest one: after its rollout, and at each gradient.
    """
    ranks = nodes * inputs.cores
    copies = inputs.copies_a_core
    count = inputs.rollout * copies
    own = inputs.step * (count + inputs.step_spread * np.sqrt(count) * rng.standard_normal(ranks))
    optimiser_steps = inputs.epochs * inputs.batches
    one = inputs.update_fixed + inputs.update_sample * count / inputs.batches
    jitter = 1 + 0.05 * np.abs(rng.standard_normal((optimiser_steps, ranks))).max(axis=1)
    return own.max(), float((one * jitter).sum()), optimiser_steps * all_reduce(inputs, nodes), count * ranks


def all_reduce(inputs: Inputs, nodes: int) -> float:
    """Seconds of a ring all-reduce between nodes, each of which has summed its ranks' gradients first."""
    if nodes == 1:
        return 0.0
    moved = 2 * (nodes - 1) / nodes * inputs.parameters / inputs.bandwidth
    return moved + 2 * (nodes - 1) * inputs.latency


def run_row(inputs: Inputs, nodes: int, repeats: int = 20) -> tuple[float, float, float, float]:
    """Steps a second of one run on so many nodes, and the shares of stepping, learning and network."""
    rng = np.random.default_rng(SEED)
    step, learn, network, steps = np.sum([iteration(inputs, nodes, rng) for _ in range(repeats)], axis=0)
    total = step + learn + network
    return steps / total, step / total, learn / total, network / total


def run_seconds(inputs: Inputs, steps: float) -> float:
    """CPU seconds of one run with one thread: start, steps, and the updates of its share of samples."""
    sample = inputs.epochs * (inputs.update_sample + inputs.update_fixed / 64)
    return inputs.start + steps * (inputs.step + sample)


def suite(inputs: Inputs, nodes: int, runs: int, steps: float) -> tuple[float, float, int]:
    """Simulate a suite, run by run; returns its seconds, the core hours it used, and runs that were begun again.

    Nodes fail by chance and come back at once; a run then goes on from its last checkpoint (half an interval of a
    twentieth of the run is lost on average, and its start).
    """
    rng = np.random.default_rng(SEED)
    slots = nodes * inputs.cores
    mean = run_seconds(inputs, steps)
    free = [0.0] * slots
    heapq.heapify(free)
    used, again, handed_out = 0.0, 0, 0.0
    for _ in range(runs):
        duration = mean * (1 + 0.1 * rng.standard_normal())
        failures = rng.poisson(inputs.failure * duration)
        again += failures
        duration += failures * (inputs.start + duration / 40)
        handed_out += 1 / inputs.tasks
        begin = max(heapq.heappop(free), handed_out)
        heapq.heappush(free, begin + duration)
        used += duration
    return max(free), used / 3600, int(again)


def tables(inputs: Inputs) -> list[str]:
    """All tables, as lines of Markdown."""
    heads = " | ".join(f"step of {step * 1e6:.0f} us" for step in STEPS)
    lines = [f"| nodes | ranks | {heads} |", "|---|---|" + "---|" * len(STEPS)]
    for nodes in NODES:
        cells = []
        for seconds in STEPS:
            rate, step, learn, network = run_row(replace(inputs, step=seconds), nodes)
            cells.append(f"{rate / 1000:,.0f}k: {step:.0%} / {learn:.0%} / {network:.0%}")
        lines.append(f"| {nodes} | {nodes * inputs.cores} | {' | '.join(cells)} |")
    lines += [
        "",
        "| nodes | cores | hours (simulated) | core hours | dollars | begun again | MB/s to home, carried |",
        "|---|---|---|---|---|---|---|",
    ]
    for nodes in NODES:
        seconds, hours, again = suite(inputs, nodes, 10_000, 1e6)
        home = nodes * inputs.cores * inputs.carried / inputs.carry_every / 1e6
        cost = hours * inputs.price
        lines.append(
            f"| {nodes} | {nodes * inputs.cores} | {seconds / 3600:,.1f} | {hours:,.0f} | {cost:,.0f} | {again} | "
            f"{home:,.0f} |"
        )
    return lines


def measure() -> None:
    """Time what can be timed on one machine: an environment step, and optimiser steps by their batch."""
    import gymnasium
    import torch

    torch.set_num_threads(1)
    env = gymnasium.make("HalfCheetah-v5")
    env.reset(seed=0)
    action = env.action_space.sample()
    print(f"environment step: {best(lambda: env.step(action), 200) * 1e6:.0f} us")
    nets = [
        torch.nn.Sequential(
            torch.nn.Linear(17, 64),
            torch.nn.Tanh(),
            torch.nn.Linear(64, 64),
            torch.nn.Tanh(),
            torch.nn.Linear(64, outputs),
        )
        for outputs in (6, 1)
    ]
    parameters = [parameter for net in nets for parameter in net.parameters()]
    print(f"gradients: {4 * sum(each.numel() for each in parameters)} bytes")
    optimizer = torch.optim.Adam(parameters)
    times = {}
    for batch in (64, 1024):
        x = torch.randn(batch, 17)

        def update(x=x):
            optimizer.zero_grad()
            sum(net(x).square().mean() for net in nets).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.5)
            optimizer.step()

        times[batch] = best(update, 50)
        print(f"optimiser step of {batch} samples: {times[batch] * 1e6:.0f} us")
    slope = (times[1024] - times[64]) / (1024 - 64)
    print(f"= {1e6 * (times[64] - 64 * slope):.0f} us + {1e6 * slope:.2f} us a sample")


def best(call, count: int) -> float:
    """CPU seconds of a call, the best of ten times `count` calls."""
    found = []
    for _ in range(10):
        began = time.process_time()
        for _ in range(count):
            call()
        found.append((time.process_time() - began) / count)
    return min(found)


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure()
    else:
        print("\n".join(tables(Inputs())))
