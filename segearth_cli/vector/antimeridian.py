"""Polygons in longitude and latitude: edges that bend get points, the antimeridian cuts (RFC 7946, 3.1.9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.raster import densified

Move = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # map coordinates (n, 2) -> degrees (n, 2)

_DIGITS = 12  # of degrees, after which turns of 360 leave noise
_PIECE = 0.1  # degrees, pieces of an edge between which a longitude changes by less than half a turn
_BESIDE = 0.25  # pixels that an edge may lie beside its place
_LONG = 8.0  # pixels, edges that are looked at
_SHORT, _POLAR = 1.5, 256.0  # pixels: so near a pole, edges of that length too
_ROUNDS = 12  # in each an edge near a pole is cut into pieces of about the root of its length at least
_AT_POLE = 1e-9  # degrees, nearer a place is the pole


def to_degrees(geometry: NDArray[Any], move: Move, pixel: float, unit: float) -> NDArray[Any]:
    """Geometries (n,) of a map in degrees, from -180 to 180, those that cross the antimeridian in parts on both sides.

    Edges that straight lines in degrees would put beside their place have points between. What lies beyond a pole, as
    half a pixel of grids given by the middles of their pixels, is cut off.

    pixel: its side in units of the map; unit: of the map in degrees, about.
    """
    geometry, moved = _with_bends(geometry, move, pixel, unit)
    west, south, east, north = shapely.bounds(moved).T.reshape(4, -1)
    off = (west < -180) | (east > 180) | (south <= -90) | (north >= 90)
    for i in np.flatnonzero((east - west > 180) | off):
        longest = _PIECE / unit
        moved[i] = united([_cut_polygon(polygon, move, longest) for polygon in shapely.get_parts(geometry[i])])
    return moved


def _with_bends(geometry: NDArray[Any], move: Move, pixel: float, unit: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Geometries (n,) with points on the edges that bend, on the map and in degrees."""
    geometry, moved = geometry.copy(), np.asarray(shapely.transform(geometry, move), object)
    which = np.arange(len(geometry))
    for _ in range(_ROUNDS):
        longest = _unbent(geometry[which], moved[which], move, pixel, unit)
        which, longest = which[np.isfinite(longest)], longest[np.isfinite(longest)]
        if not len(which):
            break
        geometry[which] = shapely.segmentize(geometry[which], longest)
        moved[which] = shapely.transform(geometry[which], move)
    return geometry, moved


def _unbent(geometry: NDArray[Any], moved: NDArray[Any], move: Move, pixel: float, unit: float) -> NDArray[np.float64]:
    """(n,) how long edges of geometries may be, infinite where all lie in their place."""
    xy, owner = shapely.get_coordinates(geometry, return_index=True)
    degrees = shapely.get_coordinates(moved)
    from_pole = (90 - np.abs(degrees[:, 1]).max(initial=0)) / (unit * pixel)
    long = np.hypot(*np.diff(xy, axis=0).T) > pixel * (_SHORT if from_pole < _POLAR else _LONG)
    held = np.zeros(len(geometry), np.bool_)
    held[owner[:-1][long]] = True
    ends = np.zeros(len(xy), np.bool_)  # the last point of each ring
    parts = shapely.get_parts(geometry[held])
    ends[np.flatnonzero(held[owner])[shapely.get_num_coordinates(shapely.get_rings(parts)).cumsum() - 1]] = True
    at = np.flatnonzero(long & ~ends[:-1])
    middle = move((xy[at] + xy[at + 1]) / 2)
    beside = _least_turn(middle - degrees[at] - _least_turn(degrees[at + 1] - degrees[at]) / 2)
    beside[:, 0] *= np.cos(np.radians(middle[:, 1]))
    pieces = np.sqrt(np.hypot(*beside.T) / (unit * pixel * _BESIDE))
    at, pieces = at[pieces > 1], pieces[pieces > 1]
    longest = np.full(len(geometry), np.inf)
    np.minimum.at(longest, owner[at], np.maximum(np.hypot(*(xy[at + 1] - xy[at]).T) / np.ceil(pieces), pixel))
    return longest


