"""Scenes cut into tiles: each as a scene of its own, every pixel from the tile nearest to it."""

import json

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from noise import save_scene

from segearth_cli.errors import UsageError
from segearth_cli.prediction import PredictOptions, make_plan
from segearth_cli.raster import ReadOptions, Window, open_scene, shares


@pytest.fixture
def predict(segearth, tmp_path, model_dir):
    """Codes of a scene's mask, and the run that made it."""

    def run(scene, *options, name="mask.tif"):
        words = () if "--preset" in options else ("-c", "water,roof,forest")
        done = segearth(
            *("predict", scene, "-o", tmp_path / name, "-m", f"local-dir:{model_dir}", "-d", "cpu", "--precision"),
            *("fp32", *words, *options),
        )
        assert done.code == 0, done.err
        with rasterio.open(tmp_path / name) as ds:
            return ds.read(1), json.loads(ds.tags()["SEGEARTH_RUN"]), done.err

    return run


def crop(source, path, row, col, height, width):
    """A window of a raster as a raster, black beyond its border."""
    with rasterio.open(source) as ds:
        window = rasterio.windows.Window(col, row, width, height)
        profile = ds.profile | {"height": height, "width": width, "transform": ds.window_transform(window)}
        pixels = ds.read(window=window, boundless=True, fill_value=0)
    with rasterio.open(path, "w", **profile) as ds:
        ds.write(pixels)
    return path


@given(st.integers(1, 300), st.integers(1, 80), st.data())
def test_shares_follow_one_another_and_lie_within_their_tiles(length, size, data):
    stride = data.draw(st.integers(1, size))
    found = shares(length, size, stride)
    assert [first for _, first, _ in found] == [0, *(end for _, _, end in found[:-1])]
    assert found[-1][2] == length
    assert all(offset <= first < end <= offset + size for offset, first, end in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [("--scale", "0.5"), *(pytest.param(how, marks=pytest.mark.slow) for how in (("--long-side", "64"), ()))]
)
def test_every_pixel_is_that_of_the_nearest_tile_segmented_as_a_scene_of_its_own(tmp_path, predict, how):
    scene = save_scene(tmp_path / "scene.tif", 140, 190)
    mask, run, _ = predict(scene, "--tile", "96x80", "--tile-stride", "60x50", *how)
    assert (run["tile"], run["tile_stride"]) == ([96, 80], [60, 50])
    seen = np.full(mask.shape, 99)
    # written out: offsets every stride, the last moved back to the border; borders in the middle of overlaps
    rows, cols = [0, 50, 60], [0, 60, 94]
    tops, lefts = [0, 65, 95, 140], [0, 78, 125, 190]
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            one, _, _ = predict(crop(scene, tmp_path / "one.tif", row, col, 80, 96), *how, "--overwrite", name="t.tif")
            inner = slice(tops[i], tops[i + 1]), slice(lefts[j], lefts[j + 1])
            seen[inner] = one[inner[0].start - row : inner[0].stop - row, inner[1].start - col : inner[1].stop - col]
    np.testing.assert_array_equal(mask, seen)


def test_a_scene_smaller_than_a_tile_is_filled_up_with_black_as_published(tmp_path, predict):
    scene = save_scene(tmp_path / "scene.tif", 70, 90)
    mask, run, _ = predict(scene, "--tile", "128", "--long-side", "64")
    assert run["working_size"] == [64, 64]
    filled, _, _ = predict(crop(scene, tmp_path / "filled.tif", 0, 0, 128, 128), "--long-side", "64", name="f.tif")
    np.testing.assert_array_equal(mask, filled[:70, :90])


@pytest.mark.slow
def test_shards_of_a_tiled_scene_join_to_the_same_mask(tmp_path, predict):
    scene = save_scene(tmp_path / "scene.tif", 600, 700, holes=[(0, 0, 120, 300)], nodata=0)
    options = ("--tile", "200x150", "--tile-stride", "170x100", "--scale", "0.5")
    whole, _, _ = predict(scene, *options)
    parts, _, _ = predict(scene, *options, "--work", tmp_path / "work", "--shard-size", "512", name="parts.tif")
    np.testing.assert_array_equal(whole, parts)
    assert (whole[:120, :300] == 255).all()


