"""Lists of scenes: the same entries however a table was saved, and one line for what cannot be meant."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from segearth_cli.errors import UsageError
from segearth_cli.jobs import SceneEntry, read_manifest

ROWS = [["scene", "note", "out"], ["a.tif", "first, of two", ""], ["b;c.tif", "", "masks/b.tif"]]
ENTRIES = [SceneEntry("a.tif"), SceneEntry("b;c.tif", Path("masks/b.tif"))]


@pytest.mark.parametrize("start", ["", "\ufeff", "# made by hand\n\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("always", [True, False])
def test_a_table_says_the_same_however_it_was_saved(tmp_path, start, end, between, always):
    def cell(text):
        return f'"{text}"' if always or between in text else text

    lines = [between.join(map(cell, row)) for row in ROWS]
    text = start.replace("\n", end) + end.join([lines[0].upper(), "", lines[1], " # c", lines[2]]) + end
    (tmp_path / "list.csv").write_bytes(text.encode())
    assert read_manifest(tmp_path / "list.csv") == ENTRIES


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("scene,out,out\na.tif,b.tif,c.tif", "the column out comes twice"),
        ("scene,confidnce\na.tif,c.tif", "unknown column confidnce; did you mean confidence?"),
        ("scene,vector\na.tif,v.gpkg", "--vector has one made of each scene"),
        ("scene,out\na,b.tif,m.tif", "line 2 has 3 cells for 2 columns"),
        ("scene,out\n\n# c\n,m.tif", "line 4 names no scene"),
    ],
)
def test_a_table_that_cannot_be_meant_is_told(tmp_path, text, told):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UsageError, match="--manifest") as caught:
        read_manifest(tmp_path / "list.csv")
    assert told in str(caught.value)


@pytest.mark.parametrize("out", ["made.tif", "./made.tif", "x/../made.tif"])
def test_no_scene_is_what_another_row_writes(tmp_path, monkeypatch, segearth, model_dir, write_raster, noise, out):
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    write_raster("a.tif", noise(3, 64, 64))
    Path("list.csv").write_text(f"scene,out\na.tif,{out}\nmade.tif,b.tif\n")
    words = ("-c", "water,roof", "-m", f"local-dir:{model_dir}", "--upsampler", "none", "-q")
    done = segearth("predict", "--manifest", "list.csv", *words)
    assert (done.code, len(done.lines)) == (2, 1), done.err
    assert "is read by this command (made.tif)" in done.err
    assert not Path("made.tif").exists()


def test_a_cell_names_files_as_the_flag_does(tmp_path, monkeypatch, segearth, model_dir, write_raster, noise):
    monkeypatch.chdir(tmp_path)
    write_raster("a.tif", noise(3, 64, 64))
    words = ("predict", "--manifest", "list.csv", "-c", "water,roof", "-m", f"local-dir:{model_dir}", "-d", "cpu", "-q")
    for cell, made in {"masks/": "masks/a.mask.tif", "there": "there/a.mask.tif", "new/x.tif": "new/x.tif"}.items():
        Path("list.csv").write_text(f"scene,out\na.tif,{cell}\n")
        done = segearth(*words, "--upsampler", "none")
        assert (done.code, done.out.split()) == (0, [made]), done.err
        with rasterio.open(made) as ds:
            assert np.unique(ds.read(1)).max() < 3
    Path("list.csv").write_text("scene,out\na.tif,x.png\n")
    done = segearth(*words, "--upsampler", "none")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "what is written is a GeoTIFF" in done.err
