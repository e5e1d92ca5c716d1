"""What a first small mask costs: CPU seconds and peak memory of `predict` on one window, beside `import torch`.

Processes run in turn, the least of each is told, one thread each; phrases are in the cache before.
`python -m benchmarks.start`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from benchmarks import report

REPEAT = 5


def cost(words: list[str], folder: Path) -> dict[str, float]:
    """CPU seconds and peak GB of a process of Python."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"python {' '.join(words)} failed")
    return {"cpu_seconds": used.ru_utime + used.ru_stime, "peak_gb": used.ru_maxrss * 1024 / 1e9}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = np.random.default_rng(0).integers(0, 256, (3, 224, 224), dtype=np.uint8)
        profile = {"driver": "GTiff", "height": 224, "width": 224, "count": 3, "dtype": "uint8", "photometric": "RGB"}
        with rasterio.open(folder / "scene.tif", "w", **profile) as ds:
            ds.write(pixels)
        predict = ["-m", "segearth_cli", "predict", str(folder / "scene.tif"), "--classes", "water,building,background"]
        predict += ["--out", str(folder / "mask.tif"), "--overwrite", "--device", "cpu"]
        cost(predict, folder)
        runs: dict[str, list[dict[str, float]]] = {"import torch": [], "predict": []}
        for _ in range(REPEAT):
            runs["import torch"].append(cost(["-c", "import torch"], folder))
            runs["predict"].append(cost(predict, folder))
    facts: dict[str, Any] = {what: {k: min(run[k] for run in them) for k in them[0]} for what, them in runs.items()}
    facts["times_import_torch"] = facts["predict"]["cpu_seconds"] / facts["import torch"]["cpu_seconds"]
    report.write("start", {"cpu": report.cpu_name(), **facts})


if __name__ == "__main__":
    main()
