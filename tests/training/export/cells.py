"""What can be exported: agents with encoders, memories and spaces, their networks filled with random numbers."""

from dataclasses import dataclass, field
from functools import partial

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from palaestra.envs.make import make_envs
from palaestra.networks.normalize import RunningNormalizer
from palaestra.training.export.export import export_loaded, exported_policy
from palaestra.training.run.build import build_agent, env_spec
from palaestra.training.run.loaded import LoadedRun
from palaestra.training.settings.config import run_config

from .spaces_env import AnySpaces

VECTOR = spaces.Box(-2, 2, (5,), np.float32)
PICTURE = spaces.Box(0, 255, (10, 10, 3), np.uint8)
LARGE = spaces.Box(0, 255, (40, 40), np.uint8)
DISCRETE = spaces.Discrete(4)
BOX = spaces.Box(np.float32([-2, -1, 0]), np.float32([2, 1, 5]))
TUPLE = spaces.Tuple(
    [
        spaces.Discrete(3, start=5),
        spaces.MultiDiscrete([[2, 3]]),
        spaces.Box(-1, 3, (2,)),
        spaces.MultiBinary(2),
    ]
)
CHOICES = spaces.Dict(
    {"turn": spaces.Discrete(3, start=-1), "gear": spaces.MultiDiscrete([2, 4], start=[1, 0])}
)
MASKED = spaces.Dict({"action_mask": spaces.MultiBinary(4), "x": VECTOR})
NESTED = spaces.Dict(
    {
        "camera": PICTURE,
        "more": spaces.Tuple([spaces.Discrete(3, start=1), spaces.Box(-np.inf, np.inf, (2, 2), np.float64)]),
        "flags": spaces.MultiBinary(3),
    }
)
VECTORS = spaces.Dict(
    {"more": spaces.Tuple([spaces.Discrete(3, start=1), VECTOR]), "m": spaces.MultiDiscrete([3, 2])}
)

SMALL = {
    "none": {},
    "lstm": {"hidden": 16, "readout": [16]},
    "gru": {"hidden": 16, "readout": [16]},
    "transformer": {"size": 16, "layers": 2, "heads": 2, "window": 5, "hidden": 16},
}


@dataclass(frozen=True)
class Cell:
    name: str
    agent: dict
    obs: spaces.Space = field(default_factory=lambda: VECTOR)
    actions: spaces.Space = field(default_factory=lambda: DISCRETE)
    encoder: dict | None = None
    memory: str = "none"
    more: dict = field(default_factory=dict)
    """Of the run's config."""
    stochastic: bool = False


