"""Overlapping windows of logits into one mean, held as a rolling strip on the model's device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from segearth_cli.clock import counted, stage
from segearth_cli.raster import Window


class Mosaic:
    """The weighted mean of window logits over a region, released from the top as rows become final.

    Windows must come in row-major order: then no later window reaches above the next one's first row. The strip holds
    as many rows as a window is high, whatever the height of the region. Adding in that order, pixel by pixel, makes the
    sums independent of how a region was cut out of its grid.
    """

    def __init__(self, queries: int, region: Window, weights: Tensor):
        self.region = region
        self._weights = weights  # (S, S), how much each pixel of a window counts
        self._sums = weights.new_zeros(queries, weights.shape[0], region.width)
        self._counts = weights.new_zeros(weights.shape[0], region.width)
        self._top = self._filled = region.row  # grid row of the strip's first row

    @counted("stitch")
    def add(self, window: Window, logits: Tensor) -> None:
        """Add the logits (Q, H, W) of a window; the part outside the region is ignored."""
        region = self.region
        top, bottom = max(window.row, region.row), min(window.bottom, region.bottom)
        left, right = max(window.col, region.col), min(window.right, region.right)
        if top < self._top or bottom > self._top + self._sums.shape[1]:
            raise RuntimeError(f"window rows {top}-{bottom} outside the strip that starts at {self._top}")
        inner = slice(top - window.row, bottom - window.row), slice(left - window.col, right - window.col)
        outer = slice(top - self._top, bottom - self._top), slice(left - region.col, right - region.col)
        weight = self._weights[inner]
        self._sums[:, outer[0], outer[1]].addcmul_(logits[:, inner[0], inner[1]], weight)
        self._counts[outer] += weight
        self._filled = max(self._filled, bottom)

    @property
    def top(self) -> int:
        """The first row that was not released yet."""
        return self._top

    @property
    def filled(self) -> int:
        """The first row that no window has reached so far."""
        return self._filled

    @counted("stitch")
    def release(self, row: int) -> Tensor:
        """The mean logits (Q, n, W) of the rows above `row` that were not released yet; zeros where no window was.

        Those are at most as many rows as a window is high.
        """
        n = min(row, self.region.bottom) - self._top
        if not 0 <= n <= self._sums.shape[1]:
            raise RuntimeError(f"cannot release {n} rows of a strip of {self._sums.shape[1]}")
        mean = self._sums[:, :n] / self._counts[:n].clamp(min=torch.finfo(torch.float32).tiny)
        self._sums = torch.cat([self._sums[:, n:], torch.zeros_like(self._sums[:, :n])], dim=1)
        self._counts = torch.cat([self._counts[n:], torch.zeros_like(self._counts[:n])])
        self._top += n
        return mean

    def skip(self, row: int) -> None:
        """Pass over rows that no window reached. Call only when `top` is at or below `filled`."""
        self._top = max(self._top, min(row, self.region.bottom))


class Regrid:
    """Mean logits of the working grid to rows of the output grid, bilinearly, as the rows become final.

    size: the working grid; output: the scene's grid; region: of the output; work: of the working grid, all that the
    region needs. Pixel centres aligned, edges repeated (align_corners=False): equal to interpolating the whole array.
    """

    def __init__(self, size: tuple[int, int], output: tuple[int, int], region: Window, work: Window):
        self._rows = taps(size[0], output[0], region.row, region.bottom)
        low, high, self._col_weights = taps(size[1], output[1], region.col, region.right)
        self._cols = low - work.col, high - work.col
        self._held: Tensor | None = None
        self._top = work.row  # working row of the first row held
        self._done = 0  # output rows given so far

    def push(self, rows: Tensor, *, limit: int) -> Iterator[Tensor]:
        """Take the next working rows (Q, n, w); give the output rows (Q, m, W) now known, at most `limit` at a time."""
        low, high = (taps.to(rows.device) for taps in self._cols)
        weight = self._col_weights.to(rows.device)
        with stage("stitch"):
            wide = torch.lerp(rows[..., low], rows[..., high], weight)
            self._held = wide if self._held is None else torch.cat([self._held, wide], dim=1)
        known = int((self._rows[1] < self._top + self._held.shape[1]).sum())
        while self._done < known:
            end = min(known, self._done + limit)
            low, high, weight = (taps[self._done : end].to(rows.device) for taps in self._rows)
            with stage("stitch"):
                upper, lower = self._held[:, low - self._top], self._held[:, high - self._top]
                mixed = torch.lerp(upper, lower, weight[:, None])
            yield mixed
            self._done = end
        keep = self._top + self._held.shape[1]
        if self._done < len(self._rows[0]):
            # where working rows outnumber output rows, the next one needed may be still to come
            keep = min(keep, int(self._rows[0][self._done]))
        self._held = self._held[:, keep - self._top :]
        self._top = keep


def taps(source: int, target: int, first: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
    """For target positions first..end-1 of one axis: the two source positions and the weight of the second."""
    place = ((torch.arange(first, end, dtype=torch.float64) + 0.5) * (source / target) - 0.5).clamp(min=0)
    low = place.floor().long().clamp(max=source - 1)
    return low, (low + 1).clamp(max=source - 1), (place - low).float()
