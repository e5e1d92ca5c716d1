"""Masks as GIS users expect them: tiled, compressed, with overviews, colours, class names and provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError

from segearth_cli.beside import other_user, side_files
from segearth_cli.classes import CLASSES_TAG, CONFIDENCE_SCALE, NODATA, ClassSet, to_tag
from segearth_cli.clock import counted, stage
from segearth_cli.disk import cannot_write, cause_of
from segearth_cli.errors import RasterError
from segearth_cli.files import remove, replacing_all
from segearth_cli.raster.datasets import collecting, quietly
from segearth_cli.raster.georeference import Georeferenced, region_georeference
from segearth_cli.raster.grid import Window
from segearth_cli.raster.outputs import BLOCK, Outputs
from segearth_cli.raster.side_file import write_side_files
from segearth_cli.raster.written import cut_off, of_cut_off_file

OVERVIEW_BELOW = 512  # overviews are added until the smallest is below this


@dataclass(frozen=True, slots=True)
class Rows:
    """Finished pixels of a window that spans the whole region from left to right."""

    window: Window
    """Where they lie on the scene's own grid."""
    codes: NDArray[np.uint8]
    """(H, W) class codes, 255 = nodata."""
    confidence: NDArray[np.uint8]
    """(H, W) probability of the winner times 254, 255 = nodata."""
    scores: NDArray[np.float32] | None
    """(K, H, W) probabilities of the classes, nan = nodata; None when not asked for."""


class Layer:
    """One GeoTIFF being written from the top in whole rows of tiles."""

    def __init__(
        self, path: Path, scene: Georeferenced, region: Window, compress: str, count: int, dtype: str, nodata: float
    ):
        self._path = path
        self._region = region
        self._rows: list[NDArray[Any]] = []
        self._held = 0
        self._next = 0
        self._empty = nodata
        with quietly():
            self.dataset = rasterio.open(
                path, "w", driver="GTiff", height=region.height, width=region.width, count=count, dtype=dtype,
                nodata=nodata, tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress=compress, sparse_ok=True,
                bigtiff="if_safer", interleave="band", num_threads=2, **region_georeference(scene, region),
            )  # fmt: skip

    def write(self, rows: NDArray[Any]) -> None:
        """Append rows (bands, n, W)."""
        self._rows.append(rows)
        self._held += rows.shape[1]
        last = self._next + self._held == self._region.height
        if self._held >= BLOCK or last:
            held = np.concatenate(self._rows, axis=1) if len(self._rows) > 1 else self._rows[0]
            whole = self._held if last else self._held // BLOCK * BLOCK
            for row in range(0, whole, BLOCK):  # one row of tiles at a time, so that all files have one order
                self._flush(held[:, row : min(row + BLOCK, whole)])
            self._rows, self._held = [held[:, whole:]], self._held - whole

    def _flush(self, rows: NDArray[Any]) -> None:
        empty = np.isnan(rows).all() if np.isnan(self._empty) else (rows == self._empty).all()
        if not empty:  # what is never written stays a hole that reads as nodata
            self.dataset.write(rows, window=Window(self._next, 0, *rows.shape[1:]).to_rasterio())
        self._next += rows.shape[1]


class MaskWriter:
    """Writes the rows of one region to mask, confidence and scores. Use `writing` to get one."""

    def __init__(self, layers: Mapping[str, Layer], failures: list[str]):
        self._layers = layers
        self._failures = failures
        self._counts: NDArray[np.int64] = np.zeros(256, np.int64)

    @property
    def counts(self) -> dict[int, int]:
        """Pixels of each code so far, 255 = nodata; codes of none are left out."""
        return {code: int(n) for code, n in enumerate(self._counts) if n}

    @counted("write")
    def write(self, rows: Rows) -> None:
        """Append the next rows of the region."""
        self._counts += np.bincount(rows.codes.ravel(), minlength=256)
        bands = {"mask": rows.codes[None], "confidence": rows.confidence[None], "scores": rows.scores}
        with collecting(self._failures):
            for kind, layer in self._layers.items():
                if (values := bands[kind]) is not None:
                    layer.write(values)


@contextmanager
def writing(
    outputs: Outputs,
    scene: Georeferenced,
    classes: ClassSet,
    tags: Mapping[str, str],
    region: Window | None = None,
    *,
    whole: bool = True,
) -> Iterator[MaskWriter]:
    """A writer whose files appear under their names, complete, when the block succeeds, and not at all when it fails.

    whole: with overviews, tables of the classes and a style in side files; off for parts that will be joined.
    Raises RasterError when a file cannot be written (disk full, read-only folder).
    """
    region = region or Window(0, 0, scene.height, scene.width)
    places, form = outputs.by_kind(), outputs.form
    refuse_world_files(places.values(), scene)
    with replacing_all(list(places.values()), outputs.temporary) as temporaries:
        final = dict(zip(places, temporaries, strict=True))
        as_cog = whole and form.layout == "cog"
        drafts = {kind: name.with_name(f"{name.name}.rows.tif") if as_cog else name for kind, name in final.items()}
        with _telling(outputs.mask, temporaries) as failures:
            with _layers(drafts, scene, region, form.compress, classes, failures) as layers:
                writer = MaskWriter(layers, failures)
                yield writer
            if not failures:
                with collecting(failures), stage("write"):
                    for kind, draft in drafts.items():
                        label(kind, draft, classes, tags)
                        if as_cog:
                            _to_cog(kind, draft, final[kind], form.compress)
                        elif whole:
                            _build_overviews(kind, draft)
            failures += cut_off(temporaries)
        for kind, name in final.items():
            if whole:
                write_side_files(name, places[kind], classes if kind == "mask" else None, writer.counts)


