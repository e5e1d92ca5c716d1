"""Training canvases of the labelled sets, their label cells, and what their labels teach."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
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
from .views import SIDE, coarser, corner, fitted, recoloured

CELL = 8  # pixels of a label cell
CELLS = SIDE // CELL
IGNORED = -1
NEVER = -1e4  # a logit
FINEST = 0.07  # metres a pixel, to which no crop is enlarged beyond
# How many canvases show each set, and its ground sampling distance in metres, roughly. Sets that are alone in what they
# show count more than their images.
CANVASES = {
    "dubai": (700, 0.5), "epfl_roads": (550, 0.4), "inria": (300, 0.3), "loveda": (250, 0.3),
    "massachusetts_roads": (450, 1), "potsdam_mmseg": (250, 0.05), "uuad_mumbai": (650, 0.5), "wbs_si": (600, 10),
    "whu_aerial": (300, 0.3), "whu_sat_ii": (350, 0.45),
    "china_small": (350, 0.5), "deepglobe_lc7": (500, 1.5), "dronedeploy_1d4f": (450, 0.1),
    "ethz_cil_roads": (450, 0.4), "flood_area": (850, 0.2), "hls_water_landcover": (800, 20), "hot_fair": (1100, 0.15),
    "inria_patches": (850, 0.3), "jakarta": (850, 0.25), "korea_s2": (150, 10), "massachusetts_buildings": (350, 1),
    "massachusetts_roads_crops": (450, 1), "turkey_drone": (300, 0.1), "us_fields": (400, 4),
    "wbs_si_more": (450, 10),
}  # fmt: skip
# Where classes.txt, written for scoring, says more than the labels: whole built-up areas are no footprints.
TAUGHT = {
    "deepglobe_lc7": {0: "built-up area"}, "hls_water_landcover": {4: "built-up area"},
    "uuad_mumbai": {1: "built-up area"}, "korea_s2": {0: "", 1: ""},
}  # fmt: skip


@dataclass(frozen=True)
class Legend:
    """What the labels of a set mean. classes: for each code the indices of its words, the background last of all.

    near: (K, W + 1) bool, words that may be what a pixel of the code shows when the user names others.
    """

    name: str
    classes: list[list[int]]
    near: Tensor


def legends(folders: list[Path]) -> list[Legend]:
    """The legend of every set, in the order of `trained_places`."""
    return [_legend(place) for place in trained_places(folders)]


def trained_places(folders: list[Path]) -> list[Path]:
    """The sets that are trained on."""
    return [place for folder in folders for place in places(folder) if place.name in CANVASES]


def _legend(place: Path) -> Legend:
    owner = {p: i for i, w in enumerate(words.WORDS.values()) for p in w.phrases}
    nothing = len(words.NAMES)
    lines = [line for line in (place / "classes.txt").read_text().splitlines() if line.strip()]
    for code, taught in TAUGHT.get(place.name, {}).items():
        lines[code] = taught
    classes = [sorted({owner.get(p.strip(), nothing) for p in line.split(",")} if line else ()) for line in lines]
    group = torch.tensor([*words.groups(), max(words.groups()) + 1])
    near = torch.stack([torch.isin(group, group[c]) for c in classes])
    built, areas = (torch.tensor([*flags, False]) for flags in (words.in_group("built"), words.in_group("settlement")))
    for code, own in enumerate(classes):
        if areas[own].any():
            near[code] |= built
    named = near[[nothing not in c for c in classes]].any(dim=0)
    for code, own in enumerate(classes):
        if nothing in own:
            near[code] |= ~named
    return Legend(place.name, classes, near)


def plan(folders: list[Path], rng: np.random.Generator) -> list[tuple[int, Path]]:
    """Canvases to draw, shuffled: (set, image). The images of a set come equally often."""
    rows = []
    for n, place in enumerate(trained_places(folders)):
        images = files(place, "trained")
        rows += [(n, images[i % len(images)]) for i in range(CANVASES[place.name][0])]
    return [rows[i] for i in rng.permutation(len(rows))]


def draw(path: Path, others: list[Path], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """A canvas (224, 224, 3) of an image, or of it and three others, and its label cells (28, 28), IGNORED = unknown.

    The scale is the image's own, that of a long side of LONG, or anything from a half to fourfold.
    """
    shape = _read(path)[1].shape
    factor = _factor(shape, CANVASES[path.parents[1].name][1], rng)
    canvas, label = np.zeros((SIDE, SIDE, 3), np.float32), np.zeros((SIDE, SIDE), np.uint8)
    spans = corner(rng) if rng.random() < 0.15 or factor < SIDE / min(shape) else [(slice(0, SIDE), slice(0, SIDE))]
    for place, (rows, columns) in zip([path, *others], spans, strict=False):
        canvas[rows, columns], label[rows, columns] = _crop(
            place, (rows.stop - rows.start, columns.stop - columns.start), factor, rng
        )
    known = label[CELL // 2 :: CELL, CELL // 2 :: CELL].astype(np.int16)
    unsure = [code for code, taught in TAUGHT.get(path.parents[1].name, {}).items() if not taught]
    known[(known >= 100) | np.isin(known, unsure)] = IGNORED
    return recoloured(canvas, rng, 1.0), known.astype(np.int8)


def _factor(shape: tuple[int, ...], metres: float, rng: np.random.Generator) -> float:
    """Pixels of the canvas for one of the image."""
    chance = rng.random()
    if chance < 0.4:
        factor = rng.uniform(0.9, 1.12)
    elif chance < 0.65:
        factor = LONG / max(shape) * rng.uniform(0.85, 1.25)
    else:
        factor = np.exp(rng.uniform(np.log(0.5), np.log(4)))
    return float(np.clip(factor, 0.3, max(metres / FINEST, SIDE / max(shape))))


def _crop(
    path: Path, shape: tuple[int, int], factor: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A random part of an image and of its labels, turned and mirrored; shape: in pixels of the canvas."""
    image, mask = _read(path)
    turn, mirror = int(rng.integers(4)), rng.random() < 0.5
    wanted = shape if turn % 2 == 0 else shape[::-1]
    factor = max(factor, *(w / n for w, n in zip(wanted, mask.shape, strict=True)))
    sides = [min(n, round(w / factor)) for w, n in zip(wanted, mask.shape, strict=True)]
    top, left = (int(rng.integers(0, n - side + 1)) for n, side in zip(mask.shape, sides, strict=True))
    part = slice(top, top + sides[0]), slice(left, left + sides[1])
    crop = _turned(image[part], turn, mirror)
    if rng.random() < 0.2:
        crop = coarser(crop, rng.uniform(0.35, 0.8))
    label = Image.fromarray(_turned(mask[part], turn, mirror)).resize(shape[::-1], Image.Resampling.NEAREST)
    return fitted(crop, *shape), np.asarray(label)


