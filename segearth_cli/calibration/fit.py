"""Softmax regression that starts from text: a correction of each class, as small as ridges make it.

Given what text alone gives a class at each labelled pixel, the score of a class becomes text + u x + c, and the cross
entropy of the labels is minimised with ridges on u and c. It is convex, so there is one answer. Many problems that
differ in which labels they see, and in their ridges, are solved together: those of a cross-validation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 400
TOLERANCE = 1e-5  # of a step, in units of logits

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axes:
    """Features along axes in which ridge problems are nearly diagonal."""

    back: Floats
    """(R, C), from directions along the axes to directions of features."""
    origin: Floats
    """(C,) mean feature of the labels."""

    @classmethod
    def of(cls, features: Floats) -> Axes:
        """The principal axes of labelled features (n, C), whose coordinates have a mean square length of one.

        Features are taken as they are. Whitened ones, by halves too, fit the ground that is labelled better and the
        rest of the scene worse.
        """
        origin = features.mean(axis=0)
        apart = features - origin
        scale = np.sqrt(np.square(apart).sum(axis=1).mean())
        if not scale > 0:
            return cls(np.zeros((1, features.shape[1])), origin)
        _, lengths, axes = np.linalg.svd(apart, full_matrices=False)
        return cls(_signed(axes[lengths > 1e-6 * lengths[0]]) / scale, origin)

    def coordinates(self, features: Floats) -> Floats:
        """Features (n, C) along the axes, (n, R)."""
        found: Floats = (features - self.origin) @ self.back.T
        return found


@dataclass(frozen=True, slots=True)
class Problems:
    """P problems over the same labels."""

    text: Floats
    """(n, K) log score of each class before any correction."""
    labels: NDArray[np.int64]
    """(n,) classes, 0 to K - 1."""
    seen: Floats
    """(P, n) how much each label counts; those a problem does not see count 0."""
    ridge: Floats
    """(P,) of the directions; inf = none but biases."""
    bias_ridge: Floats
    """(P,) of the biases."""
    moved: NDArray[np.bool_]
    """(K,) the classes that a correction may change; the others compete as they are."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """What P problems add to the scores of text."""

    directions: Floats
    """(P, K, R) along the axes."""
    biases: Floats
    """(P, K)."""

    def scores(self, text: Floats, coordinates: Floats) -> Floats:
        """Corrected scores (P, n, K) of features by their coordinates (n, R)."""
        return text + coordinates @ self.directions.transpose(0, 2, 1) + self.biases[:, None]


def solve(problems: Problems, coordinates: Floats) -> Corrections:
    """The corrections of all problems, by accelerated descent along axes that a bound of the Hessian makes diagonal.

    The Hessian of the cross entropy of a softmax is at most half its features' second moments (Boehning 1992).
    """
    seen, text = problems.seen, problems.text
    p = len(seen)
    k, r = text.shape[1], coordinates.shape[1]
    truth = np.eye(k)[problems.labels]
    free = np.isfinite(problems.ridge)[:, None, None]
    ridge = np.where(free, problems.ridge[:, None, None], 0)
    most = seen.max(axis=0)
    step = free * problems.moved[:, None] / (0.5 * (most @ np.square(coordinates)) + ridge)
    bias_step = problems.moved / (0.5 * most.sum() + problems.bias_ridge)[:, None]
    u, c = np.zeros((p, k, r)), np.zeros((p, k))
    v, d, age = u, c, np.ones(p)
    for _ in range(ITERATIONS):
        off = seen[..., None] * (softmax(Corrections(v, d).scores(text, coordinates)) - truth)  # (P, n, K)
        slope = off.transpose(0, 2, 1) @ coordinates + ridge * v
        bias_slope = off.sum(axis=1) + problems.bias_ridge[:, None] * d
        next_u, next_c = v - step * slope, d - bias_step * bias_slope
        moved = max(np.abs(next_u - u).max(), np.abs(next_c - c).max())
        uphill = (slope * (next_u - u)).sum(axis=(1, 2)) + (bias_slope * (next_c - c)).sum(axis=1) > 0
        older = np.where(uphill, 1.0, (1 + np.sqrt(1 + 4 * age**2)) / 2)  # a step uphill begins the momentum anew
        momentum = np.where(uphill, 0.0, (age - 1) / older)
        v = next_u + momentum[:, None, None] * (next_u - u)
        d = next_c + momentum[:, None] * (next_c - c)
        u, c, age = next_u, next_c, older
        if moved < TOLERANCE:
            break
    return Corrections(u, c)


def softmax(scores: Floats) -> Floats:
    """Probabilities (..., K) of scores (..., K)."""
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    share: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return share


def _signed(axes: Floats) -> Floats:
    """Axes (R, C) whose largest component is positive, so that no sign is left to a library."""
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    turned: Floats = axes * np.where(largest < 0, -1.0, 1.0)[:, None]
    return turned
