"""Where a mask lies on the ground, kept as JSON so that shards can be joined without the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import Affine

from segearth_cli.raster.grid import Window


class Georeferenced(Protocol):
    """What places a mask on the ground: a scene, or what a run kept of one."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def crs(self) -> Any: ...
    @property
    def transform(self) -> Any: ...
    @property
    def gcps(self) -> tuple[list[Any], Any]: ...
    @property
    def rpcs(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Frame:
    """Size in pixels and georeference of a mask, as rasterio gives them."""

    height: int
    width: int
    crs: Any
    transform: Any
    gcps: tuple[list[Any], Any]
    rpcs: Any


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
    if scene.gcps[0]:
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
