"""Draw the training canvases of `mini` and compute their frozen tokens once.

python -m scripts.mini_tokens SDIST TRAIN LABELLED OUT, as in train_mini.py. Needs the package onnx too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.mini import labelled, score, tower, trunk, views, words

Painter = Callable[[int, np.random.Generator], tuple[NDArray[np.uint8], NDArray[np.int8]]]
SEED = 20262
BATCH = 32
PLANNED = 12000  # labelled canvases that others are mixed into


def main() -> None:
    """Write OUT/captioned and OUT/labelled: tokens.bin, what the patches or cells show, and members.json.

    Beside them known.npy, which words each captioned image shows, and scored.pt, the scenes that training is scored by.
    """
    options = _options()
    torch.set_num_threads(1)
    visual = tower.new_model(trunk.tower(trunk.read(options.sdist), tower.BLOCKS)).visual
    folders = [options.labelled, options.train / "labelled"]
    options.out.mkdir(parents=True, exist_ok=True)
    if "captioned" in options.only:
        images = views.photos(options.train)
        np.save(options.out / "known.npy", [words.presence(p.captions, p.stem, p.table) for p in images])
        rows = views.plan(images, np.random.default_rng(SEED))[: options.captioned]
        shown = [[int(i) for i in members] for _, members in rows]
        write(options.out / "captioned", visual, views.painter(images, rows), shown, trunk.GRID)
    if "labelled" in options.only:
        crops = labelled.plan(folders, np.random.default_rng(SEED))[:PLANNED]
        members = [of for of, _ in crops[: options.crops]]
        write(options.out / "labelled", visual, labelled.painter(crops), members, labelled.CELLS)
    if "scored" in options.only:
        torch.save(score.read(folders, visual, "chosen-on"), options.out / "scored.pt")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sdist", "train", "labelled", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--captioned", type=int, default=1504, help="how many of the planned canvases to draw")
    parser.add_argument("--crops", type=int, default=6016, help="the same of the labelled ones")
    parts = ["captioned", "labelled", "scored"]
    parser.add_argument("--only", nargs="+", default=parts, choices=parts, help="parts, so that cores share the work")
    return parser.parse_args()


def write(out: Path, visual: Any, paint: Painter, members: list[Any], side: int) -> None:
    """Tokens of the drawn canvases and the grids (side, side) that say what they show; each batch has its own seed."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "members.json").write_text(json.dumps(members))
    tokens = tower.memmap(out / "tokens.bin", len(members), "w+")
    grids = np.lib.format.open_memmap(out / "grids.npy", "w+", np.int8, (len(members), side, side))
    started = time.monotonic()

    def batch(start: int) -> None:
        rng = np.random.default_rng([SEED, start])
        stop = min(start + BATCH, len(members))
        drawn = [paint(row, rng) for row in range(start, stop)]
        grids[start:stop] = np.stack([grid for _, grid in drawn])
        with torch.autocast("cpu", torch.bfloat16):
            found = tower.frozen_tokens(visual, np.stack([canvas for canvas, _ in drawn]))
        tokens[start:stop] = found.bfloat16().view(torch.int16).numpy()

    for start in range(0, len(members), BATCH):
        batch(start)
        done = min(start + BATCH, len(members))
        (out / "done").write_text(f"{done}\n")
        print(f"{out.name}: {done}/{len(members)}, {done / (time.monotonic() - started):.1f}/s", flush=True)


if __name__ == "__main__":
    main()
