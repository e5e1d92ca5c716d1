"""Groups of points of unequal length, one after another in an array: indices of some groups, and groups as rings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of all members of groups that begin at `starts`.

    >>> spans(np.array([5, 0]), np.array([1, 2])).tolist()
    [5, 0, 1]
    """
    return np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))


def following(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each point of rings the next one; the first of a ring follows the last. No ring is without points.

    >>> following(np.array([3, 2])).tolist()
    [1, 2, 0, 4, 3]
    """
    ends = np.cumsum(lengths)
    after = np.arange(1, int(lengths.sum()) + 1)
    after[ends - 1] = ends - lengths
    return after


def preceding(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each point of rings the one before; inverse of `following`.

    >>> preceding(np.array([3, 2])).tolist()
    [2, 0, 1, 4, 3]
    """
    ends = np.cumsum(lengths)
    before = np.arange(-1, int(lengths.sum()) - 1)
    before[ends - lengths] = ends - 1
    return before


def twice_areas(x: NDArray[np.int64], y: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Twice the area that each ring encloses, above 0 for those clockwise on screen (y grows downwards).

    >>> twice_areas(np.array([0, 2, 2, 0]), np.array([0, 0, 1, 1]), np.array([4])).tolist()
    [4]
    """
    if not len(lengths):
        return np.zeros(0, np.int64)
    after = following(lengths)
    areas: NDArray[np.int64] = np.add.reduceat(x * y[after] - x[after] * y, np.cumsum(lengths) - lengths)
    return areas
