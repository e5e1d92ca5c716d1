"""Polygons in longitude and latitude, cut where they cross the antimeridian (RFC 7946, 3.1.9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.raster import densified

Move = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # map coordinates (n, 2) -> degrees (n, 2)

_DIGITS = 12  # of degrees, after which turns of 360 leave noise


def cut(geometry: NDArray[Any], move: Move, longest: float) -> NDArray[Any]:
    """Geometries (n,) of a map in degrees, from -180 to 180, those that cross the antimeridian in parts on both sides.

    What lies beyond a pole, as half a pixel of grids given by the middles of their pixels, is cut off.

    longest: pieces of an edge, in units of the map, between which a longitude changes by less than half a turn.
    """
    moved = np.asarray(shapely.transform(geometry, move), object)
    west, south, east, north = shapely.bounds(moved).T.reshape(4, -1)
    off = (west < -180) | (east > 180) | (south < -90) | (north > 90)
    for i in np.flatnonzero((east - west > 180) | off):
        parts = [_cut_polygon(polygon, move, longest) for polygon in shapely.get_parts(geometry[i])]
        moved[i] = shapely.transform(_of_polygons(shapely.union_all(parts)), lambda xy: np.round(xy, _DIGITS))
    return moved


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


def _of_polygons(geometry: Any) -> Any:
    """The polygons of a geometry, as one geometry without the lines and points that cutting may leave."""
    parts = shapely.get_parts(geometry)
    parts = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)
