"""What a first small mask costs: CPU seconds and peak memory of `predict` on one window, beside `import torch`.

Processes run in turn, the least of each is told, one thread each; phrases are in the cache before.
`python -m benchmarks.start`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from benchmarks import report
from benchmarks.processes import cost

REPEAT = 5


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
