"""What clicks bring, and whether the hold-out is honest: clicks from left halves, truth from right halves.

`python -m benchmarks.calibrate --shared ../shared`. Of each labelled set some images are taken; of the left half of
each, 10 or 3 pixels of every class are drawn at random, and what `segearth calibrate` makes of them is scored on the
right half, beside what it promised. Features are kept in `--keep`, so that another try costs seconds. Prints Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray

from segearth_cli import classes as class_lists
from segearth_cli.calibration import Samples, Text, learn
from segearth_cli.evaluation import Confusion
from segearth_cli.prediction import make_plan, resolve_settings, sampled_logits, work_for
from segearth_cli.raster import open_scene
from segearth_cli.weights import assemble

SEEN = frozenset(  # sets that `mini` was trained on, or beside; what it learns from changes: name others with --seen
    [
        "dubai",
        "epfl_roads",
        "inria",
        "loveda",
        "massachusetts_roads",
        "potsdam_mmseg",
        "uuad_mumbai",
        "wbs_si",
        "whu_aerial",
        "whu_sat_ii",
    ]
)
SMALLEST = 240  # px a side, for halves to hold something
LONG_SIDE = 448  # of larger images
CANDIDATES, AREA, RIGHT = 120, 1000, 4000  # pixels of each class, of the left half, of the right half
CLICKS = (10, 3)
LOGIT_SCALE = 50.0

Pixels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Image:
    """Features of some pixels of an image, as they are kept."""

    of_set: str
    features: NDArray[np.float64]
    labels: Pixels
    places: Pixels
    parts: tuple[int, int]  # where the left half's random pixels and the right half's begin
    phrases: NDArray[np.float64]
    of_query: Pixels


def images(shared: Path, count: int) -> Iterator[tuple[str, Path, Path, Path]]:
    """Set, class file, image and mask, some of each set."""
    for folder in sorted([*(shared / "labelled").iterdir(), *(shared / "train" / "labelled").iterdir()]):
        found = sorted((folder / "img").glob("*")) if (folder / "classes.txt").is_file() else []
        chosen = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)).tolist()
        for path in (found[i] for i in chosen if found):
            yield folder.name, folder / "classes.txt", path, next((folder / "mask").glob(f"{path.stem}.*"))


def drawn(labels: NDArray[Any], classes: int, seed: int) -> tuple[Pixels, tuple[int, int]] | None:
    """Pixels (n, 2): candidates for clicks, any of the left half, any of the right half; None where too few."""
    rng, half = np.random.default_rng(seed), labels.shape[1] // 2

    def some(where: NDArray[np.bool_], count: int, first: int = 0) -> Pixels:
        places = np.argwhere(where)
        picked = places[rng.choice(len(places), min(count, len(places)), replace=False)]
        moved: Pixels = picked + np.array([0, first])
        return moved

    left, right = labels[:, :half], labels[:, half:]
    there = [code for code in range(classes) if (left == code).any()]
    if len(there) < 2 or (right < classes).sum() < RIGHT // 2:
        return None
    clicks = np.concatenate([some(left == code, CANDIDATES) for code in there])
    area, rest = some(left < classes, AREA), some(right < classes, RIGHT, half)
    return np.concatenate([clicks, area, rest]), (len(clicks), len(clicks) + len(area))


def encoded(of_set: str, classes_file: Path, path: Path, mask: Path) -> dict[str, Any] | None:
    """Features of pixels of an image by the embedded model; None for one that is too small."""
    with rasterio.open(mask) as ds:
        labels = ds.read(1)
    scene = open_scene(str(path))
    if min(labels.shape) < SMALLEST or labels.shape != (scene.height, scene.width):
        return None
    large = max(labels.shape) > 600
    given = {"classes": class_lists.read(classes_file)}
    settings = resolve_settings(
        {"model": "mini", "precision": "fp32", "long_side": LONG_SIDE if large else None}, given["classes"]
    )
    seed = int.from_bytes(hashlib.sha256(f"{of_set}/{path.name}".encode()).digest()[:4], "big")
    picked = drawn(labels, len(given["classes"]), seed)
    if picked is None:
        return None
    assembled = assemble(settings.model, given["classes"])
    plan, channels = make_plan(scene, settings.options, assembled.native), assembled.of_clip.encoder.channels
    model, work = assembled.of_clip.asking(torch.eye(channels)), work_for(plan, assembled.device, None)
    features = sampled_logits(scene, plan, model, channels, picked[0].astype(np.int64), work)
    return {
        "X": features.astype(np.float16), "T": assembled.of_clip.phrases.numpy(), "y": labels[tuple(picked[0].T)],
        "qc": np.array(given["classes"].query_class), "places": picked[0],
        "n": np.diff([0, *picked[1], len(features)]),
    }  # fmt: skip


def kept(folder: Path, shared: Path, count: int) -> Iterator[Image]:
    """Images with their features, encoded where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for of_set, classes_file, path, mask in images(shared, count):
        place = folder / f"{of_set}__{path.stem}.npz"
        if not place.is_file():
            found = encoded(of_set, classes_file, path, mask)
            if found is None:
                continue
            np.savez(place, **found)
        with np.load(place) as z:
            first, second, _ = np.cumsum(z["n"]).tolist()
            yield Image(
                of_set, z["X"].astype(np.float64), z["y"].astype(np.int64), z["places"].astype(np.int64),
                (first, second), z["T"].astype(np.float64), z["qc"].astype(np.int64),
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One calibration: fractions."""

    of_set: str
    clicks: int
    kept: str
    text: float  # mean IoU on the right half
    calibrated: float
    promised: float
    accuracy: float
    promised_accuracy: float


def tried(image: Image, clicks: int, seed: int) -> Row:
    """Clicks drawn by a seed, and what comes of them."""
    classes, (first, second) = int(image.of_query[-1]) + 1, image.parts
    rng = np.random.default_rng(seed)
    own = [rng.permutation(np.flatnonzero(image.labels[:first] == code))[:clicks] for code in range(classes)]
    which = np.concatenate(own)

    def decide(logits: NDArray[np.float64]) -> Pixels:
        best = np.stack([logits[:, image.of_query == code].max(axis=1) for code in range(classes)], axis=1)
        codes: Pixels = best.argmax(axis=1)
        return codes

    text = Text(image.phrases, image.of_query, LOGIT_SCALE, decide)
    samples = Samples(
        image.features[which], image.labels[which], np.arange(len(which)), image.places[which],
        image.features[first:second],
    )  # fmt: skip
    learned = learn(samples, text, [str(code) for code in range(classes)])
    rest, truth = image.features[second:], image.labels[second:]
    vectors = image.phrases + learned.directions[image.of_query]
    calibrated = counted(truth, decide(rest @ vectors.T + learned.biases[image.of_query]), classes)
    before, promise = counted(truth, decide(rest @ image.phrases.T), classes), learned.report["variants"][learned.kept]
    return Row(
        image.of_set, clicks, learned.kept, before.mean_iou, calibrated.mean_iou, promise["miou"],
        calibrated.accuracy, promise["accuracy"],
    )  # fmt: skip


def counted(truth: Pixels, codes: Pixels, classes: int) -> Confusion:
    """The confusion of some pixels."""
    table = np.zeros((classes, classes + 1), np.int64)
    np.add.at(table, (truth, codes), 1)
    return Confusion(table)


def line(name: str, rows: Sequence[Row]) -> str:
    """A row of the table."""

    def mean(values: Sequence[float], digits: str = "+.1f") -> str:
        return f"{100 * np.mean(values):{digits}}"

    gain = [row.calibrated - row.text for row in rows]
    off = [row.promised - row.calibrated for row in rows]
    off_accuracy = [row.promised_accuracy - row.accuracy for row in rows]
    text = sum(row.kept == "text" for row in rows) / len(rows)
    promise = [f"{mean(values)} ± {100 * np.std(values):.0f}" for values in (off, off_accuracy)]
    return (
        f"| {name} | {len(rows)} | {mean([row.text for row in rows], '.1f')} | {mean(gain)} | {100 * min(gain):+.0f} "
        f"| {text:.0%} | {' | '.join(promise)} |"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--keep", type=Path, default=Path("features"))
    parser.add_argument("--images", type=int, default=6, help="of each set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seen", nargs="*", default=sorted(SEEN), help="sets that the model knows")
    asked = parser.parse_args()
    rows = [
        tried(image, clicks, seed)
        for image in kept(asked.keep, asked.shared, asked.images)
        for clicks in CLICKS
        for seed in range(asked.seeds)
    ]
    print(
        "| clicks a class | tries | text, mIoU | gain | worst | kept text | promised mIoU less found | accuracy |\n"
        "|-|-|-|-|-|-|-|-|"
    )
    for clicks in CLICKS:
        own = [row for row in rows if row.clicks == clicks]
        groups = {"all sets": own, "unseen sets": [row for row in own if row.of_set not in asked.seen]}
        groups["seen sets"] = [row for row in own if row.of_set in asked.seen]
        for name, group in groups.items():
            if group:
                print(line(f"{clicks}, {name}", group))
    print("\n| set, 10 clicks | tries | text, mIoU | gain | worst | kept text | promised less found | accuracy |")
    print("|-|-|-|-|-|-|-|-|")
    for of_set in sorted({row.of_set for row in rows}):
        print(line(of_set, [row for row in rows if row.of_set == of_set and row.clicks == CLICKS[0]]))


if __name__ == "__main__":
    main()
