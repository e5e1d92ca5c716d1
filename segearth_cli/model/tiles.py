"""Images cut into tiles of 8 x 8 pixels and their neighbourhoods, the shapes in which the upsampler multiplies."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segearth_cli.model.gpu_stages import resizing

TILE = 8  # pixels; larger tiles waste products outside the kernels, smaller ones starve the matrix units
_GRAIN = 2.0**40  # of bicubic weights: what differs by rounding from tile to tile becomes equal


def extend(image: Tensor, radius: int) -> Tensor:
    """An image (B, K, H, W) reflected by the radius, zeros to whole tiles at the bottom and right: (B, H, W, K)."""
    height, width = image.shape[-2:]
    image = F.pad(image, (radius,) * 4, mode="reflect")
    return F.pad(image, (0, -width % TILE, 0, -height % TILE)).permute(0, 2, 3, 1).contiguous()


def tiles(x: Tensor, radius: int) -> Tensor:
    """All tiles with their margins: (B, 8 k + 2 radius, 8 m + 2 radius, C) -> (B k m, (8 + 2 radius)^2, C)."""
    side = TILE + 2 * radius
    return x.unfold(1, side, TILE).unfold(2, side, TILE).permute(0, 1, 2, 4, 5, 3).reshape(-1, side * side, x.shape[-1])


def untiled(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Pixels of tiles (B k m, 64, K) as they lie in the image, shape = (B, k, m): (B, 8 k, 8 m, K)."""
    b, k, m = shape
    return x.view(b, k, m, TILE, TILE, -1).transpose(2, 3).reshape(b, k * TILE, m * TILE, -1)


def banded(scores: Tensor, radius: int) -> Tensor:
    """For each pixel of a tile its own taps: (n, 64, side^2) -> (n, 64, taps)."""
    side, k = TILE + 2 * radius, 2 * radius + 1
    pixel = side * side
    view = scores.as_strided(
        (scores.shape[0], TILE, TILE, k, k), (TILE**2 * pixel, TILE * pixel + side, pixel + 1, side, 1)
    )
    return view.reshape(-1, TILE**2, k * k)


def spread(kernels: Tensor, radius: int, blank: Tensor | None) -> Tensor:
    """Kernels over the whole neighbourhood of their tile: (n, 64, taps) -> (n, side, 64, side), rows outermost.

    blank: where to, zero beside the places written here; None for a new tensor.
    """
    side, k = TILE + 2 * radius, 2 * radius + 1
    row = TILE**2 * side
    zeros = kernels.new_zeros(kernels.shape[0], side, TILE**2, side) if blank is None else blank
    size, strides = (kernels.shape[0], TILE, TILE, k, k), (side * row, row + TILE * side, side + 1, row, 1)
    source = kernels.view(size)
    if torch.is_grad_enabled() and kernels.requires_grad:
        return torch.as_strided_scatter(zeros, source, size, strides)
    zeros.as_strided(size, strides).copy_(source)
    return zeros


@dataclass(frozen=True, slots=True)
class Pullback:
    """Bicubic resizing with reflected margins along one axis, cut into the tiles of the target.

    margins: zeros to add before and after the source. starts: for each tile the first position that it needs of the
    source so extended, evenly spaced where tiles and source allow it. operators: (tiles, 8 + 2 radius, length) from
    `length` source positions to the target positions of the tile and its margins. kinds: equal where operators are.
    """

    margins: tuple[int, int]
    starts: list[int]
    operators: Tensor
    kinds: list[int]

    @property
    def length(self) -> int:
        """Source positions that a tile needs."""
        return self.operators.shape[-1]

    def part(self, first: int, end: int) -> Pullback:
        """The same for tiles first..end-1."""
        return Pullback(self.margins, self.starts[first:end], self.operators[first:end], self.kinds[first:end])

    def windows(self, x: Tensor) -> Tensor:
        """What each tile needs of maps (B, w, n, R): (B, tiles, length, n, R); a view where starts are even."""
        step = self.starts[1] - self.starts[0] if len(self.starts) > 1 else 1
        if step > 0 and self.starts == list(range(self.starts[0], self.starts[-1] + 1, step)):
            used = x[:, self.starts[0] : self.starts[-1] + self.length].contiguous()
            return used.unfold(1, self.length, step).permute(0, 1, 4, 2, 3)
        return torch.stack([x[:, at : at + self.length] for at in self.starts], dim=1)


@functools.lru_cache(maxsize=64)
def pullback(source: int, target: int, radius: int, device: torch.device, dtype: torch.dtype) -> Pullback:
    """The pullback of an axis of `source` positions resized to `target`, with the target reflected by `radius`."""
    with torch.inference_mode(False), torch.no_grad():  # kept, so it must serve training too
        whole = resizing(source, target, radius).mul(_GRAIN).round().div(_GRAIN)
        every = F.pad(whole, (0, 0, 0, -target % TILE)).unfold(0, TILE + 2 * radius, TILE).transpose(1, 2)
        used = every.ne(0).any(dim=1)  # (tiles, source)
        first = used.int().argmax(dim=1)
        end = source - used.int().flip(1).argmax(dim=1)
        even = torch.arange(len(every)) * (TILE * source / target)
        if TILE * source % target == 0:
            first = even.long() + int((first - even).min())
        length = int((end - first).max())
        before = max(0, -int(first.min()))
        after = max(0, int(first.max()) + length - source)
        starts = (first + before).tolist()
        extended = F.pad(every, (before, after))
        cut = torch.stack([tile[:, at : at + length] for tile, at in zip(extended, starts, strict=True)])
        seen = [operator.numpy().tobytes() for operator in cut]
        return Pullback((before, after), starts, cut.to(device, dtype), [seen.index(operator) for operator in seen])
