"""The images and labels of a set are found however it is laid out, and those of the published split are counted."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import sets

from segearth_cli.errors import UsageError
from segearth_cli.presets import EVERY, PRESETS
from segearth_cli.raster import Window
from segearth_cli.reproduction import Pair, TilePlace, find_pairs, find_sets
from segearth_cli.reproduction.layouts import LAYOUTS
from segearth_cli.reproduction.score import shares_of_places


def found(preset, root, **options):
    """(image, label) below a set's folder, and all that was found."""
    every = find_pairs(EVERY[preset], root, **options)
    return {(str(Path(p.image).relative_to(root)), str(Path(p.label).relative_to(root))) for p in every.pairs}, every


@pytest.mark.parametrize("name", sets.LAYOUTS)
def test_the_pairs_of_the_published_split_are_found_and_no_others(tmp_path, name):
    made = sets.LAYOUTS[name]
    sets.make(name, tmp_path, 16, 16)
    pairs, every = found(made.preset, tmp_path)
    assert pairs == set(made.pairs)
    assert every.images_alone == every.labels_alone == ()
    assert any(made.pairs[0][0].split("/")[0] in line for line in every.remarks)  # says where


@pytest.mark.parametrize("name", ["potsdam", "isaid", "loveda converted", "xbd", "chn6-cug"])
def test_names_in_other_letters_other_formats_and_deeper_folders_are_the_same(tmp_path, name):
    made = sets.LAYOUTS[name]
    sets.make(name, tmp_path / "plain", 16, 16)
    for path in [p for p in (tmp_path / "plain").rglob("*") if p.is_file()]:
        inner = path.relative_to(tmp_path / "plain")
        to = tmp_path / "other" / "more" / Path(*(part.swapcase() for part in inner.parts))
        to.parent.mkdir(parents=True, exist_ok=True)
        path.rename(to)
    assert len(found(made.preset, tmp_path / "other")[0]) == len(made.pairs)


def test_every_set_has_a_layout_that_people_can_read():
    assert set(LAYOUTS) == {name for name in EVERY if not name.endswith("-cvpr")}
    assert all(" with " in layout.expected for layout in LAYOUTS.values())


@pytest.mark.parametrize("name", ["potsdam", "loveda", "inria"])
@pytest.mark.parametrize("half", ["images", "labels"])
def test_halves_of_pairs_are_told(tmp_path, name, half):
    made = sets.LAYOUTS[name]
    sets.make(name, tmp_path, 16, 16)
    lost = {"potsdam": ("2_13", "3_13"), "loveda": ("3514", "99"), "inria": ("chicago10", "austin1")}[name]
    image, label = (part.replace(*lost) for part in made.pairs[0])
    sets.save(tmp_path / (image if half == "images" else label), np.zeros((3, 16, 16), np.uint8))
    every = found(made.preset, tmp_path)[1]
    alone = every.images_alone if half == "images" else every.labels_alone
    assert [str(Path(path).relative_to(tmp_path)) for path in alone] == [image if half == "images" else label]
    assert (every.labels_alone if half == "images" else every.images_alone) == ()
    assert len(every.pairs) == len(made.pairs)


@pytest.mark.parametrize("preset", EVERY)
def test_a_wrong_folder_is_one_line_that_tells_the_layout(tmp_path, preset):
    sets.save(tmp_path / "holiday" / "beach.png", np.zeros((3, 8, 8), np.uint8))
    for folder in (tmp_path, tmp_path / "holiday" / "beach.png"):
        with pytest.raises(UsageError) as error:
            find_pairs(EVERY[preset], folder)
        assert len(str(error.value).splitlines()) == 1
        assert LAYOUTS[preset.removesuffix("-cvpr")].expected in str(error.value)


def test_archives_as_downloaded_are_read_as_they_are(tmp_path):
    sets.make("isaid", tmp_path / "raw", 16, 16)
    for part, inner in (("val/images/part1.zip", "images"), ("val/Semantic_masks/images.zip", "images")):
        archive = tmp_path / "zips" / part
        archive.parent.mkdir(parents=True)
        with zipfile.ZipFile(archive, "w") as members:
            for path in (tmp_path / "raw" / Path(part).parent / inner).glob("*.png"):
                members.write(path, f"{inner}/{path.name}")
    pairs = find_pairs(PRESETS["isaid"], tmp_path / "zips").pairs
    assert [(p.image[:7], p.image[-9:], p.label[-29:]) for p in pairs] == [
        ("/vsizip", "P0003.png", "P0003_instance_color_RGB.png".rjust(29, "/"))
    ]


def test_without_a_split_all_pairs_are_counted_and_that_is_told(tmp_path):
    sets.save(tmp_path / "images" / "x.tif", np.zeros((3, 8, 8), np.uint8))
    sets.save(tmp_path / "labels" / "x.tif", np.zeros((8, 8), np.uint8))
    pairs, every = found("loveda", tmp_path)
    assert len(pairs) == 1
    assert "nothing tells the val split" in "".join(every.remarks)


