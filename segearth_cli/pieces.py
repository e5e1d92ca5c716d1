"""Pieces: the borders within one strip, in the order they are walked, and the region each belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segearth_cli import corners as cn
from segearth_cli.corners import Codes, Corners, Links

Points = NDArray[np.int32]  # (n, 3): column, row, flags of `corners`
_NO_CORNER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Pieces:
    """Borders within one strip: first the `open` ones, in the order of `Links.starts`, then closed rings.

    points: of all pieces, one after another. offsets (N + 1). code (N,): 0 for a piece without corners. first (N,): the
    first corner in row-major order as (row * (width + 1) + column) * 16 + kind. last (open,): the item an open piece
    ends at. sums (N, n): of the weights. corner (N,): the first corner's index. owner: for each item its piece.
    """

    found: Corners
    links: Links
    open: int
    points: Points
    offsets: NDArray[np.int64]
    code: Codes
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    sums: NDArray[np.float64]
    corner: NDArray[np.int64]
    owner: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Points of each piece."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, found: Corners, links: Links, row: int, width: int, shares: NDArray[np.float64]) -> Pieces:
        """The pieces of a strip whose first lattice row is `row`; shares (corners, n) are summed for each piece."""
        order, ends, opened = _walk(found, links)
        owner = np.empty(len(links.follow), np.int64)
        owner[order] = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        index = order - links.first_corner
        inner = (index >= 0) & (index < links.corners)
        starts = ends[:-1]
        corner = np.minimum.reduceat(np.where(inner, index, _NO_CORNER), starts) if len(starts) else starts
        offsets = np.concatenate([[0], np.cumsum(inner)])[ends]
        index = index[inner]
        key = ((found.row + row) * (width + 1) + found.col) * 16 + found.kind
        none = corner == _NO_CORNER
        corner = np.where(none, 0, corner)
        if not len(found):  # every piece runs straight through
            key, code = np.array([_NO_CORNER]), np.zeros(1, found.code.dtype)
        else:
            code = found.code
        sums = np.concatenate([np.zeros((1, shares.shape[1])), np.cumsum(shares[index], axis=0)])
        return cls(
            found,
            links,
            opened,
            np.stack([found.col, found.row + row, found.flags], axis=1).astype(np.int32)[index],
            offsets,
            np.where(none, 0, code[corner]).astype(code.dtype),
            np.where(none, _NO_CORNER, key[corner]),
            order[ends[1 : opened + 1] - 1],
            sums[offsets[1:]] - sums[offsets[:-1]],
            corner,
            owner,
        )

    def inner(self, piece: int) -> slice:
        """Where the points of a piece stand."""
        return slice(int(self.offsets[piece]), int(self.offsets[piece + 1]))

    def roots(self, padded: Codes) -> NDArray[np.int64]:
        """For each piece, one of the same region: for a closed one an outer ring or an open piece.

        The first corner of a hole has its region to the upper left. The next border to the left in that row of pixels
        is one of the same region, so each hole points to a border that begins higher up, and in the end to no hole.
        """
        root = np.arange(len(self.first))
        holes = np.flatnonzero((self.first != _NO_CORNER) & (self.first % 16 == cn.HOLE))
        if not len(holes):
            return root
        target = self._to_the_left(padded, self.corner[holes])
        closed = holes >= self.open
        root[holes[closed]] = target[closed]
        while not np.array_equal(further := root[root], root):
            root = further
        root[holes[~closed]] = root[target[~closed]]
        return root

    def _to_the_left(self, padded: Codes, corner: NDArray[np.int64]) -> NDArray[np.int64]:
        """The pieces that pass upwards next to the left of the pixels to the upper left of the corners."""
        columns = padded.shape[1] - 1
        borders = np.flatnonzero(padded[:-1, :-1] != padded[:-1, 1:])
        row, col = self.found.row[corner], self.found.col[corner]
        left = borders[np.searchsorted(borders, row * columns + col, side="right") - 1] % columns
        run = np.searchsorted(self.links.up_key, left * self.links.height + row + 1)
        return np.asarray(self.owner[self.links.up[run]])


def spans(offsets: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of all members of the chosen groups.

    >>> spans(np.array([0, 2, 5, 6]), np.array([2, 0])).tolist()
    [5, 0, 1]
    """
    starts, lengths = offsets[chosen], np.diff(offsets)[chosen]
    return np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))


def _walk(found: Corners, links: Links) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Items in walking order, the offsets of the pieces, and how many of these are open."""
    squares = cn.squares(links.follow)
    first = (found.kind == cn.TOP_LEFT) | (found.kind == cn.HOLE)
    first[squares - links.first_corner] = False
    order, ends = cn.leap(links.follow, links.starts, links.first_corner + np.flatnonzero(first))
    more = ends[-1] + 4 * np.arange(1, len(squares) + 1)
    return np.concatenate([order, squares.ravel()]), np.concatenate([ends, more]), len(links.starts)
