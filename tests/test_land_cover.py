"""Which words of common land cover a class list leaves to its background."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.land_cover import COVERS, not_covered

ALL = tuple(COVERS)


@pytest.mark.parametrize(
    ("phrases", "covered"),
    [
        (["car"], []),
        (["Water"], ["water"]),
        (["flooded area"], ["water"]),
        (["houses", "single-family homes"], ["building"]),
        (["tile roof"], ["building"]),
        (["parking lots"], ["road"]),
        (["low vegetation"], ["tree", "grass", "cropland"]),
        (["urban area"], ["building", "road"]),
        (["sandy beaches"], ["bare soil"]),
        (["water", "land"], [*ALL]),
        (["bare land"], ["bare soil"]),
        (["bushes"], ["tree"]),
        (["impervious surface", "low vegetation"], ["building", "road", "tree", "grass", "cropland"]),
    ],
)
def test_a_word_is_covered_by_its_kinds_and_by_what_holds_it(phrases, covered):
    assert not_covered(phrases) == tuple(cover for cover in ALL if cover not in covered)


@given(st.lists(st.sampled_from(sorted(set().union(*COVERS.values()))), max_size=4), st.text(max_size=8))
def test_more_phrases_leave_no_more_words_and_case_and_order_mean_nothing(phrases, more):
    left = not_covered(phrases)
    assert set(not_covered([*phrases, more])) <= set(left)
    assert not_covered([phrase.upper() for phrase in reversed(phrases)]) == left


@pytest.mark.parametrize("cover", ALL)
def test_no_word_competes_with_itself(cover):
    assert cover not in not_covered([cover])
    assert cover not in not_covered([f"{cover}s"])
