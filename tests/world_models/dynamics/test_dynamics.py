"""One contract for all dynamics, and what each of them must learn."""

import math

import pytest
import torch

from palaestra.networks.optimizer import FlatAdam
from palaestra.world_models.dynamics import ensemble
from palaestra.world_models.dynamics.adversarial import Adversarial, AdversarialConfig
from palaestra.world_models.dynamics.ensemble import Ensemble, EnsembleConfig
from palaestra.world_models.dynamics.mdn_rnn import MDNRNN, MDNRNNConfig, draw_from_mixture
from palaestra.world_models.dynamics.transformer import TransformerDynamics, TransformerDynamicsConfig
from palaestra.world_models.world_model import Sampling

SMALL = {
    "adversarial": (Adversarial, AdversarialConfig(hidden=(32,), noise_size=2)),
    "ensemble": (Ensemble, EnsembleConfig(members=4, elites=2, hidden=(32,))),
    "mdn_rnn": (MDNRNN, MDNRNNConfig(hidden_size=24, components=2)),
    "transformer": (TransformerDynamics, TransformerDynamicsConfig(context=8, size=16, layers=2, heads=2)),
}
MATRIX = torch.tensor([[0.95, 0.1], [-0.1, 0.95]])
PUSH = torch.tensor([[0.0], [0.2]])


