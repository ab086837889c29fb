import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from palaestra.networks.optimizer import FlatAdam
from palaestra.world_models.datasets import EpisodeDataset, RecordedEpisode
from palaestra.world_models.dynamics.ensemble import Ensemble, EnsembleConfig
from palaestra.world_models.fit import Fit, FitConfig
from palaestra.world_models.labels import (
    draw_labelled,
    frame_labels,
    label_generator,
    label_scores,
    logistic_map,
)
from palaestra.world_models.losses import marginal_bound
from palaestra.world_models.semi_supervised import SemiSupervisedVAE, SemiSupervisedVAEConfig
from palaestra.world_models.world_model import WorldModel

LINE = spaces.Box(-10, 10, (1,), np.float32)
PLANE = spaces.Box(-10, 10, (2,), np.float32)
PICTURE = spaces.Box(0, 255, (16, 20), np.uint8)


def episode(obs, terminated=True, reward=None):
    length = len(obs) - 1
    reward = np.zeros(length, np.float32) if reward is None else np.array(reward, np.float32)
    return RecordedEpisode(obs, np.zeros(length, np.int64), reward, terminated)


class Fixed(nn.Module):
    """A network whose outputs are given, `[N, ...]`, or of its inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        """Whatever it is."""
        return self.function(x)


def by_hand(**settings):
    """One observation 0.5, q(y=1|x) = 3/4, q(z|x,y) = N(y, 1), decoded y, p(x|.) of deviation 0.5, p(y=1) = 1/4."""
    model = SemiSupervisedVAE(LINE, SemiSupervisedVAEConfig(latent_size=1, observation_std=0.5, **settings))
    model.classifier = Fixed(lambda x: torch.tensor([[0.0, math.log(3)]]).expand(len(x), 2))
    model.encoder = Fixed(lambda x: torch.zeros(len(x), 0))
    model.posterior_network = Fixed(lambda y: torch.stack([y[:, 1], torch.zeros(len(y))], -1))
    model.decoder = Fixed(lambda zy: zy[:, [2]])
    model.labels = torch.tensor([0] * 5 + [1])  # with one more of each, 6 and 2 of 8
    return model


# -log N(0.5; y, 0.5^2): both classes are half a unit away, one deviation.
RECONSTRUCTION = 0.5 + math.log(0.5) + 0.5 * math.log(2 * math.pi)
# KL(N(y, 1) || N(0, 1)) = y^2 / 2.
BOUND = (RECONSTRUCTION - math.log(3 / 4), RECONSTRUCTION - math.log(1 / 4) + 0.5)
UNLABELLED = 1 / 4 * (BOUND[0] + math.log(1 / 4)) + 3 / 4 * (BOUND[1] + math.log(3 / 4))


def test_the_bound_by_hand():
    model, x = by_hand(), torch.tensor([[0.5], [0.5]])
    noise = torch.Generator().manual_seed(0)
    bound = model.bound(x, torch.zeros(2, 0), torch.tensor([0, 1]), noise)
    assert bound.tolist() == pytest.approx(BOUND, rel=1e-5)
    assert model.unlabelled_bound(x, x, noise).tolist() == pytest.approx([UNLABELLED] * 2, rel=1e-5)


def test_the_loss_by_hand():
    model = by_hand(fraction=0.2, alpha=0.3)
    obs = np.full((7, 1), 0.5, np.float32)
    model._episodes = EpisodeDataset([episode(obs)])
    model.labelled_rows, model.labels = torch.tensor([6]), torch.tensor([1])  # p(y=1) = 2/3
    loss, metrics = model.loss(torch.tensor(obs), torch.Generator().manual_seed(0))
    zero, one = RECONSTRUCTION - math.log(1 / 3), RECONSTRUCTION - math.log(2 / 3) + 0.5
    unlabelled = 1 / 4 * (zero + math.log(1 / 4)) + 3 / 4 * (one + math.log(3 / 4))
    assert float(loss) == pytest.approx(0.8 * unlabelled + 0.2 * one + 0.3 * -math.log(3 / 4), rel=1e-5)
    assert list(metrics) == ["loss/unlabelled", "loss/labelled", "loss/classification"]


def test_the_marginal_is_lowest_at_the_posterior_of_the_label():
    bound = torch.tensor([[1.0, 3.0, 2.0]], dtype=torch.float64)
    best = (-bound).log_softmax(-1)
    evidence = -math.log(math.exp(-1) + math.exp(-3) + math.exp(-2))
    assert marginal_bound(bound, best).item() == pytest.approx(evidence)
    # Others are above by their KL to it; a certain one has no entropy.
    q = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64).log()
    kl = (q.exp() * (q - best)).sum()
    assert marginal_bound(bound, q).item() == pytest.approx(evidence + kl.item())
    certain = torch.tensor([[1.0, 1e-30, 1e-30]], dtype=torch.float64).log()
    assert marginal_bound(bound, certain).item() == pytest.approx(1.0)


def test_labels_of_frames():
    obs = np.zeros((4, 1), np.float32)
    data = EpisodeDataset([episode(obs, True, [0, 2, -3]), episode(obs, False, [1, 0, 0])])
    assert frame_labels(data, "termination").tolist() == [0, 0, 0, 1, 0, 0, 0, -1]
    assert frame_labels(data, "reward").tolist() == [-1, 1, 2, 0, -1, 2, 1, 1]
    rows, classes = draw_labelled(data, "reward", 1.0, label_generator(0))
    assert rows.tolist() == [1, 2, 3, 5, 6, 7] and classes.tolist() == [1, 2, 0, 2, 1, 1]
    fewer = draw_labelled(data, "reward", 0.5, label_generator(0))
    assert len(fewer[0]) == 3
    np.testing.assert_array_equal(fewer[0], draw_labelled(data, "reward", 0.5, label_generator(0))[0])


def test_labels_that_tell_nothing_are_refused():
    data = EpisodeDataset([episode(np.zeros((101, 1), np.float32), False, [1.0] * 100)])
    with pytest.raises(ValueError, match=r"none of the 1 labelled frames is positive \(0 of all 100 are\)"):
        draw_labelled(data, "termination", 0.01, label_generator(0))
    with pytest.raises(ValueError, match=r"all of the 100 labelled frames are positive"):
        draw_labelled(data, "reward", 1.0, label_generator(0))


def test_scores_by_hand():
    predicted = torch.tensor([True, True, True, False, False])
    truth = torch.tensor([True, True, False, True, False])
    thirds = pytest.approx(2 / 3)
    assert label_scores(predicted, truth) == {"f1": thirds, "precision": thirds, "recall": thirds}
    assert label_scores(~(truth | True), truth) == {"f1": 0.0, "precision": None, "recall": 0.0}
    assert label_scores(truth, truth & False) == {"f1": None, "precision": 0.0, "recall": None}


def test_the_linear_control_is_a_logistic_regression():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 3, generator=generator) * torch.tensor([1.0, 100.0, 0.01])
    y = torch.rand(300, generator=generator) < (2 * x[:, 0] - x[:, 1] / 100 + 1).sigmoid()
    odds = logistic_map(x, y, x)
    assert ((odds > 0) == y).float().mean() > 0.75
    # At the minimum the expected number of positives is the real one: the intercept is free.
    assert odds.sigmoid().sum().item() == pytest.approx(int(y.sum()), abs=0.01)
    # Far apart, where Newton's steps would be long.
    assert ((logistic_map(x[:2], torch.tensor([True, False]), x[:2]) > 0).tolist()) == [True, False]


def clusters(count=400, seed=0):
    """Two flat clusters, one above the other."""
    rng = np.random.default_rng(seed)
    above = rng.integers(2, size=count)
    height = np.where(above == 1, 1.0, -1.0) + 0.1 * rng.normal(size=count)
    return np.stack([rng.normal(size=count), height], -1).astype(np.float32), above


def accuracy(labels, **settings):
    """Share of new points whose cluster is told, after learning from one label each, at opposite ends."""
    torch.manual_seed(0)
    config = SemiSupervisedVAEConfig(
        latent_size=1, hidden=(32,), observation_std=0.5, alpha=1.0, warm_up=100, **settings
    )
    model = SemiSupervisedVAE(PLANE, config)
    ends = np.array([[-2.0, 1.0], [2.0, -1.0]], np.float32)
    frames = torch.tensor(np.concatenate([ends, clusters()[0]]))
    model.scaler.fit(frames)
    model._episodes = EpisodeDataset([episode(frames.numpy())])
    model.labelled_rows, model.labels = torch.tensor([0, 1]), torch.tensor(labels)
    optimizer, noise = FlatAdam(model), torch.Generator().manual_seed(0)
    for _ in range(300):
        rows = torch.randint(len(frames), (64,), generator=noise)
        optimizer.step(lambda x: model.loss(x, noise), (frames[rows],), 1e-2)
    obs, above = clusters(seed=1)
    return float((model.class_shares(torch.tensor(obs)).argmax(-1).numpy() == above).mean())


def test_frames_without_labels_help():
    """The clusters are 20 deviations apart, so a label each is enough for who sees the others.

    Halfway between the two labelled points lies a line that has Phi(0.5) = 69 % of each cluster on the right side:
    a classifier of those alone has no reason to know more, and here may have at most 90 %.
    """
    assert accuracy([1, 0]) > 0.99
    assert accuracy([0, 1]) < 0.01
    assert accuracy([1, 0], supervised_only=True) < 0.9


def test_before_the_warm_up_is_over_only_labels_teach_the_classifier():
    """And ever after, if supervised only."""
    obs = torch.tensor(clusters(20)[0])
    for settings in ({"warm_up": 1}, {"warm_up": 0, "supervised_only": True}):
        torch.manual_seed(0)
        model = SemiSupervisedVAE(
            PLANE, SemiSupervisedVAEConfig(hidden=(4,), alpha=0.0, fraction=0.5, **settings)
        )
        model._episodes = EpisodeDataset([episode(obs.numpy())])
        model.labelled_rows, model.labels = torch.tensor([0, 1]), torch.tensor([0, 1])
        for once_more in (False, True):
            model.zero_grad()
            model.loss(obs, torch.Generator().manual_seed(0))[0].backward()
            moved = any((p.grad is not None and p.grad.any()) for p in model.classifier.parameters())
            assert moved == (once_more and not model.config.supervised_only)


@pytest.mark.parametrize("space", [PLANE, PICTURE])
def test_latents_hold_the_label(space):
    torch.manual_seed(0)
    model = SemiSupervisedVAE(
        space, SemiSupervisedVAEConfig(label="reward", latent_size=3, depth=2, hidden=(8,))
    )
    obs = torch.as_tensor(np.stack([space.sample() for _ in range(5)]))
    latent = model.encode(obs)
    assert latent.shape == (5, 5) == (5, model.latent_size)
    torch.testing.assert_close(latent[:, 3:], model.class_shares(obs)[:, 1:])
    assert model.decode(latent).shape == obs.shape
    # Whatever dynamics predict is read as probabilities.
    wild, read = torch.tensor([[0.0, 0, 0, 3, 1]]), torch.tensor([[0.0, 0, 0, 0.5, 0.5]])
    torch.testing.assert_close(model.decode(wild), model.decode(read))


def recorded(count=30, seed=0):
    """Episodes of ten steps of which some end at once: at the end the second number is 1, before it is -1."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        obs = np.stack([rng.normal(size=11), -1 + 0.1 * rng.normal(size=11)], -1).astype(np.float32)
        obs[-1, 1] += 2
        made.append(episode(obs))
    return EpisodeDataset(made)


