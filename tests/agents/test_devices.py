"""Agents on another device, without one: on "meta" tensors, where any operation on tensors of two devices is refused.

Kernels of the CPU take 0-d tensors of the CPU among those of another device, and kernels of CUDA take some of them
(`clamp` does not); here none is taken, except where data is moved on purpose. What comes back to the CPU is zeros.
"""

import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from palaestra.agents.auxiliary.auxiliary import RecentSteps, with_steps
from palaestra.agents.auxiliary.curl import CURL, CURLConfig
from palaestra.agents.auxiliary.predict import Predict, PredictConfig
from palaestra.agents.auxiliary.reconstruct import Reconstruct, ReconstructConfig
from palaestra.agents.bc import BC, BCConfig
from palaestra.agents.ddpg import DDPG, DDPGConfig
from palaestra.agents.dqn import DQN, DQNConfig
from palaestra.agents.ppo import PPO, PPOConfig
from palaestra.agents.pqn import PQN, PQNConfig
from palaestra.agents.reinforce import REINFORCE, REINFORCEConfig
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.torso import build_torso

from .memories import MEMORIES
from .streams import random_transitions

META = torch.device("meta")
BOX = spaces.Box(-1, 1, (3,), np.float32)
ACTIONS = {
    "discrete": spaces.Discrete(3, start=2),
    "multi-discrete": spaces.MultiDiscrete([2, 3], start=[1, 4]),
    "box": spaces.Box(-2, 2, (2,), np.float32),
    "integers": spaces.Box(-1, 1, (2, 1), np.int64),
    "choices": spaces.Tuple([spaces.Discrete(2, start=1), spaces.MultiDiscrete([[2, 3]], start=[[1, 4]])]),
    "nested": spaces.Dict(
        where=spaces.Box(-2, 2, (2, 1), np.float32),
        rest=spaces.Tuple([spaces.Discrete(2, start=1), spaces.MultiBinary([1, 2])]),
    ),
}
aten = torch.ops.aten
MOVES = (aten._to_copy, aten.to, aten.copy_)


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices; reads zeros where values of meta tensors are asked for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        if function.overloadpacket not in MOVES:
            assert len(devices) < 2, f"{function} on two devices"
        elif devices == {"meta"} and torch.device("cpu") in (*args, kwargs.get("device")):
            return torch.zeros(tensors[0].shape, dtype=kwargs.get("dtype") or tensors[0].dtype)
        if function is aten._local_scalar_dense.default and devices == {"meta"}:
            return 0
        if function is aten.index.Tensor and devices == {"meta"}:
            # A mask chooses everything: how much it chooses is a value.
            args = (args[0], [_all_of(index) for index in args[1]])
        return function(*args, **kwargs)


def _all_of(index):
    if index is None or index.dtype != torch.bool:
        return index
    assert index.ndim == 1, "flatten what is chosen by a mask"
    return torch.arange(len(index), device=index.device)


# An update after so many steps, of two gradient steps: every operation of `meta` is Python.
SELDOM = {"learning_starts": 0, "train_every": 12, "gradient_steps": 2, "batch_size": 8}
SELDOM |= {"sequence_length": 4, "burn_in": 2}
CASES = {
    "ppo": (PPO, PPOConfig, {"rollout_length": 6, "batch_size": 8, "sequence_length": 4, "epochs": 1}),
    "ppo, all options": (
        PPO,
        PPOConfig,
        {
            "rollout_length": 6,
            "batch_size": 8,
            "sequence_length": 3,
            "epochs": 1,
            "value_clip_range": 0.2,
            "target_kl": 0.1,
            "normalize_reward": True,
            "entropy_coefficient": "linear(0.1, 0)",
            "clip_range": "linear(0.2, 0.1)",
            "share_torso": True,
        },
    ),
    "reinforce": (REINFORCE, REINFORCEConfig, {"steps_per_update": 15, "batch_size": 8, "value_epochs": 1}),
    "bc": (
        BC,
        BCConfig,
        {"rollout_length": 6, "batch_size": 8, "sequence_length": 4, "l2_coefficient": 0.1},
    ),
    "pqn": (PQN, PQNConfig, {"rollout_length": 6, "batch_size": 8, "epochs": 1}),
    "dqn": (DQN, DQNConfig, SELDOM),
    "rainbow": (
        DQN,
        DQNConfig,
        {
            **SELDOM,
            "n_step": 2,
            "dueling": True,
            "noisy": True,
            "prioritized": True,
            "distribution": "c51",
            "hidden": (8,),
        },
    ),
    "quantile": (
        DQN,
        DQNConfig,
        {
            **SELDOM,
            "distribution": "quantile",
            "epsilon": 0.0,
        },
    ),
    "ddpg": (DDPG, DDPGConfig, SELDOM),
    "td3": (
        DDPG,
        DDPGConfig,
        {
            **SELDOM,
            "twin_critics": True,
            "policy_delay": 2,
            "target_smoothing": 0.2,
        },
    ),
}
FITTING = {
    name: [action for action, space in ACTIONS.items() if agent_class.takes.include(space)]
    for name, (agent_class, *_) in CASES.items()
}
ROUNDS = [(name, "none", action) for name, actions in FITTING.items() for action in actions]
ROUNDS += [
    (name, memory, FITTING[name][0])
    for name in CASES
    for memory in ("lstm", "gru", "transformer")
    if name not in ("pqn", "quantile")
]


