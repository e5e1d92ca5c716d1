"""How good a decision is where no label was seen: labels held out in blocks of ground, and what they say of the scene.

Clicks are few, near one another, and as many for a rare class as for a common one. So labels are held out by compact
blocks; their confusion is weighted by how much of the scene each class covers, which is estimated from the classes
that are predicted all over it (label shift: Saerens et al. 2002, Lipton et al. 2018); and what is not known for want
of labels is taken from what the variants have in common, so that the best of three is not chosen for its luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.calibration.fit import Floats

BLOCKS = 4
SHARED, SPREAD, BELIEVED = 3.0, 0.8, 0.5  # labels' worth of what stands in for labels that are not there
ROUNDS = 100
DOUBT = 3.0  # labels' worth of the first guess of what a class covers, lest few labels make one vanish
AS_PUT = 5.0  # labels' worth of taking for covered by a class what is put into it, which few labels correct too much
RARE = 0.05  # share of the scene that is added to what is put into a class

Ints = NDArray[np.int64]


def ground_blocks(places: Ints, units: Ints, count: int = BLOCKS) -> Ints:
    """The block, from 0, of labels at places (n, 2): compact, of about equal numbers, no unit (n,) in two of them.

    Halves the largest along its longer side until there are `count`, or as many as there are units.
    """
    names, inverse = np.unique(units, return_inverse=True)
    sums = np.zeros((len(names), 2))
    np.add.at(sums, inverse, places)
    middles = sums / np.bincount(inverse)[:, None]
    parts = [np.arange(len(names))]
    while len(parts) < min(count, len(names)):
        largest = max(range(len(parts)), key=lambda i: (len(parts[i]), -i))
        part = parts.pop(largest)
        axis = int(np.ptp(middles[part], axis=0).argmax())
        part = part[np.lexsort((part, middles[part, 1 - axis], middles[part, axis]))]
        parts += [part[: len(part) // 2], part[len(part) // 2 :]]
    block = np.zeros(len(names), np.int64)
    for number, part in enumerate(parts):
        block[part] = number
    found: Ints = block[inverse]
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to judge a variant by."""

    counts: Floats
    """(L, K) held-out labels by their class, of the L that have labels, and the class they were put in."""
    predicted: Floats
    """(K,) share of the scene put into each class."""
    believed: Floats
    """(L, K) share of the scene by class as the variant's own probabilities have it, and as it was put."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a variant is expected to reach on the rest of the scene."""

    accuracy: float
    """Share of all pixels put into their class."""
    iou: Floats
    """(L,) of each class that has labels; nan where there is nothing of it."""

    @property
    def mean_iou(self) -> float:
        """Over the classes that have labels."""
        known = self.iou[~np.isnan(self.iou)]
        return float(known.mean()) if known.size else float("nan")

    def as_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Fractions 0 to 1, null for nan."""
        iou = {name: None if np.isnan(value) else float(value) for name, value in zip(names, self.iou, strict=True)}
        return {"accuracy": self.accuracy, "miou": None if np.isnan(self.mean_iou) else self.mean_iou, "iou": iou}


def scores(variants: Sequence[Seen], columns: Ints) -> list[Score]:
    """What each of several variants is expected to reach. columns: (L,) codes of the classes that have labels."""
    rows = [_put(variants, seen) for seen in variants]
    spread = [_put(variants, seen, SPREAD) for seen in variants]
    cover = _cover(variants, spread, columns)
    found = []
    for plain, shares in zip(rows, spread, strict=True):
        right = float(cover @ plain[np.arange(len(columns)), columns])
        found.append(Score(right, _iou(cover[:, None] * shares, columns)))
    return found


def _put(variants: Sequence[Seen], seen: Seen, spread: float = 0.0) -> Floats:
    """Which class pixels are put in, (L, K), by their true one, as a variant is expected to.

    spread: labels' worth of a class put in at random, lest few labels flatter a rare class; common classes, which make
    up the accuracy, need none.
    """
    shares = [_share(one) for one in variants]
    common = _rows(sum((one.counts for one in variants), np.zeros_like(seen.counts)) + 0.5 * np.mean(shares, axis=0))
    believed = _rows(seen.believed + 1e-4)
    return _rows(seen.counts + SHARED * common + BELIEVED * believed + spread * _share(seen))


def _cover(variants: Sequence[Seen], rows: Sequence[Floats], columns: Ints) -> Floats:
    """How much of the scene each class with labels covers, (L,), by what all variants predict."""
    even = np.full(len(rows[0]), 1 / len(rows[0]))

    def told(cover: Floats) -> Floats:
        steps = [_shares(cover, own, _share(seen)) for own, seen in zip(rows, variants, strict=True)]
        found: Floats = np.mean(steps, axis=0)
        return found

    guess = told(even) / told(even).sum()
    cover, doubt = guess, DOUBT / max(1.0, variants[0].counts.sum())
    for _ in range(ROUNDS):
        cover = told(cover) + doubt * guess
        cover = cover / cover.sum()
    put = np.mean([_among(_share(seen)[columns]) for seen in variants], axis=0) + RARE
    trust = AS_PUT / (AS_PUT + variants[0].counts.sum())
    found: Floats = (1 - trust) * cover + trust * put / put.sum()
    return found


def _among(shares: Floats) -> Floats:
    """Shares of some classes as parts of one."""
    parts: Floats = shares / max(shares.sum(), 1e-12)
    return parts


def _share(seen: Seen) -> Floats:
    return _among(seen.predicted)


def _shares(cover: Floats, rows: Floats, predicted: Floats) -> Floats:
    """One step of expectation and maximisation: how much of the scene is of each true class, (L,)."""
    joint = cover[:, None] * rows
    told: Floats = (joint / (joint.sum(axis=0) + 1e-12) * predicted).sum(axis=1)
    return told


def _iou(shares: Floats, columns: Ints) -> Floats:
    hits = shares[np.arange(len(columns)), columns]
    union = shares.sum(axis=1) + shares.sum(axis=0)[columns] - hits
    with np.errstate(invalid="ignore", divide="ignore"):
        iou: Floats = np.where(union > 1e-9, hits / union, np.nan)
    return iou


def _rows(counts: Floats) -> Floats:
    share: Floats = counts / counts.sum(axis=1, keepdims=True)
    return share
