"""The workflow of `segearth vectorize`: a mask file becomes a vector file."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.console import note
from segearth_cli.disk import temporary_folder
from segearth_cli.errors import UsageError
from segearth_cli.progress import Extent, progress
from segearth_cli.raster import (
    PLACED_BY,
    Ground,
    MaskFile,
    Recoding,
    Window,
    check_still,
    ground_area,
    made_of,
    mask_strips,
    open_dataset,
    read_confidence,
    read_mask,
    same_pixels,
    stem,
    take_seal,
)
from segearth_cli.vector.clean import filled, sieved
from segearth_cli.vector.diagonals import joined_diagonally
from segearth_cli.vector.dissolve import Dissolved
from segearth_cli.vector.features import FIELDS, FeatureBatch, VectorLayer
from segearth_cli.vector.layers import driver, writing
from segearth_cli.vector.options import VectorizeOptions
from segearth_cli.vector.polygons import Shapes, polygons, with_right_angles
from segearth_cli.vector.read_ahead import ahead
from segearth_cli.vector.reshape import smoothed, with_nodes
from segearth_cli.vector.simpler import simple_polygons
from segearth_cli.vector.strips import Strip

_SHAPEFILE_TEXT = 254  # bytes of UTF-8
_HELD_TWICE = 4  # so much lower are strips whose borders are held twice, to be simplified or with four points for one
_TOLD = 40  # characters of a name that is cut


@dataclass(frozen=True, slots=True)
class Vectorized:
    """What was written."""

    path: Path
    """The vector file."""
    polygons: dict[str, int]
    """Number of features of each class, by name; classes without any are left out."""
    seconds: float
    """Wall-clock time."""


def vectorize(path: str | Path, out: Path, options: VectorizeOptions | None = None) -> Vectorized:
    """Write the classes of the mask `path` as polygons to `out`, in the format of its suffix; an old file is replaced.

    Raises RasterError for a mask that cannot be read, VectorError for a file that cannot be written, UsageError.
    """
    options = options or VectorizeOptions()
    started = time.monotonic()
    driver(out)
    sealed = [(name, take_seal(str(name))) for name in (path, options.confidence) if name]
    mask = read_mask(str(path))
    kept = None if options.classes is None else mask.codes(options.classes)
    if options.confidence:
        check_confidence(options.confidence, mask)
    ground = Ground(mask.frame, mask.path)
    _notes(mask, ground, out, options)
    counts: dict[str, int] = {}
    with temporary_folder() as folder:
        mask = _cleaned(mask, kept, ground, options, folder)
        drawn = ahead(_drawn(mask, kept, ground, options, label=stem(str(path))))
        layer = layer_of(mask, kept, ground, out, options)
        with writing(out, layer) as write, closing(drawn):
            for features in _features(drawn, mask, ground, options, folder):
                codes = np.unique(features.columns["class_id"]).tolist()
                layer.colors.update((mask.name(code), mask.color(code)) for code in codes)
                write(features)
                count(counts, features.columns["class"])
            for name, seal in sealed:
                check_still(str(name), seal)
    return Vectorized(out, counts, time.monotonic() - started)


def _notes(mask: MaskFile, ground: Ground, out: Path, options: VectorizeOptions) -> None:
    if options.quiet:
        return
    if ground.crs is None:
        note(f"{mask.path}: no CRS; coordinates, areas and lengths are in the units of its transform")
    if not ground.placement.straight:
        by = PLACED_BY[ground.placement.kind]
        note(f"{mask.path}: polygons are placed by its {by}; gdalwarp the mask first for another way")
    if out.suffix.casefold() == ".shp":
        note(f"{out}: Shapefile names have ten characters at most: perimeter_m is called perim_m")
        if cut := [name for name in mask.names.values() if len(name.encode()) > _SHAPEFILE_TEXT]:
            told = f"{cut[0][:_TOLD]}... is cut; class_id tells classes apart"
            note(f"{out}: Shapefile texts have {_SHAPEFILE_TEXT} bytes at most: {told}")


def _cleaned(
    mask: MaskFile, kept: frozenset[int] | None, ground: Ground, options: VectorizeOptions, folder: Path
) -> MaskFile:
    """The mask without small pieces and small holes, as a raster in `folder`."""
    rows = options.rows or mask.rows
    if options.min_area:
        size = int(min(np.ceil(ground.pixels(options.min_area) * (1 - 1e-12)), mask.height * mask.width))
        if size > 1:  # else no piece is smaller
            mask = sieved(mask, size, options.connectivity, folder, rows)
    if options.fill_holes:
        mask = filled(mask, kept, ground.pixels(options.fill_holes), folder, rows)
    return mask


def _drawn(
    mask: MaskFile, kept: frozenset[int] | None, ground: Ground, options: VectorizeOptions, label: str
) -> Iterable[Shapes]:
    """Shapes in map coordinates, in batches."""
    recode = Recoding(mask, kept)
    rows = options.rows or max(1, mask.rows // (_HELD_TWICE if options.smooth or options.simplify else 1))
    extent = Extent(mask.height * mask.width, ground_area(mask.frame))
    with progress(label, mask.height, unit="row", extent=extent, quiet=options.quiet) as done:

        def strips() -> Iterator[Strip]:
            above = 0
            for codes, data in mask_strips(mask, rows):
                strip = Window(above, 0, len(codes), mask.width)
                weights = read_weights(options.confidence, strip) if options.confidence else None
                above += len(codes)
                yield recode(codes, data), weights
                done(len(codes))

        place = None if options.regularize else ground.placement  # else moved when it is reshaped
        eight = options.connectivity == 8 and not options.dissolve
        bent = not ground.placement.straight  # a border that bends on the map needs points where others branch off
        smoother = smoothed if options.smooth else with_nodes if bent and not options.simplify else None
        form: dict[str, Any] = {"smoother": smoother, "place": place, "touches": eight}
        form["weights"] = 2 if options.confidence else 0
        batches: Iterable[Shapes]
        if options.simplify:
            size, tolerance = (mask.height, mask.width), ground.pixels(options.simplify)
            batches = simple_polygons(strips(), *size, recode.dtype, tolerance, **form)
        else:
            batches = polygons(strips(), mask.width, recode.dtype, **form)
        if options.regularize:
            batches = with_right_angles(batches)
        if eight:
            batches = joined_diagonally(batches)
        for batch in batches:
            geometry = ground.to_map(batch.geometry) if place is None else batch.geometry
            yield Shapes(geometry, recode.codes(batch.code), batch.sums)


def layer_of(
    mask: MaskFile, kept: frozenset[int] | None, ground: Ground, out: Path, options: VectorizeOptions
) -> VectorLayer:
    """What a layer of a mask's polygons is called, and what its features are described by."""
    left_out = {"part_of", "color"} | (set() if options.confidence else {"confidence"})
    fields = tuple(name for name in FIELDS if name not in left_out)
    multi = options.dissolve or options.connectivity == 8
    codes = sorted(kept if kept is not None else mask.names.keys() - {mask.background, mask.nodata})
    colors = {mask.name(code): mask.color(code) for code in codes}
    pixel = float(np.sqrt(abs(np.linalg.det(ground.placement.pixel))))
    crs = ground.placement.crs.to_wkt() if ground.placement.crs else None
    kind = "MultiPolygon" if multi else "Polygon"
    return VectorLayer(out.stem, crs, kind, fields, colors, pixel, mask.tags | options.tags())


