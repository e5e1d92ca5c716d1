"""Labels as published: grey values of 128 and more are the class, tiles count one by one."""

import json

import numpy as np
import pytest
import rasterio
from conftest import UTM

import segearth_cli

RNG = np.random.default_rng(3)


def save(path, array, **profile):
    array = array if array.ndim == 3 else array[None]
    driver = {".png": "PNG", ".jpg": "JPEG"}.get(path.suffix, "GTiff")
    with rasterio.open(
        path, "w", driver=driver, count=len(array), height=array.shape[1], width=array.shape[2], dtype=array.dtype,
        **{k: v for k, v in profile.items() if k != "colormap"},
    ) as ds:  # fmt: skip
        if "colormap" in profile:
            ds.write_colormap(1, profile["colormap"])
        ds.write(array)
    return path


def shapes(rows=96, cols=128, cell=16):
    coarse = RNG.integers(0, 2, (rows // cell, cols // cell), dtype=np.uint8)
    return np.kron(coarse, np.ones((cell, cell), np.uint8))


CODINGS = {
    "codes.png": lambda truth, path: save(path, truth),
    "white.png": lambda truth, path: save(path, truth * 255),
    "greys.png": lambda truth, path: save(path, np.where(truth, 128, 127).astype(np.uint8)),
    "noisy.jpg": lambda truth, path: save(path, truth * 255, quality=60),
    "colour.jpg": lambda truth, path: save(path, np.stack([truth * 255] * 3), quality=60),
    "rgb.tif": lambda truth, path: save(path, np.stack([truth * 255] * 3), photometric="RGB"),
    "bit.png": lambda truth, path: save(path, truth, nbits=1),
    "palette.png": lambda truth, path: save(path, 1 - truth, colormap={0: (255,) * 3 + (255,), 1: (0, 0, 0, 255)}),
}
ONE_CLASS = ("whu-aerial", "whu-sat-ii", "inria", "chn6-cug", "deepglobe", "massachusetts", "spacenet", "wbs-si")


@pytest.fixture
def figures(segearth):
    def run(*arguments):
        done = segearth("evaluate", *arguments, "--json", "-", "-q")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return run


@pytest.mark.parametrize("coding", CODINGS)
def test_a_label_of_any_coding_scores_the_same(tmp_path, figures, coding):
    truth = shapes()
    wrong = truth.copy()
    wrong[:24] = 1 - wrong[:24]
    mask, label = save(tmp_path / "m.tif", wrong), CODINGS[coding](truth, tmp_path / coding)
    found = figures(mask, label, "--preset", "massachusetts")
    assert found["accuracy"] == pytest.approx(0.75, abs=1e-3 if coding.endswith("jpg") else 0)


def test_class_codes_with_255_for_what_is_left_out_stay_what_they_are(tmp_path, figures):
    truth = shapes()
    label = truth.copy()
    label[:24] = 255
    found = figures(save(tmp_path / "m.tif", truth), save(tmp_path / "l.png", label), "--preset", "spacenet")
    assert (found["accuracy"], found["pixels_ignored"]) == (1, 24 * 128)


@pytest.mark.parametrize(("preset", "colour", "left_out"), [("uavid", 0x123456, False), ("potsdam", 0x123456, True)])
def test_colours_that_a_set_lacks_are_what_its_authors_make_of_them(tmp_path, figures, preset, colour, left_out):
    road = 0x804080 if preset == "uavid" else 0xFFFFFF
    colours = np.where(shapes(), road, colour)
    label = save(tmp_path / "l.png", np.stack([colours >> shift & 255 for shift in (16, 8, 0)]).astype("u1"))
    mask = save(tmp_path / "m.tif", np.where(colours == road, 2 if preset == "uavid" else 0, 0).astype("u1"))
    found = figures(mask, label, "--preset", preset)
    assert found["accuracy"] == 1
    assert found["pixels_ignored"] == (colours == colour).sum() * left_out


def test_255_is_left_out_beside_the_0_that_a_set_leaves_out(tmp_path, figures):
    truth = shapes() + np.uint8(1)
    label = truth.copy()
    label[:24], label[24:30] = 255, 0
    found = figures(
        save(tmp_path / "m.tif", truth - np.uint8(1)), save(tmp_path / "l.png", label), "--preset", "loveda"
    )
    assert (found["accuracy"], found["pixels_ignored"]) == (1, 30 * 128)


@pytest.mark.parametrize("preset", ONE_CLASS)
def test_sets_of_one_class_take_128_and_more_for_it(tmp_path, figures, preset):
    grey = RNG.integers(0, 256, (40, 50), dtype=np.uint8)
    mask = save(tmp_path / "m.tif", (grey >= 128).astype(np.uint8))
    assert figures(mask, save(tmp_path / "l.tif", grey), "--preset", preset)["accuracy"] == 1


def test_xbd_takes_every_level_of_damage_for_a_building(tmp_path, figures):
    levels = RNG.integers(0, 5, (40, 50), dtype=np.uint8)
    mask = save(tmp_path / "m.tif", (levels > 0).astype(np.uint8))
    assert figures(mask, save(tmp_path / "l.png", levels), "--preset", "xbd")["accuracy"] == 1


def test_noise_of_a_jpeg_without_the_class_is_no_class(tmp_path, figures):
    grey = RNG.integers(0, 4, (40, 50), dtype=np.uint8)
    mask = save(tmp_path / "m.tif", np.zeros_like(grey))
    assert figures(mask, save(tmp_path / "l.tif", grey), "--preset", "wbs-si")["accuracy"] == 1


def test_what_the_user_says_of_codes_wins_over_the_threshold(tmp_path, figures):
    codes = np.repeat(np.array([[3, 200]], np.uint8), 8, axis=0)
    mask = save(tmp_path / "m.tif", np.repeat(np.array([[1, 0]], np.uint8), 8, axis=0))
    label = save(tmp_path / "l.tif", codes)
    assert figures(mask, label, "--preset", "inria", "--map", "3=1,200=0")["accuracy"] == 1


def test_a_grey_value_that_is_to_be_left_out_is(tmp_path, figures):
    grey = np.repeat(np.array([[3, 200, 77, 77]], np.uint8), 8, axis=0)
    mask = save(tmp_path / "m.tif", np.repeat(np.array([[0, 1, 1, 0]], np.uint8), 8, axis=0))
    found = figures(mask, save(tmp_path / "l.tif", grey), "--preset", "inria", "--ignore", "77")
    assert (found["accuracy"], found["pixels_ignored"]) == (1, 16)


@pytest.mark.parametrize("preset", ["potsdam", "vaihingen", "isaid", "uavid", "inria"])
def test_tile_by_tile_each_pixel_counts_as_often_as_tiles_hold_it(tmp_path, figures, preset):
    height, width = 1500, 1400
    classes = {"inria": 2, "isaid": 16, "uavid": 7}.get(preset, 6)
    first = int(preset in ("potsdam", "vaihingen"))
    truth = RNG.integers(0, classes, (height // 50, width // 50), dtype=np.uint8).repeat(50, 0).repeat(50, 1)
    wrong = np.where(RNG.random(truth.shape) < 0.3, (truth + 1) % classes, truth).astype(np.uint8)
    label = save(tmp_path / "l.tif", (truth + first) * (255 if preset == "inria" else 1))
    mask = save(tmp_path / "m.tif", wrong)
    found = figures(mask, label, "--preset", preset)
    assert segearth_cli.evaluate(mask, label, preset=preset) == found
    # (tile rows, tile columns, offsets of rows, offsets of columns), as the authors' converters write them
    ways = {
        "potsdam": {(512, 512): [(256, 256), (512, 512)]},
        "vaihingen": {(512, 512): [(256, 256), (512, 512)]},
        "isaid": {(896, 896): [(512, 512)]},
        "uavid": {(1080, 1280): [(1080, 1280)]},
        "inria": {(1000, 1000): [(1000, 1000)]},
    }[preset]
    (((high, wide), steps),) = ways.items()
    seen = []
    for down, across in steps:
        counts = np.zeros((classes, classes), np.int64)
        tops = sorted({min(y, height - high) for y in range(0, height, down)})
        lefts = sorted({min(x, width - wide) for x in range(0, width, across)})
        for y in tops:
            for x in lefts:
                a, b = truth[y : y + high, x : x + wide], wrong[y : y + high, x : x + wide]
                np.add.at(counts, (a.ravel(), b.ravel()), 1)
        seen.append(counts.tolist())
    got = [[row[:-1] for row in one["confusion"]["counts"]] for one in found["tile_by_tile"].values()]
    assert got == seen
    once = [row[:-1] for row in found["confusion"]["counts"]]
    assert np.sum(once) == height * width


@pytest.mark.slow
def test_a_mask_of_a_shrunk_scene_is_told_and_one_of_tiles_is_not(tmp_path, segearth, model_dir):
    scene = save(tmp_path / "s.tif", RNG.integers(0, 255, (3, 80, 2100), dtype=np.uint8), photometric="RGB", **UTM)
    label = save(tmp_path / "l.tif", np.ones((80, 2100), np.uint8), **UTM)
    for tile, told in (("none", True), ("1024", False)):
        mask = tmp_path / f"{tile}.tif"
        made = segearth(
            *("predict", scene, "--preset", "loveda", "-m", f"local-dir:{model_dir}", "--tile", tile, "-o", mask)
        )
        assert made.code == 0, made.err
        said = segearth("evaluate", mask, label, "--preset", "loveda").err
        assert ("shrunk to 448 px" in said) is told
