"""From features of labelled pixels to a correction of each class, and how much it is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segearth_cli.calibration.fit import Axes, Corrections, Floats, Problems, softmax, solve
from segearth_cli.calibration.holdout import Ints, Score, Seen, ground_blocks, scores

Kept = Literal["text", "biases", "correction"]
VARIANTS: tuple[Kept, ...] = ("text", "biases", "correction")
DIGITS = 9  # to which a mean IoU is told apart: sums round by the order of classes
RIDGES = (0.01, 0.03, 0.1, 0.3)  # of directions; those that ten clicks a class leave in question
BIAS_RIDGES = (0.01, 0.1)
BIAS_RIDGE = 0.03  # beside directions
COVER = 0.5  # how far the decision leans to what text says is common: 0 as labels are balanced, 1 as text has it
TEMPERATURES = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Samples:
    """Features of pixels, with and without labels."""

    features: Floats
    """(n, C) of labelled pixels, in an order that does not depend on how labels were written."""
    codes: Ints
    """(n,) their classes."""
    units: Ints
    """(n,) which label each is of; those of one polygon are held out together."""
    places: Ints
    """(n, 2) where they lie; scenes far apart."""
    area: Floats
    """(m, C) of pixels from all over the same ground."""


@dataclass(frozen=True, slots=True)
class Text:
    """What classes are without labels."""

    phrases: Floats
    """(Q, C) phrase vectors."""
    of_query: Ints
    """(Q,) the class of each."""
    scale: float
    """Of logits before the softmax."""
    decide: Callable[[Floats], Ints]
    """Codes (n,) of phrase logits (n, Q)."""

    @property
    def classes(self) -> int:
        """K."""
        return int(self.of_query[-1]) + 1

    def logits(self, features: Floats) -> Floats:
        """Phrase logits (n, Q) of features (n, C), before the scale."""
        return features @ self.phrases.T

    def scores(self, logits: Floats) -> Floats:
        """Log score (n, K) of each class, scaled, of phrase logits (n, Q)."""
        found = np.full((len(logits), self.classes), -np.inf)
        for code in np.unique(self.of_query):
            found[:, code] = self.scale * logits[:, self.of_query == code].max(axis=1)
        return found


@dataclass(frozen=True, slots=True)
class Learned:
    """A correction of each class."""

    directions: NDArray[np.float32]
    """(K, C), added to phrase vectors."""
    biases: NDArray[np.float32]
    """(K,), added to logits."""
    kept: Kept
    """Which variant it is."""
    report: dict[str, Any]
    """What the hold-out showed."""


def learn(samples: Samples, text: Text, names: Sequence[str]) -> Learned:
    """The best of text alone, biases alone and text with a correction, by labels held out in blocks of ground.

    Ridges are those of the least cross entropy of held-out labels. A class without labels keeps its text; the others
    are moved against one another. With labels of fewer than two classes nothing can be learned: text is kept.
    """
    labelled = np.unique(samples.codes)
    trial = _Trial.of(samples, text, labelled)
    configurations = {"biases": [(np.inf, ridge) for ridge in BIAS_RIDGES]}
    configurations["correction"] = list(product(RIDGES, (BIAS_RIDGE,)))
    chosen: dict[Kept, tuple[Corrections, Seen]] = {"text": trial.judged(*trial.nothing())}
    for variant in VARIANTS[1:]:
        chosen[variant] = trial.judged(*trial.best(configurations[variant]))
    found = dict(zip(VARIANTS, scores([chosen[variant][1] for variant in VARIANTS], labelled), strict=True))
    kept = max(VARIANTS, key=lambda variant: round(found[variant].mean_iou, DIGITS))  # the plainest of equal ones
    correction = chosen[kept][0]
    directions = np.zeros((text.classes, samples.features.shape[1]))
    biases = np.zeros(text.classes)
    directions[labelled] = correction.directions[0] @ trial.axes.back / text.scale
    biases[labelled] = correction.biases[0] / text.scale
    biases -= directions @ trial.axes.origin
    report = _report(found, samples, trial.blocks, [names[code] for code in labelled])
    return Learned(directions.astype(np.float32), biases.astype(np.float32), kept, report)


def _report(found: dict[Kept, Score], samples: Samples, blocks: Ints, names: Sequence[str]) -> dict[str, Any]:
    counts = np.unique(samples.codes, return_counts=True)[1]
    return {
        "blocks": int(blocks.max()) + 1,
        "labels": dict(zip(names, counts.tolist(), strict=True)),
        "variants": {variant: score.as_json(names) for variant, score in found.items()},
    }


@dataclass(frozen=True, slots=True)
class _Trial:
    """Labels and ground, ready to fit and judge corrections."""

    samples: Samples
    text: Text
    labelled: Ints
    axes: Axes
    blocks: Ints
    logits: Floats
    """(n, Q) of text."""
    area_logits: Floats
    """(m, Q)."""
    lean: Floats
    """(L,) taken from the scores while fitting, so that the fit leans to what is common."""

    @classmethod
    def of(cls, samples: Samples, text: Text, labelled: Ints) -> _Trial:
        logits, area_logits = text.logits(samples.features), text.logits(samples.area)
        counts = np.bincount(np.searchsorted(labelled, samples.codes)).astype(np.float64)
        common = np.bincount(text.scores(area_logits)[:, labelled].argmax(axis=1), minlength=len(labelled))
        lean = COVER * np.log(common / len(samples.area) + 0.01) - np.log(counts / counts.sum())
        axes = Axes.of(samples.features, samples.area)
        blocks = ground_blocks(samples.places, samples.units)
        return cls(samples, text, labelled, axes, blocks, logits, area_logits, lean)

    def nothing(self) -> tuple[Corrections, Corrections]:
        """Text alone, once, and once for each block."""
        shape = len(self.labelled), len(self.axes.back)
        folds = int(self.blocks.max()) + 1
        return tuple(Corrections(np.zeros((p, *shape)), np.zeros((p, shape[0]))) for p in (1, folds))  # type: ignore[return-value]

    def best(self, configurations: Sequence[tuple[float, float]]) -> tuple[Corrections, Corrections]:
        """The correction whose ridges leave the least cross entropy of held-out labels: of all labels, and of all but
        each block's.
        """
        if len(self.labelled) < 2:
            return self.nothing()
        n, folds = len(self.samples.codes), int(self.blocks.max()) + 1
        seen = np.concatenate([np.ones((1, n)), self.blocks[None] != np.arange(folds)[:, None]]) / n
        ridge, bias_ridge = np.array(configurations).T
        many = len(configurations)
        own = self.text.scores(self.logits)[:, self.labelled] - self.lean
        coordinates = self.axes.coordinates(self.samples.features)
        labels = np.searchsorted(self.labelled, self.samples.codes)
        solved = solve(
            Problems(own, labels, np.tile(seen, (many, 1)), ridge.repeat(folds + 1), bias_ridge.repeat(folds + 1)),
            coordinates,
        )
        probability = softmax(solved.scores(own, coordinates)).reshape(many, folds + 1, n, -1)
        held = probability[:, self.blocks + 1, np.arange(n), labels]
        best = int(np.log(held + 1e-9).sum(axis=1).argmax())
        first = best * (folds + 1)
        return (
            Corrections(solved.directions[first : first + 1], solved.biases[first : first + 1]),
            Corrections(solved.directions[first + 1 : first + 1 + folds], solved.biases[first + 1 : first + 1 + folds]),
        )

    def judged(self, whole: Corrections, folds: Corrections) -> tuple[Corrections, Seen]:
        """A correction with what there is to judge it by."""
        labels = np.searchsorted(self.labelled, self.samples.codes)
        held = np.arange(len(labels))
        moved = folds.scores(np.zeros((len(labels), 1)), self.axes.coordinates(self.samples.features))
        shift = moved[self.blocks, held]  # (n, L)
        area_shift = whole.scores(np.zeros((1, 1)), self.axes.coordinates(self.samples.area))[0]
        put = self.text.decide(self.logits + self._of_query(shift))
        area_put = self.text.decide(self.area_logits + self._of_query(area_shift))
        k = self.text.classes
        counts = np.zeros((len(self.labelled), k))
        np.add.at(counts, (labels, put), 1)
        predicted = np.bincount(area_put, minlength=k) / max(1, len(area_put))
        own = self.text.scores(self.logits)[:, self.labelled] + shift - self.lean
        heat = min(TEMPERATURES, key=lambda t: -np.log(softmax(t * own)[held, labels] + 1e-9).mean())
        area_own = self.text.scores(self.area_logits)[:, self.labelled] + area_shift
        believed = np.zeros((len(self.labelled), k))
        np.add.at(believed.T, area_put, softmax(heat * area_own))
        return whole, Seen(counts, predicted, believed / max(1, len(area_put)))

    def _of_query(self, shift: Floats) -> Floats:
        """What a change of class scores (n, L) adds to phrase logits (n, Q)."""
        every = np.zeros((len(shift), self.text.classes))
        every[:, self.labelled] = shift / self.text.scale
        return every[:, self.text.of_query]
