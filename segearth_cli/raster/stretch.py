"""From a scene's own values to 8 bits: the rule as the user gives it, and limits taken from a sample of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.raster.datasets import environment
from segearth_cli.raster.grid import Window
from segearth_cli.raster.options import parse_decibels, parse_stretch
from segearth_cli.raster.scene import Scene, decibels

STRETCH_SAMPLE = 1024  # longest side, in pixels, of the decimated read that a stretch is computed from
NEGATIVE = 0.01  # share of values below 0 that tells decibels; removing noise leaves a few in linear ones
STRETCH_PIXELS = 100_000_000  # rasters above this are sampled in blocks
_TALLEST = 1024  # rows of blocks that are read together
_AT_ONCE = 1 << 20  # pixels


@dataclass(frozen=True, slots=True)
class Unit:
    """What the values of a band measure: physical value = raw value * scale + offset."""

    scale: float = 1.0
    """Physical units of one raw unit."""
    offset: float = 0.0
    """Physical value of raw 0."""

    def raw(self, value: float) -> float:
        """The raw value of a physical one.

        >>> Unit(scale=0.5, offset=-100.0).raw(200.0)
        600.0
        """
        if not self.scale or not math.isfinite(self.scale) or not math.isfinite(self.offset):
            return value
        return (value - self.offset) / self.scale


def with_stretch(scene: Scene, rule: str, units: Sequence[Unit], bits: int) -> Scene:
    """The scene with its stretch settled: (low, high) a band, or None for 8-bit values and palettes left alone.

    units: of each band, for limits that the user gives. bits: that values have; fewer than 8 are drawn over all 256.
    """
    percentiles, limits = parse_stretch(rule)
    how, rest = parse_decibels(rule)
    plain = rest == "auto" and how != "yes"
    if scene.palette is not None or (plain and scene.dtype == "uint8" and bits == 8):
        return scene
    if plain and scene.dtype == "uint8":
        return replace(scene, stretch=((0.0, 2.0**bits - 1),) * len(scene.bands))
    if how != "look" and limits is not None:
        return _between(scene, limits, units, in_decibels=how == "yes")
    sampled, in_decibels = _sampled(scene), how == "yes"
    if how == "look":
        in_decibels = _linear(sampled)
        told = f"values are {'linear, drawn as decibels' if in_decibels else 'decibels'}"
        scene = replace(scene, notices=(*scene.notices, f"{scene.path}: --stretch sar: {told}"))
        if limits is not None:
            return _between(scene, limits, units, in_decibels=in_decibels)
    if in_decibels:
        sampled = [decibels(band[band > 0]) for band in sampled]
    pairs = [np.percentile(band, percentiles) if len(band) else (0.0, 1.0) for band in sampled]
    found = tuple((float(low), float(high)) for low, high in pairs)
    return replace(scene, stretch=found, decibels=in_decibels)


def _between(scene: Scene, limits: tuple[float, float], units: Sequence[Unit], *, in_decibels: bool) -> Scene:
    """The scene stretched between limits that the user gave in physical units, or in decibels of these."""
    if not in_decibels:
        return replace(scene, stretch=tuple((unit.raw(limits[0]), unit.raw(limits[1])) for unit in units))
    ends = [[max(unit.raw(10 ** (end / 10)), np.finfo(float).tiny) for end in limits] for unit in units]
    return replace(scene, stretch=tuple((_db(low), _db(high)) for low, high in ends), decibels=True)


def _linear(sampled: Sequence[NDArray[np.float64]]) -> bool:
    """Whether samples (n,) of radar bands are linear, and no decibels, of which many are below 0."""
    below = sum(int((band < 0).sum()) for band in sampled)
    return below <= NEGATIVE * sum(map(len, sampled))


def _sampled(scene: Scene) -> list[NDArray[np.float64]]:
    """A sample (n,) of the data of each band."""
    factor = min(1.0, STRETCH_SAMPLE / max(scene.height, scene.width))
    size = max(1, round(scene.height * factor)), max(1, round(scene.width * factor))
    values, data = _decimated(scene, size)
    return [band[where].astype(np.float64) for band, where in zip(values, data, strict=True)]


def _db(value: float) -> float:
    return 10 * math.log10(value)


def _decimated(scene: Scene, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A sample of the scene's pixels and where they are data, both (bands, n), at about `size` in all.

    Every n-th pixel of the coarsest overview that is large enough; where that would decode a huge raster whole, blocks
    spread evenly over it.
    """
    level, (rows, cols) = scene.level(size)
    step_rows, step_cols = max(1, rows // size[0]), max(1, cols // size[1])
    if rows * cols <= STRETCH_PIXELS:
        parts = _strips(rows, cols, step_rows, scene.block[0] if level is None else _TALLEST)
    else:
        side = 256
        parts = [
            Window(row, col, min(side, rows), min(side, cols))
            for row in range(0, max(1, rows - side), max(side, rows // 16))
            for col in range(0, max(1, cols - side), max(side, cols // 16))
        ]
        step_rows, step_cols = 1, 4

    def thinned(part: Window, read: NDArray[Any]) -> NDArray[Any]:
        return read[:, -part.row % step_rows :: step_rows, ::step_cols].reshape(len(read), -1)

    with environment(scene.path, remote=scene.remote):  # one for all: leaving it may drop the blocks that it holds
        found = [[thinned(part, read) for read in scene.values(part, level)] for part in parts]
    values, samples = (np.concatenate(thin, axis=1) for thin in zip(*found, strict=True))
    return values, samples


def _strips(rows: int, cols: int, step: int, block: int) -> list[Window]:
    """Windows that hold every `step`-th row, so that no row of blocks, each so many rows high, is decoded twice."""
    if block < step:
        return [Window(row, 0, 1, cols) for row in range(0, rows, step)]
    tall = min(block, _TALLEST)
    high = tall * max(1, _AT_ONCE // (tall * cols))
    return [Window(row, 0, min(high, rows - row), cols) for row in range(0, rows, high)]
