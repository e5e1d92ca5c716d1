"""What it takes to find out that all scenes of a manifest are done: `python -m benchmarks.resume --scenes 1000 10000`.

Scenes are names of one small file, masks copies of its mask with the name of each in their tag, so that making them
takes seconds; the command is the real one, in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

from benchmarks import processes, report

OPTIONS = (
    *("-c", "water,building", "-o", "out/"),
    *("-m", "mini", "--upsampler", "none", "-d", "cpu", "--precision", "fp32"),
)
RUN = """
import sys
from segearth_cli import cli
code = cli.run()
print("open_clip" in sys.modules, file=sys.stderr)
sys.exit(code)
"""


def command(folder: Path, *arguments: str) -> tuple[processes.Cost, bool]:
    """What `segearth predict` costs in a folder, and whether phrases were embedded."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", RUN, "predict", *arguments, *OPTIONS, "-q"]
    used = processes.run(words, cwd=folder, env=environment)
    if used.code:
        raise SystemExit(used.stderr)
    return used, used.stderr.splitlines()[-1] == "True"


def measured(folder: Path, scenes: int) -> dict[str, Any]:
    """The resume of so many finished scenes."""
    first = folder / "in" / "s00000.tif"
    first.parent.mkdir()
    with rasterio.open(
        first, "w", driver="GTiff", height=40, width=50, count=3, dtype="uint8", crs="EPSG:32632", photometric="RGB",
        transform=from_origin(356_000, 5_645_000, 0.5, 0.5),
    ) as ds:  # fmt: skip
        ds.write(np.random.default_rng(0).integers(0, 255, (3, 40, 50), np.uint8))
    command(folder, f"in/{first.name}")
    mask = (folder / "out" / "s00000.mask.tif").read_bytes()
    for number in range(1, scenes):
        name = f"s{number:05d}"
        os.link(first, first.with_name(f"{name}.tif"))
        (folder / "out" / f"{name}.mask.tif").write_bytes(mask.replace(b"s00000.tif", f"{name}.tif".encode()))
    names = [f"in/s{number:05d}.tif" for number in range(scenes)]
    (folder / "list.csv").write_text("\n".join(["scene", *names]) + "\n", encoding="utf-8")
    used, embedded = command(folder, "--manifest", "list.csv", "--summary", "done.csv")
    states = [line.split(",")[2] for line in (folder / "done.csv").read_text(encoding="utf-8").splitlines()[1:]]
    if states != ["skipped"] * scenes or embedded:
        raise SystemExit("not a resume: scenes were computed")
    return {"scenes": scenes, "cpu_seconds": used.cpu_seconds, "peak_megabytes": used.peak_bytes / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, nargs="+", default=[1000, 10_000])
    arguments = parser.parse_args()
    facts: dict[str, Any] = {"cpu": report.cpu_name(), "runs": []}
    for scenes in arguments.scenes:
        with tempfile.TemporaryDirectory() as name:
            facts["runs"].append(measured(Path(name), scenes))
        print(facts["runs"][-1], flush=True)
    report.write("resume", facts)


if __name__ == "__main__":
    main()
