"""Inputs that fuzzing (scripts/fuzz.py) found to end badly once: refused in one line that names them."""

import os
import shutil
import subprocess
import sys

import fiona
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shell
from rasterio.control import GroundControlPoint

from segearth_cli.errors import TrainingError
from segearth_cli.training import checkpoint


def test_control_points_that_place_nothing_are_told_with_the_file(segearth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with rasterio.open("mask.tif", "w", driver="GTiff", height=8, width=8, count=1, dtype="uint8") as ds:
        ds.write(np.ones((1, 8, 8), np.uint8))
        ds.gcps = [GroundControlPoint(0, 0, 7, 50)], "EPSG:4326"
    done = segearth("vectorize", "mask.tif", "-q", "-o", "a.gpkg")
    assert (done.code, done.out, len(done.lines)) == (1, "", 1), done.err
    assert "mask.tif: its ground control points do not place it" in done.err


def test_a_zero_byte_in_a_manifest_is_refused(segearth, tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"a\0.tif\n")
    done = segearth("predict", "--manifest", path, "-c", "water", "-o", tmp_path / "out")
    assert (done.code, done.out, len(done.lines)) == (2, "", 1), done.err


def test_a_source_whose_name_is_no_utf_8_is_refused(segearth, write_raster, noise, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_raster("scene.tif", noise(3, 20, 20))
    rasterio.shutil.copy("scene.tif", "over.vrt", driver="VRT")
    text = (tmp_path / "over.vrt").read_bytes()
    (tmp_path / "over.vrt").write_bytes(text.replace(b"scene.tif", b"scene\xf2.tif"))
    (tmp_path / "scene.tif").rename(tmp_path / b"scene\xf2.tif".decode(errors="surrogateescape"))
    done = segearth("predict", "over.vrt", "-c", "water", "-d", "cpu", "-q", "-o", "out.tif")
    assert (done.code, done.out) == (1, ""), done.err
    assert "over.vrt" in done.lines[-1]


@pytest.mark.slow
def test_a_message_of_gdal_that_is_no_utf_8_is_not_printed_beside_ours(tmp_path):
    (tmp_path / "over.vrt").write_bytes(b'<VRTDataset rasterXSize="9" rasterYSize="9"><Raste\xf2Band></VRTDataset>')
    done = shell.segearth("inspect", "over.vrt", cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr


PLACES = [(np.inf, 0, 0, 0, -1, 0), (1, 0, np.nan, 0, -1, 0), (1, 0, 5, 1, 0, 5), (1e300, 0, 0, 0, -1e300, 0)]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_geotransform_that_places_nothing_is_refused_in_every_command(
    segearth, write_raster, noise, tmp_path, monkeypatch, place
):
    monkeypatch.chdir(tmp_path)
    mask = write_raster("mask.tif", noise(1, 9, 9, high=2), transform=rasterio.Affine(*place))
    classes = ("-c", "a,b", "-q")
    for command in (
        ("vectorize", mask, "-q"), ("predict", mask, *classes), ("inspect", mask),
        ("evaluate", mask, mask, *classes), ("preview", mask),
    ):  # fmt: skip
        done = segearth(*command)
        assert (done.code, done.out, len(done.lines)) == (1, "", 1), done.err
        assert "mask.tif: its geotransform (" in done.err


ODD = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
}
PREDICT = ("predict", "scene.tif", "-m", "local-dir:model", "-c", "water,road", "-d", "cpu", "-q", "-o", "out.tif")
SMALL_FILES = {
    "model/segearth.json": PREDICT,
    "model/open_clip_config.json": PREDICT,
    "model/upsampler.safetensors": PREDICT,
    "run.toml": ("inspect", "scene.tif", "--config", "run.toml"),
    "run/run.json": ("merge", "run"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", SMALL_FILES)
def test_what_is_no_file_in_place_of_a_small_one_is_told(
    segearth, write_raster, noise, model_dir, tmp_path, monkeypatch, name, odd
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("segearth_cli.texts.PATIENCE", 0.1)
    write_raster("scene.tif", noise(3, 20, 20))
    shutil.copytree(model_dir, "model")
    (tmp_path / "run").mkdir()
    (tmp_path / name).unlink(missing_ok=True)
    ODD[odd](tmp_path / name)
    done = segearth(*SMALL_FILES[name])
    assert (done.code in (1, 2), done.out, len(done.lines)) == (True, "", 1), done.err
    assert name.split("/")[0] in done.err
    assert not (tmp_path / "out.tif").exists()


RING = "[[[{x}, 44], [48, 30], [31, 29], [{x}, 44]]]"
NO_SHAPES = {"NaN": RING.format(x="NaN"), "1e999": RING.format(x="1e999"), "one point": "[[[30, 44]]]"}


@pytest.mark.parametrize("shape", NO_SHAPES)
def test_a_drawn_shape_that_is_none_is_refused_in_every_command(
    segearth, write_raster, noise, tmp_path, monkeypatch, shape
):
    monkeypatch.chdir(tmp_path)
    scene, mask = write_raster("scene.tif", noise(3, 50, 50)), write_raster("mask.tif", noise(1, 50, 50, high=2))
    geometry = f'{{"type": "Polygon", "coordinates": {NO_SHAPES[shape]}}}'
    feature = f'{{"type": "Feature", "properties": {{"class": "a", "": 1}}, "geometry": {geometry}}}'
    crs = '{"type": "name", "properties": {"name": "EPSG:32632"}}'
    (tmp_path / "d.geojson").write_text(f'{{"type": "FeatureCollection", "crs": {crs}, "features": [{feature}]}}')
    classes = ("-c", "a,b", "-q", "-d", "cpu")
    for command in (
        ("evaluate", mask, "d.geojson", *classes[:3]),
        ("predict", scene, *classes, "--aoi", "d.geojson", "-o", "o.tif"),
        ("calibrate", scene, *classes, "--labels", "d.geojson", "-o", "o.calibration"),
    ):
        done = segearth(*command)
        assert (done.code in (1, 2), done.out, len(done.lines)) == (True, "", 1), done.err
        assert "d.geojson" in done.err
    assert not [*tmp_path.glob("o.*")]


@pytest.mark.parametrize("place", range(0, 1200, 100))
def test_a_checkpoint_that_changed_is_refused(tmp_path, place):
    import torch

    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, 3, {"seed": 1}, {"weights": torch.arange(50.0)})
    assert checkpoint.load(path, {"seed": 1}, torch.device("cpu"))[0] == 3
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(TrainingError, match="damaged"):
        checkpoint.load(path, {"seed": 1}, torch.device("cpu"))


def test_a_geopackage_whose_crs_is_no_utf_8_is_refused(segearth, write_raster, noise, tmp_path):
    """fiona dies of it."""
    mask, drawn = write_raster("mask.tif", noise(1, 9, 9, high=2)), tmp_path / "drawn.gpkg"
    schema = {"geometry": "Point", "properties": {"class": "str"}}
    with fiona.open(drawn, "w", driver="GPKG", crs_wkt=rasterio.CRS.from_epsg(32632).to_wkt(), schema=schema):
        pass
    content = drawn.read_bytes()
    drawn.write_bytes(content.replace(b"UTM zone 32N", b"UTM zone\xbf32N"))
    done = segearth("evaluate", mask, drawn, "-c", "a,b", "-q")
    assert (done.code, done.out, len(done.lines)) == (1, "", 1), done.err
    assert "drawn.gpkg: gpkg_spatial_ref_sys holds what is no UTF-8 text" in done.err


@pytest.mark.thorough
def test_fuzzing_makes_all_its_inputs_and_judges_them():
    words = [sys.executable, "-m", "scripts.fuzz", "--number", "1", "--only", "class file", "record"]
    done = subprocess.run(words, cwd=shell.ROOT, env=shell.environment(), capture_output=True, text=True)
    assert done.stdout.count("| 1 |") >= 2, done.stderr
    assert not done.stderr.strip(), done.stderr
