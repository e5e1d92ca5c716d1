"""The borders within one strip, in the order they are walked, and the region each belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segearth_cli.vector import corners as cn
from segearth_cli.vector.corners import Codes, Corners, Links
from segearth_cli.vector.ragged import spans

Points = NDArray[np.int64]  # (n,): row (29 bits), column (28), kind (4) and flags (2) of corners, so in row-major order
_NO_CORNER = np.iinfo(np.int64).max


def packed(found: Corners, row: int) -> Points:
    """The corners of a strip whose first lattice row is `row`."""
    place = (found.row.astype(np.int64) + row) << 28 | found.col
    return place << 6 | found.kind.astype(np.int64) << 2 | found.flags


def rows(points: Points) -> NDArray[np.int64]:
    """Lattice rows."""
    return points >> 34


def columns(points: Points) -> NDArray[np.int64]:
    """Lattice columns."""
    return points >> 6 & (1 << 28) - 1


def positions(points: Points) -> NDArray[np.int64]:
    """Row and column as one number."""
    return points >> 6


def flags(points: Points) -> NDArray[np.uint8]:
    """Sums of TOUCH and NODE."""
    return (points & 3).astype(np.uint8)


def kinds(points: Points) -> NDArray[np.int64]:
    """Kinds of corners; that of the first point of a ring in row-major order is HOLE for holes."""
    return points >> 2 & 15


@dataclass(frozen=True, slots=True)
class Chains:
    """The N borders within one strip: first the open ones, in the order of `Links.starts`, then closed rings."""

    links: Links
    """Of the strip's corners."""
    row: int
    """The strip's first lattice row, counted from the top of the raster."""
    open: int
    """How many of the chains are open."""
    points: Points
    """Of all chains, one after another."""
    offsets: NDArray[np.int64]
    """(N + 1,): where the points of each chain begin, and where the last one's end."""
    code: Codes
    """(N,): of the region on the right hand; 0 for a chain without corners."""
    first: Points
    """(N,): the first point in row-major order."""
    last: NDArray[np.int64]
    """(open,): the item that each open chain ends at."""
    sums: NDArray[np.float64]
    """(N, n): of the n weights over what each chain encloses."""
    owner: NDArray[np.int64]
    """For each item of `links` the number of its chain."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Points of each chain."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, found: Corners, links: Links, row: int, shares: NDArray[np.float64]) -> Chains:
        """The chains of a strip whose first lattice row is `row`; shares (corners, n) are summed for each chain."""
        order, ends, opened = _walk(found, links)
        owner = np.empty(len(links.follow), np.int64)
        owner[order] = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        ports = np.concatenate([ends[:opened], ends[1 : opened + 1] - 1])  # an open chain has one at each end
        inner = np.delete(order[: ends[opened]], ports)
        index = np.concatenate([inner, order[ends[opened] :]]) - links.first_corner
        offsets = ends - 2 * np.minimum(np.arange(len(ends)), opened)
        points = packed(found, row).take(index)
        turns = np.flatnonzero(np.diff(offsets))
        begin = offsets.take(turns)
        first, code = np.full(len(ends) - 1, _NO_CORNER), np.zeros(len(ends) - 1, found.code.dtype)
        if len(turns):
            first[turns], code[turns] = np.minimum.reduceat(points, begin), found.code.take(index.take(begin))
        sums = np.concatenate([np.zeros((1, shares.shape[1])), np.cumsum(shares.take(index, axis=0), axis=0)])
        return cls(
            links,
            row,
            opened,
            points,
            offsets,
            code,
            first,
            order[ends[1 : opened + 1] - 1],
            sums[offsets[1:]] - sums[offsets[:-1]],
            owner,
        )

    def gathered(self, chosen: NDArray[np.int64]) -> Points:
        """The points of the chosen chains, one after another."""
        return self.points.take(spans(self.offsets[chosen], self.lengths[chosen]))

    def roots(self, padded: Codes) -> NDArray[np.int64]:
        """For each chain, one of the same region: for a closed one an outer ring or an open chain.

        The first corner of a hole has its region to the upper left. The next border to the left in that row of pixels
        is one of the same region, so each hole points to a border that begins higher up, and in the end to no hole.
        """
        root = np.arange(len(self.first))
        holes = np.flatnonzero(kinds(self.first) == cn.HOLE)
        if not len(holes):
            return root
        target = self._to_the_left(padded, self.first[holes])
        closed = holes >= self.open
        root[holes[closed]] = target[closed]
        while not np.array_equal(further := root[root], root):
            root = further
        root[holes[~closed]] = root[target[~closed]]
        return root

    def _to_the_left(self, padded: Codes, first: Points) -> NDArray[np.int64]:
        """The chains that pass upwards next to the left of the pixels to the upper left of the points."""
        width = padded.shape[1] - 1
        borders = np.flatnonzero(padded[:-1, :-1] != padded[:-1, 1:])
        row, col = rows(first) - self.row, columns(first)
        left = borders[np.searchsorted(borders, row * width + col, side="right") - 1] % width
        run = np.searchsorted(self.links.up_key, left * self.links.height + row + 1)
        return np.asarray(self.owner[self.links.up[run]])


def _walk(found: Corners, links: Links) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Items in walking order, the offsets of the chains, and how many of these are open."""
    first = links.first_corner + cn.tops(found, links)
    squares = cn.squares(links.follow, first)
    first = np.setdiff1d(first, squares[:, 0], assume_unique=True)
    order, ends = cn.leap(links.follow, links.starts, first)
    more = ends[-1] + 4 * np.arange(1, len(squares) + 1)
    return np.concatenate([order, squares.ravel()]), np.concatenate([ends, more]), len(links.starts)
