"""From features to corrections: what labels may change and what they may not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segearth_cli.calibration import Samples, Text, learn

NAMES = ("water", "roof", "tree")


def text(phrases, of_query=(0, 1, 1, 2)):
    of_query = np.array(of_query)

    def decide(logits):
        best = np.full((len(logits), of_query[-1] + 1), -np.inf)
        np.maximum.at(best, (slice(None), of_query), logits)
        return best.argmax(axis=1)

    return Text(phrases, of_query, 50.0, decide)


def ground(seed, *, shift=0.0, each=8, width=12):
    """A scene whose classes lie along phrases, moved against them by `shift`, and text for it."""
    rng = np.random.default_rng(seed)
    phrases = np.linalg.qr(rng.normal(size=(width, width)))[0][:4]
    middles = np.stack([phrases[0], (phrases[1] + phrases[2]) / 2, phrases[3]])
    moved = middles + shift * rng.normal(size=middles.shape)

    def features(codes):
        return moved[codes] + 0.05 * rng.normal(size=(len(codes), width))

    codes = np.repeat(np.arange(3), each)
    area = features(rng.integers(0, 3, 200))
    places = rng.integers(0, 300, (len(codes), 2))
    return Samples(features(codes), codes, np.arange(len(codes)), places, area), text(phrases), features


def share_right(learned, words, features, codes):
    logits = features @ (words.phrases + learned.directions[words.of_query]).T + learned.biases[words.of_query]
    return (words.decide(logits) == codes).mean()


@pytest.mark.slow
@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_labels_mend_what_text_has_wrong(seed):
    samples, words, features = ground(seed, shift=0.4)
    codes = np.repeat(np.arange(3), 50)
    rest = features(codes)
    before = (words.decide(words.logits(rest)) == codes).mean()
    after = share_right(learn(samples, words, NAMES), words, rest, codes)
    assert after >= min(before, 0.95)


def test_where_text_is_right_everywhere_text_is_kept_to_the_bit():
    samples, words, _ = ground(0)
    learned = learn(samples, words, NAMES)
    assert learned.kept == "text"
    assert not learned.directions.any()
    assert not learned.biases.any()


@settings(max_examples=10)
@given(st.integers(0, 1000), st.integers(0, 2))
def test_a_class_without_labels_keeps_its_text(seed, silent):
    samples, words, _ = ground(seed, shift=0.4)
    there = samples.codes != silent
    fewer = replace(
        samples, **{name: getattr(samples, name)[there] for name in ("features", "codes", "units", "places")}
    )
    learned = learn(fewer, words, NAMES)
    assert not learned.directions[silent].any()
    assert learned.biases[silent] == 0
    assert NAMES[silent] not in learned.report["labels"]


def test_labels_win_their_class_from_one_that_is_not_labelled():
    """A background that nobody listed competes where masks are made, so it must where labels are learned."""
    samples, words, features = ground(2)
    greedy = words.phrases.copy()
    greedy[3] = (words.phrases[0] + words.phrases[1] + words.phrases[2]) * 0.7  # wins what it should not
    greedy = text(greedy)
    there = samples.codes != 2
    fewer = replace(
        samples, **{name: getattr(samples, name)[there] for name in ("features", "codes", "units", "places")}
    )
    codes = np.repeat(np.arange(2), 50)
    rest = features(codes)
    before = (greedy.decide(greedy.logits(rest)) == codes).mean()
    assert share_right(learn(fewer, greedy, NAMES), greedy, rest, codes) > max(0.9, before)


@pytest.mark.slow
@settings(max_examples=5)
@given(st.integers(0, 1000), st.permutations(range(3)))
@example(87, [0, 2, 1])  # two variants are level up to rounding
def test_the_order_of_classes_does_not_matter(seed, order):
    samples, words, _ = ground(seed, shift=0.4)
    blocks = [np.flatnonzero(words.of_query == code) for code in order]
    of_query = np.repeat(range(3), [len(block) for block in blocks])
    turned = text(words.phrases[np.concatenate(blocks)], of_query)
    again = learn(replace(samples, codes=np.argsort(order)[samples.codes]), turned, [NAMES[code] for code in order])
    first = learn(samples, words, NAMES)
    assert again.kept == first.kept
    np.testing.assert_allclose(again.directions, first.directions[list(order)], atol=1e-4)
    for variant, figures in first.report["variants"].items():
        assert again.report["variants"][variant]["iou"] == pytest.approx(figures["iou"], abs=1e-4)


def test_labels_of_one_class_teach_nothing():
    samples, words, _ = ground(3, shift=0.4)
    only = samples.codes == 1
    fewer = replace(samples, **{n: getattr(samples, n)[only] for n in ("features", "codes", "units", "places")})
    assert learn(fewer, words, NAMES).kept == "text"
