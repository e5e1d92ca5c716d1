"""What `--refine adaptive` moves and saves: masks of labelled images beside the exact ones, with the embedded model.

`OMP_NUM_THREADS=1 python -m benchmarks.refine --most 2 --folder ../shared/labelled ../shared/train/labelled`. Pixels of
another class, mIoU of both over each set, CPU seconds of both, image by image in turn.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from benchmarks import report
from benchmarks.accuracy import LABELLED, confusion, stitched
from scripts.mini.score import places
from segearth_cli import classes as class_lists
from segearth_cli.evaluation.confusion import Confusion
from segearth_cli.prediction import predictor_for, resolve_settings
from segearth_cli.prediction.options import RunOptions

WAYS = ("exact", "adaptive")


def compared(place: Path, images: list[Path], more: dict[str, Any]) -> dict[str, Any]:
    """The figures of one set."""
    listed = class_lists.read(place / "classes.txt")
    background = next((n for n in listed.names if n in ("background", "clutter")), "none")
    asked = {"model": "mini", "classes_file": place / "classes.txt", "background": background} | more
    predictors = []
    for way in WAYS:
        settings = resolve_settings(asked | {"refine": way})
        predictors.append(predictor_for(settings.model, settings.classes, settings.options, RunOptions(quiet=True)))
    classes = predictors[0].classes
    seconds: dict[str, float] = dict.fromkeys(WAYS, 0.0)
    equal: list[float] = []
    totals: dict[str, Confusion] = {}
    for number, path in enumerate(images):
        codes = {}
        for at in (0, 1) if number % 2 else (1, 0):
            predictor, way = predictors[at], WAYS[at]
            assembled, decide = predictor.model(), predictor.decider()
            started = time.process_time()
            logits = stitched(path, assembled.segmenter, assembled, predictor.options, len(classes.queries))
            seconds[way] += time.process_time() - started
            codes[way] = decide(logits).codes.numpy()
        equal.append(float(np.mean(codes["exact"] == codes["adaptive"])))
        with rasterio.open(place / "mask" / f"{path.stem}.png") as ds:
            label = ds.read(1)
        for way in WAYS:
            found = confusion(codes[way], label, len(classes))
            totals[way] = totals[way] + found if way in totals else found
    scores = {way: 100 * float(total.mean_iou) for way, total in totals.items()}
    return {"images": len(images), "equal": equal, "cpu_seconds": seconds, "mIoU": scores}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, nargs="+", default=[LABELLED])
    parser.add_argument("--most", type=int, default=2, help="images of a set, evenly spaced; 0 = all")
    parser.add_argument("--long-side", type=int, default=448, help="0 = as they are")
    parser.add_argument("--name", default="refine")
    arguments = parser.parse_args()
    more = {"long_side": arguments.long_side} if arguments.long_side else {}
    found: dict[str, Any] = {"cpu": report.cpu_name(), "long_side": arguments.long_side}
    every: list[float] = []
    for place in (place for folder in arguments.folder for place in places(folder)):
        images = [path for path in sorted((place / "img").iterdir()) if (place / "mask" / f"{path.stem}.png").exists()]
        if arguments.most:
            images = images[:: max(1, len(images) // arguments.most)][: arguments.most]
        if images and (place / "classes.txt").exists():
            found[place.name] = compared(place, images, more)
            every += found[place.name]["equal"]
            print(place.name, found[place.name], flush=True)
    sets = [value for value in found.values() if isinstance(value, dict)]
    seconds = {way: sum(one["cpu_seconds"][way] for one in sets) for way in WAYS}
    found["all"] = {
        "images": len(every), "equal_mean": float(np.mean(every)), "equal_worst": min(every),
        "times_as_fast": seconds["exact"] / seconds["adaptive"],
        "largest_mIoU_move": max(abs(one["mIoU"]["exact"] - one["mIoU"]["adaptive"]) for one in sets),
    }  # fmt: skip
    print(found["all"])
    report.write(arguments.name, found)


if __name__ == "__main__":
    main()
