"""What SimFeatUp learns from: upsampled features, seen through a jitter and brought down again, must be the encoder's.

FeatUp, arXiv:2403.10516, in the form of SegEarth-OV, arXiv:2410.01768. Jitter and blur are linear along each axis, so
each is one small matrix per axis. Maps run (H, W, C) here, as the upsampler makes them. For the backward pass one map
of C channels is kept, the rest is computed again image by image.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segearth_cli.model import Dense, Upsampler

MARGIN = 20  # pixels reflected around a crop before it is shifted
MAX_ZOOM = 2.0
PROJECTED = 30  # dimensions in which features are compared (Johnson-Lindenstrauss)
LOSS = "projections by image, exp(conv + 0.1)"  # told apart from former losses in checkpoints
TOGETHER = f"{LOSS}, jitters through one upsampler"  # where there are several jitters
BLUR = 1.0  # sigma in pixels of the 5-tap Gaussian


@dataclass(frozen=True, slots=True)
class Jitter:
    """A random view of a crop: reflected by MARGIN, zoomed, cut back to its own size, mirrored."""

    top: int
    """First row of the cut, in pixels of the zoomed crop."""
    left: int
    """Its first column."""
    zoom: float = 1.0
    """Factor of the zoom, 1 to 2."""
    flip: bool = False
    """Whether left and right change places."""

    @classmethod
    def draw(cls, height: int, width: int, rng: random.Random) -> Jitter:
        """A jitter for crops of height x width px: zoomed by U(1, 2) half of the time, mirrored half of the time."""
        flip = rng.random() < 0.5
        zoom = rng.uniform(1, MAX_ZOOM) if rng.random() < 0.5 else 1.0
        top, left = (rng.randint(0, int((side + 2 * MARGIN) * zoom) - side) for side in (height, width))
        return cls(top, left, zoom, flip)

    def operators(self, height: int, width: int, like: Tensor) -> Operators:
        """The jitter as a matrix along each axis."""
        rows = self._axis(height, self.top, like)
        columns = self._axis(width, self.left, like)
        return rows, columns.flip(0) if self.flip else columns

    def _axis(self, size: int, start: int, like: Tensor) -> Tensor:
        padded = _reflected(torch.eye(size, device=like.device, dtype=like.dtype), MARGIN)
        if self.zoom > 1:
            padded = F.interpolate(padded.T[None], scale_factor=self.zoom, mode="linear", align_corners=False)[0].T
        return padded[start : start + size]


Operators = tuple[Tensor, Tensor]  # (H, H) for rows, (W, W) for columns


def blur(height: int, width: int, like: Tensor) -> Operators:
    """A Gaussian blur of 5 taps, reflected at the border, as a matrix along each axis."""
    taps = torch.exp(-torch.arange(-2, 3, device=like.device, dtype=like.dtype).square() / (2 * BLUR**2))
    rows, columns = (
        _reflected(torch.eye(size, device=like.device, dtype=like.dtype), 2).unfold(0, 5, 1) @ (taps / taps.sum())
        for size in (height, width)
    )
    return rows, columns


def transform(maps: Tensor, operators: Operators) -> Tensor:
    """Maps (..., H, W, K) with one matrix applied along H and one along W."""
    rows, columns = operators
    return torch.matmul(columns, torch.matmul(rows, maps.flatten(-2)).view(maps.shape))


def projections(images: int, channels: int, like: Tensor) -> Tensor:
    """A random projection for each image, (B, C, 30), with columns of unit length, from torch's own random state."""
    return F.normalize(torch.randn(images, channels, PROJECTED, device=like.device, dtype=like.dtype), dim=1)


@dataclass(frozen=True, slots=True)
class View:
    """A jittered batch, what the encoder says of it, and the dimensions in which the two sides are compared."""

    operators: Operators
    """The jitter as matrices, one for the rows and one for the columns."""
    image: Tensor
    """(B, 3, H, W): normalised, jittered."""
    tokens: Tensor
    """(B, C, h, w): the encoder's features of `image`."""
    projections: Tensor
    """(B, C, 30): columns of unit length, drawn for each image and each jitter."""


@dataclass(frozen=True, slots=True)
class Losses:
    """The two terms of one jitter, each a mean over the batch, before weights and the number of jitters."""

    features: Tensor
    """Features brought down against the encoder's, a scalar."""
    image: Tensor
    """The image seen in the features against the real one, a scalar."""
    error: Tensor
    """The squared error within `features`, which no uncertainty excuses; to look at, without a gradient."""


