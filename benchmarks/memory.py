"""Peak memory of `segearth predict` for scenes of many sizes, and how long the model waits for pixels.

Each scene runs in a process of its own (peak resident set). The tall and the wide scene are sparse: data
in a square every 4,000 px, all rows read, windows without data skipped. `python -m benchmarks.memory`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from benchmarks import processes, report

SIZES = {"2000 x 2000": (2000, 2000), "40000 x 2000": (40_000, 2000), "2000 x 40000": (2000, 40_000)}  # height x width
SQUARE, EVERY = 448, 4000
MODEL = Path(__file__).parent.parent / "tests" / "parity" / "sliding"


def made(path: Path, height: int, width: int) -> Path:
    """A sparse, tiled RGB GeoTIFF with squares of noise."""
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8", "nodata": 0}
    rng = np.random.default_rng(0)
    with rasterio.open(
        path, "w", tiled=True, blockxsize=512, blockysize=512, sparse_ok=True, photometric="RGB", **profile
    ) as ds:
        for row in range(0, height, EVERY):
            for col in range(0, width, EVERY):
                square = rng.integers(1, 256, (3, SQUARE, SQUARE), dtype=np.uint8)
                ds.write(square, window=Window(col, row, SQUARE, SQUARE))
    return path


def run(scene: Path, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Peak memory in GB and what the run tells of itself."""
    command = [sys.executable, "-m", "segearth_cli", "predict", str(scene), "--json", "--quiet", "--overwrite"]
    command += ["--out", str(folder / "mask.tif"), "--device", "cpu", "--precision", "fp32", *arguments]
    done = processes.run(command)
    if done.code:
        raise SystemExit(f"{scene.name}: {done.stderr}")
    summary = json.loads(done.stdout)
    return {
        "peak_gb": done.peak_bytes / 1e9,
        "windows": summary["windows"],
        "computed_windows": summary["computed_windows"],
        "seconds": summary["seconds"],
        "waiting_share": summary["waited_seconds"] / summary["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=f"local-dir:{MODEL / 'model'}")
    parser.add_argument("--upsampler", default=str(MODEL / "upsampler.safetensors"))
    parser.add_argument("--classes", default="water|river,building|roof,road,tree|forest,grass")
    arguments = parser.parse_args()
    given = ["--model", arguments.model, "--upsampler", arguments.upsampler, "--classes", arguments.classes]
    facts: dict[str, Any] = {"cpu": report.cpu_name()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, (height, width) in SIZES.items():
            facts[label] = run(made(folder / "scene.tif", height, width), folder, given)
    report.write("memory", facts)


if __name__ == "__main__":
    main()
