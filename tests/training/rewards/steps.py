"""Steps of a few environments for learned rewards, without an agent or an environment."""

import itertools

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from palaestra.agents.agent import Transition
from palaestra.networks.tree import tree_leaves, tree_map
from palaestra.training.demonstrations.storage import save_demonstrations
from palaestra.training.rewards.reward import Setting
from palaestra.world_models.datasets import EpisodeDataset, RecordedEpisode

VECTOR = spaces.Box(-1, 1, (3,), np.float32)
PICTURE = spaces.Box(0, 255, (8, 8, 3), np.uint8)
NESTED = spaces.Dict(
    view=PICTURE, place=spaces.Box(-1, 1, (2,), np.float64), parts=spaces.Tuple([spaces.Discrete(3, start=1)])
)
SPACES = {"vector": VECTOR, "picture": PICTURE, "nested": NESTED}
ACTIONS = {
    "discrete": spaces.Discrete(3, start=2),
    "box": spaces.Box(-2, 2, (2,), np.float32),
    "nested": spaces.Dict(a=spaces.Discrete(2), b=spaces.Tuple([spaces.Box(-1, 1, (1,), np.float32)])),
}


def setting(
    observations=VECTOR, actions=ACTIONS["discrete"], num_envs=3, seed=0, device="cpu", **more
) -> Setting:
    return Setting(observations, actions, num_envs, seed, 1000, torch.device(device), **more)


def demonstrations(folder, obs, action, terminated=True) -> str:
    """Leave one episode of so many steps, as `palaestra record` does."""
    reward = np.zeros(len(tree_leaves(action)[0]), np.float32)
    save_demonstrations(folder, EpisodeDataset([RecordedEpisode(obs, action, reward, terminated)]), {})
    return str(folder)


def random_demonstrations(folder, observations, actions) -> str:
    """Leave an episode of 30 random steps."""
    obs, action = (batch_space(space, 30) for space in (observations, actions))
    obs.seed(5), action.seed(5)
    rows = tree_map(lambda x: np.concatenate([np.asarray(x), np.asarray(x)[:1]]), obs.sample())
    return demonstrations(folder, rows, action.sample(), terminated=False)


def one_step(
    next_obs, *, obs=None, valid=None, first=None, done=None, action=None, reward=None
) -> Transition:
    """A step to `next_obs [B, ...]`; what is left out is zero."""
    size = len(next_obs)
    none = np.zeros(size, bool)
    return Transition(
        obs=np.zeros_like(next_obs) if obs is None else obs,
        action=np.zeros(size, np.int64) if action is None else action,
        reward=np.zeros(size) if reward is None else np.asarray(reward, float),
        terminated=none if done is None else np.asarray(done),
        truncated=none,
        next_obs=next_obs,
        first=none if first is None else np.asarray(first),
        state=np.zeros((size, 0), np.float32),
        valid=None if valid is None else np.asarray(valid),
    )


def random_steps(made: Setting, seed=0, episode=7):
    """An endless stream of random steps in episodes of a fixed length; now and then a row is no step."""
    observations = batch_space(made.observation_space, made.num_envs)
    actions = batch_space(made.action_space, made.num_envs)
    observations.seed(seed), actions.seed(seed)
    generator = np.random.default_rng(seed)

    def draw(space):
        return tree_map(np.asarray, space.sample())

    obs, first = draw(observations), np.ones(made.num_envs, bool)
    for t in itertools.count(1):
        next_obs, ends = draw(observations), np.full(made.num_envs, t % episode == 0)
        yield Transition(
            obs=obs,
            action=draw(actions),
            reward=generator.standard_normal(made.num_envs),
            terminated=ends,
            truncated=np.zeros_like(ends),
            next_obs=next_obs,
            first=first,
            state=np.zeros((made.num_envs, 0), np.float32),
            valid=generator.random(made.num_envs) > 0.2,
        )
        obs, first = (draw(observations), ends) if ends.any() else (next_obs, ends)
