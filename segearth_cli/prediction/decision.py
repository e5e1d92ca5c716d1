"""Logits to classes: everything non-linear, once, on finished rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segearth_cli.classes import CONFIDENCE_SCALE, NODATA
from segearth_cli.clock import counted
from segearth_cli.model import LOGIT_SCALE, constant

LANES = 1024  # pixels; a CPU rounds those differently that fill no whole vector


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of each pixel."""

    codes: Tensor
    """The class, (H, W) uint8."""
    confidence: Tensor
    """The winner's probability times 254, (H, W) uint8, 0-254; 255 where a logit is no number."""
    scores: Tensor | None
    """The probability of each class, (K, H, W) float32; None when they were not asked for."""


class Decider:
    """Method 5.4: x `scale`, softmax over all phrases, maximum over a class's phrases, argmax, threshold.

    query_class: for each of the Q phrases the code of its class, non-decreasing; a class without any has probability
    0. background: the class that pixels fall to whose winner has a probability below `threshold`; None for a forced
    choice.
    """

    def __init__(
        self,
        query_class: Sequence[int],
        threshold: float,
        background: int | None,
        *,
        scores: bool = False,
        scale: float = LOGIT_SCALE,
    ):
        self._classes = query_class[-1] + 1
        self._one_each = tuple(query_class) == tuple(range(self._classes))
        self._scale = scale
        self._query_class = tuple(query_class)
        self._threshold = threshold
        self._background = background
        self._scores = scores

    @counted("decide")
    def __call__(self, logits: Tensor) -> Decision:
        """Logits (Q, H, W) -> Decision on the same device; no pixel's numbers depend on its neighbours'."""
        probabilities = _softmax(logits, self._scale)
        if not self._one_each:
            index = _index(self._query_class, logits.device).expand_as(probabilities)
            empty = probabilities.new_zeros(self._classes, *probabilities.shape[1:])
            probabilities = empty.scatter_reduce(0, index, probabilities, "amax")
        winner, codes = probabilities.max(dim=0)
        if self._background is not None:
            codes = torch.where(winner < self._threshold, self._background, codes)
        confidence = (winner * CONFIDENCE_SCALE).round().clamp(0, CONFIDENCE_SCALE).nan_to_num(nan=NODATA)
        return Decision(codes.to(torch.uint8), confidence.to(torch.uint8), probabilities if self._scores else None)

    def no_scores(self, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        """The scores (K, H, W) of pixels without data, all nan; None when scores were not asked for."""
        return np.full((self._classes, *shape), np.nan, np.float32) if self._scores else None


@constant()
def _index(query_class: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(query_class).view(-1, 1, 1).to(device)


def _softmax(logits: Tensor, scale: float) -> Tensor:
    """Softmax over phrases of logits (Q, H, W), padded to whole vectors so that the cut of a scene changes no bit."""
    pixels = logits[0].numel()
    padded = F.pad(logits.float().flatten(1) * scale, (0, -pixels % LANES))
    return torch.softmax(padded, dim=0)[:, :pixels].view(logits.shape)
