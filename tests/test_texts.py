"""Lists that people write: from files and pipes, read once, and nobody waits for ever."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from segearth_cli import classes, texts
from segearth_cli.errors import ClassesError, UsageError
from segearth_cli.jobs import read_manifest

LIST = "water,river #2e78d2\nroof\n" + "# " + "a long comment " * 20_000  # longer than a pipe holds


@pytest.fixture
def pipe(tmp_path):
    """A named pipe that somebody writes to, late and in pieces."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write():
        time.sleep(0.1)
        with path.open("w") as file:
            for start in range(0, len(LIST), 100_000):
                file.write(LIST[start : start + 100_000])
                file.flush()
                time.sleep(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    yield path
    writer.join()


def test_a_class_list_from_a_pipe_is_that_of_a_file(tmp_path, pipe):
    (tmp_path / "file").write_text(LIST)
    assert classes.read(pipe) == classes.read(tmp_path / "file")


@pytest.mark.parametrize("text", ["", "\ufeffa.tif\nb.tif\n", "scene,out\na.tif,m.tif\nb.tif,\n"])
def test_a_manifest_comes_through_an_open_descriptor(text):
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    if text:
        assert [entry.scene for entry in read_manifest(Path(f"/dev/fd/{reader}"))] == ["a.tif", "b.tif"]
    else:
        with pytest.raises(UsageError, match="names no scene"):
            read_manifest(Path(f"/dev/fd/{reader}"))
    os.close(reader)


@pytest.mark.parametrize(("name", "told"), [("pipe", "nobody writes to"), ("/dev/zero", "more than 16 MB")])
def test_what_has_no_end_is_one_line(tmp_path, monkeypatch, name, told):
    monkeypatch.setattr(texts, "PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    for read, error in ((classes.read, ClassesError), (read_manifest, UsageError)):
        with pytest.raises(error, match=told):
            read(tmp_path / name)


def test_names_that_are_no_text_are_refused_where_gdal_writes_and_taken_where_not(
    segearth, write_raster, noise, tmp_path
):
    mask = write_raster("a.mask.tif", noise(1, 20, 30, high=2))
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/m\xe9")
    for suffix in (".gpkg", ".geojson", ".shp", ".fgb", ".parquet"):
        done = segearth("vectorize", mask, "-o", odd + suffix)
        assert (done.code, len(done.lines), "UTF-8" in done.err) == (2, 1, True)
    assert segearth("evaluate", mask, mask, "-c", "a,b", "--csv", odd + ".csv", "-q").code == 0
    assert Path(odd + ".csv").exists()


MODEL = ("-d", "cpu", "-q", "-c", "water,roof")
WAITED_FOR = {  # what a command reads more than once -> the command
    "p.calibration": ("predict", "scene.tif", "-m", "local-dir:model", "--calibration", "p.calibration", "-q"),
    "p.geojson": ("predict", "scene.tif", "-m", "local-dir:model", *MODEL, "--aoi", "p.geojson"),
    "labels.gpkg": ("evaluate", "scene.tif", "labels.gpkg", "-c", "water,roof"),
    "label.tif": ("evaluate", "scene.tif", "label.tif", "-c", "water,roof"),
    "p.safetensors": ("predict", "scene.tif", "-m", "local-dir:model", "--upsampler", "p.safetensors", *MODEL),
    "model/open_clip_config.json": ("predict", "scene.tif", "-m", "local-dir:model", *MODEL),
    "model/open_clip_model.safetensors": ("predict", "scene.tif", "-m", "local-dir:model", *MODEL),
    "run/run.json": ("merge", "run"),
    "p.tar": ("train-upsampler", "--tar", "p.tar", "-m", "local-dir:model", "-d", "cpu", "-o", "a.safetensors"),
    "p.vrt": ("inspect", "p.vrt"),
}


@pytest.mark.parametrize("name", WAITED_FOR)
def test_a_pipe_is_not_waited_for_where_a_file_is_read_more_than_once(
    segearth, write_raster, noise, model_dir, tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    write_raster("scene.tif", noise(3, 20, 20))
    shutil.copytree(model_dir, "model")
    pipe = tmp_path / name
    pipe.parent.mkdir(exist_ok=True)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    done = segearth(*WAITED_FOR[name])
    assert (done.code in (1, 2), done.out, len(done.lines)) == (True, "", 1), done.err
    assert Path(name).name in done.err or "open_clip" in name
