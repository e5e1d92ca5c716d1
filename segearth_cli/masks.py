"""Masks as GIS users expect them: tiled, compressed, with overviews, colours, class names and provenance."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from segearth_cli.classes import CLASSES_TAG, NODATA, ClassSet, to_tag
from segearth_cli.errors import RasterError
from segearth_cli.files import replacing
from segearth_cli.grid import Window
from segearth_cli.raster import Scene

TILE = 512  # pixels; rows are written in whole tiles, each one once
OVERVIEW_BELOW = 512  # overviews are added until the smallest is below this


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the results of one scene go; None = not asked for."""

    mask: Path
    confidence: Path | None = None
    scores: Path | None = None
    vector: Path | None = None

    def paths(self) -> list[Path]:
        """The files that will exist."""
        return [path for path in (self.mask, self.confidence, self.scores, self.vector) if path is not None]


@dataclass(frozen=True, slots=True)
class Rows:
    """Finished pixels: codes (H, W) uint8 with 255 = nodata, confidence (H, W) uint8 with 255 = nodata, scores
    (K, H, W) float32 with nan = nodata, or None."""

    window: Window
    codes: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    scores: NDArray[np.float32] | None


class Layer:
    """One GeoTIFF being written from the top in whole rows of tiles."""

    def __init__(self, path: Path, scene: Scene, region: Window, count: int, dtype: str, nodata: float):
        self._path = path
        self._region = region
        self._rows: list[NDArray[Any]] = []
        self._held = 0
        self._next = 0
        self._empty = nodata
        self.dataset = rasterio.open(
            path, "w", driver="GTiff", height=region.height, width=region.width, count=count, dtype=dtype,
            nodata=nodata, tiled=True, blockxsize=TILE, blockysize=TILE, compress="deflate", sparse_ok=True,
            bigtiff="if_safer", interleave="band", num_threads=2, **_georeference(scene, region),
        )  # fmt: skip

    def write(self, rows: NDArray[Any]) -> None:
        """Append rows (bands, n, W)."""
        self._rows.append(rows)
        self._held += rows.shape[1]
        if self._held >= TILE or self._next + self._held == self._region.height:
            held = np.concatenate(self._rows, axis=1) if len(self._rows) > 1 else self._rows[0]
            whole = self._held if self._next + self._held == self._region.height else self._held // TILE * TILE
            self._flush(held[:, :whole])
            self._rows, self._held = [held[:, whole:]], self._held - whole

    def _flush(self, rows: NDArray[Any]) -> None:
        empty = np.isnan(rows).all() if np.isnan(self._empty) else (rows == self._empty).all()
        if not empty:  # what is never written stays a hole that reads as nodata
            self.dataset.write(rows, window=RasterWindow(0, self._next, rows.shape[2], rows.shape[1]))
        self._next += rows.shape[1]


class MaskWriter:
    """Writes the rows of one region to mask, confidence and scores. Use `writing` to get one."""

    def __init__(self, layers: Mapping[str, Layer]):
        self._layers = layers

    def write(self, rows: Rows) -> None:
        """Append the next rows of the region."""
        self._layers["mask"].write(rows.codes[None])
        if "confidence" in self._layers:
            self._layers["confidence"].write(rows.confidence[None])
        if "scores" in self._layers and rows.scores is not None:
            self._layers["scores"].write(rows.scores)


@contextmanager
def writing(
    outputs: Outputs, scene: Scene, classes: ClassSet, tags: Mapping[str, str], region: Window | None = None
) -> Iterator[MaskWriter]:
    """A writer whose files appear under their names, complete, when the block succeeds, and not at all when it fails.

    Raises RasterError when a file cannot be written (disk full, read-only folder).
    """
    region = region or Window(0, 0, scene.height, scene.width)
    kinds = {
        "mask": (1, "uint8", NODATA),
        "confidence": (1, "uint8", NODATA),
        "scores": (len(classes), "float32", np.nan),
    }
    paths = {"mask": outputs.mask, "confidence": outputs.confidence, "scores": outputs.scores}
    with ExitStack() as stack, _gdal_failures() as failures:
        names = {kind: stack.enter_context(replacing(path)) for kind, path in paths.items() if path is not None}
        try:
            layers = {kind: Layer(name, scene, region, *kinds[kind]) for kind, name in names.items()}
            try:
                yield MaskWriter(layers)
            finally:
                for layer in layers.values():
                    layer.dataset.close()
            _refuse_failures(outputs.mask, failures)  # what is damaged cannot be finished
            for kind, name in names.items():
                _finish(kind, name, classes, tags)
        except (RasterioError, CPLE_BaseError) as e:
            raise RasterError(f"{outputs.mask}: cannot write: {failures[0] if failures else e}") from e
        _refuse_failures(outputs.mask, failures)
        _write_category_names(outputs.mask, classes)


