"""Overlapping windows of logits into one mean, held as a rolling strip on the model's device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    def add(self, windows: Sequence[Window], logits: Tensor) -> None:
        """Add the logits (n, Q, H, W) of windows of one row, left to right; the part outside the region is ignored."""
        region, row = self.region, windows[0].row
        top, bottom = max(row, region.row), min(windows[0].bottom, region.bottom)
        if top < self._top or bottom > self._top + self._sums.shape[1]:
            raise RuntimeError(f"window rows {top}-{bottom} outside the strip that starts at {self._top}")
        inner, outer = slice(top - row, bottom - row), slice(top - self._top, bottom - self._top)
        sums, counts, first = self._sums[:, outer], self._counts[outer], 0
        for end, step, width in _runs(windows, region):
            head, values = windows[first], logits[first:end, :, inner]
            for at in range(head.width - width, -1, -width):  # a pixel gets the window that comes first first
                left, right = max(head.col + at, region.col), min(head.col + at + width, region.right)
                if left < right:
                    own = slice(left - head.col, right - head.col)
                    there = slice(left - region.col, right - region.col + (end - first - 1) * step)
                    weight = self._weights[inner, own].unsqueeze(1)
                    part = values[..., own].permute(1, 2, 0, 3)  # (Q, H, n, W)
                    sums[..., there].unfold(2, right - left, step).addcmul_(part, weight)
                    counts[:, there].unfold(1, right - left, step).add_(weight)
            first = end
        self._filled = max(self._filled, bottom)

    @property
    def device(self) -> torch.device:
        """Where the logits are."""
        return self._sums.device

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


def _runs(windows: Sequence[Window], region: Window) -> Iterator[tuple[int, int, int]]:
    """Windows of one row cut into runs that are added together: the end of each, the step between its windows, and how
    wide a part of all of them can be added at once without two reaching one pixel.
    """
    inside = [region.col <= window.col and window.right <= region.right for window in windows]
    first, width = 0, windows[0].width
    while first < len(windows):
        end = first + 1
        step = windows[end].col - windows[first].col if end < len(windows) else width
        if inside[first] and (step >= width or width % step == 0):
            while end < len(windows) and inside[end] and windows[end].col - windows[end - 1].col == step:
                end += 1
        alone = end == first + 1
        yield end, width if alone else step, width if alone else min(step, width)
        first = end


class Regrid:
    """Mean logits of the working grid to rows of the output grid, bilinearly, as the rows become final.

    size: the working grid; output: the scene's grid; region: of the output; work: of the working grid, all that the
    region needs; device: where logits are. Pixel centres aligned, edges repeated (align_corners=False): equal to
    interpolating the whole array.
    """

    def __init__(
        self, size: tuple[int, int], output: tuple[int, int], region: Window, work: Window, device: torch.device
    ):
        self._rows = taps(size[0], output[0], region.row, region.bottom)
        low, high, self._col_weights = taps(size[1], output[1], region.col, region.right)
        self._cols = low - work.col, high - work.col
        self._there = [part.to(device) for part in (*self._cols, self._col_weights, *self._rows)]
        self._held: Tensor | None = None
        self._top = work.row  # working row of the first row held
        self._done = 0  # output rows given so far

    def push(self, rows: Tensor, *, limit: int) -> Iterator[Tensor]:
        """Take the next working rows (Q, n, w); give the output rows (Q, m, W) now known, at most `limit` at a time."""
        low, high, weight = self._there[:3]
        with stage("stitch"):
            wide = torch.lerp(rows[..., low], rows[..., high], weight)
            self._held = wide if self._held is None else torch.cat([self._held, wide], dim=1)
        known = int((self._rows[1] < self._top + self._held.shape[1]).sum())
        while self._done < known:
            end = min(known, self._done + limit)
            low, high, weight = (part[self._done : end] for part in self._there[3:])
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
