"""The bytes of a file as it is stored, wherever GDAL reads it from: on disk, in an archive, over the network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from xml.sax.saxutils import escape
from zipfile import BadZipFile, ZipFile

import rasterio

from segearth_cli.raster.paths import local_path
from segearth_cli.raster.remote import UNREADABLE, gdal_settings, is_remote, network_settings

_LEAST = 256  # bytes asked for at once, which the smallest picture has
_SOMEWHERE = "<GeoTransform>0, 1, 0, 0, 0, 1</GeoTransform>"  # or rasterio warns that the bytes lie nowhere
Stored = Callable[[int, int], bytes]  # an offset and a number of bytes to these bytes, fewer at the end


def stored(name: str) -> Stored:
    """What gives the bytes of a file by its name of GDAL's, in `Dataset.files`.

    Where GDAL alone reaches the file, a raster of bytes is laid over it; zeros are read behind its end, not in zips.
    """
    place = local_path(name)
    return _elsewhere(name) if place is None else _on_disk(place)


def _on_disk(place: Path) -> Stored:
    def read(at: int, count: int) -> bytes:
        with place.open("rb", buffering=0) as file:
            file.seek(at)
            return file.read(count) or b""

    return read


def _elsewhere(name: str) -> Stored:
    end = _bytes_in_zip(name)
    settings = network_settings() if is_remote(name) else {}
    settings |= {"GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE": "ALL", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}

    def read(at: int, count: int) -> bytes:
        if end is not None and at + count > end:
            return read(at, end - at) if at < end else b""
        text = (
            f'<VRTDataset rasterXSize="{count}" rasterYSize="1">{_SOMEWHERE}<VRTRasterBand dataType="Byte" band="1" '
            f'subClass="VRTRawRasterBand"><SourceFilename relativeToVRT="0">{escape(name)}</SourceFilename>'
            f"<ImageOffset>{at}</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>{count}</LineOffset>"
            "</VRTRasterBand></VRTDataset>"
        )
        try:
            with gdal_settings(remote=is_remote(name), **settings), rasterio.open(text, driver="VRT") as raw:
                return bytes(raw.read(1).tobytes())
        except UNREADABLE:  # GDAL refuses rasters much larger than their file
            return read(at, count // 4) if count > _LEAST else b""

    return read


def _bytes_in_zip(name: str) -> int | None:
    """How long a file in a zip archive of this machine is; None for all else."""
    whole = name.removeprefix("/vsizip/")
    place = next((path for path in Path(whole).parents if path.is_file()), None) if whole != name else None
    if place is None:
        return None
    with suppress(OSError, BadZipFile, KeyError), ZipFile(place) as archive:
        return archive.getinfo(Path(whole).relative_to(place).as_posix()).file_size
    return None
