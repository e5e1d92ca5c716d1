"""A mask by its name: a raster itself, or the mosaic of a run's parts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from segearth_cli.errors import UsageError
from segearth_cli.jobs.store import COLLECTION, RUN, holds_run
from segearth_cli.raster import SUFFIXES, local_folder


def is_in_parts(folder: Path) -> bool:
    """Whether a folder is one mask: it holds a run, or the collection which one was merged to."""
    return (folder / RUN).is_file() or (folder / COLLECTION).is_file()


def mask_raster(name: str) -> str:
    """The raster of a mask; for the folder of a finished run or of its collection, the mosaic of its parts.

    A run may be kept below s3://BUCKET/PREFIX or gs://BUCKET/PREFIX. Raises RunError for a folder that holds no run.
    """
    folder = local_folder(name)
    if folder is None:
        return _mosaic_in_bucket(name) if name.startswith(("s3://", "gs://")) else name
    if (folder / COLLECTION).is_file() and (mosaic := folder / "mask.vrt").is_file():
        return str(mosaic)
    from segearth_cli.jobs.merge import mask_vrt

    return mask_vrt(folder)


@lru_cache(maxsize=64)
def _mosaic_in_bucket(name: str) -> str:
    """The mosaic of the run that is kept there; the name itself where a raster has it. It is made once a process."""
    from segearth_cli.jobs.merge import mask_vrt
    from segearth_cli.jobs.place import parse_place

    if Path(name).suffix.lower() in SUFFIXES:
        return name
    try:
        place = parse_place(name)
    except UsageError:  # of rasters GDAL may know more
        return name
    return mask_vrt(place) if holds_run(place) else name
