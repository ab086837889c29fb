"""What the losses are, by hand, and what their gradients reach."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from palaestra.agents.agent import Transition
from palaestra.agents.auxiliary.auxiliary import RecentSteps, learns_beside
from palaestra.agents.auxiliary.curl import CURL, CURLConfig, info_nce
from palaestra.agents.auxiliary.predict import Predict, PredictConfig, cosine, nearest, standardized
from palaestra.agents.auxiliary.reconstruct import Reconstruct, ReconstructConfig
from palaestra.networks.encoders.cnn import CNN
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.memories.none import NoMemory
from palaestra.networks.optimizer import FlatAdam, make_target
from palaestra.networks.torso import build_torso

BOX = spaces.Box(-1, 1, (3,), np.float32)
ACTIONS = spaces.Discrete(2, start=5)
LOSSES = {
    "curl": (CURL, CURLConfig),
    "predict": (Predict, PredictConfig),
    "reconstruct": (Reconstruct, ReconstructConfig),
}


def test_info_nce_by_hand():
    query = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    key = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    similarity = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    # q W k: of the first query 1 and 0, of the second 1 and 1.
    loss, accuracy = info_nce(query, key, similarity)
    expected = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert accuracy.item() == 0.5  # a tie goes to the first key
    assert info_nce(torch.zeros(8, 2), key.repeat(4, 1), similarity)[0].item() == pytest.approx(math.log(8))


def test_similarity_of_predictions_by_hand():
    prediction = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    target = torch.tensor([[4.0, 3.0], [0.0, -1.0]])
    torch.testing.assert_close(cosine(prediction, target), torch.tensor([0.96, -1.0]), atol=1e-5, rtol=0)
    assert nearest(prediction, prediction).item() == 1
    assert nearest(prediction, target).item() == 0.5
    zero = torch.zeros(1, 2, requires_grad=True)
    cosine(zero, torch.ones(1, 2)).sum().backward()
    assert zero.grad.abs().max() < 1e4


def test_standardized_by_hand():
    x = torch.tensor([[1.0, 100.0], [3.0, 100.0], [5.0, 100.0]])
    expected = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]) * math.sqrt(3 / 2)
    torch.testing.assert_close(standardized(x), expected, atol=1e-5, rtol=0)


def test_to_foresee_what_all_steps_have_in_common_is_worth_nothing():
    """Features of pictures are rectified, so they are far from 0 and near each other: cosines of them are all 1."""
    _, auxiliary = make("predict", batch_size=64)
    with torch.no_grad():
        for module in (auxiliary.projection, auxiliary.momentum_projection):
            module.bias.fill_(100.0)
        # What is predicted is the mean of all targets.
        auxiliary.predictor.weight.zero_()
        auxiliary.predictor.bias.fill_(1.0)
    _, metrics = auxiliary.own_loss(auxiliary.draw())
    assert metrics["auxiliary/loss"].item() == pytest.approx(2.0, abs=0.3)


def steps_of_two_episodes(capacity=100):
    """Two environments that count, `obs = (environment, t, 0)`; the first ends after 3 steps, the second goes on."""
    steps = RecentSteps(ACTIONS, capacity, seed=0)
    for t in range(4):
        obs = np.array([[0, t % 3, 0], [1, t, 0]], np.float32)
        terminated = np.array([t == 2, False])
        steps.add(
            Transition(
                obs=obs,
                action=np.array([5, 6]),
                reward=np.zeros(2),
                terminated=terminated,
                truncated=np.zeros(2, bool),
                next_obs=np.array([[0, t % 3 + 1, 0], [1, t + 1, 0]], np.float32),
                first=np.array([t in (0, 3), t == 0]),
                state=np.zeros((2, 0), np.float32),
            )
        )
    return steps


def test_steps_that_are_drawn_follow_each_other_within_an_episode():
    steps = steps_of_two_episodes()
    drawn = steps.draw(200, 3)
    assert drawn.action.shape == (3, 200, 2) and drawn.valid[0].all()
    for row in range(200):
        environment, t, _ = drawn.obs[row]
        left = (3 - t if t < 3 else 1) if environment == 0 else 4 - t
        # The first episode of environment 0 ends at its third step, and the newest step is the last one known.
        begun = environment == 0 and t == 0 and not drawn.valid[1, row]
        assert drawn.valid[:, row].sum() == (1 if begun else min(left, 3))
        for k in range(int(drawn.valid[:, row].sum())):
            assert drawn.next_obs[k, row].tolist() == [environment, t + k + 1, 0]
            assert drawn.action[k, row].tolist() == ([1, 0] if environment == 0 else [0, 1])


def make(name, seed=0, hidden=(8,), **options):
    loss_class, config = LOSSES[name]
    torch.manual_seed(seed)
    encoder = MLP(BOX, MLPConfig(hidden=hidden, normalize=True))
    steps = steps_of_two_episodes()
    return encoder, loss_class(encoder, BOX, steps, config(**{"batch_size": 6, **options}))


class Holder(torch.nn.Module):
    """As a torso holds them."""

    def __init__(self, encoder, auxiliary):
        super().__init__()
        self.encoder, self.auxiliary = encoder, auxiliary


@pytest.mark.parametrize("name", LOSSES)
def test_the_encoder_learns_and_targets_follow_without_gradients(name):
    encoder, auxiliary = make(name, weight=2.0)
    loss, metrics = auxiliary.own_loss(auxiliary.draw())
    assert loss.item() == metrics["auxiliary/loss"].item() and auxiliary.beside_pace == 2.0
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())
    for slow, fast in auxiliary.followed():
        assert all(parameter.grad is None for parameter in slow.parameters())
        with torch.no_grad():
            for parameter in fast.parameters():
                parameter.add_(1.0)
        auxiliary.after_step()
        for ours, theirs in zip(slow.parameters(), fast.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs - 0.95)


@pytest.mark.parametrize("name", LOSSES)
def test_every_step_is_followed_by_one_on_the_loss_with_moments_and_clipping_of_its_own(name):
    encoder, auxiliary = make(name, weight=0.5)
    holder = Holder(encoder, auxiliary)
    twin = copy.deepcopy(holder)  # draws from the same steps
    optimizer = FlatAdam(holder, max_grad_norm=0.1)
    assert optimizer.beside == [auxiliary]
    # Adam as torch has it, two of them.
    own, beside = (torch.optim.Adam(twin.parameters(), lr=rate) for rate in (0.01, 0.005))
    obs, generator = torch.ones(2, 3), auxiliary.steps.generator.bit_generator
    # So small that it would be nothing beside the other loss: its step is as long as if it were alone.
    small = 1e-3
    for _ in range(4):
        state = generator.state
        metrics = optimizer.step(
            lambda x: (small * holder.encoder(x).square().sum(), {"loss/own": x.sum()}), (obs,), 0.01
        )
        generator.state = state
        for each, loss in (
            (own, lambda: small * twin.encoder(obs).square().sum()),
            (beside, lambda: twin.auxiliary.own_loss(twin.auxiliary.draw())[0]),
        ):
            each.zero_grad()
            loss().backward()
            norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.1)
            each.step()
        twin.auxiliary.after_step()
        assert metrics["auxiliary/gradient_norm"].item() == pytest.approx(norm.item(), rel=1e-3)
    for ours, theirs in zip(holder.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    expected = {"loss/own", "gradient_norm"}
    expected |= {"auxiliary/loss", "auxiliary/accuracy", "auxiliary/gradient_norm"}
    assert set(metrics) == expected


def test_both_moments_are_kept():
    optimizers = []
    for _ in range(2):
        encoder, auxiliary = make("curl")
        optimizers.append(FlatAdam(Holder(encoder, auxiliary)))
    one, other = optimizers
    for _ in range(3):
        one.step(lambda: (one.modules.encoder(torch.ones(2, 3)).sum(), {}), (), 0.01)
    state = copy.deepcopy(one.state_dict())
    assert state["beside"]["count"] == 3 and (state["beside"]["mean"] != state["mean"]).any()
    other.load_state_dict(state)
    assert (other.aside.square == one.aside.square).all() and other.aside.count == 3


@pytest.mark.parametrize("name", LOSSES)
def test_a_target_network_shares_the_steps_and_holds_no_encoder_twice(name):
    encoder, auxiliary = make(name)
    holder = Holder(encoder, auxiliary)
    target, _ = make_target(holder)
    assert target.auxiliary.steps is auxiliary.steps
    assert target.auxiliary.encoder is target.encoder is not encoder
    assert not any(key.startswith("auxiliary._encoder") for key in holder.state_dict())


@pytest.mark.parametrize("name", LOSSES)
def test_pictures_among_other_observations(name):
    torch.manual_seed(0)
    space = spaces.Dict(picture=spaces.Box(0, 255, (12, 12, 1), np.uint8), speed=BOX, gear=spaces.Discrete(3))
    action_space = spaces.Dict(push=spaces.Box(-1, 1, (2,), np.float32), jump=spaces.MultiDiscrete([2, 3]))
    steps = RecentSteps(action_space, 50, seed=0)
    envs = batch_space(space, 2), batch_space(action_space, 2)
    for each in envs:
        each.seed(0)
    no = np.zeros(2, bool)
    for _ in range(6):
        rows = (envs[0].sample(), envs[1].sample(), np.zeros(2), no, no, envs[0].sample(), no)
        steps.add(Transition(*rows, state=np.zeros((2, 0), np.float32)))
    loss_class, config = LOSSES[name]
    torso = build_torso(
        space,
        CNN,
        NoMemory,
        make_auxiliary=lambda built: loss_class(built, space, steps, config(batch_size=4)),
    )
    optimizer = FlatAdam(torso)
    assert optimizer.beside == [torso.auxiliary]
    loss, _ = torso.auxiliary.own_loss(torso.auxiliary.draw())
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in torso.encoder.parameters())


@pytest.mark.parametrize("name", LOSSES)
def test_stacked_pictures_whose_frames_are_kept_once(name):
    torch.manual_seed(0)
    space = spaces.Box(0, 255, (2, 32, 32), np.uint8)
    steps = RecentSteps(ACTIONS, 50, seed=0)
    frames = np.random.default_rng(0).integers(0, 256, (8, 2, 32, 32)).astype(np.uint8)
    obs = [np.stack([frames[t], frames[t + 1]], 1) for t in range(7)]
    no = np.zeros(2, bool)
    for before, after in pairwise(obs):
        first = np.full(2, before is obs[0])
        steps.add(
            Transition(
                before, np.array([5, 6]), np.zeros(2), no, no, after, first, np.zeros((2, 0), np.float32)
            )
        )
    assert steps.replay.stacks is not None
    drawn = steps.draw(200, 1)
    pairs = {(x.tobytes(), y.tobytes()) for x, y in zip(drawn.obs, drawn.next_obs[0], strict=True)}
    assert pairs == {
        (x.tobytes(), y.tobytes()) for xs, ys in pairwise(obs) for x, y in zip(xs, ys, strict=True)
    }
    loss_class, config = LOSSES[name]
    encoder = CNN(space, CNN.Config())
    auxiliary = loss_class(encoder, space, steps, config(batch_size=4))
    assert auxiliary.own_loss(auxiliary.draw())[0].isfinite()


def test_nothing_is_learned_while_there_are_no_steps():
    encoder, auxiliary = make("curl")
    auxiliary.steps = RecentSteps(ACTIONS, 10, seed=0)
    metrics = FlatAdam(Holder(encoder, auxiliary)).step(
        lambda x: (encoder(x).sum(), {}), (torch.ones(2, 3),), 0.1
    )
    assert set(metrics) == {"gradient_norm"}


def test_an_encoder_without_layers_is_refused():
    with pytest.raises(ValueError, match=r"nothing to train: give it layers, .*--encoder.hidden 64 64"):
        make("curl", hidden=())


@pytest.mark.parametrize("name", LOSSES)
def test_a_few_hundred_steps_make_it_accurate(name):
    """Places on a circle, and one action for each way round. Of a broken loss the accuracy stays near 1 in 8."""
    torch.manual_seed(0)
    space = spaces.Box(-1, 1, (2,), np.float32)
    steps = RecentSteps(ACTIONS, 200, seed=0)
    angle, no = np.array([0.0, 3.0]), np.zeros(2, bool)
    for t in range(100):
        action, before = np.array([5, 6]) if t % 3 else np.array([6, 5]), angle
        angle = before + np.where(action == 5, 0.4, -0.4)
        obs, next_obs = (np.stack([np.cos(a), np.sin(a)], 1).astype(np.float32) for a in (before, angle))
        steps.add(Transition(obs, action, np.zeros(2), no, no, next_obs, no, np.zeros((2, 0), np.float32)))
    loss_class, config = LOSSES[name]
    encoder = MLP(space, MLPConfig(hidden=(32,)))
    auxiliary = loss_class(encoder, space, steps, config(batch_size=8, masking=0.0, noise=0.05))
    holder = Holder(encoder, auxiliary)
    optimizer = FlatAdam(holder)
    accuracies = [
        optimizer.step(lambda: (0.0 * encoder.layers[0].bias.sum(), {}), (), 3e-3)[
            "auxiliary/accuracy"
        ].item()
        for _ in range(300)
    ]
    assert np.mean(accuracies[-50:]) > 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOSSES)
def test_compiled_learning_is_the_same(name):
    after = []
    for compile in (False, True):
        encoder, auxiliary = make(name)
        holder = Holder(encoder, auxiliary)
        optimizer = FlatAdam(holder, compile=compile)
        loss = lambda x, encoder=encoder: (encoder(x).square().mean(), {})  # noqa: E731
        for _ in range(3):
            optimizer.step(loss, (torch.ones(4, 3),), 0.01)
        assert optimizer.compile is compile  # where a loss cannot be compiled, the optimiser gives up
        after.append(optimizer.vector.clone())
    torch.testing.assert_close(after[0], after[1], rtol=1e-4, atol=1e-5)


def test_an_agent_with_an_optimizer_of_its_own_is_told():
    class Alone:
        def parts(self):
            return {"network": torch.nn.Linear(1, 1), "optimizer": FlatAdam(torch.nn.Linear(1, 1))}

    encoder, auxiliary = make("curl")
    assert not learns_beside(Alone())
    assert learns_beside(
        type("Agent", (), {"parts": lambda self: {"o": FlatAdam(Holder(encoder, auxiliary))}})()
    )
