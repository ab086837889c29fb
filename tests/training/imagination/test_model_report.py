import json

import imageio.v3 as imageio
import numpy as np
import pytest

from palaestra.training.imagination.model_report import numbers, open_loop, strips, write_film, write_report

REPORT = {
    "env": "Corridor<1>",
    "encoder": "vae",
    "dynamics": "mdn_rnn",
    "skill": {"1": 0.9, "2": 0.5, "5": -7.0, "10": None},
}


def test_skill_is_drawn_where_there_is_any():
    (axes,) = numbers(REPORT).axes
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 5]
    assert axes.lines[0].get_ydata().tolist() == [0.9, 0.5, -1.0]


def test_dreams_are_drawn_beside_the_real_return():
    report = REPORT | {"dream_return": {"0.1": 9.0, "1.0": 5.0}, "real_return": 4.0}
    axes = numbers(report).axes[1]
    assert axes.lines[0].get_ydata().tolist() == [9.0, 5.0] and axes.lines[1].get_ydata() == [4.0, 4.0]


def test_vectors_are_curves():
    truth = np.arange(12.0).reshape(6, 2)
    figure = open_loop(truth, truth, truth + 1)
    assert len(figure.axes) == 2
    assert figure.axes[1].lines[1].get_ydata().tolist() == [2, 4, 6, 8, 10, 12]


# The reader of films leaves its pipes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3), (4, 16, 16), (16, 16, 2), (2, 16, 16, 1)])
def test_pictures_are_strips_and_films(shape, tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (25, *shape)).astype(np.uint8)
    example = frames, frames.astype(np.float32), frames
    assert len(open_loop(*example).axes) == 30
    assert len(strips(frames.reshape(5, 5, *shape)).axes) == 25
    write_film(tmp_path / "film.mp4", example)
    film = imageio.imread(tmp_path / "film.mp4")
    assert len(film) == 25 and film[0].shape == (128, 384, 3)


def test_the_page_names_what_it_is_about(tmp_path):
    truth = np.zeros((3, 2))
    write_report(tmp_path, REPORT, (truth, truth, truth))
    page = (tmp_path / "report.html").read_text()
    assert "Corridor&lt;1&gt;" in page and "open_loop.png" in page and "Corridor<1>" not in page
    assert json.loads((tmp_path / "report.json").read_text()) == REPORT
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "report.json",
        "report.png",
        "open_loop.png",
    }