@pytest.mark.parametrize(
    ("preset", "shape", "tiles", "size"),
    [
        ("potsdam", (6000, 6000), 23 * 23, (448, 448)),
        ("vaihingen", (2557, 1887), 9 * 7, (448, 448)),
        ("isaid", (3000, 1024), 6 * 2, (448, 448)),
        ("isaid", (500, 400), 1, (448, 448)),
        ("uavid", (2160, 4096), 2 * 4, (378, 448)),
        ("uavid", (2160, 3840), 2 * 3, (378, 448)),
        ("inria", (5000, 5000), 5 * 5, (448, 448)),
    ],
)
def test_presets_cut_the_tiles_of_the_published_settings(write_raster, model_dir, preset, shape, tiles, size):
    from segearth_cli.prediction import resolve_settings

    settings = resolve_settings({"preset": preset, "model": f"local-dir:{model_dir}"})
    scene = open_scene(write_raster("s.tif", np.zeros((3, *shape), np.uint8), compress="deflate"), ReadOptions())
    plan = make_plan(scene, settings.options, 224)
    assert (len(plan.tiles()), plan.size) == (tiles, size)
    counted = np.zeros((shape[0] // 50 + 1, shape[1] // 50 + 1), int)  # every 50th pixel: once in a share
    for tile in plan.tiles():
        rows, cols = (-(-first // 50) for first in tile.share[:2])
        counted[rows : -(-tile.share.bottom // 50), cols : -(-tile.share.right // 50)] += 1
    assert (counted[: -(-shape[0] // 50), : -(-shape[1] // 50)] == 1).all()


def test_a_resolution_of_ones_own_replaces_the_tiles_of_a_preset_and_a_tile_its_stride(model_dir):
    from segearth_cli.prediction import resolve_settings

    given = {"preset": "potsdam", "model": f"local-dir:{model_dir}"}
    assert resolve_settings(given).options.tile == (512, 512)
    assert resolve_settings(given | {"scale": 0.5}).options.tile is None
    assert not resolve_settings(given | {"tile": "none"}).options.tile
    own = resolve_settings(given | {"tile": "1000x800"}).options
    assert (own.tile, own.tile_stride, own.long_side) == ((1000, 800), None, 448)


@pytest.mark.parametrize(
    ("preset", "option", "told"),
    [
        ("loveda", (), True),
        ("udd5", (), False),
        ("potsdam", ("--tile", "none"), True),
        pytest.param("potsdam", (), False, marks=pytest.mark.slow),
    ],
)
def test_a_scene_far_larger_than_the_images_of_a_setting_is_told(
    tmp_path, predict, wide_model_dir, preset, option, told
):
    scene = save_scene(tmp_path / "scene.tif", 520, 2100)
    _, _, said = predict(scene, "--preset", preset, *option, "-m", f"local-dir:{wide_model_dir}")
    assert ("--tile" in said) is told, said


@pytest.mark.parametrize("text", ["0", "12x", "axb", "1x2x3", "-5", ""])
def test_what_is_no_tile_is_one_line(text):
    from segearth_cli.options import build

    with pytest.raises(UsageError, match="--tile"):
        build(PredictOptions, {"tile": text})


def test_a_stride_longer_than_its_tile_is_refused():
    with pytest.raises(UsageError, match="--tile-stride 20x10"):
        PredictOptions(tile=(15, 15), tile_stride=(20, 10))
    with pytest.raises(UsageError, match="--tile-stride"):
        PredictOptions(tile_stride=(20, 10))


def test_tiles_say_their_windows_whatever_the_region(write_raster, noise):
    scene = open_scene(write_raster("s.tif", noise(3, 200, 300)), ReadOptions())
    plan = make_plan(scene, PredictOptions(tile=(100, 80), tile_stride=(50, 40), window=32), 32)
    assert plan.window_count() == sum(plan.window_count(tile.share) for tile in plan.tiles())
    assert plan.tiles(Window(0, 0, 1, 1)) == plan.tiles()[:1]
