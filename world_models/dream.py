"""Dream: a fitted world model as a vector environment, in which any agent can act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from .datasets import EpisodeDataset
from .dream_config import DreamConfig
from .encoded_dataset import EncodedDataset, burn_in
from .world_model import Prediction, Sampling, WorldModel

MAX_STARTS = 10_000


class Dreamable(Protocol):
    """The part of a model that a dream needs; a true simulator can have it, to test everything else."""

    observation_space: spaces.Space
    action_space: spaces.Space

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def choices(self) -> int:
        """Members of an ensemble that a dream may follow; 1 where there is none."""
        ...

    def decode(self, latent: Tensor, /) -> Tensor:
        """Observations `[N, ...]`."""
        ...

    def step(self, latent: Tensor, action: Tensor, state: Tensor, sampling: Sampling, /) -> Prediction:
        """Predict one step."""
        ...


class Starts(NamedTuple):
    """Latents and memories from which dreams may begin."""

    latent: Tensor
    """`[P, Z]`."""
    state: Tensor
    """Memory before it, `[P, S]`."""


def check_disagreement(config: DreamConfig, model: Dreamable) -> None:
    """Raise `ValueError` where a dream is to heed the disagreement of a model that has one opinion."""
    if model.choices == 1 and (config.disagreement_penalty or config.disagreement_limit):
        raise ValueError(
            "disagreement_penalty, disagreement_limit: need an ensemble of dynamics; leave them at 0"
        )


class Dream(VectorEnv):
    """`num_envs` dreams side by side, each reset in the step that ends it (same-step auto-reset).

    The true successor of an end is in `info["final_obs"]`. The horizon truncates; only the model's own prediction
    terminates. Everything random follows from the seed of the last `reset`. With `tensors` observations, rewards
    and ends stay on the model's device.
    """

    def __init__(
        self,
        model: Dreamable,
        starts: Starts,
        num_envs: int,
        config: DreamConfig | None = None,
        *,
        observation: str = "decoded",
        tensors: bool = False,
    ):
        self.model = model
        self.starts = starts
        self.num_envs = num_envs
        self.config = config or DreamConfig()
        self.tensors = tensors
        check_disagreement(self.config, model)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
        self.single_action_space = model.action_space
        self.single_observation_space, self._observe = self._observations(observation)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.generator = torch.Generator(model.device)
        self.latent: Tensor | None = None

    def _observations(self, kind: str) -> tuple[spaces.Space, Callable[[Tensor], Any]]:
        """Observation space, and the function from latents to observations."""
        if kind == "decoded":
            space = self.model.observation_space
            assert isinstance(space, spaces.Box)
            whole = np.issubdtype(space.dtype, np.integer) or space.dtype == bool
            dtype = torch.from_numpy(np.zeros(0, space.dtype)).dtype

            def decode(latent: Tensor) -> Any:
                obs = self.model.decode(latent)
                # A copy: the next reset writes into the latents in place.
                obs = (obs.round() if whole else obs).to(dtype, copy=True)
                return obs if self.tensors else obs.cpu().numpy()

            return space, decode
        if kind == "latent":
            size = self.starts.latent.shape[-1]
            space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
            return space, lambda latent: latent.clone() if self.tensors else latent.clone().cpu().numpy()
        raise ValueError(f"unknown observation {kind!r}; there are decoded, latent")

    @torch.no_grad()
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin new dreams everywhere; with a seed, the same ones each time."""
        if seed is not None:
            self.generator.manual_seed(seed)
        elif self.latent is None:
            self.generator.seed()
        device, count = self.model.device, self.num_envs
        self.latent = self.starts.latent.new_zeros(count, self.starts.latent.shape[-1])
        self.state = self.starts.state.new_zeros(count, self.starts.state.shape[-1])
        self.age = torch.zeros(count, dtype=torch.long, device=device)
        self.member = torch.zeros(count, dtype=torch.long, device=device)
        self._begin(torch.ones(count, dtype=torch.bool, device=device))
        return self._observe(self.latent), {}

    def _begin(self, mask: Tensor) -> None:
        """Begin new dreams where `mask [B]`."""
        assert self.latent is not None
        where = mask.nonzero().squeeze(1)
        count, device = len(where), self.model.device
        rows = torch.randint(len(self.starts.latent), (count,), generator=self.generator, device=device)
        self.latent.index_copy_(0, where, self.starts.latent.index_select(0, rows))
        self.state.index_copy_(0, where, self.starts.state.index_select(0, rows))
        self.age.index_fill_(0, where, 0)
        if self.config.member == "episode":
            drawn = torch.randint(self.model.choices, (count,), generator=self.generator, device=device)
            self.member.index_copy_(0, where, drawn)

    @torch.no_grad()
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Dream one step."""
        if self.latent is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        config, device = self.config, self.model.device
        action = torch.as_tensor(np.asarray(actions) if isinstance(actions, list | tuple) else actions)
        sampling = Sampling(
            self.generator,
            config.temperature,
            self.member if config.member == "episode" else None,
            disagreement=config.disagreement_penalty > 0 or config.disagreement_limit > 0,
        )
        prediction = self.model.step(self.latent, action.to(device), self.state, sampling)
        reward = prediction.reward - config.disagreement_penalty * prediction.disagreement
        probability = prediction.end_logit.sigmoid()
        if config.termination == "sample":
            drawn = torch.rand(self.num_envs, generator=self.generator, device=device)
            terminated = drawn < probability
        else:
            terminated = probability > 0.5
        self.age += 1
        truncated = self.age >= config.horizon
        if config.disagreement_limit:
            truncated |= prediction.disagreement > config.disagreement_limit
        self.latent, self.state = prediction.latent.clone(), prediction.state.clone()

        info: dict[str, Any] = {}
        obs = self._observe(self.latent)
        done = terminated | truncated
        if done.any():
            info = {"final_obs": obs, "_final_obs": done if self.tensors else done.cpu().numpy()}
            self._begin(done)
            obs = self._observe(self.latent)
        if self.tensors:
            return obs, reward, terminated, truncated, info
        arrays = (x.cpu().numpy() for x in (reward.double(), terminated, truncated))
        return obs, *arrays, info  # type: ignore[return-value]

    def state_dict(self) -> dict[str, Any]:
        """Latents, memories and ages of the dreams, and the generator."""
        names = ("latent", "state", "age", "member")
        return {"generator": self.generator.get_state()} | {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.generator.set_state(state["generator"])
        for name in ("latent", "state", "age", "member"):
            setattr(self, name, state[name].to(self.model.device))


class SingleDream(gymnasium.Env):
    """One dream as a plain Gymnasium environment."""

    def __init__(self, dream: Dream):
        if dream.num_envs != 1:
            raise ValueError(f"a single environment needs one dream, got {dream.num_envs}")
        self.dream = dream
        self.observation_space = dream.single_observation_space
        self.action_space = dream.single_action_space
        self.metadata = {"render_modes": []}
        self.render_mode = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin a new dream."""
        super().reset(seed=seed)
        # Later resets without a seed follow from the last one with a seed, as everywhere in Gymnasium.
        obs, info = self.dream.reset(seed=int(self.np_random.integers(2**31)))
        return obs[0], info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Dream one step."""
        obs, reward, terminated, truncated, info = self.dream.step(np.asarray(action)[None])
        if "final_obs" in info:
            obs = info["final_obs"]
        return obs[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}


@torch.no_grad()
def find_starts(model: WorldModel, episodes: EpisodeDataset, config: DreamConfig, seed: int = 0) -> Starts:
    """Encode where dreams may begin, with the memory burnt in by the real steps before.

    At most 10,000 of them, drawn by `seed`. Starts drawn from a prior would be worlds that do not exist.
    """
    data = EncodedDataset(model, episodes)
    steps = np.arange(data.num_steps) if config.start == "any" else data.openings
    if len(steps) > MAX_STARTS:
        steps = np.sort(np.random.default_rng(seed).choice(steps, MAX_STARTS, replace=False))
    state = burn_in(model, data, steps, config.burn_in)
    return Starts(data.latent[data.obs_row[torch.as_tensor(steps, device=model.device)]], state)