DQN = {"name": "dqn", "hidden": [16], "replay_capacity": 64}
TD3 = {
    "name": "ddpg",
    "twin_critics": True,
    "actor_hidden": [16],
    "critic_hidden": [16],
    "replay_capacity": 64,
}
AGENTS = {
    "dqn": (DQN, DISCRETE),
    "rainbow": (
        DQN | {"dueling": True, "noisy": True, "distribution": "c51", "atoms": 11, "layer_norm": True},
        DISCRETE,
    ),
    "quantile": (DQN | {"distribution": "quantile", "atoms": 7, "dueling": True}, CHOICES),
    "pqn": ({"name": "pqn", "hidden": [16]}, spaces.MultiDiscrete([3, 2])),
    "reinforce": ({"name": "reinforce"}, spaces.MultiBinary(3)),
    "ppo": ({"name": "ppo"}, TUPLE),
    "ppo squashed": ({"name": "ppo", "squash": True}, BOX),
    "td3": (TD3, BOX),
}
ENCODERS = {
    "mlp": ({"name": "mlp", "normalize": True}, VECTOR),
    "mlp nested": ({"name": "mlp", "activation": "elu"}, VECTORS),
    "cnn": ({"name": "cnn"}, PICTURE),
    "cnn nature": ({"name": "cnn"}, LARGE),
    "impala": ({"name": "impala", "channels": [4, 4]}, PICTURE),
    "capsule": ({"name": "capsule"}, PICTURE),
    "cnn nested": ({"name": "cnn"}, NESTED),
}
MATRIX = [
    Cell(f"{agent}, {encoder}, {memory}", options, obs, actions, encoding, memory)
    for agent, (options, actions) in AGENTS.items()
    for encoder, (encoding, obs) in ENCODERS.items()
    for memory in SMALL
    if not (agent == "pqn" and memory != "none")  # it takes none
]
PPO = {"name": "ppo"}
ACTIONS = [
    Cell("float64 actions", PPO, actions=spaces.Box(-1, 1, (2,), np.float64)),
    Cell("unbounded actions", PPO, actions=spaces.Box(-np.inf, np.inf, (2,))),
    Cell("half-bounded actions", PPO, actions=spaces.Box(np.float32([0, -np.inf]), np.float32([np.inf, 1]))),
    Cell("matrices of actions", TD3, actions=spaces.Box(-3, 1, (2, 2), np.float64)),
    Cell("whole numbers in a Box", PPO, actions=spaces.Box(-1, 2, (2,), np.int32)),
    Cell("choices from -1 on", DQN, actions=spaces.Discrete(3, start=-1)),
    Cell("a MultiDiscrete matrix", PPO, actions=spaces.MultiDiscrete([[2, 3], [4, 2]])),
    Cell("a MultiBinary matrix", PPO, actions=spaces.MultiBinary((2, 2))),
    Cell("a Dict of actions", PPO, actions=spaces.Dict({"b": BOX, "a": CHOICES})),
    Cell("masked choices", PPO, obs=MASKED),
    Cell("masked values", DQN, obs=MASKED, memory="gru"),
    Cell(
        "masks in a Tuple",
        DQN,
        spaces.Dict(
            {"x": VECTOR, "action_mask": spaces.Tuple([spaces.MultiBinary(3), spaces.MultiBinary(2)])}
        ),
        spaces.MultiDiscrete([3, 2]),
    ),
]
OBSERVATIONS = [
    Cell("Discrete observations", PPO, spaces.Discrete(5, start=2)),
    Cell("float64 observations", PPO, spaces.Box(-1, 1, (3,), np.float64)),
    Cell("a number without axes", PPO, spaces.Box(-1, 1, (), np.float32)),
    Cell("bytes", PPO, spaces.Box(0, 255, (6,), np.uint8)),
    Cell("a Tuple of observations", PPO, spaces.Tuple([VECTOR, spaces.Discrete(3)])),
    Cell("stacked frames", PPO, PICTURE, encoder={"name": "cnn"}, more={"frame_stack": 4}),
    Cell("stacked frames, masked", DQN, MASKED, more={"frame_stack": 3}, memory="lstm"),
    Cell(
        "stacked nested frames",
        PPO,
        spaces.Dict({"camera": PICTURE, "x": VECTOR}),
        encoder={"name": "cnn"},
        more={"frame_stack": 2},
    ),
    Cell("previous action", PPO, actions=TUPLE, memory="gru", more={"show_previous": True}),
    Cell("previous values", DQN, MASKED, memory="lstm", more={"show_previous": True, "frame_stack": 2}),
    Cell("gated transformer", PPO, memory="transformer", more={"gated": True}),
]
SAMPLED = [
    Cell(f"sampled: {name}", options, obs, actions, stochastic=True)
    for name, options, obs, actions in (
        ("Discrete", PPO, MASKED, DISCRETE),
        ("Box", PPO, VECTOR, BOX),
        ("squashed Box", {"name": "ppo", "squash": True}, VECTOR, BOX),
        ("all parts", PPO, VECTOR, TUPLE),
        ("MultiBinary", {"name": "reinforce"}, VECTOR, spaces.MultiBinary(3)),
    )
]
ALL = [*MATRIX, *ACTIONS, *OBSERVATIONS, *SAMPLED]


def loaded(cell: Cell) -> LoadedRun:
    """An agent for a cell, as a run's checkpoint would leave it."""
    gymnasium.registry.pop("AnySpaces-v0", None)
    gymnasium.register("AnySpaces-v0", partial(AnySpaces, cell.obs, cell.actions))
    more = dict(cell.more)
    memory = {"name": cell.memory, **SMALL[cell.memory]} | (
        {"gated": True} if more.pop("gated", False) else {}
    )
    values = {"agent": cell.agent, "env": "AnySpaces-v0", "memory": memory, "num_envs": 1, "backend": "sync"}
    if cell.encoder is not None:
        values["encoder"] = cell.encoder
    config = run_config(values | more)
    envs = make_envs(env_spec(config))
    agent = build_agent(config, envs.observation_space, envs.action_space)
    envs.close()
    for module in agent.parts().values():
        if isinstance(module, nn.Module):
            fill(module)
    return LoadedRun(config, agent, 0, envs.observation_space, envs.action_space)


@torch.no_grad()
def fill(module: nn.Module) -> None:
    """Random weights, with which every observation matters and choices are seldom close."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        inputs = parameter[0].numel() if parameter.dim() > 1 else 4
        parameter.add_(torch.randn(parameter.shape, generator=generator) * inputs**-0.5)
    for part in module.modules():
        if isinstance(part, RunningNormalizer):
            part.update(torch.randn((50, *part.shift.shape), generator=generator) * 3 + 1)


def export_cell(cell: Cell, folder, format: str = "onnx") -> dict:
    """Export a cell; what it returns was checked."""
    run = loaded(cell)
    return export_loaded(run, exported_policy(run), format, folder / f"policy.{format}", cell.stochastic)
