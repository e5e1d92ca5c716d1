"""A mask of any size to a folder of GeoParquet: a block at a time, then what the seams between blocks cut."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.disk import temporary_folder
from segearth_cli.errors import UsageError
from segearth_cli.files import replacing_all
from segearth_cli.progress import progress
from segearth_cli.raster import (
    Ground,
    Recoding,
    Window,
    blocks,
    check_still,
    mask_windows,
    read_mask,
    size_of,
    stem,
    take_seal,
)
from segearth_cli.vector.features import FeatureBatch, Write
from segearth_cli.vector.layers import opened
from segearth_cli.vector.mask_to_vector import (
    Vectorized,
    check_confidence,
    count,
    features_of,
    layer_of,
    read_weights,
)
from segearth_cli.vector.options import VectorizeOptions
from segearth_cli.vector.polygons import Shapes, polygons
from segearth_cli.vector.seams import Seams
from segearth_cli.vector.strips import Strip

SIDE = 4096  # pixels of a block
ROWS = 256  # of a strip within a block
SEAMS = "seams.parquet"
_BEYOND = ("min_area", "fill_holes", "simplify", "smooth", "regularize", "dissolve")  # what a block alone cannot do


def partitions(mask: str, folder: Path, side: int = SIDE) -> list[Path]:
    """The files of a folder that `vectorize_partitioned` writes: one a row of blocks, and that of the seams."""
    return [*(folder / f"r{row:05d}.parquet" for row in range(-(-size_of(mask)[0] // side))), folder / SEAMS]


def refuse_beyond(options: VectorizeOptions) -> None:
    """Raises UsageError for options that look further than a block."""
    asked = [f"--{name.replace('_', '-')}" for name in _BEYOND if getattr(options, name)]
    if asked := asked + ["--connectivity 8"] * (options.connectivity == 8):
        raise UsageError(f"--partitioned: not with {', '.join(asked)}, for which the whole mask must be looked at")


def vectorize_partitioned(path: str, folder: Path, options: VectorizeOptions, side: int = SIDE) -> Vectorized:
    """Writes the classes of a mask as polygons into files of a folder (`partitions`), which is there.

    The polygons are those of `vectorize`, but that a region of more points than `seams.LARGEST` stays in the parts that
    seams cut it into: they share a number in `part_of`. side: of a block, in pixels. Raises as `vectorize`.
    """
    refuse_beyond(options)
    started = time.monotonic()
    sealed = [(name, take_seal(str(name))) for name in (path, options.confidence) if name]
    mask, counts = read_mask(path), dict[str, int]()
    kept = None if options.classes is None else mask.codes(options.classes)
    if options.confidence:
        check_confidence(options.confidence, mask)
    ground, recode = Ground(mask.frame, mask.path), Recoding(mask, kept)
    if not ground.placement.straight:
        raise UsageError(f"--partitioned: {path} is placed by points; gdalwarp it first")
    layer = layer_of(mask, kept, ground, folder / SEAMS, options)
    layer = replace(layer, fields=(*layer.fields, "part_of"))
    weights = 2 if options.confidence else 0
    names = partitions(path, folder, side)
    every = [*blocks(Window(0, 0, mask.height, mask.width), side, side)]
    with ExitStack() as stack:
        held = stack.enter_context(temporary_folder())
        temporaries = stack.enter_context(replacing_all(names))
        read = stack.enter_context(mask_windows(mask))
        done = stack.enter_context(progress(stem(path), len(every), unit="block", quiet=options.quiet))
        seams = Seams(held / "parts", mask.height, mask.width)

        def strips(block: Window) -> Iterator[Strip]:
            for top in range(block.row, block.bottom, options.rows or ROWS):
                part = Window(top, block.col, min(options.rows or ROWS, block.bottom - top), block.width)
                yield recode(*read(part)), read_weights(options.confidence, part) if options.confidence else None

        def put(write: Write, found: Shapes, part_of: NDArray[np.int64]) -> None:
            if not len(found):
                return
            placed = Shapes(ground.to_map(found.geometry), recode.codes(found.code), found.sums)
            features = features_of(placed, mask, ground, options)
            write(FeatureBatch(features.geometry, {**features.columns, "part_of": part_of}))
            count(counts, features.columns["class"])

        rows = groupby(every, key=lambda block: block.row)
        for (_, row), name, temporary in zip(rows, names[:-1], temporaries[:-1], strict=True):
            with opened(name, temporary, layer) as write:
                for block in row:
                    seams.begin(block)
                    for batch in polygons(strips(block), block.width, recode.dtype, weights=weights):
                        if len(batch):
                            whole = seams.take(_moved(batch, block))
                            put(write, whole, np.zeros(len(whole), np.int64))
                    seams.end()
                    done(1)
        with opened(names[-1], temporaries[-1], layer) as write:
            for joined in seams.joined():
                put(write, joined.shapes, joined.part_of)
        for source, seal in sealed:
            check_still(str(source), seal)
    return Vectorized(folder, counts, time.monotonic() - started)


def _moved(batch: Shapes, block: Window) -> Shapes:
    """The shapes of a block in pixels of the whole mask."""
    corner = np.array([block.col, block.row])
    geometry = shapely.transform(batch.geometry, lambda xy: xy + corner)
    return replace(batch, geometry=np.asarray(geometry, object))
