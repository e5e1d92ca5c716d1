"""Arrays of pixels as files, for scenes that were never one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from segearth_cli.errors import UsageError
from segearth_cli.raster.datasets import environment, quietly


def write_array(path: Path, array: NDArray[Any], *, transform: Any = None, crs: Any = None, nodata: Any = None) -> None:
    """Writes an array (bands, H, W) as a GeoTIFF; three bands are red, green and blue.

    transform: Affine or its six numbers. crs: whatever rasterio takes for one. nodata: the value without data.
    Raises UsageError for what cannot be written as a raster.
    """
    place = transform if transform is None or isinstance(transform, Affine) else Affine(*transform)
    bands, height, width = array.shape
    shape = {"count": bands, "height": height, "width": width, "dtype": array.dtype.name}
    try:
        value = None if nodata is None else float(nodata)
        kind = "RGB" if bands == 3 else "MINISBLACK"
        with (
            environment(),
            quietly(),
            rasterio.open(
                path, "w", driver="GTiff", photometric=kind, transform=place, crs=crs, nodata=value, **shape
            ) as ds,
        ):
            ds.write(array)
    except (RasterioError, TypeError, ValueError) as e:
        raise UsageError(f"an array of {array.dtype} {array.shape}: cannot be read as a scene ({e})") from e
