"""`segearth evaluate` as its user meets it: files in, figures and one clear line out."""

import csv
import itertools
import json

import numpy as np
import pytest
import rasterio
from places import WAYS, place
from rasterio.transform import Affine, from_origin
from rasterio.warp import Resampling, calculate_default_transform, reproject

import segearth_cli
from segearth_cli import classes as class_lists
from segearth_cli.errors import SceneChangedError
from segearth_cli.evaluation.comparison import EvaluateOptions, LabelCodes, compare

CLASSES = class_lists.parse("ground,water,roof")
UTM = {"crs": "EPSG:32631", "transform": from_origin(500_000, 5_000_000, 10, 10)}
RNG = np.random.default_rng(5)


def blocky(rows=60, cols=80, classes=3, seed=0, cell=5):
    coarse = np.random.default_rng(seed).integers(0, classes, (rows // cell, cols // cell), dtype=np.uint8)
    return np.kron(coarse, np.ones((cell, cell), np.uint8))


def write(path, array, tag=None, **profile):
    array = array if array.ndim == 3 else array[None]
    driver = "PNG" if path.suffix == ".png" else "GTiff"
    count, height, width = array.shape
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path, "w", driver=driver, count=count, height=height, width=width, dtype=array.dtype, **profile
    ) as f:
        f.write(array)
        if tag:
            f.update_tags(SEGEARTH_CLASSES=class_lists.to_tag(tag))
    return path


@pytest.fixture
def evaluate(segearth):
    """Runs `segearth evaluate`: its exit code, stdout and stderr."""

    def call(*arguments):
        done = segearth("evaluate", *arguments)
        return done.code, done.out, done.err

    return call


@pytest.fixture
def figures(evaluate):
    def call(*arguments):
        code, out, err = evaluate(*arguments, "--json", "-")
        assert code == 0, err
        return json.loads(out)

    return call


LOCAL = 'LOCAL_CS["site",UNIT["metre",1]]'
LIST = ("--classes", "ground,water,roof")


def test_a_mask_scored_against_itself_is_perfect(tmp_path, figures):
    mask = write(tmp_path / "a.tif", blocky(), nodata=255, **UTM)
    scores = figures(mask, mask, *LIST)
    assert scores["miou"] == scores["accuracy"] == 1
    assert scores["pixels"] == 60 * 80
    assert [row["iou"] for row in scores["classes"]] == [1, 1, 1]


@pytest.mark.parametrize("pixels", [1, 80, 7 * 80, 10**6])
def test_the_block_size_changes_nothing(tmp_path, pixels):
    truth = blocky(seed=1)
    truth[3:9] = 255
    mask, label = write(tmp_path / "a.tif", blocky(), nodata=255, **UTM), write(tmp_path / "b.tif", truth, **UTM)
    whole = compare(str(mask), str(label), CLASSES, EvaluateOptions())
    parts = compare(str(mask), str(label), CLASSES, EvaluateOptions(block_pixels=pixels))
    np.testing.assert_array_equal(parts.confusion.counts, whole.confusion.counts)
    assert (parts.ignored, parts.codes) == (whole.ignored, whole.codes) == (6 * 80, {0, 1, 2, 255})


def test_two_folders_score_as_the_sum_of_their_pairs(tmp_path, figures):
    for n in range(3):
        write(tmp_path / "pred" / f"s{n}.mask.tif", blocky(seed=n))
        write(tmp_path / "labels" / f"s{n}.png", blocky(seed=n + 9))
    (tmp_path / "pred" / "s0.mask.tif.aux.xml").touch()
    write(tmp_path / "pred" / "s0.confidence.tif", blocky())
    together = figures(tmp_path / "pred", tmp_path / "labels", *LIST)
    singles = [
        figures(tmp_path / "pred" / f"s{n}.mask.tif", tmp_path / "labels" / f"s{n}.png", *LIST) for n in range(3)
    ]
    assert together["pairs"] == 3
    counts = sum(np.array(one["confusion"]["counts"]) for one in singles)
    np.testing.assert_array_equal(together["confusion"]["counts"], counts)


def test_a_label_on_a_finer_grid_is_brought_to_the_masks(tmp_path, figures):
    mask = write(tmp_path / "a.tif", blocky(), **UTM)
    fine = np.kron(blocky(), np.ones((3, 3), np.uint8))
    label = write(tmp_path / "b.tif", fine, crs=UTM["crs"], transform=from_origin(500_000, 5_000_000, 10 / 3, 10 / 3))
    scores = figures(mask, label, *LIST)
    assert scores["miou"] == 1
    assert scores["pixels"] == 60 * 80


def test_a_label_in_another_crs_is_warped_and_where_it_ends_is_left_out(tmp_path, figures):
    truth = blocky()
    mask = write(tmp_path / "a.tif", truth, **UTM)
    bounds = rasterio.open(mask).bounds
    transform, width, height = calculate_default_transform(
        "EPSG:32631",
        "EPSG:4326",
        80,
        60,
        *bounds,
        resolution=2e-5,  # about 2 m: nearest neighbour finds the cell again
    )
    warped = np.full((height, width // 2), 255, np.uint8)  # its western half
    reproject(
        truth,
        warped,
        src_crs=UTM["crs"],
        src_transform=UTM["transform"],
        dst_crs="EPSG:4326",
        dst_transform=transform,
        resampling=Resampling.nearest,
        dst_nodata=255,
    )
    scores = figures(mask, write(tmp_path / "b.tif", warped, crs="EPSG:4326", transform=transform), *LIST)
    assert scores["accuracy"] > 0.99  # pixels on cell edges may fall either way
    assert scores["pixels"] == pytest.approx(60 * 40, rel=0.05)
    assert scores["pixels_ignored"] == 60 * 80 - scores["pixels"]


@pytest.mark.parametrize("turns", [-1, 0, 1])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4258", "EPSG:4807"], ids=["own", "other", "grads"])
def test_longitudes_a_turn_apart_are_one_place(tmp_path, figures, crs, turns):
    """EPSG:4807 counts grads from Paris, of which a turn has 400."""
    west = 171 if crs == "EPSG:4807" else 179.9
    codes, turn = blocky(), 400 if crs == "EPSG:4807" else 360
    ours, theirs = (from_origin(west + by, 45, 1e-3, 1e-3) for by in (0, turns * turn))
    mask = write(tmp_path / "a.tif", codes, crs="EPSG:4326" if crs == "EPSG:4258" else crs, transform=ours)
    scores = figures(mask, write(tmp_path / "b.tif", codes, crs=crs, transform=theirs), *LIST)
    assert (scores["pixels"], scores["accuracy"]) == (codes.size, 1)


@pytest.mark.parametrize("nodata", [None, 0, 100])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "int8", "float32", "float64"])
def test_beside_its_label_no_pixel_counts_whatever_the_type_of_its_codes(tmp_path, evaluate, figures, dtype, nodata):
    mask, codes = write(tmp_path / "a.tif", blocky(), **UTM), blocky(seed=3)
    hidden = np.zeros(codes.shape, bool)
    hidden[:20, :30] = True

    def label(name, columns):
        place = {"crs": UTM["crs"], "transform": UTM["transform"] @ Affine.translation(columns, 0), "nodata": nodata}
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            path = write(tmp_path / name, codes.astype(dtype), **place)
            with rasterio.open(path, "r+") as ds:
                ds.write_mask(~hidden)
        return path

    beside = np.full(codes.shape, 255, np.uint8)
    beside[:, 45:] = np.where(hidden, 255, codes)[:, :-45]
    wanted = figures(mask, write(tmp_path / "beside.tif", beside, **UTM), *LIST)
    found = figures(mask, label("half.tif", 45), *LIST)
    assert (found["confusion"], found["pixels"]) == (wanted["confusion"], wanted["pixels"])
    code, out, err = evaluate(mask, label("away.tif", 900), *LIST)
    assert (code, out) == (1, "")
    assert "does not overlap" in err


def test_georeferenced_labels_of_one_size_are_compared_by_place_not_by_position(tmp_path, figures):
    truth = blocky()
    moved = from_origin(500_100, 5_000_000, 10, 10)
    mask = write(tmp_path / "a.tif", truth, **UTM)
    label = write(tmp_path / "b.tif", np.roll(truth, -10, axis=1), crs=UTM["crs"], transform=moved)
    scores = figures(mask, label, *LIST)
    assert scores["accuracy"] == 1
    assert scores["pixels"] == 60 * 70


@pytest.mark.parametrize("shift", [0, 20])
@pytest.mark.parametrize(("mask", "label"), list(itertools.product(WAYS, repeat=2)), ids=str)
def test_labels_are_compared_by_place_or_refused_whatever_places_them(tmp_path, evaluate, mask, label, shift):
    codes = blocky()
    ours = place(write(tmp_path / "a.tif", codes), mask, 0)
    theirs = place(write(tmp_path / "b.tif", np.roll(codes, -shift, 1)), label, shift)
    code, out, err = evaluate(ours, theirs, *LIST, "--json", "-")
    if code:
        assert shift
        assert code == 1
        assert len(err.splitlines()) == 1
        assert "elsewhere" in err
        assert "gdalwarp" in err
        return
    if "nothing" not in (mask, label):  # else the label may be the mask's own in any place
        assert json.loads(out)["pixels"] == 60 * (80 - shift)
        assert json.loads(out)["miou"] == 1


def test_ignored_codes_are_left_out(tmp_path, figures):
    truth = blocky()
    wrong = truth.copy()
    wrong[:10] = (truth[:10] + 1) % 3
    label = truth.copy()
    label[:5], label[5:10] = 255, 77
    mask = write(tmp_path / "a.tif", wrong)
    scores = figures(mask, write(tmp_path / "b.png", label), *LIST, "--ignore", "77")
    assert scores["miou"] == 1
    assert scores["pixels_ignored"] == 10 * 80


def test_pixels_without_data_in_the_mask_are_left_out_or_missed_as_asked(tmp_path, figures):
    holes = blocky()
    holes[:15] = 255
    mask, label = write(tmp_path / "a.tif", holes, nodata=255), write(tmp_path / "b.png", blocky())
    left_out = figures(mask, label, *LIST)
    assert (left_out["accuracy"], left_out["pixels_nodata"]) == (1, 15 * 80)
    assert figures(mask, label, *LIST, "--count-nodata")["accuracy"] == 0.75


def test_classes_are_matched_by_name_when_the_mask_orders_them_otherwise(tmp_path, figures):
    truth = blocky()
    own = class_lists.with_background(class_lists.parse("Roof,ground|earth,water"), "background")
    code = np.array([2, 3, 1], np.uint8)  # of ground, water, roof in the mask
    stored = code[truth]
    stored[:6] = 0  # background, which the list lacks: none of its classes
    mask = write(tmp_path / "a.tif", stored, tag=own, nodata=255)
    scores = figures(mask, write(tmp_path / "b.png", truth), *LIST)
    assert scores["accuracy"] == pytest.approx(54 / 60)
    assert [row["precision"] for row in scores["classes"]] == [1, 1, 1]


def test_classes_that_nobody_names_are_those_of_the_masks(tmp_path, evaluate, figures):
    truth = blocky()
    for name in "ab":
        write(tmp_path / "masks" / f"{name}.tif", np.roll(truth, 3, 1), tag=CLASSES)
        write(tmp_path / "labels" / f"{name}.tif", truth)
    places = tmp_path / "masks", tmp_path / "labels"
    assert figures(*places) == figures(*places, *LIST)
    assert segearth_cli.evaluate(tmp_path / "masks/a.tif", tmp_path / "labels/a.tif") == figures(
        tmp_path / "masks/a.tif", tmp_path / "labels/a.tif", *LIST
    )
    assert "as the masks tell them, in the order of label codes: ground, water, roof\n" in evaluate(*places)[2]


@pytest.mark.parametrize("other", [None, class_lists.parse("ground,roof,water")], ids=["none", "in another order"])
def test_classes_that_masks_do_not_agree_on_are_to_be_named(tmp_path, evaluate, other):
    masks = [write(tmp_path / "masks" / f"{n}.tif", blocky(), tag=t) for n, t in (("a", CLASSES), ("b", other))]
    for mask in masks:
        write(tmp_path / "labels" / mask.name, blocky())
    code, out, err = evaluate(tmp_path / "masks", tmp_path / "labels")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert str(masks[1]) in err
    assert "--classes" in err


def test_names_are_the_same_however_they_are_written(tmp_path, figures):
    mask = write(tmp_path / "a.tif", blocky(), tag=class_lists.parse("ground,cafe\u0301,roof"))
    assert figures(mask, mask, "--classes", "Ground,CAFÉ,roof")["accuracy"] == 1


def test_a_class_of_the_mask_counts_as_the_one_that_has_it_as_a_synonym(tmp_path, figures, evaluate):
    truth = blocky()
    stored = np.where((truth == 2) & (RNG.random(truth.shape) < 0.5), np.uint8(3), truth)
    mask = write(tmp_path / "a.tif", stored, tag=class_lists.parse("ground,Water,building,shed"))
    label = write(tmp_path / "b.png", truth)
    assert figures(mask, label, "--classes", "ground,river|water,house|building|shed")["accuracy"] == 1
    code, _, err = evaluate(mask, label, "--classes", "ground,water,building|house")
    assert code == 2
    assert "'shed'" in err


def test_the_words_that_a_background_stands_for_are_no_classes_of_a_label(tmp_path, figures):
    own = class_lists.with_rest(class_lists.parse("water,roof"), "distractors")
    assert "road" in own.phrases[0]
    mask = write(tmp_path / "a.tif", blocky(), tag=own)
    label = write(tmp_path / "b.png", blocky())
    scores = figures(mask, label, "--classes", "road,river|water,roof")
    assert [row["recall"] for row in scores["classes"]] == [0, 1, 1]


def test_a_mask_of_other_classes_is_refused(tmp_path, evaluate):
    mask = write(tmp_path / "a.tif", blocky(), tag=class_lists.parse("ground,lava,roof"))
    code, out, err = evaluate(mask, mask, *LIST)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "'lava'" in err
    assert "ground, water, roof" in err


@pytest.mark.parametrize(
    ("shift", "options"),
    [(1, ["--map", "1=0,2=1,3=2"]), (1, ["--label-offset", "-1"]), (40, ["--label-offset", "-40"])],
)
def test_labels_with_codes_of_their_own_are_mapped(tmp_path, figures, shift, options):
    mask = write(tmp_path / "a.tif", blocky())
    label = write(tmp_path / "b.png", blocky() + np.uint8(shift))
    assert figures(mask, label, *LIST, *options)["miou"] == 1


def test_white_is_a_class_when_mapped_and_a_hint_when_not(tmp_path, evaluate, figures):
    truth = blocky(classes=2)
    mask, label = write(tmp_path / "a.tif", truth), write(tmp_path / "b.png", truth * 255)
    two = ("--classes", "background,water")
    scores = figures(mask, label, *two, "--map", "255=1")
    assert scores["miou"] == scores["foreground_iou"] == 1
    assert "--map 255=1" in evaluate(mask, label, *two)[2]


def test_colours_are_codes_too(tmp_path, figures, evaluate):
    truth = blocky()
    palette = np.array([[255, 255, 255], [0, 0, 255], [0, 255, 0]], np.uint8)
    mask = write(tmp_path / "a.tif", truth)
    label = write(tmp_path / "b.png", palette[truth].transpose(2, 0, 1))
    assert figures(mask, label, *LIST, "--map", "#ffffff=0,#0000ff=1,#00ff00=2")["miou"] == 1
    code, _, err = evaluate(mask, label, *LIST, "--map", "#ffffff=0,#0000ff=1")
    assert code == 2
    assert "#00ff00" in err


def test_sixteen_bit_labels_count_the_same(tmp_path, figures):
    truth = blocky().astype(np.int16)
    truth[:6] = -1
    mask, label = write(tmp_path / "a.tif", blocky()), write(tmp_path / "b.tif", truth)
    scores = figures(mask, label, *LIST, "--ignore=-1")
    assert (scores["miou"], scores["pixels_ignored"]) == (1, 6 * 80)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_codes_too_and_nan_is_no_label(tmp_path, figures, dtype):
    truth, mask = blocky(), write(tmp_path / "a.tif", blocky(seed=1))
    holed, nan = truth.copy(), truth.astype(dtype)
    holed[:20], nan[:20] = 255, np.nan
    plain = figures(mask, write(tmp_path / "b.tif", holed), *LIST)
    scores = figures(mask, write(tmp_path / "c.tif", nan), *LIST)
    assert scores["confusion"] == plain["confusion"]
    assert scores["pixels_ignored"] == plain["pixels_ignored"] == 20 * 80
    assert sum(row["pixels"] for row in scores["labels"]) == truth.size


def test_a_label_that_changes_while_it_is_read_is_no_score(tmp_path):
    mask, label = write(tmp_path / "a.tif", blocky(seed=1)), write(tmp_path / "b.tif", blocky())
    options = EvaluateOptions(LabelCodes(), block_pixels=800)
    with pytest.raises(SceneChangedError, match=r"b.tif: changed while it was read"):
        compare(str(mask), str(label), CLASSES, options, lambda _: write(label, blocky(seed=2)))


def test_an_unknown_label_code_is_named_with_its_file_and_the_way_out(tmp_path, evaluate):
    truth = blocky()
    truth[0, 0] = 9
    mask, label = write(tmp_path / "a.tif", blocky()), write(tmp_path / "b.png", truth)
    code, out, err = evaluate(mask, label, *LIST)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    for part in ("b.png", "code 9", "--ignore 9", "--map"):
        assert part in err


def test_a_code_whose_class_a_map_gave_away_is_told_how_to_get_it_back(tmp_path, evaluate, figures):
    mask, label = write(tmp_path / "a.tif", blocky()), write(tmp_path / "b.png", blocky())
    code, _, err = evaluate(mask, label, *LIST, "--map", "2=1")
    assert code == 2
    assert "class 1 (water) is that of other codes" in err
    assert "add 1=1 to --map" in err
    assert figures(mask, label, *LIST, "--map", "2=1,1=1")["pixels"]


def test_no_offset_is_offered_for_colours(tmp_path, evaluate):
    mask, label = write(tmp_path / "a.tif", blocky()), write(tmp_path / "b.png", np.zeros((3, *blocky().shape), "u1"))
    code, _, err = evaluate(mask, label, *LIST)
    assert (code, "--map '#000000'=0" in err, "--label-offset" in err) == (2, True, False)


def test_a_code_taken_by_a_map_does_not_keep_its_own_meaning():
    codes = LabelCodes({1: 0, 2: 1})
    assert [codes.target(code, 3) for code in (0, 1, 2)] == [-2, 0, 1]  # 0 is unknown, not a second ground


def test_missing_partners_are_told_and_exit_with_3(tmp_path, evaluate):
    for n in (1, 2):
        write(tmp_path / "pred" / f"s{n}.mask.tif", blocky())
    for n in (2, 3):
        write(tmp_path / "labels" / f"s{n}.png", blocky())
    code, out, err = evaluate(tmp_path / "pred", tmp_path / "labels", *LIST)
    assert code == 3
    assert "mIoU 100.0" in out
    assert "s1.mask.tif" in err
    assert "s3.png" in err
    assert evaluate(tmp_path / "pred", tmp_path / "labels", *LIST, "--allow-missing")[0] == 0


def test_suffixes_are_taken_off_before_pairing(tmp_path, figures):
    write(tmp_path / "pred" / "s_RGB.mask.tif", blocky())
    write(tmp_path / "labels" / "s_label.tif", blocky())
    options = ("--prediction-suffix", "_RGB", "--label-suffix", "_label")
    assert figures(tmp_path / "pred", tmp_path / "labels", *LIST, *options)["pairs"] == 1


def test_a_pattern_names_labels_in_several_folders(tmp_path, figures):
    for folder in ("rural", "urban"):
        write(tmp_path / f"{folder}.mask.tif", blocky())
        write(tmp_path / folder / f"{folder}.png", blocky())
    assert figures(tmp_path / "*.mask.tif", tmp_path / "*" / "*.png", *LIST)["pairs"] == 2


def test_files_that_do_not_overlap_are_told(tmp_path, evaluate):
    far = {**UTM, "transform": from_origin(600_000, 5_000_000, 10, 10)}
    write(tmp_path / "pred" / "near.tif", blocky(), **UTM)
    write(tmp_path / "pred" / "far.tif", blocky(), **UTM)
    write(tmp_path / "labels" / "near.tif", blocky(), **UTM)
    lone = write(tmp_path / "labels" / "far.tif", blocky(), **far)
    code, out, err = evaluate(tmp_path / "pred", tmp_path / "labels", *LIST)
    assert code == 3
    assert "far.tif: does not overlap" in err
    assert "mIoU 100.0" in out
    code, out, err = evaluate(tmp_path / "pred" / "far.tif", lone, *LIST)
    assert (code, out, len(err.splitlines())) == (1, "", 1)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (lambda folder: write(folder / "b.png", blocky(50, 80)), "80 x 50 px"),
        (lambda folder: write(folder / "b.tif", blocky() + np.float32(0.5)), "whole-number"),
        (lambda folder: write(folder / "b.tif", np.stack([blocky()] * 2)), "2 bands"),
        (lambda folder: write(folder / "b.tif", blocky(), transform=from_origin(0, 9, 1, 1)), "lies elsewhere"),
        (lambda folder: write(folder / "b.tif", np.stack([blocky()] * 5)), "5 bands"),
        (
            lambda folder: write(folder / "b.tif", blocky(), crs=LOCAL, transform=UTM["transform"]),
            "no way from its CRS",
        ),
        (lambda folder: (folder / "b.tif").write_text("no raster") and folder / "b.tif", "b.tif"),
    ],
    ids=["size", "fraction", "two bands", "place", "bands", "crs", "garbage"],
)
def test_labels_that_cannot_be_compared_are_one_line_and_exit_1(tmp_path, evaluate, label, told):
    spot = UTM if told.startswith(("no way", "lies")) else {}
    code, out, err = evaluate(write(tmp_path / "a.tif", blocky(), **spot), label(tmp_path), *LIST)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert told in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [*LIST, "--preset", "loveda"],
        [*LIST, "--map", "1"],
        [*LIST, "--map", "1=3"],
        [*LIST, "--map", "1=0,1=2"],
        [*LIST, "--map", "one=1"],
        [*LIST, "--ignore", "water"],
        [*LIST, "--csv", "no/such/folder/a.csv"],
        ["--preset", "cityscapes"],
    ],
)
def test_bad_options_are_one_line_and_exit_2(tmp_path, evaluate, arguments):
    mask = write(tmp_path / "a.tif", blocky())
    code, out, err = evaluate(mask, mask, *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)


