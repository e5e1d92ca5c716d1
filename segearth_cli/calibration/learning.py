"""From features of labelled pixels to a correction of each class, and how much it is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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
SHARPNESSES = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5)  # inverse temperatures at which scores are tried as probabilities


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


class _Candidates(NamedTuple):
    """M corrections, each of all labels and of all but each block's: P = 1 + folds."""

    directions: Floats
    """(M, P, K, R) along the axes, for text that counts once."""
    biases: Floats
    """(M, P, K), likewise."""
    log_likelihood: Floats
    """(M, n) of each label by the correction that did not see it."""
    before: Floats
    """(M,) log of how likely each is before labels are looked at."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """Labels and ground, ready to fit and judge corrections."""

    samples: Samples
    text: Text
    labelled: Ints
    """(L,) the classes that have labels."""
    axes: Axes
    blocks: Ints
    """(n,) the block of ground of each label."""
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
        whole, folds = (Corrections(np.zeros((p, *shape)), np.zeros((p, shape[0]))) for p in (1, self.folds))
        return whole, folds

    @property
    def folds(self) -> int:
        """How many blocks there are, each held out once."""
        return int(self.blocks.max()) + 1

    def likely(self, ridges: Sequence[tuple[float, float]]) -> tuple[Corrections, Corrections]:
        """The mean of many corrections: of all labels, and of all but each block's.

        There is one for each of `ridges`, of directions and of biases, and each trust in text; none at all is one too.
        Each counts as it makes the labels likely that were held out from it; those of a block have no say for it.
        """
        if len(self.labelled) < 2:
            return self.nothing()
        of_trusts = [self._of_trust(trust, ridges) for trust in TRUSTS]
        every = _Candidates(*(np.concatenate(part) for part in zip(*of_trusts, strict=True)))
        evidence = EVIDENCE * every.log_likelihood
        without = np.stack([evidence[:, self.blocks != block].sum(axis=1) for block in range(self.folds)])
        weights = softmax(np.concatenate([evidence.sum(axis=1)[None], without]) + every.before)  # (1 + folds, M)
        directions = np.einsum("fm,mfkr->fkr", weights, every.directions)
        biases = np.einsum("fm,mfk->fk", weights, every.biases)
        return Corrections(directions[:1], biases[:1]), Corrections(directions[1:], biases[1:])

    def _of_trust(self, trust: float, ridges: Sequence[tuple[float, float]]) -> _Candidates:
        """The corrections of several ridges where the scores of text count `trust` times, and none at all."""
        codes, folds = self.samples.codes, 1 + self.folds
        own = trust * self.text.scores(self.logits) - self.lean
        coordinates = self.axes.coordinates(self.samples.features)
        others = self.blocks[None] != np.arange(self.folds)[:, None]
        seen = np.concatenate([np.ones((1, len(codes))), others]) / len(codes)
        moved = np.isin(np.arange(self.text.classes), self.labelled)
        firm, bias_firm = (column.repeat(folds) for column in np.array(ridges).T)
        problems = Problems(own, codes, np.tile(seen, (len(ridges), 1)), firm, bias_firm, moved)
        solved = solve(problems, coordinates)
        shape = len(ridges), folds, self.text.classes
        directions, biases = solved.directions.reshape(*shape, -1), solved.biases.reshape(shape)
        held_out = [
            Corrections(*one).scores(own, coordinates)[self.blocks + 1, np.arange(len(codes))]
            for one in zip(directions, biases, strict=True)
        ]
        before = np.nan_to_num(CAUTION * np.log10(np.array(ridges)[:, 0]), posinf=0.0)
        return _Candidates(
            np.concatenate([directions / trust, np.zeros_like(directions[:1])]),
            np.concatenate([biases / trust, np.zeros_like(biases[:1])]),
            np.stack([_log_likelihood(scores, codes) for scores in (*held_out, own)]),
            np.append(before, 0.0),
        )

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
        sharpness = max(SHARPNESSES, key=lambda times: _log_likelihood(times * own, codes).mean())
        area_own = self.text.scores(self.area_logits)[:, self.labelled] + area_shift[:, self.labelled]
        believed = np.zeros((len(self.labelled), k))
        np.add.at(believed.T, area_put, softmax(sharpness * area_own))
        return whole, Seen(counts[self.labelled], predicted, believed / max(1, len(area_put)))

    def _of_query(self, shift: Floats) -> Floats:
        """What a change of class scores (n, K) adds to phrase logits (n, Q)."""
        return (shift / self.text.scale)[:, self.text.of_query]


def _log_likelihood(scores: Floats, codes: Ints) -> Floats:
    """Log probability (n,) of classes by their scores (n, K)."""
    found: Floats = np.log(softmax(scores)[np.arange(len(codes)), codes] + 1e-9)
    return found
