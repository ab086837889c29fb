import imageio.v3 as imageio
import numpy as np
import pytest

from palaestra.envs.make import EnvSpec
from palaestra.training.run import video
from palaestra.training.run.video import BORDER, grid, of_size, record_video, shrunk

CELL = 20


def place(frame):
    """The bluest of the corridor's eight cells."""
    middles = frame[10, 10 : 8 * CELL : CELL].astype(int)
    return int(np.argmax(middles[:, 2] - middles[:, 0]))


class Right:
    """Always goes right."""

    def initial_state(self, num_envs):
        return np.zeros((num_envs, 0), np.float32)

    def act(self, obs, state, first, explore=True):
        return np.ones(len(obs), np.int64), state


def test_a_grid_by_hand():
    pictures = [np.full((2, 4, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = grid(pictures)
    # Twice as wide as high, so that two stand side by side.
    assert sheet.shape == (2 * 2 + BORDER, 2 * 4 + BORDER, 3)
    assert sheet[0, 0, 0] == 10 and sheet[0, -1, 0] == 20 and sheet[-1, 0, 0] == 30 and sheet[-1, -1, 0] == 0
    assert sheet[0, 4, 0] == 0
    assert grid(pictures[:1]) is pictures[0]


def test_shrinking():
    assert shrunk(np.zeros((10, 7, 3)), 5).shape == (5, 4, 3)
    assert shrunk(np.zeros((10, 7, 3)), 10).shape == (10, 7, 3)


def test_pictures_of_other_sizes_are_made_as_large_as_the_first():
    """Players and writers of films take one size."""
    picture = np.full((2, 5, 3), 7, np.uint8)
    assert of_size(picture, (2, 5, 3)) is picture
    fitted = of_size(picture, (3, 4, 3))
    assert fitted.shape == (3, 4, 3) and (fitted[:2] == 7).all() and (fitted[2] == 0).all()


# The reader of films leaves its pipes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("copies", [1, 3])
def test_a_film_of_one_episode_of_each_copy(tmp_path, copies):
    spec = EnvSpec("palaestra/Corridor-v0", kwargs={"size": 8})
    film, picture = record_video(Right(), spec, tmp_path / "new" / "film.mp4", copies, gif=True)
    frames = imageio.imread(film)
    # From cell 1 to cell 7 in six steps: seven states, and none of them twice.
    assert len(frames) == 7
    assert [place(frame) for frame in frames] == [1, 2, 3, 4, 5, 6, 7]
    columns, rows = (1, 1) if copies == 1 else (1, 3)
    assert frames.shape[1:] == (rows * (CELL + BORDER) - BORDER, columns * (8 * CELL + BORDER) - BORDER, 3)
    assert len(imageio.imread(picture, index=None)) == 7


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(("seconds", "shown"), [(20, [1, 5, 7]), (0.8, [1, 5])], ids=["whole", "beginning"])
def test_a_small_gif_ends_as_the_episode_does(seconds, shown, tmp_path, monkeypatch):
    """Of 7 pictures, 10 a second, every fourth and the last one; of one of more than 0.8 seconds the first two."""
    monkeypatch.setattr(video, "GIF_FRAMES_PER_SECOND", 2.5)
    monkeypatch.setattr(video, "GIF_SECONDS", seconds)
    spec = EnvSpec("palaestra/Corridor-v0", kwargs={"size": 8})
    _, picture = record_video(Right(), spec, tmp_path / "film.mp4", gif=True)
    frames = imageio.imread(picture, index=None)
    assert [place(frame) for frame in frames] == shown


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(("explore", "cells"), [(False, 7), (True, 101)])
def test_films_show_best_actions_or_those_of_training(explore, cells, tmp_path):
    class LeftInTraining(Right):
        def act(self, obs, state, first, explore=True):
            return np.full(len(obs), 0 if explore else 1, np.int64), state

    spec = EnvSpec("palaestra/Corridor-v0", kwargs={"size": 8})
    (film,) = record_video(LeftInTraining(), spec, tmp_path / "film.mp4", explore=explore)
    assert len(imageio.imread(film)) == cells


def test_environments_without_pictures(tmp_path):
    with pytest.raises(ValueError, match="cannot be drawn"):
        record_video(Right(), EnvSpec("palaestra/ProbeAction-v0"), tmp_path / "film.mp4")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_pools_are_drawn_as_they_are_or_by_gymnasium(tmp_path):
    pytest.importorskip("ale_py")
    game = EnvSpec("ALE/Pong-v5", backend="ale", kwargs={"max_num_frames_per_episode": 80, "noop_max": 0})
    (film,) = record_video(Right(), game, tmp_path / "ale.mp4")
    frames = imageio.imread(film)
    assert len(frames) == 21 and frames.shape[1:] == (336, 336, 3)
    pytest.importorskip("envpool")
    pool = EnvSpec("CartPole-v1", backend="envpool", kwargs={"max_episode_steps": 5})
    (film,) = record_video(Right(), pool, tmp_path / "pool.mp4")
    assert len(imageio.imread(film)) == 6
    with pytest.raises(ValueError, match=r"^EnvPool cannot draw; instead of it: unknown environment"):
        record_video(Right(), EnvSpec("CheetahRun-v1", backend="envpool"), tmp_path / "no.mp4")