@pytest.mark.parametrize("names", [("none*", "a.tif"), ("other", "a.tif"), ("a.tif", "other"), ("empty", ".")])
def test_places_that_hold_no_pair_are_one_line_and_exit_2(tmp_path, evaluate, names):
    write(tmp_path / "a.tif", blocky())
    write(tmp_path / "other" / "b.tif", blocky())
    (tmp_path / "empty").mkdir()
    code, out, err = evaluate(*(tmp_path / name for name in names), *LIST)
    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_a_stem_that_comes_twice_is_refused(tmp_path, evaluate):
    write(tmp_path / "pred" / "s.mask.tif", blocky())
    for folder in ("images", "masks"):
        (tmp_path / "set").mkdir(exist_ok=True)
        write(tmp_path / "set" / folder / "s.png", blocky())
    code, _, err = evaluate(tmp_path / "pred", tmp_path / "set", *LIST)
    assert code == 2
    assert "same stem 's'" in err


def test_a_picture_is_what_its_name_says_or_none(tmp_path, evaluate):
    mask = write(tmp_path / "a.tif", blocky())
    for name in ("r.csv", "r.xyz", "r"):
        code, _, err = evaluate(mask, mask, *LIST, "--png", tmp_path / name)
        assert (code, len(err.splitlines())) == (2, 1)
        assert "name it .png" in err
        assert not (tmp_path / name).exists()


