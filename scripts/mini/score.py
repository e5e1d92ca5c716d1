"""A quick dense score on labelled sets for choosing: bilinear logits, long side 448, window 224, stride 112."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from . import tower
from .objective import SCALE, calibrated

LONG, WINDOW, STRIDE = 448, 224, 112


@dataclass(frozen=True)
class Scene:
    """A labelled scene: frozen tokens of its windows, their corners, its size in inference pixels, its labels."""

    tokens: Tensor
    corners: list[tuple[int, int]]
    size: tuple[int, int]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Set:
    """One labelled set: phrases per class in the order of the label codes, and its scenes."""

    name: str
    classes: list[list[str]]
    scenes: list[Scene]


HALVED = frozenset(  # sets of the folder `labelled`; all other sets are for training, but UNSEEN
    {"dubai", "epfl_roads", "inria", "loveda", "massachusetts_roads", "potsdam_mmseg", "uuad_mumbai", "wbs_si"}
    | {"whu_aerial", "whu_sat_ii"}
)
UNSEEN = frozenset({"cn_buildings", "harvey_uav"})  # neither trained nor chosen on


def places(folder: Path) -> list[Path]:
    """The folders of the sets, by name."""
    return sorted(p for p in folder.iterdir() if (p / "img").is_dir())


def files(place: Path, part: str) -> list[Path]:
    """Images of a set: held-out, chosen-on or trained.

    Held-out are the odd-indexed of HALVED, all of UNSEEN, none of the others. Of the rest, chosen-on is a fifth of
    those of HALVED that have ten or more, an eighth of the others, at most eight; the remaining are trained.
    """
    images = sorted((place / "img").iterdir())
    if place.name in UNSEEN:
        return images if part == "held-out" else []
    if part == "held-out":
        return images[1::2] if place.name in HALVED else []
    if place.name in HALVED:
        images = images[::2]
        apart = set(images[2::5]) if len(images) >= 10 else set()
    else:
        apart = set(images[4::8][:8])
    return [f for f in images if (f in apart) == (part == "chosen-on")]


def starts(length: int, stride: int) -> list[int]:
    """Offsets of windows that cover length; the last one ends at it."""
    return [*range(0, max(length - WINDOW, 0), stride), max(length - WINDOW, 0)]


def read(folders: list[Path], visual: Any, part: str) -> list[Set]:
    """All sets that have such files, see `files`: those of HALVED at a long side of LONG, others at their own scale."""
    sets = []
    for place in [p for folder in folders for p in places(folder)]:
        classes = [line.split(",") for line in (place / "classes.txt").read_text().splitlines() if line.strip()]
        scenes = [_scene(f, visual, own_scale=place.name not in HALVED) for f in files(place, part)]
        sets.append(Set(place.name, classes, scenes))
    return [s for s in sets if s.scenes]


def _scene(image: Path, visual: Any, *, own_scale: bool) -> Scene:
    picture = Image.open(image).convert("RGB")
    factor = 1 if own_scale else LONG / max(picture.size)
    width, height = (int(n * factor + 0.5) for n in picture.size)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=None))
    fill = np.asarray(np.array(tower.MEAN) * 255 + 0.5, np.uint8)
    padded = np.broadcast_to(fill, (max(height, WINDOW), max(width, WINDOW), 3)).copy()
    padded[:height, :width] = pixels
    stride = WINDOW if own_scale else STRIDE
    corners = [(r, c) for r in starts(height, stride) for c in starts(width, stride)]
    chips = np.stack([padded[r : r + WINDOW, c : c + WINDOW] for r, c in corners])
    labels = np.asarray(Image.open(image.parents[1] / "mask" / f"{image.stem}.png"))
    return Scene(tower.frozen_tokens(visual, chips), corners, (height, width), labels)


@torch.inference_mode()
def logits(visual: Any, scene: Scene, text: Tensor, bias: float) -> Tensor:
    """Logits (Q, H, W) of a scene on its own label grid; text (Q, C)."""
    tokens = tower.end(visual, scene.tokens)
    small = (calibrated(tokens, bias) @ text.T).transpose(1, 2).reshape(len(tokens), len(text), 14, 14)
    windows = F.interpolate(small, size=(WINDOW, WINDOW), mode="bilinear", align_corners=False)
    height, width = scene.size
    total = torch.zeros(len(text), max(height, WINDOW), max(width, WINDOW))
    count = torch.zeros(total.shape[1:])
    for (r, c), window in zip(scene.corners, windows, strict=True):
        total[:, r : r + WINDOW, c : c + WINDOW] += window
        count[r : r + WINDOW, c : c + WINDOW] += 1
    mean = (total / count)[:, :height, :width]
    return F.interpolate(mean[None], size=scene.labels.shape, mode="bilinear", align_corners=False)[0]


def confusion(visual: Any, labelled: Set, embed: dict[str, Tensor], bias: float) -> NDArray[np.int64]:
    """Confusion matrix (label, prediction) of a set."""
    owner = torch.tensor([k for k, phrases in enumerate(labelled.classes) for _ in phrases])
    text = torch.stack([embed[p.strip()] for phrases in labelled.classes for p in phrases])
    matrix = np.zeros((len(labelled.classes),) * 2, np.int64)
    for scene in labelled.scenes:
        winner = (SCALE * logits(visual, scene, text, bias)).argmax(dim=0)  # the best phrase's class
        predicted = owner[winner].numpy()
        valid = scene.labels < len(matrix)
        pairs = scene.labels[valid].astype(np.int64) * len(matrix) + predicted[valid]
        matrix += np.bincount(pairs, minlength=matrix.size).reshape(matrix.shape)
    return matrix


def iou(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union per class, in per cent; nan where neither labels nor predictions have it."""
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - matrix.diagonal()
    with np.errstate(invalid="ignore"):
        return 100 * matrix.diagonal() / np.where(union == 0, np.nan, union)


def report(visual: Any, sets: list[Set], embed: dict[str, Tensor], bias: float) -> dict[str, list[float]]:
    """IoU per class of every set."""
    return {s.name: [round(float(v), 1) for v in iou(confusion(visual, s, embed, bias))] for s in sets}


def mean(scores: dict[str, list[float]]) -> float:
    """Of the sets' figures: the IoU of the second of two classes, else the mean over the classes."""
    return float(np.mean([row[1] if len(row) == 2 else np.nanmean(row) for row in scores.values()]))
