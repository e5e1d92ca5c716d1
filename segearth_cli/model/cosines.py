"""Upsampled pixels to cosines with phrases, from coordinates in the span of their tokens."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Cosines:
    """What upsampled pixels become: their products with phrases over their length."""

    span: int
    """Channels whose root of summed squares is a pixel's length; they come first."""
    offset: Tensor
    """(B, 1, R), added to every pixel before."""
    phrases: Tensor | None
    """(Q, R), or None where the channels past the span are the products already, or, without any, those of the span."""
    _added: Tensor = field(init=False)
    _squares: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_added", self._products(self.offset))
        along = self.offset[..., : self.span]
        object.__setattr__(self, "_squares", along.square().sum(dim=-1, keepdim=True))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels (n, m, R) of B windows, one after the other -> cosines (B, n m / B, Q) in float32."""
        pixels = pixels.view(len(self.offset), -1, pixels.shape[-1]).float()
        inside, along = pixels[..., : self.span], self.offset[..., : self.span]
        products = self._products(pixels) + self._added
        squares = torch.linalg.vector_norm(inside, dim=-1, keepdim=True).square()
        squares = squares + 2 * (inside @ along.transpose(1, 2)) + self._squares
        return cast(Tensor, products / squares.clamp(min=1e-24).sqrt())

    def _products(self, rows: Tensor) -> Tensor:
        if self.phrases is not None:
            return rows @ self.phrases.T
        return rows[..., self.span :] if rows.shape[-1] > self.span else rows

    def part(self, first: int, end: int) -> Cosines:
        """The same for windows first..end-1."""
        return replace(self, offset=self.offset[first:end])

    @property
    def ready(self) -> int:
        """How many of the channels past the span are products already; 0 where phrases are still to be multiplied."""
        return self.offset.shape[-1] - self.span if self.phrases is None else 0
