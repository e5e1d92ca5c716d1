"""Where the borders of equal-code regions turn, and which corner follows which. Integer arithmetic on a strip.

A border runs along pixel edges with its region on the right hand (clockwise on screen, rows growing downwards), so
each pixel edge between two codes is walked twice, once for each side. Lattice point (r, c) is the upper left corner
of pixel (r, c). Pixels of one code that meet at a point only are kept apart (4-connectivity).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[Any]  # any integer dtype; 0 = nothing is drawn there

UP, RIGHT, DOWN, LEFT = range(4)
# Kinds 0-3: a pixel alone at the point, lying SE, SW, NW, NE of it. Kinds 4-7: three pixels of one region, the
# missing one SE, SW, NW, NE. Kinds 8-11: the border goes straight on where borders of others branch off.
ENTERS = np.array([UP, RIGHT, DOWN, LEFT, LEFT, UP, RIGHT, DOWN, RIGHT, LEFT, DOWN, UP], np.int8)
LEAVES = np.array([RIGHT, DOWN, LEFT, UP, DOWN, LEFT, UP, RIGHT, RIGHT, LEFT, DOWN, UP], np.int8)
_DOWN_LEFT, _RIGHT_UP = 2, 6
TOP_LEFT, HOLE = 0, 4  # the kinds that the first corner, in row-major order, of an outer ring and of a hole can have

TOUCH, NODE = 1, 2  # flags: two corners of one code meet at this point; at least three borders meet at it


@dataclass(frozen=True, slots=True)
class Corners:
    """The n corners of a strip in row-major order."""

    row: NDArray[np.int32]
    """(n,): lattice rows, counted from the strip's first."""
    col: NDArray[np.int32]
    """(n,): lattice columns."""
    kind: NDArray[np.int8]
    """(n,): indices into ENTERS and LEAVES."""
    code: Codes
    """(n,): of the region on the right hand."""
    flags: NDArray[np.uint8]
    """(n,): sums of TOUCH and NODE."""

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True)
class Links:
    """Which corner follows which, with the ports where borders cross the strip's first and last line.

    Items are numbered: downward borders entering at the top, upward borders leaving at the top, corners, downward
    borders leaving at the bottom, upward borders entering at the bottom.
    """

    follow: NDArray[np.int64]
    """For each of the n items the next one, or n behind a border that leaves."""
    down_in: int
    """Borders that enter at the top."""
    up_out: int
    """Borders that leave at the top."""
    corners: int
    """Corners of the strip."""
    down_out: int
    """Borders that leave at the bottom."""
    up_in: int
    """Borders that enter at the bottom."""
    up: NDArray[np.int64]
    """The items from which borders run upwards, by column, then row."""
    up_key: NDArray[np.int64]
    """For each of `up` its column * height + row."""
    height: int
    """Lattice rows of the strip and its two lines."""

    @property
    def first_corner(self) -> int:
        """Number of the first item that is a corner: those that enter at the top come before."""
        return self.down_in + self.up_out

    @property
    def starts(self) -> NDArray[np.int64]:
        """Items at which a border enters the strip: at the top, then at the bottom."""
        n = len(self.follow)
        return np.concatenate([np.arange(self.down_in), np.arange(n - self.up_in, n)])


def corners(padded: Codes, *, nodes: bool) -> Corners:
    """Corners at the inner lattice points of `padded` (h + 1, w + 2), codes with a row above and a column each side.

    With `nodes` the points where a border goes straight on while two others meet it are listed too.
    """
    sideways = padded[:, :-1] != padded[:, 1:]  # (h + 1, w + 1), borders between left and right
    upright = padded[:-1] != padded[1:]  # (h, w + 2), borders between above and below
    turning = (sideways[:-1] | sideways[1:]) & (upright[:, :-1] | upright[:, 1:])
    row, col = np.divmod(np.flatnonzero(turning).astype(np.int32), np.int32(turning.shape[1]))
    pixels, width = padded.ravel(), padded.shape[1]
    pixel = row.astype(np.int64) * width + col
    around = [pixels.take(pixel + beside) for beside in (0, 1, width, width + 1)]
    table = (_ALL_KINDS if nodes else _ALL_KINDS[:, :8]).take(_patterns(*around), axis=0)
    found = np.flatnonzero(table)
    point, kind = np.divmod(found, table.shape[1])
    code = pixels.take(pixel.take(point) + np.array([0, 1, width, width + 1]).take(_PIXEL_OF.take(kind)))
    return Corners(row.take(point), col.take(point), kind.astype(np.int8), code, table.ravel().take(found) - _LISTED)


