"""`make demo`: a real scene, offline, with the embedded model: mask, polygons and a picture of both in `demo/`."""

import subprocess
import sys
import time
from pathlib import Path

from scripts.overlay import overlay

ROOT = Path(__file__).parent.parent
SCENE = ROOT / "sample_tiles" / "bahamas_landsat.tif"
CLASSES = "water|sea,vegetation|forest"


def main() -> None:
    out = ROOT / "demo"
    out.mkdir(exist_ok=True)
    mask = out / "bahamas.mask.tif"
    started = time.perf_counter()
    segearth("predict", SCENE, "--classes", CLASSES, "--background", "none", "--out", mask, "--overwrite")
    segearth("vectorize", mask, "--out", out / "bahamas.gpkg", "--min-area", "20px", "--overwrite")
    overlay(str(SCENE), str(mask), out / "bahamas.png")
    names = ", ".join(path.name for path in sorted(out.iterdir()))
    print(f"demo: {time.perf_counter() - started:.0f} s; in {out}: {names}")


def segearth(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "segearth_cli", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
