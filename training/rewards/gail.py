"""Generative adversarial imitation (Ho & Ermon 2016, arXiv:1606.03476): the reward is to be taken for the expert."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt
from gymnasium import spaces
from torch import Tensor, nn

from ...agents.agent import Metrics, Transition, mean_metrics, named_generator
from ...agents.storage.sequences import to_tensors
from ...networks.optimizer import FlatAdam
from ...networks.stateful import Stateful
from ...networks.tree import tree_leaves
from ...networks.vectors import leaf_observations, leaf_spaces
from ...world_models.actions import ActionEncoder
from ..demonstrations.steps import FlatEpisodes
from ..demonstrations.storage import load_demonstrations
from .features import CLIP, Features, Inputs
from .recent import Recent, batches
from .reward import Setting, Substitute, rows_of, seeded, valid_rows

# Steps that follow a termination where nothing is discounted.
MOST_STEPS = 1000
# Bytes of observations that are looked at together.
UNPACKED = 2**25
# Share of the latest steps in the agent's rate of terminations.
NEW = 0.1


@dataclass(frozen=True)
class GAILConfig:
    """Generative adversarial imitation."""

    form: Literal["gail", "airl"] = "gail"
    """gail is -log(1 - D), always positive; airl is log D - log(1 - D) (Fu et al. 2018), of either sign. D is the
    probability that a step is the expert's."""
    absorbing: bool = True
    """An end that is a termination leads to a state that is never left, which is judged and paid like any other
    (Kostrikov et al. 2019): neither sign of rewards makes episodes long or short by itself."""
    train_every: Annotated[int, Gt(0)] = 1024
    """Environment steps between updates of the discriminator, which learns from them."""
    epochs: Annotated[int, Gt(0)] = 2
    """Passes over these steps."""
    batch_size: Annotated[int, Gt(0)] = 128
    """Steps of the agent in a minibatch, and as many of the expert."""
    learning_rate: Annotated[float, Gt(0)] = 3e-4
    """Adam's step size."""
    gradient_penalty: Annotated[float, Ge(0)] = 10.0
    """Weight of the squared distance from 1 of the discriminator's gradient between the two (Gulrajani et al. 2017)."""
    hidden: tuple[Annotated[int, Gt(0)], ...] = (64, 64)
    """Width of each hidden layer of the discriminator."""