# By default each agent with a memory of one family, and each family with agents of either kind; td3 has the losses
# of ddpg, over two critics.
REMEMBERED = {
    "ppo": ("lstm", "transformer"),
    "ppo, all options": ("gru",),
    "reinforce": ("gru",),
    "bc": ("lstm",),
    "dqn": ("lstm", "transformer"),
    "rainbow": ("gru",),
    "ddpg": ("gru",),
    "td3": (),
}


@pytest.mark.parametrize(
    ("name", "memory", "action"),
    [
        each
        if each[1] == "none" or each[1] in REMEMBERED[each[0]]
        else pytest.param(*each, marks=pytest.mark.slow)
        for each in ROUNDS
    ],
)
def test_everything_happens_on_the_agents_device(name, memory, action):
    """Acting, statistics, losses, gradients, optimisers and targets; episodes end in both ways."""
    agent_class, config, options = CASES[name]
    encoder = MLPConfig(hidden=(8,), normalize=True)
    agent = agent_class(
        config(**options),
        ACTIONS[action],
        lambda: build_torso(BOX, MLP, MEMORIES[memory][0], encoder, MEMORIES[memory][1]),
        seed=0,
        total_steps=100,
        device=META,
        compile=False,
    )
    learned = 0
    with OneDevice():
        for transition in itertools.islice(random_transitions(agent, num_envs=3), 12):
            learned += bool(agent.learn(transition))
    assert learned


LOSSES = {
    "curl": (CURL, CURLConfig),
    "predict": (Predict, PredictConfig),
    "reconstruct": (Reconstruct, ReconstructConfig),
}
# Each loss with one agent that learns from rollouts and a memory, and each agent with one loss; the rest is slow.
BESIDE = {
    "ppo": tuple(LOSSES),
    "reinforce": ("curl",),
    "pqn": ("reconstruct",),
    "dqn": ("predict",),
    "ddpg": ("curl",),
}


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        pytest.param(name, loss, marks=[] if loss in BESIDE[name] else pytest.mark.slow)
        for name in BESIDE
        for loss in LOSSES
    ],
)
def test_auxiliary_losses_are_on_the_agents_device(name, loss):
    loss, settings = LOSSES[loss]
    memory = "lstm" if name == "ppo" else "none"
    agent_class, config, options = CASES[name]
    space = ACTIONS[FITTING[name][0]]
    steps = RecentSteps(space, 100, seed=0)

    def make_torso():
        own = MLPConfig(hidden=(8,), normalize=True), MEMORIES[memory][1]
        make = lambda encoder: loss(encoder, BOX, steps, settings(batch_size=4))  # noqa: E731
        return build_torso(BOX, MLP, MEMORIES[memory][0], *own, make)

    built = with_steps(agent_class, steps)
    agent = built(config(**options), space, make_torso, seed=0, total_steps=100, device=META, compile=False)
    learned = {}
    with OneDevice():
        for transition in itertools.islice(random_transitions(agent, num_envs=3), 12):
            learned |= agent.learn(transition)
    assert {"auxiliary/loss", "auxiliary/accuracy"} <= learned.keys()


@pytest.mark.parametrize(
    "mixed",
    [
        lambda x: x.clamp(1 - torch.tensor(0.2), 1 + torch.tensor(0.2)),
        lambda x: x * torch.tensor(0.2),
        lambda x: torch.cat([x, torch.zeros(2)]),
    ],
)
def test_two_devices_are_refused(mixed):
    with OneDevice():
        assert mixed(torch.ones(3)).device.type == "cpu"
        with pytest.raises(AssertionError, match="on two devices"):
            mixed(torch.ones(3, device=META))
