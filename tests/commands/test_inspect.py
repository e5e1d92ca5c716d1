"""`segearth inspect`: how a scene will be read, and the option for each answer."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import SHARED

MASK = np.repeat(np.array([0, 255], np.uint8), 20)[:, None].repeat(40, axis=1)


@pytest.fixture
def told(segearth):
    """The JSON of an inspection, and that of each of its readings."""

    def run(path, *arguments):
        found = segearth("inspect", path, "--json", *arguments)
        assert found.code == 0, found.err
        return json.loads(found.out)

    return run


def answers(found):
    return {name: reading["value"] for name, reading in found["readings"].items()}


def test_every_answer_names_the_option_that_changes_it(segearth, write_raster, noise):
    path = write_raster(
        "scene.tif", noise(4, 40, 40, dtype=np.uint16, high=4000), nodata=0, alpha="YES", overviews=[2], mask=None
    )
    lines = segearth("inspect", path).out.splitlines()
    for name, flag in {
        "bands": "--bands", "alpha": "--no-alpha", "nodata": "--nodata", "stretch": "--stretch",
        "overviews": "--no-antialias", "ground": "--gsd",
    }.items():  # fmt: skip
        assert any(line.startswith(f"  {name}: ") and flag in line for line in lines), (name, lines)
    assert lines[0] == f"{path}: GTiff, 40 x 40 px, EPSG:32632"
    assert any(line.startswith("  ground: 0.5") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), {"mask": "dataset", "alpha": None, "nodata": None}),
        (("--ignore-mask",), {"mask": None, "alpha": 4, "nodata": None}),
        (("--ignore-mask", "--no-alpha"), {"mask": None, "alpha": None, "nodata": None}),
        (("--nodata", "7"), {"mask": "dataset", "alpha": None, "nodata": [7, 7, 7]}),
        (("--bands", "4,3,2"), {"bands": [4, 3, 2]}),
    ],
)
def test_an_inspection_follows_the_options_of_predict(told, write_raster, noise, arguments, expected):
    path = write_raster("masked.tif", noise(4, 40, 40), alpha="YES", mask=MASK)
    found = answers(told(path, *arguments))
    assert {name: found[name] for name in expected} == expected


def test_a_scene_that_cannot_be_read_as_asked_is_told_with_what_mends_it(told, segearth, write_raster, noise):
    path = write_raster("bands.tif", noise(5, 40, 40), photometric=None)
    found = told(path)
    assert "--bands" in found["problem"]
    assert len(found["bands"]) == 5
    assert "problem: 5 bands" in segearth("inspect", path).out
    assert told(path, "--bands", "5,2,1")["problem"] is None


def test_scale_orientation_and_description_are_told(told, write_raster, noise):
    path = write_raster("scaled.tif", noise(1, 40, 40, dtype=np.uint16, high=4000))
    with rasterio.open(path, "r+") as ds:
        ds.scales, ds.offsets, ds.descriptions = (0.0001,), (-0.1,), ("reflectance",)
    found = told(path)
    band = found["bands"][0]
    assert (band["scale"], band["offset"], band["description"]) == (0.0001, -0.1, "reflectance")
    assert "units" in found["readings"]["stretch"]["how"]


def test_what_is_no_raster_is_one_line(segearth, tmp_path):
    (tmp_path / "notes.tif").write_text("no raster")
    done = segearth("inspect", tmp_path / "notes.tif")
    assert done.code == 1
    assert len(done.lines) == 1
    assert segearth("inspect", tmp_path / "absent.tif").code == 1


def test_a_dry_run_tells_the_same(segearth, write_raster, noise, model_dir):
    path = write_raster("scene.tif", noise(3, 70, 70), nodata=0)
    model = ("--model", f"local-dir:{model_dir}", "--upsampler", "none", "-c", "water,roof", "--dry-run")
    inspected = segearth("inspect", path).out.splitlines()
    assert segearth("predict", path, *model).out.splitlines()[1:] == inspected[1:]
    reading = json.loads(segearth("predict", path, *model, "--json").out)["reading"]
    assert reading == json.loads(segearth("inspect", path, "--json").out)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "scenes").is_dir(), reason="needs ../shared/scenes")
def test_every_real_scene_is_inspected(segearth):
    scenes = sorted((SHARED / "scenes").glob("*.[tj][ip][f2]"))
    found = [json.loads(line) for line in segearth("inspect", *scenes, "--json").out.splitlines()]
    assert [Path(one["scene"]) for one in found] == scenes
    assert sum(one["problem"] is not None for one in found) == 4  # three without marked bands, one of complex values


def test_a_scene_whose_bands_have_names_in_another_encoding_is_read(segearth, write_raster, noise):
    path = write_raster("scene.tif", noise(3, 20, 20))
    with rasterio.open(path, "r+") as ds:
        ds.descriptions = ("Groesse", "b", "c")
    Path(path).write_bytes(Path(path).read_bytes().replace(b"Groesse", b"Gr\xf6\xdfe.."))
    done = segearth("inspect", path)
    assert done.code == 0, done.err
    assert "band 1: uint8, red, drawn as red" in done.out


@pytest.mark.parametrize(("nodata", "text"), [(np.nan, "NaN"), (np.inf, "Infinity"), (-np.inf, "-Infinity")])
def test_json_has_text_for_what_is_no_number_of_its_own_as_run_json_has_it(told, write_raster, noise, nodata, text):
    path = write_raster("scene.tif", noise(3, 40, 40).astype(np.float32), nodata=nodata)
    assert [band["nodata"] for band in told(path)["bands"]] == [text] * 3
