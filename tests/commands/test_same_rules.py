"""Rules that a user has once in mind, held to be the same in every command that they matter for."""

import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import sets
from places import WAYS, place
from rasterio.transform import from_origin

import segearth_cli
from segearth_cli.classes import CLASSES_TAG, RUN_TAG, parse, to_tag
from segearth_cli.raster import ReadOptions
from segearth_cli.training import collect

PLACE = from_origin(500_000, 5_600_000, 1, 1)
LIST = ("-c", "water,roof")


GRID = {"crs": "EPSG:32632", "transform": PLACE}


def save(path, pixels, grid=GRID, **tags):
    pixels = np.atleast_3d(pixels).transpose(2, 0, 1)
    form = {"driver": "GTiff", "height": pixels.shape[1], "width": pixels.shape[2], **grid}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", count=len(pixels), dtype=pixels.dtype, **form) as ds:
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


@pytest.mark.parametrize("command", ["vectorize", "preview", "evaluate"])
def test_a_run_that_is_not_finished_fails_alone(segearth, masks, command):
    (masks.parent / "bad").mkdir()
    (masks.parent / "bad" / "run.json").write_text("{")
    shutil.copy("labels/b.tif", "labels/bad.tif")
    more = ("labels", *LIST) if command == "evaluate" else ("-o", "made")
    done = segearth(command, "-", *more, stdin="masks/a.mask.tif\nbad\nmasks/b.mask.tif\nmasks/c.mask.tif\n")
    assert (done.code, "1 of 4" in done.err, "bad/run.json: cannot be read" in done.err) == (3, True, True), done.err


def test_a_mask_whose_scene_is_not_there_fails_alone(segearth, masks):
    (masks.parent / "scenes" / "a.tif").unlink()
    done = segearth(*OVER_MASKS["preview-scenes"])
    assert (done.code, done.out.split()) == (3, ["made/b.preview.png", "made/c.preview.png"]), done.err
    assert "holds no scene of masks/a.mask.tif" in done.err


@pytest.mark.parametrize("name", ["river", "RIVER ", "water", "0", "class_0"])
def test_a_class_may_be_called_by_its_synonyms_where_masks_are_drawn(segearth, masks, name):
    with rasterio.open(masks / "a.mask.tif", "r+") as ds:
        ds.update_tags(**{CLASSES_TAG: to_tag(parse("water|river,roof"))})
    assert segearth("vectorize", "masks/a.mask.tif", "-c", name, "-o", "drawn.geojson").code == 0
    features = json.loads(Path("drawn.geojson").read_text())["features"]
    assert {one["properties"]["class"] for one in features} == {"water"}


@pytest.mark.parametrize("tag", ["{", "[1]", '{"working_size": "x"}', '{"working_size": [null]}', "[" * 5000])
def test_what_a_mask_tells_of_its_run_is_believed_where_it_can_be(segearth, tmp_path, monkeypatch, tag):
    monkeypatch.chdir(tmp_path)
    large = np.ones((10, 2100), "u1")
    save(tmp_path / "large.tif", large, **{RUN_TAG: tag})
    save(tmp_path / "label.tif", large)
    assert segearth("evaluate", "large.tif", "label.tif", "--preset", "loveda", "--label-offset", "0").code == 0
    assert segearth("preview", "large.tif").code == 0


@pytest.mark.parametrize("named", ["masks", "masks/*", "-"])
@pytest.mark.parametrize(
    "command", [("vectorize", "-f", "fgb"), ("preview", "-f", "html"), ("vectorize",)], ids=" ".join
)
def test_a_place_without_a_suffix_is_a_folder_however_many_masks_are_found(segearth, masks, command, named):
    for name in "bc":
        (masks / f"{name}.mask.tif").unlink()
    done = segearth(*command, named, "-o", "made", stdin="masks/a.mask.tif\n")
    assert (done.code, Path(done.out.strip()).parent) == (0, Path("made")), done.err


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


ODD_NUMBERS = ("\u00b2", "\u0661\u00b3", "1_0", "+1", "1e2", "0x1", "1" * 5000)


@pytest.mark.parametrize("number", ODD_NUMBERS, ids=range(len(ODD_NUMBERS)))
@pytest.mark.parametrize("flag", ["--batch-size", "--tile", "--shard-size", "--workers", "--window"])
def test_what_only_looks_like_a_whole_number_is_refused(segearth, masks, flag, number):
    done = segearth("predict", "scenes/a.tif", *LIST, "--work", "run", f"{flag}={number}")
    assert (done.code, flag in done.err) == (2, True) or (flag in ("--workers", "--window") and number in ("+1", "1_0"))


