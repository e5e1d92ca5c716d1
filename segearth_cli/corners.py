"""Corners: where the borders of equal-code regions turn, and which corner follows which. Integer arithmetic on a strip.

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
TOP_LEFT, HOLE = 0, 4  # the kinds that the first corner, in row-major order, of an outer ring and of a hole can have

TOUCH, NODE = 1, 2  # flags: two corners of one code meet at this point; at least three borders meet at it


@dataclass(frozen=True, slots=True)
class Corners:
    """The n corners of a strip in row-major order.

    row, col: lattice position, row counted from the strip's first lattice row. kind: index into ENTERS and LEAVES.
    code: of the region on the right hand. flags: sum of TOUCH and NODE.
    """

    row: NDArray[np.int64]
    col: NDArray[np.int64]
    kind: NDArray[np.int8]
    code: Codes
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True)
class Links:
    """Which corner follows which, with the ports where borders cross the strip's first and last line.

    Items are numbered: downward borders entering at the top, upward borders leaving at the top, corners, downward
    borders leaving at the bottom, upward borders entering at the bottom. follow: the next item, or n behind a border
    that leaves. up: the items that upward runs start from, by column, then row; up_key: column * height + row.
    """

    follow: NDArray[np.int64]
    down_in: int
    up_out: int
    corners: int
    down_out: int
    up_in: int
    up: NDArray[np.int64]
    up_key: NDArray[np.int64]
    height: int

    @property
    def first_corner(self) -> int:
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
    row, col = np.divmod(np.flatnonzero(turning), turning.shape[1])
    pixel, width = row * padded.shape[1] + col, padded.shape[1]
    a, b, c, d = (padded.ravel()[pixel + beside] for beside in (0, 1, width, width + 1))
    up, down, left, right = a != b, c != d, a != c, b != d
    table = np.zeros((len(row), 12 if nodes else 8), np.bool_)
    table[:, 0] = right & down & (d != 0)
    table[:, 1] = left & down & (c != 0)
    table[:, 2] = left & up & (a != 0)
    table[:, 3] = right & up & (b != 0)
    table[:, 4] = ~up & ~left & right & (a != 0)
    table[:, 5] = ~up & ~right & left & (a != 0)
    table[:, 6] = ~right & ~down & left & (d != 0)
    table[:, 7] = ~left & ~down & right & (d != 0)
    if nodes:
        table[:, 8] = ~down & left & right & up & (c != 0)
        table[:, 9] = ~up & left & right & down & (a != 0)
        table[:, 10] = ~left & up & down & right & (a != 0)
        table[:, 11] = ~right & up & down & left & (d != 0)
    point, kind = np.divmod(np.flatnonzero(table), table.shape[1])
    code = np.choose(_PIXEL_OF[kind], [a[point], b[point], c[point], d[point]])
    saddle = up & down & left & right
    touch = saddle[point] & np.where(kind % 2 == 0, (a == d)[point], (b == c)[point])
    degree = up.astype(np.uint8) + down + left + right
    flags = touch * np.uint8(TOUCH) + (degree >= 3)[point] * np.uint8(NODE)
    return Corners(row[point], col[point], kind.astype(np.int8), code, flags.astype(np.uint8))


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
    up_key = col[starts] * height + row[starts]
    return Links(follow, len(down_in), len(up_out), n, len(down_out), len(up_in), starts, up_key, height)


def _crossings(pixels: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns where borders pass a row of pixels downwards (region to the left) and upwards (region to the right)."""
    border = pixels[:-1] != pixels[1:]
    return np.flatnonzero(border & (pixels[:-1] != 0)), np.flatnonzero(border & (pixels[1:] != 0))


def _by_column(items: Sequence[NDArray[np.int64]], col: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row-major items in column-major order."""
    joined = np.concatenate(items)
    keys = col[joined]
    small = keys.astype(np.uint16) if len(keys) and keys.max() < 1 << 16 else keys  # 16 bits are sorted by radix
    ordered: NDArray[np.int64] = joined[np.argsort(small, kind="stable")]
    return ordered


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
    runs, owners, steps = [heads], [owner], [np.zeros(len(heads), np.int64)]
    length, after = np.ones(len(heads), np.int64), np.empty(len(heads), np.int64)
    while len(item):
        item = follow[item]
        done = halt[item]
        after[owner[done]] = number[item[done]]
        item, owner = item[~done], owner[~done]
        runs.append(item)
        owners.append(owner)
        steps.append(length[owner])
        length[owner] += 1
    order, ends = walk(after, np.concatenate([number[starts], np.arange(len(heads))]))
    passed = np.concatenate([[0], np.cumsum(length[order])])
    place = np.empty(len(heads), np.int64)
    place[order] = passed[:-1]
    items = np.empty(passed[-1], np.int64)
    items[place[np.concatenate(owners)] + np.concatenate(steps)] = np.concatenate(runs)
    return items, passed[ends]


def squares(follow: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rings of exactly four items, (m, 4), each from its smallest item on: most rings of a noisy mask."""
    n = len(follow)
    ahead = np.append(follow, n)
    item = np.arange(n)
    second = ahead[follow]
    third = ahead[second]
    first = (ahead[third] == item) & (follow > item) & (second > item) & (third > item)
    rings: NDArray[np.int64] = np.stack([item, follow, second, third], axis=1)[first]
    return rings
