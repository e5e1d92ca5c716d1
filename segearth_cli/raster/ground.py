"""Ground: what pixels, areas and lengths measure in metres on the ellipsoid that a map lies on."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from segearth_cli.errors import RasterError, UsageError
from segearth_cli.raster.georeference import Georeferenced, Placement
from segearth_cli.raster.sizes import Size

_LATTICE = 5  # places a side, over the whole raster, where the scale of its map is looked at
_FLAT = 2e-4  # a map whose squared scale differs less over a raster is measured as a plane
_STEP = 100.0  # metres of the map, for differences
_LONGEST = 2_000.0  # metres on the ground, pieces of an edge
_STRETCHED = 30  # times, what a map is taken to stretch at most; more happens at poles alone
_MOST_PIECES = 32_768  # of one edge


class Ground:
    """Measures geometries in the map coordinates of a mask or scene, edges straight on its map.

    Areas and lengths are those on the ellipsoid that the CRS lies on, of the earth or of another body. A CRS without
    one is measured in its plane, in metres; without a CRS the units are those of the transform. name: for error lines.
    Raises RasterError when control points or polynomials are no use.
    """

    def __init__(self, scene: Georeferenced, name: str = "the raster") -> None:
        self.placement = Placement(scene, name)
        self.crs: pyproj.CRS | None = None
        self._surface: Surface | None = None
        if crs := self.placement.crs:
            self.crs, self._surface = _lying(crs.to_wkt(version="WKT2_2019"))
        self._unit = _unit(self.crs)
        edge = np.linspace(0, 1, _LATTICE)
        lattice = np.stack(np.meshgrid(edge * scene.width, edge * scene.height), axis=-1).reshape(-1, 2)
        self._plane: NDArray[np.float64] | None = np.eye(2) * self._unit
        self._longest = _LONGEST / self._unit
        if self._surface is not None:
            metric = self._surface.metric(self.placement.move(lattice))
            metres = min(metres_per_unit(metric), _STRETCHED * self._unit)
            self._plane, self._longest = plane_of(metric), _LONGEST / metres

    def to_map(self, geometry: NDArray[Any]) -> NDArray[Any]:
        """Geometries in pixel coordinates moved to map coordinates, outer rings counter-clockwise."""
        return np.asarray(shapely.orient_polygons(shapely.transform(geometry, self.placement.move)), object)

    def measure(self, geometry: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Areas in m2 and perimeters in m, holes included, of polygons in map coordinates.

        What has no place on the ellipsoid (corners of a world map) is measured in the plane.
        """
        if self._plane is not None or self._surface is None:
            return in_plane(geometry, np.eye(2) if self._plane is None else self._plane)
        area, length = self._surface.measure(geometry, self._longest)
        nowhere = ~np.isfinite(area)
        if nowhere.any():
            area[nowhere], length[nowhere] = in_plane(geometry[nowhere], np.eye(2) * self._unit)
        return area, length

    @cached_property
    def pixel_area(self) -> float:
        """Square metres of a pixel in the middle of the raster; not finite where that is no place on the ground."""
        step = self.placement.pixel
        if self._surface is None:
            return abs(float(np.linalg.det(step))) * self._unit**2
        metric = self._surface.metric(self.placement.middle[None])[0]
        return float(np.sqrt(max(np.linalg.det(step @ metric @ step.T), 0.0)))

    def pixel_areas(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Square metres (n,) of pixels at (n, 2), column and row; not finite where they have no place on the ground."""
        steps = self._steps(at)
        if self._surface is None:
            return np.asarray(np.abs(np.linalg.det(steps)) * self._unit**2)
        metric = self._surface.metric(self.placement.move(at))
        with np.errstate(invalid="ignore"):
            squares = np.linalg.det(steps @ metric @ steps.transpose(0, 2, 1))
            return np.asarray(np.sqrt(np.maximum(squares, 0)))

    @cached_property
    def pixel_width(self) -> float:
        """Metres along a row that a pixel in the middle measures; not finite where that is no place on the ground."""
        step = self.placement.pixel[0]
        if self._surface is None:
            return float(np.hypot(*step)) * self._unit
        metric = self._surface.metric(self.placement.middle[None])[0]
        return float(np.sqrt(step @ metric @ step))

    def _steps(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map coordinates of a step of one column and of one row, (n, 2, 2)."""
        if self.placement.straight:
            return np.broadcast_to(self.placement.pixel, (len(at), 2, 2))
        ways = 8 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
        right, left, below, above = (self.placement.move(at + way) for way in ways)
        return np.stack([right - left, below - above], axis=1) / 16

    def pixels(self, size: Size) -> float:
        """An area in pixels, or a length in pixel sides, of pixels in the middle of the raster."""
        if size.unit == "px":
            return size.value
        if self.crs is None:
            raise UsageError(f"{size.value:g}{size.unit}: the mask has no CRS to measure metres by; give pixels (px)")
        side = float(np.sqrt(self.pixel_area))
        if not (np.isfinite(side) and side > 0):
            raise UsageError(f"{size.value:g}{size.unit}: the mask's middle is no place on the ground; give pixels")
        return size.value / (self.pixel_area if size.unit == "m2" else side)


def in_plane(geometry: NDArray[Any], plane: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas and perimeters in metres of polygons whose coordinates, times the matrix `plane` (2, 2), are metres."""
    area, side = np.linalg.det(plane), np.sqrt(np.linalg.det(plane))
    if np.allclose(plane, np.eye(2) * side, rtol=0, atol=_FLAT * side):
        return shapely.area(geometry) * area, shapely.length(geometry) * side
    return shapely.area(geometry) * area, shapely.length(shapely.transform(geometry, lambda xy: xy @ plane))


def plane_of(metric: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The matrix (2, 2) that makes metres of map coordinates, when one serves all of `metric` (n, 2, 2), else None."""
    middle = metric[len(metric) // 2]
    square = float(np.sqrt(max(np.linalg.det(middle), 0.0))) if np.isfinite(middle).all() else 0.0
    if square <= 0 or not (np.abs(metric - middle) < _FLAT * square).all():
        return None
    return np.asarray(np.linalg.cholesky(middle))


def metres_per_unit(metric: NDArray[np.float64]) -> float:
    """Metres that a unit of the map is long on the ground, at most, where it has a length; metric (n, 2, 2)."""
    squares = np.trace(metric, axis1=1, axis2=2)
    return float(np.sqrt(squares[np.isfinite(squares)].max(initial=1e-12)))


@lru_cache(maxsize=64)
def _lying(wkt: str) -> tuple[pyproj.CRS, Surface | None]:
    """A CRS and its ellipsoid, kept, since scenes of one list mostly have the same."""
    crs = pyproj.CRS.from_wkt(wkt)
    return crs, surface(crs)


def map_crs(wkt: str) -> pyproj.CRS:
    """The CRS of a raster that is to go to another. Raises RasterError for a geocentric one."""
    crs = pyproj.CRS.from_wkt(wkt)
    if crs.is_geocentric:
        raise RasterError(
            f"the raster's CRS {crs.name} is geocentric, x and y of which are no map; give it the right one "
            "(gdal_edit.py -a_srs)"
        )
    return crs


def surface(crs: pyproj.CRS) -> Surface | None:
    """The ellipsoid that a CRS lies on, None for one that lies on none (a site's own grid)."""
    if crs.is_compound:
        return surface(crs.sub_crs_list[0])
    if crs.is_bound and crs.source_crs is not None:
        return surface(crs.source_crs)
    base = crs.geodetic_crs
    if base is None or crs.ellipsoid is None or crs.is_geocentric:
        return None
    while base.is_derived and base.source_crs is not None:  # a globe with turned poles
        base = base.source_crs
    own = crs.is_geographic and not crs.is_derived
    back = None if own else pyproj.Transformer.from_crs(crs, base, always_xy=True)
    return Surface(crs.ellipsoid, back, base.axis_info[0].unit_conversion_factor, _unit(crs))


def _unit(crs: pyproj.CRS | None) -> float:
    """Metres of a unit of map coordinates; for angles those of an arc of the equator."""
    axes = crs.axis_info if crs else []
    unit = float(axes[0].unit_conversion_factor) if axes else 1.0
    return unit * crs.ellipsoid.semi_major_metre if crs and crs.is_geographic and crs.ellipsoid else unit


class Surface:
    """The ellipsoid under a CRS.

    Areas are those between great circles of the authalic sphere, of equal area, lengths those of chords: an edge is
    cut into pieces so short that both hold for edges that are straight on the map.
    """

    def __init__(self, ellipsoid: Any, back: Any, radians: float, unit: float) -> None:
        self._a = float(ellipsoid.semi_major_metre)
        self._e2 = max(0.0, 1 - (float(ellipsoid.semi_minor_metre) / self._a) ** 2)
        self._back, self._radians, self._unit = back, radians, unit
        self._at_pole = float(self._authalic(np.array(1.0)))

    def _authalic(self, sine: NDArray[np.float64]) -> NDArray[np.float64]:
        """Snyder 1987, equation 3-12: q of the sine of a latitude; area between two parallels over a2 / 2 a radian."""
        if self._e2 < 1e-12:
            return 2 * sine
        e = self._e2**0.5
        q: NDArray[np.float64] = (1 - self._e2) * (sine / (1 - self._e2 * sine**2) + np.arctanh(e * sine) / e)
        return q

    def geodetic(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Longitudes and latitudes (2, n) in radians of map coordinates (n, 2); not finite where there are none."""
        if self._back is not None:
            return np.stack(self._back.transform(xy[:, 0], xy[:, 1])) * self._radians
        longitude, latitude = xy.T * self._radians
        # grids by the middles of their pixels reach half of one beyond the pole
        inside = np.clip(latitude, -np.pi / 2, np.pi / 2)
        return np.stack([longitude, np.where(np.isfinite(latitude), inside, latitude)])

    def _cartesian(self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.float64]:
        """Geocentric coordinates (n, 3) in metres."""
        sine = np.sin(latitude)
        normal = self._a / np.sqrt(1 - self._e2 * sine**2)
        across = normal * np.cos(latitude)
        up = normal * (1 - self._e2) * sine
        return np.stack([across * np.cos(longitude), across * np.sin(longitude), up], axis=1)

    def metric(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Matrices g (n, 2, 2) in m2 such that a short step s on the map is sqrt(s g s') metres long on the ground."""
        reach = _STEP / self._unit
        with np.errstate(invalid="ignore"):
            ways = reach * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
            east, west, north, south = (self._cartesian(*self.geodetic(xy + way)) for way in ways)
            slope = np.stack([east - west, north - south], axis=1) / (2 * reach)
            return slope @ slope.transpose(0, 2, 1)

    def measure(self, geometry: NDArray[Any], longest: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Areas in m2 and perimeters in m of polygons or multipolygons (n,) in map coordinates.

        longest: pieces that edges are cut into, in units of the map.
        """
        parts, owner = shapely.get_parts(geometry, return_index=True)
        rings, part = shapely.get_rings(parts, return_index=True)
        excess, length = self._rings(rings, longest)
        inner = np.diff(part, prepend=-1) == 0
        area = np.where(inner, -excess, excess) * self._a**2 * self._at_pole / 2
        whole = owner[part]
        return _sums(whole, area, len(geometry)), _sums(whole, length, len(geometry))

    def _rings(self, rings: NDArray[Any], longest: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Areas on the sphere of radius 1 and lengths in metres of rings."""
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        xy, origin = densified(xy, ring, longest)
        ring = ring[origin]
        edge = np.flatnonzero(ring[1:] == ring[:-1])
        with np.errstate(invalid="ignore"):
            longitude, latitude = self.geodetic(xy)
            chord = np.linalg.norm(np.diff(self._cartesian(longitude, latitude), axis=0)[edge], axis=1)
            turn = np.diff(longitude)[edge]
            turn -= 2 * np.pi * np.rint(turn / (2 * np.pi))  # the map may go on behind the antimeridian
            sine = self._authalic(np.sin(latitude)) / self._at_pole
            half = sine / (1 + np.sqrt(np.maximum(1 - sine**2, 0)))  # tan of half the authalic latitude
            low, high = half[edge], half[edge + 1]
            excess = 2 * np.arctan2(np.tan(turn / 2) * (low + high), 1 + low * high)
        below, turned, length = (_sums(ring[edge], values, len(rings)) for values in (excess, turn, chord))
        around = np.abs(np.rint(turned / (2 * np.pi)))  # 1 for a ring around a pole
        below = np.where(shapely.is_ccw(rings), below, -below)
        return np.where(around == 0, np.abs(below), 2 * np.pi * around - below), length


def _sums(group: NDArray[np.int64], values: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(group, weights=values, minlength=groups), np.float64)


def densified(
    xy: NDArray[np.float64], line: NDArray[np.int64], longest: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points of lines with more between them, so that no two are further apart than `longest`, and whom each follows.

    xy (n, 2), line (n,): the line of each point, in order.

    >>> densified(np.array([[0.0, 0], [4, 0], [9, 9]]), np.array([0, 0, 1]), 2.0)[0].tolist()
    [[0.0, 0.0], [2.0, 0.0], [4.0, 0.0], [9.0, 9.0]]
    """
    step = np.zeros_like(xy)
    step[:-1] = np.where((line[1:] == line[:-1])[:, None], np.diff(xy, axis=0), 0)
    pieces = np.ceil(np.hypot(step[:, 0], step[:, 1]) / longest)
    count = np.clip(np.nan_to_num(pieces, posinf=1), 1, _MOST_PIECES).astype(np.int64)
    if (count == 1).all():
        return xy, np.arange(len(xy))
    origin = np.repeat(np.arange(len(xy)), count)
    share = (np.arange(len(origin)) - np.repeat(np.cumsum(count) - count, count)) / count[origin]
    return xy[origin] + share[:, None] * step[origin], origin