class Objective(nn.Module):
    """The upsampler and the parts that exist to train it."""

    def __init__(self, upsampler: Upsampler):
        super().__init__()
        channels, patch = upsampler.channels, upsampler.patch
        self.upsampler = upsampler
        self.downsampler = Downsampler(channels, patch)
        self.uncertainty = Uncertainty(channels)
        self.decoder = Decoder(channels)

    def forward(self, image: Tensor, tokens: Tensor, view: View) -> Losses:
        """Losses of normalised images (B, 3, H, W) with features `tokens` (B, C, h, w), under one jitter."""
        return self.losses(self.upsampler.dense(tokens, image), view)

    def losses(self, dense: Dense, view: View) -> Losses:
        """Losses of features of every pixel, whoever made them."""
        blurring = blur(dense.maps.shape[1], dense.maps.shape[2], dense.maps)
        coarse, errors = [], []
        for maps, mix, target in zip(dense.maps, dense.mix, view.image, strict=True):
            parts = maps, mix, dense.constant, target, view.operators, blurring
            down, error = checkpoint(self._parts, *parts, use_reentrant=False)
            coarse.append(down)
            errors.append(error)
        seen = view.tokens.permute(0, 2, 3, 1)
        squares = ((torch.stack(coarse) - seen) @ view.projections.unsqueeze(1)).square()
        deviation: Tensor = self.uncertainty(seen)
        likelihood = squares / (2 * deviation.square()) + deviation.log()
        return Losses(likelihood.mean(), torch.stack(errors).mean(), squares.detach().mean())

    def _parts(
        self, maps: Tensor, mix: Tensor, constant: Tensor, target: Tensor, operators: Operators, blurring: Operators
    ) -> tuple[Tensor, Tensor]:
        """Features (h, w, C) of one jittered image brought down, and the error of its reconstruction.

        Jitter and blur keep constants and act on each map alone, so they come before the mixing.
        """
        jittered = transform(maps, operators)
        error = (self.decoder(jittered, mix, constant) - target.permute(1, 2, 0)).square().mean()
        return self.downsampler(transform(jittered, blurring), mix, constant), error


class Downsampler(nn.Module):
    """Learned pooling of patches, weighted by a softmax over each: blurred features (H, W, C) -> (h, w, C).

    The features are given as in `Dense`: maps (H, W, R), mix (R, C), constant (C,).
    """

    def __init__(self, channels: int, patch: int):
        super().__init__()
        self.patch = patch
        self.score = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, 1))
        self.w = nn.Parameter(1 + 0.01 * torch.randn(patch, patch))
        self.b = nn.Parameter(0.01 * torch.randn(patch, patch))

    def forward(self, maps: Tensor, mix: Tensor, constant: Tensor) -> Tensor:
        """Features of patches (h, w, C) from those of every pixel, given as in `Dense`."""
        p, (height, width) = self.patch, maps.shape[:2]
        scores = self.score(torch.matmul(maps, mix) + constant).view(height // p, p, width // p, p).transpose(1, 2)
        if self.training:  # a patch whose scores are dropped is pooled by w and b alone
            scores = scores * (torch.rand(scores.shape[:2], device=maps.device) > 0.2)[..., None, None]
        weights = (scores * self.w + self.b).flatten(2).softmax(dim=-1).view_as(scores)
        patches = maps.view(height // p, p, width // p, p, -1).transpose(1, 2)
        pooled = torch.einsum("hwuv,hwuvc->hwc", weights, patches)
        return pooled @ mix + constant  # the weights of a patch add up to one


class Uncertainty(nn.Module):
    """The deviation expected of each token: features (..., C) -> (..., 1), at least 1e-4."""

    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Linear(channels, 1)
        with torch.no_grad():
            self.net.weight.mul_(0.1)
            self.net.bias.mul_(0.1)

    def forward(self, features: Tensor) -> Tensor:
        """The deviation (..., 1) that is expected of features (..., C)."""
        return torch.exp(self.net(features) + 0.1).clamp(min=1e-4)


class Decoder(nn.Module):
    """The image back from its features (..., C), given as in `Dense`: (..., 3), in -1 to 1."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Linear(channels, channels)
        self.rest = nn.Sequential(nn.LayerNorm(channels, eps=1e-6), nn.GELU(), nn.Linear(channels, 3), nn.Tanh())

    def forward(self, maps: Tensor, mix: Tensor, constant: Tensor) -> Tensor:
        """The image (..., 3) that features tell of, in -1 to 1."""
        hidden = torch.matmul(maps, F.linear(mix, self.first.weight)) + self.first(constant)
        return cast(Tensor, self.rest(hidden))


def _reflected(eye: Tensor, margin: int) -> Tensor:
    """An operator (n, n) with `margin` rows mirrored about each of its ends."""
    return torch.cat([eye[1 : margin + 1].flip(0), eye, eye[-margin - 1 : -1].flip(0)])
