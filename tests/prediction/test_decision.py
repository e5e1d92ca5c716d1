"""The decision against its formula, written out in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.prediction.decision import Decider


def plain(logits, query_class, threshold, background):
    """x 50, softmax over phrases, maximum over a class's phrases, argmax, threshold (method.md 5.4), in float64."""
    scaled = np.exp(50 * (logits - logits.max(axis=0)))
    probabilities = scaled / scaled.sum(axis=0)
    classes = np.stack([probabilities[np.array(query_class) == k].max(axis=0) for k in range(query_class[-1] + 1)])
    codes, winner = classes.argmax(axis=0), classes.max(axis=0)
    return (codes if background is None else np.where(winner < threshold, background, codes)), winner, classes


@st.composite
def queries(draw):
    return tuple(k for k, n in enumerate(draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))) for _ in range(n))


@given(queries(), st.floats(0, 1), st.data(), st.integers(0, 10_000))
def test_a_decision_is_its_formula(query_class, threshold, data, seed):
    background = data.draw(st.none() | st.integers(0, query_class[-1]))
    logits = np.random.default_rng(seed).normal(0, 0.05, (len(query_class), 5, 7))
    codes, winner, classes = plain(logits, query_class, threshold, background)
    made = Decider(query_class, threshold, background, scores=True)(torch.from_numpy(logits).float())
    np.testing.assert_allclose(made.scores.numpy(), classes, atol=2e-5)  # float32, times 50
    clear = np.abs(winner - threshold) > 1e-4
    top = np.sort(classes, axis=0)[-2:]
    if len(classes) > 1:
        clear &= top[1] - top[0] > 1e-4
    assert (made.codes.numpy() == codes)[clear].all()
    assert np.abs(made.confidence.numpy() - winner * 254).max() <= 0.51


def test_synonyms_compete_and_the_best_one_speaks_for_its_class():
    logits = torch.tensor([0.10, 0.10, 0.11]).view(3, 1, 1)  # two phrases of class 0, one of class 1
    assert Decider((0, 0, 1), 0.0, None)(logits).codes.item() == 1  # their probabilities are not added


@pytest.mark.parametrize(("threshold", "code"), [(0.0, 1), (0.5, 1), (0.99, 0), (1.0, 0)])
def test_low_confidence_falls_to_the_background(threshold, code):
    logits = torch.tensor([0.0, 0.05]).view(2, 1, 1)  # e^2.5 : 1, so 0.924
    assert Decider((0, 1), threshold, 0)(logits).codes.item() == code
    assert Decider((0, 1), threshold, None)(logits).codes.item() == 1  # a forced choice has no threshold


def test_confidence_never_reads_as_nodata():
    made = Decider((0, 1), 0.0, None)(torch.tensor([9.0, -9.0]).view(2, 1, 1))
    assert made.confidence.item() == 254


def test_there_are_no_scores_unless_asked_for():
    assert Decider((0, 1), 0.0, None)(torch.zeros(2, 1, 1)).scores is None
