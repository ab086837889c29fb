"""Random network distillation (Burda et al. 2018, arXiv:1810.12894): what is hard to predict has rarely been seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Interval
from gymnasium import spaces
from torch import Tensor, nn

from ...agents.agent import Metrics, Transition, mean_metrics, named_generator
from ...agents.storage.sequences import to_tensors
from ...networks.normalize import RewardScaler
from ...networks.optimizer import FlatAdam
from ...networks.stateful import Stateful
from .features import Features, Inputs
from .recent import Recent, batches
from .reward import Bonus, BonusConfig, Setting, rows_of, seeded


@dataclass(frozen=True)
class RNDConfig(BonusConfig):
    """Random network distillation."""

    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Adam's step size for the predictor."""
    train_every: Annotated[int, Gt(0)] = 512
    """Environment steps between updates of the predictor, which learns from them."""
    batch_size: Annotated[int, Gt(0)] = 128
    """Observations in a minibatch."""
    epochs: Annotated[int, Gt(0)] = 1
    """Passes over these steps."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (128,)
    """Width of each hidden layer of both networks; the predictor has one more, of the last width."""
    size: Annotated[int, Gt(0)] = 64
    """Numbers to predict."""
    gamma: Annotated[float, Interval(ge=0, lt=1)] = 0.99
    """The bonus is divided by the running deviation of its discounted sum, which episodes do not end."""


class RND(Bonus):
    """The bonus of an observation is the squared error of a network that learns to predict a random one there.

    Observations are normalised. So is the bonus, by the deviation of its discounted sum: it says how new something is
    compared with what is usual now. There is none before the first update, when nothing is known yet.
    """

    Config = RNDConfig

    def __init__(self, config: RNDConfig, setting: Setting):
        super().__init__(config, setting)
        self.config, self.device = config, setting.device
        with seeded(setting.seed, "rnd"):
            inputs = Inputs(setting.observation_space)
            target = Features(inputs, config.hidden, config.size)
            deeper = (*config.hidden, *config.hidden[-1:])
            predictor = Features(inputs, deeper, config.size)
        target.requires_grad_(False)
        self.inputs, self.target = inputs.to(self.device), target.to(self.device)
        self.predictor = predictor.to(self.device)
        self.scaler = RewardScaler(config.gamma)
        self.optimizer = FlatAdam(predictor)
        steps = spaces.Tuple([setting.observation_space])
        self.recent = Recent("bonus.train-every", steps, config.train_every, setting.num_envs)
        self.generator = named_generator(setting.seed, "rnd batches")

    def bonus(
        self, transition: Transition, rows: np.ndarray, visits: np.ndarray
    ) -> tuple[np.ndarray, Metrics]:
        """Normalised prediction errors `[N]` of `next_obs`."""
        obs = rows_of(transition.next_obs, rows)
        scaled = np.zeros(len(rows))
        if self.optimizer.count:
            with torch.no_grad():
                errors = np.zeros((1, len(transition.reward)), np.float32)
                errors[0, rows] = self.errors(self.inputs(to_tensors(obs, self.device))).cpu().numpy()
            never, valid = np.zeros(errors.shape, bool), np.zeros(errors.shape, bool)
            valid[0, rows] = True
            whole = self.scaler(*(torch.from_numpy(x) for x in (errors, never, valid)))
            scaled = whole[0].numpy()[rows].astype(np.float64)
        enough = self.recent.add((obs,), len(rows))
        return scaled, self.update() if enough else {}

    def update(self) -> Metrics:
        """Let the statistics and the predictor see the steps since the last update."""
        config, ((obs,), count) = self.config, self.recent.take()
        seen = to_tensors(obs, self.device)
        self.inputs.update(seen)
        steps = []
        for index in batches(count, config.batch_size, config.epochs, self.generator):
            batch = self.inputs(rows_of(seen, torch.from_numpy(index).to(self.device)))
            steps.append(self.optimizer.step(self.loss, (batch,), config.learning_rate))
        return {"bonus/loss": mean_metrics(steps)["loss"]}

    def errors(self, inputs: list[Tensor]) -> Tensor:
        """Squared errors `[N]`, mean over the numbers to predict: `|f(x) - g(x)|^2 / size`."""
        return (self.predictor(inputs) - self.target(inputs)).square().mean(-1)

    def loss(self, inputs: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean of the errors."""
        loss = self.errors(inputs).mean()
        return loss, {"loss": loss}

    def kept(self) -> dict[str, int]:
        """Steps that are not learned from yet."""
        return super().kept() | {"bonus.train-every": self.recent.num_bytes}

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Networks, statistics, optimiser, steps not learned from yet, and the order of batches."""
        networks = nn.ModuleDict({"inputs": self.inputs, "target": self.target, "predictor": self.predictor})
        return super().parts() | {
            "networks": networks,
            "scaler": self.scaler,
            "optimizer": self.optimizer,
            "recent": self.recent,
            "generator": self.generator,
        }
