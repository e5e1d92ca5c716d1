"""Where a mask lies on the ground, kept as JSON so that shards can be joined without the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import Affine

from segearth_cli.raster.mask_writer import Georeferenced


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


def _wkt(crs: Any) -> str | None:
    return crs.to_wkt(version="WKT2_2019") if crs else None


def _crs(wkt: str | None) -> Any:
    return CRS.from_wkt(wkt) if wkt else None
