"""Rewards by labels: the sign of each reward as a semi-supervised world model tells it, in place of the reward."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...agents.agent import Metrics, Transition
from ...agents.storage.sequences import to_tensors
from ...networks.stateful import Stateful
from ...world_models.semi_supervised import SemiSupervisedVAE
from ..settings.providers import WORLD_MODEL, load_provider
from .reward import Setting, Substitute, rows_of, valid_rows


@dataclass(frozen=True)
class LabelsConfig:
    """Rewards by labels."""

    model: str = ""
    """Folder of a world model that was fitted with `--encoder semi_supervised --encoder.label reward`."""


class Labels(Substitute):
    """The reward of a step is the expected sign of the environment's, told from the observation that it led to.

    The classifier stays as it was fitted. The environment's rewards are looked at only to report how often it is right.
    """

    Config = LabelsConfig

    def __init__(self, config: LabelsConfig, setting: Setting):
        if not config.model:
            raise ValueError("reward labels: whose? give --reward.model DIR")
        fitted = load_provider(WORLD_MODEL)(Path(config.model), setting.device)
        if difference := fitted.difference(setting.observation_space):
            raise ValueError(f"--reward.model {config.model} encodes {difference}")
        model = fitted.model.observation_model
        if not isinstance(model, SemiSupervisedVAE) or model.config.label != "reward":
            told = f"labels of {model.config.label}s" if isinstance(model, SemiSupervisedVAE) else "no labels"
            raise ValueError(
                f"--reward.model {config.model} tells {told}; fit one with --encoder semi_supervised "
                "--encoder.label reward"
            )
        self.model, self.device = model, setting.device

    def reward(self, transition: Transition) -> tuple[np.ndarray, Metrics]:
        """Expected signs `[B]`, with `labels/reward`, and `labels/agreement` with the environment's."""
        reward, rows = np.zeros(len(transition.reward)), valid_rows(transition)
        if not len(rows):
            return reward, {}
        with torch.no_grad():
            shares = self.model.class_shares(to_tensors(rows_of(transition.next_obs, rows), self.device))
        reward[rows] = expected_sign(shares).cpu().numpy()
        right = shares.argmax(-1).cpu().numpy() - 1 == np.sign(transition.reward[rows])
        return reward, {"labels/reward": float(reward[rows].mean()), "labels/agreement": float(right.mean())}

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """The classifier, with what scales its observations: a run goes on with the one that it began with."""
        return {"classifier": self.model.classifier, "scaler": self.model.scaler}


def expected_sign(shares: Tensor) -> Tensor:
    """`P(positive) - P(negative)`, `[N]`, of the shares `[N, 3]` of negative, zero and positive."""
    return shares[:, 2] - shares[:, 0]
