"""Images cut into tiles of 8 x 8 pixels and their neighbourhoods, the shapes in which the upsampler multiplies."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 8  # pixels; larger tiles waste products outside the kernels, smaller ones starve the matrix units


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


def replaced(image: Tensor, pixels: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """An image (1, K, H, W) with other pixels (n, 64, K) in the tiles at rows and cols, (n,)."""
    k, height, width = image.shape[1:]
    whole = F.pad(image[0], (0, -width % TILE, 0, -height % TILE))
    cut = whole.view(k, whole.shape[1] // TILE, TILE, whole.shape[2] // TILE, TILE).permute(1, 3, 2, 4, 0)
    cut[rows, cols] = pixels.view(-1, TILE, TILE, k)
    return whole[None, :, :height, :width]
