"""A world model's report as files: JSON, a page, and pictures of its predictions."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tracking.plots import BLUE, VERMILION
from ..tracking.wandb_publish import Publication

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What an example shows: this many numbers of a vector, or moments of pictures.
MAX_ROWS, MOMENTS = 6, 10
FRAMES_PER_SECOND, FILM_HEIGHT = 10, 128

Example = tuple[np.ndarray, np.ndarray, np.ndarray]
PICTURES = ("report.png", "open_loop.png", "traversals.png")
FILES = ("report.json", "report.html", "open_loop.mp4")


def write_report(
    folder: Path, report: dict[str, Any], example: Example | None = None, moved: np.ndarray | None = None
) -> None:
    """Write `report.json`, `report.png` and `report.html`, and what an example and moved latents allow besides.

    Of an example, `open_loop.png`; of pictures `open_loop.mp4` too, and `traversals.png`.
    """
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    numbers(report).savefig(folder / "report.png", dpi=120)
    if example is not None:
        open_loop(*example).savefig(folder / "open_loop.png", dpi=120)
        if example[0].ndim > 2:
            write_film(folder / "open_loop.mp4", example)
    if moved is not None:
        strips(moved).savefig(folder / "traversals.png", dpi=120)
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(json.dumps(value))}</td></tr>"
        for name, value in report.items()
    )
    title = html.escape(f"World model of {report['env']}: {report['encoder']} + {report['dynamics']}")
    pictures = "".join(
        f'<p><img src="{name}" alt="{name}"></p>' for name in PICTURES if (folder / name).exists()
    )
    if (folder / "open_loop.mp4").exists():
        pictures += "<p>truth, decoded, predicted<br><video src='open_loop.mp4' controls loop></video></p>"
    page = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{pictures}<table>{rows}</table>"
    (folder / "report.html").write_text(page, encoding="utf-8")


def model_publication(folder: Path, report: dict[str, Any]) -> Publication:
    """The same for W&B."""
    flat = dict(flattened(report))
    skill = [(float(k), value) for k, value in report["skill"].items() if value is not None]
    steps, values = [k for k, _ in skill], [value for _, value in skill]
    rows = [[name, str(value)] for name, value in flat.items()]
    return Publication(
        kind="world-model",
        name=f"{report['env']}: {report['encoder']} + {report['dynamics']}",
        text=["\n".join(["| what | value |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)])],
        config={name: report[name] for name in ("env", "encoder", "dynamics")},
        summary={name: value for name, value in flat.items() if value is not None},
        tables={"report": (["what", "value"], rows)},
        curves={"skill by steps ahead": {"open loop": (steps, values)}},
        pictures=[folder / name for name in PICTURES if (folder / name).exists()],
        files=[folder / name for name in FILES if (folder / name).exists()],
    )


def flattened(report: dict[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every single value, named by its path."""
    for name, value in report.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{above}{name}/")
        elif isinstance(value, list):
            yield from flattened(dict(enumerate(value)), f"{above}{name}/")
        else:
            yield f"{above}{name}", value


def numbers(report: dict[str, Any]) -> Figure:
    """Draw skill by horizon, and the returns of a policy in dreams where they were measured."""
    from matplotlib.figure import Figure

    panels = 2 if "dream_return" in report else 1
    figure = Figure(figsize=(4.5 * panels, 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, panels))
    skill = {int(k): value for k, value in report["skill"].items() if value is not None}
    # Worse than persistence is worse than persistence: by how much would hide the rest.
    axes[0].plot(list(skill), [max(value, -1.0) for value in skill.values()], color=BLUE, marker="o")
    axes[0].axhline(0.0, color="black", linewidth=1)
    axes[0].set(xscale="log", xlabel="steps ahead", ylabel="skill over persistence", ylim=(-1.05, 1.05))
    axes[0].set_xticks(list(skill), [str(k) for k in skill])
    axes[0].minorticks_off()
    if panels == 2:
        dreamt = {float(t): value for t, value in report["dream_return"].items()}
        axes[1].plot(list(dreamt), list(dreamt.values()), color=BLUE, marker="o", label="dream")
        axes[1].axhline(report["real_return"], color=VERMILION, label="real")
        axes[1].set(xlabel="temperature", ylabel="return")
        axes[1].legend(frameon=False)
    for each in axes:
        each.grid(alpha=0.3)
        each.spines[["top", "right"]].set_visible(False)
    return figure


