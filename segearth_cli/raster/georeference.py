"""Where scenes and masks lie: by a geotransform, by ground control points or by rational polynomials."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import GCPTransformer, RPCTransformer
from rasterio.warp import transform

from segearth_cli.errors import RasterError
from segearth_cli.raster.datasets import environment
from segearth_cli.raster.grid import Window
from segearth_cli.raster.remote import UNREADABLE, reason

PLACED_BY = {"gcps": "ground control points", "rpcs": "rational polynomials"}  # what people call `placed_by`
_LATTICE = 5  # places a side at which two rasters are compared
_NEAR = 0.5  # of a pixel


class Georeferenced(Protocol):
    """What places a mask on the ground, with the members of `Frame`: a scene, or what a run kept of one."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def crs(self) -> Any: ...
    @property
    def transform(self) -> Affine: ...
    @property
    def gcps(self) -> tuple[list[Any], Any]: ...
    @property
    def rpcs(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Frame:
    """Size in pixels and georeference of a scene or a mask, as rasterio gives them."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    crs: Any
    """CRS of the geotransform, or None."""
    transform: Affine
    """From column and row, whole numbers at corners of pixels, to map coordinates; the identity = unknown."""
    gcps: tuple[list[Any], Any]
    """Ground control points and their CRS; no points = none."""
    rpcs: Any
    """Rational polynomial coefficients, or None."""


class Placement:
    """From pixel coordinates (column, row; whole numbers at corners of pixels) of a scene to map coordinates.

    As GDAL does: by the geotransform where there is one, else by a polynomial through the ground control points, else
    by the rational polynomials at their mean height. name: for error lines. Raises RasterError when points are no use.
    """

    def __init__(self, scene: Georeferenced, name: str) -> None:
        self._transform = scene.transform
        self._middle = np.array([scene.width, scene.height]) / 2
        self._by: Any = None
        self.kind = placed_by(scene)
        if self.kind == "transform":
            self.crs = scene.crs
            return
        try:
            with environment():
                if self.kind == "gcps":
                    self.crs, self._by = scene.gcps[1], GCPTransformer(scene.gcps[0])
                else:
                    self.crs = CRS.from_epsg(4326)
                    self._by = RPCTransformer(scene.rpcs, RPC_HEIGHT=scene.rpcs.height_off)
        except UNREADABLE as e:
            raise RasterError(
                f"{name}: its {PLACED_BY[self.kind]} do not place it ({reason(e)}); mend or remove them with gdal_edit"
            ) from e

    @property
    def straight(self) -> bool:
        """True when straight lines of the raster are straight on the map."""
        return self._by is None

    def move(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixel coordinates (n, 2), column and row, as map coordinates."""
        if self._by is None:
            a, b, c, d, e, f = self._transform[:6]
            x, y = xy[:, 0], xy[:, 1]
            return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)
        if not len(xy):
            return np.empty((0, 2))
        return np.stack(self._by.xy(xy[:, 1], xy[:, 0], offset="ul"), axis=1)

    def find(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map coordinates (n, 2) as pixel coordinates, column and row; inverse of `move`."""
        if self._by is None:
            a, b, c, d, e, f = (~self._transform)[:6]
            x, y = xy[:, 0], xy[:, 1]
            return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)
        if not len(xy):
            return np.empty((0, 2))
        rows, cols = self._by.rowcol(xy[:, 0], xy[:, 1], op=np.asarray)
        return np.stack([np.asarray(cols, np.float64), np.asarray(rows, np.float64)], axis=1)

    @cached_property
    def middle(self) -> NDArray[np.float64]:
        """Map coordinates (2,) of the raster's middle."""
        return np.asarray(self.move(self._middle[None])[0])

    @cached_property
    def pixel(self) -> NDArray[np.float64]:
        """Map coordinates of a step of one column and of one row, (2, 2), in the middle of the raster."""
        reach = np.maximum(self._middle / 4, 0.5)
        ends = self._middle + np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]) * reach
        right, left, below, above = self.move(ends)
        return np.stack([(right - left) / (2 * reach[0]), (below - above) / (2 * reach[1])])

    @property
    def mirrors(self) -> bool:
        """True when clockwise on screen, rows growing downwards, is clockwise on the map."""
        return bool(np.linalg.det(self.pixel) < 0)


def placed_by(scene: Georeferenced) -> str:
    """`transform`, `gcps` or `rpcs`: what tells where a scene lies; `transform`, the identity, when nothing does."""
    known = scene.crs is not None and not scene.transform.is_identity
    if scene.gcps[0] and not known:
        return "gcps"
    if scene.rpcs is not None and scene.crs is None and scene.transform.is_identity:
        return "rpcs"
    return "transform"


def crs_name(crs: Any) -> str | None:
    """A CRS by its code, else by the name in its WKT; None without one."""
    if not crs:
        return None
    code = crs.to_authority()
    return ":".join(code) if code else crs.to_wkt().partition('"')[2].partition('"')[0] or "a CRS without a name"