def test_reports_say_the_same_as_each_other_and_are_not_replaced_unasked(tmp_path, evaluate):
    mask, label = write(tmp_path / "a.tif", blocky()), write(tmp_path / "b.png", blocky(seed=4))
    outputs = [tmp_path / name for name in ("r.json", "r.csv", "r.png")]
    options = [part for path in outputs for part in (f"--{path.suffix[1:]}", path)]
    code, out, err = evaluate(mask, label, *LIST, *options, "--quiet")
    assert (code, err) == (0, "")
    scores = json.loads(outputs[0].read_text())
    rows = list(csv.DictReader(outputs[1].read_text().splitlines()))
    assert [float(row["iou"]) for row in rows] == [row["iou"] for row in scores["classes"]]
    assert [[int(row[f"as {name}"]) for name in CLASSES.names] for row in rows] == [
        row[:-1] for row in scores["confusion"]["counts"]
    ]
    assert f"mIoU {scores['miou'] * 100:.1f}" in out
    with rasterio.open(outputs[2]) as picture:
        assert np.ptp(picture.read()) > 100
    assert evaluate(mask, label, *LIST, *options)[0] == 2
    assert evaluate(mask, label, *LIST, *options, "--overwrite")[0] == 0


def test_a_preset_reads_public_codes_and_says_when_they_look_like_class_codes(tmp_path, evaluate, figures):
    truth = blocky(classes=7)
    mask = write(tmp_path / "a.tif", truth)
    public = write(tmp_path / "b.png", truth + np.uint8(1))
    assert figures(mask, public, "--preset", "loveda")["miou"] == 1
    assert figures(mask, mask, "--preset", "loveda", "--label-offset", "0")["miou"] == 1
    assert "--label-offset 0" in evaluate(mask, mask, "--preset", "loveda")[2]
    odd = write(tmp_path / "c.png", truth + np.uint8(2))
    hint = "; codes are read as published (--preset loveda); --label-offset 0 reads class codes"
    assert hint in evaluate(mask, odd, "--preset", "loveda")[2]
    with pytest.raises(segearth_cli.SegEarthError, match=r"as published \(preset=loveda\); label_offset=0 "):
        segearth_cli.evaluate(mask, odd, preset="loveda")
