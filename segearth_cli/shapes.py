"""Shapes: strips of codes -> valid polygons in pixel coordinates (x = column, y = row), the same for any strips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.ahead import ahead
from segearth_cli.corners import TOUCH, Codes, walk
from segearth_cli.linked import Strip, prepared
from segearth_cli.pieces import spans
from segearth_cli.regularize import regularized as right_angled
from segearth_cli.rings import Rings, Tracer

Geometries = NDArray[Any]  # of shapely geometries


class Place(Protocol):
    """From pixel to map coordinates: `mirrors` when clockwise on screen is clockwise on the map."""

    @property
    def mirrors(self) -> bool: ...

    def move(self, xy: NDArray[np.float64]) -> NDArray[np.float64]: ...


@dataclass(frozen=True, slots=True)
class Outlines:
    """P polygons as their rings, sorted by polygon, the outer one first and clockwise on screen, holes the other way.

    xy (N, 2): column, row. flags (N,): of `corners`. lengths (R,): points of a ring. rings (P,): rings of a polygon.
    """

    xy: NDArray[np.float64]
    flags: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    rings: NDArray[np.int64]

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
class Shapes:
    """P polygons or multipolygons: geometry (P,), code (P,), sums (P, n) of the weights over their pixels."""

    geometry: Geometries
    code: Codes
    sums: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.geometry)

    def take(self, index: NDArray[Any]) -> Shapes:
        """Some of the shapes, by number or by a mask."""
        return Shapes(self.geometry[index], self.code[index], self.sums[index])


Smoother = Callable[[Outlines], Outlines]


def polygons(
    strips: Iterable[Strip],
    width: int,
    dtype: np.dtype[Any],
    *,
    weights: int = 0,
    smoother: Smoother | None = None,
    place: Place | None = None,
) -> Iterator[Shapes]:
    """One polygon for each region of 4-connected pixels of one code other than 0, as soon as it is complete.

    Collinear points are left out. Without a smoother all pixel coordinates are whole numbers, and the set of polygons
    does not depend on the height of the strips. A smoother gets the points where three regions meet as well.
    """
    tracer = Tracer(width)
    for strip in ahead(prepared(strips, width, dtype, weights=weights, nodes=smoother is not None)):
        found = tracer.feed(strip)
        rings = outlines(found)
        if smoother is not None:
            rings = smoother(rings)
        yield Shapes(rings.polygons(place), found.code, found.sums)


def outlines(found: Rings) -> Outlines:
    """The rings of regions as polygons that are valid: no ring touches itself, outer rings come first."""
    found = _split(found)
    ends = np.cumsum(found.lengths)
    x, y = found.points[:, 0].astype(np.int64), found.points[:, 1].astype(np.int64)
    after = np.arange(1, len(x) + 1)
    after[ends - 1] = ends - found.lengths
    cross = x * y[after] - x[after] * y
    twice_area = np.add.reduceat(cross, ends - found.lengths) if len(ends) else ends
    order = np.argsort(found.region * 2 + (twice_area < 0), kind="stable")
    points = found.points
    if not np.array_equal(order, np.arange(len(order))):
        points = points[spans(np.concatenate([[0], ends]), order)]
    rings = np.bincount(found.region, minlength=len(found.code))
    return Outlines(points[:, :2].astype(np.float64), points[:, 2].astype(np.uint8), found.lengths[order], rings)


def _split(found: Rings) -> Rings:
    """The same regions with every ring that passes a point twice split there into two that touch.

    A region that closes around a pixel across a diagonal has one border that touches itself; OGC polygons need a
    hole there that touches the outer ring. The two passages of one ring never interleave, so all are split at once.
    """
    touching = np.flatnonzero(found.points[:, 2] & TOUCH)
    ends = np.cumsum(found.lengths)
    ring = np.searchsorted(ends, touching, side="right")
    at = found.points[touching].astype(np.int64)
    order = np.lexsort((at[:, 0], at[:, 1], ring))
    same = (np.diff(ring[order]) == 0) & (np.diff(at[order, 0]) == 0) & (np.diff(at[order, 1]) == 0)
    one, other = touching[order[:-1][same]], touching[order[1:][same]]
    if not len(one):
        return found
    follow = np.arange(1, len(found.points) + 1)
    follow[ends - 1] = ends - found.lengths
    follow[one], follow[other] = follow[other], follow[one]
    hit = np.zeros(len(ends), np.bool_)
    hit[np.searchsorted(ends, one, side="right")] = True
    offsets = np.concatenate([[0], ends])
    index, cuts = walk(follow, spans(offsets, np.flatnonzero(hit)))
    kept = np.flatnonzero(~hit)
    owner = found.region[np.searchsorted(ends, index[cuts[:-1]], side="right")]
    return replace(
        found,
        points=found.points[np.concatenate([spans(offsets, kept), index])],
        lengths=np.concatenate([found.lengths[kept], np.diff(cuts)]),
        region=np.concatenate([found.region[kept], owner]),
    )


def joined_diagonally(batches: Iterable[Shapes]) -> Iterator[Shapes]:
    """Regions of 8-connected pixels: multipolygons of the polygons of one code that touch at a point.

    A multipolygon of parts that touch at points is valid where one polygon of the same area would not be. All shapes
    are held in memory.
    """
    every = _gathered(batches)
    if not len(every):
        return
    xy, owner = shapely.get_coordinates(every.geometry, return_index=True)
    order = np.lexsort((owner, xy[:, 0], xy[:, 1], every.code[owner]))
    xy, owner = xy[order], owner[order]
    meet = (xy[1:] == xy[:-1]).all(axis=1) & (owner[1:] != owner[:-1])
    meet &= every.code[owner[1:]] == every.code[owner[:-1]]
    parent = list(range(len(every)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for one, other in zip(owner[:-1][meet].tolist(), owner[1:][meet].tolist(), strict=True):
        parent[find(one)] = find(other)
    yield _grouped(every, np.unique([find(i) for i in range(len(every))], return_inverse=True)[1])


def dissolved(batches: Iterable[Shapes]) -> Iterator[Shapes]:
    """One multipolygon for each code, all of it held in memory."""
    every = _gathered(batches)
    codes, group = np.unique(every.code, return_inverse=True)
    if len(codes):
        yield _grouped(every, group)


def _grouped(every: Shapes, group: NDArray[np.int64]) -> Shapes:
    """Multipolygons of the members of each group 0, 1, ..., with the sums of their sums."""
    order = np.argsort(group, kind="stable")
    sums = np.zeros((int(group.max()) + 1, every.sums.shape[1]))
    np.add.at(sums, group, every.sums)
    first = np.searchsorted(group[order], np.arange(len(sums)))
    geometry = shapely.multipolygons(every.geometry[order], indices=group[order])
    return Shapes(np.asarray(geometry, object), every.code[order][first], sums)


def simplified(batches: Iterable[Shapes], tolerance: float) -> Iterator[Shapes]:
    """Polygons with simpler borders, each border once for both its sides: no gaps, no overlaps.

    Visvalingam-Whyatt on the coverage of all polygons (GEOS), which is held in memory; `tolerance` is the side of a
    square as large as the largest triangle that is cut off. Needs the points where three regions meet (`borders`).
    """
    every = _gathered(batches)
    if len(every) and tolerance > 0:
        every = Shapes(np.asarray(shapely.coverage_simplify(every.geometry, tolerance), object), every.code, every.sums)
    yield every


def regularized(batches: Iterable[Shapes]) -> Iterator[Shapes]:
    """Polygons with right angles where that keeps their form, each for itself: neighbours may come to overlap."""
    for batch in batches:
        geometry = np.empty(len(batch), object)
        geometry[:] = [right_angled(polygon) for polygon in batch.geometry]
        yield Shapes(geometry, batch.code, batch.sums)


def _gathered(batches: Iterable[Shapes]) -> Shapes:
    held = list(batches)
    return Shapes(
        np.concatenate([batch.geometry for batch in held]),
        np.concatenate([batch.code for batch in held]),
        np.concatenate([batch.sums for batch in held]),
    )
