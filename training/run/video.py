"""Films of an agent at play, several copies side by side; needs no display and no system ffmpeg."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.make import EnvSpec, make_envs
from ...envs.vector import Envs
from .evaluate import Actor

MAX_STEPS = 10_000
MAX_SIDE = 1280
BORDER = 4
# Pictures for a README: small, few, and no longer than a glance.
GIF_SIDE, GIF_FRAMES_PER_SECOND, GIF_SECONDS = 320, 15, 20


def record_video(
    agent: Actor, spec: EnvSpec, path: Path, copies: int = 1, gif: bool = False, explore: bool = False
) -> list[Path]:
    """Write one episode of each of `copies` to an mp4 file, and beside it a GIF if asked for.

    Args:
        agent: Who plays.
        spec: In which environment.
        path: Where to; its folder is made.
        copies: How many play, in a grid; those that have ended stand still until the last one has.
        gif: Whether to write a small GIF, too, of the first 20 seconds: every picture, or some of them and the last.
        explore: Whether it acts as in training; by default it takes its best actions.

    Returns:
        The files.
    """
    import imageio.v2 as imageio

    envs = envs_to_draw(replace(spec, num_envs=copies, render_mode="rgb_array"))
    fps = envs.frames_per_second
    every = max(1, round(fps / GIF_FRAMES_PER_SECOND))
    most = max(1, round(GIF_SECONDS * fps / every))
    small: list[np.ndarray] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Written as they come: an episode may be too long to be held.
        writer: Any = imageio.get_writer(path, fps=fps, codec="libx264", macro_block_size=2)
        with writer as film:
            for t, pictures in enumerate(play_and_draw(agent, envs, explore)):
                frame = shrunk(grid(pictures), MAX_SIDE)
                # yuv420p, which players expect, needs even sides.
                film.append_data(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])
                if gif and t % every == 0 and len(small) < most:
                    small.append(shrunk(frame, GIF_SIDE))
            # How the episode ends belongs to it.
            if gif and t % every != 0 and len(small) < most:
                small.append(shrunk(frame, GIF_SIDE))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        envs.close()
    if not gif:
        return [path]
    frames: Any = small
    imageio.mimsave(path.with_suffix(".gif"), frames, duration=1000 * every / fps, loop=0)
    return [path, path.with_suffix(".gif")]


def film_run(
    agent: Actor,
    step: int,
    spec: EnvSpec,
    folder: Path,
    copies: int = 1,
    gif: bool = False,
    explore: bool = False,
) -> list[Path]:
    """Film an episode of what was learned in `step` steps; returns the files, named by them."""
    return record_video(agent, spec, folder / f"step-{step:09d}.mp4", copies, gif, explore)


def check_video(spec: EnvSpec) -> None:
    """Make sure that an environment can be drawn.

    Raises:
        ValueError: it cannot.
    """
    envs_to_draw(replace(spec, num_envs=1, render_mode="rgb_array")).close()


def envs_to_draw(spec: EnvSpec) -> Envs:
    """Single environments, which can all be drawn; but ALE's own, which show what their agents were trained on.

    Raises:
        ValueError: the agent was trained in a pool that shows something else than Gymnasium's environment.
    """
    if spec.backend == "ale":
        return make_envs(spec)
    drawn = replace(spec, backend="async" if spec.one_per_process else "sync")
    if spec.backend != "envpool":
        return make_envs(drawn)
    with closing(make_envs(replace(spec, num_envs=1, render_mode=None))) as pool:
        pool_space = pool.observation_space
    try:
        envs = make_envs(drawn)
    except ValueError as error:
        raise ValueError(f"EnvPool cannot draw; instead of it: {error}") from error
    if envs.observation_space.shape != pool_space.shape:
        envs.close()
        raise ValueError(f"EnvPool cannot draw, and Gymnasium's {spec.id} shows something else: no video")
    return envs


def play_and_draw(agent: Actor, envs: Envs, explore: bool) -> Iterator[list[np.ndarray]]:
    """Play one episode of every copy; yields the pictures `[height, width, 3]` of all copies.

    They are those of every state, of the last ones too, which show how the episodes ended.
    """
    obs, first, state = envs.reset(), np.ones(envs.num_envs, bool), agent.initial_state(envs.num_envs)
    playing = np.ones(envs.num_envs, bool)
    pictures = [envs.render(i) for i in range(envs.num_envs)]
    pictures = [of_size(picture, pictures[0].shape) for picture in pictures]
    for _ in range(MAX_STEPS):
        yield pictures
        if not playing.any():
            return
        action, state = agent.act(obs, state, first, explore)
        step = envs.step(action)
        obs, first = step.obs, step.first
        pictures = [
            of_size(envs.render(i), pictures[i].shape) if playing[i] else pictures[i]
            for i in range(envs.num_envs)
        ]
        playing &= ~(step.terminated | step.truncated)


def of_size(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cut a picture `[height, width, 3]` off, or put black around it: all of a film are as large as the first."""
    if picture.shape == shape:
        return picture
    height, width = (min(sides) for sides in zip(picture.shape[:2], shape[:2], strict=True))
    fitted = np.zeros(shape, np.uint8)
    fitted[:height, :width] = picture[:height, :width]
    return fitted


def grid(pictures: list[np.ndarray]) -> np.ndarray:
    """Lay pictures `[height, width, 3]` of one size out in a grid about as wide as high, black between them."""
    if len(pictures) == 1:
        return pictures[0]
    height, width, _ = pictures[0].shape
    columns = math.ceil(math.sqrt(len(pictures) * height / width))
    rows = math.ceil(len(pictures) / columns)
    sheet = np.zeros((rows * (height + BORDER) - BORDER, columns * (width + BORDER) - BORDER, 3), np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + BORDER), index % columns * (width + BORDER)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """Take every n-th row and column, so that neither side is longer than `side`."""
    step = max(1, math.ceil(max(picture.shape[:2]) / side))
    return picture[::step, ::step]
