"""From a scene's own values to 8 bits: the rule as the user gives it, and limits taken from a sample of pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.raster.grid import Window
from segearth_cli.raster.options import parse_stretch
from segearth_cli.raster.scene import Scene

STRETCH_SAMPLE = 1024  # longest side, in pixels, of the decimated read that a stretch is computed from
STRETCH_PIXELS = 100_000_000  # rasters above this are sampled in blocks


def with_stretch(scene: Scene, rule: str) -> Scene:
    """The scene with its stretch settled: (low, high) a band, or None for 8-bit values and palettes left alone."""
    percentiles, limits = parse_stretch(rule)
    if scene.palette is not None or (rule == "auto" and scene.dtype == "uint8"):
        return scene
    if limits is not None:
        return replace(scene, stretch=(limits,) * len(scene.bands))
    factor = min(1.0, STRETCH_SAMPLE / max(scene.height, scene.width))
    size = max(1, round(scene.height * factor)), max(1, round(scene.width * factor))
    values, valid = _decimated(scene, size)
    if not valid.any():
        return replace(scene, stretch=((0.0, 1.0),) * len(scene.bands))
    pairs = [np.percentile(band[valid].astype(np.float64), percentiles) for band in values]
    return replace(scene, stretch=tuple((float(low), float(high)) for low, high in pairs))


def _decimated(scene: Scene, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A sample of the scene's pixels, (bands, n) and (n,), at about `size` in all.

    Every n-th pixel of the coarsest overview that is large enough; where that would decode a huge raster whole, blocks
    spread evenly over it.
    """
    level, (rows, cols) = scene.level(size)
    step_rows, step_cols = max(1, rows // size[0]), max(1, cols // size[1])
    if rows * cols <= STRETCH_PIXELS:
        parts = [Window(row, 0, 1, cols) for row in range(0, rows, step_rows)]
    else:
        side = 256
        parts = [
            Window(row, col, min(side, rows), min(side, cols))
            for row in range(0, max(1, rows - side), max(side, rows // 16))
            for col in range(0, max(1, cols - side), max(side, cols // 16))
        ]
        step_cols = 4
    read = [scene.values(part, level) for part in parts]
    values = np.concatenate([v[..., ::step_cols].reshape(len(v), -1) for v, _ in read], axis=1)
    return values, np.concatenate([ok[..., ::step_cols].ravel() for _, ok in read])
