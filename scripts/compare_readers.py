"""How far pixels as segearth reads and resamples them are from OpenCV's, which the authors of SegEarth-OV use.

python scripts/compare_readers.py IMAGE...  (needs `pip install opencv-python-headless`, which nothing else here does)
"""

import sys

import cv2  # type: ignore[import-not-found,unused-ignore]
import numpy as np

from segearth_cli.raster import ReadOptions, Window, open_scene, working_size

LONG_SIDE = 448  # of the published settings


def main(paths: list[str]) -> None:
    """A line an image: the share of 8-bit values that differ, and by how much at most."""
    print(f"OpenCV {cv2.__version__}")
    for path in paths:
        scene = open_scene(path, ReadOptions(antialias=False))
        size = working_size(scene.height, scene.width, LONG_SIDE / max(scene.height, scene.width))
        pixels = scene.read(Window(0, 0, scene.height, scene.width)).image.transpose(1, 2, 0)
        ours = scene.read(Window(0, 0, *size), size).image.transpose(1, 2, 0)
        theirs = cv2.resize(np.ascontiguousarray(pixels), size[::-1], interpolation=cv2.INTER_LINEAR)
        decoded = np.abs(pixels.astype(int) - cv2.imread(path)[:, :, ::-1])
        resized = np.abs(ours.astype(int) - theirs)
        told = ((name, np.mean(off > 0), off.max()) for name, off in (("decoded", decoded), ("resampled", resized)))
        print(path, *(f"{name}: {share:.1%} differ, by {most} at most" for name, share, most in told), sep="; ")


if __name__ == "__main__":
    main(sys.argv[1:])
