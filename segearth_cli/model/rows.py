"""Rows of tiles computed one after the other, and again in the backward pass, so that one row's kernels are held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from segearth_cli.model.tiles import TILE

RowOf = Callable[..., Tensor]  # (row, neighbours, extended, source, spatial, *fixup) -> (B, 8, W rounded up, K)


class Rowwise(torch.autograd.Function):
    """Rows of tiles, computed again one at a time in the backward pass: the kernels of one row are held, not all.

    torch.utils.checkpoint would do, but each of its slices costs a gradient of the whole tensor; here the gradients of
    bands are added in place.
    """

    @staticmethod
    def forward(ctx: Any, row_of: RowOf, bands: list[RowBand], *tensors: Tensor) -> Tensor:
        """All rows, (B, H rounded up, W rounded up, K), of the bands' tensors and those that all rows share."""
        ctx.row_of, ctx.bands = row_of, bands
        ctx.save_for_backward(*tensors)
        return stacked(row_of, bands, tensors[len(bands) :])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the tensors that want one, from that of all rows."""
        bands, tensors, wanted = ctx.bands, ctx.saved_tensors, ctx.needs_input_grad[2:]
        asked = [i for i, want in enumerate(wanted) if want]
        sums = {i: torch.zeros_like(tensors[i]) for i in asked}
        for row in range(len(bands[0].starts)):
            parts = [*(band.at(row) for band in bands), *tensors[len(bands) :]]
            parts = [part.detach().requires_grad_(want) for part, want in zip(parts, wanted, strict=True)]
            with torch.enable_grad():
                out = ctx.row_of(row, *parts)
            above = gradient[:, row * TILE : (row + 1) * TILE]
            for i, grad in zip(asked, torch.autograd.grad(out, [parts[i] for i in asked], above), strict=True):
                (bands[i].cut(sums[i], row) if i < len(bands) else sums[i]).add_(grad)
        return None, None, *(sums.get(i) for i in range(len(tensors)))


def stacked(row_of: RowOf, bands: list[RowBand], shared: Sequence[Tensor]) -> Tensor:
    """All rows of tiles, one after the other: (B, H rounded up, W rounded up, K)."""
    count = len(bands[0].starts)
    return torch.cat([row_of(row, *(band.at(row) for band in bands), *shared) for row in range(count)], dim=1)


def dropout2d_gain(dropout: nn.Module, after: nn.Conv2d, images: Tensor) -> Tensor | None:
    """What a Dropout2d before `after` multiplies each channel of each image by, (B, 1, K); None at inference.

    Drawn once, so that all rows of an image lose the same channels.
    """
    if not dropout.training:
        return None
    ones = images.new_ones(images.shape[0], after.in_channels, 1, 1)
    return cast(Tensor, dropout(ones)).flatten(1).unsqueeze(1)


@dataclass(frozen=True, slots=True)
class RowBand:
    """A tensor of which each row of tiles takes some rows."""

    whole: Tensor
    """(B, H, ...)."""
    starts: list[int]
    """For each row of tiles, its first row of `whole`."""
    height: int
    """How many rows of `whole` a row of tiles takes."""

    def at(self, row: int) -> Tensor:
        """The band of one row of tiles, (B, height, ...)."""
        return self.cut(self.whole, row)

    def cut(self, tensor: Tensor, row: int) -> Tensor:
        """The same band of another tensor."""
        return tensor[:, self.starts[row] : self.starts[row] + self.height]
