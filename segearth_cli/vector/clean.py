"""Masks without small pieces and small holes, as temporary rasters of the same pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import features

from segearth_cli.errors import RasterError
from segearth_cli.raster import (
    MaskFile,
    Recoding,
    Window,
    environment,
    mask_strips,
    mask_windows,
    open_dataset,
    temporary_raster,
)
from segearth_cli.vector.polygons import Outlines, traced
from segearth_cli.vector.ragged import following, spans, twice_areas

_SIEVED_TYPES = ("uint8", "uint16", "int16", "int32")


def sieved(mask: MaskFile, size: int, connectivity: int, folder: Path, rows: int) -> MaskFile:
    """The mask with every piece of fewer than `size` pixels joined to its largest neighbour, as GDAL's sieve does.

    Pixels without data stay as they are and join nothing; a small piece among them stays too. One copy of the raster
    is held in memory. Raises RasterError for codes of more than 32 bits.
    """
    if mask.dtype.name not in _SIEVED_TYPES:
        raise RasterError(f"{mask.path}: {mask.dtype} codes cannot be sieved; leave --min-area out or convert to Int32")
    valid = _valid(mask, folder / "valid.tif", rows)
    with environment(mask.path, cache=64 << 20), open_dataset(mask.path) as ds:
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
    with _packed(path, mask, mask.dtype) as write:
        for top in range(0, mask.height, rows):
            write(clean[top : top + rows])
    return replace(mask, path=str(path), valid=valid, masked=valid is not None)


def filled(mask: MaskFile, kept: frozenset[int] | None, area: float, folder: Path, rows: int) -> MaskFile:
    """The mask with holes smaller than `area` pixels in the pieces of the kept classes filled with their code.

    All that lies in such a hole is replaced, but pixels without data stay as they are. A copy of the raster lies on
    disk, not compressed, for holes are filled as soon as the piece around them ends. What lies in a hole ends before,
    so that the hole around all others has the last word.
    """
    valid = _valid(mask, folder / "valid.tif", rows) if mask.masked else None
    path, recode = folder / "filled.tif", Recoding(mask, kept)
    strips = ((recode(codes, data), None) for codes, data in mask_strips(mask, rows))
    with _raster(path, mask, mask.dtype) as ds, mask_windows(mask) as read:
        top = 0
        for codes, _ in mask_strips(mask, rows):
            ds.write(codes, 1, window=Window(top, 0, len(codes), mask.width).to_rasterio())
            top += len(codes)
        for found, rings in traced(strips, mask.width, recode.dtype):
            runs = _runs(rings, recode.codes(found.code), area)
            for band in np.unique(runs.row // rows).tolist():
                window = Window(band * rows, 0, min(rows, mask.height - band * rows), mask.width)
                codes = ds.read(1, window=window.to_rasterio())
                runs.of(band * rows, len(codes)).fill(codes, read(window)[1])
                ds.write(codes, 1, window=window.to_rasterio())
    return replace(mask, path=str(path), valid=valid, masked=valid is not None)


@dataclass(frozen=True, slots=True)
class _Runs:
    """Pixels side by side that get a code; later ones come over earlier ones."""

    row: NDArray[np.int64]
    """(N,): their row."""
    begin: NDArray[np.int64]
    """(N,): the column of the first."""
    length: NDArray[np.int64]
    """(N,): how many there are."""
    code: NDArray[np.int64]
    """(N,): what they get."""

    def of(self, top: int, height: int) -> _Runs:
        """Those within some rows, counted from the first of these."""
        held = np.flatnonzero((self.row >= top) & (self.row < top + height))
        return _Runs(self.row[held] - top, self.begin[held], self.length[held], self.code[held])

    def fill(self, codes: NDArray[Any], data: NDArray[np.bool_] | None) -> None:
        """Give pixels (h, W) their codes, but for those without data (None = all have some)."""
        place = spans(self.row * codes.shape[1] + self.begin, self.length)
        code = np.repeat(self.code, self.length)
        if data is not None:
            held = data.ravel()[place]
            place, code = place[held], code[held]
        codes.reshape(-1)[place] = code


def _runs(rings: Outlines, code: NDArray[np.int64], area: float) -> _Runs:
    """The pixels of holes of less than `area` pixels, smaller holes first; code (P,): of each outline."""
    owner = np.repeat(np.arange(len(code)), rings.rings)
    starts = np.cumsum(rings.lengths) - rings.lengths
    after = following(rings.lengths)
    x, y = rings.xy.astype(np.int64).T
    size = -twice_areas(x, y, rings.lengths) / 2  # of holes, > 0
    hole = np.diff(owner, prepend=-1) == 0
    small = np.flatnonzero(hole & (size < area))
    small = small[np.argsort(size[small], kind="stable")]
    at = spans(starts[small], rings.lengths[small])
    rank = np.repeat(np.arange(len(small)), rings.lengths[small])
    top, height = np.minimum(y[at], y[after[at]]), np.abs(y[after[at]] - y[at])  # of edges, 0 for those along a row
    row, rank, col = spans(top, height), np.repeat(rank, height), np.repeat(x[at], height)
    order = np.lexsort((col, row, rank))
    row, rank, col = row[order], rank[order], col[order]  # a ring is passed twice for each run
    return _Runs(row[::2], col[::2], col[1::2] - col[::2], code[owner[small]][rank[::2]])


def _valid(mask: MaskFile, path: Path, rows: int) -> Path | None:
    """A raster that tells the pixels with data, None when the mask says that all have some."""
    if mask.nodata is None and not mask.masked:
        return None
    if mask.valid:
        return mask.valid
    with _packed(path, mask, np.dtype(np.uint8)) as write:
        for _, data in mask_strips(mask, rows):
            write(np.asarray(data, np.uint8))
    return path


def _raster(path: Path, mask: MaskFile, dtype: np.dtype[Any], **form: Any) -> AbstractContextManager[Any]:
    """A new raster of the mask's size, open to write and read. Raises RasterError when the disk is full."""
    form |= {"width": mask.width, "height": mask.height, "count": 1, "dtype": dtype, "BIGTIFF": "IF_SAFER"}
    return temporary_raster(path, blockysize=min(mask.height, 16), **form)


@contextmanager
def _packed(path: Path, mask: MaskFile, dtype: np.dtype[Any]) -> Iterator[Any]:
    """A function that appends rows to a new raster of the mask's size. Raises RasterError when the disk is full."""
    row = 0
    with _raster(path, mask, dtype, compress="lzw") as ds:

        def write(pixels: NDArray[Any]) -> None:
            nonlocal row
            ds.write(pixels, 1, window=Window(row, 0, len(pixels), mask.width).to_rasterio())
            row += len(pixels)

        yield write
