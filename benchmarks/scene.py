"""A made scene from file to mask with the embedded model: windows a second, and how long the model waits for pixels.

Also how time grows with scene size, stride, window, windows at once and classes. Windows 112 px apart have whole tiles
in common, 116 px apart none. `python -m benchmarks.scene`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from benchmarks import report
from segearth_cli import classes as class_lists
from segearth_cli.classes import ClassSet
from segearth_cli.prediction import PredictOptions, Predictor, RunOptions, predict_scene
from segearth_cli.raster import Outputs
from segearth_cli.weights import Assembled, ModelOptions, assemble, choose

WORDS = "water,building,road,forest,grass,bare soil,cropland,car"


def made(folder: Path, side: int) -> Path:
    """A JPEG-compressed, tiled RGB GeoTIFF of smooth noise."""
    path = folder / f"made_{side}.tif"
    noise = np.random.default_rng(0).integers(0, 256, (3, side // 8 + 1, side // 8 + 1), dtype=np.uint8)
    image = noise.repeat(8, axis=1).repeat(8, axis=2)[:, :side, :side]
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "tiled": True}
    with rasterio.open(
        path, "w", compress="jpeg", photometric="ycbcr", blockxsize=512, blockysize=512, **profile
    ) as ds:
        ds.write(image)
    return path


def run(scene: Path, folder: Path, assembled: Assembled, classes: ClassSet, **options: Any) -> dict[str, float]:
    """Seconds, windows and the share of waiting of one run."""
    run_options = RunOptions(quiet=True, batch=options.pop("batch", None))
    outputs = Outputs(folder / "mask.tif")
    predictor = Predictor(lambda: assembled, classes, PredictOptions(**options), run_options)
    summary = predict_scene(str(scene), outputs, predictor)
    return {
        "seconds": summary.seconds,
        "windows": summary.windows,
        "windows_per_second": summary.windows / summary.seconds,
        "megapixels_per_second": summary.height * summary.width / summary.seconds / 1e6,
        "waiting_share": summary.waited_seconds / summary.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mini")
    parser.add_argument("--upsampler", default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sides", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--name", default="scene")
    arguments = parser.parse_args()
    choice = choose(arguments.model, arguments.upsampler)
    options = ModelOptions(choice.model, choice.upsampler, device=arguments.device)
    classes = class_lists.parse(WORDS)
    assembled = assemble(options, classes)
    facts: dict[str, Any] = {"cpu": report.cpu_name(), "device": str(assembled.device), **assembled.facts}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = made(folder, 672)
        run(scene, folder, assembled, classes)
        facts["side"] = {side: run(made(folder, side), folder, assembled, classes) for side in arguments.sides}
        facts["stride"] = {s: run(scene, folder, assembled, classes, stride=s) for s in (56, 112, 116, 224)}
        facts["window"] = {w: run(scene, folder, assembled, classes, window=w) for w in (224, 336, 448)}
        facts["batch"] = {b: run(scene, folder, assembled, classes, batch=b) for b in (1, 4, None)}
        facts["classes"] = {}
        for count in (4, 16, 64, 256):
            many = class_lists.parse("|".join(f"thing {i}" for i in range(count)))
            facts["classes"][count] = run(scene, folder, assemble(options, many), many)
    report.write(arguments.name, facts)


if __name__ == "__main__":
    main()
