"""Drawing without a graphics library: smooth lines on batches of small grey pictures."""

from __future__ import annotations

import numpy as np

# Pictures drawn at once: more no longer fit into the cache (64 of them took twice as long).
CHUNK = 8


def draw_line(
    pictures: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float, brightness: float = 1.0
) -> None:
    """Draw a line with round ends into each of the pictures `[B, H, W]` (float32, 0 to 1), in place.

    Points `[B, 2]` are (x, y) in pixels, the centre of the top left one being (0, 0). A pixel is lit by how much of
    it lies within `radius` of the line, `clip(radius + 1/2 - distance, 0, 1)`, so that movements of a tenth of a pixel
    still show.
    """
    if len(pictures) > CHUNK:
        for part in (slice(at, at + CHUNK) for at in range(0, len(pictures), CHUNK)):
            draw_line(pictures[part], start[part], end[part], radius, brightness)
        return
    height, width = pictures.shape[1:]
    # Only the part of the pictures that some line touches.
    points = np.concatenate([start, end])
    low = np.floor(points.min(0) - radius - 1).astype(int)
    high = np.ceil(points.max(0) + radius + 1).astype(int)
    left, right = max(low[0], 0), min(high[0] + 1, width)
    top, bottom = max(low[1], 0), min(high[1] + 1, height)
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32)[None, None, :]
    y = np.arange(top, bottom, dtype=np.float32)[None, :, None]
    (x0, y0), (dx, dy) = (part.astype(np.float32).T[..., None, None] for part in (start, end - start))
    length = np.maximum(dx * dx + dy * dy, np.float32(1e-12))
    # How far along the line the nearest point lies, 0 at its start and 1 at its end.
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / length, 0, 1)
    distance = np.hypot(x - x0 - along * dx, y - y0 - along * dy)
    light = np.clip(np.float32(radius + 0.5) - distance, 0, 1) * np.float32(brightness)
    touched = pictures[:, top:bottom, left:right]
    np.maximum(touched, light, out=touched)
