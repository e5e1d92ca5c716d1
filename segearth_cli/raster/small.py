"""Masks and scenes at a small size, for people to look at: by overviews, in memory that does not grow with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.raster.grid import Window
from segearth_cli.raster.mask_reader import MaskFile, mask_at
from segearth_cli.raster.scene import Chip, Scene

_AT_ONCE = 1 << 23  # pixels of a scene that are read together


@dataclass(frozen=True, slots=True)
class SmallMask:
    """A mask at a small size."""

    codes: NDArray[Any]
    """(h, w) codes; those without data mean nothing."""
    data: NDArray[np.bool_]
    """(h, w), where there is data."""


def small_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Rows and columns of a raster whose longer side is to be at most `longest`; never larger than it is.

    >>> small_size(100, 50, 40), small_size(3, 4, 40)
    ((40, 20), (3, 4))
    """
    factor = min(1.0, longest / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def small_mask(mask: MaskFile, size: tuple[int, int]) -> SmallMask:
    """A mask at `size`, from the overview that comes near. Raises RasterError when it cannot be read."""
    codes, data = mask_at(mask, size)
    return SmallMask(codes, np.ones(size, bool) if data is None else data)


def small_scene(scene: Scene, size: tuple[int, int]) -> Chip:
    """A scene at `size`, as it is drawn for the model, read in strips. Raises RasterError when it cannot be read."""
    _, (rows, columns) = scene.level(size)
    step = max(1, int(_AT_ONCE / columns * size[0] / rows))
    strips = [scene.read(Window(top, 0, min(step, size[0] - top), size[1]), size) for top in range(0, size[0], step)]
    return Chip(np.concatenate([s.image for s in strips], axis=1), np.concatenate([s.valid for s in strips]))
