"""A raster of codes from top to bottom in strips, with the corners of its borders; no strip needs another's state."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.vector import corners as cn
from segearth_cli.vector.corners import Codes, Corners, Links

Strip = tuple[Codes, NDArray[np.float64] | None]  # codes (h, W), 0 = nothing; weights (n, h, W) or None


@dataclass(frozen=True, slots=True)
class LinkedStrip:
    """The corners of a strip, linked."""

    padded: Codes
    """(h + 1, W + 2): the strip's codes below the last row of the strip above, with nothing to the left and right."""
    found: Corners
    """Its n corners."""
    links: Links
    """Which of them follows which."""
    shares: NDArray[np.float64]
    """(n, weights): of each corner in the sums of the weights over its region."""


def linked(
    strips: Iterable[Strip], width: int, dtype: np.dtype[Any], *, weights: int = 0, nodes: bool = False
) -> Iterator[LinkedStrip]:
    """The corners of each strip, and last those of an empty row below, which closes what is still open."""
    last = np.zeros((1, width + 2), dtype)  # the row of pixels above the strip to come
    above = np.zeros((weights, width + 1))  # sums of the weights above and left of each lattice point
    end = (np.zeros((1, width), dtype), np.zeros((weights, 1, width)) if weights else None)
    for codes, values in itertools.chain(strips, [end]):
        padded = np.zeros((len(codes) + 1, width + 2), dtype)
        padded[:1], padded[1:, 1:-1] = last, codes
        last = padded[-1:].copy()
        found = cn.corners(padded, nodes=nodes)
        shares = np.zeros((len(found), weights))
        if values is not None:
            above = _share(found, values, above, shares)
        yield LinkedStrip(padded, found, cn.link(found, padded), shares)


def _share(
    found: Corners, values: NDArray[np.float64], above: NDArray[np.float64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fill `shares` by Green's theorem on a summed-area table; returns its last row for the strip below."""
    sign = np.isin(cn.ENTERS[found.kind], (cn.UP, cn.DOWN)).astype(np.int8)
    sign -= np.isin(cn.LEAVES[found.kind], (cn.UP, cn.DOWN))
    below = np.empty_like(above)
    for i, value in enumerate(values):
        table = np.zeros((value.shape[0] + 1, value.shape[1] + 1))
        np.cumsum(value, axis=1, out=table[1:, 1:])
        table[0] = above[i]
        np.cumsum(table, axis=0, out=table)
        below[i] = table[-1]
        shares[:, i] = table[found.row, found.col] * sign
    return below
