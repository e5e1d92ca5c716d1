"""Outlines of buildings with right angles."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

STAIRS = 1.5  # pixels; the stairs of a slanted wall are less deep
AGREEMENT = 0.8  # of areas, intersection over union; an outline that fits worse is left as it is

Ring = NDArray[np.float64]  # (n, 2), not closed by repetition


def regularized(polygon: Any) -> Any:
    """A polygon in pixel coordinates with right angles along its main direction, or itself when that does not fit."""
    angle = _main_angle(polygon)
    for candidate in (_squared(polygon, angle), shapely.oriented_envelope(polygon)):
        if candidate is None or not candidate.is_valid or candidate.area == 0:
            continue
        common = shapely.intersection(candidate, polygon).area
        if common / (candidate.area + polygon.area - common) >= AGREEMENT:
            return candidate
    return polygon


def _main_angle(polygon: Any) -> float:
    """The direction of the walls in radians, from 0 to a quarter turn: mean of all edges, four-fold, by length."""
    xy = shapely.get_coordinates(shapely.simplify(polygon.exterior, STAIRS))
    edges = np.diff(xy, axis=0) @ (1, 1j)
    turned = np.sum(np.abs(edges) * np.exp(4j * np.angle(edges)))
    return float(np.angle(turned) / 4)


def _squared(polygon: Any, angle: float) -> Any | None:
    """The polygon with every edge turned to `angle` or square to it; None when too few edges are left."""
    outer = _squared_ring(polygon.exterior, angle)
    if outer is None:
        return None
    inner = [_squared_ring(ring, angle) for ring in polygon.interiors]
    return shapely.Polygon(outer, [ring for ring in inner if ring is not None])


def _squared_ring(ring: Any, angle: float) -> Ring | None:
    xy = shapely.get_coordinates(shapely.simplify(ring, STAIRS))[:-1]
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])  # row vectors @ turn: main direction -> x axis
    start = xy @ turn
    way = np.roll(start, -1, axis=0) - start
    level = np.abs(way[:, 0]) >= np.abs(way[:, 1])
    turns = np.flatnonzero(level != np.roll(level, 1))
    if len(turns) < 4:
        return None
    start, way, level = (np.roll(a, -turns[0], axis=0) for a in (start, way, level))
    runs = turns - turns[0]
    across = np.where(level, start[:, 1] + way[:, 1] / 2, start[:, 0] + way[:, 0] / 2)
    weight = np.hypot(way[:, 0], way[:, 1])
    line = np.add.reduceat(across * weight, runs) / np.add.reduceat(weight, runs)
    before = np.roll(line, 1)
    corner = np.where(level[runs][:, None], np.stack([before, line], axis=1), np.stack([line, before], axis=1))
    squared: Ring = corner @ turn.T
    return squared
