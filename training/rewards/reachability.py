"""Episodic curiosity (Savinov et al. 2019, arXiv:1810.02274): new is what nothing remembered is close to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from ...agents.agent import Metrics, Transition, mean_metrics, named_generator
from ...agents.storage.sequences import to_tensors
from ...networks.optimizer import FlatAdam
from ...networks.stateful import Stateful
from ...networks.tree import tree_map, write_rows
from .reachability_network import Pairs, ReachabilityNetwork, area_under_curve, draw_pairs
from .recent import empty_rows
from .reward import Bonus, BonusConfig, Setting, rows_of, seeded

# Trajectories are cut into pieces of so many times the distance that counts as far; each tenth is held out.
PIECE, HELD_OUT_EVERY = 5, 10


@dataclass(frozen=True)
class ReachabilityConfig(BonusConfig):
    """Episodic curiosity."""

    near: Annotated[int, Gt(0)] = 5
    """Steps within which an observation counts as reachable."""
    gap: Annotated[float, Ge(1)] = 5.0
    """Observations more than `gap * near` steps apart count as out of reach; what lies between is not learned from."""
    memory: Annotated[int, Gt(0)] = 200
    """Observations that an episode remembers; a new one then takes the place of any."""
    shift: float = 0.5
    """The bonus is this minus the similarity to the memory."""
    quantile: Annotated[float, Interval(ge=0, le=1)] = 0.9
    """The similarity to the memory is this quantile of the similarities to what is in it."""
    threshold: float = 0.0
    """Observations with a bonus above this, before it is scaled, are remembered."""
    history: Annotated[int, Gt(0)] = 10_000
    """Latest environment steps, summed over environments, from which pairs are drawn."""
    train_every: Annotated[int, Gt(0)] = 512
    """Environment steps between updates of the network."""
    updates: Annotated[int, Gt(0)] = 16
    """Minibatches of each update."""
    batch_size: Annotated[int, Gt(0)] = 256
    """Pairs in a minibatch."""
    warm_up: Annotated[int, Ge(0)] = 2_000
    """Environment steps before the first bonus."""
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Adam's step size."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (64,)
    """Width of each hidden layer of the encoder; the comparator has one of the last width."""
    size: Annotated[int, Gt(0)] = 32
    """Numbers of an embedding."""

    @property
    def far(self) -> int:
        """Steps beyond which an observation counts as out of reach."""
        return round(self.gap * self.near)


class Trajectories:
    """The latest observations of each environment, a ring `[T, B]`, in numbered pieces of bounded length."""

    def __init__(self, setting: Setting, steps: int, longest: int):
        self.length = max(2, steps // setting.num_envs)
        self.longest = longest
        empty = empty_rows("bonus.history", setting.observation_space, self.length * setting.num_envs)
        shape = (self.length, setting.num_envs)
        self.obs = tree_map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), empty)
        self.piece = np.full(shape, -1, np.int64)
        self.time = 0
        """Rows that were ever written."""
        self.current = np.full(setting.num_envs, -1, np.int64)
        """Number of the piece that each environment is in."""
        self.steps = np.zeros(setting.num_envs, np.int64)
        """Its steps so far."""

    def add(self, transition: Transition, rows: np.ndarray) -> None:
        """Add `obs` of the valid `rows`."""
        new = np.zeros(len(self.current), bool)
        new[rows] = (transition.first | (self.steps >= self.longest) | (self.current < 0))[rows]
        self.current += new
        self.steps = np.where(new, 0, self.steps)
        self.steps[rows] += 1
        at = self.time % self.length
        write_rows(self.obs, at, transition.obs)
        self.piece[at] = -1
        self.piece[at, rows] = self.current[rows]
        self.time += 1

    def pieces(self, held_out: bool) -> np.ndarray:
        """Pieces `[T, B]`, oldest step first; only those that are held out, or only the others, are not -1."""
        ordered = (
            np.roll(self.piece, -(self.time % self.length), 0) if self.time > self.length else self.piece
        )
        out = (ordered + np.arange(ordered.shape[1])) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        return np.where(out == held_out, ordered, -1)

    def read(self, places: tuple[np.ndarray, np.ndarray]) -> Any:
        """Observations `[N, ...]` at places in what `pieces` returns."""
        time, column = places
        if self.time > self.length:
            time = (time + self.time) % self.length
        return tree_map(lambda leaf: leaf[time, column], self.obs)

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        state = {"obs": self.obs, "piece": self.piece, "current": self.current, "steps": self.steps}
        return state | {"time": self.time}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        write_rows(self.obs, slice(None), state["obs"])
        for name in ("piece", "current", "steps"):
            getattr(self, name)[:] = state[name]
        self.time = int(state["time"])


class EpisodicMemory:
    """Embeddings of what each environment's episode has come by, `[B, M, D]` of which the first `count [B]` are."""

    def __init__(self, num_envs: int, capacity: int, size: int, device: torch.device):
        self.embeddings = torch.zeros(num_envs, capacity, size, device=device)
        self.count = np.zeros(num_envs, np.int64)

    def forget(self, rows: np.ndarray) -> None:
        """Forget the episodes of some environments."""
        self.count[rows] = 0

    def add(self, rows: np.ndarray, embeddings: Tensor, generator: np.random.Generator) -> None:
        """Remember `embeddings [N, D]` of different environments; one takes the place of any where there is no room."""
        capacity = self.embeddings.shape[1]
        places = np.where(
            self.count[rows] < capacity, self.count[rows], generator.integers(0, capacity, len(rows))
        )
        index = [torch.from_numpy(x).to(self.embeddings.device) for x in (rows, places)]
        self.embeddings[index[0], index[1]] = embeddings
        self.count[rows] = np.minimum(self.count[rows] + 1, capacity)

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return {"embeddings": self.embeddings, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.embeddings.copy_(state["embeddings"])
        self.count[:] = state["count"]


class Reachability(Bonus):
    """The bonus of an observation is `shift` minus its similarity to the memory of its episode.

    Similarity is the probability, in the eyes of a siamese network, of reaching it within a few steps from what is
    remembered. The network learns online from pairs out of the latest trajectories.
    """

    Config = ReachabilityConfig

    def __init__(self, config: ReachabilityConfig, setting: Setting):
        super().__init__(config, setting)
        self.config, self.device = config, setting.device
        with seeded(setting.seed, "reachability"):
            network = ReachabilityNetwork(setting.observation_space, config.hidden, config.size)
        self.network = network.to(self.device)
        self.optimizer = FlatAdam(self.network)
        self.trajectories = Trajectories(setting, config.history, PIECE * config.far)
        self.memory = EpisodicMemory(setting.num_envs, config.memory, config.size, self.device)
        self.generator = named_generator(setting.seed, "reachability")

    def bonus(
        self, transition: Transition, rows: np.ndarray, visits: np.ndarray
    ) -> tuple[np.ndarray, Metrics]:
        """`shift - similarity` `[N]`; zeros while the network has hardly learned."""
        self.trajectories.add(transition, rows)
        bonus = np.zeros(len(rows))
        warm = self.optimizer.count and self.counter.count > self.config.warm_up
        if warm:
            bonus = self.remember(transition, rows)
        due = self.counter.passed(self.config.train_every)
        return bonus, self.update() if due else {}

    @torch.no_grad()
    def remember(self, transition: Transition, rows: np.ndarray) -> np.ndarray:
        """Compare `next_obs` with the memories of their episodes, which what is new enters; returns bonuses `[N]`."""
        config = self.config
        begun = rows[transition.first[rows] | (self.memory.count[rows] == 0)]
        if len(begun):
            self.memory.forget(begun)
            first = self.network.embed(to_tensors(rows_of(transition.obs, begun), self.device))
            self.memory.add(begun, first, self.generator)
        embeddings = self.network.embed(to_tensors(rows_of(transition.next_obs, rows), self.device))
        count = self.memory.count[rows]
        kept = self.memory.embeddings[torch.from_numpy(rows).to(self.device), : count.max()]
        later = embeddings.unsqueeze(1).expand(-1, kept.shape[1], -1)
        similar = self.network.compare(kept, later).sigmoid().cpu().numpy()
        bonus = config.shift - upper_quantile(similar, count, config.quantile)
        new = np.flatnonzero(bonus > config.threshold)
        if len(new):
            self.memory.add(rows[new], embeddings[torch.from_numpy(new).to(self.device)], self.generator)
        return bonus

    def update(self) -> Metrics:
        """Learn from pairs of the latest trajectories; reports the loss, and how held-out pairs are told apart."""
        config, pieces, steps = self.config, self.trajectories.pieces(held_out=False), []
        for update in range(config.updates):
            pairs = self.draw(pieces)
            if pairs is None:
                return {}
            batch = self.batch(pairs)
            if update == 0:
                self.network.inputs.update(batch[0])
            steps.append(self.optimizer.step(self.network.loss, batch, config.learning_rate))
        return {"bonus/loss": mean_metrics(steps)["loss"]} | self.judge()

    @torch.no_grad()
    def judge(self) -> Metrics:
        """`bonus/auc`: how well the network tells held-out pairs apart, where there are any."""
        pairs = self.draw(self.trajectories.pieces(held_out=True))
        if pairs is None:
            return {}
        earlier, later, _ = self.batch(pairs)
        logit, reachable = self.network(earlier, later).cpu().numpy(), pairs.reachable > 0
        return {"bonus/auc": area_under_curve(logit[reachable], logit[~reachable])}

    def draw(self, pieces: np.ndarray) -> Pairs | None:
        """A minibatch of pairs in pieces `[T, B]`."""
        config, longest = self.config, self.trajectories.longest
        return draw_pairs(pieces, config.batch_size, config.near, config.far, self.generator, longest=longest)

    def batch(self, pairs: Pairs) -> tuple[Any, Any, Tensor]:
        """Pairs as tensors: observations `[N, ...]` twice, and whether they are within reach `[N]`."""
        read = (self.trajectories.read(pairs.earlier), self.trajectories.read(pairs.later), pairs.reachable)
        return to_tensors(read, self.device)

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Network, optimiser, trajectories, memories and the generator of pairs."""
        return super().parts() | {
            "network": self.network,
            "optimizer": self.optimizer,
            "trajectories": self.trajectories,
            "memory": self.memory,
            "generator": self.generator,
        }


def upper_quantile(values: np.ndarray, count: np.ndarray, quantile: float) -> np.ndarray:
    """Quantile `[N]` of the first `count [N]` (at least one) of values `[N, M]`: one of them, the next higher one.

    >>> upper_quantile(np.array([[0.1, 0.5, 0.3, 9.0]]), np.array([3]), 0.9)
    array([0.5])
    """
    known = np.where(np.arange(values.shape[1]) < count[:, None], values, -np.inf)
    descending = -np.sort(-known, axis=1)
    return descending[np.arange(len(values)), np.floor((1 - quantile) * (count - 1) + 1e-9).astype(int)]
