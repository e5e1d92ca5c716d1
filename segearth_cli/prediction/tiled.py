"""Scenes cut into tiles, each segmented as a scene of its own; the mask takes each pixel from the tile nearest to it.

Published settings shrink images of a known size: large scenes are cut before, so that they are seen at their scale.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import groupby

import numpy as np

from segearth_cli.classes import NODATA
from segearth_cli.prediction.decision import Decider
from segearth_cli.prediction.plan import Plan, Tile
from segearth_cli.prediction.schedule import Model, Work
from segearth_cli.prediction.segment import segmented_rows
from segearth_cli.prediction.stitch import without_data
from segearth_cli.raster import BLOCK, Rows, Scene, Window, blocks


def finished_rows(
    scene: Scene, plan: Plan, model: Model, queries: int, decide: Decider, work: Work, region: Window
) -> Generator[Rows, None, None]:
    """The finished rows of a region of the output grid, from top to bottom, whether the scene is cut into tiles or not.

    With tiles, memory holds the rows of one row of tiles.
    """
    wanted = plan.wanted(region)
    if wanted is None:
        yield from nothing(region, decide)
    elif wanted == region:
        yield from _finished_rows(scene, plan, model, queries, decide, work, region)
    else:  # what lies around it is not read
        yield from nothing(Window(region.row, region.col, wanted.row - region.row, region.width), decide)
        with closing(_finished_rows(scene, plan, model, queries, decide, work, wanted)) as finished:
            for rows in finished:
                yield _widened(rows, region)
        yield from nothing(Window(wanted.bottom, region.col, region.bottom - wanted.bottom, region.width), decide)


def nothing(region: Window, decide: Decider) -> Iterator[Rows]:
    """The rows of a region without a pixel of data."""
    for part in blocks(region, BLOCK, region.width):
        yield without_data(part, decide)


def _widened(rows: Rows, region: Window) -> Rows:
    """Rows of a part of a region from its left to its right end."""
    window = Window(rows.window.row, region.col, rows.window.height, region.width)
    beside = (0, 0), (rows.window.col - region.col, region.right - rows.window.right)
    scores = None if rows.scores is None else np.pad(rows.scores, ((0, 0), *beside), constant_values=np.nan)
    codes, confidence = (np.pad(band, beside, constant_values=NODATA) for band in (rows.codes, rows.confidence))
    return Rows(window, codes, confidence, scores)


def _finished_rows(
    scene: Scene, plan: Plan, model: Model, queries: int, decide: Decider, work: Work, region: Window
) -> Generator[Rows, None, None]:
    if plan.tile is None:
        yield from segmented_rows(scene, plan, model, queries, decide, work, region)
        return
    for _, band in groupby(plan.tiles(region), key=lambda tile: tile.share.row):
        parts: list[list[Rows]] = []
        for tile in band:
            inner = tile.share.intersection(region)
            if inner is not None:
                parts.append(list(tile_rows(scene, plan, tile, model, queries, decide, work, inner)))
        yield _beside([_stacked(rows) for rows in parts])


def tile_rows(
    scene: Scene, plan: Plan, tile: Tile, model: Model, queries: int, decide: Decider, work: Work, region: Window
) -> Iterator[Rows]:
    """The finished rows of a region of the scene's grid, as one tile that holds it gives them."""
    row, col = tile.window.row, tile.window.col
    within, plan = region.seen_from(row, col), plan.within(tile)
    if plan.wanted(within) is None:
        yield from nothing(region, decide)
        return
    with closing(segmented_rows(scene.part(tile.window), plan, model, queries, decide, work, within)) as finished:
        for rows in finished:
            yield Rows(rows.window.seen_from(-row, -col), rows.codes, rows.confidence, rows.scores)


def _stacked(parts: list[Rows]) -> Rows:
    """Rows of one width as one."""
    return _joined(parts, axis=-2)


def _beside(parts: list[Rows]) -> Rows:
    """Rows of one height as one, from left to right."""
    return _joined(parts, axis=-1)


def _joined(parts: list[Rows], axis: int) -> Rows:
    first, last = parts[0].window, parts[-1].window
    window = Window(first.row, first.col, last.bottom - first.row, last.right - first.col)
    scores = [part.scores for part in parts if part.scores is not None]
    return Rows(
        window,
        np.concatenate([part.codes for part in parts], axis=axis),
        np.concatenate([part.confidence for part in parts], axis=axis),
        np.concatenate(scores, axis=axis) if scores else None,
    )
