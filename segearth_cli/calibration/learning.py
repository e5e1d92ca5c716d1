"""From features of labelled pixels to a correction of each class, and how much it is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segearth_cli.calibration.fit import Axes, Corrections, Floats, Problems, softmax, solve
from segearth_cli.calibration.holdout import Ints, Score, Seen, ground_blocks, scores

Kept = Literal["text", "biases", "correction"]
VARIANTS: tuple[Kept, ...] = ("text", "biases", "correction")
DIGITS = 9  # to which a mean IoU is told apart: sums round by the order of classes
MARGIN: dict[Kept, float] = {"text": 0.0, "biases": 0.03, "correction": 0.01}  # of mean IoU; less beyond text is luck
TRUSTS = (0.25, 0.5, 1.0, 2.0)  # what the scores of text are multiplied by while fitting: how much is left to labels
RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3)  # of directions
BIAS_RIDGES = (0.1, 1.0)  # the first beside directions
EVIDENCE = 0.2  # what a held-out label counts among corrections: its neighbours say much the same
CAUTION = 0.5  # nats by which a ridge ten times firmer is likelier before labels are looked at
COVER = 0.75  # how far the decision leans to what text says is common: 0 as labels are balanced, 1 as text has it
RARE = 0.05  # share of the scene that is added to what text says, lest a class that it misses be thought absent
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

    A correction is the mean of many, firm and loose, each as likely as held-out labels say. A class without labels
    keeps its text and competes; the others are moved. With labels of fewer than two classes nothing can be learned:
    text is kept.
    """
    labelled = np.unique(samples.codes)
    trial = _Trial.of(samples, text, labelled)
    ridges = {"biases": [(np.inf, ridge) for ridge in BIAS_RIDGES], "correction": [(r, BIAS_RIDGES[0]) for r in RIDGES]}
    chosen: dict[Kept, tuple[Corrections, Seen]] = {"text": trial.judged(*trial.nothing())}
    for variant in VARIANTS[1:]:
        chosen[variant] = trial.judged(*trial.likely(ridges[variant]))
    found = dict(zip(VARIANTS, scores([chosen[variant][1] for variant in VARIANTS], labelled), strict=True))
    kept = max(VARIANTS, key=lambda v: round(found[v].mean_iou - MARGIN[v], DIGITS))  # the plainest of equal ones
    correction = chosen[kept][0]
    directions = correction.directions[0] @ trial.axes.back / text.scale
    biases = correction.biases[0] / text.scale - directions @ trial.axes.origin
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
    """(K,) taken from the scores while fitting, so that the fit leans to what is common."""

    @classmethod
    def of(cls, samples: Samples, text: Text, labelled: Ints) -> _Trial:
        logits, area_logits = text.logits(samples.features), text.logits(samples.area)
        counts = np.bincount(samples.codes, minlength=text.classes).astype(np.float64)
        counts[counts == 0] = counts[labelled].mean()  # a class without labels competes like any other
        common = np.bincount(text.scores(area_logits).argmax(axis=1), minlength=text.classes)
        lean = COVER * np.log(common / max(1, len(samples.area)) + RARE) - np.log(counts / counts.sum())
        axes = Axes.of(samples.features)
        blocks = ground_blocks(samples.places, samples.units)
        return cls(samples, text, labelled, axes, blocks, logits, area_logits, lean)

    def nothing(self) -> tuple[Corrections, Corrections]:
        """Text alone, once, and once for each block."""
        shape = self.text.classes, len(self.axes.back)
        folds = int(self.blocks.max()) + 1
        return tuple(Corrections(np.zeros((p, *shape)), np.zeros((p, shape[0]))) for p in (1, folds))  # type: ignore[return-value]

    def likely(self, ridges: Sequence[tuple[float, float]]) -> tuple[Corrections, Corrections]:
        """The mean of corrections of several ridges and trusts in text, and of none at all, each as likely as the
        labels held out from it make it: of all labels, and of all but each block's, where those of the block have no
        say.
        """
        if len(self.labelled) < 2:
            return self.nothing()
        folds, held = int(self.blocks.max()) + 1, np.arange(len(self.samples.codes))
        scores, coordinates = self.text.scores(self.logits), self.axes.coordinates(self.samples.features)
        seen = np.concatenate([np.ones((1, len(held))), self.blocks[None] != np.arange(folds)[:, None]]) / len(held)
        moved = np.isin(np.arange(self.text.classes), self.labelled)
        firm, bias_firm = (column.repeat(folds + 1) for column in np.array(ridges).T)
        caution = np.nan_to_num(CAUTION * np.log10(np.array(ridges)[:, 0]), posinf=0.0)
        directions, biases, told, before = [], [], [], []
        for trust in TRUSTS:
            own = trust * scores - self.lean
            problems = Problems(own, self.samples.codes, np.tile(seen, (len(ridges), 1)), firm, bias_firm, moved)
            solved = solve(problems, coordinates)
            shape = len(ridges), folds + 1, self.text.classes
            found = Corrections(solved.directions.reshape(*shape, -1), solved.biases.reshape(shape))
            for directed, biased, likely in zip(found.directions, found.biases, caution, strict=True):
                shifted = Corrections(directed, biased).scores(own, coordinates)[self.blocks + 1, held]
                directions.append(directed / trust)
                biases.append(biased / trust)
                told.append(_log_likelihood(shifted, self.samples.codes))
                before.append(likely)
            directions.append(np.zeros_like(directions[0]))
            biases.append(np.zeros_like(biases[0]))
            told.append(_log_likelihood(own, self.samples.codes))
            before.append(0.0)
        says = EVIDENCE * np.array(told)  # (M, n)
        of_block = np.stack([says[:, self.blocks != block].sum(axis=1) for block in range(folds)])
        weights = softmax(np.concatenate([says.sum(axis=1)[None], of_block]) + np.array(before))  # (1 + folds, M)
        mean = Corrections(
            np.einsum("fm,mfkr->fkr", weights, np.array(directions)), np.einsum("fm,mfk->fk", weights, np.array(biases))
        )
        return Corrections(mean.directions[:1], mean.biases[:1]), Corrections(mean.directions[1:], mean.biases[1:])

    def judged(self, whole: Corrections, folds: Corrections) -> tuple[Corrections, Seen]:
        """A correction with what there is to judge it by."""
        held, codes = np.arange(len(self.samples.codes)), self.samples.codes
        shift = folds.scores(np.zeros((len(held), 1)), self.axes.coordinates(self.samples.features))[self.blocks, held]
        area_shift = whole.scores(np.zeros((1, 1)), self.axes.coordinates(self.samples.area))[0]
        put = self.text.decide(self.logits + self._of_query(shift))
        area_put = self.text.decide(self.area_logits + self._of_query(area_shift))
        k = self.text.classes
        counts = np.zeros((k, k))
        np.add.at(counts, (codes, put), 1)
        predicted = np.bincount(area_put, minlength=k) / max(1, len(area_put))
        own = self.text.scores(self.logits) + shift - self.lean
        heat = max(TEMPERATURES, key=lambda t: _log_likelihood(t * own, codes).mean())
        area_own = self.text.scores(self.area_logits)[:, self.labelled] + area_shift[:, self.labelled]
        believed = np.zeros((len(self.labelled), k))
        np.add.at(believed.T, area_put, softmax(heat * area_own))
        return whole, Seen(counts[self.labelled], predicted, believed / max(1, len(area_put)))

    def _of_query(self, shift: Floats) -> Floats:
        """What a change of class scores (n, K) adds to phrase logits (n, Q)."""
        return (shift / self.text.scale)[:, self.text.of_query]


def _log_likelihood(scores: Floats, codes: Ints) -> Floats:
    """Log probability (n,) of classes by their scores (n, K)."""
    found: Floats = np.log(softmax(scores)[np.arange(len(codes)), codes] + 1e-9)
    return found
