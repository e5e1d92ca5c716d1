"""GeoTIFFs that were just written: whether they are whole, and temporary ones that are read at once.

Libtiff tells stderr alone of what found no room at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError

from segearth_cli.disk import cause_of, no_temporary_room
from segearth_cli.errors import RasterError
from segearth_cli.raster.datasets import collecting, quietly
from segearth_cli.raster.remote import gdal_settings


@contextmanager
def temporary_raster(path: Path, **form: Any) -> Iterator[Any]:
    """A GeoTIFF of this form in a temporary folder, to write and read. Raises RasterError when the disk is full."""
    failures: list[str] = []
    try:
        with (
            collecting(failures),
            gdal_settings(remote=False, GDAL_CACHEMAX=64 << 20),
            quietly(),
            rasterio.open(path, "w+", driver="GTiff", **form) as ds,
        ):
            yield ds
        failures = failures or cut_off([path])
    except (RasterioError, TypeError) as e:
        if isinstance(e, TypeError) and not of_cut_off_file(e):
            raise
        failures.append(str(e))
    if failures:
        raise RasterError(no_temporary_room(path.parent, cause_of([path], failures[0])))


def of_cut_off_file(error: TypeError) -> bool:
    """Whether an error is what rasterio raises when it opens a file that was cut off early."""
    return "not recognized" in str(error)


def cut_off(paths: Iterable[Path]) -> list[str]:
    """A line for each GeoTIFF that lacks a block which it lists, those of its overviews too."""
    return [f"{path.name} ends before its pixels do" for path in paths if not _holds_its_blocks(path)]


def _holds_its_blocks(path: Path) -> bool:
    size = path.stat().st_size
    with gdal_settings(remote=False), quietly(), rasterio.open(path) as ds:
        levels = range(len(ds.overviews(1)))
        if _end(ds) > size:
            return False
    for level in levels:
        with quietly(), rasterio.open(path, overview_level=level) as ds:
            if _end(ds) > size:
                return False
    return True


def _end(dataset: Any) -> int:
    """Where the last block of a picture ends in its file; 0 where all are holes."""
    height, width = dataset.block_shapes[0]
    places = [
        f"{col}_{row}" for row in range(-(-dataset.height // height)) for col in range(-(-dataset.width // width))
    ]
    bands = dataset.indexes if dataset.interleaving == Interleaving.band else (1,)

    def number(what: str, place: str, band: int) -> int:
        return int(dataset.get_tag_item(f"BLOCK_{what}_{place}", "TIFF", band) or 0)

    return max(number("OFFSET", place, band) + number("SIZE", place, band) for band in bands for place in places)
