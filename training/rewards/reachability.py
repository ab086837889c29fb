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
from .history import History
from .pairs import Pairs, draw_pairs
from .reachability_network import ReachabilityNetwork, area_under_curve
from .reward import Bonus, BonusConfig, Setting, rows_of, seeded

# Trajectories are cut into pieces of so many times the distance that counts as far.
PIECE = 5


@dataclass(frozen=True)
class ReachabilityConfig(BonusConfig):
    """Episodic curiosity."""

    near: Annotated[int, Gt(0)] = 5
    """Steps within which an observation counts as reachable."""
    gap: Annotated[float, Ge(1)] = 5.0
    """Observations more than `gap * near` steps apart count as out of reach; what lies between is not learned from."""
    memory: Annotated[int, Gt(0)] = 200
    """Observations that an episode remembers; a new one then takes the place of any."""
    shift: float = 1.0
    """The bonus is this minus the similarity to the memory. Below 1 it is negative in known places: that suits episodes
    of one length only, others are better ended early then."""
    quantile: Annotated[float, Interval(ge=0, le=1)] = 0.9
    """The similarity to the memory is this quantile of the similarities to what is in it."""
    remember_below: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Observations less similar to the memory than this are remembered."""
    history: Annotated[int, Gt(0)] = 10_000
    """Environment steps that pairs are drawn from, summed over environments; those in rare places are kept longest."""
    apart_within: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Share of the pairs out of reach that are of one trajectory; the others are any two."""
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
    remembered. The network learns online from pairs out of past trajectories, drawn evenly from all places that are
    told apart as counts tell them apart: however often the agent is lured to one, it is told from the others.
    """

    Config = ReachabilityConfig

    def __init__(self, config: ReachabilityConfig, setting: Setting):
        super().__init__(config, setting)
        self.config, self.device = config, setting.device
        with seeded(setting.seed, "reachability"):
            network = ReachabilityNetwork(setting.observation_space, config.hidden, config.size)
        self.network = network.to(self.device)
        self.optimizer = FlatAdam(self.network)
        self.history = History(setting, config.history, PIECE * config.far)
        self.memory = EpisodicMemory(setting.num_envs, config.memory, config.size, self.device)
        self.generator = named_generator(setting.seed, "reachability")

    def bonus(
        self, transition: Transition, rows: np.ndarray, visits: np.ndarray
    ) -> tuple[np.ndarray, Metrics]:
        """`shift - similarity` `[N]`; zeros while the network has hardly learned."""
        cells = np.array(self.visits.keys(rows_of(transition.obs, rows)), np.uint64)
        self.history.add(transition, rows, cells)
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
        similarity = upper_quantile(similar, count, config.quantile)
        new = np.flatnonzero(similarity < config.remember_below)
        if len(new):
            self.memory.add(rows[new], embeddings[torch.from_numpy(new).to(self.device)], self.generator)
        return config.shift - similarity

    def update(self) -> Metrics:
        """Learn from pairs of the history; reports the loss, and how held-out pairs are told apart."""
        config, steps = self.config, []
        pairs = self.draw(config.updates * config.batch_size)
        if pairs is None:
            return {}
        for start in range(0, len(pairs.reachable), config.batch_size):
            batch = self.batch(pairs.part(slice(start, start + config.batch_size)))
            if start == 0:
                self.network.inputs.update(batch[0])
            steps.append(self.optimizer.step(self.network.loss, batch, config.learning_rate))
        return {"bonus/loss": mean_metrics(steps)["loss"]} | self.judge()

    @torch.no_grad()
    def judge(self) -> Metrics:
        """`bonus/auc`: how well the network tells held-out pairs apart, where there are any."""
        pairs = self.draw(self.config.batch_size, held_out=True)
        if pairs is None:
            return {}
        earlier, later, _ = self.batch(pairs)
        logit, reachable = self.network(earlier, later).cpu().numpy(), pairs.reachable > 0
        return {"bonus/auc": area_under_curve(logit[reachable], logit[~reachable])}

    def draw(self, count: int, held_out: bool = False) -> Pairs | None:
        """At most `count` pairs of the history."""
        config, history = self.config, self.history
        return draw_pairs(
            history.numbered(held_out),
            count,
            config.near,
            config.far,
            self.generator,
            within=config.apart_within,
            cell=history.cell,
        )

    def batch(self, pairs: Pairs) -> tuple[Any, Any, Tensor]:
        """Pairs as tensors: observations `[N, ...]` twice, and whether they are within reach `[N]`."""
        read = (self.history.read(pairs.earlier), self.history.read(pairs.later), pairs.reachable)
        return to_tensors(read, self.device)

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Network, optimiser, trajectories, memories and the generator of pairs."""
        return super().parts() | {
            "network": self.network,
            "optimizer": self.optimizer,
            "history": self.history,
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
