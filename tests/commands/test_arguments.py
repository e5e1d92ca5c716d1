"""Inputs mean the same in every command, and what failed of several is told in the same way."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from tiers import every

from segearth_cli.classes import parse, to_tag
from segearth_cli.commands.arguments import inputs, itself, masks_in, rasters_in
from segearth_cli.errors import UsageError

LIST = ("--classes", "ground,roof")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


# what names stand for


def test_a_dash_stands_for_the_lines_of_stdin_as_they_are(monkeypatch):
    touch("b1.tif")
    monkeypatch.setattr("sys.stdin", io.StringIO("b?.tif\n\n  c d.tif \r\n"))
    assert inputs(["a.tif", "-", "e.tif"], itself) == ["a.tif", "b?.tif", "c d.tif", "e.tif"]


def test_names_on_stdin_need_not_be_utf8(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"na\xffme.tif\n")))
    assert inputs(["-"], itself) == [os.fsdecode(b"na\xffme.tif")]


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_no_input_is_told(monkeypatch, arguments):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(UsageError, match="no input"):
        inputs(arguments, itself)


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_the_current_folder(name):
    touch("a.tif")
    with pytest.raises(UsageError, match="no name"):
        inputs([name], rasters_in)


@pytest.mark.parametrize(
    "name",
    [
        "https://host//a/b.tif?x=[1]*",
        "/vsizip//vsicurl/https://host/z.zip/a*.tif",
        "/vsis3/bucket//key?.tif",
        "zip+https://host/z.zip!in/a.tif",
        's3://bucket/"a".tif',
        'NETCDF:"a*.nc":v',
        "https://host/" + "x" * 5000,
        "absent.tif",
        "a" * 5000 + ".tif",
    ],
)
def test_what_is_no_pattern_of_this_machine_passes_untouched(name):
    assert inputs([name], rasters_in) == [name]


def test_patterns_are_expanded_without_side_files_and_a_file_of_that_name_wins():
    touch("a[1].tif", "a1.tif", "deep/er/a2.tif", "a1.tif.aux.xml", "a1.tif.msk")
    assert inputs(["a[1].tif"], itself) == ["a[1].tif"]
    assert inputs(["a1*"], itself) == ["a1.tif"]
    assert inputs(["**/a*.tif"], itself) == ["a1.tif", "a[1].tif", "deep/er/a2.tif"]
    with pytest.raises(UsageError, match=r"none\*: no file matches"):
        inputs(["none*"], itself)


def test_an_input_named_twice_is_one():
    touch("a.tif", "b.tif")
    assert inputs(["b.tif", "*.tif"], itself) == ["b.tif", "a.tif"]


def test_addresses_of_files_and_homes_become_plain_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    touch("a b.tif", "c%20d.tif")
    assert inputs([f"file://{tmp_path}/a%20b.tif"], itself) == [f"{tmp_path}/a b.tif"]
    assert inputs([f"file://{tmp_path}/c%20d.tif"], itself) == [f"{tmp_path}/c%20d.tif"]
    assert inputs(["~/a b.tif"], itself) == [f"{tmp_path}/a b.tif"]
    assert inputs(["zip://z.zip!in/a.tif"], itself) == ["/vsizip/z.zip/in/a.tif"]


def test_a_folder_stands_for_its_rasters_linked_ones_too_and_no_loop_hangs():
    touch("set/b.PNG", "set/sub/a.tif", "set/notes.txt", "set/.hidden.tif", "set/.work/c.tif", "far/d.jpg")
    Path("set/link").symlink_to("../far")
    Path("set/sub/loop").symlink_to("..")
    assert inputs(["set"], rasters_in) == ["set/b.PNG", "set/link/d.jpg", "set/sub/a.tif"]


def test_a_folder_without_rasters_may_be_a_format_of_gdal():
    touch("a.zarr/.zgroup")
    assert inputs(["a.zarr"], rasters_in) == ["a.zarr"]


def test_of_a_folder_with_masks_these_alone_are_meant_and_a_run_is_one_mask():
    touch("pred/a.mask.tif", "pred/a.confidence.tif", "labels/a.png", "run/run.json", "run/shards/x.tif")
    assert inputs(["pred", "labels", "run"], masks_in) == ["pred/a.mask.tif", "labels/a.png", "run"]


# the same paths in every command


@pytest.fixture
def mask(write_raster):
    codes = np.zeros((1, 40, 40), np.uint8)
    codes[0, 10:20, 10:20] = 1
    return Path(write_raster("s.mask.tif", codes))


@pytest.fixture
def commands(segearth, model_dir):
    """Each command on one raster; the code and the lines on stderr."""
    small = ("--model", f"local-dir:{model_dir}", "--upsampler", "none", "--device", "cpu", "--precision", "fp32")
    return {
        "predict": lambda name: segearth("predict", name, "-c", "a,b", *small, "-o", "p.tif", "-q", "--overwrite"),
        "vectorize": lambda name: segearth("vectorize", name, "-o", "v.gpkg", "-q", "--overwrite"),
        "evaluate": lambda name: segearth("evaluate", name, name, *LIST, "-q"),
    }


COMMANDS = ["predict", "vectorize", "evaluate"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "form",
    ["{here}/s.mask.tif", "s.[m]ask.tif", "folder", "file://{here}/s.mask.tif", "/vsizip/{here}/z.zip/in/s.mask.tif",
     "/vsizip//{here}/z.zip/in/s.mask.tif", "zip://{here}/z.zip!in/s.mask.tif", "zip://z.zip!in/s.mask.tif"],
)  # fmt: skip
def test_every_command_reads_every_form_of_a_path(commands, command, form, mask, tmp_path):
    with zipfile.ZipFile("z.zip", "w") as archive:
        archive.write(mask, "in/s.mask.tif")
    Path("folder").mkdir()
    Path("folder/s.mask.tif").symlink_to(mask)
    done = commands[command](form.format(here=tmp_path))
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent.tif", "absent.tif: no such file"),
        ("x" * 300 + ".tif", "File name too long"),
        ("pipe.tif", "pipe.tif: is a pipe or a device"),
        ("/dev/null", "/dev/null: is a pipe or a device"),
        (os.fsdecode(b"na\xffme.tif"), "is not UTF-8 text"),
        ("a\nb.tif", r"a\nb.tif: not a raster that"),
        ("http://me:SECRET@127.0.0.1:9/s.tif?sig=SECRET", "http://127.0.0.1:9/s.tif: not a raster that"),
    ],
)
def test_what_cannot_be_read_is_one_line_in_every_command(commands, command, name, told, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0")
    os.mkfifo("pipe.tif")
    touch(os.fsdecode(b"na\xffme.tif"), "a\nb.tif")
    done = commands[command](name)
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
    assert told in done.err
    assert "SECRET" not in done.err


BESIDE = ("{name}.aux.xml", "{name}.msk", "{name}.ovr", "{stem}.aux", "{stem}.IMD", "{stem}_RPC.TXT", "{stem}.tfw")


@pytest.mark.parametrize("command", ["vectorize", "predict"])
@pytest.mark.parametrize("side", [*BESIDE, "METADATA.DIM"])
def test_a_pipe_beside_a_raster_is_one_line_and_keeps_nobody_waiting(commands, write_raster, noise, command, side):
    path = Path(write_raster("s.tif", noise(1, 20, 20, high=2), crs=None, transform=None))
    os.mkfifo(path.with_name(side.format(name=path.name, stem=path.stem)))
    done = commands[command](path)
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
    assert "is a pipe or a device, but would be read with s.tif" in done.err


@pytest.mark.parametrize("command", ["vectorize", "predict"])
@pytest.mark.parametrize("pipe", ["s.tif", "s.tif.ovr"])
def test_a_pipe_among_the_sources_of_a_vrt_is_one_line(commands, write_raster, noise, command, pipe):
    source = Path(write_raster("s.tif", noise(1, 20, 20, high=2)))
    vrt = source.with_suffix(".vrt")
    rasterio.shutil.copy(source, vrt, driver="VRT")
    source.with_name(pipe).unlink(missing_ok=True)
    os.mkfifo(source.with_name(pipe))
    done = commands[command](vrt)
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
    assert f"{pipe}: is a pipe or a device, but would be read with s.vrt" in done.err


SCHEMES = ("file", "zip", "tar", "http", "s3", "zip+file", "a", "NETCDF", "GTIFF_DIR:1", "~", "<", "a\nb", "a!b", "%41")


@pytest.mark.parametrize("start", every(3, SCHEMES))
def test_a_file_of_this_machine_is_read_whatever_its_name_looks_like(segearth, tmp_path, write_raster, noise, start):
    name = f"{start}:x.tif"
    Path(write_raster("s.tif", noise(1, 20, 20, high=2))).rename(tmp_path / name)
    assert segearth("inspect", name).code == 0
    assert segearth("evaluate", name, name, "-c", "a,b").code == 0
    assert segearth("vectorize", name, "-o", "o.gpkg").code == 0


# some of several


@pytest.mark.parametrize("command", ["predict", "vectorize"])
@pytest.mark.parametrize(("good", "code"), [(2, 3), (0, 1)])
def test_some_of_several_that_fail_are_told_and_the_others_are_done(
    segearth, model_dir, write_raster, noise, command, good, code
):
    names = [write_raster(f"g{n}.tif", noise(1, 30, 30, high=2)) for n in range(good)]
    bad = ["bad1.tif", "bad2.tif"]
    for name in bad:
        Path(name).write_text("no raster")
    model = ("-c", "a,b", "--model", f"local-dir:{model_dir}", "--upsampler", "none", "--device", "cpu")
    done = segearth(command, bad[0], *names, bad[1], *(model if command == "predict" else ()), "-o", "out", "-q")
    assert done.code == code
    assert [line.split(": ")[1] for line in done.lines[:2]] == bad
    assert done.lines[2:] == [
        f"segearth: 2 of {good + 2} {'scenes' if command == 'predict' else 'masks'} failed: {', '.join(bad)}"
    ]
    assert len(done.out.splitlines()) == good


# masks are no scenes


@pytest.fixture
def own(write_raster, noise):
    path = write_raster("s.mask.tif", noise(1, 30, 30, high=2))
    with rasterio.open(path, "r+") as ds:
        ds.update_tags(SEGEARTH_CLASSES=to_tag(parse("a,b")))
    return path


def small(model_dir):
    return ("-c", "a,b", "--model", f"local-dir:{model_dir}", "--upsampler", "none", "--device", "cpu")


def test_predict_leaves_its_own_masks_out_of_a_list(segearth, model_dir, own, write_raster, noise):
    write_raster("s.tif", noise(3, 30, 30))
    done = segearth("predict", "*.tif", *small(model_dir), "-o", "out")
    assert done.code == 0
    assert done.lines[0] == "segearth: left out, written by segearth itself: s.mask.tif"
    assert [path.name for path in Path("out").glob("*.tif")] == ["s.mask.tif"]


@pytest.mark.parametrize("how", ["s.mask.tif", "*.tif", "."])
def test_a_mask_alone_is_no_scene(segearth, model_dir, own, how):
    done = segearth("predict", how, *small(model_dir), "-o", "out")
    assert (done.code, len(done.lines)) == (1, 1)
    assert "written by segearth itself" in done.err


@pytest.mark.parametrize("option", ["--out", "--confidence", "--scores"])
def test_a_name_of_another_format_than_geotiff_is_refused(segearth, model_dir, write_raster, noise, option):
    scene = write_raster("s.tif", noise(3, 30, 30))
    done = segearth("predict", scene, *small(model_dir), option, "m.png")
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert f"{option} m.png" in done.err
    assert ".tif" in done.err
    done = segearth("predict", scene, write_raster("t.tif", noise(3, 30, 30)), *small(model_dir), option, "m.tif")
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)
    assert "name a folder" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x" * 249, "ä" * 124, "x" * 161, "x" * 158])
def test_a_name_as_long_as_a_file_can_have_is_read_and_gives_names_that_fit(
    segearth, model_dir, write_raster, noise, name
):
    first, second = name[:-1] + "1", name[:-1] + "2"
    scenes = [write_raster(f"{one}.tif", noise(3, 30, 30)) for one in (first, second)]
    done = segearth("predict", *scenes, *small(model_dir), "-o", "out", "--confidence", "out", "-q")
    assert (done.code, done.err) == (0, "")
    masks = done.out.splitlines()
    assert all(Path(mask).is_file() for mask in masks)
    assert len(set(masks)) == 2
    done = segearth("vectorize", *masks, "-o", "out", "-q")
    assert (done.code, done.err, len(set(done.out.splitlines()))) == (0, "", 2)
    Path("labels").mkdir()
    for mask, one in zip(masks, (first, second), strict=True):
        Path(f"labels/{one}.tif").write_bytes(Path(mask).read_bytes())
    done = segearth("evaluate", "out", "labels", "--classes", "a,b,background", "-q", "--json", "-")
    assert (done.code, done.err) == (0, "")
