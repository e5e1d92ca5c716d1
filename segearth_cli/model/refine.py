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
    height, width = logits.shape[1:]
    of_classes = torch.split(logits, torch.unique_consecutive(classes, return_counts=True)[1].tolist())
    if len(of_classes) == 1:
        return torch.zeros(-(-height // TILE), -(-width // TILE), dtype=torch.bool)
    first, second = of_classes[0].amax(dim=0), logits.new_full((height, width), -torch.inf)
    for phrases in of_classes[1:]:
        best = phrases.amax(dim=0)
        second = torch.maximum(second, torch.minimum(first, best))
        first = torch.maximum(first, best)
    least = F.pad((second - first)[None], (0, -width % TILE, 0, -height % TILE), value=-torch.inf)
    return F.max_pool2d(least, TILE)[0] > -CLOSE
