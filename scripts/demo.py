"""`make demo`: a real scene, offline, with the embedded model: mask, polygons, a picture and a page in `demo/`."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCENE = ROOT / "sample_tiles" / "bahamas_landsat.tif"
CLASSES = "water|sea,forest|vegetation,sand|beach,bare soil"


def main() -> None:
    out = ROOT / "demo"
    out.mkdir(exist_ok=True)
    started = time.perf_counter()
    mask = out / "bahamas.mask.tif"
    words = ("--classes", CLASSES, "--background", "none", "--preview", "html")
    segearth("predict", SCENE, *words, "--out", mask, "--overwrite")
    segearth("vectorize", mask, "--out", out / "bahamas.gpkg", "--min-area", "20px", "--overwrite")
    segearth("preview", mask, "--scene", SCENE, "--out", out / "bahamas.preview.png", "--overwrite")
    names = ", ".join(path.name for path in sorted(out.iterdir()))
    print(f"demo: {time.perf_counter() - started:.0f} s; in {out}: {names}")


def segearth(*arguments: object) -> None:
    """Runs the command line, which must succeed."""
    subprocess.run([sys.executable, "-m", "segearth_cli", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