LATIN, DEEP = "caf\u00e9".encode("latin-1"), b"[" * 100_000
TEXTS = {
    "class file": (LATIN, "predict", "scenes/a.tif", "--classes-file", "odd"),
    "config": (LATIN, "predict", "scenes/a.tif", *LIST, "--config", "odd"),
    "manifest": (LATIN, "predict", "--manifest", "odd", *LIST, "-o", "made"),
    "templates": (LATIN, "predict", "scenes/a.tif", *LIST, "--templates", "odd"),
    "list": (LATIN, "reproduce", "loveda", "set", "--list", "odd"),
    "pairs": (LATIN, "models", "--activation", "mini", "--pairs", "odd"),
}


@pytest.mark.parametrize(("text", "words"), [(t[0], t[1:]) for t in TEXTS.values()], ids=TEXTS)
def test_what_is_no_utf_8_is_said_so_by_every_command(segearth, masks, text, words):
    (masks.parent / "odd").write_bytes(text)
    for folder in ("images_png", "masks_png"):  # one pair of a published set
        save(masks.parent / "set" / folder / "a.png", np.ones((20, 20, 3 if folder[0] == "i" else 1), "u1"))
    done = segearth(*words)
    assert (done.code, "not UTF-8 text" in done.lines[-1]) == (2, True), done.err


@pytest.mark.parametrize("part", ["segearth.json", "open_clip_config.json", "vocabulary.txt"])
def test_files_of_a_model_are_read_as_all_texts_are(segearth, masks, model_dir, part):
    model = shutil.copytree(model_dir, masks.parent / "model")
    predict = ("predict", "scenes/a.tif", *LIST, "-m", "local-dir:model", "--dry-run")
    file = model / part
    before = file.read_bytes() if file.exists() else b"{}" if part.endswith(".json") else b"water roof"
    file.write_bytes(b"\xef\xbb\xbf" + before)  # as some editors begin a file
    assert segearth(*predict).code == 0
    for text in (LATIN, DEEP) if part.endswith(".json") else (LATIN,):
        file.write_bytes(text)
        done = segearth(*predict)
        assert (done.code, part in done.lines[-1], "GDAL" in done.err) == (1, True, False), done.err


def test_training_leaves_out_what_predict_leaves_out(segearth, masks):
    scenes = masks.parent / "scenes"
    (masks / "a.mask.tif").rename(scenes / "x.tiff")
    assert segearth("preview", "masks/b.mask.tif", "-o", "scenes/b.preview.png").code == 0
    left = [path.name for path in map(Path, read_images("scenes"))]
    assert left == ["a.tif", "b.tif", "c.tif"]
    done = segearth("predict", "scenes", *LIST, "--dry-run", "-o", "made")
    assert "left out, written by segearth itself: scenes/b.preview.png, scenes/x.tiff" in done.err


def test_the_folder_of_a_run_stands_for_its_mask(segearth, masks, model_dir):
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu")
    assert segearth("predict", "scenes/a.tif", *LIST, *model, "--work", "run", "-o", "a.mask.tif").code == 0
    told = [segearth_cli.evaluate(mask, "labels/a.tif", "background,water,roof") for mask in ("run", "a.mask.tif")]
    assert told[0] == told[1]
    done = segearth(
        "evaluate", "run/", "labels/a.tif", "-c", "background,water,roof", "--json", "-"
    )  # one mask, whatever it is called
    assert json.loads(done.out) == told[0], done.err
    for name in ("run", "a.mask.tif"):
        segearth_cli.vectorize(name, f"{name}.geojson", quiet=True)
        segearth_cli.preview(name, f"{name}.png")
    features = [json.loads(Path(f"{name}.geojson").read_text())["features"] for name in ("run", "a.mask.tif")]
    assert features[0] == features[1] != []


def test_what_segearth_wrote_is_no_scene_however_it_is_named(segearth, masks, model_dir):
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu")
    Path("list.txt").write_text("scenes/a.tif\nmasks/a.mask.tif\n")
    for more in ((), ("--dry-run",), ("--work", "run")):
        done = segearth("predict", "--manifest", "list.txt", *LIST, *model, "-o", f"made{len(more)}", *more)
        told = [line for line in done.lines if "written by segearth itself, no scene" in line]
        assert (done.code, "masks/a.mask.tif: " in told[0]) == (3, True), done.err
    with pytest.raises(segearth_cli.SegEarthError, match="written by segearth itself, no scene"):
        segearth_cli.predict("masks/a.mask.tif", "water,roof", model=f"local-dir:{model_dir}", device="cpu", quiet=True)
    assert "problem: written by segearth itself, no scene" in segearth("inspect", "masks/a.mask.tif").out


@pytest.mark.parametrize("text", ["soon", "", "1s"])
def test_a_delay_that_is_no_number_keeps_no_file_from_being_read(segearth, masks, monkeypatch, text):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", text)
    assert segearth("inspect", "scenes/a.tif").code == 0


