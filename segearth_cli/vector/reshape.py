"""Borders smoothed with their common points fixed, so that both sides of a border stay one line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segearth_cli.vector.corners import NODE
from segearth_cli.vector.polygons import Outlines
from segearth_cli.vector.ragged import following, preceding

_AT_ONCE = 1 << 17  # points, in whole rings


def with_nodes(outlines: Outlines) -> Outlines:
    """The outlines as they are, with the points where three regions meet, which every smoother is given."""
    return outlines


def smoothed(outlines: Outlines) -> Outlines:
    """Outlines with their corners cut off, half a pixel at most, then rounded once more (Chaikin 1974).

    Points where three or more borders meet stay. All points given are whole numbers, and borders have no others in
    common than such ends. So what is cut off a corner, which keeps within half a pixel of it, holds no point of another
    border, nor does a straight piece of one pass through it: no border can cross another. The same holds of the second
    cuts, which keep within a pixel of the corner.
    """
    ends = np.cumsum(outlines.lengths)
    last = np.flatnonzero(np.diff((ends - outlines.lengths) // _AT_ONCE))  # rings of each portion
    points = (np.split(of, ends[last]) for of in (outlines.xy, outlines.flags))
    portions = zip(*points, np.split(outlines.lengths, last + 1), strict=True)
    cut = [_cut_twice(Outlines(xy, flags, lengths, outlines.rings)) for xy, flags, lengths in portions]
    xy, flags, lengths = (np.concatenate([getattr(one, name) for one in cut]) for name in ("xy", "flags", "lengths"))
    return Outlines(xy, flags, lengths, outlines.rings)


def _cut_twice(outlines: Outlines) -> Outlines:
    return _cut(_cut(outlines, share=0.5, at_most=0.5), share=0.25, at_most=0.5)


def _cut(outlines: Outlines, *, share: float, at_most: float) -> Outlines:
    """Each free point replaced by two, `share` of the way to its neighbours; equal neighbours become one point."""
    if not len(outlines.xy):
        return outlines
    free = (outlines.flags & NODE) == 0
    near = [
        _toward(outlines.xy, side, share, at_most)
        for side in (preceding(outlines.lengths), following(outlines.lengths))
    ]
    points = np.stack([np.where(free[:, None], xy, outlines.xy) for xy in near], axis=1).reshape(-1, 2)
    flags = np.repeat(outlines.flags, 2)
    ring = np.repeat(np.arange(len(outlines.lengths)), outlines.lengths * 2)
    distinct = (points != points[preceding(outlines.lengths * 2)]).any(axis=1)
    lengths = np.bincount(ring[distinct], minlength=len(outlines.lengths))
    return Outlines(points[distinct], flags[distinct], lengths, outlines.rings)


def _toward(xy: NDArray[np.float64], other: NDArray[np.int64], share: float, at_most: float) -> NDArray[np.float64]:
    """Points moved toward others by a share of the way, `at_most` pixels. Both sides of a border get equal numbers."""
    way = xy[other] - xy
    size = np.hypot(way[:, 0], way[:, 1])
    step = np.minimum(share * size, at_most) / np.where(size > 0, size, 1)
    return xy + way * step[:, None]
