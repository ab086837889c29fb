import tracemalloc

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.training.run.storage.checkpoint import load_checkpoint, save_checkpoint
from palaestra.world_models.autoencoder import Autoencoder, AutoencoderConfig
from palaestra.world_models.datasets import EpisodeDataset, RecordedEpisode
from palaestra.world_models.dynamics.ensemble import Ensemble, EnsembleConfig
from palaestra.world_models.dynamics.mdn_rnn import MDNRNN, MDNRNNConfig
from palaestra.world_models.encoded_dataset import EncodedDataset
from palaestra.world_models.fit import Fit, FitConfig, Phase
from palaestra.world_models.identity import Identity
from palaestra.world_models.model_evaluation import HORIZONS, coverage, evaluation_report, r2, traversals
from palaestra.world_models.world_model import WorldModel

SPACE = spaces.Box(-np.inf, np.inf, (2,), np.float32)
ACTIONS = spaces.Box(-1, 1, (1,), np.float32)


def episodes(count=30, seed=0):
    """x' = 0.9 x, y' = y + 0.3 u from random starts; the reward is x' + u; over once y is above 1, 40 at most."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        rows, actions, rewards = [rng.normal(size=2) * [1.0, 1.0]], [], []
        terminated = False
        while len(actions) < 40 and not terminated:
            action = rng.uniform(-1, 1, 1)
            x = rows[-1]
            rows.append(np.array([0.9 * x[0], x[1] + 0.3 * action[0]]))
            actions.append(action)
            rewards.append(rows[-1][0] + action[0])
            terminated = rows[-1][1] > 1.0
        arrays = (np.array(part, np.float32) for part in (rows, actions, rewards))
        made.append(RecordedEpisode(*arrays, terminated))
    return EpisodeDataset(made)


def make(observation_model=Identity, observation_model_config=None, recurrent=False):
    torch.manual_seed(0)
    dynamics, config = Ensemble, EnsembleConfig(members=3, elites=2, hidden=(32,))
    if recurrent:
        dynamics, config = MDNRNN, MDNRNNConfig(hidden_size=16, components=2)
    return WorldModel(SPACE, ACTIONS, observation_model, dynamics, observation_model_config, config)


def test_coverage_says_whether_a_model_knows_how_sure_it_is():
    """Changes drawn from a standard normal, predicted with its deviation or with twice that."""
    rng, model = np.random.default_rng(0), make()
    walk = rng.normal(size=(2001, 2)).cumsum(0).astype(np.float32)
    seen = EpisodeDataset(
        [RecordedEpisode(walk, np.zeros((2000, 1), np.float32), np.zeros(2000, np.float32), False)]
    )
    with torch.no_grad():
        for parameter in model.dynamics.layers.parameters():
            parameter.zero_()
        model.dynamics.highest.fill_(30.0)
        model.dynamics.lowest.fill_(-30.0)
        for deviation, expected in ((1.0, (0.5, 0.9)), (2.0, (0.823, 0.999))):
            model.dynamics.change.fill_(deviation)
            got = coverage(model, EncodedDataset(model, seen))
            assert list(got.values()) == pytest.approx(expected, abs=0.03)


def test_numbers_that_are_drawn_exactly_count_as_calibrated():
    """Both numbers are constant: each draw is the truth, whose rank is anywhere among its equals."""
    model, still = make(), np.ones((101, 2), np.float32)
    seen = EpisodeDataset(
        [RecordedEpisode(still, np.zeros((100, 1), np.float32), np.zeros(100, np.float32), False)]
    )
    with torch.no_grad():
        model.dynamics.change.zero_()
        for parameter in model.dynamics.layers.parameters():
            parameter.zero_()
    assert list(coverage(model, EncodedDataset(model, seen)).values()) == pytest.approx([0.5, 0.9], abs=1e-6)


def test_r2_by_hand():
    truth = torch.tensor([[1.0], [2.0], [3.0]])
    # Variance 2/3, squared error 1/3.
    predicted = torch.tensor([[1.0], [2.0], [4.0]])
    for unit in (1.0, 1e-7, 1e7):
        assert r2(unit * predicted, unit * truth) == pytest.approx(0.5, rel=1e-4)
    for constant in (5.0, 5e-7):
        same = torch.full((3, 1), constant)
        assert r2(same * 1.0001, same) == 1 and r2(same * 1.1, same) == 0
    assert r2(torch.zeros(3, 1), torch.zeros(3, 1)) == 1


def test_pictures_are_not_copied_whole_in_a_fit():
    rng = np.random.default_rng(0)
    shape, zeros = (51, 32, 32, 3), np.zeros(50, np.float32)
    data = EpisodeDataset(
        [
            RecordedEpisode(rng.integers(0, 255, shape, np.uint8), zeros.astype(int), zeros, True)
            for _ in range(60)
        ]
    )
    torch.manual_seed(0)
    space = spaces.Box(0, 255, shape[1:], np.uint8)
    small = AutoencoderConfig(latent_size=2, depth=1), EnsembleConfig(members=2, elites=1, hidden=(4,))
    model = WorldModel(space, spaces.Discrete(2), Autoencoder, Ensemble, *small)
    config = FitConfig(updates=2, judge_every=1, coder_batch_size=4, batch_size=8)
    tracemalloc.start()
    Fit(model, data, config, seed=0).run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * sum(episode.obs.nbytes for episode in data.episodes)


def test_traversals_move_one_latent_at_a_time():
    data = episodes(10)
    moved = traversals(make(), data, count=2, steps=5)
    latents = np.concatenate([episode.obs for episode in data.episodes])
    widest = latents.std(0, ddof=1).argmax()
    assert moved.shape == (2, 5, 2)
    np.testing.assert_allclose(np.ptp(moved[0, :, widest]), 4 * latents.std(0, ddof=1)[widest], rtol=1e-4)
    assert np.ptp(moved[0, :, 1 - widest]) < 1e-5
    np.testing.assert_allclose(moved[:, 2], np.tile(latents.mean(0), (2, 1)), atol=1e-4)


def test_a_simple_world_is_learned_and_the_report_says_so():
    data = episodes(60)
    fit = Fit(make(), data, FitConfig(updates=600, batch_size=256, learning_rate=3e-3), seed=0)
    fit.run()
    report = evaluation_report(fit.model, fit.train, fit.held_out)
    assert list(report["skill"]) == [str(k) for k in HORIZONS]
    assert report["skill"]["1"] > 0.995 and report["skill"]["20"] > 0.98
    assert report["skill"]["50"] is None  # no episode is that long
    assert report["reward_r2"] > 0.98 and report["probe_r2"] > 0.9999
    assert (
        report["terminals"] >= 3 and report["terminal_recall"] >= 0.6 and report["terminal_precision"] >= 0.6
    )
    assert report["terminal_brier"] < 0.02 and report["active_units"] == report["latent_size"] == 2
    # What is expected to end among the steps learned from is what ended.
    assert 0 < fit.model.typical_disagreement < 0.5


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_fit_resumed_at_any_evaluation_is_the_same(recurrent, tmp_path):
    data, config = episodes(10), FitConfig(updates=40, judge_every=10, batch_size=64, coder_batch_size=16)
    observation_model_config = AutoencoderConfig(latent_size=2, hidden=(8,), noise=0.1)

    def begin():
        return Fit(make(Autoencoder, observation_model_config, recurrent), data, config, seed=3)

    alone = begin()
    rows = []
    alone.run(lambda metrics, update: rows.append((update, metrics)))
    assert [update for update, _ in rows] == list(range(10, 90, 10))

    again, fit = [], begin()
    while not fit.done:
        fit.run(lambda metrics, update: again.append((update, metrics)), lambda: False)
        save_checkpoint(tmp_path, fit.progress.total, fit.parts())
        path, fit = tmp_path / "checkpoints" / f"{fit.progress.total:09d}", begin()
        load_checkpoint(path, fit.parts())
    assert again == rows
    for (name, left), right in zip(
        alone.model.state_dict().items(), fit.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(left, right, rtol=0, atol=0, msg=name)


def test_the_best_parameters_stay_and_patience_ends_a_fit():
    phase, layer = Phase("dynamics"), torch.nn.Linear(1, 1)
    for value, loss in ((1.0, 3.0), (2.0, 2.0), (3.0, 4.0), (4.0, float("nan"))):
        torch.nn.init.constant_(layer.weight, value)
        phase.record(loss, layer)
    assert phase.stale == 2
    phase.restore(layer)
    assert layer.weight.item() == 2.0
    looks = []
    # Learning far too fast: nothing improves for long.
    config = FitConfig(updates=100_000, judge_every=5, patience=3, learning_rate=0.3, batch_size=64)
    Fit(make(), episodes(6), config, 0).run(lambda metrics, update: looks.append(update))
    assert 4 <= len(looks) < 60


def test_a_fit_makes_no_more_updates_than_it_was_told():
    made = []
    config = FitConfig(updates=25, judge_every=10, batch_size=64)
    Fit(make(), episodes(6), config, 0).run(lambda metrics, update: made.append(update))
    assert made == [10, 20, 25]


def test_nothing_is_learned_from_what_is_held_out():
    # With a single look there is nothing to choose, either.
    data = episodes(10)
    spoilt = EpisodeDataset(
        [e._replace(reward=e.reward + 100) if n == 3 else e for n, e in enumerate(data.episodes)]
    )
    models = []
    for part in (data, spoilt):
        fit = Fit(make(), part, FitConfig(updates=10, judge_every=10, batch_size=64), 0)
        assert len(fit.held_out) == 1
        fit.run()
        models.append(fit.model.heads.state_dict())
    for name, left in models[0].items():
        torch.testing.assert_close(left, models[1][name], rtol=0, atol=0)
