"""What each process gets of copies, rollouts and minibatches, without any process."""

from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from palaestra.agents.agent import Transition
from palaestra.agents.storage.rollout import Rollout
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.networks.means import masked_mean
from palaestra.networks.tree import tree_map
from palaestra.training.imagination.model_encoder import ModelEncoderConfig
from palaestra.training.parallel import loop
from palaestra.training.parallel.copies import spec_of_rows
from palaestra.training.parallel.gradients import part_of
from palaestra.training.parallel.start import stepped_by_sync, why_not
from palaestra.training.parallel.state import joined_copies, joined_rollouts, split_copies, split_rollout
from palaestra.training.run import clocks
from palaestra.training.run.session import Checkpoints, Session
from palaestra.training.settings.ranks import Rank, this_rank
from palaestra.training.settings.train_options import read_train_options


class Batch(NamedTuple):
    x: Any
    valid: Tensor


def test_weighted_means_of_parts_are_the_mean_of_the_whole():
    """Steps 1 to 7, of which 3 and 4 do not count: (1 + 2 + 5 + 6 + 7) / 5 = 4.2."""
    valid = torch.tensor([[True, True, False, False, True, True, True]])
    whole = Batch({"a": torch.arange(1.0, 8.0)[None]}, valid)
    parts = [part_of(whole, rank, 3) for rank in range(3)]
    assert [part.valid.shape[1] for part, _ in parts] == [2, 2, 3]
    assert [float(weight) for _, weight in parts] == pytest.approx([2 / 5, 0, 3 / 5])
    mean = sum(weight * masked_mean(part.x["a"], part.valid) for part, weight in parts)
    assert float(mean) == pytest.approx(4.2)


def test_a_minibatch_of_fewer_windows_than_processes():
    whole = Batch({"a": torch.tensor([[3.0]])}, torch.tensor([[True]]))
    weights = [float(part_of(whole, rank, 4)[1]) for rank in range(4)]
    assert sorted(weights) == [0, 0, 0, 1]


def test_steps_without_windows_are_cut_along_their_only_axis():
    whole = Batch(torch.arange(4.0)[:, None], torch.ones(4, dtype=torch.bool))
    part, weight = part_of(whole, 1, 2)
    assert part.x.flatten().tolist() == [2, 3] and float(weight) == 0.5


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


def test_shares_of_copies_are_those_of_one_process():
    """Wrappers, running episodes of different lengths, and their actions."""
    spec = EnvSpec("CartPole-v1", num_envs=4, seed=3, backend="sync", frame_stack=2, show_previous=True)
    rows = [slice(0, 2), slice(2, 4)]
    with closing(make_envs(spec)) as whole:
        shares = [make_envs(spec_of_rows(spec, each)) for each in rows]
        obs = whole.reset()
        firsts = [share.reset() for share in shares]
        assert same(obs, {key: np.concatenate([each[key] for each in firsts]) for key in obs})
        generator = np.random.default_rng(0)
        for _ in range(40):
            action = generator.integers(0, 2, 4)
            whole.step(action)
            for share, each in zip(shares, rows, strict=True):
                share.step(action[each])
        state = whole.state_dict()
        assert len(set(state["envs"]["envs"]["lengths"].tolist())) > 1
        assert same(state, joined_copies([share.state_dict() for share in shares]))
        for share, each in zip(shares, rows, strict=True):
            assert same(share.state_dict(), split_copies(state, each))
            share.close()