def linear_system(length, count, seed=0):
    """SequenceBatch [T, B] of x' = M x + P u under random actions."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, generator=generator)
    rows, actions = [x], []
    for _ in range(length):
        action = torch.rand(count, 1, generator=generator) * 2 - 1
        x = x @ MATRIX.T + action @ PUSH.T
        rows.append(x)
        actions.append(action)
    states = torch.stack(rows)
    return states[:-1], torch.stack(actions), states[1:], torch.ones(length, count, dtype=torch.bool)


def make(name, seed=0):
    torch.manual_seed(seed)
    cls, config = SMALL[name]
    return cls(2, 1, config)


def learn(dynamics, sequences, steps, learning_rate=3e-3):
    dynamics.fit_scale(sequences[0].flatten(0, 1), sequences[2].flatten(0, 1))
    optimizer = FlatAdam(dynamics, max_grad_norm=10.0)
    dynamics.train()
    for step in range(steps):
        rate = learning_rate * (1 - step / steps)
        metrics = optimizer.step(lambda *batch: dynamics.loss(*batch)[:2], sequences, rate)
    dynamics.eval()
    return metrics


@pytest.mark.parametrize("name", SMALL)
def test_step_by_step_is_the_same_as_a_window(name):
    dynamics, sequences = make(name), linear_system(8, 3)
    dynamics.fit_scale(sequences[0].flatten(0, 1), sequences[2].flatten(0, 1))
    _, _, features = dynamics.loss(*sequences)
    state = dynamics.initial_state(3)
    for t in range(8):
        change = dynamics.step(sequences[0][t], sequences[1][t], state, Sampling())
        state = change.state
        torch.testing.assert_close(change.features, features[t], atol=1e-5, rtol=1e-4)
        assert state.shape == (3, dynamics.state_size) and change.features.shape == (3, dynamics.feature_size)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_masked_or_later_does_not_count(name):
    dynamics, (latent, action, after, mask) = make(name).eval(), linear_system(8, 3)
    mask = mask.clone()
    mask[5:] = False
    loss, _, features = dynamics.loss(latent, action, after, mask)
    spoilt = [x.clone() for x in (latent, action, after)]
    for x in spoilt:
        x[5:] = 1000.0
    again, _, others = dynamics.loss(*spoilt, mask)
    torch.testing.assert_close(loss, again)
    torch.testing.assert_close(features[:5], others[:5])


# Adversarial dynamics learn more slowly: test_adversarial.py.
@pytest.mark.parametrize("name", [name for name in SMALL if name != "adversarial"])
def test_a_linear_system_is_learned(name):
    dynamics, sequences = make(name), linear_system(8, 64)
    learn(dynamics, sequences, 300, learning_rate=1e-2)
    latent, action, after, _ = linear_system(8, 50, seed=1)
    state = dynamics.initial_state(50)
    errors, changes = [], []
    for t in range(8):
        change = dynamics.step(latent[t], action[t], state, Sampling())
        state = change.state
        errors.append((change.latent - after[t]).square().mean())
        changes.append((latent[t] - after[t]).square().mean())
    # One-step skill over persistence.
    assert 1 - sum(errors) / sum(changes) > 0.95


@pytest.mark.parametrize("name", SMALL)
def test_steps_follow_from_the_generator(name):
    dynamics = make(name)
    latent, action = torch.zeros(6, 2), torch.zeros(6, 1)
    state = dynamics.initial_state(6)

    def draw(seed, temperature=1.0):
        sampling = Sampling(torch.Generator().manual_seed(seed), temperature)
        return dynamics.step(latent, action, state, sampling).latent

    torch.testing.assert_close(draw(0), draw(0), rtol=0, atol=0)
    assert not torch.equal(draw(0), draw(1))
    spread = [draw(0, temperature).std().item() for temperature in (0.25, 1.0, 4.0)]
    assert spread[0] < spread[1] < spread[2]


def test_changes_are_measured_in_their_own_units():
    dynamics = make("ensemble")
    latent = torch.tensor([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]])
    dynamics.fit_scale(latent, latent + torch.tensor([[3.0, 0.0], [4.0, 0.0], [5.0, 0.0]]))
    # Root mean square of 3, 4, 5; what never changes keeps its unit.
    assert dynamics.change.tolist() == pytest.approx([math.sqrt(50 / 3), 1.0])
    torch.testing.assert_close(
        dynamics.advance(latent, dynamics.target(latent, latent + 1.0))[:, 0], latent[:, 0] + 1.0
    )
    # Seen were 0 to 25: a dream may go as far again to both sides.
    assert dynamics.advance(latent, torch.full((3, 2), 1e9))[:, 0].tolist() == [50.0] * 3


def test_tiny_changes_are_changes():
    dynamics = make("ensemble")
    latent = 1e-7 * torch.tensor([[0.0, 5.0], [10.0, 5.0], [20.0, 5.0]])
    dynamics.fit_scale(latent, latent + 1e-7 * torch.tensor([[3.0, 0.0], [4.0, 0.0], [5.0, 0.0]]))
    assert dynamics.change.tolist() == pytest.approx([1e-7 * math.sqrt(50 / 3), 1.0])
    assert dynamics.deviation[0] < 1e-5 and dynamics.deviation[1] == 1


def test_members_are_chosen_by_all_steps(monkeypatch):
    monkeypatch.setattr(ensemble, "ROWS", 2)
    dynamics, (latent, action, after, _) = make("ensemble"), linear_system(1, 5)
    error = [
        (
            dynamics.predict(dynamics.inputs(latent[0], action[0]).expand(4, 5, 3))[0][n]
            - dynamics.target(latent[0], after[0])
        )
        .square()
        .mean()
        .item()
        for n in range(4)
    ]
    dynamics.choose_members(latent[0], action[0], after[0])
    assert dynamics.elites.tolist() == sorted(range(4), key=error.__getitem__)[:2]


def test_old_parameters_of_a_transformer_load():
    dynamics = make("transformer")
    state = dynamics.state_dict()
    state["place"] = state.pop("position_embedding") + 1
    again = make("transformer")
    again.load_state_dict(state)
    torch.testing.assert_close(again.position_embedding, dynamics.position_embedding + 1)


def test_the_best_members_dream():
    dynamics, sequences = make("ensemble"), linear_system(1, 256)
    learn(dynamics, sequences, 200)
    with torch.no_grad():
        # Members 0 and 2 forget what they have learned.
        dynamics.layers[-1].bias[[0, 2]] += 5.0
    dynamics.choose_members(sequences[0][0], sequences[1][0], sequences[2][0])
    assert sorted(dynamics.elites.tolist()) == [1, 3]


@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_rows_are_dealt_out_to_the_elites(count):
    """Without disagreement a row costs one member only, which is another one every time."""
    dynamics = make("ensemble")
    with torch.no_grad():
        dynamics.elites.copy_(torch.tensor([3, 1]))
        dynamics.lowest.fill_(-100.0)
        for parameter in dynamics.layers[-1].parameters():
            parameter.zero_()
        dynamics.layers[-1].bias[:, 0, :2] = torch.tensor([[0.0, 9], [1, 1], [0, 9], [2, 2]])
        dynamics.layers[-1].bias[:, 0, 2:] = -100.0
        # A trace of the row itself, to see that rows come back in order.
        dynamics.layers[0].weight.zero_()
        dynamics.layers[0].weight[:, 0, 0] = 1.0
        dynamics.layers[-1].weight[:, 0, 1] = 1.0
    latent = torch.arange(count).float()[:, None].expand(-1, 2) / 10
    generator, drawn = torch.Generator().manual_seed(0), []
    for _ in range(20):
        sampling = Sampling(generator, disagreement=False)
        prediction = dynamics.step(latent, torch.zeros(count, 1), dynamics.initial_state(count), sampling)
        change = prediction.latent.detach() - latent
        torch.testing.assert_close(change[:, 1] - change[:, 0], torch.nn.functional.silu(latent[:, 0]))
        drawn.append(change[:, 0].round())
    drawn = torch.stack(drawn)
    assert set(drawn.flatten().tolist()) == {1.0, 2.0}
    # Dealt out equally, as far as they divide.
    assert ((drawn == 1.0).sum(1) - count / 2).abs().max() <= 0.5


def test_members_disagree_where_they_have_seen_nothing():
    dynamics, sequences = make("ensemble"), linear_system(1, 256)
    learn(dynamics, sequences, 300)
    near, far = sequences[0][0], sequences[0][0] * 20
    state = dynamics.initial_state(256)
    seen, unseen = (
        dynamics.step(x, sequences[1][0], state, Sampling()).disagreement.mean() for x in (near, far)
    )
    assert unseen > 5 * seen


def test_a_mixture_learns_two_outcomes():
    """Each step jumps by +1 or -1: the best one Gaussian has 1.42 nats, two sharp ones about ln 2 less the width."""
    dynamics = make("mdn_rnn")
    generator = torch.Generator().manual_seed(0)
    sign = torch.randint(0, 2, (8, 256, 1), generator=generator) * 2.0 - 1
    latent = torch.zeros(8, 256, 2)
    noise = 0.1 * torch.randn(8, 256, 2, generator=generator)
    sequences = (latent, torch.zeros(8, 256, 1), latent + sign + noise, torch.ones(8, 256, dtype=torch.bool))
    metrics = learn(dynamics, sequences, 200, learning_rate=1e-2)
    # ln 2 for the choice, and 2 (0.5 + ln 0.1 + 0.919) for the noise; changes are in units of 1.005.
    expected = math.log(2) + 2 * (0.5 + math.log(0.1 / 1.005) + 0.9189)
    assert metrics["loss/dynamics"].item() == pytest.approx(expected, abs=0.15)
    state = dynamics.initial_state(400)
    sampling = Sampling(torch.Generator().manual_seed(0), 1.0)
    drawn = dynamics.step(torch.zeros(400, 2), torch.zeros(400, 1), state, sampling).latent.detach()
    assert (drawn.abs() - 1).abs().max() < 0.6
    assert 0.4 < (drawn[:, 0] > 0).float().mean() < 0.6
    # Both dimensions jump together.
    assert ((drawn[:, 0] > 0) == (drawn[:, 1] > 0)).all()


def test_temperature_of_a_mixture_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]]).expand(20_000, 2)
    mean = torch.tensor([[[10.0], [-10.0]]]).expand(20_000, 2, 1)
    log_variance = torch.zeros(20_000, 2, 1)
    assert draw_from_mixture(logits, mean, log_variance, Sampling())[0].item() == pytest.approx(5.0)
    for temperature, share in ((1.0, 3 / 4), (0.5, 9 / 10)):
        sampling = Sampling(torch.Generator().manual_seed(0), temperature)
        drawn = draw_from_mixture(logits, mean, log_variance, sampling)
        assert (drawn > 0).float().mean().item() == pytest.approx(share, abs=0.01)
        assert drawn[drawn > 0].var().item() == pytest.approx(temperature, rel=0.05)


def test_a_full_context_forgets_the_oldest_step():
    dynamics = make("transformer")
    latent, action, _, _ = linear_system(12, 2)
    states = [dynamics.initial_state(2), dynamics.initial_state(2)]
    # The second history begins differently; 8 steps are remembered.
    for t in range(12):
        for index in (0, 1):
            x = latent[t] + (5.0 if index and t < 4 else 0.0)
            change = dynamics.step(x, action[t], states[index], Sampling())
            states[index] = change.state
        if t == 0:
            assert not torch.equal(*states)
    torch.testing.assert_close(*states)
    assert states[0][:, -1].tolist() == [8.0, 8.0]


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="elites: must be at most members"):
        EnsembleConfig(members=2, elites=3)
    with pytest.raises(ValueError, match="size: must be a multiple of heads"):
        TransformerDynamicsConfig(size=10, heads=4)
