"""What held-out labels promise of the rest of a scene."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.calibration.holdout import Seen, ground_blocks, scores


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 1000))
def test_blocks_of_ground_are_of_about_equal_numbers_and_cut_no_label_in_two(labels, count, seed):
    rng = np.random.default_rng(seed)
    places, units = rng.integers(0, 500, (labels, 2)), rng.integers(0, 2 * labels, labels)
    block = ground_blocks(places, units, count)
    of_unit = {unit: set(block[units == unit].tolist()) for unit in units.tolist()}
    assert all(len(found) == 1 for found in of_unit.values())
    sizes = np.bincount([found.pop() for found in of_unit.values()])
    assert len(sizes) == min(count, len(of_unit))
    assert sizes.min() >= 1
    assert sizes.max() <= 2 * max(1, sizes.min()) + 1


def test_blocks_are_compact():
    places = np.array([(row, col) for row in range(8) for col in range(8)])
    block = ground_blocks(places, np.arange(64), 4)
    for number in range(4):
        assert np.ptp(places[block == number], axis=0).tolist() == [3, 3]


def draws(seed, classes):
    """True shares of a scene by class and by what it is put into, and how rare the rarest class is."""
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.ones(classes), classes) * 0.4 + np.eye(classes) * 0.6
    return rng, rng.dirichlet(np.full(classes, 2.0)), rows


def seen(cover, rows, labels):
    """Labels held out, as many of each class, and what is predicted all over the scene."""
    shares = cover[:, None] * rows
    return Seen(rows * labels, shares.sum(axis=0), shares)


@given(st.integers(0, 1000), st.integers(2, 6))
def test_labels_as_many_of_rare_as_of_common_classes_promise_what_the_scene_holds(seed, classes):
    _, cover, rows = draws(seed, classes)
    (score,) = scores([seen(cover, rows, 3000)], np.arange(classes))
    truth = cover[:, None] * rows
    hits = truth.diagonal()
    np.testing.assert_allclose(score.iou, hits / (truth.sum(0) + truth.sum(1) - hits), atol=0.05)
    assert abs(score.accuracy - hits.sum()) < 0.02


@pytest.mark.slow
@given(st.integers(0, 1000))
def test_few_labels_keep_variants_close_together_and_many_tell_them_apart(seed):
    _, cover, rows = draws(seed, 3)
    better = rows * 0.5 + np.eye(3) * 0.5
    gaps = []
    for labels in (1, 10, 1000):
        first, second = scores([seen(cover, rows, labels), seen(cover, better, labels)], np.arange(3))
        gaps.append(second.mean_iou - first.mean_iou)
    assert 0 <= gaps[0] <= min(gaps[1:]) + 1e-9