def fit_of(**settings):
    torch.manual_seed(0)
    config = SemiSupervisedVAEConfig(latent_size=2, hidden=(8,), fraction=0.2, warm_up=5, **settings)
    dynamics = EnsembleConfig(members=2, elites=1, hidden=(4,))
    model = WorldModel(PLANE, spaces.Discrete(2), SemiSupervisedVAE, Ensemble, config, dynamics)
    return Fit(model, recorded(), FitConfig(updates=20, judge_every=4, batch_size=16), seed=3)


def test_a_fit_goes_on_exactly_and_keeps_its_labelled_frames():
    whole = fit_of()
    whole.run()
    first, stops = fit_of(), iter([True, False])
    first.run(evaluated=lambda: next(stops))
    second = fit_of()
    # As if other frames had been drawn: what the checkpoint says counts.
    second.model.observation_model.labelled_rows = torch.zeros(0, dtype=torch.long)
    second.model.observation_model.labels = torch.zeros(0, dtype=torch.long)
    for name, part in first.parts().items():
        into = second.parts()[name]
        if isinstance(part, np.random.Generator):
            into.bit_generator.state = part.bit_generator.state
        elif isinstance(part, torch.Generator):
            into.set_state(part.get_state())
        else:
            into.load_state_dict(part.state_dict())
    second.run()
    observation_model = second.model.observation_model
    rows, _ = draw_labelled(second.train, "termination", 0.2, label_generator(3))
    assert observation_model.labelled_rows.tolist() == rows.tolist()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], value, rtol=0, atol=0)


def test_labels_of_held_out_frames_are_never_learned_from():
    """A fit whose held-out episodes end otherwise is the same fit."""
    fits = [fit_of(), fit_of()]
    fits[1].held_out.episodes = [e._replace(terminated=False) for e in fits[1].held_out.episodes]
    for fit in fits:
        fit.run(evaluated=lambda fit=fit: fit.progress.phase == "coder")
    left, right = (fit.model.observation_model.state_dict() for fit in fits)
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=0)


def test_the_report_counts_held_out_frames():
    fit = fit_of()
    observation_model = fit.model.observation_model
    observation_model.classifier = Fixed(lambda x: torch.stack([1.5 - x[:, 1], x[:, 1] - 1.5], -1))
    report = observation_model.label_report(fit.held_out)
    assert (report["label_f1"], report["label_precision"], report["label_recall"]) == (1.0, 1.0, 1.0)
    assert report["labelled"] == round(0.2 * 27 * 11)
    assert 0 < report["labelled_positive"] == int(observation_model.labels.sum())
