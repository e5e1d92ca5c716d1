"""Which pixels are data: GDAL's own rules over the bands that are drawn, at every resolution.

As for rasterio's `dataset_mask`: mask bands decide where there are some, else an alpha band, else the nodata value of
each band; a pixel is data when one of its bands is. NaN and infinity are never data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags

from segearth_cli.raster.grid import Window
from segearth_cli.raster.options import ReadOptions

_STEP = np.finfo(np.float32).eps  # GDAL takes it for doubles too
_WHOLE = 2.0**53  # beyond it not every integer is a float
_AT_ONCE = 1 << 24  # pixels of a mask band held while its overview is made


@dataclass(frozen=True, slots=True)
class Validity:
    """What tells the samples with data of the bands that are drawn."""

    masks: tuple[int, ...]
    """Bands whose mask bands are asked: none, one for all bands drawn, or each of these."""
    alpha: int | None
    """The band whose zeros are no data, or None."""
    nodata: tuple[float | None, ...]
    """The value without data in each band drawn, None where every value is data."""

    def always(self, dtype: np.dtype[Any]) -> bool:
        """Whether every sample of this type is data."""
        inside = all(value is None or never(value, dtype) for value in self.nodata)
        return not self.masks and self.alpha is None and inside and dtype.kind != "f"

    def samples(
        self, values: NDArray[Any], alpha: NDArray[Any] | None, masks: NDArray[np.bool_] | None
    ) -> NDArray[np.bool_]:
        """Where samples (bands, H, W) are data; alpha: (H, W); masks: (bands or 1, H, W) of `masks`."""
        if self.always(values.dtype):
            return np.broadcast_to(True, values.shape)
        found = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
        for data, band, nodata in zip(found, values, self.nodata, strict=True):
            if nodata is not None and not never(nodata, band.dtype):
                data &= ~_equal(band, nodata)
        if alpha is not None:
            found &= alpha > 0
        if masks is not None:
            found &= masks
        return found


def pixels(samples: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where pixels (H, W) are data: where one of their samples (bands, H, W) is."""
    return np.asarray(samples.any(axis=0))


def validity(dataset: Any, bands: Sequence[int], options: ReadOptions) -> Validity:
    """What tells the data in `bands` of a dataset, as its file says or as the user chose otherwise."""
    flags = [dataset.mask_flag_enums[band - 1] for band in bands]
    masks: tuple[int, ...] = ()
    if options.mask and any(_asks_a_mask(each, options) for each in flags):
        masks = tuple(bands[:1] if MaskFlags.per_dataset in flags[0] else bands)
    elif options.nodata is None and not all(_told_whole(dataset, band) for band in bands):
        masks = tuple(bands)
    alpha = alpha_band(dataset, bands) if options.alpha and not masks else None
    if options.nodata is not None:
        nodata: tuple[float | None, ...] = (options.nodata_value(),) * len(bands)
    elif masks or alpha:
        nodata = (None,) * len(bands)
    else:
        nodata = tuple(dataset.nodatavals[band - 1] for band in bands)
    return Validity(masks, alpha, nodata)


def alpha_band(dataset: Any, bands: Sequence[int]) -> int | None:
    """The band flagged as alpha, None when there is none or it is drawn."""
    flagged = (i for i, meaning in enumerate(dataset.colorinterp, start=1) if meaning == ColorInterp.alpha)
    return next((band for band in flagged if band not in bands), None)


def _asks_a_mask(flags: Sequence[MaskFlags], options: ReadOptions) -> bool:
    """Whether a band has a mask of its own or of its dataset, as its mask flags say."""
    if MaskFlags.nodata in flags:  # with per_dataset: a value for each band, no data where all bands have theirs
        return MaskFlags.per_dataset in flags and options.nodata is None
    return MaskFlags.all_valid not in flags and MaskFlags.alpha not in flags


def _equal(values: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    """Where values are a nodata value, as GDAL's mask bands have it: floats to about seven digits (ARE_REAL_EQUAL)."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        value = values.dtype.type(nodata)
        if values.dtype.kind != "f":
            return np.asarray(values == value)
        near = np.abs(values - value) < _STEP * np.abs(values + value) * 2
    return np.asarray((values == value) | near)


def _told_whole(dataset: Any, band: int) -> bool:
    """Whether rasterio tells the nodata value of a band as it is: not of 64-bit integers that are no float."""
    value = dataset.nodatavals[band - 1]
    if value is None:
        return MaskFlags.nodata not in dataset.mask_flag_enums[band - 1]
    return dataset.dtypes[band - 1] not in ("int64", "uint64") or abs(value) < _WHOLE


def never(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether no finite sample of a type can have a value."""
    if dtype.kind == "f":
        return not math.isfinite(value)
    if not math.isfinite(value) or value != int(value):
        return True
    limits = np.iinfo(dtype)
    return not limits.min <= value <= limits.max


def coarse(
    read: Callable[[Window], NDArray[np.bool_]], window: Window, size: tuple[int, int], full: tuple[int, int]
) -> NDArray[np.bool_]:
    """Where the pixels of a window of an overview cover any data of a mask band, (n, H, W).

    read: (n, h, w) of a window of the full grid. size, full: rows and columns of the overview and of the full grid.
    A mask band need not have the overviews of its picture, and GDAL then takes all pixels of these for data.
    """
    rows = _edges(window.row, window.bottom, size[0], full[0])
    cols = _edges(window.col, window.right, size[1], full[1])
    width = int(cols[-1] - cols[0])
    step = max(1, _AT_ONCE * window.height // int(max(1, (rows[-1] - rows[0]) * width)))
    parts = []
    for first in range(0, window.height, step):
        edge = rows[first : first + step + 1]
        fine = read(Window(int(edge[0]), int(cols[0]), int(edge[-1] - edge[0]), width))
        down = np.logical_or.reduceat(fine, edge[:-1] - edge[0], axis=1)
        parts.append(np.logical_or.reduceat(down, cols[:-1] - cols[0], axis=2))
    return np.concatenate(parts, axis=1)


def _edges(first: int, end: int, size: int, full: int) -> NDArray[np.int64]:
    """Where pixels first..end-1 of an axis of `size` begin, and the last ends, on one of `full` >= size."""
    return np.arange(first, end + 1) * full // size
