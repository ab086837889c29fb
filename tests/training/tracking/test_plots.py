import imageio.v3 as imageio
import numpy as np
import pytest

from palaestra.training.tracking.metrics_file import read_metrics
from palaestra.training.tracking.plots import learning_curve, plot_learning_curve
from palaestra.training.tracking.trackers import JsonlTracker


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "config.yaml").write_text("agent: {name: ppo}\nenv: CartPole-v1\nseed: 3\n")
    tracker = JsonlTracker(tmp_path)
    for step in range(100, 1100, 100):
        metrics = {"loss/policy": 0.1} if step == 100 else {"loss/policy": 0.1, "episode/return": step / 2}
        tracker.log(metrics, step)
        if step % 500 == 0:
            tracker.log({"eval/return": step / 1.5, "eval/return_std": step / 10, "eval/length": 9.0}, step)
    tracker.close()
    return tmp_path


def test_the_picture_is_in_the_run_folder(run_dir):
    path = plot_learning_curve(run_dir)
    assert path == run_dir / "learning_curve.png"
    picture = imageio.imread(path)
    height, width = picture.shape[:2]
    assert 500 < height < width < 2000 and picture.std() > 10


def test_the_curves_are_the_metrics(run_dir):
    axes = learning_curve(read_metrics(run_dir), "a title").axes[0]
    training = next(line for line in axes.lines if line.get_label() == "training")
    np.testing.assert_array_equal(training.get_xydata(), [(step, step / 2) for step in range(200, 1100, 100)])
    evaluation = axes.containers[0]
    np.testing.assert_array_equal(evaluation.lines[0].get_xydata(), [(500, 500 / 1.5), (1000, 1000 / 1.5)])
    bars = [segment[:, 1] for segment in evaluation.lines[2][0].get_segments()]
    np.testing.assert_allclose(bars, [(500 / 1.5 - 50, 500 / 1.5 + 50), (1000 / 1.5 - 100, 1000 / 1.5 + 100)])


def test_the_picture_says_what_it_shows(run_dir):
    axes = learning_curve(read_metrics(run_dir), "ppo on CartPole-v1, seed 3").axes[0]
    assert axes.get_title() == "ppo on CartPole-v1, seed 3"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment steps", "episode return")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "evaluation"]


def test_a_run_that_finished_no_episode_can_be_drawn(run_dir):
    (run_dir / "metrics.jsonl").write_text('{"step": 5, "loss/policy": NaN}\n')
    assert plot_learning_curve(run_dir).stat().st_size > 0
