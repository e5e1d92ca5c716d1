"""Strips of codes to valid polygons in pixel coordinates (x = column, y = row), the same for strips of any height."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.vector.chains import columns, flags, positions, rows
from segearth_cli.vector.corners import TOUCH, Codes, Corners, walk
from segearth_cli.vector.ragged import following, spans, twice_areas
from segearth_cli.vector.read_ahead import ahead
from segearth_cli.vector.right_angles import regularized
from segearth_cli.vector.rings import Rings, Tracer
from segearth_cli.vector.strips import Strip, linked

Geometries = NDArray[Any]  # of shapely geometries


class Place(Protocol):
    """From pixel to map coordinates: `mirrors` when clockwise on screen is clockwise on the map."""

    @property
    def mirrors(self) -> bool: ...

    def move(self, xy: NDArray[np.float64]) -> NDArray[np.float64]: ...


@dataclass(frozen=True, slots=True)
class Outlines:
    """P polygons as their R rings, sorted by polygon, the outer one first.

    Outer rings run clockwise on screen, holes the other way.
    """

    xy: NDArray[np.float64]
    """(N, 2): column and row of every point."""
    flags: NDArray[np.uint8]
    """(N,): sums of the flags of `corners`."""
    lengths: NDArray[np.int64]
    """(R,): points of each ring."""
    rings: NDArray[np.int64]
    """(P,): rings of each polygon."""

    def polygons(self, place: Place | None = None) -> Geometries:
        """The polygons (P,) of shapely, in pixel coordinates or where `place` puts them."""
        starts = np.cumsum(self.lengths) - self.lengths
        offsets = np.concatenate([[0], np.cumsum(self.lengths + 1)])
        point = np.arange(offsets[-1]) - np.repeat(np.arange(len(starts)), self.lengths + 1)
        if place is not None and place.mirrors:  # outer rings are to run counter-clockwise on the map
            point = np.repeat(2 * starts + self.lengths, self.lengths + 1) - point
            point[offsets[:-1]] = starts
        else:
            point[offsets[1:] - 1] = starts
        xy = self.xy if place is None else place.move(self.xy)
        parts = np.concatenate([[0], np.cumsum(self.rings)])
        made = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy[point], (offsets, parts))
        return np.asarray(made, object)


@dataclass(frozen=True, slots=True)
class Touches:
    """T corners of outlines at which two pixels of one code meet that have no edge in common."""

    shape: NDArray[np.int64]
    """(T,): number of the shape."""
    place: NDArray[np.int64]
    """(T,): of the corner, as one number."""

    def take(self, shapes: NDArray[np.int64], n: int) -> Touches:
        """Those of some of n shapes, as these are numbered then."""
        number = np.full(n, -1)
        number[shapes] = np.arange(len(shapes))
        number = number[self.shape]
        return Touches(number[number >= 0], self.place[number >= 0])


@dataclass(frozen=True, slots=True)
class Shapes:
    """P polygons or multipolygons of one code each."""

    geometry: Geometries
    """(P,): of shapely."""
    code: Codes
    """(P,): the class of each."""
    sums: NDArray[np.float64]
    """(P, n): of the n weights over its pixels."""
    touches: Touches | None = None
    """Where pixels of the shapes meet others of their code at a corner, where somebody asked for it."""

    def __len__(self) -> int:
        return len(self.geometry)

    def take(self, index: NDArray[Any]) -> Shapes:
        """Some of the shapes, by a mask or by numbers that grow."""
        touches = None if self.touches is None else self.touches.take(np.arange(len(self))[index], len(self))
        return Shapes(self.geometry[index], self.code[index], self.sums[index], touches)


Smoother = Callable[[Outlines], Outlines]
See = Callable[[Corners, int], None]  # the corners of a strip, and its rows


def traced(
    strips: Iterable[Strip],
    width: int,
    dtype: np.dtype[Any],
    *,
    weights: int = 0,
    nodes: bool = False,
    see: See | None = None,
) -> Iterator[tuple[Rings, Outlines]]:
    """Regions of 4-connected pixels of one code other than 0, as rings and as outlines, with the strip that ends them.

    nodes: with the points where three regions meet. see: gets the corners of a strip before.
    """
    tracer = Tracer()
    for strip in ahead(linked(strips, width, dtype, weights=weights, nodes=nodes)):
        if see is not None:
            see(strip.found, len(strip.padded) - 1)
        found = tracer.feed(strip)
        yield found, outlines(found)


def polygons(
    strips: Iterable[Strip],
    width: int,
    dtype: np.dtype[Any],
    *,
    weights: int = 0,
    smoother: Smoother | None = None,
    see: See | None = None,
    place: Place | None = None,
    touches: bool = False,
) -> Iterator[Shapes]:
    """One polygon for each region of 4-connected pixels of one code other than 0, as soon as it is complete.

    Collinear points are left out. Without a smoother all pixel coordinates are whole numbers, and the set of polygons
    does not depend on the height of the strips. A smoother gets the points where three regions meet as well, after
    `see` got the corners of the strip. touches: tell them too.
    """
    for found, rings in traced(strips, width, dtype, weights=weights, nodes=smoother is not None, see=see):
        meet = _touches(rings) if touches else None
        if smoother is not None:
            rings = smoother(rings)
        yield Shapes(rings.polygons(place), found.code, found.sums, meet)


def _touches(rings: Outlines) -> Touches:
    at = np.flatnonzero(rings.flags & TOUCH)
    ends = np.cumsum(rings.lengths)[np.cumsum(rings.rings) - 1] if len(rings.rings) else rings.lengths
    col, row = rings.xy[at].astype(np.int64).T
    return Touches(np.searchsorted(ends, at, side="right"), row << 32 | col)


def outlines(found: Rings) -> Outlines:
    """The rings of regions as polygons that are valid: no ring touches itself, outer rings come first."""
    found = _split(found)
    xy = np.empty((len(found.points), 2))
    xy[:, 0], xy[:, 1] = columns(found.points), rows(found.points)
    rings = np.bincount(found.region, minlength=len(found.code))
    return Outlines(xy, flags(found.points), found.lengths, rings)


def _split(found: Rings) -> Rings:
    """The same regions with every ring that passes a point twice split there into two that touch.

    A region that closes around a pixel across a diagonal has one border that touches itself; OGC polygons need a
    hole there that touches the outer ring. The two passages of one ring never interleave, so all are split at once.
    """
    ends = np.cumsum(found.lengths)
    starts = ends - found.lengths
    touching = np.flatnonzero(found.points & TOUCH)
    ring, at = np.searchsorted(ends, touching, side="right"), positions(found.points.take(touching))
    order = np.lexsort((at, ring))
    same = (np.diff(ring[order]) == 0) & (np.diff(at[order]) == 0)
    if not same.any():
        return found
    hit = np.unique(ring[order[1:][same]])
    members = spans(starts[hit], found.lengths[hit])  # all that follows concerns these rings alone
    one, other = (np.searchsorted(members, touching[side][same]) for side in (order[:-1], order[1:]))
    follow = following(found.lengths[hit])
    follow[one], follow[other] = follow[other], follow[one]
    index, cuts = walk(follow, np.arange(len(members)))
    points = found.points.take(members.take(index))
    whole = np.delete(np.arange(len(ends)), hit)
    region = np.concatenate([found.region[whole], found.region[np.repeat(hit, found.lengths[hit])[index[cuts[:-1]]]]])
    hole = twice_areas(columns(points), rows(points), np.diff(cuts)) < 0
    inner = np.concatenate([(np.diff(found.region, prepend=-1) == 0)[whole], hole])
    begin = np.concatenate([starts[whole], len(found.points) + cuts[:-1]])
    lengths = np.concatenate([found.lengths[whole], np.diff(cuts)])
    order = np.lexsort((inner, region))
    every = np.concatenate([found.points, points]).take(spans(begin[order], lengths[order]))
    return replace(found, points=every, lengths=lengths[order], region=region[order])


def grouped(every: Shapes, group: NDArray[np.int64]) -> Shapes:
    """Multipolygons of the members of each group 0, 1, ..., with the sums of their sums."""
    order = np.argsort(group, kind="stable")
    sums = np.zeros((int(group.max()) + 1, every.sums.shape[1]))
    np.add.at(sums, group, every.sums)
    first = np.searchsorted(group[order], np.arange(len(sums)))
    geometry = shapely.multipolygons(every.geometry[order], indices=group[order])
    return Shapes(np.asarray(geometry, object), every.code[order][first], sums)


def with_right_angles(batches: Iterable[Shapes]) -> Iterator[Shapes]:
    """Polygons with right angles where that keeps their form, each for itself: neighbours may come to overlap."""
    for batch in batches:
        geometry = np.empty(len(batch), object)
        geometry[:] = [regularized(polygon) for polygon in batch.geometry]
        yield replace(batch, geometry=geometry)


def gathered(batches: Iterable[Shapes]) -> Shapes:
    """All shapes of the batches, which must be one at least, in one."""
    held = list(batches)
    before = np.cumsum([0, *map(len, held)])
    touches = [
        (batch.touches.shape + n, batch.touches.place) for batch, n in zip(held, before, strict=False) if batch.touches
    ]
    return Shapes(
        np.concatenate([batch.geometry for batch in held]),
        np.concatenate([batch.code for batch in held]),
        np.concatenate([batch.sums for batch in held]),
        Touches(*(np.concatenate(column) for column in zip(*touches, strict=True))) if touches else None,
    )
