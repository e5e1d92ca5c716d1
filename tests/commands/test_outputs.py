"""No command replaces what it was not told to replace: every command, every output, whatever lies there already."""

import inspect
import os
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from typer.models import OptionInfo

from segearth_cli.cli import app

CLASSES = ("--classes", "water,roof")
STYLE = ".qml"  # in place of the suffix


@pytest.fixture(scope="module")
def place(tmp_path_factory, model_dir):
    """A folder with inputs of every command: a scene, a VRT of it, a mask, a label, a finished run, pictures."""
    import rasterio
    import rasterio.shutil
    from rasterio.transform import from_origin

    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    utm = {"crs": "EPSG:32632", "transform": from_origin(356000, 5645000, 0.5, 0.5), "driver": "GTiff"}
    for name, bands, high in (("scene", 3, 256), ("mask", 1, 2), ("label", 1, 2), ("photos/one", 3, 256)):
        (folder / name).parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, high, (bands, 80, 80)).astype(np.uint8)
        with rasterio.open(folder / f"{name}.tif", "w", count=bands, height=80, width=80, dtype="uint8", **utm) as ds:
            ds.write(pixels)
    rasterio.shutil.copy(folder / "scene.tif", folder / "scene.vrt", driver="VRT")
    shutil.copytree(model_dir, folder / "model")
    (folder / "list.csv").write_text("scene.vrt\n")
    (folder / "named.csv").write_text("scene,out\nscene.vrt,a.tif\n")
    (folder / "classes.txt").write_text("water\nroof\n")
    return folder


MODEL = ("-m", "local-dir:model", "--upsampler", "none", "-d", "cpu", "-q")
PREDICT = ("predict", "scene.vrt", *MODEL, "--classes-file", "classes.txt")
QUICK = ("--steps", "1", "--crop", "64", "--batch-size", "1", "--jitters", "1", "--workers", "0", "--held-out", "1")
TRAIN = ("train-upsampler", "photos", "-m", "local-dir:model", "-d", "cpu", *QUICK, "-q")
EVALUATE = ("evaluate", "mask.tif", "label.tif", *CLASSES, "-q")
# flag of an output -> (the command without it, a name for it, side files that belong to it, inputs of the command)
OUTPUTS = {
    "predict --out": (PREDICT, "new.tif", [".msk", ".aux.xml", STYLE], ["scene.tif", "scene.vrt", "classes.txt"]),
    "predict --confidence": ((*PREDICT, "-o", "m.tif"), "new.tif", [".msk"], ["model/open_clip_config.json"]),
    "predict --scores": ((*PREDICT, "-o", "m.tif"), "new.tif", [".aux.xml"], ["scene.tif"]),
    "predict --vector": ((*PREDICT, "-o", "m.tif"), "new.gpkg", ["-wal", "-journal"], ["scene.vrt"]),
    "predict --summary": (
        ("predict", "--manifest", "list.csv", *MODEL, *CLASSES, "-o", "masks"), "new.csv", [], ["list.csv", "scene.tif"]
    ),
    "vectorize --out": (("vectorize", "mask.tif"), "new.gpkg", ["-wal"], ["mask.tif"]),
    "vectorize --out of a Shapefile": (("vectorize", "mask.tif"), "new.shp", [".dbf", ".shx", STYLE], ["mask.tif"]),
    "vectorize --out of GeoJSON": (("vectorize", "mask.tif"), "new.geojson", [STYLE], ["mask.tif"]),
    "preview --out": (("preview", "mask.tif", "--scene", "scene.vrt"), "new.png", [], ["mask.tif", "scene.tif"]),
    "preview --out of a page": (("preview", "mask.tif"), "new.html", [], ["mask.tif"]),
    "calibrate --out": (
        ("calibrate", "scene.vrt", *MODEL, *CLASSES, "--labels", "label.tif"), "new.calibration", [], ["label.tif"]
    ),
    "calibrate --out of --suggest": (
        ("calibrate", "scene.vrt", *MODEL, *CLASSES, "--suggest", "3"), "new.gpkg", ["-wal", "-journal"],
        ["scene.tif", "model/open_clip_config.json"],
    ),
    "merge --out": (("merge", "run"), "new.tif", [".msk"], ["run/run.json", "run/shards/r00000/r00000c00000.mask.tif"]),
    "merge --scores": (("merge", "run", "-o", "m.tif"), "new.tif", [".aux.xml"], ["run/run.json"]),
    "merge --confidence": (("merge", "run", "-o", "m.tif"), "new.tif", [".ovr"], ["run/run.json"]),
    "evaluate --json": (EVALUATE, "new.json", [], ["label.tif", "mask.tif"]),
    "evaluate --csv": (EVALUATE, "new.csv", [], ["mask.tif"]),
    "evaluate --png": (EVALUATE, "new.png", [], ["label.tif"]),
    "train-upsampler --out": (TRAIN, "new.safetensors", [], []),
    "train-upsampler --export-ckpt": (TRAIN, "new.ckpt", [], ["photos/one.tif"]),
}  # fmt: skip


