"""Simpler borders, strip by strip: each border once, whatever lies on its two sides, and none across another.

Visvalingam and Whyatt (1993) on the borders between points where three regions meet, kept from crossing as GEOS does:
a corner stays where its triangle holds another that stands. Two bits a pixel are held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.vector.corners import NODE, Corners
from segearth_cli.vector.polygons import Outlines, Place, Shapes, Smoother, polygons
from segearth_cli.vector.ragged import following, preceding, spans
from segearth_cli.vector.strips import Strip

Index = NDArray[np.int64]
Flags = NDArray[np.bool_]
_NONE = np.iinfo(np.int64).max


class _Bits:
    """A bit for each lattice point of a raster."""

    def __init__(self, height: int, width: int) -> None:
        self.stride = width // 8 + 1  # bytes of a row
        self.bytes = bytearray((height + 1) * self.stride)
        self._view = np.frombuffer(self.bytes, np.uint8)

    def fill(self, row: int, flags: Flags) -> None:
        """Set rows from `row` on."""
        packed = np.packbits(flags, axis=1, bitorder="little")
        self._view[row * self.stride : (row + len(flags)) * self.stride] = packed.ravel()

    def of(self, col: Index, row: Index) -> Flags:
        """The bits of points."""
        return (self._view[row * self.stride + (col >> 3)] >> (col & 7).astype(np.uint8) & 1).astype(np.bool_)

    def put(self, col: Index, row: Index) -> None:
        """Set the bits of points."""
        np.bitwise_or.at(self._view, row * self.stride + (col >> 3), np.uint8(1) << (col & 7).astype(np.uint8))

    def clear(self, col: Index, row: Index) -> None:
        """Clear the bits of points, which are set."""
        np.bitwise_xor.at(self._view, row * self.stride + (col >> 3), np.uint8(1) << (col & 7).astype(np.uint8))


@dataclass(frozen=True, slots=True)
class _Borders:
    """Points of outlines in an order that the strips have no part in, and the borders that they make up."""

    x: Index
    """(N,): columns of points, ring by ring; a ring begins at a node, or at its first point where it has none.

    Rings run as the region around would have them: that of a hole is the one that began first.
    """
    y: Index
    """(N,): rows of points."""
    double: Index
    """(N,): twice the area of the triangle of each point and its neighbours."""
    corner: Flags
    """(N,): whether a point may go: all but nodes."""
    ring: Index
    """(B,): number of its ring."""
    begin: Index
    """(B,): the points that borders begin at."""
    end: Index
    """(B,): the points behind borders, but for the node at the end of each, where another or the ring begins."""
    free: Flags
    """(B,): whether a border is a ring without nodes."""
    bottom: Index
    """(B,): last row of the polygon."""
    rings: Index
    """(R + 1,): the points at which rings begin and end."""

    @classmethod
    def of(cls, outlines: Outlines) -> _Borders:
        """The borders of outlines whose points are whole numbers."""
        lengths, (col, row) = outlines.lengths, outlines.xy.astype(np.int64).T
        place = row << 32 | col
        starts = np.cumsum(lengths) - lengths
        ring = np.repeat(np.arange(len(lengths)), lengths)
        node = (outlines.flags & NODE) > 0
        lowest = np.minimum.reduceat(place, starts)
        behind = (np.flatnonzero(place == lowest[ring])[ring] - np.arange(len(place))) % lengths[ring]
        first = np.minimum.reduceat(np.where(node, behind, _NONE), starts)
        free = first == _NONE
        turned = np.empty(len(place), np.int64)
        turned[starts[ring] + (behind - np.where(free, 0, first)[ring]) % lengths[ring]] = np.arange(len(place))
        order, bottom = _order(outlines, lowest, free & (lengths == 4))
        point = turned[spans(starts[order], lengths[order])]
        x, y = col[point], row[point]
        rings = np.concatenate([[0], np.cumsum(lengths[order])])
        after, before = following(lengths[order]), preceding(lengths[order])
        double = np.abs((x - x[before]) * (y[after] - y) - (x[after] - x) * (y - y[before]))
        begins = node[point]
        begins[rings[:-1]] = True
        begin = np.flatnonzero(begins)
        ring = np.repeat(np.arange(len(order)), lengths[order])[begin]
        end = np.append(begin[1:], len(x))
        return cls(x, y, double, ~node[point], ring, begin, end, free[order][ring], bottom[ring], rings)


def _order(outlines: Outlines, lowest: Index, rectangles: Flags) -> tuple[Index, Index]:
    """The rings in the order in which their borders are taken, and the last row of the polygon of each.

    Polygons that end higher up come first: what is above is known then, however high the strips are. Of those that end
    in one row, rectangles within one region come first, to be taken at once.
    """
    polygon = np.repeat(np.arange(len(outlines.rings)), outlines.rings)
    outer = np.cumsum(outlines.rings) - outlines.rings
    starts = np.cumsum(outlines.lengths) - outlines.lengths
    bottom = np.maximum.reduceat(outlines.xy[:, 1], starts[outer]).astype(np.int64)
    rank = np.empty(len(bottom), np.int64)
    rank[np.lexsort((lowest[outer], ~rectangles[outer], bottom))] = np.arange(len(bottom))
    inner = np.ones(len(polygon), np.bool_)
    inner[outer] = False
    order = np.lexsort((lowest, inner, rank[polygon]))
    return order, bottom[polygon[order]]


def simple_polygons(
    strips: Iterable[Strip],
    height: int,
    width: int,
    dtype: np.dtype[Any],
    tolerance: float,
    *,
    weights: int = 0,
    smoother: Smoother | None = None,
    place: Place | None = None,
    touches: bool = False,
) -> Iterator[Shapes]:
    """What `polygons` gives, with simpler borders, each once for both its sides: no gaps, no overlaps.

    tolerance: the side in pixels of a square as large as the largest triangle that is cut off. What is not drawn takes
    part in it like any region, for no border may come to lie on another. smoother: gets the simple borders.
    """
    wide = np.dtype(np.int64) if dtype.itemsize > 2 else np.dtype(f"u{2 * dtype.itemsize}")
    nothing = -1 if wide.kind == "i" else int(np.iinfo(wide).max)  # no number of a code
    simplifier = Simplifier(height, width, tolerance)
    reshape = simplifier if smoother is None else lambda rings: smoother(simplifier(rings))
    every = ((np.where(codes == 0, wide.type(nothing), codes.astype(wide)), values) for codes, values in strips)
    for shapes in polygons(
        every, width, wide, weights=weights, smoother=reshape, see=simplifier.see, place=place, touches=touches
    ):
        yield shapes.take(shapes.code != nothing)


class Simplifier:
    """Borders of one raster without the corners whose triangles are small; the same for strips of any height."""

    def __init__(self, height: int, width: int, tolerance: float) -> None:
        self._twice = 2 * tolerance * tolerance  # pixels, twice the area of the largest triangle that is cut off
        self._standing, self._settled = _Bits(height, width), _Bits(height, width)
        self._columns, self._row = 8 * self._standing.stride, 0

    def see(self, found: Corners, rows: int) -> None:
        """The corners of the next strip of so many rows, those at nodes too."""
        flags = np.zeros((rows, self._columns), np.bool_)
        flags[found.row, found.col] = True
        self._standing.fill(self._row, flags)
        self._row += rows

    def __call__(self, outlines: Outlines) -> Outlines:
        """Outlines with simpler borders; all corners up to their last row have been seen."""
        if not len(outlines.xy):
            return outlines
        self._settle(_Borders.of(outlines))
        kept = self._standing.of(*outlines.xy.astype(np.int64).T)
        ring = np.repeat(np.arange(len(outlines.lengths)), outlines.lengths)
        lengths = np.bincount(ring[kept], minlength=len(outlines.lengths))
        return Outlines(outlines.xy[kept], outlines.flags[kept], lengths, outlines.rings)

    def _settle(self, borders: _Borders) -> None:
        """Clears the bits of the points that go from borders which are met for the first time."""
        new, other = self._new(borders)
        small = borders.corner & (borders.double <= self._twice)
        new = new[np.logical_or.reduceat(small, borders.begin)[new]]
        begin = borders.begin[new]
        rectangle = borders.free[new] & (borders.end[new] - begin == 4)
        box = [np.ptp(np.stack([at[begin], at[begin + 2 * rectangle]]), axis=0) for at in (borders.x, borders.y)]
        row = rectangle & (np.minimum(*box) == 1)  # of pixels: nothing stands in its triangles
        at, bottom = begin[row], borders.bottom[new]
        cuts = np.searchsorted(bottom[row], bottom[~row], side="right")
        done = 0
        for border, cut in zip(new[~row].tolist(), cuts.tolist(), strict=True):
            if cut > done:
                self._standing.clear(borders.x[at[done:cut]], borders.y[at[done:cut]])
                done = cut
            self._walk(borders, border, int(other[border]), small)
        self._standing.clear(borders.x[at[done:]], borders.y[at[done:]])

    def _new(self, borders: _Borders) -> tuple[Index, Index]:
        """The borders (n,) that are met for the first time, and for each of all borders the number of its other side.

        That is told where both sides end in one row, else it is -1.
        """
        place = np.where(borders.corner, borders.y << 32 | borders.x, _NONE)
        mark = np.minimum.reduceat(place, borders.begin)
        new = np.flatnonzero(mark != _NONE)
        col, row = mark & (1 << 32) - 1, mark >> 32
        new = new[~self._settled.of(col[new], row[new])]
        _, first, side = np.unique(mark[new], return_index=True, return_inverse=True)
        once = new[first[side]]
        again = (once != new) & (borders.bottom[once] == borders.bottom[new])
        other = np.full(len(mark), -1)
        other[once[again]] = new[again]
        new = new[np.sort(first)]
        self._settled.put(col[new], row[new])
        return new, other

    def _walk(self, borders: _Borders, border: int, other: int, small: Flags) -> None:
        """Simplifies a border; `other` is the same one as its other side has it, or -1."""
        one, beyond = np.searchsorted(borders.ring, borders.ring[border] + np.arange(2)).tolist()
        begin, end = int(borders.begin[border]), int(borders.end[border])
        alone = beyond - one == 1
        points = np.arange(begin, end)
        if not alone:  # its last point begins another border
            points = np.append(points, end if border + 1 < beyond else borders.begin[one])
        corner = np.flatnonzero(small[begin:end])
        heap = list(zip(borders.double[begin + corner].tolist(), corner.tolist(), strict=True))
        least = 3 if alone or any(self._is_doubled(borders, side) for side in (border, other) if side >= 0) else 2
        free = bool(borders.free[border])
        self._cut(borders.x[points].tolist(), borders.y[points].tolist(), heap, least, closed=alone, free=free)

    def _is_doubled(self, borders: _Borders, border: int) -> bool:
        """Whether a straight border joins the ends of one, with only a ring of these two between them."""
        one, beyond = np.searchsorted(borders.ring, borders.ring[border] + np.arange(2)).tolist()
        if beyond - one != 2:
            return False
        facing = one + beyond - 1 - border
        between = slice(int(borders.begin[facing]) + 1, int(borders.end[facing]))
        return not self._standing.of(borders.x[between], borders.y[between]).any()

    def _cut(
        self, x: Sequence[int], y: Sequence[int], small: list[tuple[int, int]], least: int, *, closed: bool, free: bool
    ) -> None:
        """Takes corners off a line until `least` points are left, the smallest triangle first.

        small: twice the area and the number of each corner whose triangle is small.
        """
        n = len(x)
        before, after = [*range(-1, n - 1)], [*range(1, n + 1)]
        if closed:
            before[0], after[-1] = n - 1, 0
        heap = [(area, i, before[i], after[i]) for area, i in small]
        heapify(heap)
        left, lowest, highest = n, 0 if free else 1, n if closed else n - 1
        standing, stride = self._standing.bytes, self._standing.stride
        while heap and left > least:
            _, i, a, b = heappop(heap)
            if before[i] != a or after[i] != b or self._blocked(x[a], y[a], x[i], y[i], x[b], y[b]):
                continue
            standing[y[i] * stride + (x[i] >> 3)] ^= 1 << (x[i] & 7)
            after[a], before[b] = b, a
            before[i] = -2
            left -= 1
            for j in (a, b):
                if lowest <= j < highest:
                    p, q = before[j], after[j]
                    double = abs((x[j] - x[p]) * (y[q] - y[j]) - (x[q] - x[j]) * (y[j] - y[p]))
                    if double <= self._twice:
                        heappush(heap, (double, j, p, q))

    def _blocked(self, ax: int, ay: int, bx: int, by: int, cx: int, cy: int) -> bool:
        """Whether a point that stands lies within the triangle of a corner or on its sides."""
        left, right = min(ax, bx, cx), max(ax, bx, cx)
        top, bottom = min(ay, by, cy), max(ay, by, cy)
        if right - left <= 1 and bottom - top <= 1:
            return False
        standing, stride = self._standing.bytes, self._standing.stride
        begin, end, mask = left >> 3, (right >> 3) + 1, (1 << right - left + 1) - 1
        turn = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        sign = 1 if turn >= 0 else -1
        for y in range(top, bottom + 1):
            bits = int.from_bytes(standing[y * stride + begin : y * stride + end], "little") >> (left & 7) & mask
            while bits:
                low = bits & -bits
                bits ^= low
                x = left + low.bit_length() - 1
                if (x == ax and y == ay) or (x == bx and y == by) or (x == cx and y == cy):
                    continue
                if (
                    sign * ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) >= 0
                    and sign * ((cx - bx) * (y - by) - (x - bx) * (cy - by)) >= 0
                    and sign * ((ax - cx) * (y - cy) - (x - cx) * (ay - cy)) >= 0
                ):
                    return True
        return False
