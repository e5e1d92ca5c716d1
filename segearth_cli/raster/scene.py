"""Scenes: RGB chips with a valid mask on any resampled grid."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.console import without_secrets
from segearth_cli.errors import RasterError
from segearth_cli.raster.datasets import environment, open_dataset
from segearth_cli.raster.georeference import Frame, crs_name
from segearth_cli.raster.grid import Window
from segearth_cli.raster.ground import Ground
from segearth_cli.raster.paths import stem
from segearth_cli.raster.remote import UNREADABLE, patiently, reason
from segearth_cli.raster.resample import resampling
from segearth_cli.raster.validity import Validity, coarse, pixels

SOME_DATA = 1e-6  # share of a resampled pixel that must be data
TIE = 2**-20  # lifts means of exactly .5, common where sizes have a simple ratio, out of reach of rounding errors
SCATTERED = 256  # side of the cells, in pixels, in which single pixels are looked up together
FLAT = 1e-12  # of a stretch without a span


@dataclass(frozen=True, slots=True)
class Chip:
    """Pixels of one window."""

    image: NDArray[np.uint8]
    """(3, H, W) RGB; values of pixels without data mean nothing."""
    valid: NDArray[np.bool_]
    """(H, W), True = data (the inverse of numpy.ma)."""


@dataclass(frozen=True, slots=True)
class Scene(Frame):
    """A raster opened for segmentation; safe to read from several threads."""

    path: str
    """As the user gave it: a file, a URL or a /vsi path."""
    bands: tuple[int, ...]
    """Band numbers from 1: three for red, green and blue, or one for grey or a palette."""
    validity: Validity
    """What tells the pixels with data."""
    palette: NDArray[np.uint8] | None
    """Colours (N, 4) RGBA by code, N as many as the type can index; None without a palette."""
    stretch: tuple[tuple[float, float], ...] | None
    """(low, high) of each band, drawn as 0 and 255; None for 8-bit values as they are."""
    decibels: bool
    """Whether the stretch is of 10 log10 of the values, as radar is looked at; values of 0 and less are drawn as 0."""
    inverted: bool
    """Whether 0 is white (MINISWHITE)."""
    dtype: str
    """Type of the bands read."""
    overviews: tuple[int, ...]
    """Decimation factors, e.g. 2, 4, 8."""
    block: tuple[int, int]
    """Rows and columns of the file's blocks."""
    sparse: bool
    """Whether blocks that were never written read as no data."""
    antialias: bool
    """As in ReadOptions."""
    remote: bool
    """Whether any of its files is read over the network."""
    notices: tuple[str, ...]
    """Lines the user should see."""
    within: tuple[Scene, Window] | None = None
    """The scene that this one is a window of; None for a scene of its own."""
    files: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """What it is read from, as GDAL names it."""
    own: bool = False
    """Whether it is a mask, a confidence or scores that segearth wrote."""
    _local: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    def __repr__(self) -> str:
        bands, place = ", ".join(map(str, self.bands)), crs_name(self.crs or self.gcps[1]) or "no CRS"
        return f"<Scene {without_secrets(self.path)}: {self.width} x {self.height} px, bands {bands}, {place}>"

    @property
    def stem(self) -> str:
        """The file's name without folder and last suffix."""
        return stem(self.path)

    @property
    def always_valid(self) -> bool:
        """Whether every pixel is known to carry data."""
        return self.palette is None and self.validity.always(np.dtype(self.dtype))

    def pixel_metres(self) -> float:
        """Side of a pixel in metres on the ground, in the middle of the scene.

        Raises RasterError where nothing tells it: no CRS, no geotransform, points or polynomials.
        """
        ground = Ground(self, self.path)
        if ground.crs is None or (ground.placement.straight and self.transform.is_identity):
            raise RasterError(f"{self.path}: no CRS, so --gsd has no meaning here; use --scale or --long-side")
        if not math.isfinite(ground.pixel_area):
            raise RasterError(f"{self.path}: its middle is no place on the ground; use --scale or --long-side")
        return math.sqrt(ground.pixel_area)

    def read(self, window: Window, size: tuple[int, int] | None = None) -> Chip:
        """The pixels of a window on the scene's grid resampled to `size` (height, width); the scene's own by default.

        Each pixel depends on its place in the grid alone, not on the window it is read with; a resampled one is the
        mean of the data it covers, and valid when it covers any.
        Raises RasterError when the file cannot be read.
        """
        size = size or (self.height, self.width)
        if size == (self.height, self.width):
            values, samples = self.values(window, None)
            valid = pixels(samples)
            return Chip(self._to_rgb(self._filled(values, samples), valid), valid)
        level, (rows, cols) = self.level(size)
        row_at, row_weights = resampling(rows, size[0], window.row, window.bottom, antialias=self.antialias)
        col_at, col_weights = resampling(cols, size[1], window.col, window.right, antialias=self.antialias)
        source = Window(row_at, col_at, row_weights.shape[1], col_weights.shape[1])
        values, samples = self.values(source, level)
        valid = pixels(samples)
        values = self._filled(values, samples)
        weight = row_weights @ valid.astype(np.float64) @ col_weights.T
        sums = np.stack([row_weights @ np.where(valid, band, 0).astype(np.float64) @ col_weights.T for band in values])
        some = weight > SOME_DATA
        return Chip(self._to_rgb(sums / np.where(some, weight, 1), some), some)

    def part(self, window: Window) -> Scene:
        """A window of this scene as a scene, drawn with the same stretch; what of it lies beyond is black data.

        It knows its pixels and its size, not its place on the ground.
        """
        height, width = window.height, window.width
        return replace(self, height=height, width=width, within=(self, window), overviews=(), sparse=False, notices=())

    def hole(self, window: Window) -> bool:
        """Whether a window of the scene's own grid was never written (sparse GeoTIFF), so that no pixel is data."""
        return self.sparse and self._is_hole(window)

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Where a window of the scene's own grid has data, (H, W)."""
        if self.always_valid:
            return np.ones((window.height, window.width), bool)
        if self.hole(window):
            return np.zeros((window.height, window.width), bool)
        return pixels(self.values(window, None)[1])

    def valid_at(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where single pixels have data: (n,) for (n, 2) rows and columns of the scene's own grid."""
        found = np.ones(len(places), bool)
        if self.always_valid or not len(places):
            return found
        cells, of_cell = np.unique(places // SCATTERED, axis=0, return_inverse=True)
        for number in range(len(cells)):
            which = np.flatnonzero(of_cell.ravel() == number)
            (top, left), (bottom, right) = places[which].min(axis=0).tolist(), places[which].max(axis=0).tolist()
            valid = self.valid(Window(top, left, bottom - top + 1, right - left + 1))
            found[which] = valid[places[which, 0] - top, places[which, 1] - left]
        return found

    def close(self) -> None:
        """Close this thread's datasets; those of other threads, which may be reading, close when their thread ends."""
        for dataset in self._local.__dict__.pop("datasets", {}).values():
            dataset.close()

    def _dataset(self, level: int | None) -> Any:
        """This thread's dataset, at full resolution or at an overview level."""
        datasets: dict[int | None, Any] = self._local.__dict__.setdefault("datasets", {})
        if level not in datasets:
            options: dict[str, Any] = {} if level is None else {"overview_level": level}
            datasets[level] = open_dataset(self.path, remote=self.remote, **options)
        return datasets[level]

    def level(self, size: tuple[int, int]) -> tuple[int | None, tuple[int, int]]:
        """The coarsest overview that is not coarser than `size`, and its size."""
        best: tuple[int | None, tuple[int, int]] = None, (self.height, self.width)
        if not self.antialias:
            return best
        for level, factor in enumerate(self.overviews):
            rows, cols = math.ceil(self.height / factor), math.ceil(self.width / factor)
            if rows >= size[0] and cols >= size[1] and rows < best[1][0]:
                ds = self._dataset(level)
                best = level, (ds.height, ds.width)
        return best

    def values(self, window: Window, level: int | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Raw values (bands, H, W), palettes expanded, and where these samples are data, (bands, H, W)."""
        if self.within is not None:
            return _values_of_part(*self.within, window)
        if level is None and self.hole(window):
            shape = (3 if self.palette is not None else len(self.bands)), window.height, window.width
            return np.zeros(shape, self.dtype), np.zeros(shape, bool)
        try:
            values, alpha, masks = patiently(self.path, lambda: self._raw(window, level), remote=self.remote)
        except UNREADABLE as e:
            raise RasterError(f"{self.path}: cannot read rows {window.row}-{window.bottom - 1}: {reason(e)}") from e
        samples = self.validity.samples(values, alpha, masks)
        if self.palette is not None:
            colours = self.palette[values[0]]
            shown = samples & (colours[..., 3] > 0)
            return colours[..., :3].transpose(2, 0, 1), np.broadcast_to(shown, (3, *shown.shape[1:]))
        return values, samples

    def _raw(
        self, window: Window, level: int | None
    ) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[np.bool_] | None]:
        """Values of the bands, of alpha and of the mask bands; the dataset is let go if it cannot be read."""
        bands, alpha = list(self.bands), self.validity.alpha
        at = level
        try:
            with environment(self.path, remote=self.remote):
                ds = self._dataset(level)
                values = ds.read([*bands, alpha] if alpha else bands, window=window.to_rasterio())
                at = None
                masks = self._masks(window, level, ds.shape) if self.validity.masks else None
        except UNREADABLE:
            self._local.datasets.pop(at, None)
            raise
        return (values[:-1], values[-1], masks) if alpha else (values, None, masks)

    def _masks(self, window: Window, level: int | None, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Where the mask bands have data, (bands or 1, H, W), in a window of an overview of `size`."""

        def fine(part: Window) -> NDArray[np.bool_]:
            read = self._dataset(None).read_masks(list(self.validity.masks), window=part.to_rasterio())
            return np.asarray(read > 0)

        return fine(window) if level is None else coarse(fine, window, size, (self.height, self.width))

    def _filled(self, values: NDArray[Any], samples: NDArray[np.bool_]) -> NDArray[Any]:
        """Values whose samples without data, in pixels that are data, lie within the stretch; NaN at its low end."""
        if self.stretch is None or self.always_valid:
            return values
        gaps = pixels(samples) & ~samples
        if not gaps.any():
            return values
        filled = values.copy()
        for band, gap, pair in zip(filled, gaps, self.stretch, strict=True):
            low, high = (10 ** (end / 10) for end in pair) if self.decibels else pair
            ends = min(low, high), max(low, high)
            kept = np.clip(np.where(np.isnan(band[gap]), low, band[gap].astype(np.float64)), *ends)
            band[gap] = kept.astype(band.dtype)
        return filled

    def _is_hole(self, window: Window) -> bool:
        """Whether no block of the window was ever written (sparse GeoTIFF)."""
        ds = self._dataset(None)
        rows = range(window.row // self.block[0], (window.bottom - 1) // self.block[0] + 1)
        cols = range(window.col // self.block[1], (window.right - 1) // self.block[1] + 1)
        bands = [self.validity.alpha] if self.validity.alpha else self.bands
        blocks = ((f"BLOCK_OFFSET_{c}_{r}", band) for r in rows for c in cols for band in bands)
        return not any(ds.get_tag_item(name, "TIFF", bidx=band) for name, band in blocks)

    def _to_rgb(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        if self.stretch is not None:
            kind = np.promote_types(values.dtype, np.float32)
            low, high = (np.array(side, kind)[:, None, None] for side in zip(*self.stretch, strict=True))
            span = np.where(high == low, FLAT, high - low).astype(kind)
            values = np.where(valid, values, 0).astype(kind)
            if self.decibels:
                values = decibels(values)
            values = (values - low) / span * 255
        if values.dtype != np.uint8:
            values = np.clip(np.floor(values + (0.5 + TIE)), 0, 255).astype(np.uint8)
        if self.inverted:
            values = 255 - values
        return np.ascontiguousarray(np.broadcast_to(values, (3, *values.shape[1:])))


def decibels(values: NDArray[Any]) -> NDArray[Any]:
    """10 log10 of values, a number below all others for those of 0 and less; the type stays."""
    tiny = np.finfo(values.dtype).tiny
    found: NDArray[Any] = (10 * np.log10(np.maximum(values, tiny))).astype(values.dtype)
    return found


def _values_of_part(whole: Scene, part: Window, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Raw values of a window of a part, 0 and data beyond the whole scene, and where they are data."""
    place = window.seen_from(-part.row, -part.col)
    seen = place.intersection(Window(0, 0, whole.height, whole.width))
    if seen is None:
        shape = (3 if whole.palette is not None else len(whole.bands)), window.height, window.width
        return np.zeros(shape, "uint8" if whole.palette is not None else whole.dtype), np.ones(shape, bool)
    values, samples = whole.values(seen, None)
    beyond = (0, 0), (0, place.bottom - seen.bottom), (0, place.right - seen.right)
    if not any(sum(side) for side in beyond):
        return values, samples
    return np.pad(values, beyond), np.pad(samples, beyond, constant_values=True)
