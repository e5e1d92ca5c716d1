"""From what people drew, in a CRS of its own, to the pixels of a scene and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from segearth_cli.errors import RasterError
from segearth_cli.raster.georeference import Georeferenced, Placement, without_georeference
from segearth_cli.raster.ground import map_crs

_SAMPLES = 33  # points a side of the scene by which its place in the CRS of a drawing is known
_MARGIN = 0.05  # of that place, for what lies between the points
_PIECES = 512  # into which an edge as long as the scene, or the drawing, is cut before it goes to another CRS
_FEWER = 128  # of its parts around a pole
_MOST_TURNS = 8  # around the globe; longitudes of more are none
_FAR = 1e8  # pixels beyond which GDAL no longer counts, and a millionth of a pixel is no number
_HALVINGS = 12  # of a drawing over the antimeridian or a pole
_BEYOND = 1e-9  # degrees of rounding behind which a longitude lies a turn away


class Onto:
    """Coordinates (n, 2) of a CRS, x before y, and columns and rows of a scene.

    crs: whatever pyproj reads; None = that of the scene. Raises RasterError when a CRS tells nothing, because the scene
    lies nowhere; path and what: of scene and drawing, for messages.
    """

    def __init__(self, scene: Georeferenced, path: str, crs: str | None, what: str) -> None:
        self._placement = Placement(scene, path)
        self._there: Any = None
        self._back: Any = None
        self._width, self._height = scene.width, scene.height
        self._nowhere = without_georeference(scene)
        if self._nowhere and crs is not None:
            raise RasterError(f"{path}: has no georeference, but {what} has one; draw on its own pixels")
        own = None if self._placement.crs is None else map_crs(self._placement.crs.to_wkt())
        source = own if crs is None else pyproj.CRS.from_user_input(crs)
        if own is not None and source is not None and not source.equals(own, ignore_axis_order=True):
            self._there = pyproj.Transformer.from_crs(source, own, always_xy=True)
            self._back = pyproj.Transformer.from_crs(own, source, always_xy=True)
        self._own_turn, self.turn = turn_of(own), turn_of(source)
        self.name = "its pixels" if own is None else own.name

    @property
    def straight(self) -> bool:
        """Whether straight lines stay straight on the scene's pixels."""
        return self._there is None and self._placement.straight

    def find(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coordinates of the drawing as columns and rows, fractions included; not finite where they have none.

        All of a drawing at once: where the scene lies nowhere, most of it tells which way its rows are counted.
        """
        if self._nowhere:
            return xy * np.array([1, -1]) if xy[:, 1].sum() < 0 else xy  # QGIS shows rows of such pictures below 0
        return self._placement.find(self._own(xy))

    def _own(self, xy: NDArray[np.float64], middle: float | None = None) -> NDArray[np.float64]:
        """Coordinates of the drawing as the scene's CRS has them; longitudes near a middle, by default the scene's."""
        if self._there is None:
            return xy
        xy = np.stack(self._there.transform(xy[:, 0], xy[:, 1]), axis=1)
        if self._own_turn is not None:
            near = float(self._placement.middle[0]) if middle is None else middle
            xy[:, 0] = _unrolled(xy[:, 0], near, self._own_turn)
        return xy

    def move(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns and rows as coordinates of the drawing; longitudes go on beyond the antimeridian."""
        if self._nowhere:
            return pixels
        xy = self._placement.move(pixels)
        if self._back is not None:
            xy = np.stack(self._back.transform(xy[:, 0], xy[:, 1]), axis=1)
            if self.turn is not None:
                middle = self._back.transform(*self._placement.middle)[0]
                xy[:, 0] = _unrolled(xy[:, 0], middle if np.isfinite(middle) else 0.0, self.turn)
        return xy

    def place(self, geometry: NDArray[Any]) -> NDArray[Any]:
        """Geometries of shapely (n,) in columns and rows, without what lies far from the scene; empty where all does.

        Straight edges are straight in the CRS of the drawing; in longitude and latitude whole turns tell nothing apart.
        """
        with np.errstate(invalid="ignore"):  # what has no place here comes as infinity
            near = self._near(geometry)
            placed = np.asarray(shapely.transform(near, self.find), object)
            for number in self._torn(near):
                placed[number] = shapely.transform(self._in_pieces(near[number]), self._placement.find)
        coordinates, owner = shapely.get_coordinates(placed, return_index=True)
        placed[np.unique(owner[~np.isfinite(coordinates).all(axis=1)])] = shapely.Polygon()
        far = np.abs(shapely.bounds(placed)).max(axis=1, initial=0) > _FAR
        around = shapely.box(-1, -1, self._width + 1, self._height + 1)
        placed[far] = shapely.intersection(shapely.make_valid(placed[far]), around)
        return placed

    def _near(self, geometry: NDArray[Any]) -> NDArray[Any]:
        """The parts of geometries around the scene, whole turns put right, with points on edges where they bend."""
        if self.straight and self.turn is None:
            return geometry
        x, y = np.meshgrid(np.linspace(0, self._width, _SAMPLES), np.linspace(0, self._height, _SAMPLES))
        places = self.move(np.stack([x.ravel(), y.ravel()], axis=1))
        places = places[np.isfinite(places).all(axis=1)]
        if not len(places):
            return geometry
        low, high = places.min(axis=0), places.max(axis=0)
        margin = (high - low) * _MARGIN
        turns = [0.0] if self.turn is None else _turns(geometry, (float(low[0]), float(high[0])), self.turn)
        if self.turn is not None and not self.straight and high[0] - low[0] > self.turn / 2:  # a pole may lie within
            margin, turns = np.array([self.turn, margin[1]]), [0.0]
        around = shapely.box(*(low - margin), *(high + margin))
        whole = shapely.make_valid(geometry)
        moved = [shapely.transform(whole, lambda xy, by=by: xy + np.array([by, 0])) for by in turns]
        parts = [shapely.intersection(one, around) for one in moved]
        if not parts:
            return np.full(len(geometry), shapely.Polygon(), object)
        found = np.asarray(parts[0] if len(parts) == 1 else shapely.union_all(np.stack(parts), axis=0), object)
        west, south, east, north = shapely.total_bounds(found)
        longest = np.fmin(np.hypot(*(high - low)), np.hypot(east - west, north - south)) / _PIECES
        return found if self.straight or not longest else shapely.segmentize(found, float(longest))

    def _torn(self, geometry: NDArray[Any]) -> NDArray[np.intp]:
        """Which geometries of the drawing (n,) have an edge that goes around the globe, as over the antimeridian."""
        if self._there is None or self._own_turn is None:
            return np.zeros(0, np.intp)
        xy, owner = shapely.get_coordinates(geometry, return_index=True)
        step = np.abs(np.diff(self._own(xy)[:, 0])) > self._own_turn / 2
        whole = shapely.get_dimensions(geometry) > 0
        return np.unique([at for at in owner[1:][step & (owner[1:] == owner[:-1])] if whole[at]]).astype(np.intp)

    def _in_pieces(self, geometry: Any) -> Any:
        """A geometry of the drawing in the scene's CRS: cut small enough to lie on one side, put where the scene is.

        Of a drawing around a pole 2^-12 of its side is left out there; what has no place in that CRS is, too.
        """
        turn = float(self._own_turn or 0)
        sides = self._placement.move(np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (self._width, self._height))[:, 0]
        found, todo = [], [(geometry, 0)]
        while todo:
            piece, halved = todo.pop()
            if shapely.is_empty(piece):
                continue
            first = float(self._own(shapely.get_coordinates(piece)[:1])[0, 0])
            own = shapely.transform(piece, lambda xy, first=first: self._own(xy, first))
            west, _, east, _ = shapely.bounds(own)
            if east - west < turn / 4:
                turns = np.arange(np.floor((sides.min() - east) / turn), np.ceil((sides.max() - west) / turn) + 1)
                found += [shapely.transform(own, lambda xy, by=by * turn: xy + np.array([by, 0])) for by in turns]
            elif halved < (_HALVINGS if np.isfinite(east - west) else _HALVINGS // 3):
                west, south, east, north = shapely.bounds(piece)
                step = np.hypot(east - west, north - south) / _FEWER
                quarters = shapely.intersection(piece, _quarters(west, south, east, north, step))
                bending = shapely.segmentize(quarters, step)
                todo += [(quarter, halved + 1) for quarter in bending]
        return shapely.union_all(shapely.make_valid(found))


def _quarters(west: float, south: float, east: float, north: float, overlap: float) -> NDArray[Any]:
    """Boxes (4,) that a box is cut into, and that overlap: where edges bend, others would gape."""
    x, y = np.array([west + east, south + north])[:, None] / 2 + np.array([-1, 1]) * overlap / 2
    columns, rows = [(west, x[1]), (x[0], east)], [(south, y[1]), (y[0], north)]
    return np.array([shapely.box(left, low, right, high) for left, right in columns for low, high in rows], object)


def turn_of(crs: pyproj.CRS | None) -> float | None:
    """Units of longitude of a whole turn, None where x is no longitude."""
    return 2 * np.pi / crs.axis_info[0].unit_conversion_factor if crs is not None and crs.is_geographic else None


def turns_apart(one: Georeferenced, other: Georeferenced) -> float:
    """What brings longitudes of one raster, in whole turns, nearest to another; 0 where x of one is no longitude."""
    if one.crs is None or other.crs is None:
        return 0.0
    turns = {turn_of(map_crs(raster.crs.to_wkt())) for raster in (one, other)}
    if len(turns) > 1 or (turn := turns.pop()) is None:
        return 0.0
    here, there = (Placement(raster, "the raster").middle[0] for raster in (one, other))
    return float(np.nan_to_num(_turns_to(there, here, turn)))


def _turns_to(place: float, x: Any, turn: float) -> Any:
    """By how much longitudes are moved in whole turns to lie within half a turn of a place."""
    return np.rint((place - x) / turn) * turn


def _turns(geometry: NDArray[Any], span: tuple[float, float], turn: float) -> list[float]:
    """By how much longitudes are moved, in whole turns, so that geometries may come to lie within a span."""
    west, _, east, _ = shapely.total_bounds(geometry)
    first, last = np.floor((span[0] - east) / turn), np.ceil((span[1] - west) / turn)
    return [float(number) * turn for number in np.arange(first, last + 1)] if last - first <= _MOST_TURNS else []


def _unrolled(x: NDArray[np.float64], middle: float, turn: float) -> NDArray[np.float64]:
    """Longitudes brought within half a turn of a middle."""
    half = turn / 2 + _BEYOND
    return np.where(np.abs(x - middle) > half, middle + (x - middle + turn / 2) % turn - turn / 2, x)
