"""Datasets opened without a word about a missing place on the ground, and without a change for other libraries."""

import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from segearth_cli.raster import open_dataset, quietly


@pytest.fixture
def nowhere(write_raster, noise):
    return write_raster("nowhere.tif", noise(3, 8, 8), crs=None, transform=None)


def test_importing_leaves_the_filters_of_warnings_as_they_are():
    code = (
        "import warnings, rasterio; before = list(warnings.filters)\n"
        "import segearth_cli.raster, segearth_cli.evaluation, segearth_cli.vector\n"
        "assert warnings.filters == before"
    )
    subprocess.run([sys.executable, "-W", "default", "-c", code], check=True, timeout=120)


def test_a_raster_that_lies_nowhere_is_opened_in_silence_and_others_are_warned_afterwards(nowhere):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        open_dataset(nowhere).close()
        assert not told
        rasterio.open(nowhere).close()
        assert [w.category for w in told] == [NotGeoreferencedWarning]


def test_threads_that_open_at_once_leave_the_filters_as_they_found_them(nowhere):
    before = list(warnings.filters)
    start = threading.Barrier(8)

    def opens(_):
        start.wait()
        for _ in range(20):
            with quietly():
                open_dataset(nowhere).close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(opens, range(8)))
    assert warnings.filters == before


def test_a_picture_without_a_world_file_lies_nowhere_and_with_one_where_it_says(tmp_path, write_raster, noise):
    """GDAL's driver of PNM leaves a missing geotransform as it lay in memory."""
    placed = write_raster("placed.tif", noise(3, 8, 8))
    (tmp_path / "a.ppm").write_bytes(b"P6\n8 8\n255\n" + noise(8, 8, 3).tobytes())
    with open_dataset(placed) as ds:
        place = ds.transform

    def opens(_):
        with open_dataset(tmp_path / "a.ppm") as nowhere, open_dataset(placed) as there:
            return nowhere.transform.is_identity, there.transform == place

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(opens, range(60))) == {(True, True)}
    (tmp_path / "a.wld").write_text("2\n0\n0\n-2\n11\n19\n")
    with open_dataset(tmp_path / "a.ppm") as ds:
        assert tuple(ds.transform)[:6] == (2, 0, 10, 0, -2, 20)


def read_since(folder):
    """Makes the folder's time of change newer than that of its last listing; whether it was listed since."""
    (folder / f"made{time.monotonic_ns()}").touch()
    before = folder.stat().st_atime_ns
    return lambda: folder.stat().st_atime_ns != before


def test_opening_a_raster_lists_no_folder_and_finds_its_side_files(tmp_path, write_raster, noise):
    path = Path(write_raster("scene.tif", noise(3, 8, 8), transform=None, crs=None))
    path.with_suffix(".tfw").write_text("2\n0\n0\n-2\n100\n200\n")
    listed = read_since(tmp_path)
    list(tmp_path.iterdir())
    if not listed():
        pytest.skip("this file system does not tell when a folder was listed")
    listed = read_since(tmp_path)
    with open_dataset(path) as ds:
        assert [Path(name).name for name in ds.files] == ["scene.tif", "scene.tfw"]
    assert not listed()
