"""The published settings, against figures and phrases of the paper's tables."""

from pathlib import Path

import pytest

from segearth_cli.errors import UsageError
from segearth_cli.presets import COLOUR, PRESETS, get

# Thresholds and figures as docs/method.md 5.6 and 7 give them.
PUBLISHED = {
    "OpenEarthMap": (0.1, 40.3),
    "LoveDA": (0.3, 36.9),
    "iSAID": (0.4, 21.7),
    "Potsdam": (0.1, 48.5),
    "Vaihingen": (0.1, 40.0),
    "UAVid": (0.3, 42.5),
    "UDD5": (0.4, 50.6),
    "VDD": (0.3, 45.3),
    "WHU-Aerial": (0.6, 49.2),
    "WHU-Sat.II": (0.7, 28.4),
    "Inria": (0.6, 44.6),
    "xBD": (0.0, 37.0),
    "CHN6-CUG": (0.8, 35.4),
    "DeepGlobe": (0.7, 17.8),
    "Massachusetts": (0.7, 11.5),
    "SpaceNet": (0.7, 23.8),
    "WBS-SI": (0.6, 60.2),
}


def test_all_seventeen_carry_the_published_threshold_and_figure():
    assert {preset.name: (preset.threshold, preset.published) for preset in PRESETS.values()} == PUBLISHED


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_is_a_class_list_with_its_background(preset):
    classes = preset.classes()
    assert len(classes) == len(preset.rows)
    assert classes.names[classes.background] == preset.background
    assert preset.long_side == 448
    assert preset.global_bias == (0.0 if preset.id == "xbd" else 0.3)
    assert preset.metric == ("foreground IoU" if len(classes) == 2 else "mIoU")


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_public_label_codes_reach_every_class_or_none(preset):
    reached = set(preset.label_codes.values())
    assert reached in (set(), set(range(len(preset.rows))))
    assert not preset.label_codes.keys() & preset.label_ignored


def test_synonyms_belong_to_their_class():
    classes = get("potsdam").classes()
    assert classes.phrases[-1] == ("clutter", "background")
    assert classes.background == 5
    assert len(get("openearthmap").classes().queries) == 14


def test_blue_of_the_isprs_sets_is_not_the_plain_code_255():
    codes = get("vaihingen").label_codes
    assert codes[COLOUR + 0x0000FF] == 1
    assert 255 not in codes


def test_the_page_on_reproducing_shows_the_settings_as_they_are():
    page = (Path(__file__).parent.parent / "docs" / "reproduce.md").read_text()
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    rows = [row for row in shown if len(row) == 8][1:]  # without the headings
    assert [(row[0], row[1], *row[2:5], *row[6:]) for row in rows] == [
        (f"`{p.id}`", p.name, str(len(p.rows)), str(p.threshold), p.background, p.metric, str(p.published))
        for p in PRESETS.values()
    ]


def test_names_are_found_in_any_case_and_unknown_ones_are_answered_with_the_list():
    assert get("whu-sat.ii") is get("WHU-SAT-II") is PRESETS["whu-sat-ii"]
    with pytest.raises(UsageError, match=r"cityscapes.*openearthmap.*wbs-si"):
        get("cityscapes")
