"""Datasets opened without a word about a missing place on the ground, and without a change for other libraries."""

import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

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
