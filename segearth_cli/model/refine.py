"""Which tiles of a window deserve the last stage of the upsampler: those where two classes come close."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segearth_cli.model.tiles import TILE

CLOSE = 0.002  # of cosines: 23 % of Koeln's tiles; 0.001 takes 20 %, 0.01 takes 41 %


def undecided(logits: Tensor, classes: Tensor) -> Tensor:
    """The tiles (k, m) of logits (Q, H, W) with a pixel whose best two classes differ by less than CLOSE.

    classes: of each phrase, (Q,), non-decreasing from 0. With one class there is nothing to decide.
    """
    count, (height, width) = int(classes[-1]) + 1, logits.shape[1:]
    if count == 1:
        return torch.zeros(-(-height // TILE), -(-width // TILE), dtype=torch.bool)
    if count < len(classes):
        best = logits.new_full((count, height, width), -torch.inf)
        logits = best.scatter_reduce(0, classes[:, None, None].expand_as(logits), logits, "amax")
    first, second = logits.topk(2, dim=0).values
    least = F.pad((second - first)[None], (0, -width % TILE, 0, -height % TILE), value=-torch.inf)
    return F.max_pool2d(least, TILE)[0] > -CLOSE
