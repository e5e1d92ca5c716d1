"""A dry run refuses what the run would refuse: the same line, the same exit code, and nothing is made."""

import json
import shutil

import pytest
import tiny
from noise import save_scene

MODEL = ("-m", "local-dir:model", "--upsampler", "none", "-d", "cpu")
CLASSES = ("-c", "water,roof")


@pytest.fixture(scope="module")
def place(tmp_path_factory, model_dir):
    """A folder with two scenes, two models, and what a finished run left: masks, a folder of shards, a calibration."""
    from segearth_cli import cli

    folder = tmp_path_factory.mktemp("place")
    save_scene(folder / "scene.tif", 70, 90)
    save_scene(folder / "second.tif", 70, 80)
    shutil.copytree(model_dir, folder / "model")
    tiny.model(folder / "other", seed=5)
    (folder / "list.csv").write_text("scene,out\nscene.tif,masks/a.tif\nsecond.tif,masks/b.tif\n")
    (folder / "label.geojson").write_text(_label())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in (
            ["predict", "scene.tif", *MODEL, *CLASSES, "--work", "run", "-o", "scene.mask.tif"],
            ["predict", "--manifest", "list.csv", *MODEL, *CLASSES],
            ["calibrate", "scene.tif", "--labels", "label.geojson", *MODEL, *CLASSES, "-o", "c.calibration"],
        ):
            patch.setattr("sys.argv", ["segearth", *line, "-q"])
            assert cli.run() == 0
    return folder


def _label():
    """Two clicks on the scene, in its CRS."""
    points = [
        {"type": "Feature", "properties": {"class": name}, "geometry": {"type": "Point", "coordinates": place}}
        for name, place in (("water", [400_009.0, 4_999_990.0]), ("roof", [400_018.0, 4_999_985.0]))
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    return json.dumps({"type": "FeatureCollection", "crs": crs, "features": points})


REFUSED = {
    "a mask that is there": ("scene.tif", *MODEL, *CLASSES),
    "a mask that is the scene": ("scene.tif", *MODEL, *CLASSES, "-o", "scene.tif", "--overwrite"),
    "two outputs of one name": ("scene.tif", *MODEL, *CLASSES, "-o", "a.tif", "--confidence", "./a.tif"),
    "a folder that is not there": ("scene.tif", *MODEL, *CLASSES, "-o", "no/a.tif"),
    "a URL": ("scene.tif", *MODEL, *CLASSES, "-o", "s3://bucket/a.tif"),
    "a table that is none": ("--manifest", "list.csv", *MODEL, *CLASSES, "--summary", "label.geojson"),
    "a list of other masks": ("--manifest", "list.csv", *MODEL, "-c", "water,tree"),
    "a run that is there": ("scene.tif", *MODEL, *CLASSES, "-o", "a.tif", "--work", "run"),
    "another run": ("scene.tif", *MODEL, "-c", "water,tree", "-o", "a.tif", "--work", "run", "--resume"),
    "a run of another side": (
        "scene.tif", *MODEL, *CLASSES, "-o", "a.tif", "--work", "run", "--resume", "--shard-size", "512",
    ),
    "a share of another run": (
        "scene.tif", *MODEL, "-c", "a,b", "--work", "run", "--shard-index", "0", "--shard-count", "2",
    ),
    "a calibration of another model": (
        "scene.tif", "-m", "local-dir:other", *MODEL[2:], "--calibration", "c.calibration", "-o", "a.tif",
    ),
    "a calibration of other settings": (
        "scene.tif", *MODEL, "--calibration", "c.calibration", "-o", "a.tif", "--stride", "16",
    ),
    "a damaged calibration": ("scene.tif", *MODEL, "--calibration", "label.geojson", "-o", "a.tif"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_dry_run_refuses_what_the_run_refuses_in_the_same_words(place, monkeypatch, segearth, case):
    monkeypatch.chdir(place)
    before = sorted(str(path) for path in place.rglob("*"))
    asked = segearth("predict", *REFUSED[case], "--dry-run")
    done = segearth("predict", *REFUSED[case])
    assert done.code in (1, 2)
    assert (asked.code, asked.out, asked.lines[-1]) == (done.code, "", done.lines[-1])
    assert sorted(str(path) for path in place.rglob("*")) == before


ALLOWED = {
    "a run that goes on": ("scene.tif", *MODEL, *CLASSES, "--work", "run", "--resume"),
    "a list that is done": ("--manifest", "list.csv", *MODEL, *CLASSES),
    "a list to a new folder": ("scene.tif", "second.tif", *MODEL, *CLASSES, "-o", "new"),
    "a calibration on its scene": ("scene.tif", *MODEL, "--calibration", "c.calibration", "-o", "new.tif"),
    "a new folder of runs": ("scene.tif", *MODEL, *CLASSES, "-o", "new.tif", "--work", "fresh"),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_a_run_would_do_a_dry_run_tells_and_makes_nothing(place, monkeypatch, segearth, case):
    monkeypatch.chdir(place)
    before = sorted(str(path) for path in place.rglob("*"))
    done = segearth("predict", *ALLOWED[case], "--dry-run")
    assert (done.code, "windows of 64 px" in done.out) == (0, True), done.err
    assert sorted(str(path) for path in place.rglob("*")) == before
    alone = sum("leaves it alone" in line for line in done.lines)
    assert alone == {"a run that goes on": 1, "a list that is done": 2}.get(case, 0), done.err
