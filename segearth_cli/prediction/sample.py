"""Logits of chosen pixels: only the windows that hold one of them are run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segearth_cli.model import Overlap, Segmenter
from segearth_cli.prediction.mosaic import taps
from segearth_cli.prediction.pixels import Strips
from segearth_cli.prediction.plan import KEPT_BYTES, Plan
from segearth_cli.prediction.schedule import Model, WindowBatch, Work, scheduled
from segearth_cli.prediction.segment import alignment, read_cell
from segearth_cli.raster import Chip, Scene, Window, starts, window_weights


def sampled_logits(
    scene: Scene,
    plan: Plan,
    model: Model,
    queries: int,
    places: NDArray[np.int64],
    work: Work,
    chosen: Sequence[Window] | None = None,
) -> NDArray[np.float32]:
    """The mean logits (n, Q) that a mask is decided from, at places (n, 2) of a scene that is not cut into tiles.

    Windows without data are left out, as everywhere. chosen: the windows that are run, row-major; None = all that the
    places are made of. Of a place of which others are made too it is the mean of these; nan where a place needs a
    pixel that none of them holds.
    """
    corners = _Corners.of(plan, places)
    chosen = corners.windows(plan) if chosen is None else chosen
    height, width = min(plan.window, plan.rows), min(plan.window, plan.cols)
    weights = torch.from_numpy(window_weights(height, width, plan.blend)).to(work.device)
    sums = weights.new_zeros(queries, len(corners.pixels))
    counts = weights.new_zeros(len(corners.pixels))
    overlap = Overlap(plan.stride, KEPT_BYTES if plan.window_count() > 1 else 0)
    pixels = torch.from_numpy(corners.pixels)
    few = isinstance(model, Segmenter) and work.beside > 0

    def held(window: Window) -> tuple[Tensor, Tensor]:
        """Which of the pixels a window holds, and where it has them."""
        within = pixels - torch.tensor([window.row, window.col])
        inside = ((within >= 0) & (within < torch.tensor([height, width]))).all(dim=1).nonzero()[:, 0]
        return inside, within[inside]

    def asked() -> Iterator[WindowBatch]:
        for batch in _batches(scene, plan, chosen, work):
            yield replace(batch, pixels=[held(window)[1] for window in batch.windows]) if few else batch

    with closing(scheduled(model, asked(), overlap, work)) as results:
        for batch, logits in results:
            work.computed += len(batch.windows)
            for window, values in zip(batch.windows, chain.from_iterable(logits), strict=True):
                inside, within = (part.to(work.device) for part in held(window))
                row, col = within.unbind(dim=1)
                weight = weights[row, col]
                own = values if few else values[:, row, col]
                sums[:, inside] = torch.addcmul(sums[:, inside], own, weight)
                counts[inside] += weight
            work.progress(len(batch.windows))
    mean = torch.where(counts > 0, sums / counts, torch.nan).cpu()
    found: NDArray[np.float32] = corners.between(mean).T.contiguous().numpy()
    return found


@dataclass(frozen=True, slots=True)
class TilePlaces:
    """Places that are decided in one tile; in the scene itself where it is not cut into tiles."""

    scene: Scene
    """The tile as a scene of its own."""
    plan: Plan
    """How it is cut into windows."""
    which: NDArray[np.int64]
    """Which of all places they are."""
    places: NDArray[np.int64]
    """(n, 2) row and column, in the tile."""


def by_tile(scene: Scene, plan: Plan, places: NDArray[np.int64]) -> list[TilePlaces]:
    """Places (n, 2) of a scene by the tile that decides them, tiles without one left out."""
    if plan.tile is None:
        return [TilePlaces(scene, plan, np.arange(len(places)), places)]
    found = []
    for tile in plan.tiles():
        share, corner = tile.share, (tile.window.row, tile.window.col)
        inside = (places >= (share.row, share.col)) & (places < (share.bottom, share.right))
        if len(which := np.flatnonzero(inside.all(axis=1))):
            found.append(TilePlaces(scene.part(tile.window), plan.of_tile, which, places[which] - corner))
    return found


def windows_at(plan: Plan, places: NDArray[np.int64]) -> list[Window]:
    """The windows of the working grid, row-major, that places (n, 2) of the output are made of."""
    return _Corners.of(plan, places).windows(plan)


@dataclass(frozen=True, slots=True)
class _Corners:
    """The working pixels that places are interpolated between: themselves where the grids are one."""

    pixels: NDArray[np.int64]  # (m, 2), each once
    of_place: Tensor  # (n, 4) into pixels: upper left, upper right, lower left, lower right
    weights: Tensor  # (n, 2) of the lower and of the right ones

    @classmethod
    def of(cls, plan: Plan, places: NDArray[np.int64]) -> _Corners:
        if plan.resampled:
            (top, low, down), (left, right, across) = (
                tuple(t[places[:, axis]] for t in taps(plan.size[axis], size, 0, size))
                for axis, size in enumerate((plan.height, plan.width))
            )
        else:
            top = low = torch.from_numpy(places[:, 0])
            left = right = torch.from_numpy(places[:, 1])
            down = across = torch.zeros(len(places))
        corners = torch.stack(
            [torch.stack(pair, -1) for pair in ((top, left), (top, right), (low, left), (low, right))], 1
        )
        pixels, inverse = np.unique(corners.reshape(-1, 2).numpy(), axis=0, return_inverse=True)
        return cls(pixels, torch.from_numpy(inverse.reshape(-1, 4)), torch.stack([down, across], -1))

    def windows(self, plan: Plan) -> list[Window]:
        """The windows that hold one of the pixels."""
        sides = min(plan.window, plan.rows), min(plan.window, plan.cols)
        held = [
            _holders(np.array(starts(length, plan.window, plan.stride)), side, self.pixels[:, axis])
            for axis, (length, side) in enumerate(zip(plan.size, sides, strict=True))
        ]
        found = {(row, col) for rows, cols in zip(*held, strict=True) for row in rows for col in cols}
        return [Window(row, col, *sides) for row, col in sorted(found)]

    def between(self, values: Tensor) -> Tensor:
        """Values (Q, m) of the pixels, interpolated at the places as `Regrid` does: (Q, n)."""
        upper = torch.lerp(values[:, self.of_place[:, 0]], values[:, self.of_place[:, 1]], self.weights[:, 1])
        lower = torch.lerp(values[:, self.of_place[:, 2]], values[:, self.of_place[:, 3]], self.weights[:, 1])
        return torch.lerp(upper, lower, self.weights[:, 0])


def _holders(offsets: NDArray[np.int64], side: int, at: NDArray[np.int64]) -> list[list[int]]:
    """For each position along an axis, the offsets of the windows that hold it."""
    first, end = np.searchsorted(offsets, at - side, "right"), np.searchsorted(offsets, at, "right")
    return [offsets[a:b].tolist() for a, b in zip(first, end, strict=True)]


def _batches(scene: Scene, plan: Plan, chosen: Sequence[Window], work: Work) -> Iterator[WindowBatch]:
    """The chosen windows that have data, `work.together` at a time."""
    batch = WindowBatch()
    for window in chosen:
        chip = _chip(scene, plan, window)
        if not chip.valid.any():
            work.progress(1)
            continue
        batch.windows.append(window)
        batch.chips.append(chip)
        if len(batch.windows) >= work.together:
            yield batch
            batch = WindowBatch()
    if batch.windows:
        yield batch


def _chip(scene: Scene, plan: Plan, window: Window) -> Chip:
    """The pixels of a window, read in the cells that `segmented_rows` reads in: resampled ones round by these."""
    strips = Strips(
        read=lambda part: read_cell(scene, plan, part),
        rows=[window.row],
        height=window.height,
        left=window.col,
        right=window.right,
        block=alignment(scene, plan),
        threads=1,
    )
    with closing(iter(strips)) as filled:
        return next(filled)[1]
