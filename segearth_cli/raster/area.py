"""A part of a scene that is asked for: polygons on the map, and which pixels and windows of a scene they hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from segearth_cli.errors import RasterError, UsageError
from segearth_cli.raster.georeference import Georeferenced
from segearth_cli.raster.grid import Window
from segearth_cli.raster.onto import Onto, turn_of

_SMALL = 32  # side of the cells, in pixels, in which each pixel is asked for
_SEAM = 1e-6  # pixels; parts cut at the antimeridian join over it


@dataclass(frozen=True, slots=True)
class AreaOfInterest:
    """Polygons on the map, of any number of scenes; can be pickled."""

    geometry: Any
    """A polygon or multipolygon of shapely, valid, in order of x and y."""
    crs: str | None
    """Its CRS as `EPSG:4326` or WKT; None = that of each scene."""
    told: str = ""
    """How the user named it, for error lines."""

    def facts(self) -> dict[str, Any]:
        """What a mask's provenance says of it, JSON-ready: equal areas say the same, whatever file they came from."""
        content = shapely.to_wkb(self.geometry, output_dimension=2, byte_order=1) + (self.crs or "").encode()
        bounds = [float(value) for value in shapely.bounds(self.geometry)]
        return {"sha256": hashlib.sha256(content).hexdigest(), "bounds": bounds, "crs": self.crs}


def area_of_interest(geometries: Any, crs: Any, told: str) -> AreaOfInterest:
    """The polygons among geometries of shapely as one area; crs: whatever pyproj reads, or None.

    Raises UsageError where none of them is a polygon with an inside, a coordinate is no number, or the CRS is none.
    """
    parts = shapely.get_parts(shapely.force_2d(shapely.get_parts(geometries)))
    parts = parts[np.isin(shapely.get_type_id(parts), (shapely.GeometryType.POLYGON,))] if len(parts) else parts
    if not np.isfinite(shapely.get_coordinates(parts)).all():
        raise UsageError(f"{told}: has a coordinate that is no number")
    parts = parts[~shapely.is_empty(parts)]
    whole = _polygons(shapely.union_all(shapely.make_valid(parts)))
    if whole is None:
        raise UsageError(f"{told}: holds no polygon; need one or more, with an inside")
    return AreaOfInterest(shapely.normalize(whole), _named(crs, told), told)


def area_in_box(box: tuple[float, float, float, float], crs: str | None) -> AreaOfInterest:
    """The area between west, south, east and north; of longitudes, a west above east crosses the antimeridian.

    Raises UsageError where that is no box, or the CRS is none.
    """
    west, south, east, north = box
    told = "--bbox " + ",".join([*(f"{value:.12g}" for value in box), *([crs] if crs else [])])
    code = _named(crs, told)
    if west > east and code and (turn := turn_of(pyproj.CRS.from_user_input(code))) is not None:
        east += turn
    if not (west < east and south < north):
        raise UsageError(f"{told}: need W,S,E,N with W below E and S below N")
    return area_of_interest([shapely.box(west, south, east, north)], code, told)


def _named(crs: Any, told: str) -> str | None:
    """A CRS by its code where it has one, else as WKT."""
    if crs is None or crs == "":
        return None
    try:
        found = pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError:
        raise UsageError(f"{told}: {crs} is no CRS; need one such as EPSG:4326") from None
    code = found.to_authority(min_confidence=100)
    return ":".join(code) if code else found.to_wkt()


@dataclass(frozen=True, slots=True)
class Area:
    """The part of a scene that is wanted: the pixels whose middles lie within, in every window."""

    geometry: Any
    """Polygons of shapely in columns and rows of the scene, within it."""
    row: int = 0
    """Of the scene, where the grid begins that windows are of."""
    col: int = 0
    """Of the scene, likewise."""

    def seen_from(self, row: int, col: int) -> Area:
        """The same area for windows counted from another origin."""
        return replace(self, row=self.row + row, col=self.col + col)

    @property
    def pixels(self) -> int:
        """How many pixels it holds, nearly."""
        return round(float(shapely.area(self.geometry)))

    def around(self, region: Window) -> Window | None:
        """The part of a region that holds all its wanted pixels, None where there are none."""
        left, top, right, bottom = shapely.bounds(self.geometry)
        left, right = int(np.floor(left)) - self.col, int(np.ceil(right)) - self.col
        top, bottom = int(np.floor(top)) - self.row, int(np.ceil(bottom)) - self.row
        found = region.intersection(Window(top, left, bottom - top, right - left))
        return found if found and self.touches(_box(found)[None])[0] else None

    def touches(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of some boxes it touches, (n,) of left, top, right and bottom (n, 4)."""
        left, top, right, bottom = (boxes + np.array([self.col, self.row] * 2)).T
        shapely.prepare(self.geometry)
        return np.asarray(shapely.intersects(self.geometry, shapely.box(left, top, right, bottom)))

    def holds(self, window: Window) -> NDArray[np.bool_]:
        """Which pixels of a window are wanted, (H, W)."""
        shapely.prepare(self.geometry)
        found = np.zeros((window.height, window.width), bool)
        todo = [Window(0, 0, window.height, window.width)]
        while todo:
            cell = todo.pop()
            left, top, right, bottom = _box(cell.seen_from(-window.row - self.row, -window.col - self.col))
            box = shapely.box(left, top, right, bottom)
            if not shapely.intersects(self.geometry, box):
                continue
            if shapely.contains(self.geometry, box):
                found[cell.slices] = True
            elif max(cell.height, cell.width) <= _SMALL:
                x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
                found[cell.slices] = shapely.contains_xy(self.geometry, x, y)
            else:
                todo += _quarters(cell)
        return found


def area_of(scene: Georeferenced, path: str, asked: AreaOfInterest) -> Area:
    """The pixels of a scene that an area holds. path: of the scene, for messages.

    Straight edges are straight in the CRS of the area. In longitude and latitude whole turns tell nothing apart.
    Raises RasterError where the scene does not tell where they meet, or the area lies beside it.
    """
    onto = Onto(scene, path, asked.crs, asked.told)
    placed = shapely.union_all(shapely.make_valid(onto.place(np.array([asked.geometry], object))), grid_size=_SEAM)
    inside = _polygons(shapely.intersection(placed, shapely.box(0, 0, scene.width, scene.height)))
    if inside is None:
        own = (
            "" if asked.crs else f" in the scene's own CRS ({onto.name}); name another, as in --bbox W,S,E,N,EPSG:4326"
        )
        raise RasterError(f"{path}: {asked.told} lies beside the scene{own}")
    return Area(inside)


def _polygons(geometry: Any) -> Any:
    """The polygons of a geometry as one, None where it has none."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    parts = parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (shapely.area(parts) > 0)]
    return None if not len(parts) else parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def _box(window: Window) -> NDArray[np.float64]:
    return np.array([window.col, window.row, window.right, window.bottom], np.float64)


def _quarters(cell: Window) -> list[Window]:
    rows, cols = (cell.row, cell.height), (cell.col, cell.width)
    halves = [[(at, size - size // 2), (at + size - size // 2, size // 2)] for at, size in (rows, cols)]
    return [
        Window(row, col, height, width) for row, height in halves[0] for col, width in halves[1] if height and width
    ]
