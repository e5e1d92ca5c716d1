"""Softmax regression from text: what the answer must be, whoever computes it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.calibration.fit import Axes, Problems, softmax, solve

EVERY = np.ones(3, bool)  # classes move


def problem(seed, *, classes=3, labels=20, width=6):
    """Random features with text scores that know a little, and their axes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, labels)
    features = rng.normal(size=(labels, width)) + truth[:, None] * rng.normal(size=width)
    text = rng.normal(size=(labels, classes)) * 2
    axes = Axes.of(features)
    return features, truth, text, axes


def one(text, truth, ridge, bias_ridge=0.03):
    weights = np.full((1, len(truth)), 1 / len(truth))
    return Problems(text, truth, weights, np.array([ridge]), np.array([bias_ridge]), EVERY)


@given(st.integers(0, 1000), st.sampled_from([0.01, 0.1, 1.0]))
def test_at_the_answer_no_direction_is_downhill(seed, ridge):
    features, truth, text, axes = problem(seed)
    x = axes.coordinates(features)
    found = solve(one(text, truth, ridge), x)
    off = (softmax(found.scores(text, x))[0] - np.eye(3)[truth]) / len(truth)
    slope = off.T @ x + ridge * found.directions[0]
    bias_slope = off.sum(axis=0) + 0.03 * found.biases[0]
    assert max(np.abs(slope).max(), np.abs(bias_slope).max()) < 1e-3  # of a loss near 1; steps end at 1e-5


@given(st.integers(0, 1000))
def test_corrections_move_classes_against_one_another(seed):
    features, truth, text, axes = problem(seed)
    found = solve(one(text, truth, 0.1), axes.coordinates(features))
    assert np.abs(found.directions.sum(axis=1)).max() < 1e-6
    assert np.abs(found.biases.sum(axis=1)).max() < 1e-6


@given(st.integers(0, 1000))
def test_an_endless_ridge_leaves_biases_alone_and_a_growing_one_text(seed):
    features, truth, text, axes = problem(seed)
    x = axes.coordinates(features)
    assert not solve(one(text, truth, np.inf), x).directions.any()
    firm = solve(one(text, truth, 1e7, 1e7), x)
    assert np.abs(firm.scores(text, x) - text).max() < 1e-5


@given(st.integers(0, 1000), st.permutations(range(3)))
def test_the_order_of_classes_does_not_matter(seed, order):
    features, truth, text, axes = problem(seed)
    x, order = axes.coordinates(features), np.array(order)
    found = solve(one(text, truth, 0.1), x)
    turned = solve(one(text[:, order], np.argsort(order)[truth], 0.1), x)
    np.testing.assert_allclose(turned.directions, found.directions[:, order], atol=1e-7)


def test_problems_solved_together_are_those_solved_apart():
    features, truth, text, axes = problem(0)
    x = axes.coordinates(features)
    ridges = np.array([0.01, 0.1, np.inf])
    seen = np.full((3, len(truth)), 1 / len(truth))
    together = solve(Problems(text, truth, seen, ridges, np.full(3, 0.03), EVERY), x)
    for i, ridge in enumerate(ridges):
        apart = solve(one(text, truth, ridge), x)
        np.testing.assert_allclose(together.scores(text, x)[i], apart.scores(text, x)[0], atol=2e-3)


def test_a_label_that_is_not_seen_changes_nothing():
    features, truth, text, axes = problem(1)
    x, seen = axes.coordinates(features), np.full((1, len(truth)), 0.05)
    seen[0, 0] = 0
    other = truth.copy()
    other[0] = (truth[0] + 1) % 3
    ridges = np.array([0.1]), np.array([0.03])
    answers = [solve(Problems(text, labels, seen, *ridges, EVERY), x) for labels in (truth, other)]
    assert (answers[0].directions == answers[1].directions).all()


@pytest.mark.parametrize("labels", [1, 2])
def test_axes_of_equal_features_are_there_and_do_nothing(labels):
    features = np.ones((labels, 4))
    axes = Axes.of(features)
    assert not axes.coordinates(features).any()