def _refuse_failures(mask: Path, failures: list[str]) -> None:
    if failures:
        raise RasterError(f"{mask}: cannot write: {failures[0]}")


def _finish(kind: str, path: Path, classes: ClassSet, tags: Mapping[str, str]) -> None:
    """Overviews, colours and tags of a file just written."""
    with rasterio.open(path, "r+") as ds:
        ds.update_tags(TIFFTAG_SOFTWARE=f"segearth {tags.get('SEGEARTH_VERSION', '')}".strip(), **tags)
        if kind == "mask":
            ds.update_tags(**{CLASSES_TAG: to_tag(classes)})
            colours = {code: (*colour, 255) for code, colour in enumerate(classes.colors)}
            ds.write_colormap(1, {**colours, NODATA: (0, 0, 0, 0)})
            ds.set_band_description(1, "class")
        elif kind == "confidence":
            ds.update_tags(1, scale=str(1 / 254))
            ds.scales = (1 / 254,)
            ds.set_band_description(1, "probability of the winner")
        else:
            ds.descriptions = classes.names
            ds.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (ds.count - 1)
        factors = [2**i for i in range(1, 16) if max(ds.shape) / 2 ** (i - 1) > OVERVIEW_BELOW]
    if factors:  # in a second opening, where GDAL knows the palette
        with rasterio.open(path, "r+") as ds:
            ds.build_overviews(factors, Resampling.mode if kind == "mask" else Resampling.average)


def _write_category_names(mask: Path, classes: ClassSet) -> None:
    """Class names where GDAL and QGIS look for them: GDAL keeps those of a GeoTIFF in a side file."""
    names = "".join(f"      <Category>{escape(name)}</Category>\n" for name in classes.names)
    text = (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n'
        f"    <CategoryNames>\n{names}    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
    )
    try:
        with replacing(mask.with_name(mask.name + ".aux.xml")) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as e:
        raise RasterError(f"{mask}.aux.xml: cannot write: {e.strerror}") from e


@contextmanager
def _gdal_failures() -> Iterator[list[str]]:
    """Errors that GDAL only logs, such as a disk that fills while a dataset is closed."""
    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                found.append(" ".join(record.getMessage().split()))

    logger, handler = logging.getLogger("rasterio"), Collect()
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def _georeference(scene: Scene, region: Window) -> dict[str, Any]:
    """CRS and transform, GCPs and RPCs of a region, as far as the scene has them."""
    found: dict[str, Any] = {}
    if scene.gcps[0]:
        found = {"crs": scene.gcps[1], "gcps": _gcps(scene, region)}
    elif scene.crs is not None or not scene.transform.is_identity:
        t = scene.transform
        moved = type(t)(
            t.a, t.b, t.c + t.a * region.col + t.b * region.row, t.d, t.e, t.f + t.d * region.col + t.e * region.row
        )
        found = {"crs": scene.crs, "transform": moved}
    if scene.rpcs is not None:
        found["rpcs"] = _rpcs(scene, region)
    return found


def _gcps(scene: Scene, region: Window) -> list[Any]:
    from rasterio.control import GroundControlPoint

    return [
        GroundControlPoint(p.row - region.row, p.col - region.col, p.x, p.y, p.z, p.id, p.info) for p in scene.gcps[0]
    ]


def _rpcs(scene: Scene, region: Window) -> Any:
    import attrs

    return attrs.evolve(
        scene.rpcs, line_off=scene.rpcs.line_off - region.row, samp_off=scene.rpcs.samp_off - region.col
    )
