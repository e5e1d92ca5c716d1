"""SimFeatUp: joint bilateral upsampling (JBU) of tokens to pixels, steered by the image.

FeatUp, arXiv:2403.10516, and its SegEarth-OV form "JBU One", arXiv:2410.01768. Kernels depend on the image alone and
the features pass through linearly, so any linear map of the features may be taken before the upsampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segearth_cli.errors import WeightsError
from segearth_cli.model.copies import own
from segearth_cli.model.cosines import Cosines
from segearth_cli.model.cpu_stages import Direct
from segearth_cli.model.gpu_stages import Fused, Steps
from segearth_cli.model.jbu import JBU
from segearth_cli.model.tiles import replaced
from segearth_cli.model.window_cache import Overlap, common_blocks

HEAD_GAIN = 0.1


@dataclass(frozen=True, slots=True)
class Dense:
    """Features of every pixel as maps still to be mixed."""

    maps: Tensor
    """(B, H, W, R)."""
    mix: Tensor
    """(B, R, C), what each map adds to the features."""
    constant: Tensor
    """(C,), added to the features of every pixel."""

    def values(self) -> Tensor:
        """The features, (B, H, W, C)."""
        return torch.matmul(self.maps, self.mix.unsqueeze(1)) + self.constant


class Upsampler(nn.Module):
    """Tokens to pixels: JBU stages that double the grid until it is the image, then a 1x1 head.

    channels: C. patch: pixels a token spans; gives the number of stages, ceil(log2 patch), the last one ending at the
    guidance's own size. shared: one JBU for all stages ("JBU One", `up`) or one each (`up1`, `up2`, ...).
    """

    def __init__(self, channels: int, patch: int, *, radius: int = 5, keys: int = 32, shared: bool = True):
        super().__init__()
        self.channels, self.patch, self.radius, self.shared = channels, patch, radius, shared
        self.stages = math.ceil(math.log2(patch))
        if shared:
            self.up = JBU(radius, keys)
        else:
            for i in range(self.stages):
                self.add_module(f"up{i + 1}", JBU(radius, keys))
        self.fixup_proj = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(channels, channels, 1))

    def computing(self, correcting: torch.dtype, direct: Direct | None = None) -> Upsampler:
        """An upsampler of the same weights for maps in float32.

        correcting: the dtype of the kernels' corrections, of which a tenth counts. direct: the compiled kernels of a
        CPU, used where they serve; None = PyTorch alone.
        """
        made = own(self)
        for jbu in made.children():
            if isinstance(jbu, JBU):
                jbu.correcting, jbu.direct = correcting, direct
        return made

    @property
    def minimum(self) -> int:
        """The smallest side of a token grid, so that the first doubling is larger than the radius."""
        return math.ceil((self.radius + 1) / min(2, self.patch))

    def forward(self, tokens: Tensor, guidance: Tensor) -> Tensor:
        """Features of every pixel: tokens (B, C, h, w), guidance (B, 3, H, W) -> (B, C, H, W)."""
        dense = self.dense(tokens, guidance)
        return dense.values().permute(0, 3, 1, 2)

    def dense(self, tokens: Tensor, guidance: Tensor) -> Dense:
        """The same features before they are mixed: no more maps than a grid has tokens need to be lifted.

        In training, whole channels are dropped before the head (which commutes with the upsampling).
        """
        b, c, h, w = tokens.shape
        head = cast(nn.Conv2d, self.fixup_proj[1])
        weight, constant = HEAD_GAIN * head.weight.flatten(1), HEAD_GAIN * cast(Tensor, head.bias)
        kept = cast(Tensor, self.fixup_proj[0](tokens.new_ones(b, c, 1, 1))).view(b, c, 1)
        eye = torch.eye(min(c, h * w), device=tokens.device, dtype=tokens.dtype)
        if c <= h * w:
            return Dense(self.lift(tokens.permute(0, 2, 3, 1), guidance), eye + kept * weight.T, constant)
        values = tokens.flatten(2).transpose(1, 2)  # (B, h w, C)
        places = eye.view(1, h, w, h * w).expand(b, -1, -1, -1)
        return Dense(self.lift(places, guidance), values + (values * kept.transpose(1, 2)) @ weight.T, constant)

    def fold(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C) with the head taken before the upsampling, and the constant (C,) to add after it."""
        head = cast(nn.Conv2d, self.fixup_proj[1])
        weight, bias = head.weight.flatten(1).to(tokens.dtype), cast(Tensor, head.bias).to(tokens.dtype)
        return tokens + HEAD_GAIN * F.linear(tokens, weight), HEAD_GAIN * bias

    def lift(
        self, maps: Tensor, guidance: Tensor, finish: Cosines | None = None, overlap: Overlap | None = None,
        fused: Fused | None = None,
    ) -> Tensor:  # fmt: skip
        """Maps (B, h, w, R) on the grid of the guidance (B, 3, H, W), without the head: (B, H, W, R).

        finish: see `JBU.forward`; applied to the last stage. overlap: what other windows of the scene left, for single
        windows at inference. fused: the GPU kernels, tried at inference on CUDA; None = PyTorch alone.
        """
        steps = self._steps(maps, guidance)
        if fused is not None and steps and maps.is_cuda and not torch.is_grad_enabled() and not self.training:
            lifted = fused.attempt(steps, maps, guidance, finish, stepwise)
            if lifted is not None:
                return lifted
        return stepwise(steps, maps, guidance, finish, overlap)

    def _steps(self, maps: Tensor, guidance: Tensor) -> list[tuple[JBU, tuple[int, int]]]:
        """The stages and the grid that each ends at. Raises WeightsError for a guidance that does not fit the maps."""
        height, width = guidance.shape[-2:]
        h, w = maps.shape[1:3]
        if (height, width) != (h * self.patch, w * self.patch):
            raise WeightsError(f"guidance of {height} x {width} px does not fit {h} x {w} tokens of {self.patch} px")
        grown = [(h << i, w << i) for i in range(1, self.stages)]
        jbus = [cast(JBU, self.up if self.shared else getattr(self, f"up{i + 1}")) for i in range(self.stages)]
        steps = list(zip(jbus, [*grown, (height, width)][: self.stages], strict=True))
        for jbu, size in steps:
            jbu.check(size)
        return steps

    def adaptive(
        self, maps: Tensor, guidance: Tensor, finish: Cosines, chosen: Callable[[Tensor], Tensor],
        overlap: Overlap | None = None,
    ) -> Tensor:  # fmt: skip
        """What `finish` makes of one window at inference, (1, K, H, W): the last stage only where it matters.

        maps: (1, h, w, R). Elsewhere `finish` is resized bilinearly from the grid before the last stage. chosen:
        from that, (K, H, W), to the tiles (k, m) that the last stage is run in.
        """
        *before, (last, size) = self._steps(maps, guidance)
        maps = stepwise(before, maps, guidance, None, overlap)
        coarse = finish(maps.flatten(1, 2)).view(1, *maps.shape[1:3], -1).permute(0, 3, 1, 2).contiguous()
        found = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        rows, cols = chosen(found[0]).nonzero(as_tuple=True)
        if len(rows) == 0:
            return found
        pixels = last.at_tiles(maps, guidance, rows, cols, finish)
        return replaced(found, pixels, rows, cols)


def stepwise(
    steps: Steps, maps: Tensor, guidance: Tensor, finish: Cosines | None, overlap: Overlap | None = None
) -> Tensor:
    """Maps through one JBU after the other; `finish` is applied to the last one's."""
    whole = guidance.shape[-2], guidance.shape[-1]
    for i, (jbu, size) in enumerate(steps, 1):
        pooled = guidance if size == whole else F.adaptive_avg_pool2d(guidance, size)
        common = overlap and common_blocks(overlap, size, whole)
        maps = jbu(maps, pooled, finish if i == len(steps) else None, common)
    return maps
