"""Scenes read over the network, from a server on 127.0.0.1 that misbehaves: retried or told, never a hole."""

import random
import re
import subprocess
import sys

import noise
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from flaky import serving
from rasterio.transform import from_origin

from segearth_cli.classes import parse
from segearth_cli.errors import RasterError
from segearth_cli.evaluation.comparison import EvaluateOptions, compare
from segearth_cli.raster import Chip, mask_strips, open_scene, read_mask
from segearth_cli.raster.fingerprint import identity
from segearth_cli.raster.grid import Window
from segearth_cli.raster.seal import take_seal

ROWS = [Window(row, 0, 100, 700) for row in range(0, 800, 100)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A COG, and a sparse GeoTIFF whose index of tiles is larger than what GDAL reads at first."""
    folder = tmp_path_factory.mktemp("served")
    source = noise.save_scene(folder / "source.tif", 800, 700, holes=[(100, 200, 300, 400)], nodata=0)
    rasterio.shutil.copy(source, folder / "cog.tif", driver="COG", compress="deflate", blocksize=128, sparse_ok=True)
    profile = {"driver": "GTiff", "dtype": "uint8", "tiled": True, "blockxsize": 64, "blockysize": 64, "nodata": 0}
    with rasterio.open(folder / "sparse.tif", "w", height=8_000, width=8_000, count=3, sparse_ok=True, **profile) as ds:
        ds.write(np.full((3, 64, 64), 7, np.uint8), window=rasterio.windows.Window(4096, 4096, 64, 64))
    return folder


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")


def read(path):
    scene = open_scene(str(path))
    try:
        return [scene.read(rows) for rows in ROWS]
    finally:
        scene.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["503", "drop", "short", "stall"])
def test_errors_that_pass_change_no_pixel(folder, how):
    chance, misbehaved = random.Random(4), []

    def misbehave(number, _path):
        bad = number > 1 and chance.random() < 0.3 and len(misbehaved) < (2 if how == "stall" else 9)
        misbehaved.extend([number] * bad)
        return how if bad else "ok"

    with serving(folder, misbehave) as url:
        remote = read(f"{url}/cog.tif?{how}")
    assert misbehaved
    for far, near in zip(remote, read(folder / "cog.tif"), strict=True):
        assert np.array_equal(far.image, near.image)
        assert np.array_equal(far.valid, near.valid)


@pytest.fixture
def mended():
    """A server's whim: of every ten requests after the first some are dropped, cut short or refused, nine in all."""
    chance, misbehaved = random.Random(7), []

    def misbehave(number, _path):
        bad = number > 2 and chance.random() < 0.3 and len(misbehaved) < 9
        misbehaved.extend([number] * bad)
        return chance.choice(["503", "drop", "short"]) if bad else "ok"

    return misbehave, misbehaved


CHILD = """
import sys
import numpy as np
from segearth_cli.raster import Window, open_scene
scene = open_scene(sys.argv[1])
chips = [scene.read(Window(row, 0, 100, 700)) for row in range(0, 800, 100)]
np.savez(sys.argv[2], remote=scene.remote, images=[c.image for c in chips], valid=[c.valid for c in chips])
"""


@pytest.mark.slow
def test_the_sources_of_a_vrt_are_read_with_the_same_patience(folder, tmp_path, mended):
    misbehave, misbehaved = mended
    with serving(folder, misbehave) as url:
        vrt = tmp_path / "far.vrt"
        rasterio.shutil.copy(folder / "cog.tif", vrt, driver="VRT")
        text = vrt.read_text().replace(' relativeToVRT="1"', "").replace(' relativeToVRT="0"', "")
        vrt.write_text(re.sub(r">[^<]*cog\.tif<", f">/vsicurl/{url}/cog.tif?vrt<", text))
        child = [sys.executable, "-c", CHILD, str(vrt), str(tmp_path / "read.npz")]  # GDAL keeps what other tests set
        subprocess.run(child, check=True, timeout=120)
    kept = np.load(tmp_path / "read.npz")
    assert kept["remote"]
    remote = [Chip(image, valid) for image, valid in zip(kept["images"], kept["valid"], strict=True)]
    assert misbehaved
    for far, near in zip(remote, read(folder / "cog.tif"), strict=True):
        assert np.array_equal(far.image, near.image)
        assert np.array_equal(far.valid, near.valid)


def test_masks_are_read_with_the_same_patience(folder, tmp_path, mended):
    misbehave, misbehaved = mended
    codes = np.random.default_rng(0).integers(0, 5, (1, 800, 700)).astype(np.uint8)
    profile = {"driver": "GTiff", "dtype": "uint8", "tiled": True, "blockxsize": 64, "blockysize": 64, "nodata": 255}
    with rasterio.open(tmp_path / "mask.tif", "w", height=800, width=700, count=1, compress="deflate", **profile) as ds:
        ds.write(codes)
    with serving(tmp_path, misbehave) as url:
        mask = read_mask(f"{url}/mask.tif")
        strips = [strip for strip, _ in mask_strips(mask, 64)]
    assert misbehaved
    assert (np.concatenate(strips) == codes[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("finer", [1, 2])
def test_masks_and_labels_are_compared_with_the_same_patience(tmp_path, mended, finer):
    misbehave, misbehaved = mended
    rng = np.random.default_rng(0)
    for name, side in (("mask.tif", 400), ("label.tif", 400 * finer)):
        place = {"crs": "EPSG:32632", "transform": from_origin(5e5, 5e6, 400 / side, 400 / side)}
        profile = {"driver": "GTiff", "dtype": "uint8", "tiled": True, "blockxsize": 64, "blockysize": 64}
        with rasterio.open(tmp_path / name, "w", height=side, width=side, count=1, **place, **profile) as ds:
            ds.write(rng.integers(0, 3, (1, side, side)).astype(np.uint8))
    options = EvaluateOptions(block_pixels=1 << 13)
    classes = parse("a,b,c")
    near = compare(str(tmp_path / "mask.tif"), str(tmp_path / "label.tif"), classes, options)
    with serving(tmp_path, misbehave) as url:
        far = compare(f"{url}/mask.tif?{finer}", f"{url}/label.tif?{finer}", classes, options)
    assert misbehaved
    assert (far.confusion.counts == near.confusion.counts).all()


@pytest.mark.slow
def test_a_vrt_whose_first_opening_fails_is_opened_again(folder, tmp_path):
    vrt, opened = tmp_path / "far.vrt", []

    def misbehave(_number, path):
        opened.extend([path] * path.startswith("/cog.tif"))
        return "short" if len(opened) == 1 else "ok"

    with serving(folder, misbehave) as url:
        source = f"/vsicurl/{url}/cog.tif?first"
        vrt.write_text(f"""<VRTDataset rasterXSize="700" rasterYSize="800"><VRTRasterBand dataType="Byte" band="1">
            <SimpleSource><SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
            </VRTRasterBand></VRTDataset>""")
        child = [sys.executable, "-c", CHILD, str(vrt), str(tmp_path / "read.npz")]
        subprocess.run(child, check=True, timeout=120)
    assert len(opened) > 1
    assert np.load(tmp_path / "read.npz")["valid"].all()


@pytest.mark.parametrize("how", ["503", "drop", "short", "404"])
def test_errors_that_last_are_one_clear_line_and_never_a_hole(folder, how):
    broken = []
    with serving(folder, lambda *_: how if broken else "ok") as url:
        scene = open_scene(f"{url}/sparse.tif?lasting{how}")
        broken.append(True)
        with pytest.raises(RasterError) as caught:
            scene.read(Window(4096, 4096, 64, 64))
    assert "sparse.tif" in str(caught.value)
    assert "cannot read rows 4096-4159: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("first", [2, 3, 4, 5])
def test_an_index_of_tiles_that_does_not_arrive_is_no_hole(folder, first):
    with serving(folder, lambda number, _: "drop" if first <= number < first + 2 else "ok") as url:
        scene = open_scene(f"{url}/sparse.tif?index{first}")
        assert (scene.read(Window(4096, 4096, 64, 64)).image == 7).all()


@pytest.mark.slow
def test_what_is_told_of_a_scene_is_asked_again_where_it_does_not_arrive(folder, tmp_path):
    """Its overviews, and what is told of them, lie at the end of a file without compression."""
    far = noise.save_scene(folder / "tail.tif", 800, 700, compress=None)
    with rasterio.open(far, "r+") as ds:
        ds.build_overviews([2, 4])
    with serving(folder, lambda number, _: "drop" if number in (3, 4) else "ok") as url:
        child = [sys.executable, "-c", CHILD, f"{url}/tail.tif", str(tmp_path / "read.npz")]
        subprocess.run(child, check=True, timeout=120)
    images = np.load(tmp_path / "read.npz")["images"]
    assert all(np.array_equal(image, near.image) for image, near in zip(images, read(far), strict=True))


def test_a_server_that_gives_other_bytes_than_it_is_asked_for_is_refused(folder):
    """GDAL takes them for what it asked for, and a picture without compression is then another one."""
    noise.save_scene(folder / "begin.tif", 64, 64, tiled=False, compress=None)
    with serving(folder, lambda *_: "begin") as url, pytest.raises(RasterError) as caught:
        take_seal(f"{url}/begin.tif")
    assert "begin.tif: asked for byte 1 its server, or a proxy before it, gives bytes 0-0, " in str(caught.value)


def test_a_scene_that_is_read_over_the_network_is_warned_of_by_nobody(folder, recwarn):
    with serving(folder) as url:
        open_scene(f"{url}/cog.tif?silent")
    assert not recwarn.list


def test_a_scene_that_is_not_there_is_told_at_once(folder):
    asked = []
    with (
        serving(folder, lambda number, _: asked.append(number) or "ok") as url,
        pytest.raises(RasterError, match="404"),
    ):
        open_scene(f"{url}/nothing.tif")
    assert len(asked) < 5


def test_a_remote_scene_is_told_from_another_by_its_pixels(folder):
    with serving(folder) as url:
        scenes = [open_scene(f"{url}/{name}") for name in ("cog.tif?a", "cog.tif?b", "sparse.tif")]
        prints = [identity(scene)["fingerprint"] for scene in scenes]
    assert prints[0] == prints[1] != prints[2]