def open_loop(truth: np.ndarray, decoded: np.ndarray, predicted: np.ndarray) -> Figure:
    """Draw observations `[T, ...]` as they were, decoded, and predicted: curves of vectors, strips of pictures."""
    from matplotlib.figure import Figure

    if not 1 < truth.ndim < 6:  # numbers without an axis, or with so many that they are no picture
        truth, decoded, predicted = (
            values.reshape(len(values), -1) for values in (truth, decoded, predicted)
        )
    if truth.ndim > 2:
        moments = np.linspace(0, len(truth) - 1, min(len(truth), MOMENTS)).astype(int)
        figure = Figure(figsize=(1.2 * len(moments), 4), layout="constrained")
        grid = figure.subplots(3, len(moments), squeeze=False)
        for row, (name, frames) in enumerate(
            (("truth", truth), ("decoded", decoded), ("predicted", predicted))
        ):
            for column, t in enumerate(moments):
                grid[row, column].imshow(_picture(frames[t]), cmap="gray", vmin=0, vmax=truth.max() or 1)
                grid[row, column].set(xticks=[], yticks=[], title=f"{t}" if row == 0 else "")
            grid[row, 0].set_ylabel(name)
        return figure
    rows = min(truth.shape[1], MAX_ROWS)
    figure = Figure(figsize=(6, 1.4 * rows + 0.6), layout="constrained")
    for index, axes in enumerate(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]):
        axes.plot(truth[:, index], color=VERMILION, linewidth=2, label="truth")
        axes.plot(predicted[:, index], color=BLUE, linestyle="--", label="predicted")
        axes.set_ylabel(f"obs[{index}]")
        axes.grid(alpha=0.3)
        if index == 0:
            axes.legend(frameon=False, ncols=2)
        if index == rows - 1:
            axes.set_xlabel("steps from the first observation on, open loop")
    return figure


def write_film(path: Path, example: Example) -> None:
    """Write truth, decoded and predicted pictures `[T, ...]` side by side, as an mp4 file."""
    import imageio.v2 as imageio

    top = float(example[0].max()) or 1.0
    writer: Any = imageio.get_writer(path, fps=FRAMES_PER_SECOND, codec="libx264", macro_block_size=2)
    with writer as film:
        for frames in zip(*example, strict=True):
            row = np.concatenate([_as_bytes(_picture(frame), top) for frame in frames], axis=1)
            times = -(-FILM_HEIGHT // row.shape[0])
            large = row.repeat(times, 0).repeat(times, 1)
            # yuv420p, which players expect, needs even sides.
            film.append_data(large[: large.shape[0] // 2 * 2, : large.shape[1] // 2 * 2])


def _as_bytes(picture: np.ndarray, top: float) -> np.ndarray:
    """A picture as RGB `[H, W, 3]` uint8; grey ones are scaled so that `top` is white, colours come from 0 to 1."""
    if picture.ndim == 3:
        return np.rint(picture * 255).astype(np.uint8)
    grey = np.rint(np.clip(picture / top, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def strips(moved: np.ndarray) -> Figure:
    """Draw pictures `[D, steps, ...]`: a row for each latent dimension that moves."""
    from matplotlib.figure import Figure

    rows, steps = moved.shape[:2]
    figure = Figure(figsize=(steps, rows + 0.4), layout="constrained")
    for axes, frame in zip(
        figure.subplots(rows, steps, squeeze=False).flat, moved.reshape(-1, *moved.shape[2:]), strict=True
    ):
        axes.imshow(_picture(frame), cmap="gray", vmin=0, vmax=moved.max() or 1)
        axes.set(xticks=[], yticks=[])
    figure.suptitle("latents from -2 to 2 deviations, those that vary most first")
    return figure


def _picture(frame: np.ndarray) -> np.ndarray:
    """A frame as grey `[H, W]` or as RGB from 0 to 1; of stacked frames, the newest."""
    if frame.ndim == 4:
        frame = frame[-1]
    if frame.ndim == 3 and frame.shape[-1] in (1, 3):
        if frame.shape[-1] == 1:
            return frame[..., 0]
        return np.clip(frame / 255 if frame.max() > 1 else frame, 0, 1)
    return frame if frame.ndim == 2 else frame[-1] if frame.shape[-1] > 4 else frame[..., -1]