def _patterns(a: Codes, b: Codes, c: Codes, d: Codes) -> NDArray[np.int64]:
    """Which of the four pixels around a point (NW, NE, SW, SE) are equal, and which are drawn, as 10 bits."""
    pattern = np.zeros(len(a), np.int64)
    for bit, is_set in enumerate((a != b, c != d, a != c, b != d, a == d, b == c, a != 0, b != 0, c != 0, d != 0)):
        pattern |= is_set.astype(np.int64) << bit
    return pattern


def _kinds() -> NDArray[np.uint8]:
    """For each pattern (1024) and kind (12): 0 when no such corner is at the point, else _LISTED + its flags."""
    up, down, left, right, falling, rising, a, b, c, d = (np.arange(1024) >> bit & 1 > 0 for bit in range(10))
    table = np.stack([
        right & down & d, left & down & c, left & up & a, right & up & b,
        ~up & ~left & right & a, ~up & ~right & left & a, ~right & ~down & left & d, ~left & ~down & right & d,
        ~down & left & right & up & c, ~up & left & right & down & a,
        ~left & up & down & right & a, ~right & up & down & left & d,
    ], axis=1)  # fmt: skip
    even = np.arange(12) % 2 == 0
    saddle = up & down & left & right
    touch = saddle[:, None] & np.where(even, falling[:, None], rising[:, None])
    degree = up.astype(np.uint8) + down + left + right
    return (table * (_LISTED + touch * TOUCH + (degree >= 3)[:, None] * NODE)).astype(np.uint8)


_LISTED = np.uint8(4)  # above the flags
_ALL_KINDS = _kinds()
_PIXEL_OF = np.array([3, 2, 0, 1, 0, 0, 3, 3, 2, 0, 0, 3])  # for each kind, a pixel (NW, NE, SW, SE) of its region


def link(found: Corners, padded: Codes) -> Links:
    """The links between the corners of a strip.

    In every lattice row the starts and ends of rightward runs alternate, so the k-th start belongs to the k-th end;
    the same holds leftwards, and, by columns, up and down.
    """
    height = len(padded) + 1
    down_in, up_out = _crossings(padded[0])
    down_out, up_in = _crossings(padded[-1])
    first, n = len(down_in) + len(up_out), len(found)
    total = first + n + len(down_out) + len(up_in)
    follow = np.full(total, total, np.int64)
    enters, leaves = ENTERS[found.kind], LEAVES[found.kind]
    for way in (LEFT, RIGHT):
        follow[first + np.flatnonzero(leaves == way)] = first + np.flatnonzero(enters == way)
    span = {
        "down_in": np.arange(len(down_in)),
        "up_out": np.arange(len(down_in), first),
        "down_out": np.arange(first + n, first + n + len(down_out)),
        "up_in": np.arange(first + n + len(down_out), total),
    }
    col = np.concatenate([down_in, up_out, found.col, down_out, up_in])
    row = np.zeros(total, np.int64)
    row[first : first + n] = found.row + 1
    row[first + n :] = height - 1
    going = {way: first + np.flatnonzero(leaves == way) for way in (UP, DOWN)}
    coming = {way: first + np.flatnonzero(enters == way) for way in (UP, DOWN)}
    starts = _by_column([span["down_in"], going[DOWN]], col)
    follow[starts] = _by_column([coming[DOWN], span["down_out"]], col)
    starts = _by_column([going[UP], span["up_in"]], col)
    follow[starts] = _by_column([span["up_out"], coming[UP]], col)
    up_key = col.take(starts) * height + row.take(starts)
    return Links(follow, len(down_in), len(up_out), n, len(down_out), len(up_in), starts, up_key, height)


