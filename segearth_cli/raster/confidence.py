"""Confidences: how probable the class of each pixel was, as segearth writes them in 8 bits, and others as fractions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segearth_cli.classes import CONFIDENCE_SCALE
from segearth_cli.raster.datasets import opened_dataset
from segearth_cli.raster.grid import Window


def read_confidence(path: Path, window: Window | None = None) -> NDArray[np.float64]:
    """Probabilities of the winner, (H, W), 0 to 1, NaN where there is none; of a window, or of the whole raster."""
    with opened_dataset(path) as ds:
        values = ds.read(1, window=window and window.to_rasterio(), masked=True)
    scale = CONFIDENCE_SCALE if values.dtype == np.uint8 else 1
    shares: NDArray[np.float64] = np.ma.masked_invalid(values.astype(np.float64) / scale, copy=False).filled(np.nan)
    return shares
