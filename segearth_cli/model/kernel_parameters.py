"""The parameters of one joint bilateral upsampling, and what its kernels take of them, wherever they are computed."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from segearth_cli.model.constants import OfWeights

CORRECTION_GAIN = 0.1


class KernelParameters(nn.Module):
    """Parameters under the names of published files, of kernels with T = (2 radius + 1)^2 taps.

    radius: taps reach this many pixels each way. keys: C = K, channels of the range kernel.
    """

    def __init__(self, radius: int, keys: int):
        super().__init__()
        self.radius = radius
        self.taps = (2 * radius + 1) ** 2
        self.correcting = torch.float32  # dtype of the corrections of kernels for maps in float32
        self.kept = OfWeights()
        self.range_temp = nn.Parameter(torch.tensor(0.0))
        self.sigma_spatial = nn.Parameter(torch.tensor(1.0))
        self.range_proj = nn.Sequential(nn.Conv2d(3, keys, 1), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(keys, keys, 1))
        self.fixup_proj = nn.Sequential(
            nn.Conv2d(self.taps + 3, self.taps, 1), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(self.taps, self.taps, 1)
        )

    def key_parameters(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights (C, 3) and bias (C,) of the first convolution of keys, (K, C) and (K,) of the second.

        The second is multiplied by the root of the range temperature, so that products of two keys carry it.
        """
        first, second = convolutions(self.range_proj)
        scale = self.range_temp.exp().clamp(1e-4, 1e4).sqrt()
        return (
            *(first.weight.flatten(1), cast(Tensor, first.bias)),
            *(scale * second.weight.flatten(1), scale * cast(Tensor, second.bias)),
        )

    def log_spatial(self) -> Tensor:
        """Log of the spatial kernel, (taps,): -(y^2 + x^2) / (2 sigma^2) with y, x on linspace(-1, 1)."""
        axis = torch.linspace(
            -1, 1, 2 * self.radius + 1, device=self.sigma_spatial.device, dtype=self.sigma_spatial.dtype
        )
        squares = axis.square()
        return -(squares[:, None] + squares[None, :]).flatten() / (2 * self.sigma_spatial.square())

    def correcting_for(self, maps: torch.dtype) -> torch.dtype:
        """The dtype in which kernels for maps of a dtype are corrected."""
        return self.correcting if maps == torch.float32 else maps

    def correction_parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """The parameters of 0.1 fixup_proj: first weights with their bias as one more column, second weights, bias.

        (T, T + 4), (T, T) and (T,), of T taps: columns of the first are taps, red, green, blue, one.
        """
        first, second = convolutions(self.fixup_proj)
        widened = torch.cat([first.weight.flatten(1), cast(Tensor, first.bias)[:, None]], dim=1)
        return widened, CORRECTION_GAIN * second.weight.flatten(1), CORRECTION_GAIN * cast(Tensor, second.bias)

    def corrections(self, maps: torch.dtype) -> list[Tensor]:
        """`correction_parameters` in the dtype that corrections have for such maps."""
        return [part.to(self.correcting_for(maps)) for part in self.correction_parameters()]


def convolutions(net: nn.Sequential) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The two convolutions of a net, between which stand an activation and a Dropout2d."""
    return cast(nn.Conv2d, net[0]), cast(nn.Conv2d, net[3])