def _features(
    batches: Iterable[Shapes], mask: MaskFile, ground: Ground, options: VectorizeOptions, folder: Path
) -> Iterator[FeatureBatch]:
    """The features of a layer; those of one class in one wait in `folder` for their parts."""
    if not options.dissolve:
        yield from (features_of(batch, mask, ground, options) for batch in batches if len(batch))
        return
    classes = Dissolved(folder, 4 if options.confidence else 2)
    for batch in batches:
        if len(batch):
            classes.add(batch.geometry, batch.code, np.column_stack([*ground.measure(batch.geometry), batch.sums]))
    for code, whole, total in classes:
        yield _described(np.array([whole], object), np.array([code]), total[None], mask, options)


def features_of(batch: Shapes, mask: MaskFile, ground: Ground, options: VectorizeOptions) -> FeatureBatch:
    """Polygons with what each is described by: class, area and perimeter on the ground, mean confidence if asked."""
    geometry = _multi(batch.geometry) if options.connectivity == 8 else batch.geometry
    values = np.column_stack([*ground.measure(geometry), batch.sums])
    return _described(geometry, batch.code, values, mask, options)


def _described(
    geometry: NDArray[Any],
    code: NDArray[np.int64],
    values: NDArray[np.float64],
    mask: MaskFile,
    options: VectorizeOptions,
) -> FeatureBatch:
    """Features of geometries (F,), codes and values (F, 2 or 4): area, perimeter, sums of confidence and of pixels."""
    names = {one: mask.name(one) for one in np.unique(code).tolist()}
    columns: dict[str, NDArray[Any]] = {
        "class_id": code,
        "class": np.array([names[one] for one in code.tolist()], object),
        "area_m2": values[:, 0],
        "perimeter_m": values[:, 1],
    }
    if options.confidence:
        total, count = values[:, 2:].T
        columns["confidence"] = np.round(np.divide(total, count, out=np.zeros_like(total), where=count > 0), 6)
    return FeatureBatch(geometry, columns)


def _multi(geometry: NDArray[Any]) -> NDArray[Any]:
    """All geometries as multipolygons."""
    single = shapely.get_type_id(geometry) == shapely.GeometryType.POLYGON
    many = geometry.copy()
    if single.any():
        many[single] = shapely.multipolygons(geometry[single], indices=np.arange(int(single.sum())))
    return many


def count(counts: dict[str, int], names: NDArray[Any]) -> None:
    """Adds the polygons of each class, from the class of each, to counts."""
    for name, n in zip(*np.unique(names.astype(str), return_counts=True), strict=True):
        counts[str(name)] = counts.get(str(name), 0) + int(n)


def check_confidence(path: Path, mask: MaskFile) -> None:
    """Raises UsageError where a confidence raster is not of the mask's pixels."""
    with open_dataset(path) as ds:
        if ds.count != 1 or "complex" in ds.dtypes[0] or not same_pixels(mask.frame, ds):
            raise UsageError(f"--confidence {path}: need one band of real values on the same pixels as {mask.path}")


def read_weights(path: Path, window: Window) -> NDArray[np.float64]:
    """Confidence and 1 where there is some, (2, h, W), of a window."""
    confidence = read_confidence(path, window)
    return np.stack([np.nan_to_num(confidence), np.isfinite(confidence)])


def output_path(mask: str, out: Path | None, suffix: str | None, *, several: bool) -> Path:
    """Where the polygons of a mask go (`made_of`); where `suffix` says the format, a file's name is completed by it.

    Raises UsageError when one file is named for several masks.
    """
    ending = "." + suffix.casefold().lstrip(".") if suffix else ".gpkg"
    if suffix and out is not None and not (several or out.is_dir() or out.suffix.casefold() == ending):
        out = out.with_name(out.name + ending)
    return made_of(mask, out, ending, several=several)
