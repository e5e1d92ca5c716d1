"""Arrays of pixels as files, for scenes that were never one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from segearth_cli.disk import cannot_write, cause_of, temporary_folder
from segearth_cli.errors import RasterError, SegEarthError, UsageError
from segearth_cli.raster.datasets import environment, opened_dataset, quietly
from segearth_cli.raster.options import nodata_number
from segearth_cli.raster.remote import gdal_settings
from segearth_cli.raster.written import cut_off

ARRAY = "the array"  # what users read in place of the name of its file
_WIDER = {"bool": "uint8", "float16": "float32"}  # types that GDAL lacks -> those that hold all their values


def write_array(path: Path, array: NDArray[Any], *, transform: Any = None, crs: Any = None, nodata: Any = None) -> None:
    """Writes an array (bands, H, W) as a GeoTIFF; three bands are red, green and blue.

    Of a masked array, pixels that are masked in all bands are no data. transform: Affine or its six numbers. crs:
    whatever rasterio takes for one. nodata: the value without data, or `none`.
    Raises UsageError for what cannot be written as a raster.
    """
    bands, height, width = array.shape
    array = array.astype(_WIDER.get(array.dtype.name, array.dtype), copy=False)
    shape = {"count": bands, "height": height, "width": width, "dtype": array.dtype.name}
    form: dict[str, Any] = {"driver": "GTiff", "photometric": "RGB" if bands == 3 else "MINISBLACK"}
    value = nodata_number(nodata)
    place = {"transform": _affine(transform), "crs": _crs(crs)}
    try:
        pixels, hidden = np.ma.getdata(array), _hidden(array, value)
        form |= place | {"nodata": None if hidden is not None else value}
        with (
            environment(),
            quietly(),
            gdal_settings(remote=False, GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", **form, **shape) as ds,
        ):
            ds.write(pixels)
            if hidden is not None:
                ds.write_mask(~hidden)
        failures = cut_off([path])
    except (RasterioError, TypeError, ValueError) as e:
        if isinstance(cause := cause_of([path], e), OSError) and cause is not e:
            raise RasterError(cannot_write(path, cause)) from e
        raise UsageError(f"an array of {array.dtype} {array.shape}: cannot be read as a scene ({e})") from e
    if failures:
        raise RasterError(cannot_write(path, cause_of([path], failures[0])))


def _hidden(array: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Where a masked array (bands, H, W) has no data in any band, (H, W); None where it masks nothing."""
    if not np.ma.is_masked(array):
        return None
    samples = np.ma.getmaskarray(array)
    if nodata is not None:  # a file with a mask band is not asked for its nodata value
        samples = samples | (np.ma.getdata(array) == nodata)
    return np.asarray(samples.all(axis=0))


def _crs(crs: Any) -> Any:
    """A CRS; an EPSG code may be any whole number, or its digits. Raises UsageError for what is none."""
    if crs is None:
        return None
    try:
        if isinstance(crs, Integral) or (isinstance(crs, str) and crs.strip().isdecimal()):
            return CRS.from_epsg(int(crs))
        return CRS.from_user_input(crs)
    except (RasterioError, TypeError, ValueError) as e:
        raise UsageError(f"crs={crs!r}: no CRS ({e}); need e.g. 32632, 'EPSG:32632', or a CRS of rasterio") from e


def _affine(transform: Any) -> Affine | None:
    """Where an array lies. Raises UsageError for what places no pixel, or is in GDAL's order."""
    if transform is None:
        return None
    try:
        a, b, c, d, e, f = map(float, tuple(transform)[:6])
    except (TypeError, ValueError):
        raise UsageError(f"transform={transform!r}: need an Affine, or its six numbers") from None
    if c == e == 0 and b and f:
        raise UsageError(f"transform={transform!r}: is in GDAL's order; give Affine.from_gdal(*transform)")
    if not (np.isfinite([a, b, c, d, e, f]).all() and np.isfinite(area := a * e - b * d) and area):
        raise UsageError(f"transform={transform!r}: places no pixel; need an Affine, or its six numbers")
    return Affine(a, b, c, d, e, f)


@contextmanager
def as_file(scene: str | Path | NDArray[Any], *, transform: Any, crs: Any, nodata: Any) -> Iterator[str]:
    """The path of a scene: its own, or of a file that holds an array (see `bands_first`) as long as it is looked at.

    Errors call that file `ARRAY`. Raises UsageError for anything else.
    """
    if isinstance(scene, np.ndarray):
        with temporary_folder() as folder:
            path = folder / "array.tif"
            write_array(path, bands_first(scene), transform=transform, crs=crs, nodata=nodata)
            try:
                yield str(path)
            except SegEarthError as e:
                e.args = (str(e).replace(str(path), ARRAY),)
                raise
        return
    if not isinstance(scene, str | Path):
        kind = type(scene).__name__
        raise UsageError(f"a scene of type {kind}: need a path, or an array of NumPy (np.asarray(x), ds.read())")
    if transform is not None or crs is not None:
        raise UsageError("transform and crs place an array; a raster says itself where it lies")
    yield str(scene)


def read_array(path: Path) -> NDArray[Any]:
    """All pixels of a raster, (bands, H, W); inverse of `write_array`."""
    with opened_dataset(path) as ds:
        values: NDArray[Any] = ds.read()
        return values


def bands_first(array: NDArray[Any]) -> NDArray[Any]:
    """An array of pixels as (bands, H, W). Raises UsageError when it is no picture."""
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3 and 0 not in array.shape:
        return array if array.shape[0] <= array.shape[2] else np.moveaxis(array, 2, 0)
    raise UsageError(f"an array of shape {array.shape}: need (3, H, W), (H, W, 3), or (H, W) for grey")
