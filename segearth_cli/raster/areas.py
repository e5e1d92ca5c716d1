"""How much ground each class of a mask covers: pixels counted, and weighed by what a pixel measures where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.errors import RasterError
from segearth_cli.raster.georeference import Georeferenced
from segearth_cli.raster.ground import Ground
from segearth_cli.raster.mask_reader import MaskFile, mask_strips
from segearth_cli.raster.side_file import table_counts
from segearth_cli.raster.small import SmallMask

COUNTED = 1 << 26  # pixels; larger masks are not read whole
_CELLS = 32  # a side, over the whole raster; within one a pixel's area is taken to be the same


@dataclass(frozen=True, slots=True)
class ClassAreas:
    """What the classes of a mask cover."""

    pixels: dict[int, int]
    """Pixels by code, without those that are no data; codes of none are left out."""
    square_metres: dict[int, float] | None
    """Square metres on the ground by code; None where nothing tells the size of a pixel."""
    counted: bool
    """Whether every pixel was counted, here or when the mask was written; else they are estimated from an overview."""


def class_areas(mask: MaskFile, small: SmallMask, most: int = COUNTED) -> ClassAreas:
    """What the classes of a mask cover; small: the mask read at a small size.

    A mask of up to `most` pixels is counted. Of a larger one the pixels are those that its attribute table tells, else
    estimated from `small`; the mean size of a class's pixels is that of its pixels in `small`. Raises RasterError.
    """
    ground = Ground(mask.frame, mask.path)
    whole = mask.height * mask.width <= most
    counts = _counted(mask) if whole else _in_cells(small.codes, small.data)
    pixels, weighed = _sums(counts, _cell_areas(ground, mask))
    if whole:
        return ClassAreas(pixels, _known(weighed, ground), counted=True)
    told = table_counts(mask.path)
    share = mask.height * mask.width / small.codes.size
    exact = told or {code: round(n * share) for code, n in pixels.items()}
    typical = sum(weighed.values()) / max(1, sum(pixels.values()))
    metres = {code: n * (weighed[code] / pixels[code] if pixels.get(code) else typical) for code, n in exact.items()}
    return ClassAreas({code: n for code, n in exact.items() if n}, _known(metres, ground), counted=told is not None)


def ground_area(scene: Georeferenced) -> float | None:
    """Square metres of the ground under a whole scene or mask; None where nothing tells the size of a pixel."""
    try:
        ground = Ground(scene)
    except RasterError:
        return None
    area = float(_cell_areas(ground, scene).mean()) * scene.width * scene.height
    return area if ground.crs is not None and np.isfinite(area) else None


def _known(areas: dict[int, float], ground: Ground) -> dict[int, float] | None:
    """The areas, None where they would not be those on the ground."""
    measured = ground.crs is not None and all(np.isfinite(area) for area in areas.values())
    return {code: area for code, area in areas.items() if area} if measured else None


def _counted(mask: MaskFile) -> dict[int, NDArray[np.int64]]:
    """Pixels of each code in each cell, read in strips."""
    total: dict[int, NDArray[np.int64]] = {}
    rows = max(1, min(mask.rows, -(-mask.height // _CELLS)))
    top = 0
    for codes, data in mask_strips(mask, rows):
        found = _in_cells(codes, data, cells=1)
        cell = min(_CELLS - 1, (top + len(codes) // 2) * _CELLS // mask.height)
        for code, counts in found.items():
            total.setdefault(code, np.zeros((_CELLS, _CELLS), np.int64))[cell] += counts[0]
        top += len(codes)
    return total


def _in_cells(codes: NDArray[Any], data: NDArray[np.bool_] | None, cells: int = _CELLS) -> dict[int, NDArray[np.int64]]:
    """Pixels of each code, (cells, _CELLS), in a lattice of `cells` rows over codes (h, W)."""
    height, width = codes.shape
    row = np.arange(height) * cells // height
    column = np.arange(width) * _CELLS // width
    place = row[:, None] * _CELLS + column
    if codes.dtype == np.uint8:
        known = np.arange(256)
        index = codes.astype(np.int64)
    else:
        known, flat = np.unique(codes, return_inverse=True)
        index = flat.reshape(codes.shape)
    index = index + place * len(known)
    found = np.bincount(index.ravel() if data is None else index[data], minlength=cells * _CELLS * len(known))
    table = found.reshape(cells, _CELLS, len(known))
    return {int(code): table[..., i].astype(np.int64) for i, code in enumerate(known) if table[..., i].any()}


def _cell_areas(ground: Ground, mask: MaskFile | Georeferenced) -> NDArray[np.float64]:
    """Square metres of a pixel in the middle of each cell, (_CELLS, _CELLS)."""
    middle = (np.arange(_CELLS) + 0.5) / _CELLS
    at = np.stack(np.meshgrid(middle * mask.width, middle * mask.height), axis=-1)
    return ground.pixel_areas(at.reshape(-1, 2)).reshape(_CELLS, _CELLS)


def _sums(counts: dict[int, NDArray[np.int64]], areas: NDArray[np.float64]) -> tuple[dict[int, int], dict[int, float]]:
    """Pixels and square metres by code."""
    pixels = {code: int(table.sum()) for code, table in sorted(counts.items())}
    return pixels, {code: float((table * np.where(table, areas, 0)).sum()) for code, table in sorted(counts.items())}
