"""Where windows lie: integer arithmetic on a grid of pixels. Rows before columns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow

from segearth_cli.errors import GridError
from segearth_cli.raster.options import Blend


class Window(NamedTuple):
    """A rectangle of whole pixels."""

    row: int
    """First row, from the top of the grid."""
    col: int
    """First column, from its left."""
    height: int
    """Rows."""
    width: int
    """Columns."""

    @property
    def bottom(self) -> int:
        """First row below the window."""
        return self.row + self.height

    @property
    def right(self) -> int:
        """First column right of the window."""
        return self.col + self.width

    def intersection(self, other: Window) -> Window | None:
        """What both have in common, None when they do not touch."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height, width = min(self.bottom, other.bottom) - row, min(self.right, other.right) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    def seen_from(self, row: int, col: int) -> Window:
        """The same pixels counted from another origin."""
        return Window(self.row - row, self.col - col, self.height, self.width)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices of an array that starts at the grid's origin."""
        return slice(self.row, self.bottom), slice(self.col, self.right)

    def to_rasterio(self) -> RasterioWindow:
        """The same window for rasterio, whose order is column, row, width, height.

        >>> Window(row=1, col=2, height=3, width=4).to_rasterio()
        Window(col_off=2, row_off=1, width=4, height=3)
        """
        return RasterioWindow(self.col, self.row, self.width, self.height)


def check_stride(size: int, stride: int) -> None:
    """Raises GridError for a step that leaves pixels out between windows of `size`, or goes nowhere."""
    if not 0 < stride <= size:
        raise GridError(f"--stride {stride}: must be between 1 and the window, {size} px")


def starts(length: int, size: int, stride: int) -> list[int]:
    """Offsets, in pixels, of windows of `size` that cover `length`.

    The last window is moved back to end exactly at `length`, so every window is full size; a
    scene smaller than one window gets the single offset 0.

    Raises GridError unless 0 < stride <= size.

    >>> starts(11, size=4, stride=3)
    [0, 3, 6, 7]
    """
    check_stride(size, stride)
    if length <= size:
        return [0]
    return [*range(0, length - size, stride), length - size]


def shares(length: int, size: int, stride: int) -> list[tuple[int, int, int]]:
    """(offset, first, end) of each of `starts`, where first..end-1 is the share of `length` that it is the nearest to.

    Overlaps are cut in their middle, so that the shares follow one another without gaps.

    >>> shares(11, size=4, stride=3)
    [(0, 0, 3), (3, 3, 6), (6, 6, 8), (7, 8, 11)]
    """
    offsets = starts(length, size, stride)
    edges = [0, *((a + size + b) // 2 for a, b in pairwise(offsets)), length]
    return [(offset, first, end) for offset, (first, end) in zip(offsets, pairwise(edges), strict=True)]


def windows(height: int, width: int, size: int, stride: int, region: Window | None = None) -> Iterator[Window]:
    """The windows of a grid in row-major order; with a region, only those that touch it.

    A window is `size` on each side, less where the grid itself is smaller.
    """
    region = region or Window(0, 0, height, width)
    cols = touching(width, size, stride, region.col, region.right)
    for row in touching(height, size, stride, region.row, region.bottom):
        for col in cols:
            yield Window(row, col, min(size, height), min(size, width))


def touching(length: int, size: int, stride: int, first: int, end: int) -> list[int]:
    """The offsets of `starts` whose windows touch pixels first..end-1."""
    return [start for start in starts(length, size, stride) if start < end and start + size > first]


def working_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """Size of a scene resampled by a factor: int(x * factor + 0.5) a side, as the published settings round.

    >>> working_size(1000, 700, 0.448)
    (448, 314)
    """
    return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))


def blocks(region: Window, height: int, width: int) -> Iterator[Window]:
    """The region cut into blocks of at most height x width, row-major."""
    for row in range(region.row, region.bottom, height):
        for col in range(region.col, region.right, width):
            yield Window(row, col, min(height, region.bottom - row), min(width, region.right - col))


def strips(region: Window, pixels: int) -> Iterator[Window]:
    """The region cut into strips of its full width and at most so many pixels, at least a row, from top to bottom."""
    yield from blocks(region, max(1, pixels // region.width), region.width)


def window_weights(height: int, width: int, blend: Blend) -> NDArray[np.float32]:
    """How much each pixel of a window counts in the mean of overlapping windows, (height, width), all positive.

    `mean`: ones, as published. `taper`: a raised cosine that fades towards the border and hides block edges; windows
    that overlap by half add up to the same weight everywhere.
    """
    if blend == "mean":
        return np.ones((height, width), np.float32)
    return np.outer(_cosine(height), _cosine(width)).astype(np.float32)


def _cosine(size: int) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    return squares