def _crossings(pixels: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns where borders pass a row of pixels downwards (region to the left) and upwards (region to the right)."""
    border = pixels[:-1] != pixels[1:]
    return np.flatnonzero(border & (pixels[:-1] != 0)), np.flatnonzero(border & (pixels[1:] != 0))


def _by_column(items: Sequence[NDArray[np.int64]], col: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row-major items in column-major order."""
    joined = np.concatenate(items)
    keys = col.take(joined)
    small = keys.astype(np.uint16) if len(keys) and keys.max() < 1 << 16 else keys  # 16 bits are sorted by radix
    return joined.take(np.argsort(small, kind="stable"))


def walk(follow: NDArray[np.int64], starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Items in the order of the paths begun at `starts`, and the P + 1 offsets of the paths.

    A start that an earlier path has passed is left out; a path ends where it closes, or behind an item followed by n.
    """
    following = [*follow.tolist(), -1]
    order: list[int] = []
    offsets = [0]
    append = order.append
    for item in starts.tolist():
        if following[item] < 0:
            continue
        after = following[item]
        while after >= 0:
            append(item)
            following[item] = -1
            item = after
            after = following[item]
        offsets.append(len(order))
    return np.array(order, np.int64), np.array(offsets, np.int64)


def tops(found: Corners, links: Links) -> NDArray[np.int64]:
    """The left ends of edges from which the border goes down on both sides, the first corner of every ring among them.

    Others of the same kinds are left out where the border is seen to go up; those behind a NODE stay.
    """
    top_left, before_hole = np.flatnonzero(found.kind == TOP_LEFT), np.flatnonzero(found.kind == _DOWN_LEFT)
    after = links.follow.take(links.first_corner + top_left) - links.first_corner
    top = found.kind == HOLE
    top[links.follow.take(links.first_corner + before_hole) - links.first_corner] = False
    top[top_left] = found.kind.take(after) != _RIGHT_UP
    return np.flatnonzero(top)


def leap(
    follow: NDArray[np.int64], starts: NDArray[np.int64], anchors: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What `walk` gives for `starts`, then the other `anchors`, which must stand on every path that has no start.

    The runs between anchors are followed all at once, so that only anchors are walked one by one.
    """
    n = len(follow)
    halt = np.zeros(n + 1, np.bool_)
    halt[starts] = halt[anchors] = halt[n] = True
    heads = np.flatnonzero(halt[:-1])
    number = np.full(n + 1, len(heads))
    number[heads] = np.arange(len(heads))
    item, owner = heads, np.arange(len(heads))
    steps = []
    length, after = np.empty(len(heads), np.int64), np.empty(len(heads), np.int64)
    while len(item):
        steps.append((owner, item))
        item = follow.take(item)
        done = halt.take(item)
        stop, go = np.flatnonzero(done), np.flatnonzero(~done)
        ended = owner.take(stop)
        after[ended], length[ended] = number.take(item.take(stop)), len(steps)
        item, owner = item.take(go), owner.take(go)
    order, ends = walk(after, np.concatenate([number[starts], np.arange(len(heads))]))
    passed = np.concatenate([[0], np.cumsum(length.take(order))])
    place = np.empty(len(heads), np.int64)
    place[order] = passed[:-1]
    items = np.empty(passed[-1], np.int64)
    for step, (owner, item) in enumerate(steps):
        items[place.take(owner) + step] = item
    return items, passed.take(ends)


def squares(follow: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rings of exactly four items, (m, 4), that begin at one of the items `first`: most rings of a noisy mask."""
    ahead = np.append(follow, len(follow))
    second = ahead.take(first)
    third = ahead.take(second)
    fourth = ahead.take(third)
    closed = np.flatnonzero(ahead.take(fourth) == first)
    return np.stack([item.take(closed) for item in (first, second, third, fourth)], axis=1)
