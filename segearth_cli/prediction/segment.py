"""The finished rows of a region: windows read, run through the model, stitched and decided, from top to bottom."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Generator
from contextlib import closing
from itertools import groupby, islice

import numpy as np
import torch
from numpy.typing import NDArray

from segearth_cli.clock import counted
from segearth_cli.model import Overlap
from segearth_cli.prediction.decision import Decider
from segearth_cli.prediction.mosaic import Mosaic
from segearth_cli.prediction.pixels import Strips
from segearth_cli.prediction.plan import KEPT_BYTES, Plan
from segearth_cli.prediction.schedule import Model, WindowBatch, Work, scheduled
from segearth_cli.prediction.sent import SentStrip
from segearth_cli.prediction.stitch import Later, Stitcher
from segearth_cli.raster import Chip, Rows, Scene, Window, window_weights


def segmented_rows(
    scene: Scene, plan: Plan, model: Model, queries: int, decide: Decider, work: Work, region: Window | None = None
) -> Generator[Rows, None, None]:
    """The finished rows of a region of the output grid (all of it without one), from top to bottom.

    Runs every window that wanted pixels of the region are made of and holds one strip of windows, so that neither the
    result depends on how a scene is cut into regions nor the memory on its height.
    """
    region = region or plan.whole
    part = plan.working_region(region)
    rows, cols = plan.window_grid(region)
    needed = plan.needed(rows, cols)
    height, width = min(plan.window, plan.rows), min(plan.window, plan.cols)
    strips = Strips(
        read=lambda cell: read_cell(scene, plan, cell) if _asked(cell, needed, rows, cols, plan) else _nothing(cell),
        rows=rows,
        height=height,
        left=cols[0],
        right=cols[-1] + width,
        block=alignment(scene, plan),
        threads=work.threads,
    )
    weights = torch.from_numpy(window_weights(height, width, plan.blend)).to(work.device)
    stitcher = Stitcher(scene, plan, region, Mosaic(queries, part, weights), strips, decide)
    late: deque[Later] = deque()
    overlap = Overlap(plan.stride, KEPT_BYTES if plan.window_count() > 1 else 0)
    with (  # no thread goes on when something fails
        closing(_batches(strips, needed, cols, height, width, work)) as batches,
        closing(scheduled(model, batches, overlap, work)) as results,
    ):
        for batch, logits in results:
            work.computed += len(batch.windows)
            earlier = len(late)
            late.extend(stitcher.finish(batch.row))
            windows = iter(batch.windows)
            for some in logits:
                first = 0
                for row, along in groupby(islice(windows, len(some)), key=lambda window: window.row):
                    late.extend(stitcher.finish(row))
                    together = list(along)
                    stitcher.mosaic.add(together, some[first : first + len(together)])
                    first += len(together)
            work.progress(len(batch.windows))
            for _ in range(earlier):  # came over while this batch was given to the device, which is not waited for
                yield late.popleft()()
    late.extend(stitcher.finish(part.bottom))
    while late:
        yield late.popleft()()
    work.waited += strips.waited


def _batches(
    strips: Strips, needed: NDArray[np.bool_], cols: list[int], height: int, width: int, work: Work
) -> Generator[WindowBatch, None, None]:
    """Windows with data that are needed, (rows, cols), in row-major order, `work.together` at a time."""
    batch, sent = WindowBatch(), None if work.device.type == "cpu" else SentStrip(work.device)
    with closing(iter(strips)) as filled:
        for (row, strip), run in zip(filled, needed, strict=True):
            if not run.any() or not strip.valid.any():  # what is held for the rows above can be let go
                if batch.windows:
                    yield batch
                batch = WindowBatch()
                yield WindowBatch(row)
                work.progress(int(run.sum()))
                continue
            if sent is not None:
                sent.move(row, strip)
            for col in np.array(cols)[run].tolist():
                inner = slice(col - strips.left, col - strips.left + width)
                valid = strip.valid[:, inner]
                if not valid.any():
                    work.progress(1)
                    continue
                batch.windows.append(Window(row, col, height, width))
                own = Chip(strip.image[:, :, inner], valid)
                batch.chips.append(own if sent is None else sent.chip(inner, whole=bool(valid.all())))
                if len(batch.windows) >= work.together:
                    yield batch
                    batch = WindowBatch()
    if batch.windows:
        yield batch


def _asked(cell: Window, needed: NDArray[np.bool_], rows: list[int], cols: list[int], plan: Plan) -> bool:
    """Whether a window that is needed lies over a cell of the working grid."""
    first = bisect_right(rows, cell.row - plan.window), bisect_right(cols, cell.col - plan.window)
    end = bisect_left(rows, cell.bottom), bisect_left(cols, cell.right)
    return bool(needed[first[0] : end[0], first[1] : end[1]].any())


def _nothing(cell: Window) -> Chip:
    """Pixels that nobody looks at, without reading them."""
    shape = cell.height, cell.width
    return Chip(np.zeros((3, *shape), np.uint8), np.zeros(shape, bool))


@counted("read")
def read_cell(scene: Scene, plan: Plan, window: Window) -> Chip:
    """The pixels of a window, which lies within one cell of `alignment`.

    Resampled, the whole cell is computed: a product of matrices rounds by their shapes, which the cut must not change.
    """
    if not plan.resampled:
        return scene.read(window)
    rows, cols = alignment(scene, plan)
    top, left = window.row // rows * rows, window.col // cols * cols
    cell = Window(top, left, min(rows, plan.rows - top), min(cols, plan.cols - left))
    chip = scene.read(cell, plan.size)
    inner = Window(window.row - top, window.col - left, window.height, window.width).slices
    return Chip(chip.image[:, inner[0], inner[1]], chip.valid[inner])


def alignment(scene: Scene, plan: Plan) -> tuple[int, int]:
    """Rows and columns that reads are aligned to: the file's blocks where it is read as it is and they are moderate."""
    if plan.resampled:
        return max(64, min(256, plan.window)), 1024
    rows, cols = scene.block
    rows = rows * max(1, 128 // rows) if rows <= 1024 else 256
    return rows, cols * max(1, 2048 // cols)
