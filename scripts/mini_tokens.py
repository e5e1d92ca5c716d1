"""Draw the training canvases of `mini` and compute their frozen tokens once.

python scripts/mini_tokens.py SDIST TRAIN OUT, as in train_mini.py. Needs the onnx package beside the usual ones.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from mini import tower, trunk, views

SEED = 20261


def main() -> None:
    """Write OUT/tokens.bin, regions.npy and members.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sdist", "train", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--canvases", type=int, default=12000, help="how many of the planned canvases to draw")
    options = parser.parse_args()
    torch.set_num_threads(2)
    options.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    images = views.photos(options.train)
    rows = views.plan(images, rng)[: options.canvases]
    (options.out / "members.json").write_text(json.dumps([[int(i) for i in members] for _, members in rows]))
    visual = tower.new_model(trunk.tower(trunk.read(options.sdist), tower.BLOCKS)).visual.bfloat16()
    tokens = tower.memmap(options.out / "tokens.bin", len(rows), "w+")
    regions = np.lib.format.open_memmap(options.out / "regions.npy", "w+", np.int8, (len(rows), views.GRID, views.GRID))
    done, started = 0, time.monotonic()
    for canvases, region in views.batches(images, rows, rng, 48):
        stop = done + len(canvases)
        tokens[done:stop] = tower.frozen_tokens(visual, canvases).view(torch.int16).numpy()
        regions[done:stop] = region
        done = stop
        print(f"{done}/{len(rows)} canvases, {done / (time.monotonic() - started):.0f}/s", flush=True)


if __name__ == "__main__":
    main()
