"""Random experience for an agent, and the proof that its parts are all of it."""

import copy
import itertools

import numpy as np
import torch
from torch import nn

from palaestra.agents.agent import Transition
from palaestra.networks.tree import tree_leaves


def random_transitions(agent, num_envs, obs_size=3, seed=0, episode=5):
    """An endless stream of random observations and rewards; every episode lasts `episode` steps."""
    generator = np.random.default_rng(seed)

    def draw():
        return generator.standard_normal((num_envs, obs_size)).astype(np.float32)

    obs, first, state = draw(), np.ones(num_envs, bool), agent.initial_state(num_envs)
    for t in itertools.count(1):
        action, next_state = agent.act(obs, state, first)
        next_obs = draw()
        ends = np.full(num_envs, t % episode == 0)
        truncated = ends & (np.arange(num_envs) % 2 == 0)
        yield Transition(
            obs=obs,
            action=action,
            reward=generator.standard_normal(num_envs),
            terminated=ends & ~truncated,
            truncated=truncated,
            next_obs=next_obs,
            first=first,
            state=state,
            next_state=next_state,
        )
        obs, first, state = np.where(ends[:, None], draw(), next_obs), ends, next_state


def goes_on_exactly(agent, fresh, stream, before, after):
    """Let `agent` learn from `before` steps and put its parts into `fresh`, which must then do as it does."""
    for transition in itertools.islice(stream, before):
        agent.learn(transition)
    saved = copy.deepcopy({name: _state(part) for name, part in agent.parts().items()})
    for name, part in fresh.parts().items():
        _load(part, saved[name])
    for transition in itertools.islice(stream, after):
        # What `agent` did is in the stream.
        action, _ = fresh.act(transition.obs, transition.state, transition.first)
        for leaf, expected in zip(tree_leaves(action), tree_leaves(transition.action), strict=True):
            np.testing.assert_array_equal(leaf, expected)
        agent.learn(transition)
        fresh.learn(transition)
        for name, part in agent.parts().items():
            if isinstance(part, nn.Module):
                _assert_same(part.state_dict(), fresh.parts()[name].state_dict())


def _assert_same(one, other):
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def _state(part):
    return part.bit_generator.state if isinstance(part, np.random.Generator) else part.state_dict()


def _load(part, state):
    if isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    else:
        part.load_state_dict(state)
