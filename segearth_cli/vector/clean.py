"""Masks without small pieces and small holes, as temporary rasters of the same pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio import features

from segearth_cli.errors import RasterError
from segearth_cli.raster import (
    MaskFile,
    Recoding,
    Window,
    mask_strips,
    open_dataset,
    temporary_raster,
)
from segearth_cli.vector import polygons as shapes

_SIEVED_TYPES = ("uint8", "uint16", "int16", "int32")


def sieved(mask: MaskFile, size: int, connectivity: int, folder: Path, rows: int) -> MaskFile:
    """The mask with every piece of fewer than `size` pixels joined to its largest neighbour, as GDAL's sieve does.

    Pixels without data stay as they are and join nothing; a small piece among them stays too. One copy of the raster
    is held in memory. Raises RasterError for codes of more than 32 bits.
    """
    if mask.dtype.name not in _SIEVED_TYPES:
        raise RasterError(f"{mask.path}: {mask.dtype} codes cannot be sieved; leave --min-area out or convert to Int32")
    valid = _valid(mask, folder / "valid.tif", rows)
    with rasterio.Env(GDAL_CACHEMAX=64 << 20), open_dataset(mask.path) as ds:
        where = open_dataset(valid) if valid else None
        clean = features.sieve(
            rasterio.band(ds, 1),
            size,
            out=np.zeros((mask.height, mask.width), mask.dtype),
            mask=rasterio.band(where, 1) if where else None,
            connectivity=connectivity,
        )
        if where:
            where.close()
    path = folder / "sieved.tif"
    with _raster(path, mask, mask.dtype) as write:
        for top in range(0, mask.height, rows):
            write(clean[top : top + rows])
    return replace(mask, path=str(path), valid=valid, masked=valid is not None)


def filled(mask: MaskFile, kept: frozenset[int] | None, area: float, folder: Path, rows: int) -> MaskFile:
    """The mask with holes smaller than `area` pixels in the pieces of the kept classes filled with their code.

    All that lies in such a hole is replaced, but pixels without data stay as they are.
    """
    holes, codes, top_row = _small_holes(mask, kept, area, rows)
    bottom_row = shapely.bounds(holes)[:, 3] if len(holes) else top_row
    valid = _valid(mask, folder / "valid.tif", rows) if mask.masked else None
    path = folder / "filled.tif"
    top = 0
    with _raster(path, mask, mask.dtype) as write:
        for strip, data in mask_strips(mask, rows):
            touched = np.flatnonzero((bottom_row > top) & (top_row < top + len(strip)))
            if len(touched):
                number = features.rasterize(
                    [(holes[i], i + 1) for i in touched.tolist()],
                    strip.shape,
                    transform=Affine.translation(0, top),
                    dtype="int32",
                )
                fill = number > 0 if data is None else (number > 0) & data
                strip[fill] = codes[number[fill] - 1]
            write(strip)
            top += len(strip)
    return replace(mask, path=str(path), valid=valid, masked=valid is not None)


def _small_holes(
    mask: MaskFile, kept: frozenset[int] | None, area: float, rows: int
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float64]]:
    """Holes as polygons, smallest first, with the codes around them and their first rows."""
    recode = Recoding(mask, kept)
    strips = ((recode(codes, data), None) for codes, data in mask_strips(mask, rows))
    holes: list[NDArray[Any]] = [np.array([], object)]
    codes: list[NDArray[np.int64]] = [np.array([], np.int64)]
    for batch in shapes.polygons(strips, mask.width, recode.dtype):
        pierced = batch.take(shapely.get_num_interior_rings(batch.geometry) > 0)
        rings, owner = shapely.get_rings(pierced.geometry, return_index=True)
        inner = np.diff(owner, prepend=-1) == 0
        found = shapely.polygons(rings[inner]) if inner.any() else holes[0]
        small = shapely.area(found) < area
        holes.append(found[small])
        codes.append(recode.codes(pierced.code)[owner[inner][small]])
    every, code = np.concatenate(holes), np.concatenate(codes)
    order = np.argsort(shapely.area(every), kind="stable")
    every = every[order]
    return every, code[order], shapely.bounds(every)[:, 1] if len(every) else np.array([])


def _valid(mask: MaskFile, path: Path, rows: int) -> Path | None:
    """A raster that tells the pixels with data, None when the mask says that all have some."""
    if mask.nodata is None and not mask.masked:
        return None
    if mask.valid:
        return mask.valid
    with _raster(path, mask, np.dtype(np.uint8)) as write:
        for _, data in mask_strips(mask, rows):
            write(np.asarray(data, np.uint8))
    return path


@contextmanager
def _raster(path: Path, mask: MaskFile, dtype: np.dtype[Any]) -> Iterator[Any]:
    """A function that appends rows to a new raster of the mask's size. Raises RasterError when the disk is full."""
    row, form = 0, {"count": 1, "dtype": dtype, "compress": "lzw", "blockysize": min(mask.height, 16)}
    with temporary_raster(path, width=mask.width, height=mask.height, BIGTIFF="IF_SAFER", **form) as ds:

        def write(pixels: NDArray[Any]) -> None:
            nonlocal row
            ds.write(pixels, 1, window=Window(row, 0, len(pixels), mask.width).to_rasterio())
            row += len(pixels)

        yield write
