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


def places(folder: Path) -> list[Path]:
    """The folders of the sets, by name."""
    return sorted(p for p in folder.iterdir() if p.is_dir())


def files(place: Path, part: str) -> list[Path]:
    """Images of a set: held-out (odd-indexed), or of the others chosen-on (a fifth of ten or more) or trained."""
    images = sorted((place / "img").iterdir())
    if part == "held-out":
        return images[1::2]
    images = images[::2]
    apart = set(images[2::5]) if len(images) >= 10 else set()
    return [f for f in images if (f in apart) == (part == "chosen-on")]


def starts(length: int) -> list[int]:
    """Offsets of windows that cover length; the last one ends at it."""
    return [*range(0, max(length - WINDOW, 0), STRIDE), max(length - WINDOW, 0)]


def read(folder: Path, visual: Any, part: str) -> list[Set]:
    """All sets that have such files, see `files`; visual in bfloat16."""
    sets = []
    for place in places(folder):
        classes = [line.split(",") for line in (place / "classes.txt").read_text().splitlines() if line.strip()]
        scenes = [_scene(f, place / "mask" / f"{f.stem}.png", visual) for f in files(place, part)]
        sets.append(Set(place.name, classes, scenes))
    return [s for s in sets if s.scenes]


def _scene(image: Path, mask: Path, visual: Any) -> Scene:
    picture = Image.open(image).convert("RGB")
    factor = LONG / max(picture.size)
    width, height = (int(n * factor + 0.5) for n in picture.size)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=None))
    fill = np.asarray(np.array(tower.MEAN) * 255 + 0.5, np.uint8)
    padded = np.broadcast_to(fill, (max(height, WINDOW), max(width, WINDOW), 3)).copy()
    padded[:height, :width] = pixels
    corners = [(r, c) for r in starts(height) for c in starts(width)]
    chips = np.stack([padded[r : r + WINDOW, c : c + WINDOW] for r, c in corners])
    return Scene(tower.frozen_tokens(visual, chips), corners, (height, width), np.asarray(Image.open(mask)))


@torch.inference_mode()
def logits(visual: Any, scene: Scene, text: Tensor, *, bias: bool = True) -> Tensor:
    """Logits (Q, H, W) of a scene on its own label grid; text (Q, C)."""
    tokens = tower.end(visual, scene.tokens.to(visual.proj.dtype))
    unit = F.normalize(tokens.float(), dim=-1)[:, 1:]
    vectors = calibrated(tokens)[1] if bias else unit
    small = (vectors @ text.T).transpose(1, 2).reshape(len(tokens), len(text), 14, 14)
    windows = F.interpolate(small, size=(WINDOW, WINDOW), mode="bilinear", align_corners=False)
    height, width = scene.size
    total = torch.zeros(len(text), max(height, WINDOW), max(width, WINDOW))
    count = torch.zeros(total.shape[1:])
    for (r, c), window in zip(scene.corners, windows, strict=True):
        total[:, r : r + WINDOW, c : c + WINDOW] += window
        count[r : r + WINDOW, c : c + WINDOW] += 1
    mean = (total / count)[:, :height, :width]
    return F.interpolate(mean[None], size=scene.labels.shape, mode="bilinear", align_corners=False)[0]


def confusion(visual: Any, labelled: Set, embed: dict[str, Tensor], *, bias: bool = True) -> NDArray[np.int64]:
    """Confusion matrix (label, prediction) of a set."""
    owner = torch.tensor([k for k, phrases in enumerate(labelled.classes) for _ in phrases])
    text = torch.stack([embed[p.strip()] for phrases in labelled.classes for p in phrases])
    matrix = np.zeros((len(labelled.classes),) * 2, np.int64)
    for scene in labelled.scenes:
        winner = (SCALE * logits(visual, scene, text, bias=bias)).argmax(dim=0)  # the best phrase's class
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


def report(visual: Any, sets: list[Set], embed: dict[str, Tensor], *, bias: bool = True) -> dict[str, list[float]]:
    """IoU per class of every set."""
    return {s.name: [round(float(v), 1) for v in iou(confusion(visual, s, embed, bias=bias))] for s in sets}
