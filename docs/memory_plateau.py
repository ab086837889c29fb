"""How many updates an LSTM needs to see what decides an episode of MiniGrid-MemoryS7, for docs/memories.md.

python docs/memory_plateau.py --normalize

An agent goes to the corridor's end, looks up, and goes there. Whether that pays depends on which of two objects lies
there and which lay in the first room, where a quarter of the episodes begin: an exclusive or, of which neither half
says anything. The network is ours with its defaults. It is fitted to the returns of 85 episodes an update, as many as
a minibatch of the preset holds. Printed is the share of the returns' variance that it explains before the last step of
episodes that began in the first room.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import gymnasium
import minigrid
import numpy as np
import torch
from torch import Tensor, nn

from palaestra.envs.wrappers.minigrid import onehot
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.memories.lstm import LSTM
from palaestra.networks.torso import Torso, build_torso

LEFT, FORWARD = 0, 2
# Where the corridor ends; the agent begins at 1 to 4, and in the first room at 1 it sees the object there.
END, ROOM = 5, 1
EPISODES, BATCH, MOST = 12_000, 85, 20_000


class Episode(NamedTuple):
    """What the agent saw before each of its steps `[T, 180]`, where it began, and what it got."""

    obs: np.ndarray
    start: int
    reward: float


class Chunk(NamedTuple):
    """Episodes side by side, padded to the longest `[T, B, ...]`."""

    obs: Tensor
    first: Tensor
    valid: Tensor
    reward: Tensor
    last: Tensor
    """Last step `[B]` of each."""


def play(env: gymnasium.Env, seed: int) -> Episode:
    """Go to the end of the corridor and up."""
    obs, _ = env.reset(seed=seed)
    start = int(env.unwrapped.agent_pos[0])  # type: ignore[attr-defined]
    seen, reward = [], 0.0
    for action in [FORWARD] * (END - start) + [LEFT, FORWARD]:
        seen.append(obs.ravel())
        obs, step_reward, *_ = env.step(action)
        reward += float(step_reward)
    return Episode(np.stack(seen), start, reward)


def chunk(episodes: list[Episode]) -> Chunk:
    """Lay episodes side by side."""
    lengths = torch.tensor([len(each.obs) for each in episodes])
    steps, batch = int(lengths.max()), len(episodes)
    obs = np.zeros((steps, batch, episodes[0].obs.shape[1]), np.uint8)
    for column, episode in enumerate(episodes):
        obs[: len(episode.obs), column] = episode.obs
    when = torch.arange(steps).unsqueeze(1)
    reward = torch.tensor([each.reward for each in episodes])
    return Chunk(torch.from_numpy(obs), (when == 0).expand(-1, batch), when < lengths, reward, lengths - 1)


def explained(torso: Torso, head: nn.Module, data: Chunk) -> float:
    """Share of the returns' variance that is known before the last step."""
    with torch.no_grad():
        value = predict(torso, head, data)[data.last, torch.arange(len(data.last))]
    return float(1 - (data.reward - value).var() / data.reward.var())


def predict(torso: Torso, head: nn.Module, data: Chunk) -> Tensor:
    """Value `[T, B]` of every step."""
    features, _ = torso(data.obs, torso.initial_state(data.first.shape[1]), data.first)
    return head(features).squeeze(-1)


def main() -> None:
    """Fit, and print how far it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--normalize", action="store_true", help="as --encoder.normalize does")
    parser.add_argument("--forget-bias", type=float, help="one for all, instead of the LSTM's own")
    parser.add_argument("--learning-rate", type=float, default=0.001)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = np.random.default_rng(0)

    env = onehot(gymnasium.make("MiniGrid-MemoryS7-v0", agent_view_size=3))
    episodes = [play(env, seed) for seed in range(EPISODES)]
    test = chunk([each for each in episodes[:3_000] if each.start == ROOM])
    inputs = gymnasium.spaces.Box(0, 1, (episodes[0].obs.shape[1],), np.uint8)
    torso = build_torso(inputs, MLP, LSTM, MLPConfig(normalize=options.normalize))
    torso.update_statistics(torch.from_numpy(np.concatenate([each.obs for each in episodes])))
    if options.forget_bias is not None:
        enter, forget = torso.memory.bias.detach().chunk(4)[:2]
        enter.zero_()
        forget.fill_(options.forget_bias)
    head = nn.Linear(torso.size, 1)
    parameters = [*torso.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, options.learning_rate, eps=1e-5)

    for update in range(MOST + 1):
        batch = chunk([episodes[k] for k in generator.integers(EPISODES, size=BATCH)])
        loss = (predict(torso, head, batch) - batch.reward).square()[batch.valid].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        if update % 250 == 0:
            known = explained(torso, head, test)
            print(f"{update:>6} updates: {known:.2f} explained", flush=True)
            if known > 0.9:
                break


if __name__ == "__main__":
    # Importing it registers its environments.
    assert minigrid
    main()
