"""The sample tiles are what their README says, and the script beside them makes them."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import rasterio

from segearth_cli.raster import open_scene
from segearth_cli.raster.grid import Window

TILES = Path(__file__).parents[2] / "sample_tiles"
NAMES = ["utm", "geographic", "uint16", "nodata"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    runpy.run_path(str(TILES / "make.py"))["make"](folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_script_makes_the_tile(made, name):
    with rasterio.open(TILES / f"{name}.tif") as ours, rasterio.open(made / f"{name}.tif") as again:
        assert (ours.shape, ours.crs, ours.transform, ours.nodata) == (
            again.shape,
            again.crs,
            again.transform,
            again.nodata,
        )
        # a processor's own sine may round a pixel another way
        assert np.abs(ours.read().astype(int) - again.read()).mean() < 0.01 * np.iinfo(ours.dtypes[0]).max / 255


@pytest.mark.parametrize(
    ("name", "data"), [("utm", 1.0), ("geographic", 1.0), ("uint16", 1.0), ("nodata", pytest.approx(0.8, abs=0.02))]
)
def test_a_tile_is_a_scene(name, data):
    scene = open_scene(str(TILES / f"{name}.tif"))
    chip = scene.read(Window(0, 0, scene.height, scene.width))
    assert chip.valid.mean() == data
    assert scene.pixel_metres() == pytest.approx(0.5, rel=1e-3)
    assert 40 < chip.image[:, chip.valid].mean() < 200


def test_the_tiles_are_small():
    assert sum((TILES / f"{name}.tif").stat().st_size for name in NAMES) < 1_000_000
