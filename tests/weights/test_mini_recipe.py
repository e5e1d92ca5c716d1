"""What mini is trained on: which images may be, and what captions, tables and labels are taken to say."""

import numpy as np
import pytest
from PIL import Image

from scripts.mini import labelled, score, words

COLOURS = np.array([[200, 40, 40], [40, 40, 200], [40, 200, 40]], np.uint8)


def known(captions, stem="", table=None):
    return dict(zip(words.NAMES, words.presence(captions, stem, table), strict=True))


@pytest.fixture
def sets(tmp_path):
    """A folder of sets, of 20 images each, one of them kept unseen: its masks in the colours of their codes."""
    rng = np.random.default_rng(0)
    for name in ("dubai", "hot_fair", "cn_buildings"):
        for part in ("img", "mask"):
            (tmp_path / name / part).mkdir(parents=True)
        (tmp_path / name / "classes.txt").write_text("background\nbuilding,roof,house\nwater\n")
        for n in range(20):
            codes = np.kron(rng.integers(0, 3, (4, 6)), np.ones((100, 100))).astype(np.uint8)
            Image.fromarray(COLOURS[codes]).save(tmp_path / name / "img" / f"{n:02}.png")
            Image.fromarray(codes).save(tmp_path / name / "mask" / f"{n:02}.png")
    return tmp_path


def test_no_image_is_both_trained_on_and_chosen_on_or_held_out(sets):
    for place in score.places(sets):
        parts = [set(score.files(place, part)) for part in ("trained", "chosen-on", "held-out")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 20
    assert score.files(sets / "dubai", "held-out") == sorted((sets / "dubai" / "img").iterdir())[1::2]


def test_a_set_that_is_kept_unseen_gives_no_canvas(sets):
    drawn = {path.parents[1].name for _, path in labelled.plan([sets], np.random.default_rng(0))}
    assert drawn == {"dubai", "hot_fair"}


def test_the_label_cells_of_a_canvas_lie_where_its_colours_say(sets):
    rows = labelled.plan([sets], np.random.default_rng(0))
    paint, agree = labelled.painter(rows), []
    for row in range(24):
        canvas, cells = paint(row, np.random.default_rng(row))
        centres = canvas[labelled.CELL // 2 :: labelled.CELL, labelled.CELL // 2 :: labelled.CELL].astype(int)
        agree.append((centres.argmax(axis=-1) == np.array([0, 2, 1])[cells])[cells >= 0].mean())
    assert min(agree) > 0.8  # between two colours the blend may be either's
    assert np.mean(agree) > 0.95


def test_a_residential_area_holds_buildings_but_is_not_all_building():
    area = known(["a dense residential area ."], "denseresidential")
    assert area["residential"] == words.COVERS
    assert area["building"] == area["house"] == words.PRESENT
    assert known(["a piece of farmland ."], "farmland")["building"] == words.ABSENT


def test_built_up_areas_and_buildings_are_different_things_where_labels_name_areas():
    groups = dict(zip(words.NAMES, words.groups(), strict=True))
    assert groups["built-up"] == groups["residential"] != groups["building"] == groups["house"]
    assert not words.covers()[groups["built-up"]]


def test_what_somebody_looked_for_and_did_not_find_counts_more_than_captions():
    said = ["some trees and a building beside the road ."]
    table = {"trees": False, "buildings": True, "pavement": False}
    found = known(said, "", table)
    assert found["tree"] == found["forest"] == found["road"] == words.ABSENT
    assert found["building"] == words.PRESENT
    assert known(said)["tree"] == known(said)["road"] == words.PRESENT
