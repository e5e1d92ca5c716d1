"""Polygons that the seams between blocks of a mask cut: kept on disk, joined when all blocks are through.

Two parts belong together where pixels of one class lie on both sides of a seam. What is held in memory is a number for
each pixel along one row of blocks, and some numbers for each part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.disk import telling_temporary
from segearth_cli.files import growing
from segearth_cli.raster import Window
from segearth_cli.vector.polygons import Geometries, Shapes
from segearth_cli.vector.ragged import following, preceding, spans
from segearth_cli.vector.unions import root

LARGEST = 500_000  # points of the parts of a region that is joined; a larger one stays in its parts
BATCH = 200_000  # points of joined regions that are given out at once


@dataclass(frozen=True, slots=True)
class Joined:
    """Regions that seams cut."""

    shapes: Shapes
    """The polygons, in pixels of the whole mask."""
    part_of: NDArray[np.int64]
    """(P,): 0 for a whole region, else the number that the parts of a region too large to join have in common."""


class Seams:
    """The parts of one mask, given row by row of blocks, from left to right."""

    def __init__(self, store: Path, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._file: BinaryIO = growing(store, resumed=False)
        self._store = store
        self._batches: list[tuple[NDArray[np.int64], ...]] = []  # where each part's WKB ends, its code and points
        self._sums: list[NDArray[np.float64]] = []
        self._count = self._size = 0
        self._codes: list[int] = []
        self._parent: list[int] = []
        self._above = np.full(width, -1)  # the part below each pixel of the seam above, -1 for none
        self._below = np.full(width, -1)
        self._left = self._right = np.full(0, -1)

    def begin(self, block: Window) -> None:
        """Comes to a block."""
        if block.col == 0:
            self._above, self._below = self._below, np.full(self._width, -1)
            self._right = np.full(block.height, -1)
        self._block = block
        self._left = self._right
        self._edges = {side: np.full(n, -1) for side, n in self._sides(block).items()}

    def _sides(self, block: Window) -> dict[str, int]:
        """The sides of a block that are seams, and their pixels."""
        found = {"top": block.row > 0, "bottom": block.bottom < self._height}
        found |= {"left": block.col > 0, "right": block.right < self._width}
        return {
            side: block.width if side in ("top", "bottom") else block.height for side, seam in found.items() if seam
        }

    def take(self, shapes: Shapes) -> Shapes:
        """The shapes of the block, in pixels of the whole mask, that no seam cuts; the others are kept."""
        left, top, right, bottom = shapely.bounds(shapes.geometry).T.reshape(4, -1)
        block = self._block
        at = {"top": top == block.row, "bottom": bottom == block.bottom}
        at |= {"left": left == block.col, "right": right == block.right}
        cut = np.zeros(len(shapes), bool)
        for side in self._edges:
            cut |= at[side]
        self._keep(shapes.take(cut))
        return shapes.take(~cut)

    def _keep(self, parts: Shapes) -> None:
        if not len(parts):
            return
        rings, owner = shapely.get_rings(parts.geometry, return_index=True)
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        xy = xy.astype(np.int64)
        inside = ring[1:] == ring[:-1]
        first, second, whose = xy[:-1][inside], xy[1:][inside], owner[ring[1:][inside]] + self._count
        block = self._block
        lines = {"top": (1, block.row), "bottom": (1, block.bottom), "left": (0, block.col), "right": (0, block.right)}
        for side, edge in self._edges.items():
            axis, line = lines[side]
            on = (first[:, axis] == line) & (second[:, axis] == line)
            along = np.stack([first[on, 1 - axis], second[on, 1 - axis]]) - (block.col if axis else block.row)
            begin, lengths = along.min(axis=0), np.abs(along[1] - along[0])
            edge[spans(begin, lengths)] = np.repeat(whose[on], lengths)
        texts = shapely.to_wkb(parts.geometry, byte_order=1).tolist()
        ends = self._size + np.cumsum([len(text) for text in texts])
        with telling_temporary(self._store.parent):
            self._file.write(b"".join(texts))
        points = np.bincount(owner[ring], minlength=len(parts))
        self._batches.append((ends, parts.code.astype(np.int64), points))
        self._sums.append(parts.sums)
        self._codes += parts.code.tolist()
        self._parent += range(self._count, self._count + len(parts))
        self._count, self._size = self._count + len(parts), int(ends[-1])

    def end(self) -> None:
        """Leaves the block."""
        block = self._block
        if "left" in self._edges:
            self._unite(self._left, self._edges["left"])
        if "top" in self._edges:
            self._unite(self._above[block.col : block.right], self._edges["top"])
        if "bottom" in self._edges:
            self._below[block.col : block.right] = self._edges["bottom"]
        self._right = self._edges.get("right", self._right)

    def _unite(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        both = (one >= 0) & (other >= 0)
        for a, b in np.unique(np.stack([one[both], other[both]], axis=1), axis=0).tolist():
            if self._codes[a] == self._codes[b]:
                low, high = sorted((root(self._parent, a), root(self._parent, b)))
                self._parent[high] = low

    def joined(self) -> Iterator[Joined]:
        """All regions that seams cut, in batches: by the first of their parts."""
        with telling_temporary(self._store.parent):
            self._file.close()
        if not self._count:
            return
        ends, codes, points = (np.concatenate(column) for column in zip(*self._batches, strict=True))
        starts, sums = np.concatenate([[0], ends[:-1]]), np.concatenate(self._sums)
        roots = np.array([root(self._parent, part) for part in range(self._count)])
        order = np.argsort(roots, kind="stable")
        total = np.bincount(roots, weights=points, minlength=self._count)
        with self._store.open("rb") as file:

            def read(part: int) -> bytes:
                file.seek(int(starts[part]))
                return file.read(int(ends[part] - starts[part]))

            small = order[total[roots[order]] <= LARGEST]
            batch = np.cumsum(points[small]) // BATCH
            batch = np.minimum.reduceat(batch, first_of(roots[small]))[group_of(roots[small])] if len(small) else batch
            for members in np.split(small, np.flatnonzero(np.diff(batch)) + 1):
                if len(members):
                    geometry = np.asarray(shapely.from_wkb([read(part) for part in members.tolist()]), object)
                    group = group_of(roots[members])
                    whole = _unions(geometry, group)
                    summed = np.zeros((len(whole), sums.shape[1]))
                    np.add.at(summed, group, sums[members])
                    shapes = Shapes(whole, codes[members][first_of(group)], summed)
                    yield Joined(shapes, np.zeros(len(whole), np.int64))
            for part in order[total[roots[order]] > LARGEST].tolist():
                geometry = np.array([shapely.from_wkb(read(part))], object)
                shapes = Shapes(geometry, codes[[part]], sums[[part]])
                yield Joined(shapes, roots[[part]] + 1)


def group_of(sorted_values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers 0, 1, ... of runs of equal values.

    >>> group_of(np.array([4, 4, 7])).tolist(), first_of(np.array([4, 4, 7])).tolist()
    ([0, 0, 1], [0, 2])
    """
    return np.cumsum(np.diff(sorted_values, prepend=sorted_values[:1]) != 0)


