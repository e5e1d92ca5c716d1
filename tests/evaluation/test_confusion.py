"""Confusions against an independent implementation, and the laws they obey."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.evaluation.confusion import confusion, empty

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(2, 9)


def random_pair(seed, classes, size=400):
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, size), rng.integers(0, classes, size)


@pytest.mark.slow
@given(SEEDS, SIZES)
def test_counts_and_scores_equal_scikit_learn(seed, classes):
    labels, predictions = random_pair(seed, classes)
    ours = confusion(labels, predictions, classes)
    codes = range(classes)
    from sklearn import metrics as oracle  # takes a second, which other tests need not wait for

    np.testing.assert_array_equal(ours.counts[:, :-1], oracle.confusion_matrix(labels, predictions, labels=codes))
    arguments = {"labels": codes, "average": None, "zero_division": np.nan}
    np.testing.assert_allclose(ours.precision, oracle.precision_score(labels, predictions, **arguments))
    np.testing.assert_allclose(ours.recall, oracle.recall_score(labels, predictions, **arguments))
    np.testing.assert_allclose(ours.f1, oracle.f1_score(labels, predictions, **arguments))
    present = ~np.isnan(ours.iou)
    iou = oracle.jaccard_score(labels, predictions, labels=codes, average=None, zero_division=0)
    np.testing.assert_allclose(ours.iou[present], iou[present])
    assert ours.mean_iou == pytest.approx(iou[present].mean())
    assert ours.accuracy == pytest.approx(oracle.accuracy_score(labels, predictions))


@given(SEEDS, SIZES, st.integers(0, 400))
def test_parts_add_up_to_the_whole(seed, classes, cut):
    labels, predictions = random_pair(seed, classes)
    parts = confusion(labels[:cut], predictions[:cut], classes) + confusion(labels[cut:], predictions[cut:], classes)
    np.testing.assert_array_equal(parts.counts, confusion(labels, predictions, classes).counts)
    np.testing.assert_array_equal((parts + empty(classes)).counts, parts.counts)


@given(SEEDS, SIZES)
def test_renaming_the_classes_permutes_the_scores(seed, classes):
    labels, predictions = random_pair(seed, classes)
    order = np.random.default_rng(seed).permutation(classes)
    renamed = confusion(order[labels], order[predictions], classes)
    np.testing.assert_allclose(renamed.iou[order], confusion(labels, predictions, classes).iou)


def test_intersection_and_union_are_summed_over_the_set_before_dividing():
    small = confusion(np.array([1]), np.array([0]), 2)  # IoU of class 1: 0/1
    large = confusion(np.array([1, 1, 1]), np.array([1, 1, 1]), 2)  # 3/3
    assert (small + large).iou[1] == pytest.approx(3 / 4)  # not the mean of 0 and 1


def test_a_class_in_neither_is_nan_and_left_out_of_the_mean():
    scores = confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 3)
    assert np.isnan(scores.iou[2])
    assert scores.mean_iou == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_class_predicted_but_never_labelled_counts_as_zero():
    scores = confusion(np.array([0, 0]), np.array([0, 1]), 2)
    assert scores.iou.tolist() == [0.5, 0.0]
    assert scores.mean_iou == 0.25


def test_a_prediction_of_none_of_the_classes_is_a_miss_of_the_label_alone():
    scores = confusion(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), 2)
    assert scores.iou.tolist() == [0.5, 1.0]
    assert scores.precision.tolist() == [1.0, 1.0]
    assert scores.accuracy == 0.75


def test_no_pixels_have_no_score():
    assert np.isnan(empty(3).mean_iou)
    assert np.isnan(empty(3).accuracy)


@pytest.mark.parametrize(("label", "prediction"), [(2, 0), (-1, 0), (0, 3), (0, -1)])
def test_codes_outside_the_classes_are_refused(label, prediction):
    with pytest.raises(ValueError, match="must lie in"):
        confusion(np.array([label]), np.array([prediction]), 2)
