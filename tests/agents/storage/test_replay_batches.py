"""Windows against an agent's own memory of the same steps: whatever happened before, the features must agree."""

import numpy as np
import pytest
import torch

from palaestra.agents.storage.replay import Replay
from palaestra.agents.storage.replay_batches import sample_windows
from palaestra.networks.memories.lstm import LSTM, LSTMConfig

from .test_replay import World


def played(replay: Replay, steps: int, *, next_step_resets: bool, seed: int = 0):
    """Play with an LSTM on the marks; returns it and the features that it saw, by mark, and by mark of successor."""
    torch.manual_seed(seed)
    memory = LSTM(1, LSTMConfig(hidden=3))
    world = World(3, next_step_resets=next_step_resets, seed=seed)
    state = memory.initial_state(3)
    here, after = {}, {}

    def look(obs, state, first):
        x = torch.as_tensor(obs["mark"], dtype=torch.float32)[None].sin()
        return memory(x, state, torch.as_tensor(first)[None])

    with torch.no_grad():
        for _ in range(steps):
            transition = world.step()
            before = state
            y, state = look(transition.obs, before, transition.first)
            replay.add(transition._replace(state=before.numpy()))
            z, _ = look(transition.next_obs, state, np.zeros(3, bool))
            for i in range(3):
                here[int(transition.obs["mark"][i, 0]), bool(transition.first[i])] = y[0, i]
                after[replay_slot(replay, i)] = z[0, i]
    return memory, here, after


def replay_slot(replay: Replay, env: int) -> int:
    """Slot of the newest step of an environment."""
    return (replay.position - 1) % replay.rows * replay.num_envs + env


@pytest.mark.parametrize("next_step_resets", [False, True])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("capacity", [60, 10_000])
@pytest.mark.parametrize("burn_in", [0, 5])
def test_features_are_those_that_the_agent_saw(capacity, n_step, burn_in, next_step_resets):
    replay = Replay(capacity, n_step=n_step, gamma=0.9, state_size=6)
    memory, here, after = played(replay, 70, next_step_resets=next_step_resets)
    windows = sample_windows(replay, 200, 4, burn_in, np.random.default_rng(0))
    x = torch.as_tensor(windows.obs["mark"], dtype=torch.float32).sin()
    with torch.no_grad():
        y, _ = memory(x, torch.from_numpy(windows.state), torch.from_numpy(windows.first))

    flat = replay.transitions(windows.indices.ravel())
    np.testing.assert_array_equal(windows.reward.ravel(), flat.reward)
    np.testing.assert_array_equal(windows.discount.ravel(), flat.discount)
    np.testing.assert_array_equal(windows.action.ravel(), flat.action)
    marks = windows.obs["mark"][..., 0]
    _, _, last = replay.n_step_returns(windows.indices.ravel())
    learned = np.argwhere(windows.weights > 0)
    assert len(learned) > 400
    for step, column in learned:
        row, successor, k = (
            windows.learn_rows[step, column],
            windows.bootstrap_rows[step, column],
            step * 200 + column,
        )
        assert marks[row, column] == flat.obs["mark"][k, 0]
        assert marks[successor, column] == flat.next_obs["mark"][k, 0]
        expected = here[int(marks[row, column]), bool(windows.first[row, column])]
        torch.testing.assert_close(y[row, column], expected, rtol=0, atol=1e-6)
        if windows.discount[step, column] > 0:
            torch.testing.assert_close(y[successor, column], after[int(last[k])], rtol=0, atol=1e-6)


def test_only_valid_steps_count():
    replay = Replay(1000, state_size=6)
    played(replay, 40, next_step_resets=True)
    windows = sample_windows(replay, 100, 8, 2, np.random.default_rng(0))
    assert (windows.weights[~replay.valid[windows.indices]] == 0).all()
    # Windows begin anywhere, so those near the newest step are shorter; the first step always counts.
    assert (windows.weights[0] > 0).all() and (windows.weights[-1] == 0).any()
    assert ((windows.weights > 0) <= replay.valid[windows.indices]).all()


def test_weights_of_prioritised_windows_are_those_of_their_first_step():
    replay = Replay(1000, prioritized=1.0, state_size=6)
    played(replay, 40, next_step_resets=False)
    replay.update_priorities(np.arange(30), np.linspace(1, 9, 30))
    windows = sample_windows(replay, 50, 4, 0, np.random.default_rng(0), beta=1.0)
    priorities = replay.tree.priorities[windows.indices[0]]
    np.testing.assert_allclose(windows.weights[0], priorities.min() / priorities, rtol=1e-6)
