"""Resampling along one axis, as a linear operator that depends on a pixel's place alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def resampling(source: int, target: int, first: int, end: int, *, antialias: bool) -> tuple[int, NDArray[np.float64]]:
    """The linear operator that resamples one axis, for target pixels first..end-1 only.

    Returns the first source pixel needed and weights (end - first, n), each row summing to one. Triangle kernel, pixel
    centres aligned, edges renormalised; with antialias the kernel is as wide as a target pixel when shrinking.
    """
    step = source / target
    support = max(step, 1.0) if antialias else 1.0
    centre = (np.arange(first, end) + 0.5) * step
    if not antialias:
        centre = np.clip(centre, 0.5, source - 0.5)
    low = max(0, math.floor(centre[0] - support))
    high = min(source, math.ceil(centre[-1] + support))
    distance = np.abs(np.arange(low, high)[None, :] + 0.5 - centre[:, None]) / support
    weights = np.maximum(0.0, 1.0 - distance)
    return low, weights / weights.sum(axis=1, keepdims=True)