@functools.cache
def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image, mask = Image.open(path).convert("RGB"), Image.open(path.parents[1] / "mask" / f"{path.stem}.png")
    return np.asarray(image), np.asarray(mask)


def painter(
    rows: list[tuple[int, Path]],
) -> Callable[[int, np.random.Generator], tuple[NDArray[np.uint8], NDArray[np.int8]]]:
    """What draws a row: (its number, rng) -> canvas and label cells."""
    of_set: dict[int, list[Path]] = {}
    for n, path in rows:
        of_set.setdefault(n, []).append(path)

    def paint(row: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        n, path = rows[row]
        others = [of_set[n][int(i)] for i in rng.integers(0, len(of_set[n]), 3)]
        return draw(path, others, rng)

    return paint


def dense_losses(
    logits: Tensor, cells: Tensor, sets: list[int], legend: list[Legend], balance: float, rng: random.Random
) -> dict[str, Tensor]:
    """Cross-entropies of every cell, as in use: logits (B, N, W + 1), scaled; cells (B, 28, 28); sets: of each crop.

    classes: the set's own class list and some words that none of its cells shows. dropped: the same list without some
    classes, whose cells are background. near: all words at once, of which any that may be there is right.
    balance: power of a class's share by which rarer ones count more; 0.35 makes precise maps, 0.5 finds more.
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
        weight = _balance(truth, len(own.classes), balance)
        absent = _absent(own, rng)
        others = x[absent].masked_fill(own.near[truth][:, absent].T, NEVER)
        scores = [torch.logsumexp(x[c], dim=0) if c else torch.full_like(x[0], NEVER) for c in own.classes]
        terms["classes"].append(
            F.cross_entropy(torch.cat([torch.stack(scores), others]).T, truth, weight=_padded(weight, absent))
        )
        terms["dropped"].append(_dropped(x, others, truth, own, weight, rng))
        logp = x.log_softmax(dim=0).masked_fill(~own.near[truth].T, NEVER).logsumexp(dim=0)
        terms["near"].append(-(logp * weight[truth]).sum() / weight[truth].sum())
    return {name: torch.stack(values).mean() for name, values in terms.items()}


def _absent(own: Legend, rng: random.Random) -> list[int]:
    """Words that a user may name though the set has no class of them; building, where it is none, often."""
    nothing = own.near.shape[1] - 1
    taught = {w for c in own.classes for w in c}
    free = [w for w in range(nothing) if w not in taught]
    chosen = set(rng.sample(free, 2))
    return sorted(
        chosen
        | {w for w in (words.NAMES.index("building"), words.NAMES.index("house")) if w in free and rng.random() < 0.4}
    )


def _padded(weight: Tensor, more: list[int]) -> Tensor:
    return torch.cat([weight, weight.new_ones(len(more))])


def _dropped(x: Tensor, others: Tensor, truth: Tensor, own: Legend, weight: Tensor, rng: random.Random) -> Tensor:
    """Cross-entropy when a random part of the classes is not named: their cells belong to the background.

    others: logits (k, n) of words that no cell shows, named too.
    """
    nothing = len(x) - 1
    named = [k for k, words_of in enumerate(own.classes) if words_of and nothing not in words_of]
    kept = [k for k in named if rng.random() < 0.6]
    if not kept and not len(others):
        kept = [rng.choice(named)]
    scores = []
    for k in kept:
        of = [w for w in own.classes[k] if w != nothing]
        scores.append(x[rng.choice(of)] if rng.random() < 0.7 else torch.logsumexp(x[of], dim=0))
    target = torch.full_like(truth, len(kept))
    for place, k in enumerate(kept):
        target[truth == k] = place
    loss = F.cross_entropy(torch.cat([torch.stack([*scores, x[nothing]]), others]).T, target, reduction="none")
    return (loss * weight[truth]).sum() / weight[truth].sum()


def _balance(truth: Tensor, classes: int, power: float) -> Tensor:
    """Weight of each class: rarer ones count more, by that power of their share."""
    share = torch.bincount(truth, minlength=classes)[:classes] / len(truth)
    return (1 / share.clamp(min=0.02)) ** power


def _turned(x: NDArray[np.uint8], turns: int, mirror: bool) -> NDArray[np.uint8]:
    x = np.rot90(x, turns)
    return np.ascontiguousarray(x[:, ::-1] if mirror else x)
