"""Time and peak memory of `segearth preview` for masks of several sizes, as a picture and as a page.

Each runs in a process of its own; its peak is Linux's VmHWM, as ru_maxrss would count the process that it was forked
from. The masks are sparse, with overviews: three classes in blobs, on squares of 8,192 px every 16,384, so that the
largest has 3.3 gigapixels of data. `python -m benchmarks.preview`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.windows import Window

from benchmarks import report
from segearth_cli import classes as class_lists

SIDES = (2_000, 20_000, 100_000)  # pixels
SQUARE, EVERY, BLOB = 8192, 16384, 32
CLASSES = "water,forest,building"
RUN = (
    "import json, re, sys, time; from segearth_cli import cli; began = time.monotonic(); code = cli.run(); "
    "peak = re.search('VmHWM: *(.*) kB', open('/proc/self/status').read().replace(chr(9), '')); "
    "print(json.dumps([time.process_time(), time.monotonic() - began, int(peak[1])])); sys.exit(code)"
)


def made(path: Path, side: int) -> Path:
    """A sparse, tiled mask with overviews and names of classes."""
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint8", "nodata": 255}
    profile |= {
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "sparse_ok": True,
        "compress": "deflate",
        "zlevel": 1,
    }
    profile |= {"crs": "EPSG:32632", "transform": from_origin(300_000, 5_600_000, 0.5, 0.5), "BIGTIFF": "YES"}
    rng = np.random.default_rng(0)
    with rasterio.open(path, "w", **profile) as ds:
        ds.update_tags(SEGEARTH_CLASSES=class_lists.to_tag(class_lists.parse(CLASSES)))
        for row in range(0, side, EVERY):
            for col in range(0, side, EVERY):
                height, width = min(SQUARE, side - row), min(SQUARE, side - col)
                blobs = rng.integers(0, 3, (-(-height // BLOB), -(-width // BLOB)), dtype=np.uint8)
                pixels = np.kron(blobs, np.ones((BLOB, BLOB), np.uint8))[:height, :width]
                ds.write(pixels, 1, window=Window(col, row, width, height))
    with rasterio.Env(SPARSE_OK_OVERVIEW="TRUE", COMPRESS_OVERVIEW="DEFLATE"), rasterio.open(path, "r+") as ds:
        factors = [2**power for power in range(1, 9) if side >> power >= 256]
        ds.build_overviews(factors, Resampling.nearest)
    return path


def drawn(mask: Path, out: Path) -> dict[str, Any]:
    """What one preview takes."""
    command = [sys.executable, "-c", RUN, "preview", str(mask), "-o", str(out), "--overwrite"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu, wall, peak = json.loads(done.stdout.splitlines()[-1])
    return {"cpu_seconds": cpu, "seconds": wall, "peak_mb": peak * 1024 / 1e6, "file_mb": out.stat().st_size / 1e6}


def main() -> None:
    """Runs all and keeps the figures."""
    facts: dict[str, Any] = {"cpu": report.cpu_name()}
    with tempfile.TemporaryDirectory() as name:
        for side in SIDES:
            mask = made(Path(name) / f"{side}.tif", side)
            facts[f"{side} px"] = {kind: drawn(mask, Path(name) / f"x.{kind}") for kind in ("png", "html")}
            mask.unlink()
    report.write("preview", facts)


if __name__ == "__main__":
    main()
