"""The folder of a run: shards in a folder a row, and a cost of each that does not grow with their number."""

import os

import numpy as np
import pytest
import rasterio


@pytest.fixture
def predict(segearth, model_dir, tmp_path, monkeypatch):
    """Runs `segearth predict NAME --work WORK` with the tiny model and shards of 512 px."""
    monkeypatch.chdir(tmp_path)
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "--precision", "fp32")

    def run(name, work, *arguments):
        words = ("-c", "water,roof", *model, "--stride", "64", "--shard-size", "512", "-o", f"{work}.mask.tif")
        done = segearth("predict", name, "--work", work, *words, *arguments)
        assert done.code == 0, done.err

    return run


def listings(patch, act):
    """How often folders are listed by Python meanwhile."""
    listed = []
    for name in ("listdir", "scandir"):
        real = getattr(os, name)
        patch.setattr(os, name, lambda *where, _real=real: (listed.append(where), _real(*where))[1])
    act()
    return len(listed)


@pytest.mark.slow
def test_no_shard_lists_a_folder(predict, write_raster, noise, monkeypatch):
    write_raster("few.tif", noise(3, 40, 1100))
    write_raster("many.tif", noise(3, 40, 5100))
    predict("few.tif", "warm")  # what is listed once a process
    counts = []
    for name in ("few", "many"):
        with monkeypatch.context() as patch:
            counts.append(listings(patch, lambda name=name: predict(f"{name}.tif", name)))
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_shards_lie_in_a_folder_a_row_and_so_does_the_mosaic(predict, write_raster, noise, segearth, tmp_path):
    write_raster("scene.tif", noise(3, 1100, 700))
    predict("scene.tif", "work", "--confidence", "sure.tif")
    shards = tmp_path / "work" / "shards"
    assert sorted(path.name for path in shards.iterdir()) == ["r00000", "r00001", "r00002"]
    assert sorted(path.name for path in (shards / "r00001").iterdir()) == [
        f"r00001c0000{column}.{end}" for column in (0, 1) for end in ("confidence.tif", "json", "mask.tif")
    ]
    assert list((tmp_path / "work" / "temporary").iterdir()) == []
    assert segearth("merge", "work").code == 0
    with rasterio.open("work/mask.vrt") as mosaic, rasterio.open("work.mask.tif") as mask:
        assert np.array_equal(mosaic.read(), mask.read())
    text = (tmp_path / "work" / "mask.vrt").read_text()
    assert text.count("<SourceFilename") == 3
    assert 'relativeToVRT="1">shards/r00001/r00001.mask.vrt<' in text