# what other options of files and folders are for; an option that writes belongs above, and into `gate.admit`
READ = {
    *("evaluate --classes-file", "predict --classes-file", "predict --manifest", "predict --upsampler"),
    *("train-upsampler --init", "train-upsampler --tar", "vectorize --confidence"),
    *("preview --scene", "models --pairs"),
    "predict --work",  # a folder of runs, checked by the gate on its own: test_what_is_no_folder_of_runs_is_refused
}
READ |= {f"calibrate --{name}" for name in ("calibration", "classes-file", "labels", "upsampler")}
READ |= {"models --pairs", "predict --calibration", "reproduce --all", "reproduce --list", "reproduce --upsampler"}
READ |= {f"{command.name} --config" for command in app.registered_commands}
SAVED = {f"{command.name} --save-config" for command in app.registered_commands}  # one rule: tests/test_config.py
# of many files that the command names to the gate, tried in tests/reproduction and tests/commands/test_info.py
FOLDERS = {"reproduce --out", "demo --out"}
FOR_PLACES = {"file", "folder", "path"}  # units of options


def options_for_places():
    """All options of all commands that take a file or folder, by command and flag."""
    for command in app.registered_commands:
        for name, parameter in inspect.signature(command.callback, eval_str=True).parameters.items():
            kind, told = get_args(parameter.annotation)[:2]
            if isinstance(told, OptionInfo) and ("Path" in str(kind) or told.metavar in FOR_PLACES):
                flags = [flag for flag in told.param_decls or () if flag.startswith("--")]
                yield f"{command.name} {(flags or ['--' + name.replace('_', '-')])[0]}"


def test_every_option_that_takes_a_file_is_known_here():
    tried = {" ".join(output.split()[:2]) for output in OUTPUTS}
    unknown = set(options_for_places()) - tried - READ - SAVED - FOLDERS
    assert unknown == set(), (
        f"{sorted(unknown)}: new here. What writes is named to gate.admit and gets a row in OUTPUTS, by which all "
        "that may lie at its place is tried; what only reads goes into READ"
    )


