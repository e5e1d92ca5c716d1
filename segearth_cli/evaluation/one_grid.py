"""A label brought to the pixels of its mask, by place where both have one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError  # the public errors leave out those of PROJ
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT

from segearth_cli.errors import RasterError
from segearth_cli.raster import PLACED_BY, placed_by, same_pixels, turns_apart


def to_grid(mask: rasterio.DatasetReader, label: rasterio.DatasetReader) -> Callable[[Any], Any]:
    """What brings a label, opened, to the mask's grid; in longitude and latitude whole turns tell nothing apart."""
    if same_pixels(mask, label):
        return lambda opened: opened
    _refuse_unknown_places(mask, label)
    place = Affine.translation(turns_apart(mask, label), 0) @ mask.transform
    grid = {"crs": mask.crs, "transform": place, "width": mask.width, "height": mask.height}
    _warped(label, grid).close()
    return lambda opened: _warped(opened, grid)


def _refuse_unknown_places(mask: rasterio.DatasetReader, label: rasterio.DatasetReader) -> None:
    """Raises RasterError unless both lie somewhere by a geotransform and a CRS.

    What points or polynomials place is not warped: by which polynomial, and on which heights, is the user's choice.
    """
    if mask.shape == label.shape:
        lies = f"{label.name}: lies elsewhere than the mask"
    else:
        lies = f"{label.name}: {label.width} x {label.height} px, the mask {mask.width} x {mask.height}"
    if by := [PLACED_BY[kind] for dataset in (mask, label) if (kind := placed_by(dataset)) in PLACED_BY]:
        raise RasterError(f"{lies}, and {by[0]} place one of them; bring both to one grid first (gdalwarp)")
    if mask.crs is None or label.crs is None:
        lacking = "the mask" if mask.crs is None else "the label"
        instead = "add its CRS (gdal_edit.py -a_srs)" + (", or resample one" if mask.shape != label.shape else "")
        raise RasterError(f"{lies}, and {lacking} has no CRS to tell where they meet; {instead}")


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