def without_georeference(scene: Georeferenced) -> bool:
    """Whether nothing tells where a raster lies, so that its own pixels are all that there is to go by."""
    return placed_by(scene) == "transform" and scene.crs is None and scene.transform.is_identity


def same_pixels(one: Georeferenced, other: Georeferenced) -> bool:
    """Whether two rasters are of the same pixels: of one size, and in the same places where both lie somewhere.

    By geotransforms of one CRS, or of one that one of them does not tell: within 0.01 of a pixel; else within half of
    one, whatever places them.
    """
    if (one.height, one.width) != (other.height, other.width):
        return False
    if without_georeference(one) or without_georeference(other):
        return True
    straight = placed_by(one) == placed_by(other) == "transform"
    if straight and (one.crs == other.crs or one.crs is None or other.crs is None):
        return _same_corners(one, other)
    return _same_places(one, other)


def _same_corners(one: Georeferenced, other: Georeferenced) -> bool:
    corners = np.array([[0, one.width, 0], [0, 0, one.height], [1, 1, 1]])  # a column each: x, y, 1
    ours, theirs = (np.array(tuple(raster.transform), np.float64).reshape(3, 3) for raster in (one, other))
    return bool(np.allclose(np.linalg.solve(ours, theirs @ corners), corners, rtol=0, atol=0.01))


def _same_places(one: Georeferenced, other: Georeferenced) -> bool:
    """Whether pixels of two rasters of one size lie in the same places, within half a pixel, whatever places them.

    So near, the nearest neighbour of a pixel is that of the same column and row.
    """
    ours, theirs = Placement(one, "the raster"), Placement(other, "the other raster")
    edge = np.linspace(0, 1, _LATTICE)
    pixels = np.stack(np.meshgrid(edge * one.width, edge * one.height), axis=-1).reshape(-1, 2)
    found = theirs.move(pixels)
    if ours.crs != theirs.crs:
        if ours.crs is None or theirs.crs is None:
            return False
        try:
            with environment():
                found = np.stack(transform(theirs.crs, ours.crs, *found.T), axis=1)
        except UNREADABLE:
            return False  # no way from one to the other
    apart = np.linalg.solve(ours.pixel.T, (found - ours.move(pixels)).T)
    return bool((np.abs(apart) < _NEAR).all())


def frame_to_json(scene: Georeferenced) -> dict[str, Any]:
    """The frame of a scene as JSON values; inverse of `frame_from_json`."""
    points, crs = scene.gcps
    return {
        "height": scene.height,
        "width": scene.width,
        "crs": _wkt(scene.crs),
        "transform": list(scene.transform)[:6],
        "gcps": [[p.row, p.col, p.x, p.y, p.z, p.id, p.info] for p in points],
        "gcps_crs": _wkt(crs),
        "rpcs": None if scene.rpcs is None else scene.rpcs.to_dict(),
    }


def frame_from_json(values: dict[str, Any]) -> Frame:
    """A frame from JSON values; inverse of `frame_to_json`."""
    return Frame(
        values["height"],
        values["width"],
        _crs(values["crs"]),
        Affine(*values["transform"]),
        ([GroundControlPoint(*point) for point in values["gcps"]], _crs(values["gcps_crs"])),
        None if values["rpcs"] is None else RPC(**values["rpcs"]),
    )


def region_georeference(scene: Georeferenced, region: Window) -> dict[str, Any]:
    """CRS and transform, GCPs and RPCs of a region, as far as the scene has them."""
    found: dict[str, Any] = {}
    if placed_by(scene) == "gcps":
        found = {"crs": scene.gcps[1], "gcps": _gcps(scene, region)}
    elif scene.crs is not None or not scene.transform.is_identity:
        t = scene.transform
        moved = type(t)(
            t.a, t.b, t.c + t.a * region.col + t.b * region.row, t.d, t.e, t.f + t.d * region.col + t.e * region.row
        )
        found = {"crs": scene.crs, "transform": moved}
    if scene.rpcs is not None:
        found["rpcs"] = _rpcs(scene, region)
    return found


def _gcps(scene: Georeferenced, region: Window) -> list[Any]:
    return [
        GroundControlPoint(p.row - region.row, p.col - region.col, p.x, p.y, p.z, p.id, p.info) for p in scene.gcps[0]
    ]


def _rpcs(scene: Georeferenced, region: Window) -> RPC:
    known = scene.rpcs.to_dict()
    return RPC(**known | {"line_off": known["line_off"] - region.row, "samp_off": known["samp_off"] - region.col})


def _wkt(crs: Any) -> str | None:
    return crs.to_wkt(version="WKT2_2019") if crs else None


def _crs(wkt: str | None) -> Any:
    return CRS.from_wkt(wkt) if wkt else None
