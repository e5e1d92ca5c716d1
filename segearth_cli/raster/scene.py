"""Scenes: what to read of a raster and how, as RGB chips with a valid mask on any resampled grid."""

from __future__ import annotations

import math
import os
import random
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.transform import from_gcps
from rasterio.windows import Window as RasterWindow

from segearth_cli.errors import RasterError, UsageError
from segearth_cli.raster.grid import Window
from segearth_cli.raster.paths import readable

T = TypeVar("T")

warnings.simplefilter("ignore", NotGeoreferencedWarning)  # the command line tells it in one line

STRETCH_SAMPLE = 1024  # longest side, in pixels, of the decimated read that a stretch is computed from
STRETCH_PIXELS = 100_000_000  # rasters above this are sampled in blocks
SOME_DATA = 1e-6  # share of a resampled pixel that must be data
TIE = 2**-20  # lifts means of exactly .5, common where sizes have a simple ratio, out of reach of rounding errors
CACHE_MB = 256  # of decoded blocks, for all threads together
REMOTE = ("curl", "s3", "gs", "az", "adls", "oss", "swift", "hdfs", "webhdfs")  # of GDAL's virtual file systems
CLOUD = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "15",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_TIMEOUT": "120",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "VSI_CACHE": "FALSE",  # gives zeros, which read as holes, for what could not be fetched
    "GTIFF_USE_DEFER_STRILE_LOADING": "NO",  # an index of tiles that did not arrive reads as holes too
}
PAUSES = (2, 6, 18)  # times GDAL_HTTP_RETRY_DELAY, before reading over the network is given up
UNREADABLE = (RasterioError, CPLE_BaseError, OSError, ValueError)  # what rasterio raises
LASTING = ("HTTP response code: 40", "HTTP error code : 40")
METRES_PER_DEGREE = 111_319.490793  # on the equator of WGS 84


