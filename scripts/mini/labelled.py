"""Training crops of the labelled sets: only even-indexed files, and of large sets not every fifth of these."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from . import words
from .score import LONG, files, places
from .views import SIDE, fitted, recoloured

CELL = 8  # pixels of a label cell
CELLS = SIDE // CELL
IGNORED = -1
CROPS = {  # of each image
    "dubai": 130, "epfl_roads": 150, "inria": 120, "loveda": 300, "massachusetts_roads": 150, "potsdam_mmseg": 150,
    "uuad_mumbai": 35, "wbs_si": 38, "whu_aerial": 120, "whu_sat_ii": 120,
}  # fmt: skip


@dataclass(frozen=True)
class Legend:
    """What the labels of a set mean. classes: for each code the indices of its words, the background last of all.

    near: (K, W + 1) bool, words that may be what a pixel of the code shows when the user names others.
    """

    name: str
    classes: list[list[int]]
    near: Tensor


def legends(folder: Path) -> list[Legend]:
    """The legend of every set, in the order of their names."""
    return [_legend(place) for place in places(folder)]


def _legend(place: Path) -> Legend:
    owner = {p: i for i, w in enumerate(words.WORDS.values()) for p in w.phrases}
    nothing = len(words.NAMES)
    lines = [line for line in (place / "classes.txt").read_text().splitlines() if line.strip()]
    classes = [sorted({owner.get(p.strip(), nothing) for p in line.split(",")}) for line in lines]
    group = torch.tensor([*words.groups(), max(words.groups()) + 1])
    near = torch.stack([torch.isin(group, group[c]) for c in classes])
    named = near[[nothing not in c for c in classes]].any(dim=0)
    for code, own in enumerate(classes):
        if nothing in own:
            near[code] |= ~named
    return Legend(place.name, classes, near)


def plan(folder: Path, rng: np.random.Generator) -> list[tuple[int, Path]]:
    """Crops to draw, shuffled: (set, image)."""
    rows = []
    for n, place in enumerate(places(folder)):
        rows += [(n, f) for f in files(place, "trained") for _ in range(CROPS[place.name])]
    return [rows[i] for i in rng.permutation(len(rows))]


def draw(path: Path, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """A canvas (224, 224, 3) out of an image at a random scale, and its label cells (28, 28), IGNORED = unknown."""
    image, mask = _read(path)
    usual = LONG / max(mask.shape)
    if rng.random() < 0.5:
        factor = usual * rng.uniform(0.85, 1.25)
    else:
        factor = np.exp(rng.uniform(np.log(0.8 * min(usual, 1)), np.log(2.2 * max(usual, 0.7))))
    factor = max(factor, SIDE / min(mask.shape))
    side = round(SIDE / factor)
    top, left = (int(rng.integers(0, n - side + 1)) for n in mask.shape)
    crop = image[top : top + side, left : left + side]
    label = mask[top : top + side, left : left + side]
    turn, mirror = int(rng.integers(4)), rng.random() < 0.5
    canvas = recoloured(fitted(_turned(crop, turn, mirror), SIDE, SIDE), rng, 0.8)
    cells = Image.fromarray(_turned(label, turn, mirror)).resize((CELLS, CELLS), Image.Resampling.NEAREST)
    known = np.asarray(cells)
    return canvas, np.where(known < 100, known, IGNORED).astype(np.int8)


@functools.cache
def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image, mask = Image.open(path).convert("RGB"), Image.open(path.parents[1] / "mask" / f"{path.stem}.png")
    return np.asarray(image), np.asarray(mask)


def batches(
    rows: list[tuple[int, Path]], rng: np.random.Generator, size: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int8]]]:
    """Canvases (B, 224, 224, 3) and their label cells (B, 28, 28), in the order of rows."""
    for start in range(0, len(rows), size):
        drawn = [draw(path, rng) for _, path in rows[start : start + size]]
        yield np.stack([canvas for canvas, _ in drawn]), np.stack([cells for _, cells in drawn])


def dense_losses(logits: Tensor, cells: Tensor, sets: list[int], legend: list[Legend]) -> dict[str, Tensor]:
    """Cross-entropies of every cell, as in use: logits (B, N, W + 1), scaled; cells (B, 28, 28); sets: of each crop.

    classes: the set's own class list. dropped: the same list without some classes, whose cells are background.
    near: all words at once, of which any that may be there is right.
    """
    b, n, width = logits.shape
    grid = logits.transpose(1, 2).reshape(b, width, int(n**0.5), -1)
    fine = F.interpolate(grid, size=(CELLS, CELLS), mode="bilinear", align_corners=False).flatten(2)
    terms: dict[str, list[Tensor]] = {"classes": [], "dropped": [], "near": []}
    for i, of in enumerate(sets):
        own = legend[of]
        truth = cells[i].flatten().long()
        seen = truth != IGNORED
        if not seen.any():
            continue
        x, truth = fine[i][:, seen], truth[seen]  # (W + 1, n), (n,)
        weight = _balance(truth, len(own.classes))
        scores = torch.stack([torch.logsumexp(x[words_of], dim=0) for words_of in own.classes])
        terms["classes"].append(F.cross_entropy(scores.T, truth, weight=weight))
        terms["dropped"].append(_dropped(x, truth, own, weight))
        logp = x.log_softmax(dim=0).masked_fill(~own.near[truth].T, -1e4).logsumexp(dim=0)
        terms["near"].append(-(logp * weight[truth]).sum() / weight[truth].sum())
    return {name: torch.stack(values).mean() for name, values in terms.items()}


def _dropped(x: Tensor, truth: Tensor, own: Legend, weight: Tensor) -> Tensor:
    """Cross-entropy when a random part of the classes is not named: their cells belong to the background."""
    nothing = len(x) - 1
    named = [k for k, words_of in enumerate(own.classes) if nothing not in words_of]
    kept = [k for k in named if torch.rand(()) < 0.6] or [named[int(torch.randint(len(named), ()))]]
    one_word = [[w for w in own.classes[k] if w != nothing] for k in kept]
    scores = [torch.logsumexp(x[[w[int(torch.randint(len(w), ()))]]], dim=0) for w in one_word]
    target = torch.full_like(truth, len(kept))
    for place, k in enumerate(kept):
        target[truth == k] = place
    loss = F.cross_entropy(torch.stack([*scores, x[nothing]]).T, target, reduction="none")
    return (loss * weight[truth]).sum() / weight[truth].sum()


def _balance(truth: Tensor, classes: int) -> Tensor:
    """Weight of each class: rarer ones count more, by the root of their share."""
    share = torch.bincount(truth, minlength=classes)[:classes] / len(truth)
    return (1 / share.clamp(min=0.02)).sqrt()


def _turned(x: NDArray[np.uint8], turns: int, mirror: bool) -> NDArray[np.uint8]:
    x = np.rot90(x, turns)
    return np.ascontiguousarray(x[:, ::-1] if mirror else x)
