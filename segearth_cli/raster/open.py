"""A raster opened as a scene: which bands are drawn, in which colours, and what the user should know of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags

from segearth_cli.errors import RasterError, UsageError
from segearth_cli.raster.datasets import open_dataset
from segearth_cli.raster.options import ReadOptions
from segearth_cli.raster.remote import is_remote
from segearth_cli.raster.scene import Scene
from segearth_cli.raster.stretch import with_stretch


def open_scene(path: str, options: ReadOptions | None = None) -> Scene:
    """A raster as a scene, its stretch computed once from a decimated read.

    Raises RasterError when the raster is absent, unreadable, empty, complex, or its bands cannot be told.
    """
    options = options or ReadOptions()
    with open_dataset(path) as ds:
        if ds.count == 0:
            raise RasterError(
                f"{path}: no bands" + (f"; name a subdataset: {ds.subdatasets[0]}" if ds.subdatasets else "")
            )
        bands, notices = _choose_bands(ds, path, options.bands)
        dtype = ds.dtypes[bands[0] - 1]
        if "complex" in dtype:
            raise RasterError(f"{path}: complex values ({dtype}); need real ones, e.g. gdal_calc.py --calc 'abs(A)'")
        alpha = next(
            (i + 1 for i, c in enumerate(ds.colorinterp) if c == ColorInterp.alpha and i + 1 not in bands), None
        )
        palette = _palette(ds, bands)
        if palette is None and len(bands) == 1 and options.bands is None:
            notices.append(f"{path}: one band, read as grey")
        if ds.crs is None and not ds.gcps[0] and ds.rpcs is None:
            notices.append(f"{path}: no CRS, the mask will have none either")
        flags = ds.mask_flag_enums[bands[0] - 1]
        scene = Scene(
            path=path,
            height=ds.height,
            width=ds.width,
            crs=ds.crs,
            transform=ds.transform,
            gcps=ds.gcps,
            rpcs=ds.rpcs,
            bands=bands,
            alpha=alpha,
            nodata=ds.nodatavals[bands[0] - 1],
            masked=MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags,
            palette=palette,
            stretch=None,
            dtype=dtype,
            overviews=tuple(ds.overviews(bands[0])),
            block=ds.block_shapes[bands[0] - 1],
            sparse=_may_be_sparse(ds, alpha, bands),
            antialias=options.antialias,
            notices=tuple(notices),
        )
    return with_stretch(scene, options.stretch)


def _choose_bands(ds: Any, path: str, asked: Sequence[int] | None) -> tuple[tuple[int, ...], list[str]]:
    """Band numbers to read, three for RGB or one for grey, and notices about the choice."""
    if asked is not None:
        if len(asked) not in (1, 3):
            raise UsageError(f"--bands {','.join(map(str, asked))}: need three bands (red, green, blue) or one (grey)")
        if not all(1 <= b <= ds.count for b in asked):
            raise RasterError(f"{path}: --bands {','.join(map(str, asked))}: the scene has bands 1 to {ds.count}")
        return tuple(asked), []
    meanings = list(ds.colorinterp)
    rgb = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    if all(m in meanings for m in rgb):
        return tuple(meanings.index(m) + 1 for m in rgb), []
    colour = [i + 1 for i, m in enumerate(meanings) if m != ColorInterp.alpha]
    if len(colour) == 1:
        return (colour[0],), []
    choice = "three with --bands, e.g. --bands 3,2,1" if ds.count > 2 else "one with --bands, e.g. --bands 1"
    raise RasterError(f"{path}: {ds.count} bands, none marked as red, green and blue; choose {choice}")


def _palette(ds: Any, bands: Sequence[int]) -> NDArray[np.uint8] | None:
    """Colours (n, 4) of a palette band, n as many as its type can index."""
    if len(bands) != 1 or ds.colorinterp[bands[0] - 1] != ColorInterp.palette:
        return None
    table = np.zeros((np.iinfo(ds.dtypes[bands[0] - 1]).max + 1, 4), np.uint8)
    for code, colour in ds.colormap(bands[0]).items():
        if code < len(table):
            table[code] = colour
    return table


def _may_be_sparse(ds: Any, alpha: int | None, bands: Sequence[int]) -> bool:
    """Whether blocks that were never written read as pixels without data."""
    if is_remote(ds.name):  # an index of blocks that did not arrive looks like holes
        return False
    return ds.driver == "GTiff" and (alpha is not None or ds.nodatavals[bands[0] - 1] is not None)
