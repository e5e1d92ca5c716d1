"""Overlapping windows of logits into one mean, held as a rolling strip on the model's device."""

from __future__ import annotations

import torch
from torch import Tensor

from segearth_cli.grid import Window


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
        self._top = region.row  # grid row of the strip's first row

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
        self._sums[:, outer[0], outer[1]] += logits[:, inner[0], inner[1]] * weight
        self._counts[outer] += weight

    def release(self, row: int) -> Tensor:
        """The mean logits (Q, n, W) of the rows above `row` that were not released yet; pixels without a window are 0."""
        n = min(row, self.region.bottom) - self._top
        if n <= 0:
            return self._sums[:, :0]
        height = self._sums.shape[1]
        mean = self._sums[:, :n] / self._counts[:n].clamp(min=torch.finfo(torch.float32).tiny)
        if n > height:  # rows that no window reached
            mean = torch.cat([mean, mean.new_zeros(mean.shape[0], n - height, mean.shape[2])], dim=1)
        self._sums = torch.cat([self._sums[:, n:], torch.zeros_like(self._sums[:, :n])], dim=1)
        self._counts = torch.cat([self._counts[n:], torch.zeros_like(self._counts[:n])])
        self._top += n
        return mean
