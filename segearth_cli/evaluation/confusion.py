"""Confusion matrices that add up over blocks and scenes, and the scores read from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Confusion:
    """Pixel counts of K classes over any number of scenes; matrices of disjoint pixels are added with `+`.

    Scores follow mmsegmentation: intersection and union are summed over the whole set before they are divided, and
    a mean runs over the classes that occur, background included. A score without pixels to divide by is nan.
    """

    counts: NDArray[np.int64]
    """(K, K + 1): a row for each class of the label, a column for each class of the mask, and a last one for pixels
    that the mask puts into none of the K.
    """

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.counts + other.counts)

    @property
    def hits(self) -> NDArray[np.int64]:
        """(K,) pixels whose class was found."""
        return self.counts.diagonal()

    @property
    def support(self) -> NDArray[np.int64]:
        """(K,) labelled pixels of each class."""
        total: NDArray[np.int64] = self.counts.sum(axis=1)
        return total

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(K,) labelled pixels predicted as each class."""
        total: NDArray[np.int64] = self.counts[:, :-1].sum(axis=0)
        return total

    @property
    def iou(self) -> NDArray[np.float64]:
        """(K,) intersection over union; nan for a class absent from labels and predictions."""
        return _ratio(self.hits, self.support + self.predicted - self.hits)

    @property
    def precision(self) -> NDArray[np.float64]:
        """(K,) part of the pixels predicted as a class that are of it; nan when none were predicted."""
        return _ratio(self.hits, self.predicted)

    @property
    def recall(self) -> NDArray[np.float64]:
        """(K,) part of the pixels of a class that were found; nan when the labels hold none."""
        return _ratio(self.hits, self.support)

    @property
    def f1(self) -> NDArray[np.float64]:
        """(K,) harmonic mean of precision and recall; nan for a class absent from labels and predictions."""
        return _ratio(2 * self.hits, self.support + self.predicted)

    @property
    def mean_iou(self) -> float:
        """Mean of the IoU of the classes that occur in labels or predictions; nan without any pixel."""
        iou = self.iou[~np.isnan(self.iou)]
        return float(iou.mean()) if iou.size else float("nan")

    @property
    def accuracy(self) -> float:
        """Part of all labelled pixels whose class was found."""
        return float(_ratio(self.hits.sum(), self.counts.sum()))


def empty(classes: int) -> Confusion:
    """The confusion of no pixels at all: the zero of `+`."""
    return Confusion(np.zeros((classes, classes + 1), np.int64))


def confusion(
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    classes: int,
    times: NDArray[np.integer] | None = None,
) -> Confusion:
    """The confusion of two arrays of one shape: labels in 0..K-1, predictions in 0..K (K = none of the classes).

    times: how often each pixel counts; None = once.

    Raises ValueError for other values or shapes: pixels to be left out must be left out before.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 2]), 2).counts.tolist()
    [[1, 1, 0], [0, 0, 1]]
    """
    if labels.shape != predictions.shape:
        raise ValueError(f"labels {labels.shape} and predictions {predictions.shape} differ in shape")
    if labels.size and (min(labels.min(), predictions.min()) < 0 or labels.max() >= classes):
        raise ValueError(f"labels must lie in 0..{classes - 1}, predictions in 0..{classes}")
    if predictions.size and predictions.max() > classes:
        raise ValueError(f"predictions must lie in 0..{classes}")
    cells = labels.ravel().astype(np.intp) * (classes + 1) + predictions.ravel()
    weights = None if times is None else times.ravel()  # summed in float64, exact up to 2 ** 53
    counts = np.bincount(cells, weights, minlength=classes * (classes + 1))
    return Confusion(counts.astype(np.int64).reshape(classes, classes + 1))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """part / whole, nan where whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: NDArray[np.float64] = np.asarray(part / whole, np.float64)
    return ratio
