"""Rules that a user has once in mind, held to be the same in every command that they matter for."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

import segearth_cli
from segearth_cli.classes import CLASSES_TAG, RUN_TAG, parse, to_tag

PLACE = from_origin(500_000, 5_600_000, 1, 1)
LIST = ("-c", "water,roof")


def save(path, pixels, **tags):
    pixels = np.atleast_3d(pixels).transpose(2, 0, 1)
    form = {"driver": "GTiff", "height": pixels.shape[1], "width": pixels.shape[2], "crs": "EPSG:32632"}
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(path, "w", count=len(pixels), dtype=pixels.dtype, transform=PLACE, **form) as ds:
        ds.write(pixels)
        ds.update_tags(**tags)
    return path


@pytest.fixture
def masks(tmp_path, monkeypatch):
    """Three masks with their scenes and labels, in folders of the current one."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for name in "abc":
        told = {CLASSES_TAG: to_tag(parse("water,roof")), RUN_TAG: json.dumps({"scene": f"{name}.tif"})}
        save(tmp_path / "masks" / f"{name}.mask.tif", draw.integers(0, 2, (30, 30)).astype("u1"), **told)
        save(tmp_path / "labels" / f"{name}.tif", draw.integers(0, 2, (30, 30)).astype("u1"))
        save(tmp_path / "scenes" / f"{name}.tif", draw.integers(0, 256, (30, 30, 3)).astype("u1"))
    return tmp_path / "masks"


OVER_MASKS = {
    "vectorize": ("vectorize", "masks", "-o", "made"),
    "preview": ("preview", "masks", "-o", "made"),
    "preview-scenes": ("preview", "masks", "-s", "scenes", "-o", "made"),
    "evaluate": ("evaluate", "masks", "labels", *LIST),
}


@pytest.mark.parametrize("command", OVER_MASKS.values(), ids=OVER_MASKS)
def test_a_mask_whose_classes_are_damaged_fails_alone(segearth, masks, command):
    with rasterio.open(masks / "b.mask.tif", "r+") as ds:
        ds.update_tags(**{CLASSES_TAG: "[{"})
    done = segearth(*command)
    assert done.code == 3, done.err
    assert "b.mask.tif: damaged SEGEARTH_CLASSES tag" in done.err


def test_a_mask_whose_scene_is_not_there_fails_alone(segearth, masks):
    (masks.parent / "scenes" / "a.tif").unlink()
    done = segearth(*OVER_MASKS["preview-scenes"])
    assert (done.code, done.out.split()) == (3, ["made/b.preview.png", "made/c.preview.png"]), done.err
    assert "holds no scene of masks/a.mask.tif" in done.err


@pytest.mark.parametrize("tag", ["{", "[1]", '{"working_size": "x"}', '{"working_size": [null]}', "[" * 5000])
def test_what_a_mask_tells_of_its_run_is_believed_where_it_can_be(segearth, tmp_path, monkeypatch, tag):
    monkeypatch.chdir(tmp_path)
    large = np.ones((10, 2100), "u1")
    save(tmp_path / "large.tif", large, **{RUN_TAG: tag})
    save(tmp_path / "label.tif", large)
    assert segearth("evaluate", "large.tif", "label.tif", "--preset", "loveda", "--label-offset", "0").code == 0
    assert segearth("preview", "large.tif").code == 0


@pytest.mark.parametrize("command", ["vectorize", "preview"])
def test_patterns_pass_over_what_lies_beside_a_raster(segearth, masks, command):
    beside = ["a.mask.tif.aux.xml", "a.mask.qml", "a.mask.tfw", "a.mask.wld", "a.mask.tif.vat.dbf", "a.mask.prj"]
    for name in (*beside, "a.MASK.QML"):
        (masks / name).write_text("beside")
    done = segearth(command, "masks/a*", "-o", "made", *(("-f", "png") if command == "preview" else ()))
    assert (done.code, len(done.out.split())) == (0, 1), done.err


