"""Scenes of soft noise, georeferenced, to run the tiny model on."""

import numpy as np
import rasterio
from rasterio.transform import from_origin


def save_scene(path, height=700, width=900, *, bands=3, seed=0, dtype="uint8", holes=(), **profile):
    """A scene of soft noise with a georeference; holes: (row, col, height, width) that hold nodata."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((bands, height // 16 + 2, width // 16 + 2), np.float32).repeat(16, 1).repeat(16, 2)
    pixels = coarse[:, :height, :width] * 200 + rng.random((bands, height, width), np.float32) * 50 + 1
    for row, col, rows, cols in holes:
        pixels[:, row : row + rows, col : col + cols] = profile.get("nodata", 0)
    settings = {
        "driver": "GTiff", "crs": "EPSG:32633", "transform": from_origin(400_000.1, 5_000_000.3, 0.3, 0.3),
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(path, "w", height=height, width=width, count=bands, dtype=dtype, **settings | profile) as ds:
        ds.write(pixels.astype(dtype))
    return path