def test_an_option_of_the_environment_is_told_by_its_variable(segearth, masks, monkeypatch):
    monkeypatch.setenv("SEGEARTH_KERNELS", "fast")
    done = segearth("predict", "scenes/a.tif", *LIST, "--dry-run")
    assert (done.code, "SEGEARTH_KERNELS=fast: " in done.lines[-1]) == (2, True), done.err


@pytest.mark.slow
def test_names_of_odd_bytes_are_written_as_text(segearth, masks, model_dir):
    odd = os.fsdecode(b"scenes/b\xf2.tif")
    shutil.copy("scenes/b.tif", odd)
    done = segearth("predict", odd, *LIST, "-o", "b.mask.tif", "--summary", "what.csv")
    assert done.code == 1, done.err
    assert "scenes/b\\xf2.tif" in Path("what.csv").read_text(encoding="utf-8")
    sets.make("loveda", Path("set"))
    for folder in ("images_png", "masks_png"):
        rural = Path("set/Val/Rural") / folder
        (rural / "3514.png").rename(os.fsdecode(os.fsencode(rural / "35") + b"\xf2.png"))
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu")
    done = segearth("reproduce", "loveda", "set", *model, "-o", "figures")
    assert (done.code, "name is not UTF-8" in done.err) == (3, True), done.err
    failed = json.loads(Path("figures/results.json").read_text(encoding="utf-8"))["results"][0]["failed"]
    assert any("35\\xf2" in name for name in failed)


def read_images(folder):
    return [picture.path for picture in collect([folder], [], ReadOptions()).pictures]


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0, 20])
@pytest.mark.parametrize(("one", "other"), list(itertools.product(WAYS, repeat=2)), ids=str)
def test_what_goes_with_a_mask_lies_where_it_lies_whatever_places_them(segearth, tmp_path, one, other, shift):
    mask = place(save(tmp_path / "m.tif", np.eye(30, 40, dtype="u1"), {}), one)
    beside = place(save(tmp_path / "b.tif", np.full((30, 40), 9, "u1"), {}), other, shift)
    vectorize, preview = (
        ("vectorize", mask, "-q", "-o", tmp_path / "v.gpkg"),
        ("preview", mask, "-o", tmp_path / "p.png"),
    )
    for words in ((*vectorize, "--confidence"), (*preview, "--scene")):
        done = segearth(*words, beside)
        if shift and "nothing" not in (one, other):
            assert (done.code, len(done.err.splitlines())) == (2, 1)
            assert str(beside) in done.err
        else:
            assert done.code == 0, done.err


def test_a_confidence_of_complex_values_is_refused(segearth, tmp_path):
    mask = save(tmp_path / "m.tif", np.eye(30, dtype="u1"))
    sure = save(tmp_path / "c.tif", np.ones((30, 30), "complex64"))
    done = segearth("vectorize", mask, "--confidence", sure, "-o", tmp_path / "v.gpkg")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "need one band of real values" in done.err
    assert not (tmp_path / "v.gpkg").exists()


AT_HOME = {
    "--classes-file": ("classes.txt", "water\nroof\n", ("predict", "scenes/a.tif")),
    "--manifest": ("list.csv", "scenes/a.tif\n", ("predict", *LIST)),
    "--aoi": ("area.wkt.geojson", None, ("predict", "scenes/a.tif", *LIST)),
    "--config": ("c.toml", 'classes = "water,roof"\n', ("predict", "scenes/a.tif")),
}


@pytest.fixture
def at_home(masks, model_dir, monkeypatch):
    """A folder that is home, with the file of a flag; the words of a run that takes it, without the flag."""

    def make(flag):
        name, text, words = AT_HOME[flag]
        home = Path("home").absolute()
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        square = {"type": "Polygon", "coordinates": [[[9, 51], [10, 51], [10, 50], [9, 50], [9, 51]]]}
        (home / name).write_text(text or json.dumps(square))
        model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "-o", "made/", "-q")
        return home / name, (*words, *model)

    return make


@pytest.mark.parametrize("flag", AT_HOME)
def test_what_is_read_from_home_is_no_output(segearth, at_home, flag):
    path, words = at_home(flag)
    before = path.read_bytes()
    done = segearth(*words, f"{flag}=~/{path.name}", "--summary", path, "--overwrite")
    assert (done.code, done.out, len(done.lines)) == (2, "", 1), done.err
    assert path.read_bytes() == before


@pytest.mark.parametrize("flag", AT_HOME)
def test_a_tilde_that_the_shell_left_is_home_in_what_is_read(segearth, at_home, flag):
    path, words = at_home(flag)
    name = path.name
    done = segearth(*words, f"{flag}=~/{name}")
    assert done.code == 0, done.err
    assert done.out == "made/a.mask.tif\n"
    beside = segearth(*words, f"{flag}=~/none.{name}", "--overwrite")
    assert (beside.code, len(beside.lines)) == (2, 1)
    assert f"none.{name}" in beside.err