def test_a_rollout_is_joined_and_split():
    generator = np.random.default_rng(0)

    def transition(rows):
        obs = {"a": generator.standard_normal((4, 3)).astype(np.float32)}
        flags = generator.random((3, 4)) < 0.3
        whole = Transition(
            obs, generator.integers(0, 2, 4), generator.standard_normal(4), flags[0], flags[1], obs, flags[2],
            generator.standard_normal((4, 2)).astype(np.float32),
        )  # fmt: skip
        return [whole, *(cut(whole, each) for each in rows)]

    def cut(whole, rows):
        values = (None if value is None else tree_map(lambda x: x[rows], value) for value in whole)
        return Transition(*values)

    rows = [slice(0, 2), slice(2, 4)]
    rollouts = [Rollout(6, state_every=2) for _ in range(3)]
    for _ in range(5):
        for rollout, each in zip(rollouts, transition(rows), strict=True):
            rollout.add(each)
    whole, *parts = (rollout.state_dict() for rollout in rollouts)
    assert len(whole["ends"]) > 2
    assert same(whole, joined_rollouts(parts, 2))
    for part, each in zip(parts, rows, strict=True):
        assert same(part, split_rollout(whole, each))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ppo --env CartPole-v1 --backend vector", "--backend vector: in 3 processes each steps its own copies"),
        ("ppo --env CartPole-v1 --num-envs 8", "--num-envs 8: 3 processes step as many copies each; use 6 or 9"),
        ("ppo --env CartPole-v1 --num-envs 2", "--num-envs 2: 3 processes step as many copies each; use 3"),
        ("ppo --env CartPole-v1 --bonus rnd", "learned rewards are those of one process"),
        ("ppo --env CartPole-v1 --env.one-per-process", "--env.one-per-process: in 3 processes each"),
        ("sb3/ppo --env CartPole-v1", "sb3/ppo has a training loop of its own"),
        ("ppo --env CartPole-v1 --num-envs 9", None),
        ("dqn --env CartPole-v1 --num-envs 9", None),
    ],
)  # fmt: skip
def test_what_is_refused(words, said):
    agent, *options = words.split()
    why = why_not(stepped_by_sync(read_train_options(agent, options)[0]), 3)
    assert why is None if said is None else why.startswith(said) or said in why


@pytest.mark.parametrize(
    ("words", "ranks", "said"),
    [
        ("--num-envs 4", 3, "use 2 or 4 processes"),
        ("--num-envs 5", 3, "use 5 processes"),
        ("--num-envs 1", 3, "use one, without torchrun"),
        ("--num-envs 6 --backend vector", 3, "go on without torchrun"),
    ],
)
def test_a_run_that_has_begun_is_told_what_it_can_have(words, ranks, said):
    config = read_train_options("ppo", ["--env", "CartPole-v1", *words.split()])[0]
    assert said in why_not(stepped_by_sync(config), ranks, begun=True)


def test_an_evaluation_that_a_signal_ends_ends_the_run_in_all_processes(tmp_path):
    """At its step: otherwise it would be made up for later, with other networks."""
    caught, agreed = [15], []
    team = SimpleNamespace(rank=1)
    collector = SimpleNamespace(team=team, meet=lambda: agreed.extend(caught) or [])
    given = {"collector": collector, "meter": clocks.Meter(), "caught": caught}
    session = loop.TeamSession(None, tmp_path, None, clocks.Clock(), agreed, **given)
    session.evaluate(None)
    assert session.signals == [15]


@pytest.mark.parametrize("mode", ["joint", "finetune"])
def test_a_loss_of_a_whole_minibatch_is_refused(mode):
    """Its gradient comes whole from each process: added up, it would count as often as there are processes."""
    config = read_train_options("ppo", ["--env", "CartPole-v1", "--num-envs", "9"])[0]
    why = why_not(stepped_by_sync(replace(config, encoder_config=ModelEncoderConfig(mode=mode))), 3)
    assert (why is not None and "--encoder.mode joint" in why) == (mode == "joint")


def test_a_process_is_alone_unless_torchrun_says_otherwise(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # as some clusters do
    assert this_rank() == Rank()
    for name, value in {"RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert this_rank() == Rank(3, 4, 1, 2)


def test_what_rank_0_does_alone_is_charged_once(monkeypatch, tmp_path):
    now = [10.0]
    works = lambda session, *actor: now.__setitem__(0, now[0] + 3.0)  # noqa: E731
    monkeypatch.setattr(clocks, "cpu_seconds", lambda: now[0])
    monkeypatch.setattr(loop, "cpu_seconds", lambda: now[0])
    monkeypatch.setattr(Session, "evaluate", works)
    monkeypatch.setattr(Checkpoints, "save", works)
    clock = loop.TeamClock(2)
    clock._cpu_started = 10.0
    now[0] = 11.0  # both have learned for a second
    team = SimpleNamespace(rank=0, gather=lambda value: [value, value])
    collector = SimpleNamespace(team=team, meet=list, joined=dict)
    meter = clocks.Meter()
    given = {"collector": collector, "meter": meter, "caught": []}
    session = loop.TeamSession(None, tmp_path, None, clock, [], **given)
    session.evaluate(None)
    assert clock.total_cpu == 2 * 1.0 + 3.0
    loop.TeamCheckpoints(session, {"meter": meter}, None, collector).save()
    assert clock.total_cpu == 2 * 1.0 + 2 * 3.0
