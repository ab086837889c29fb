"""Steps a second of PPO in two processes against one: `pytest -m benchmark tests/training/parallel -s`, idle cores."""

import importlib.util
import re
import statistics
from pathlib import Path

import pytest

from palaestra.training.tracking.metrics_file import read_metrics

_spec = importlib.util.spec_from_file_location("processes", Path(__file__).with_name("processes.py"))
processes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(processes)

# A step of 26 frames takes 200 us.
SLOW = (
    "ppo --env HalfCheetah-v5 --env-kwargs frame_skip=26 --num-envs 8 --encoder.hidden 64 64 --agent.epochs 4 "
    "--agent.batch-size 256 --steps 32768"
)
# Those of HalfCheetah-v5 have the networks of its preset.
TASKS = {
    "200 us a step": SLOW,
    "200 us a step, compiled": f"{SLOW} --compile on",
    "HalfCheetah-v5": "ppo --env HalfCheetah-v5 --num-envs 8 --agent.epochs 4 --agent.batch-size 512 --steps 65536",
    "MiniGrid": "ppo --env MiniGrid-DoorKey-8x8-v0 --num-envs 8 --steps 32768",
    "MiniGrid, one thread": "ppo --env MiniGrid-DoorKey-8x8-v0 --num-envs 8 --steps 32768 --threads 1",
    "preset of HalfCheetah-v5": "ppo --env HalfCheetah-v5 --num-envs 8 --steps 32768",
    "preset of HalfCheetah-v5, compiled": "ppo --env HalfCheetah-v5 --num-envs 8 --steps 32768 --compile on",
}
# What two processes must reach; all else must not be slower by more than 5 %.
GOALS = {"200 us a step": 1.7, "200 us a step, compiled": 1.7}
CLOCKS = (
    "--backend sync --compile off --track none --evaluate-every 100000000 --evaluate-episodes 1 "
    "--evaluate-max-steps 100 --notes whole"
)


def measure(words, folder, ranks):
    """Median steps a second of the rows of metrics, and CPU seconds of the busiest process."""
    agent, words = words.split(maxsplit=1)
    options = f"{agent} {CLOCKS} {words}"
    said = processes.end(processes.begin([[f"{options} --log-every 4096", str(folder), None]], ranks), 600)
    cpu = max(float(re.search(r"CPU seconds ([\d.]+)", each)[1]) for each in said)
    rows = [row["time/steps_per_second"] for row in read_metrics(folder) if "time/steps_per_second" in row]
    return statistics.median(rows[1:]), cpu


@pytest.mark.benchmark
@pytest.mark.parametrize("task", TASKS)
def test_two_processes_against_one(tmp_path, task):
    speeds, seconds = {1: [], 2: []}, {1: [], 2: []}
    for turn in range(3):
        for ranks in (1, 2):
            speed, cpu = measure(TASKS[task], tmp_path / f"{ranks} {turn}", ranks)
            speeds[ranks].append(speed)
            seconds[ranks].append(cpu)
            print(
                f"{task}: {ranks} processes: {speed:,.0f} steps/s, {cpu:.1f} CPU seconds of the busiest one"
            )
    ratio = statistics.median(speeds[2]) / statistics.median(speeds[1])
    work = statistics.median(seconds[1]) / statistics.median(seconds[2])
    print(f"{task}: {ratio:.2f} times the steps/s; by CPU seconds {work:.2f}")
    assert ratio > GOALS.get(task, 0.95)
