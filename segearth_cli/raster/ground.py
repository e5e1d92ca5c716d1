"""Ground: what pixels measure on the earth, from a transform and a CRS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from segearth_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Size:
    """A length or an area with its unit: `px`, or metres (`m`, `m2`)."""

    value: float
    unit: str


def parse_length(text: str, option: str) -> Size:
    """A length such as `1px` or `0.5m`. Raises UsageError.

    >>> parse_length("1.5px", "--simplify")
    Size(value=1.5, unit='px')
    """
    return _size(text, ("px", "m"), option, "1px or 0.5m")


def parse_area(text: str, option: str) -> Size:
    """An area such as `200px` or `50m2`. Raises UsageError."""
    return _size(text, ("px", "m2"), option, "200px or 50m2")


def _size(text: str, units: tuple[str, ...], option: str, example: str) -> Size:
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+2?)\s*", text.casefold().replace("²", "2"))
    if not match or match[2] not in units:
        raise UsageError(f"{option} {text}: not a size; give a number with its unit, e.g. {option} {example}")
    return Size(float(match[1]), match[2])


class Ground:
    """Measures geometries in the map coordinates of `transform` (a, b, c, d, e, f) and `crs` (None = unknown).

    Geodesic on the ellipsoid of a geographic CRS; on the plane of any other one, its units converted to metres;
    in the transform's units without a CRS. x, y: a place in the scene, where degrees are converted to metres.
    """

    def __init__(self, transform: tuple[float, ...], crs: str | None, x: float, y: float) -> None:
        self.transform = transform
        self.crs = pyproj.CRS.from_wkt(crs) if crs else None
        self._geod = self.crs.get_geod() if self.crs and self.crs.is_geographic else None
        axes = self.crs.axis_info if self.crs else []
        self._unit = float(axes[0].unit_conversion_factor) if axes and not self._geod else 1.0
        self._pixel = abs(self.measure(self.to_map(np.array([shapely.box(x, y, x + 1, y + 1)], object)))[0][0])

    def to_map(self, geometry: NDArray[Any]) -> NDArray[Any]:
        """Geometries in pixel coordinates moved to map coordinates, outer rings counter-clockwise."""
        return np.asarray(shapely.orient_polygons(shapely.transform(geometry, self.move)), object)

    @property
    def mirrors(self) -> bool:
        """True when clockwise on screen, rows growing downwards, is clockwise on the map."""
        a, b, _, d, e, _ = self.transform
        return a * e - b * d < 0

    def move(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixel coordinates (n, 2), column and row, as map coordinates."""
        a, b, c, d, e, f = self.transform
        x, y = xy[:, 0], xy[:, 1]
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    def measure(self, geometry: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Areas in m2 and perimeters in m, holes included, of polygons in map coordinates."""
        if self._geod is None:
            return shapely.area(geometry) * self._unit**2, shapely.length(geometry) * self._unit
        measured = [self._geod.geometry_area_perimeter(g) for g in geometry]
        both = np.array(measured, np.float64).reshape(-1, 2)
        return np.abs(both[:, 0]), both[:, 1]

    def pixels(self, size: Size) -> float:
        """An area in pixels, or a length in pixel sides."""
        if size.unit == "px":
            return size.value
        if self.crs is None:
            raise UsageError(f"{size.value:g}{size.unit}: the mask has no CRS to measure metres by; give pixels (px)")
        return size.value / (self._pixel if size.unit == "m2" else float(np.sqrt(self._pixel)))
