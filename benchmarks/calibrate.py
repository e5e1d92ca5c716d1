"""What clicks bring, and whether the hold-out is honest: clicks from left halves, truth from right halves.

`python -m benchmarks.calibrate --shared ../shared`. Of each labelled set some images are taken; of the left half of
each, 30, 10 or 3 pixels of every class are drawn at random, and what `segearth calibrate` makes of them is scored on
the right half, beside what it promised. Sets that `mini` never saw, images held out of sets that it was trained beside,
and images that it was trained on are told apart. Features are kept in `--keep`, so that another try costs seconds.
Prints Markdown.
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

from scripts.mini.score import UNSEEN, files, places
from segearth_cli import classes as class_lists
from segearth_cli.calibration import Samples, Text, learn
from segearth_cli.evaluation import Confusion
from segearth_cli.model import LOGIT_SCALE
from segearth_cli.prediction import make_plan, resolve_settings, sampled_logits, windows_at, work_for
from segearth_cli.raster import open_scene
from segearth_cli.weights import assemble

UNSEEN_SETS, HELD_IMAGES, TRAINED_ON = "sets never seen", "held images", "trained on"
SMALLEST = 240  # px a side, for halves to hold something
LONG_SIDE = 448  # of larger images
CANDIDATES, AREA, RIGHT = 120, 1000, 4000  # pixels of each class, of what is run for the left half, of the right half
DRAWS = 1000  # of a bootstrap
CLICKS = (30, 10, 3)

Pixels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Image:
    """Features of some pixels of an image, as they are kept."""

    of_set: str
    kind: str
    features: NDArray[np.float64]
    labels: Pixels
    places: Pixels
    parts: tuple[int, int]  # where the random pixels of what is run for the left half begin, and the right half's
    phrases: NDArray[np.float64]
    of_query: Pixels


@dataclass(frozen=True, slots=True)
class Choice:
    """Which images are tried."""

    count: int
    """Of each set that the model did not see, or of its held images."""
    trained: int
    """Of each set that it was trained on."""
    unseen: frozenset[str]
    """Sets that it never saw."""

    def of(self, place: Path) -> list[tuple[str, Path]]:
        """Kind and path of images of a set, evenly from each kind."""
        if place.name in self.unseen:
            groups = {UNSEEN_SETS: (sorted((place / "img").iterdir()), self.count)}
        else:
            trained = sorted(files(place, "trained") + files(place, "chosen-on"))
            groups = {HELD_IMAGES: (files(place, "held-out"), self.count), TRAINED_ON: (trained, self.trained)}
        found = []
        for kind, (paths, count) in groups.items():
            chosen = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)).tolist()
            found += [(kind, paths[i]) for i in chosen if paths]
        return found


def images(shared: Path, choice: Choice) -> Iterator[tuple[str, str, Path, Path, Path]]:
    """Set, kind, class file, image and mask."""
    for place in [*places(shared / "labelled"), *places(shared / "train" / "labelled")]:
        for kind, path in choice.of(place):
            yield place.name, kind, place / "classes.txt", path, next((place / "mask").glob(f"{path.stem}.*"))


def drawn(labels: NDArray[Any], classes: int, seed: int, reach: int) -> tuple[Pixels, tuple[int, int]] | None:
    """Pixels (n, 2): candidates for clicks, any of the first `reach` columns, any of the right half.

    None where there are too few. reach: of the windows that hold a pixel of the left half.
    """
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
    area, rest = some(labels[:, :reach] < classes, AREA), some(right < classes, RIGHT, half)
    return np.concatenate([clicks, area, rest]), (len(clicks), len(clicks) + len(area))


def encoded(of_set: str, classes_file: Path, path: Path, mask: Path, model_name: str) -> dict[str, Any] | None:
    """Features of pixels of an image; None for one that is too small."""
    with rasterio.open(mask) as ds:
        labels = ds.read(1)
    scene = open_scene(str(path))
    if min(labels.shape) < SMALLEST or labels.shape != (scene.height, scene.width):
        return None
    large = max(labels.shape) > 600
    given = {"classes": class_lists.read(classes_file)}
    settings = resolve_settings(
        {"model": model_name, "precision": "fp32", "long_side": LONG_SIDE if large else None}, given["classes"]
    )
    seed = int.from_bytes(hashlib.sha256(f"{of_set}/{path.name}".encode()).digest()[:4], "big")
    assembled = assemble(settings.model, given["classes"])
    plan, channels = make_plan(scene, settings.options, assembled.native), assembled.of_clip.encoder.channels
    left = np.argwhere(np.ones((scene.height, scene.width // 2), bool))
    reach = max(window.right for window in windows_at(plan, left)) * scene.width // plan.cols
    picked = drawn(labels, len(given["classes"]), seed, reach)
    if picked is None:
        return None
    model, work = assembled.of_clip.asking(torch.eye(channels)), work_for(plan, assembled.device, None)
    features = sampled_logits(scene, plan, model, channels, picked[0].astype(np.int64), work)
    return {
        "X": features.astype(np.float16), "T": assembled.of_clip.phrases.numpy(), "y": labels[tuple(picked[0].T)],
        "qc": np.array(given["classes"].query_class), "places": picked[0],
        "n": np.diff([0, *picked[1], len(features)]),
    }  # fmt: skip


def kept(folder: Path, shared: Path, choice: Choice, model: str) -> Iterator[Image]:
    """Images with their features, encoded where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for of_set, kind, classes_file, path, mask in images(shared, choice):
        place = folder / f"{of_set}__{path.stem}.npz"
        if not place.is_file():
            found = encoded(of_set, classes_file, path, mask, model)
            if found is None:
                continue
            np.savez(place, **found)
        with np.load(place) as z:
            first, second, _ = np.cumsum(z["n"]).tolist()
            yield Image(
                of_set, kind, z["X"].astype(np.float64), z["y"].astype(np.int64), z["places"].astype(np.int64),
                (first, second), z["T"].astype(np.float64), z["qc"].astype(np.int64),
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One calibration: fractions."""

    image: Image
    clicks: int
    kept: str
    text: float  # mean IoU on the right half
    calibrated: float
    promised: float
    known: float  # mean IoU of the classes with clicks, which the promise is about
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
    known = calibrated.iou[np.unique(image.labels[which])]
    return Row(
        image, clicks, learned.kept, before.mean_iou, calibrated.mean_iou, promise["miou"],
        float(np.nanmean(known)) if np.isfinite(known).any() else promise["miou"],
        calibrated.accuracy, promise["accuracy"],
    )  # fmt: skip


def counted(truth: Pixels, codes: Pixels, classes: int) -> Confusion:
    """The confusion of some pixels."""
    table = np.zeros((classes, classes + 1), np.int64)
    np.add.at(table, (truth, codes), 1)
    return Confusion(table)


def line(name: str, rows: Sequence[Row]) -> str:
    """A row of the table; in brackets the 95 % interval when the images are drawn again 1,000 times."""
    gain = [row.calibrated - row.text for row in rows]
    off = [row.promised - row.known for row in rows]
    off_accuracy = [row.promised_accuracy - row.accuracy for row in rows]
    text, pictures = sum(row.kept == "text" for row in rows) / len(rows), [id(row.image) for row in rows]
    promise = [f"{_mean(values, pictures)} ± {100 * np.std(values):.0f}" for values in (off, off_accuracy)]
    before = 100 * np.mean([row.text for row in rows])
    return (
        f"| {name} | {len(set(pictures))} | {before:.1f} | {_mean(gain, pictures)} | {100 * min(gain):+.0f} "
        f"| {text:.0%} | {' | '.join(promise)} |"
    )


def _mean(values: Sequence[float], pictures: Sequence[int]) -> str:
    """A mean in per cent with its interval: several values of an image are drawn together."""
    _, which = np.unique(pictures, return_inverse=True)
    count = int(which.max()) + 1
    sums, numbers = np.bincount(which, values), np.bincount(which)
    picked = np.random.default_rng(0).integers(0, count, (DRAWS, count))
    low, high = np.percentile(sums[picked].sum(axis=1) / numbers[picked].sum(axis=1), [2.5, 97.5])
    return f"{100 * np.mean(values):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--keep", type=Path, default=Path("features"))
    parser.add_argument("--images", type=int, default=10, help="of each set never seen, and held ones of the others")
    parser.add_argument("--trained", type=int, default=2, help="of each set that the model was trained on")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--unseen", nargs="*", default=sorted(UNSEEN), help="sets that the model never saw")
    asked = parser.parse_args()
    choice = Choice(asked.images, asked.trained, frozenset(asked.unseen))
    rows = [
        tried(image, clicks, seed)
        for image in kept(asked.keep, asked.shared, choice, asked.model)
        for clicks in CLICKS
        for seed in range(asked.seeds)
    ]
    heading = (
        "images | text, mIoU | gain | worst | kept text | promised less found: mIoU | accuracy |\n" + "|-" * 8 + "|"
    )
    for kind in (UNSEEN_SETS, HELD_IMAGES, TRAINED_ON):
        if any(row.image.kind == kind for row in rows):
            print(f"\n| {kind}, clicks a class | {heading}")
            for clicks in CLICKS:
                print(line(str(clicks), [row for row in rows if (row.image.kind, row.clicks) == (kind, clicks)]))
    print(f"\n| set, {CLICKS[1]} clicks | {heading}")
    for kind, of_set in sorted({(row.image.kind, row.image.of_set) for row in rows}):
        own = [row for row in rows if (row.image.kind, row.image.of_set, row.clicks) == (kind, of_set, CLICKS[1])]
        print(line(f"{of_set}, {kind}", own))


if __name__ == "__main__":
    main()
