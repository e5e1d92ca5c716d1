"""Draw the training canvases of `mini` and compute their frozen tokens once.

python -m scripts.mini_tokens SDIST TRAIN LABELLED OUT, as in train_mini.py. Needs the package onnx too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.mini import labelled, tower, trunk, views

SEED = 20261
BATCH = 48


def main() -> None:
    """Write OUT/captioned and OUT/labelled: tokens.bin, what the patches or cells show, and members.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sdist", "train", "labelled", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument(
        "--canvases", type=int, default=10000, help="how many of the planned captioned canvases to draw"
    )
    options = parser.parse_args()
    torch.set_num_threads(2)
    visual = tower.new_model(trunk.tower(trunk.read(options.sdist), tower.BLOCKS)).visual.bfloat16()
    rng = np.random.default_rng(SEED)
    crops = labelled.plan(options.labelled, rng)
    drawn = labelled.batches(crops, rng, BATCH)
    write(options.out / "labelled", visual, drawn, [of for of, _ in crops], labelled.CELLS)
    images = views.photos(options.train)
    rows = views.plan(images, rng)[: options.canvases]
    drawn = views.batches(images, rows, rng, BATCH)
    write(options.out / "captioned", visual, drawn, [[int(i) for i in members] for _, members in rows], trunk.GRID)


def write(
    out: Path, visual: Any, drawn: Iterator[tuple[NDArray[np.uint8], NDArray[np.int8]]], members: list[Any], side: int
) -> None:
    """Tokens of the drawn canvases and the grids (side, side) that say what they show."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "members.json").write_text(json.dumps(members))
    tokens = tower.memmap(out / "tokens.bin", len(members), "w+")
    grids = np.lib.format.open_memmap(out / "grids.npy", "w+", np.int8, (len(members), side, side))
    done, started = 0, time.monotonic()
    for canvases, grid in drawn:
        stop = done + len(canvases)
        tokens[done:stop] = tower.frozen_tokens(visual, canvases).view(torch.int16).numpy()
        grids[done:stop] = grid
        done = stop
        print(f"{out.name}: {done}/{len(members)}, {done / (time.monotonic() - started):.0f}/s", flush=True)


if __name__ == "__main__":
    main()