def everything(folder):
    """All that lies in a folder: links as links, files with their content."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        kind = "link" if path.is_symlink() else "file" if path.is_file() else "folder" if path.is_dir() else "pipe"
        found[str(path)] = kind, path.readlink() if kind == "link" else path.read_bytes() if kind == "file" else None
    return found


RUN = ("--work", "run", "-o", "old.tif", "--confidence", "c.tif", "--scores", "s.tif")


@pytest.fixture
def here(place, tmp_path, monkeypatch, request, segearth):
    """A copy of `place` to work in; for `merge`, with a finished run, which is made once."""
    merges = "merge" in request.node.name
    made = place.with_name(f"{place.name} and a run")
    shutil.copytree(made if merges and made.exists() else place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    if merges and not made.exists():
        assert segearth("predict", "scene.tif", *MODEL, *CLASSES, *RUN).code == 0
        shutil.copytree(tmp_path, made)
    return tmp_path


def a_file(path):
    path.write_bytes(b"hours of edits")


def a_folder(path):
    path.mkdir()


def a_link(path):
    Path("mine").write_bytes(b"hours of edits")
    path.symlink_to("mine")


def a_link_to_itself(path):
    path.symlink_to(path.name)


def a_pipe(path):
    os.mkfifo(path)


def a_device(path):
    path.symlink_to(os.devnull)


def cleared(path):
    """Removes what one of the above put there."""
    path.rmdir() if path.is_dir() else path.unlink()
    Path("mine").unlink(missing_ok=True)


def flag_of(output):
    return output.split()[1]


@pytest.mark.parametrize("output", OUTPUTS)
def test_what_is_there_is_left_alone(here, segearth, output):
    command, name, _, _ = OUTPUTS[output]
    for there in (a_file, a_folder, a_link, a_link_to_itself, a_pipe, a_device):
        takes_folders = output.split()[0] in ("predict", "vectorize", "preview") and output != "predict --summary"
        if there is a_folder and takes_folders:  # where files go
            continue
        there(Path(name))
        before = everything(here)
        done = segearth(*command, flag_of(output), name)
        assert (done.code, done.out, len(done.lines)) == (2, "", 1), f"{there.__name__}: {done.err}"
        assert everything(here) == before, there.__name__
        if there is not a_file and there is not a_link:
            done = segearth(*command, flag_of(output), name, "--overwrite")
            assert (done.code, len(done.lines)) == (2, 1), f"{there.__name__}: {done.err}"
            assert everything(here) == before, there.__name__
        cleared(Path(name))


SIDES = [(output, side) for output, (_, _, sides, _) in OUTPUTS.items() for side in sides]


@pytest.mark.parametrize(("output", "side"), SIDES)
def test_a_side_file_of_the_users_is_left_alone(here, segearth, output, side):
    command, name, _, _ = OUTPUTS[output]
    beside = Path(name).with_suffix(side) if name.endswith(".shp") or side == STYLE else Path(name + side)
    a_file(beside)
    before = everything(here)
    done = segearth(*command, flag_of(output), name)
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert f"{beside}: exists already" in done.err
    assert everything(here) == before


INPUTS = [(output, name) for output, (_, _, _, inputs) in OUTPUTS.items() for name in inputs]


@pytest.mark.parametrize(("output", "name"), INPUTS)
def test_an_input_is_never_an_output(here, segearth, output, name):
    command, alias = OUTPUTS[output][0], Path(f"alias{Path(OUTPUTS[output][1]).suffix}")
    for link in (None, alias.symlink_to, alias.hardlink_to):
        if link:
            link(name)
        before = everything(here)
        done = segearth(*command, flag_of(output), alias if link else name, "--overwrite")
        assert (done.code, done.out, len(done.lines)) == (2, "", 1), f"{link}: {done.err}"
        assert everything(here) == before, link
        alias.unlink(missing_ok=True)


@pytest.mark.parametrize("output", OUTPUTS)
def test_what_is_no_place_of_this_machine_is_refused(here, segearth, output):
    command, suffix = OUTPUTS[output][0], Path(OUTPUTS[output][1]).suffix
    before = everything(here)
    for name in ("s3://bucket/x", "/vsimem/x", "no/such/x", "list.csv/x", "~/x", "-/x", ""):
        done = segearth(*command, flag_of(output), name + suffix if name else "")
        assert (done.code, done.out, len(done.lines)) == (2, "", 1), f"{name}: {done.err}"
        assert everything(here) == before, name


SECRET = "http://me:SECRET@127.0.0.1:9/x?sig=SECRET"


@pytest.mark.slow
@pytest.mark.parametrize("option", sorted(set(options_for_places())))
def test_no_option_that_takes_a_file_tells_the_secrets_of_a_url(here, segearth, monkeypatch, option):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0")
    command, flag = option.split()
    words = {
        "predict": PREDICT[1:], "vectorize": ("mask.tif",), "preview": ("mask.tif",), "merge": ("run",),
        "evaluate": EVALUATE[1:], "train-upsampler": TRAIN[1:], "reproduce": ("loveda", "photos"),
        "calibrate": ("scene.vrt", *MODEL, *CLASSES, "--labels", "label.tif"), "inspect": ("scene.tif",),
    }  # fmt: skip
    done = segearth(command, *words.get(command, ()), flag, SECRET)
    assert "SECRET" not in done.err + done.out, done.err


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_folder_that_cannot_be_written_is_told_before_work(here, segearth, output):
    Path("locked").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "locked"], capture_output=True).returncode:
        pytest.skip("no disk may be mounted here")
    try:
        done = segearth(*OUTPUTS[output][0], flag_of(output), f"locked/{OUTPUTS[output][1]}")
        assert (done.code, done.out, len(done.lines)) == (1, "", 1), done.err
        assert "not writable" in done.err
    finally:
        subprocess.run(["umount", "locked"], check=True)


@pytest.mark.parametrize(("output", "side", "owner"), [
    ("predict --out", "new.wld", "new.jpg"), ("predict --confidence", "new.tfw", "new.png"),
    ("merge --out", "new.wld", "new.gif"), ("vectorize --out of a Shapefile", "new.prj", "new.asc"),
])  # fmt: skip
def test_a_side_file_of_another_raster_is_not_taken(here, segearth, output, side, owner):
    command, name, _, _ = OUTPUTS[output]
    a_file(Path(side))
    a_file(Path(owner))
    before = everything(here)
    done = segearth(*command, flag_of(output), name, "--overwrite")
    assert (done.code, done.out, len(done.lines)) == (2, "", 1), done.err
    assert owner in done.err
    assert everything(here) == before


@pytest.mark.parametrize("form", ["geotiff", "cog"])
def test_a_world_file_of_another_raster_places_no_mask_of_a_scene_without_georeference(here, segearth, form):
    import rasterio

    with rasterio.open("bare.tif", "w", driver="GTiff", count=3, height=40, width=50, dtype="uint8") as ds:
        ds.write(np.ones((3, 40, 50), np.uint8))
    shutil.copy("mask.tif", "new.tif")
    shutil.copy("mask.tif", "new.png")
    Path("new.wld").write_text("1\n0\n0\n-1\n500\n600\n")
    before = everything(here)
    asked = ("-b", "1,2,3", "-o", "new.tif", "--overwrite", "--format", form)
    done = segearth("predict", "bare.tif", *MODEL, *CLASSES, *asked)
    assert (done.code, done.out, len(done.lines)) == (1, "", 1), done.err
    assert "new.wld beside it, which new.png is read with" in done.err
    assert everything(here) == before


@pytest.mark.parametrize("named", ["s3://no bucket/run", "az://bucket/run", "/vsimem/run", "list.csv", "scene.tif/run"])
def test_what_is_no_folder_of_runs_is_refused(here, segearth, named):
    before = everything(here)
    done = segearth(*PREDICT, "-o", "new.tif", "--work", named)
    assert (done.code in (1, 2), done.out, len(done.lines)) == (True, "", 1), done.err
    assert everything(here) == before


@pytest.mark.parametrize("column", ["out", "confidence", "scores"])
@pytest.mark.parametrize("cell", ["made/a.tif", "made/"])
def test_folders_that_a_manifest_names_are_made(here, segearth, column, cell):
    Path("cells.csv").write_text(f"scene,{column}\nscene.tif,{cell}\n")
    done = segearth("predict", "--manifest", "cells.csv", *MODEL, *CLASSES)
    assert done.code == 0, done.err
    assert len([*Path("made").glob("*.tif")]) == 1


DAMAGED = {
    "weights": ("-m", "local-dir:model", "-d", "cpu"),
    "no such device": ("-m", "local-dir:model", "--devices", "cpu,cuda:99"),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_a_run_that_cannot_begin_leaves_no_folder(here, segearth, fault):
    if fault == "weights":
        Path("model/open_clip_model.safetensors").write_bytes(b"no weights")
    before = everything(here)
    words = (*DAMAGED[fault], "--upsampler", "none", "--work", "run", "-o", "new.tif", "-q")
    done = segearth("predict", "scene.tif", *words, *CLASSES)
    assert (done.code in (1, 2), done.out, len(done.lines)) == (True, "", 1), done.err
    assert everything(here) == before


@pytest.mark.parametrize("form", ["gpkg", "fgb", "parquet", "pmtiles", "mbtiles"])
def test_polygons_may_have_the_name_of_their_mask(here, segearth, form):
    done = segearth(*PREDICT, "-o", "new.tif", "--vector", form)
    assert done.code == 0, done.err
    assert Path(f"new.{form}").exists()


DOUBLES = [
    (*PREDICT, "-o", "a.tif", "--confidence", "a.tif"),
    (*PREDICT, "-o", "a.tif", "--summary", "./a.tif"),
    (*PREDICT, "-o", "a.tif", "--summary", "a.tif.aux.xml"),
    (*PREDICT, "-o", "a.tif", "--confidence", "photos/../a.tif"),
    (*PREDICT, "-o", "a.tif", "--scores", "linked/a.tif"),
    (*EVALUATE, "--json", "a", "--csv", "a"),
    (*EVALUATE, "--json", "a.toml", "--save-config", "./a.toml"),
    ("predict", "--manifest", "named.csv", *MODEL, *CLASSES, "--summary", "a.tif"),
    (*PREDICT, "-o", "a.tif", "--summary", "a.toml", "--save-config", "linked/a.toml"),
    ("vectorize", "mask.tif", "photos/../mask.tif", "-o", "."),
]


@pytest.mark.parametrize("command", DOUBLES, ids=lambda command: " ".join(command[-4:]))
def test_two_outputs_of_one_name_are_refused(here, segearth, command):
    Path("linked").symlink_to(".")
    before = everything(here)
    done = segearth(*command)
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert "would both write" in done.err
    assert everything(here) == before


ALL = {
    "predict": (
        *(*PREDICT, "-o", "a.tif", "--confidence", "b.tif", "--scores", "c.tif"),
        *("--vector", "d.shp", "--summary", "e.csv", "--preview"),
    ),
    "vectorize": ("vectorize", "mask.tif", "-o", "a.gpkg", "-q"),
    "merge": ("merge", "run", "-o", "a.tif", "--confidence", "b.tif"),
    "calibrate": ("calibrate", "scene.vrt", *MODEL, *CLASSES, "--suggest", "3", "-o", "a.gpkg"),
    "preview": ("preview", "mask.tif", "-o", "a.html"),
    "evaluate": (*EVALUATE, "--json", "a.json", "--csv", "b.csv", "--png", "c.png"),
    "train-upsampler": (*TRAIN, "-o", "a.safetensors", "--export-ckpt", "b.ckpt"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", ALL)
def test_every_file_that_a_command_writes_is_refused_when_it_is_there(here, segearth, command):
    before = set(everything(here))
    assert segearth(*ALL[command]).code == 0
    new = [Path(name) for name in everything(here) if name not in before]
    for path in sorted(new, reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    own = [path for path in new if path.suffix and path.suffix != ".train" and "run" not in path.parts]
    assert len(own) >= 1
    for path in own:
        path.parent.mkdir(exist_ok=True)
        a_file(path)
        there = everything(here)
        done = segearth(*ALL[command])
        assert (done.code, len(done.lines)) == (2, 1), f"{path} was not named before work started: {done.err}"
        assert everything(here) == there
        path.unlink()


@pytest.mark.parametrize("there", [a_file, a_link, a_pipe, a_folder])
def test_a_vrt_of_the_users_in_a_folder_of_runs_stays_until_merge_may_replace_it(here, segearth, there):
    shutil.copy("label.tif", "run.tif")
    for kind in ("mask", "confidence"):
        mosaic = Path(f"run/{kind}.vrt")
        mosaic.unlink(missing_ok=True)
        there(mosaic)
        before = everything(here)
        readers = [("vectorize", "run", "-q"), ("preview", "run"), ("evaluate", "run", "run.tif", *CLASSES, "-q")]
        for command in (("merge", "run", "-q"), ("merge", "run", "-o", "new.tif"), *readers):
            done = segearth(*command)
            assert (done.code in (1, 2), done.out, len(done.lines)) == (True, "", 1), (command, done.err)
            assert "run/" in done.err
            assert everything(here) == before, command
        done = segearth("merge", "run", "--overwrite", "-q")
        if there in (a_file, a_link):
            assert done.code == 0
            assert segearth("merge", "run", "-q").code == 0  # its own
            cleared(mosaic)
            Path("run/mine").unlink(missing_ok=True)
        else:
            assert (done.code, len(done.lines)) == (2, 1), done.err
            assert everything(here) == before
            cleared(mosaic)


def test_a_vrt_that_gdal_made_of_our_mask_is_the_users_to_merge(here, segearth):
    import rasterio.shutil

    assert segearth("merge", "run", "-q").code == 0
    Path("run/mask.vrt").unlink()
    rasterio.shutil.copy("old.tif", "run/mask.vrt", driver="VRT")  # with the tags of the mask
    assert "run/mask.vrt: exists already" in segearth("merge", "run", "-q").err


@pytest.mark.slow
@pytest.mark.parametrize("there", [a_file, a_folder, a_link, a_link_to_itself, a_pipe, a_device])
def test_results_of_another_reproduction_are_left_alone(here, segearth, wide_model_dir, there):
    import sets

    for kind, codes in (("image", None), ("label", sets.truth_of("whu-aerial", 40, 60, 0) * 255)):
        pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 60)).astype(np.uint8) if codes is None else codes
        sets.save(here / f"set/val/{kind}/0.png", pixels)
    model = ("-m", f"local-dir:{wide_model_dir}", "--upsampler", "none", "-d", "cpu", "-q")
    command = ("reproduce", "whu-aerial", "set", *model, "-o", "out")
    assert segearth(*command).code == 0
    names = [path for path in Path("out").iterdir() if path.is_file()]
    assert len(names) >= 4
    for path in names:
        path.unlink()
    Path("out/images/asked.json").unlink()
    for path in [*names, Path("out/images/asked.json")]:
        there(path)
        before = everything(here)
        done = segearth(*command)
        if path.name == "asked.json" and there in (a_file, a_link):  # says whose the results are; there are none
            assert done.code == 0
            break
        assert (done.code, done.out, len(done.lines)) == (2, "", 1), (path, done.err)
        assert everything(here) == before, path
        cleared(path)


def test_layers_of_one_name_share_a_style_of_our_own(here, segearth):
    assert segearth(*PREDICT, "-o", "m.tif", "--vector", "m.geojson").code == 0
    for name in ("m.shp", "m.fgb"):
        assert segearth("vectorize", "m.tif", "-o", name, "-q").code == 0
    assert Path("m.qml").read_text().count("<pipe>") == Path("m.qml").read_text().count("<categories") == 1


def test_a_table_of_an_earlier_run_may_be_replaced_by_the_run_that_goes_on(here, segearth):
    command = ("predict", "--manifest", "list.csv", *MODEL, *CLASSES, "-o", "masks", "--summary", "table.csv")
    assert segearth(*command).code == 0
    again = segearth(*command)
    assert again.code == 0
    assert "skipped" in Path("table.csv").read_text()


def test_polygons_of_a_run_that_goes_on_are_not_replaced_with_another_mask(here, segearth):
    command = (*PREDICT, "-o", "m.tif", "--vector", "m.gpkg", "--work", "work", "--resume")
    assert segearth(*command).code == 0
    assert segearth(*command).code == 0
    Path("m.tif").unlink()
    Path("m.tif.aux.xml").unlink()
    polygons = Path("m.gpkg").read_bytes()
    done = segearth(*command)
    assert done.code == 2
    assert "m.gpkg: exists already" in done.err
    assert Path("m.gpkg").read_bytes() == polygons