def first_of(sorted_values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where runs of equal values begin."""
    return np.flatnonzero(np.diff(sorted_values, prepend=sorted_values[:1] - 1))


def _unions(geometry: Geometries, group: NDArray[np.int64]) -> Geometries:
    """The union of the polygons of each group, which hang together, without points on straight lines."""
    made = np.empty(int(group[-1]) + 1, object)
    made[:] = [shapely.union_all(parts) for parts in np.split(geometry, first_of(group)[1:])]
    return without_collinear(made)


def without_collinear(polygons: Geometries) -> Geometries:
    """Polygons on whole pixels without the points of rings that lie on straight lines."""
    _, xy, (rings, parts) = shapely.to_ragged_array(polygons)
    lengths = np.diff(rings) - 1  # the last point of a ring is its first
    open_xy = xy[spans(rings[:-1], lengths)]
    step, before = open_xy[following(lengths)] - open_xy, preceding(lengths)
    turns = step[before][:, 0] * step[:, 1] != step[before][:, 1] * step[:, 0]
    ring = np.repeat(np.arange(len(lengths)), lengths)
    kept, lengths = open_xy[turns], np.bincount(ring[turns], minlength=len(lengths))
    starts = np.cumsum(lengths) - lengths
    closed = spans(starts, lengths + 1)
    closed[np.cumsum(lengths + 1) - 1] = starts
    offsets = np.concatenate([[0], np.cumsum(lengths + 1)])
    return np.asarray(shapely.from_ragged_array(shapely.GeometryType.POLYGON, kept[closed], (offsets, parts)), object)
