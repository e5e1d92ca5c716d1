"""A mask drawn over its scene, with a legend: `python scripts/overlay.py scene.tif scene.mask.tif overlay.png`."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import rasterio
from matplotlib.patches import Patch

from segearth_cli.classes import CLASSES_TAG, NODATA, from_tag
from segearth_cli.raster import ReadOptions, Window, open_scene, parse_bands

LONGEST = 600  # pixels of the longer side of each of the two pictures


def overlay(scene_path: str, mask_path: str, out: Path, *, bands: str | None = None, opacity: float = 0.5) -> None:
    """Writes scene, and scene with mask, side by side."""
    scene = open_scene(scene_path, ReadOptions(parse_bands(bands)))
    factor = min(1.0, LONGEST / max(scene.height, scene.width))
    size = max(1, round(scene.height * factor)), max(1, round(scene.width * factor))
    image = scene.read(Window(0, 0, *size), size).image.transpose(1, 2, 0) / 255
    with rasterio.open(mask_path) as ds:
        mask, classes = ds.read(1, out_shape=size), from_tag(ds.tags()[CLASSES_TAG])
    colors = np.zeros((256, 3))
    colors[: len(classes)] = np.array(classes.colors) / 255
    mixed = np.where((mask == NODATA)[..., None], image, (1 - opacity) * image + opacity * colors[mask])
    figure, axes = plt.subplots(1, 2, figsize=(size[1] / 50 + 0.2, size[0] / 100 + 0.6), dpi=100)
    for axis, picture in zip(axes, (image, mixed), strict=True):
        axis.imshow(picture, interpolation="nearest")
        axis.set_axis_off()
    present = [code for code in range(len(classes)) if (mask == code).any()]
    handles = [Patch(color=tuple(np.array(classes.colors[c]) / 255), label=classes.names[c]) for c in present]
    figure.legend(handles=handles, loc="lower center", ncols=8, frameon=False)
    figure.subplots_adjust(left=0.005, right=0.995, top=0.99, bottom=0.6 / (size[0] / 100 + 0.6), wspace=0.01)
    figure.savefig(out)
    plt.close(figure)


if __name__ == "__main__":
    overlay(sys.argv[1], sys.argv[2], Path(sys.argv[3]), bands=sys.argv[4] if len(sys.argv) > 4 else None)
