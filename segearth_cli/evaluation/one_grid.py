"""A label brought to the pixels of its mask, by place where both have one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError  # the public errors leave out those of PROJ
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT

from segearth_cli.errors import RasterError
from segearth_cli.raster import placed_by, same_corners, same_places


def to_grid(mask: rasterio.DatasetReader, label: rasterio.DatasetReader) -> Callable[[Any], Any]:
    """What brings a label, opened, to the mask's grid."""
    same = mask.shape == label.shape
    if _by_points(mask) or _by_points(label):
        _refuse_elsewhere(mask, label)
        return lambda opened: opened
    if mask.crs is None or label.crs is None:
        lacking = "the mask" if mask.crs is None else "the label"
        placed = not mask.transform.is_identity and not label.transform.is_identity
        if not same:
            raise RasterError(
                f"{label.name}: {label.width} x {label.height} px, the mask {mask.width} x {mask.height}, and "
                f"{lacking} has no CRS to tell where they meet; resample one, or add its CRS (gdal_edit.py -a_srs)"
            )
        if placed and not same_corners(mask, label):
            raise RasterError(
                f"{label.name}: lies elsewhere than the mask by its geotransform, and {lacking} has no CRS to tell "
                "where they meet; add its CRS (gdal_edit.py -a_srs)"
            )
        return lambda opened: opened
    if mask.crs == label.crs and same and same_corners(mask, label):
        return lambda opened: opened
    grid = {"crs": mask.crs, "transform": mask.transform, "width": mask.width, "height": mask.height}
    _warped(label, grid).close()
    return lambda opened: _warped(opened, grid)


def _by_points(dataset: rasterio.DatasetReader) -> bool:
    return placed_by(dataset) != "transform"


def _refuse_elsewhere(mask: rasterio.DatasetReader, label: rasterio.DatasetReader) -> None:
    """Raises RasterError unless a label has the mask's pixels, in their places where both have some.

    Neither is warped: by which polynomial, and on which heights, is the user's choice.
    """
    if mask.shape != label.shape:
        lies = f"{label.name}: {label.width} x {label.height} px, the mask {mask.width} x {mask.height}"
    elif any(_nowhere(dataset) for dataset in (mask, label)) or same_places(mask, label):
        return
    else:
        lies = f"{label.name}: lies elsewhere than the mask"
    points = {"gcps": "ground control points", "rpcs": "rational polynomials"}
    what = next(points[kind] for dataset in (mask, label) if (kind := placed_by(dataset)) in points)
    raise RasterError(f"{lies}, and {what} place one of them; bring both to one grid first (gdalwarp)")


def _nowhere(dataset: rasterio.DatasetReader) -> bool:
    """Whether nothing tells where a raster lies, which is that of its scene then."""
    return placed_by(dataset) == "transform" and dataset.crs is None and dataset.transform.is_identity


def _warped(label: rasterio.DatasetReader, grid: Mapping[str, Any]) -> WarpedVRT:
    try:
        return WarpedVRT(
            label,
            **grid,
            resampling=Resampling.nearest,
            src_nodata=None,  # its code is looked at like all others
            add_alpha=ColorInterp.alpha not in label.colorinterp,
        )
    except CPLE_BaseError as e:
        raise RasterError(
            f"{label.name}: no way from its CRS to that of the mask; give it the right one (gdal_edit.py -a_srs)"
        ) from e
