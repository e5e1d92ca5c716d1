"""Arrays of pixels as files, for scenes that were never one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from segearth_cli.disk import cannot_write, cause_of, temporary_folder
from segearth_cli.errors import RasterError, UsageError
from segearth_cli.raster.datasets import environment, open_dataset, quietly
from segearth_cli.raster.written import holds_its_blocks


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
        whole = holds_its_blocks(path)
    except (RasterioError, TypeError, ValueError) as e:
        if isinstance(cause := cause_of([path], e), OSError) and cause is not e:
            raise RasterError(cannot_write(path, cause)) from e
        raise UsageError(f"an array of {array.dtype} {array.shape}: cannot be read as a scene ({e})") from e
    if not whole:
        raise RasterError(cannot_write(path, cause_of([path], "the file ends before its pixels do")))


@contextmanager
def array_as_file(array: NDArray[Any], *, transform: Any, crs: Any, nodata: Any) -> Iterator[str]:
    """The path of a file that holds an array, see `bands_first`, as long as it is looked at."""
    with temporary_folder() as folder:
        path = folder / "array.tif"
        write_array(path, bands_first(array), transform=transform, crs=crs, nodata=nodata)
        yield str(path)


def read_array(path: Path) -> NDArray[Any]:
    """All pixels of a raster, (bands, H, W); inverse of `write_array`."""
    with open_dataset(path) as ds:
        values: NDArray[Any] = ds.read()
        return values


def bands_first(array: NDArray[Any]) -> NDArray[Any]:
    """An array of pixels as (bands, H, W). Raises UsageError when it is no picture."""
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3 and 0 not in array.shape:
        return array if array.shape[0] <= array.shape[2] else np.moveaxis(array, 2, 0)
    raise UsageError(f"an array of shape {array.shape}: need (3, H, W), (H, W, 3), or (H, W) for grey")
