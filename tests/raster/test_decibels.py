"""Radar scenes of one band, linear or in decibels, drawn alike and run as they are."""

import json

import numpy as np
import pytest
import rasterio

from segearth_cli.errors import UsageError
from segearth_cli.presets import SAR, get
from segearth_cli.raster import ReadOptions, Window, open_scene, parse_stretch

WHOLE = Window(0, 0, 90, 120)


@pytest.fixture
def radar(write_raster):
    """A scene of backscatter, linear, in decibels or as amplitude, with a hole of nodata."""

    def made(kind, dtype="float32", nodata=None, negative=0):
        rng = np.random.default_rng(4)
        level = rng.uniform(-25, 0, (1, 9, 12)).repeat(10, 1).repeat(10, 2)
        linear = 10 ** (level / 10) * rng.gamma(4, 0.25, level.shape)
        if negative:
            linear[0, 0, :negative] = -1e-4
        values = {"linear": linear, "db": 10 * np.log10(np.abs(linear)), "amplitude": np.sqrt(np.abs(linear)) * 1000}
        pixels = values[kind].astype(dtype)
        if nodata is not None:
            pixels[:, :20, :20] = nodata
        return write_raster(f"{kind}_{dtype}.tif", pixels, nodata=nodata)

    return made


def drawn(path, stretch):
    scene = open_scene(path, ReadOptions(stretch=stretch))
    return scene, scene.read(WHOLE)


def test_linear_and_decibels_are_drawn_alike(radar):
    linear, one = drawn(radar("linear"), "sar")
    decibels, other = drawn(radar("db"), "sar")
    assert (linear.decibels, decibels.decibels) == (True, False)
    np.testing.assert_allclose(linear.stretch, decibels.stretch, rtol=1e-3)
    assert np.abs(one.image.astype(int) - other.image).max() <= 1  # float32 of either
    assert (one.image[0] == one.image[1]).all()
    assert (one.image[0] == one.image[2]).all()
    assert any("linear, drawn as decibels" in line for line in linear.notices)
    assert any("values are decibels" in line for line in decibels.notices)


def test_amplitudes_of_16_bits_are_drawn_as_their_powers_are(radar):
    _, power = drawn(radar("linear"), "sar")
    _, amplitude = drawn(radar("amplitude", "uint16"), "sar")
    assert np.abs(power.image.astype(int) - amplitude.image).max() <= 3  # rounded to whole numbers


def test_limits_in_decibels_are_those_of_the_values(radar):
    path = radar("linear")
    scene, chip = drawn(path, "db,-20,-5")
    np.testing.assert_allclose(scene.stretch, [(-20, -5)])
    with rasterio.open(path) as ds:
        wanted = np.clip((10 * np.log10(ds.read(1)) + 20) / 15 * 255, 0, 255)
    assert np.abs(chip.image[0] - wanted).max() < 0.51
    assert np.abs(chip.image.astype(int) - drawn(path, "sar,-20,-5")[1].image).max() == 0
    same = drawn(radar("db"), "sar,-20,-5")[1].image
    assert np.abs(chip.image.astype(int) - same).max() <= 1


def test_a_few_values_below_0_are_what_removing_noise_leaves(radar):
    scene, chip = drawn(radar("linear", negative=50), "sar")
    assert scene.decibels
    assert (chip.image[:, 0, :50] == 0).all()
    assert chip.valid.all()


def test_zeros_that_are_nodata_are_no_data(radar):
    assert not drawn(radar("linear", nodata=0), "sar")[1].valid[:20, :20].any()
    scene, chip = drawn(radar("linear", nodata=0), "db,-20,-5")
    assert scene.stretch == ((pytest.approx(-20), pytest.approx(-5)),)
    assert not chip.valid[0, 0]


def test_a_zero_that_is_data_is_black(write_raster):
    power = np.random.default_rng(5).exponential(0.1, (1, 40, 50)).astype(np.float32) + 0.01
    power[0, 7, 9] = 0
    chip = open_scene(write_raster("zero.tif", power), ReadOptions(stretch="sar")).read(Window(0, 0, 40, 50))
    assert chip.valid.all()
    assert (chip.image[:, 7, 9] == 0).all()


def test_coarser_pixels_are_means_of_power_not_of_decibels(write_raster):
    power = np.random.default_rng(5).exponential(0.1, (1, 90, 120)).astype(np.float32)  # mean -10 dB, of dB -12.5
    scene = open_scene(write_raster("speckle.tif", power), ReadOptions(stretch="db,-30,10"))
    seen = scene.read(Window(0, 0, 9, 12), (9, 12)).image[0] / 255 * 40 - 30
    assert np.median(seen) == pytest.approx(-10, abs=0.5)


def test_8_bit_radar_stays_as_it_is(write_raster, noise):
    scene = open_scene(write_raster("byte.tif", noise(1, 60, 70)), ReadOptions(stretch="sar"))
    assert scene.stretch is None


@pytest.mark.parametrize("rule", ["db,0,-25", "db,P98,P2", "sar,1", "db,x,y", "decibel"])
def test_rules_that_cannot_be_meant_are_refused(rule):
    with pytest.raises(UsageError, match="--stretch"):
        parse_stretch(rule)


@pytest.mark.parametrize("kind", ["linear", "db"])
@pytest.mark.parametrize("preset", ["pie-sar", "fusar", None])
def test_a_scene_of_one_band_runs_without_a_detour(radar, segearth, tmp_path, model_dir, kind, preset):
    words = ("--preset", preset) if preset else ("-c", "water,road", "--stretch", "sar")
    mask = tmp_path / "mask.tif"
    done = segearth("predict", radar(kind), *words, "-m", f"local-dir:{model_dir}", "-d", "cpu", "-o", mask)
    assert done.code == 0, done.err
    with rasterio.open(mask) as ds:
        run = json.loads(ds.tags()["SEGEARTH_RUN"])
        assert ds.read(1).shape == (90, 120)
    assert run.get("decibels", False) is (kind == "linear")
    if preset:
        assert (run["attention"], run["last_blocks"]) == ("sclip", 2)
        assert max(run["working_size"]) == get(preset).long_side
        assert run["window"] == 224


@pytest.mark.parametrize("preset", SAR.values(), ids=SAR)
def test_sar_presets_say_what_the_extension_sets(preset):
    settings = preset.settings()
    whole = preset.id not in ("fusar", "openearthmap-sar")
    assert (settings["long_side"], settings["window"]) == (224 if whole else 448, 224)
    assert settings["threshold"] == (0.3 if preset.id == "yeseg-sar" else 0)
    assert (settings["attention"], settings["last_blocks"], settings["global_bias"]) == ("sclip", 2, 0.3)
    assert preset.published is None
    assert preset.classes().background == {
        "pie-sar": 0, "openearthmap-sar": 0, "whu-opt-sar": 6, "yeseg-sar": 0, "fusar": 0
    }.get(preset.id)  # fmt: skip


def test_a_sar_preset_says_which_model_it_was_published_with(radar, segearth):
    done = segearth("predict", radar("db"), "--preset", "pie-sar", "--dry-run")
    assert done.code == 0, done.err
    assert "`segearth download alignearth-sar-vit-b16` brings it" in done.err
