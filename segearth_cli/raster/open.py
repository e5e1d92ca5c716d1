"""A raster opened as a scene: which bands are drawn, in which colours, and what the user should know of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from segearth_cli.errors import RasterError, UsageError
from segearth_cli.raster.datasets import Patient, environment, named_files, reads_network
from segearth_cli.raster.grid import Window
from segearth_cli.raster.options import ReadOptions
from segearth_cli.raster.orientation import orientation
from segearth_cli.raster.remote import UNREADABLE, is_remote
from segearth_cli.raster.scene import Scene
from segearth_cli.raster.seal import Seal, seal_of, states_before
from segearth_cli.raster.stretch import Unit, with_stretch
from segearth_cli.raster.tags import NO_SCENE, of_result
from segearth_cli.raster.validity import Validity, never, validity

SAMPLE = (32, 256)  # rows and columns of each of nine pieces that an alpha band is known by
MANY = 16  # values between transparent and opaque; soft edges take many too, but few pixels
SOME = 0.05  # share of pixels


def open_scene(path: str, options: ReadOptions | None = None) -> Scene:
    """A raster as a scene, its stretch computed once from a decimated read.

    Raises RasterError when the raster is absent, unreadable, empty, complex, cut short, or its bands cannot be told.
    """
    with closing(Patient(path)) as dataset:
        return dataset.ask(lambda ds: _scene(path, ds, options or ReadOptions()))


def open_sealed(path: str, options: ReadOptions) -> tuple[Scene, Seal]:
    """`open_scene`, and how its files looked before it was read (`take_seal`), opened once."""
    before = states_before(path)
    with closing(Patient(path)) as dataset:
        seal = dataset.ask(lambda ds: seal_of(path, ds, before))
        return dataset.ask(lambda ds: _scene(path, ds, options)), seal


def refuse_own(scene: Scene) -> None:
    """Closes a scene that segearth wrote itself, and raises RasterError."""
    if scene.own:
        scene.close()
        raise RasterError(f"{scene.path}: {NO_SCENE}")


def _scene(path: str, ds: Any, options: ReadOptions) -> Scene:
    """An open dataset as a scene."""
    if ds.count == 0:
        hint = f"; name a subdataset: {ds.subdatasets[0]}" if ds.subdatasets else ""
        raise RasterError(f"{path}: no bands{hint}")
    bands = _chosen_bands(ds, path, options.bands)
    dtype = ds.dtypes[bands[0] - 1]
    if "complex" in dtype:
        raise RasterError(f"{path}: complex values ({dtype}); need real ones, e.g. gdal_calc.py --calc 'abs(A)'")
    rule, palette = validity(ds, bands, options), _palette(ds, bands)
    grey = len(bands) == 1 and palette is None
    scene = Scene(
        path=path,
        height=ds.height,
        width=ds.width,
        crs=ds.crs,
        transform=ds.transform,
        gcps=ds.gcps,
        rpcs=ds.rpcs,
        bands=bands,
        validity=rule,
        palette=palette,
        stretch=None,
        decibels=False,
        inverted=grey and ds.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES",
        dtype=dtype,
        overviews=_overviews(ds, bands, rule),
        block=ds.block_shapes[bands[0] - 1],
        sparse=_may_be_sparse(ds, bands, rule),
        antialias=options.antialias,
        remote=reads_network(ds),
        notices=(),
        files=tuple(named_files(ds)),
        own=of_result(path, ds.tags()),
    )
    with environment(path, remote=scene.remote):
        notices = tuple(_notices(ds, scene, options))
    units = [Unit(ds.scales[band - 1], ds.offsets[band - 1]) for band in bands]
    bits = min(int(ds.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", 8)) for band in bands)
    return with_stretch(replace(scene, notices=notices), options.stretch, units, bits)


def _notices(ds: Any, scene: Scene, options: ReadOptions) -> Iterator[str]:
    """Lines about choices made for the user."""
    path, alpha = scene.path, scene.validity.alpha
    if scene.palette is None and len(scene.bands) == 1 and options.bands is None:
        yield f"{path}: one band, read as grey"
    if scene.crs is None and not scene.gcps[0] and scene.rpcs is None:
        yield f"{path}: no CRS, the mask will have none either"
    if alpha is not None and (values := _values_between(ds, alpha)) > MANY:
        yield (
            f"{path}: band {alpha} is flagged as alpha, so its zeros are no data, but it takes many values "
            f"({values} in a sample), as a band of an image does; if it is one, keep its pixels with --no-alpha"
        )
    if alpha is not None and options.nodata is None and (value := _unheeded(ds, scene)):
        yield (
            f"{path}: band {alpha}, flagged as alpha, decides what is data, not the nodata value {value:g}; "
            f"--no-alpha goes by the value, --nodata {value:g} leaves both out"
        )
    if (turned := orientation(ds)) != 1:
        yield f"{path}: orientation {turned} is not applied, as in GDAL; the mask lies as the pixels are stored"


def _unheeded(ds: Any, scene: Scene) -> float:
    """The first nodata value but 0 that pixels of the bands drawn can have; 0 where there is none."""
    values = (ds.nodatavals[band - 1] or 0.0 for band in scene.bands)
    return next((value for value in values if value and not never(value, np.dtype(scene.dtype))), 0.0)


def _values_between(ds: Any, band: int) -> int:
    """How many values between transparent and opaque a sample of an alpha band takes, 0 where few pixels have one."""
    rows, cols = (
        sorted({(length - size) * i // 2 for i in range(3)})
        for length, size in ((ds.height, min(SAMPLE[0], ds.height)), (ds.width, min(SAMPLE[1], ds.width)))
    )
    size = min(SAMPLE[0], ds.height), min(SAMPLE[1], ds.width)
    windows = (Window(row, col, *size).to_rasterio() for row in rows for col in cols)
    try:
        values = np.concatenate([ds.read(band, window=window).ravel() for window in windows])
    except UNREADABLE:  # told when its pixels are asked for
        return 0
    ends = (0, 255, np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1)
    between = values[~np.isin(values, ends)]
    return len(np.unique(between)) if len(between) > SOME * len(values) else 0


def _overviews(ds: Any, bands: Sequence[int], rule: Validity) -> tuple[int, ...]:
    """Factors of the overviews that all bands to be read have in common."""
    read = [*bands, *([rule.alpha] if rule.alpha else [])]
    factors = {tuple(ds.overviews(band)) for band in read}
    return factors.pop() if len(factors) == 1 else ()


def _chosen_bands(ds: Any, path: str, asked: Sequence[int] | None) -> tuple[int, ...]:
    """Band numbers to read, three for RGB or one for grey."""
    if asked is not None:
        if len(asked) not in (1, 3):
            raise UsageError(f"--bands {','.join(map(str, asked))}: need three bands (red, green, blue) or one (grey)")
        if not all(1 <= b <= ds.count for b in asked):
            raise RasterError(f"{path}: --bands {','.join(map(str, asked))}: the scene has bands 1 to {ds.count}")
        return tuple(asked)
    meanings = list(ds.colorinterp)
    rgb = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    if all(m in meanings for m in rgb):
        return tuple(meanings.index(m) + 1 for m in rgb)
    colour = [i + 1 for i, m in enumerate(meanings) if m != ColorInterp.alpha]
    if len(colour) == 1:
        return (colour[0],)
    choice = "those with --bands RED,GREEN,BLUE, or one to read as grey" if ds.count > 2 else "one with --bands N"
    raise RasterError(f"{path}: {ds.count} bands, none marked as red, green and blue; name {choice}")


def _palette(ds: Any, bands: Sequence[int]) -> NDArray[np.uint8] | None:
    """Colours (n, 4) of a palette band, n as many as its type can index."""
    if len(bands) != 1 or ds.colorinterp[bands[0] - 1] != ColorInterp.palette:
        return None
    table = np.zeros((np.iinfo(ds.dtypes[bands[0] - 1]).max + 1, 4), np.uint8)
    for code, colour in ds.colormap(bands[0]).items():
        if code < len(table):
            table[code] = colour
    return table


def _may_be_sparse(ds: Any, bands: Sequence[int], rule: Validity) -> bool:
    """Whether blocks that were never written read as pixels without data."""
    if ds.driver != "GTiff" or rule.masks or is_remote(ds.name):  # an index that did not arrive looks like holes
        return False
    fills = [0 if ds.nodatavals[band - 1] is None else ds.nodatavals[band - 1] for band in bands]
    if rule.alpha:
        return not ds.nodatavals[rule.alpha - 1]
    return None not in rule.nodata and np.array_equal(np.array(rule.nodata, float), fills, equal_nan=True)