def test_a_list_of_ones_own_chooses_the_pairs(tmp_path):
    sets.make("loveda", tmp_path, 16, 16)
    names = tmp_path / "mine.lst"
    names.write_text("0.png\n")
    assert found("loveda", tmp_path, names=names)[0] == set(sets.LAYOUTS["loveda"].others)
    names.write_text("nothing\n")
    with pytest.raises(UsageError, match=r"mine\.lst"):
        found("loveda", tmp_path, names=names)


def test_names_of_a_split_that_have_no_pair_are_told(tmp_path):
    sets.make("wbs-si", tmp_path, 16, 16)
    (tmp_path / "wbs-si_val.txt").write_text("water_body_1\nwater_body_77\n")
    assert any("water_body_77" in line for line in found("wbs-si", tmp_path)[1].remarks)


def test_the_labels_without_boundaries_are_taken_where_both_are_there(tmp_path):
    sets.make("potsdam", tmp_path, 16, 16)
    sets.save(tmp_path / "5_Labels_all" / "top_potsdam_3_13_label.tif", np.zeros((16, 16), np.uint8))
    sets.save(tmp_path / "2_Ortho_RGB" / "top_potsdam_3_13_RGB.tif", np.zeros((3, 16, 16), np.uint8))
    labels = {label for _, label in found("potsdam", tmp_path)[0]}
    assert labels == {
        "5_Labels_all_noBoundary/top_potsdam_2_13_label_noBoundary.tif", "5_Labels_all/top_potsdam_3_13_label.tif"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["loveda", "isaid", "potsdam"])
def test_what_a_converter_made_is_not_counted_beside_what_it_was_made_of(tmp_path, name):
    sets.make(name, tmp_path, 16, 16)
    sets.make(f"{name} converted", tmp_path, 16, 16)
    pairs, every = found(name, tmp_path)
    assert pairs == set(sets.LAYOUTS[f"{name} converted"].pairs)
    assert any("left out" in line for line in every.remarks)


def test_the_folders_of_all_sets_are_found_by_their_names(tmp_path):
    names = ("OpenEarthMap", "loveDA", "iSAID", "Potsdam", "UDD/UDD/UDD5", "WHU-BD", "WHU_Sat_II", "CHN6_CUG", "xBD")
    more = ("GlobalRoadSet_Val/DeepGlobe_test_1530", "water-body-segmentation-in-satellite-images")
    for name in (*names, *more, "something else"):
        (tmp_path / name).mkdir(parents=True)
    sets_found = find_sets(PRESETS.values(), tmp_path)
    wanted = "openearthmap loveda isaid potsdam udd5 whu-aerial whu-sat-ii chn6-cug xbd deepglobe wbs-si"
    assert set(sets_found) == set(wanted.split())
    with pytest.raises(UsageError, match="no folder of a set"):
        find_sets(PRESETS.values(), tmp_path / "something else")


@pytest.mark.parametrize(
    ("preset", "name", "place"),
    [
        ("potsdam", "2_13_512_1024_1024_1536", TilePlace("*/2_13", 1024, 512, 512, 512)),
        ("inria", "austin1_3000_0_4000_1000", TilePlace("*/austin1", 0, 3000, 1000, 1000)),
        ("isaid", "P0003_512_1408_0_896", TilePlace("*/P0003", 512, 0, 896, 896)),
        ("uavid", "seq21_000000_1080_2160_0_1280", TilePlace("*/seq21_000000", 1080, 0, 1080, 1280)),
    ],
)
def test_tiles_say_where_they_lie(tmp_path, preset, name, place):
    split = {"inria": "split_test", "uavid": "test"}.get(preset, "val")
    sets.save(tmp_path / "img_dir" / split / f"{name}.png", np.zeros((3, 8, 8), np.uint8))
    end = "_instance_color_RGB" if preset == "isaid" else ""
    sets.save(tmp_path / "ann_dir" / split / f"{name}{end}.png", np.zeros((8, 8), np.uint8))
    (pair,) = find_pairs(PRESETS[preset], tmp_path).pairs
    assert pair.place == TilePlace(place.scene.replace("*", split).casefold(), *list_of(place)[1:])


def list_of(place):
    return [place.scene, place.row, place.col, place.height, place.width]


def test_the_shares_of_tiles_that_a_converter_wrote_cover_their_scene_once():
    rows, cols = [0, 512, 1024, 1375], [0, 512, 700]
    pairs = [Pair(f"{row} {col}", "", "", TilePlace("s", row, col, 512, 512)) for row in rows for col in cols] + [
        Pair("0 0 of another", "", "", TilePlace("t", 0, 0, 512, 512))
    ]
    counted = np.zeros((1375 + 512, 700 + 512), int)
    shares = shares_of_places(pairs)
    for row in rows:
        for col in cols:
            share = shares[f"{row} {col}"]
            assert share.intersection(Window(0, 0, 512, 512)) == share
            counted[row + share.row : row + share.bottom, col + share.col : col + share.right] += 1
    assert (counted == 1).all()
    assert shares["0 0 of another"] == Window(0, 0, 512, 512)