@contextmanager
def _telling(mask: Path, temporaries: Sequence[Path]) -> Iterator[list[str]]:
    """A list for what GDAL only logs. Raises RasterError when there is any in the end, or when rasterio raises."""
    failures: list[str] = []
    try:
        yield failures
    except (RasterioError, CPLE_BaseError, TypeError) as e:
        if isinstance(e, TypeError) and not failures and not of_cut_off_file(e):
            raise
        cause = cause_of(temporaries, failures[0] if failures else e)
        raise RasterError(cannot_write(mask, cause)) from e
    if failures:
        raise RasterError(cannot_write(mask, cause_of(temporaries, failures[0])))


@contextmanager
def _layers(
    names: Mapping[str, Path], scene: Georeferenced, region: Window, compress: str, classes: ClassSet,
    failures: list[str],
) -> Iterator[dict[str, Layer]]:  # fmt: skip
    """A layer for each kind of output, closed in the end."""
    kinds = layouts(classes)
    with collecting(failures):
        layers = {kind: Layer(name, scene, region, compress, *kinds[kind]) for kind, name in names.items()}
    try:
        yield layers
    finally:
        with collecting(failures), stage("write"):
            for layer in layers.values():
                layer.dataset.close()


def _to_cog(kind: str, draft: Path, path: Path, compress: str) -> None:
    """Puts a cloud-optimised GeoTIFF in the place of a draft, which is removed."""
    write_cog(kind, draft, path, compress)
    remove(draft)
    remove(draft.with_name(f"{draft.name}.aux.xml"))


def refuse_world_files(places: Iterable[Path], scene: Georeferenced) -> None:
    """Raises RasterError where a file without a geotransform would get that of a world file, which another needs."""
    if not scene.transform.is_identity:
        return
    for place in places:
        for side in side_files(place):
            if side.is_file() and (owner := other_user(side, place)):
                raise RasterError(
                    f"{place}: has no georeference, and {side.name} beside it, which {owner.name} is read with, would "
                    "give it one; choose another name"
                )


def layouts(classes: ClassSet) -> dict[str, tuple[int, str, float]]:
    """Bands, dtype and nodata value of each kind of output."""
    return {
        "mask": (1, "uint8", NODATA),
        "confidence": (1, "uint8", NODATA),
        "scores": (len(classes), "float32", np.nan),
    }


def label(kind: str, path: Path, classes: ClassSet, tags: Mapping[str, str]) -> None:
    """Gives a file just written its colours, descriptions and tags."""
    with quietly(), rasterio.open(path, "r+") as ds:
        ds.update_tags(TIFFTAG_SOFTWARE=f"segearth {tags.get('SEGEARTH_VERSION', '')}".strip(), **tags)
        if kind == "mask":
            ds.update_tags(**{CLASSES_TAG: to_tag(classes)})
            colours = {code: (*colour, 255) for code, colour in enumerate(classes.colors)}
            ds.write_colormap(1, {**colours, NODATA: (0, 0, 0, 0)})
            ds.set_band_description(1, "class")
        elif kind == "confidence":
            ds.update_tags(1, scale=str(1 / CONFIDENCE_SCALE))
            ds.scales = (1 / CONFIDENCE_SCALE,)
            ds.set_band_description(1, "probability of the winner")
        else:
            ds.descriptions = classes.names
            ds.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (ds.count - 1)


def write_cog(kind: str, source: str | Path, target: Path, compress: str) -> None:
    """Copies a raster, with its tags and colours, as a cloud-optimised GeoTIFF with overviews."""
    with quietly():
        rasterio.shutil.copy(
            source, target, driver="COG", compress=compress, blocksize=BLOCK, sparse_ok=True, bigtiff="if_safer",
            overviews="ignore_existing", overview_resampling="mode" if kind == "mask" else "average", num_threads=2,
        )  # fmt: skip


def _build_overviews(kind: str, path: Path) -> None:
    with quietly(), rasterio.open(path, "r+") as ds:  # opened anew, so that GDAL knows the palette
        if factors := [2**i for i in range(1, 16) if max(ds.shape) / 2 ** (i - 1) > OVERVIEW_BELOW]:
            ds.build_overviews(factors, Resampling.mode if kind == "mask" else Resampling.average)