READING = {
    "evaluate --config": ("evaluate", "masks", "labels", "--config", "read.toml", "--json", "read.toml"),
    "evaluate --classes-file": ("evaluate", "masks", "labels", "--classes-file", "read.txt", "--csv", "read.txt"),
    "calibrate --config": (
        "calibrate",
        "scenes/a.tif",
        "--config",
        "read.toml",
        "--labels",
        "labels/a.tif",
        "-o",
        "read.toml",
    ),
    "calibrate --classes-file": (
        *("calibrate", "scenes/a.tif", "--classes-file", "read.txt", "--labels", "labels/a.tif"),
        *("-o", "read.txt"),
    ),
    "calibrate --labels": ("calibrate", "scenes/a.tif", *LIST, "--labels", "read.csv", "-o", "read.csv"),
    "predict --classes-file": ("predict", "scenes/a.tif", "--classes-file", "read.txt", "--summary", "read.txt"),
    "predict --config": ("predict", "scenes/a.tif", "--config", "read.toml", "--summary", "read.toml"),
    "train-upsampler --config": ("train-upsampler", "scenes", "--config", "read.toml", "--export-ckpt", "read.toml"),
    "train-upsampler --init": ("train-upsampler", "scenes", "--init", "read.safetensors", "-o", "read.safetensors"),
    "train-upsampler --model": (
        *("train-upsampler", "scenes", "--model", "ViT-B-16:read.safetensors"),
        *("-o", "read.safetensors"),
    ),
    "train-upsampler IMAGES": ("train-upsampler", "scenes", "--export-ckpt", "scenes/a.tif"),
}


@pytest.mark.parametrize("words", READING.values(), ids=READING)
def test_what_a_command_reads_it_does_not_replace(segearth, masks, words):
    before = {"read.toml": 'classes = "water,roof"\n', "read.txt": "water\nroof\n", "read.csv": "class,WKT\n"}
    if words[0] == "train-upsampler":
        before["read.toml"] = "steps = 1\n"
    before["read.safetensors"] = "weights"
    for name, text in before.items():
        (masks.parent / name).write_text(text)
    done = segearth(*words, "--overwrite")
    assert done.code == 2, done.err
    assert "is read by this command" in done.err
    assert {name: (masks.parent / name).read_text() for name in before} == before


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("mine.train/train.csv", {}),
        ("mine.train/step-000100.png", {}),
        ("mine.safetensors", {}),
        ("mine.safetensors", {"resume": True}),  # no checkpoint tells that it is of this run
    ],
)
def test_what_another_training_has_written_is_refused_from_python_too(segearth, masks, there, asked):
    file = masks.parent / there
    file.parent.mkdir(exist_ok=True)
    file.write_text("another's")
    done = segearth("train-upsampler", "scenes", "-o", "mine.safetensors", *("--resume",) * bool(asked))
    assert (done.code, "exists already" in done.err) == (2, True), done.err
    with pytest.raises(segearth_cli.SegEarthError, match="exists already"):
        segearth_cli.train_upsampler("scenes", "mine.safetensors", quiet=True, **asked)
    assert file.read_text() == "another's"


def test_what_python_reads_it_does_not_replace(masks):
    legend, init = masks.parent / "legend.txt", masks.parent / "init.safetensors"
    legend.write_text("water\nroof\n"), init.write_text("weights")
    with pytest.raises(segearth_cli.SegEarthError, match="is read by this command"):
        segearth_cli.calibrate("scenes/a.tif", "labels/a.tif", legend, legend, overwrite=True)
    with pytest.raises(segearth_cli.SegEarthError, match="is read by this command"):
        segearth_cli.train_upsampler("scenes", init, init=str(init), overwrite=True)


def test_pictures_are_drawn_anew_in_the_folder_of_scenes(segearth, masks):
    again = ("preview", "masks", "-s", "scenes", "-o", "scenes", "--overwrite")
    assert segearth(*again).code == segearth(*again).code == 0
