"""Bicubic resizing of an axis as a matrix, whole or cut into what each tile of the result needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segearth_cli.model.constants import constant
from segearth_cli.model.tiles import TILE

_GRAIN = 2.0**40  # of bicubic weights: what differs by rounding from tile to tile becomes equal


@constant()
def resizing(source: int, target: int, radius: int) -> Tensor:
    """Bicubic resizing of an axis, its result reflected by the radius: (target + 2 radius, source) in float64."""
    eye = torch.eye(source, dtype=torch.float64).view(1, source, source, 1)
    resized = F.interpolate(eye, size=(target, 1), mode="bicubic", align_corners=False)
    return F.pad(resized, (0, 0, radius, radius), mode="reflect")[0, :, :, 0].T


@dataclass(frozen=True, slots=True)
class Pullback:
    """Bicubic resizing with reflected margins along one axis, cut into the tiles of the target."""

    margins: tuple[int, int]
    """Zeros to add before and after the source."""
    starts: list[int]
    """For each tile the first position it needs of the source so extended; evenly spaced where the sizes allow it."""
    operators: Tensor
    """(tiles, 8 + 2 radius, length): from source positions to those of the tile and its margins."""
    kinds: list[int]
    """For each tile a number, equal where operators are."""

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


@constant()
def pullback(source: int, target: int, radius: int, device: torch.device, dtype: torch.dtype) -> Pullback:
    """The pullback of an axis of `source` positions resized to `target`, with the target reflected by `radius`."""
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


def pulled_back(kernels: Tensor, operators: tuple[Tensor, Tensor], shape: tuple[int, int, int]) -> Tensor:
    """Kernels over the neighbourhoods of tiles as weights of source positions: (n, side, 64, side) -> (n, 64, L).

    operators: down and across, of each tile or of its row and column, shape = (B, k, m) of the n tiles. L goes across
    first.
    """
    down, across = operators
    side, pixels = kernels.shape[1:3]
    by_column = torch.matmul(kernels.view(*shape, side * pixels, side), across)
    weights = torch.matmul(by_column.view(*shape, side, pixels * across.shape[-1]).transpose(-1, -2), down)
    return weights.view(len(kernels), pixels, -1)