class Discriminator(nn.Module):
    """Logits `[N]` that steps are the expert's: above 0 they look more like the expert's than the agent's."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, hidden: tuple[int, ...]):
        super().__init__()
        self.inputs = Inputs(observation_space)
        self.action_space = action_space
        # As the environment takes them: an agent's draws beyond the bounds would give it away.
        self.actions = nn.ModuleList(ActionEncoder(leaf) for leaf in leaf_spaces(action_space))
        width = sum(encoder.size for encoder in self.actions)  # type: ignore[misc]
        self.layers = Features(self.inputs, hidden, 1, extra=width)

    def encode(self, obs: Any, action: Any) -> list[Tensor]:
        """Steps as what the layers take: normalised pictures and vector, and actions as a vector, last."""
        leaves = leaf_observations(self.action_space, action)
        vectors = [encode(leaf) for encode, leaf in zip(self.actions, leaves, strict=True)]
        return [*self.inputs(obs), torch.cat(vectors, -1)]

    def forward(self, step: list[Tensor]) -> Tensor:
        """Logits `[N]`."""
        return self.layers(step[:-1], step[-1]).squeeze(-1)


class Ends:
    """Whether the agent's episodes terminate as often as the expert's, as a discriminator would say it.

    What is behind a termination is one state that is never left (Kostrikov et al. 2019, arXiv:1809.02925), where
    discounting leaves `gamma / (1 - gamma)` steps. With rates of terminations `e` and `a`, these are shares `w_e` and
    `w_a` of all steps, so that the logit of being there is `log w_e - log w_a`, and of being anywhere else
    `log(1 - w_e) - log(1 - w_a)`, to which is added what the step looks like. Nothing need be learned.
    """

    def __init__(self, expert: float, gamma: float):
        self.steps = gamma / max(1 - gamma, 1 / MOST_STEPS)
        """Steps behind a termination; 0 where ends do not count."""
        self.expert = expert
        self.agent: float | None = None
        """Rates of terminations, per step; the agent's is not known at first."""

    def see(self, rate: float) -> None:
        """Take the rate among the agent's latest steps into account."""
        self.agent = rate if self.agent is None else (1 - NEW) * self.agent + NEW * rate

    def _shares(self) -> tuple[float, float]:
        behind = [
            self.steps * rate for rate in (self.expert, self.expert if self.agent is None else self.agent)
        ]
        expert, agent = (each / (1 + each) for each in behind)
        return expert, agent

    @property
    def before(self) -> float:
        """Logit of any step, apart from what it looks like."""
        expert, agent = self._shares()
        return math.log(1 - expert) - math.log(1 - agent)

    @property
    def behind(self) -> float:
        """Logit of the state behind a termination, within bounds."""
        expert, agent = self._shares()
        if expert == agent:
            return 0.0
        return min(max(math.log(max(expert, 1e-30)) - math.log(max(agent, 1e-30)), -CLIP), CLIP)

    def state_dict(self) -> dict[str, Any]:
        """The agent's rate."""
        return {"agent": self.agent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.agent = state["agent"]


class GAIL(Substitute):
    """A discriminator tells the agent's steps from the expert's, and pays the agent for those that it takes for his.

    It learns from the agent's latest steps and from demonstrations, as many of each.
    """

    Config = GAILConfig
    watches = True

    def __init__(self, config: GAILConfig, setting: Setting):
        self.config, self.device = config, setting.device
        spaces_of_steps = setting.observation_space, setting.action_space
        self.expert = FlatEpisodes(
            load_demonstrations(setting.data, *spaces_of_steps, limit=setting.episodes)
        )
        with seeded(setting.seed, "gail"):
            discriminator = Discriminator(*spaces_of_steps, config.hidden)
        self.discriminator = discriminator.to(self.device)
        self._normalize()
        self.optimizer = FlatAdam(self.discriminator)
        steps = spaces.Tuple((*spaces_of_steps, spaces.Discrete(2)))
        self.recent = Recent("reward.train-every", steps, config.train_every, setting.num_envs)
        self.ends = Ends(float(self.expert.terminated.mean()), setting.gamma if config.absorbing else 0.0)
        self.generator = named_generator(setting.seed, "gail batches")

    def _normalize(self) -> None:
        """Take the statistics of what the expert saw: a unit is what makes a difference to him."""
        # Statistics are of float64, and of pictures not all are to be that at once.
        one = 8 * sum(leaf[0].size for leaf in tree_leaves(self.expert.obs))
        parts = -(-len(self.expert) * one // UNPACKED)
        for rows in np.array_split(self.expert.obs_row, parts):
            self.discriminator.inputs.update(to_tensors(rows_of(self.expert.obs, rows), self.device))

    def reward(self, transition: Transition) -> tuple[np.ndarray, Metrics]:
        """Rewards `[B]` of the steps, by the discriminator as it is now; of a last one with those of what follows."""
        reward, rows = np.zeros(len(transition.reward)), valid_rows(transition)
        if not len(rows):
            return reward, {}
        step, form = rows_of((transition.obs, transition.action), rows), self.config.form
        with torch.no_grad():
            logit = self.discriminator(self.discriminator.encode(*to_tensors(step, self.device)))
            paid = imitation_reward(logit + self.ends.before, form).cpu().numpy()
        metrics: Metrics = {"imitation/reward": float(paid.mean())}
        terminated = transition.terminated[rows]
        if self.ends.steps and terminated.any():
            paid[terminated] += (
                self.ends.steps * imitation_reward(torch.tensor(self.ends.behind), form).item()
            )
        reward[rows] = paid
        enough = self.recent.add((*step, terminated), len(rows))
        return reward, metrics | (self.update() if enough else {})

    def update(self) -> Metrics:
        """Let the discriminator learn from the steps since the last update."""
        config, ((*step, terminated), count) = self.config, self.recent.take()
        self.ends.see(float(terminated.mean()))
        agent = to_tensors(tuple(step), self.device)
        metrics = []
        for index in batches(count, config.batch_size, config.epochs, self.generator):
            size = len(index)
            chosen = self.generator.integers(0, len(self.expert), size)
            obs = rows_of(self.expert.obs, self.expert.obs_row[chosen])
            expert = to_tensors((obs, rows_of(self.expert.action, chosen)), self.device)
            mine = rows_of(agent, torch.from_numpy(index).to(self.device))
            mix = torch.from_numpy(self.generator.random(size, np.float32)).to(self.device)
            with torch.no_grad():
                encoded = [self.discriminator.encode(*each) for each in (expert, mine)]
            metrics.append(self.optimizer.step(self.loss, (*encoded, mix), config.learning_rate))
        return {f"discriminator/{name}": value for name, value in mean_metrics(metrics).items()}

    def loss(
        self, expert: list[Tensor], agent: list[Tensor], mix: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of telling `expert` from `agent`, and the weighted gradient penalty between them.

        With logit `d`, `D = sigmoid(d)`: `-mean(log D(expert)) - mean(log(1 - D(agent))) + weight * penalty`.
        """
        of_expert, of_agent = self.discriminator(expert), self.discriminator(agent)
        told_apart = nn.functional.softplus(-of_expert).mean() + nn.functional.softplus(of_agent).mean()
        penalty = gradient_penalty(self.discriminator, expert, agent, mix)
        loss = told_apart + self.config.gradient_penalty * penalty
        return loss, {
            "loss": told_apart,
            "penalty": penalty,
            "expert": of_expert.detach().sigmoid().mean(),
            "agent": of_agent.detach().sigmoid().mean(),
        }

    def summary(self) -> str:
        """How many demonstrations there are."""
        return self.expert.summary("imitate")

    def kept(self) -> dict[str, int]:
        """Demonstrations, and steps that are not learned from yet."""
        return {"demonstrations": self.expert.num_bytes, "reward.train-every": self.recent.num_bytes}

    def parts(self) -> dict[str, Stateful | np.random.Generator]:
        """Discriminator with its statistics, optimiser, steps not learned from yet, generator; which demonstrations."""
        return {
            "expert": self.expert,
            "discriminator": self.discriminator,
            "optimizer": self.optimizer,
            "recent": self.recent,
            "ends": self.ends,
            "generator": self.generator,
        }


def imitation_reward(logit: Tensor, form: Literal["gail", "airl"]) -> Tensor:
    """Rewards `[N]` from logits of `D`: `-log(1 - D)`, which is `softplus(logit)`, or `log D - log(1 - D) = logit`."""
    return logit if form == "airl" else nn.functional.softplus(logit)


def gradient_penalty(network: nn.Module, one: list[Tensor], other: list[Tensor], mix: Tensor) -> Tensor:
    """Mean of `(|gradient| - 1)^2` of a network at points `mix * one + (1 - mix) * other`, each a list of `[N, ...]`.

    The gradient is that of a point's output by all of its inputs together (Gulrajani et al. 2017, arXiv:1704.00028).
    """
    points = []
    for x, y in zip(one, other, strict=True):
        weight = mix.reshape(-1, *[1] * (x.dim() - 1))
        points.append((weight * x + (1 - weight) * y).detach().requires_grad_())
    gradients = torch.autograd.grad(network(points).sum(), points, create_graph=True)
    squares = torch.stack([gradient.flatten(1).square().sum(-1) for gradient in gradients]).sum(0)
    # The root has no slope at 0.
    return ((squares + 1e-12).sqrt() - 1).square().mean()
