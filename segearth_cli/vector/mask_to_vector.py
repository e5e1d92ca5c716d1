"""The workflow of `segearth vectorize`: a mask file becomes a vector file."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from segearth_cli.console import note
from segearth_cli.disk import temporary_folder
from segearth_cli.errors import UsageError
from segearth_cli.progress import Extent, progress
from segearth_cli.raster import (
    PLACED_BY,
    MaskFile,
    Recoding,
    Window,
    ground_area,
    made_of,
    mask_strips,
    stem,
)
from segearth_cli.vector.clean import filled, sieved
from segearth_cli.vector.diagonals import joined_diagonally
from segearth_cli.vector.dissolve import Dissolved
from segearth_cli.vector.drawing import Drawing, add_counts
from segearth_cli.vector.features import FeatureBatch
from segearth_cli.vector.layers import driver, writing
from segearth_cli.vector.options import Format, VectorizeOptions
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
    drawing = Drawing.of(str(path), options)
    _notes(drawing, out)
    counts: dict[str, int] = {}
    with temporary_folder() as folder:
        drawing = replace(drawing, mask=_cleaned(drawing, folder))
        shapes, layer = ahead(_shapes(drawing, label=stem(str(path)))), drawing.layer(out)
        with writing(out, layer) as write, closing(shapes):
            for features in _features(shapes, drawing, folder):
                codes = np.unique(features.columns["class_id"]).tolist()
                layer.colors.update((drawing.mask.name(code), drawing.mask.color(code)) for code in codes)
                write(features)
                add_counts(counts, features.columns["class"])
            drawing.check_still()
    return Vectorized(out, counts, time.monotonic() - started)


def _notes(drawing: Drawing, out: Path) -> None:
    mask, ground = drawing.mask, drawing.ground
    if drawing.options.quiet:
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


def _cleaned(drawing: Drawing, folder: Path) -> MaskFile:
    """The mask without small pieces and small holes, as a raster in `folder`."""
    mask, ground, options = drawing.mask, drawing.ground, drawing.options
    rows = options.rows or mask.rows
    if options.min_area:
        size = int(min(np.ceil(ground.pixels(options.min_area) * (1 - 1e-12)), mask.height * mask.width))
        if size > 1:  # else no piece is smaller
            mask = sieved(mask, size, options.connectivity, folder, rows)
    if options.fill_holes:
        mask = filled(mask, drawing.kept, ground.pixels(options.fill_holes), folder, rows)
    return mask


def _shapes(drawing: Drawing, label: str) -> Iterable[Shapes]:
    """Shapes in map coordinates, in batches."""
    mask, ground, options = drawing.mask, drawing.ground, drawing.options
    recode = Recoding(mask, drawing.kept)
    rows = options.rows or max(1, mask.rows // (_HELD_TWICE if options.smooth or options.simplify else 1))
    extent = Extent(mask.height * mask.width, ground_area(mask.frame))
    with progress(label, mask.height, unit="row", extent=extent, quiet=options.quiet) as done:

        def strips() -> Iterator[Strip]:
            above = 0
            for codes, data in mask_strips(mask, rows):
                strip = Window(above, 0, len(codes), mask.width)
                above += len(codes)
                yield recode(codes, data), drawing.weights_in(strip)
                done(len(codes))

        place = None if options.regularize else ground.placement  # else moved when it is reshaped
        eight = options.connectivity == 8 and not options.dissolve
        bent = not ground.placement.straight  # a border that bends on the map needs points where others branch off
        smoother = smoothed if options.smooth else with_nodes if bent and not options.simplify else None
        form: dict[str, Any] = {"smoother": smoother, "place": place, "touches": eight}
        form["weights"] = drawing.weights
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


def _features(batches: Iterable[Shapes], drawing: Drawing, folder: Path) -> Iterator[FeatureBatch]:
    """The features of a layer; those of one class in one wait in `folder` for their parts."""
    if not drawing.options.dissolve:
        yield from (drawing.features(batch) for batch in batches if len(batch))
        return
    classes = Dissolved(folder, 2 + drawing.weights)
    for batch in batches:
        if len(batch):
            measured = drawing.ground.measure(batch.geometry)
            classes.add(batch.geometry, batch.code, np.column_stack([*measured, batch.sums]))
    for code, whole, total in classes:
        yield drawing.described(np.array([whole], object), np.array([code]), total[None])


def output_path(mask: str, out: Path | None, suffix: str | None, *, several: bool) -> Path:
    """Where the polygons of a mask go (`made_of`); where `suffix` says the format, a file's name is completed by it.

    Raises UsageError when one file is named for several masks, or with the suffix of another format.
    """
    ending = "." + suffix.casefold().lstrip(".") if suffix else ".gpkg"
    if suffix and out is not None and not (several or out.is_dir() or out.suffix.casefold() == ending):
        if out.suffix.casefold().lstrip(".") in get_args(Format):
            mends = f"name it {out.stem}{ending}, or leave --format out"
            raise UsageError(f"--out {out}: no name for --format {suffix}; {mends}")
        out = out.with_name(out.name + ending)
    return made_of(mask, out, ending, several=several)
