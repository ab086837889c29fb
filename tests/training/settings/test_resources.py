"""What `palaestra train --dry-run` says of memory and disk, beside what runs really take."""

import re
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from palaestra.agents.agent import Store
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.memories.none import NoMemory
from palaestra.networks.torso import build_torso
from palaestra.training.cli.main import run
from palaestra.training.settings.resources import (
    filled_bytes,
    frames_of,
    in_mb,
    resident_memory,
    update_bytes,
)

PIXELS = ["--env", "palaestra/CartPolePixels-v0", "--frame-stack", "4", "--num-envs", "4"]
REPLAY = ["--agent.replay-capacity", "3000", "--agent.learning-starts", "500", "--agent.train-every", "64"]
# How far the estimate may be from the truth.
FACTOR = 1.5

needs_proc = pytest.mark.skipif(resident_memory() == 0, reason="the system does not tell of memory")


def told(words, capsys):
    """What a dry run prints, by name."""
    assert run(["train", *words, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return dict(re.match(r"(.+?)  +(.+)", line).groups() for line in lines if "  " in line)


def megabytes(text):
    return float(text.removesuffix(" MB").replace(",", ""))


@needs_proc
@pytest.mark.parametrize(
    "words",
    [
        ["ppo", "--env", "CartPole-v1", "--steps", "10000"],
        pytest.param(["ppo", *PIXELS, "--steps", "1024"], marks=pytest.mark.slow),
    ],
    ids=["ppo", "ppo of pictures"],
)
def test_an_estimate_is_near_the_truth(words, tmp_path, capfd):
    """The kernel's own account of the largest size that a process had, and the size of what it has left."""
    command = [sys.executable, "-m", "palaestra", "train", *words]
    plan = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True).stdout
    expected = {
        name: megabytes(re.search(rf"^{name} +(.+)$", plan, re.MULTILINE)[1])
        for name in ("memory in all", "disk in all")
    }
    peak, whole = 0, [*command, "--out", str(tmp_path / "run"), "--track", "none"]
    with subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, resident_memory(str(process.pid)))
            time.sleep(0.02)
    assert process.returncode == 0
    assert 1 / FACTOR < expected["memory in all"] / (peak / 1e6) < FACTOR
    # Room for a third checkpoint is counted, and each row of metrics as a long one.
    left = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) / 1e6
    assert left < expected["disk in all"] + 0.5


def test_frames_of_stacks_are_counted_once(capsys):
    """A quarter of each stack and its action for 3,000 steps and 4 more; reward, index and five flags are 13 bytes."""
    plan = told(["dqn", *PIXELS, *REPLAY, "--steps", "3000"], capsys)
    envs = make_envs(EnvSpec("palaestra/CartPolePixels-v0", 1, frame_stack=4))
    frame = int(np.prod(envs.observation_space.shape[1:]))
    envs.close()
    assert plan["agent.replay-capacity"] == in_mb(3004 * ((4 * frame + 8) // 4 + 13))


def test_a_plan_with_a_world_model_counts_its_steps_and_networks(capsys, tmp_path, monkeypatch):
    """5,000 steps of four numbers, an action of 8 bytes, a reward and three flags; as many latents of four numbers."""
    monkeypatch.chdir(tmp_path)
    plan = told(
        ["ppo", "--env", "CartPole-v1", "--world-model", "identity+ensemble", "--steps", "5000"], capsys
    )
    assert plan["world_model"] == "identity+ensemble"
    assert plan["real steps"] == in_mb(5000 * (16 + 8 + 7))
    assert plan["their latents"] == in_mb(5000 * 16)
    assert megabytes(plan["world model"]) > 1
    assert not list(tmp_path.iterdir())


def test_a_replay_takes_what_a_run_fills():
    stores = [Store("replay_capacity", 1000, 50_000), Store("rollout_length", 10, 70)]
    assert filled_bytes(stores, 200) == 10_000 + 70


def test_what_an_update_computes_is_counted_layer_by_layer():
    """Observations of 3 numbers, layers of 5 and 2 with an activation each: 12 + 2 x 20 + 2 x 8 bytes a step."""
    space = spaces.Box(-1, 1, (3,), np.float32)
    torso = build_torso(space, MLP, NoMemory, MLPConfig(hidden=(5, 2), normalize=False))
    parts = {"networks": nn.ModuleDict({"torso": torso}), "again": torso}
    assert update_bytes(parts, space, 7, []) == 2 * 7 * (12 + 40 + 16)
    stores = [Store("rollout_length", 9, 0, at_once=9)]
    assert update_bytes(parts, space, 7, stores) == 2 * 9 * (12 + 40 + 16)
    assert torch.is_grad_enabled()


def test_pictures_without_stacks_have_one_frame_each():
    for stack, frames in ((1, 1), (3, 3)):
        envs = make_envs(EnvSpec("palaestra/CartPolePixels-v0", 2, frame_stack=stack))
        assert frames_of(envs) == frames
        envs.close()
