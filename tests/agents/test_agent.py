import numpy as np
import pytest
import torch

from palaestra.agents.agent import Agent, Counter, Transition, named_generator
from palaestra.networks.means import masked_mean


def transition(terminated, truncated, valid=None):
    n = len(terminated)
    return Transition(
        obs=np.zeros((n, 2)),
        action=np.zeros(n, int),
        reward=np.zeros(n),
        terminated=np.array(terminated),
        truncated=np.array(truncated),
        next_obs=np.zeros((n, 2)),
        first=np.zeros(n, bool),
        state=np.zeros((n, 0)),
        valid=None if valid is None else np.array(valid),
    )


def test_done_is_either_end():
    ends = transition([True, False, True, False], [False, True, True, False])
    assert ends.done.tolist() == [True, True, True, False]


def test_steps_count_valid_rows():
    assert transition([False] * 3, [False] * 3).num_steps == 3
    steps = transition([False] * 3, [False] * 3, [True, False, True]).num_steps
    assert steps == 2 and isinstance(steps, int)


def test_counter_drives_progress_and_goes_on():
    counter = Counter(total=100)
    counter.add(30)
    counter.add(20)
    assert counter.progress == 0.5
    longer = Counter(total=200)
    longer.load_state_dict(counter.state_dict())
    assert longer.count == 50 and longer.progress == 0.25
    longer.add(500)
    assert longer.progress == 1


def test_named_generators_are_reproducible_and_independent():
    draws = {
        (seed, name): tuple(named_generator(seed, name).integers(0, 2**31, 4))
        for seed in (0, 1)
        for name in ("ppo/act", "ppo/shuffle")
    }
    assert len(set(draws.values())) == 4
    assert draws[0, "ppo/act"] == tuple(named_generator(0, "ppo/act").integers(0, 2**31, 4))


def test_named_generators_are_the_same_on_every_machine():
    """Names are hashed by CRC-32, not by Python's hash, which differs from process to process."""
    assert named_generator(7, "ppo/act").integers(0, 1000, 5).tolist() == [733, 420, 608, 860, 628]


def test_masked_mean_by_hand():
    x = torch.tensor([[1.0, 2.0], [3.0, 100.0]])
    assert masked_mean(x, None).item() == 26.5
    assert masked_mean(x, torch.tensor([[True, True], [True, False]])).item() == 2
    assert masked_mean(x, torch.zeros(2, 2, dtype=torch.bool)).item() == 0


def test_an_agent_must_say_how_it_acts_and_learns():
    with pytest.raises(TypeError, match=r"abstract methods .*__init__.*act.*initial_state.*learn.*parts"):
        Agent()


def test_a_counter_says_how_many_multiples_were_passed():
    counter = Counter(100)
    passed = []
    for steps in (3, 1, 8, 0, 2):
        counter.add(steps)
        passed.append(counter.passed(4))
    assert passed == [0, 1, 2, 0, 0]
    again = Counter(100)
    again.load_state_dict(counter.state_dict())
    assert again.passed(4) == 0
    again.add(2)
    assert again.passed(4) == 1
