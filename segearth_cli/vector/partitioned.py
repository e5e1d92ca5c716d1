"""A mask of any size to a folder of GeoParquet: a block at a time, then what the seams between blocks cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.disk import temporary_folder
from segearth_cli.errors import UsageError
from segearth_cli.files import replacing_all
from segearth_cli.progress import progress
from segearth_cli.raster import (
    Recoding,
    Window,
    blocks,
    mask_windows,
    size_of,
    stem,
)
from segearth_cli.vector.drawing import Drawing, add_counts
from segearth_cli.vector.features import FeatureBatch, Write
from segearth_cli.vector.layers import opened
from segearth_cli.vector.mask_to_vector import Vectorized
from segearth_cli.vector.options import VectorizeOptions
from segearth_cli.vector.polygons import Shapes, polygons
from segearth_cli.vector.seams import Seams
from segearth_cli.vector.strips import Strip

SIDE = 4096  # pixels of a block
ROWS = 256  # of a strip within a block
SEAMS = "seams.parquet"
Read = Callable[[Window], tuple[NDArray[Any], NDArray[np.bool_] | None]]  # codes and data of a window
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
    started, drawing = time.monotonic(), Drawing.of(path, options)
    if not drawing.ground.placement.straight:
        raise UsageError(f"--partitioned: {path} is placed by points; gdalwarp it first")
    layer = drawing.layer(folder / SEAMS)
    layer = replace(layer, fields=(*layer.fields, "part_of"))
    names, mask = partitions(path, folder, side), drawing.mask
    every = [*blocks(Window(0, 0, mask.height, mask.width), side, side)]
    with ExitStack() as stack:
        held = stack.enter_context(temporary_folder())
        temporaries = stack.enter_context(replacing_all(names))
        read = stack.enter_context(mask_windows(mask))
        done = stack.enter_context(progress(stem(path), len(every), unit="block", quiet=options.quiet))
        parts = _Parts(drawing, read, Seams(held / "parts", mask.height, mask.width))
        rows = groupby(every, key=lambda block: block.row)
        for (_, row), name, temporary in zip(rows, names[:-1], temporaries[:-1], strict=True):
            with opened(name, temporary, layer) as write:
                for block in row:
                    parts.draw(block, write)
                    done(1)
        with opened(names[-1], temporaries[-1], layer) as write:
            parts.join(write)
        drawing.check_still()
    return Vectorized(folder, parts.counts, time.monotonic() - started)


class _Parts:
    """The polygons of a mask, drawn block by block.

    read: gives codes and which are data, of a window. counts: polygons of each class so far.
    """

    def __init__(self, drawing: Drawing, read: Read, seams: Seams) -> None:
        self._drawing, self._read, self._seams = drawing, read, seams
        self._recode = Recoding(drawing.mask, drawing.kept)
        self.counts: dict[str, int] = {}

    def draw(self, block: Window, write: Write) -> None:
        """Writes the polygons of a block that no seam cuts."""
        self._seams.begin(block)
        weights = self._drawing.weights
        for batch in polygons(self._strips(block), block.width, self._recode.dtype, weights=weights):
            if len(batch):
                whole = self._seams.take(_moved(batch, block))
                self._put(write, whole, np.zeros(len(whole), np.int64))
        self._seams.end()

    def join(self, write: Write) -> None:
        """Writes the polygons that seams cut, when all blocks are drawn."""
        for joined in self._seams.joined():
            self._put(write, joined.shapes, joined.part_of)

    def _strips(self, block: Window) -> Iterator[Strip]:
        height = self._drawing.options.rows or ROWS
        for strip in blocks(block, height, block.width):
            yield self._recode(*self._read(strip)), self._drawing.weights_in(strip)

    def _put(self, write: Write, found: Shapes, part_of: NDArray[np.int64]) -> None:
        if not len(found):
            return
        geometry = self._drawing.ground.to_map(found.geometry)
        features = self._drawing.features(Shapes(geometry, self._recode.codes(found.code), found.sums))
        write(FeatureBatch(features.geometry, {**features.columns, "part_of": part_of}))
        add_counts(self.counts, features.columns["class"])


def _moved(batch: Shapes, block: Window) -> Shapes:
    """The shapes of a block in pixels of the whole mask."""
    corner = np.array([block.col, block.row])
    geometry = shapely.transform(batch.geometry, lambda xy: xy + corner)
    return replace(batch, geometry=np.asarray(geometry, object))