@dataclass(frozen=True, slots=True)
class Chip:
    """Pixels of one window: image (3, H, W) uint8 RGB and valid (H, W), True = data (the inverse of numpy.ma)."""

    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How pixels become 8-bit RGB.

    bands: three or one band numbers from 1, or None to go by colour interpretation. stretch: `auto`, `MIN,MAX` in
    the scene's own values, or `P2,P98` percentiles; `auto` is P2,P98, and no stretch for 8-bit. antialias: average
    what a coarser pixel covers (as GDAL's bilinear does); off: the two nearest pixels an axis (as the published
    settings).
    """

    bands: tuple[int, ...] | None = None
    stretch: str = "auto"
    antialias: bool = True


@dataclass(frozen=True, slots=True)
class Scene:
    """A raster opened for segmentation; safe to read from several threads.

    stretch: (low, high) for each band read, or None for 8-bit values as they are. palette: (256 or more, 3) colours.
    notices: lines the user should see.
    """

    path: str
    height: int
    width: int
    crs: Any
    transform: Any
    gcps: tuple[list[Any], Any]
    rpcs: Any
    bands: tuple[int, ...]
    alpha: int | None
    nodata: float | None
    masked: bool
    palette: NDArray[np.uint8] | None
    stretch: tuple[tuple[float, float], ...] | None
    dtype: str
    overviews: tuple[int, ...]
    block: tuple[int, int]
    sparse: bool
    antialias: bool
    notices: tuple[str, ...]
    _local: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    @property
    def stem(self) -> str:
        """The file's name without folder and last suffix."""
        return stem(self.path)

    @property
    def always_valid(self) -> bool:
        """Whether every pixel is known to carry data."""
        floating = np.issubdtype(np.dtype(self.dtype), np.floating)
        return self.alpha is None and self.nodata is None and not self.masked and self.palette is None and not floating

    def pixel_metres(self) -> float:
        """Side of a pixel in metres, at the scene's centre for geographic CRSs.

        Raises RasterError without a CRS, a geotransform or a unit of length.
        """
        crs, t = self.crs, self.transform
        if self.gcps[0] and (crs is None or t.is_identity):
            crs, t = self.gcps[1], from_gcps(self.gcps[0])
        if crs is None or t.is_identity:
            raise RasterError(f"{self.path}: no CRS, so --gsd has no meaning here; use --scale or --long-side")
        sizes = np.array([math.hypot(t.a, t.d), math.hypot(t.b, t.e)])
        if crs.is_geographic:
            latitude = t.f + t.d * self.width / 2 + t.e * self.height / 2
            sizes = sizes * METRES_PER_DEGREE * np.array([math.cos(math.radians(latitude)), 1.0])
        else:
            try:
                sizes = sizes * crs.linear_units_factor[1]
            except CRSError:
                raise RasterError(f"{self.path}: a CRS without a unit of length; use --scale or --long-side") from None
        return float(np.sqrt(sizes.prod()))

    def read(self, window: Window, size: tuple[int, int] | None = None) -> Chip:
        """The pixels of a window on the scene's grid resampled to `size` (height, width); the scene's own by default.

        Each pixel depends on its place in the grid alone, not on the window it is read with; a resampled one is the
        mean of the data it covers, and valid when it covers any.
        Raises RasterError when the file cannot be read.
        """
        size = size or (self.height, self.width)
        if size == (self.height, self.width):
            values, valid = self._values(window, None)
            return Chip(self._to_rgb(values, valid), valid)
        level, (rows, cols) = self._level(size)
        row_at, row_weights = resampling(rows, size[0], window.row, window.bottom, antialias=self.antialias)
        col_at, col_weights = resampling(cols, size[1], window.col, window.right, antialias=self.antialias)
        source = Window(row_at, col_at, row_weights.shape[1], col_weights.shape[1])
        values, valid = self._values(source, level)
        weight = row_weights @ valid.astype(np.float64) @ col_weights.T
        sums = np.stack([row_weights @ np.where(valid, band, 0).astype(np.float64) @ col_weights.T for band in values])
        some = weight > SOME_DATA
        return Chip(self._to_rgb(sums / np.where(some, weight, 1), some), some)

    def hole(self, window: Window) -> bool:
        """Whether a window of the scene's own grid was never written (sparse GeoTIFF), so that no pixel is data."""
        return self.sparse and self._is_hole(window)

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Where a window of the scene's own grid has data, (H, W)."""
        if self.always_valid:
            return np.ones((window.height, window.width), bool)
        if self.hole(window):
            return np.zeros((window.height, window.width), bool)
        return self._values(window, None)[1]

    def close(self) -> None:
        """Close this thread's datasets; those of other threads, which may be reading, close when their thread ends."""
        for dataset in self._local.__dict__.pop("datasets", {}).values():
            dataset.close()

    def _dataset(self, level: int | None) -> Any:
        """This thread's dataset, at full resolution or at an overview level."""
        datasets: dict[int | None, Any] = self._local.__dict__.setdefault("datasets", {})
        if level not in datasets:
            datasets[level] = _open(self.path) if level is None else _open(self.path, overview_level=level)
        return datasets[level]

    def _level(self, size: tuple[int, int]) -> tuple[int | None, tuple[int, int]]:
        """The coarsest overview that is not coarser than `size`, and its size."""
        best: tuple[int | None, tuple[int, int]] = None, (self.height, self.width)
        if not self.antialias:
            return best
        for level, factor in enumerate(self.overviews):
            rows, cols = math.ceil(self.height / factor), math.ceil(self.width / factor)
            if rows >= size[0] and cols >= size[1] and rows < best[1][0]:
                ds = self._dataset(level)
                best = level, (ds.height, ds.width)
        return best

    def _values(self, window: Window, level: int | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Raw values (bands, H, W), palettes expanded, and where they are data (H, W)."""
        if level is None and self.hole(window):
            shape = window.height, window.width
            return np.zeros((3 if self.palette is not None else len(self.bands), *shape), self.dtype), np.zeros(
                shape, bool
            )
        try:
            values, masked = patiently(self.path, lambda: self._raw(window, level))
        except UNREADABLE as e:
            raise RasterError(f"{self.path}: cannot read rows {window.row}-{window.bottom - 1}: {_line(e)}") from e
        valid = np.ones(values.shape[1:], bool)
        if self.alpha:
            valid &= values[-1] > 0
            values = values[:-1]
        if masked is not None:
            valid &= masked
        if np.issubdtype(values.dtype, np.floating):
            valid &= np.isfinite(values).all(axis=0)
        if self.nodata is not None and not math.isnan(self.nodata):
            valid &= (values != self.nodata).any(axis=0)
        if self.palette is not None:
            colours = self.palette[values[0]]
            return colours[..., :3].transpose(2, 0, 1), valid & (colours[..., 3] > 0)
        return values, valid

    def _raw(self, window: Window, level: int | None) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values of the bands and alpha, and where the file's own mask has data; the dataset is let go if it fails."""
        box = RasterWindow(window.col, window.row, window.width, window.height)
        try:
            with environment(self.path):
                ds = self._dataset(level)
                values = ds.read([*self.bands, self.alpha] if self.alpha else list(self.bands), window=box)
                return values, ds.read_masks(self.bands[0], window=box) > 0 if self.masked else None
        except UNREADABLE:
            self._local.datasets.pop(level, None)
            raise

    def _is_hole(self, window: Window) -> bool:
        """Whether no block of the window was ever written (sparse GeoTIFF)."""
        ds = self._dataset(None)
        rows = range(window.row // self.block[0], (window.bottom - 1) // self.block[0] + 1)
        cols = range(window.col // self.block[1], (window.right - 1) // self.block[1] + 1)
        bands = [self.alpha] if self.alpha else self.bands
        blocks = ((f"BLOCK_OFFSET_{c}_{r}", band) for r in rows for c in cols for band in bands)
        return not any(ds.get_tag_item(name, "TIFF", bidx=band) for name, band in blocks)

    def _to_rgb(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        if self.stretch is not None:
            kind = np.promote_types(values.dtype, np.float32)
            low, high = (np.array(side, kind)[:, None, None] for side in zip(*self.stretch, strict=True))
            values = (np.where(valid, values, 0).astype(kind) - low) / np.maximum(high - low, 1e-12) * 255
        if values.dtype != np.uint8:
            values = np.clip(np.floor(values + (0.5 + TIE)), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(values, (3, *values.shape[1:])))


def environment(path: str = "") -> rasterio.Env:
    """GDAL's settings for one thread of work: a bounded cache, its messages to Python's logging instead of stderr.

    For a remote path also those that cloud-optimised GeoTIFFs want; what the user's environment sets stays.
    """
    cloud = {name: value for name, value in CLOUD.items() if name not in os.environ} if is_remote(path) else {}
    return rasterio.Env(GDAL_CACHEMAX=CACHE_MB, COMPRESS_OVERVIEW="DEFLATE", SPARSE_OK_OVERVIEW="TRUE", **cloud)


def is_remote(path: str) -> bool:
    """Whether GDAL reads a path over the network.

    >>> is_remote("https://host/x.tif"), is_remote("/vsizip//vsicurl/http://host/x.zip"), is_remote("x.tif")
    (True, True, False)
    """
    scheme = urlsplit(path).scheme if "://" in path else ""
    return scheme not in ("", "file", "zip", "tar") or any(f"/vsi{kind}" in path for kind in REMOTE)


def stem(path: str) -> str:
    """The name of a scene's file without folder and last suffix, also for URLs and /vsi paths.

    >>> stem("/data/a.b.tif"), stem("https://host/x.tif?token=1"), stem("zip://a.zip!b.tif")
    ('a.b', 'x', 'b')
    """
    if "://" in path:
        url = urlsplit(path)
        path = (url.netloc + url.path).rpartition("!")[2]
    return Path(path).stem or "scene"


def open_scene(path: str, options: ReadOptions | None = None) -> Scene:
    """A raster as a scene, its stretch computed once from a decimated read.

    Raises RasterError when the raster is absent, unreadable, empty, complex, or its bands cannot be told.
    """
    options = options or ReadOptions()
    with _open(path) as ds:
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
    return _with_stretch(scene, options.stretch)


def resampling(source: int, target: int, first: int, end: int, *, antialias: bool) -> tuple[int, NDArray[np.float64]]:
    """The linear operator that resamples one axis, for target pixels first..end-1 only.

    Returns the first source pixel needed and weights (end - first, n), each row summing to one. Triangle kernel, pixel
    centres aligned, edges renormalised; with antialias the kernel is as wide as a target pixel when shrinking.
    """
    step = source / target
    support = max(step, 1.0) if antialias else 1.0
    centre = (np.arange(first, end) + 0.5) * step
    if not antialias:
        centre = np.clip(centre, 0.5, source - 0.5)
    low = max(0, math.floor(centre[0] - support))
    high = min(source, math.ceil(centre[-1] + support))
    distance = np.abs(np.arange(low, high)[None, :] + 0.5 - centre[:, None]) / support
    weights = np.maximum(0.0, 1.0 - distance)
    return low, weights / weights.sum(axis=1, keepdims=True)


def patiently(path: str, act: Callable[[], T]) -> T:
    """What `act` returns; over the network it is tried again after errors that may pass, later each time.

    GDAL's own retries come first; these are for what it does not count as passing, such as an answer cut short.
    """
    unit = float(os.environ.get("GDAL_HTTP_RETRY_DELAY", CLOUD["GDAL_HTTP_RETRY_DELAY"]))
    for pause in PAUSES if is_remote(path) else ():
        try:
            return act()
        except UNREADABLE as e:
            if any(sign in _line(e) for sign in LASTING):
                raise
            time.sleep(pause * unit * random.uniform(0.8, 1.2))
            _forget(path)
    return act()


def _forget(path: str) -> None:
    """Drops what GDAL keeps of a remote file, in case an answer was cut short."""
    everything = ":".join(f"/vsi{kind}/" for kind in REMOTE)
    with environment(path), rasterio.Env(CPL_VSIL_CURL_NON_CACHED=everything), suppress(*UNREADABLE):
        rasterio.open(path).close()


def _open(path: str, **options: Any) -> Any:
    def act() -> Any:
        with environment(path):
            return rasterio.open(path, **options)

    readable(path)
    try:
        return patiently(path, act)
    except (*UNREADABLE, TypeError) as e:
        raise RasterError(f"{path}: not a raster that GDAL can read ({_line(e)})") from e


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


def _with_stretch(scene: Scene, rule: str) -> Scene:
    """The scene with its stretch settled: (low, high) a band, or None for 8-bit values and palettes left alone."""
    percentiles, limits = parse_stretch(rule)
    if scene.palette is not None or (rule == "auto" and scene.dtype == "uint8"):
        return scene
    if limits is not None:
        return replace(scene, stretch=(limits,) * len(scene.bands))
    factor = min(1.0, STRETCH_SAMPLE / max(scene.height, scene.width))
    size = max(1, round(scene.height * factor)), max(1, round(scene.width * factor))
    values, valid = _decimated(scene, size)
    if not valid.any():
        return replace(scene, stretch=((0.0, 1.0),) * len(scene.bands))
    pairs = [np.percentile(band[valid].astype(np.float64), percentiles) for band in values]
    return replace(scene, stretch=tuple((float(low), float(high)) for low, high in pairs))


def _decimated(scene: Scene, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A sample of the scene's pixels, (bands, n) and (n,), at about `size` in all.

    Every n-th pixel of the coarsest overview that is large enough; where that would decode a huge raster whole, blocks
    spread evenly over it.
    """
    level, (rows, cols) = scene._level(size)
    step_rows, step_cols = max(1, rows // size[0]), max(1, cols // size[1])
    if rows * cols <= STRETCH_PIXELS:
        parts = [Window(row, 0, 1, cols) for row in range(0, rows, step_rows)]
    else:
        side = 256
        parts = [
            Window(row, col, min(side, rows), min(side, cols))
            for row in range(0, max(1, rows - side), max(side, rows // 16))
            for col in range(0, max(1, cols - side), max(side, cols // 16))
        ]
        step_cols = 4
    read = [scene._values(part, level) for part in parts]
    values = np.concatenate([v[..., ::step_cols].reshape(len(v), -1) for v, _ in read], axis=1)
    return values, np.concatenate([ok[..., ::step_cols].ravel() for _, ok in read])


def parse_stretch(rule: str) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """Percentiles, and limits when the rule names values. Raises UsageError for anything else.

    >>> parse_stretch("P1,P99"), parse_stretch("0,3000")
    (((1.0, 99.0), None), ((2.0, 98.0), (0.0, 3000.0)))
    """
    if rule == "auto":
        return (2.0, 98.0), None
    try:
        low, high = rule.split(",")
        percent = low[:1] in "pP" and high[:1] in "pP"
        pair = (float(low[1:]), float(high[1:])) if percent else (float(low), float(high))
    except ValueError:
        pair, percent = (1.0, 0.0), False
    if not pair[0] < pair[1] or (percent and (pair[0] < 0 or pair[1] > 100)):
        raise UsageError(f"--stretch {rule}: need auto, MIN,MAX or two percentiles such as P2,P98")
    return (pair, None) if percent else ((2.0, 98.0), pair)


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Band numbers from `4,3,2`. Raises UsageError when they are no numbers."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--bands {text}: need band numbers from 1 separated by commas, e.g. 4,3,2") from None


def _line(error: BaseException) -> str:
    """The innermost reason that GDAL gives."""
    while error.__cause__ is not None and str(error.__cause__):
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