def _least_turn(step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Steps (n, 2) in degrees whose longitudes change by half a turn at most."""
    least: NDArray[np.float64] = step - np.stack([360 * np.rint(step[:, 0] / 360), np.zeros(len(step))], axis=1)
    return least


def united(parts: Sequence[Any] | NDArray[Any]) -> Any:
    """Polygons in degrees as one geometry, valid and rounded; they may have edges in common."""
    whole = _of_polygons(shapely.union_all(parts, grid_size=10.0**-_DIGITS))
    whole = shapely.transform(whole, lambda xy: np.round(xy, _DIGITS))
    return whole if whole.is_valid else _of_polygons(shapely.make_valid(whole))


def _cut_polygon(polygon: Any, move: Move, longest: float) -> Any:
    whole = _cut_ring(polygon.exterior, move, longest)
    holes = [_cut_ring(hole, move, longest) for hole in polygon.interiors]
    return shapely.difference(whole, shapely.union_all(holes)) if holes else whole


def _cut_ring(ring: Any, move: Move, longest: float) -> Any:
    """What a ring encloses, in parts that lie between -180 and 180 degrees."""
    rolled_out = _rolled_out(ring, move, longest)
    west, _, east, _ = rolled_out.bounds
    parts = []
    for turn in range(int((west + 180) // 360), int(np.ceil((east + 180) / 360))):
        world = shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90)
        part = rolled_out if shapely.covers(world, rolled_out) else shapely.intersection(rolled_out, world)
        parts.append(shapely.transform(part, lambda xy, turn=turn: xy - [360 * turn, 0]))
    return parts[0] if len(parts) == 1 else shapely.union_all(parts)


def _rolled_out(ring: Any, move: Move, longest: float) -> Any:
    """What a ring encloses, its longitudes going on beyond 180 degrees; up to the pole when the ring goes around it."""
    xy = shapely.get_coordinates(ring)
    if (found := _from_pole(move(xy))) is not None:
        return found
    dense, origin = densified(xy, np.zeros(len(xy), np.int64), longest)
    turn = np.diff(move(dense)[:, 0])
    turn -= 360 * np.rint(turn / 360)
    degrees = move(xy)
    degrees[1:, 0] = degrees[0, 0] + np.add.reduceat(turn, np.flatnonzero(np.diff(origin, prepend=-1))[:-1]).cumsum()
    around = np.rint((degrees[-1, 0] - degrees[0, 0]) / 360)
    if around:
        pole = 90.0 if (around > 0) == shapely.is_ccw(ring) else -90.0
        degrees = np.concatenate([degrees, [[degrees[-1, 0], pole], [degrees[0, 0], pole]]])
    found = shapely.Polygon(degrees)
    return found if found.is_valid else shapely.make_valid(found)


def _from_pole(degrees: NDArray[np.float64]) -> Any:
    """What a ring encloses that meets a pole in one place, all of whose longitudes are that of the pole; else None."""
    step = _least_turn(np.diff(degrees, axis=0))[:, 0]
    corners = np.flatnonzero(90 - np.abs(degrees[:-1, 1]) < _AT_POLE)
    through = np.flatnonzero(180 - np.abs(step) < _AT_POLE)
    if len(corners) == 1:
        path = np.roll(degrees[:-1], -corners[0] - 1, axis=0)[:-1]
    elif len(through) == 1 and not len(corners):
        path = np.roll(degrees[:-1], -through[0] - 1, axis=0)
    else:
        return None
    pole = np.copysign(90.0, path[0, 1])
    path[1:, 0] = path[0, 0] + _least_turn(np.diff(path, axis=0))[:, 0].cumsum()
    found = shapely.Polygon([(path[0, 0], pole), *path, (path[-1, 0], pole)])
    return found if found.is_valid else shapely.make_valid(found)


def _of_polygons(geometry: Any) -> Any:
    """The polygons of a geometry, as one geometry without the lines and points that cutting may leave."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    parts = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)
