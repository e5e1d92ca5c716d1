"""Names of rasters: files and folders of this machine, or what GDAL alone understands (URLs, /vsi, subdatasets)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from zipfile import ZipFile

from segearth_cli.beside import read_with
from segearth_cli.errors import RasterError
from segearth_cli.texts import is_pipe

SUFFIXES = frozenset(
    {".tif", ".tiff", ".jp2", ".vrt", ".img", ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
)  # by which rasters are found in folders and archives; any other file can be named on its own

_LONGEST = 160  # bytes of a stem; file systems take names of 255
_ENDINGS = (".mask", ".confidence", ".scores")  # of our own stems
ARCHIVES = ("/vsizip/", "/vsitar/", "/vsigzip/", "/vsi7z/", "/vsirar/")  # one may lie in another
UNTRUSTED = "SEGEARTH_UNTRUSTED"  # the environment variable behind --untrusted

_CONNECTION = re.compile(r"[A-Za-z]\w+:")  # NETCDF:"a.nc":v; one letter would be a drive


def local_path(name: str) -> Path | None:
    """The place on this machine that a raster's name means, None for URLs, /vsi paths and subdatasets.

    >>> local_path("a/b.tif"), local_path("https://host/b.tif"), local_path('NETCDF:"a.nc":v')
    (PosixPath('a/b.tif'), None, None)
    """
    if "://" in name or name.startswith("/vsi"):
        return None
    return None if _CONNECTION.match(name) and not exists(name) else Path(name)


def stem(path: str) -> str:
    """The name of a raster's file without folder and last suffix, also for URLs and /vsi paths.

    One too long to take the endings of what we write is cut, and a hash of the whole keeps it apart from others.

    >>> stem("/data/a.b.tif"), stem("https://host/x.tif?token=1"), stem("zip://a.zip!b.tif")
    ('a.b', 'x', 'b')
    """
    if "://" in path:
        url = urlsplit(path)
        path = (url.netloc + url.path).rpartition("!")[2]
    name = Path(path).stem or "scene"
    ending = next((ending for ending in _ENDINGS if name.endswith(ending)), "")
    raw = os.fsencode(name.removesuffix(ending))
    if len(raw) <= _LONGEST:
        return name
    start = os.fsdecode(raw[: _LONGEST - 9]).encode(errors="ignore").decode()
    return f"{start}-{hashlib.sha256(raw).hexdigest()[:8]}{ending}"


def local_folder(name: str) -> Path | None:
    """The folder of this machine that a name means, None when it means anything else."""
    return place if (place := local_path(name)) and os.path.isdir(place) else None  # noqa: PTH112 - see `exists`


def exists(name: str | Path) -> bool:
    """Whether a file or folder has this name; one that no file can have is absent."""
    return os.path.exists(name)  # noqa: PTH110 - Path.exists raises for names that are too long


def readable(name: str) -> str:
    """The name of a raster that GDAL may be asked for; rasterio takes what stands before a colon for a scheme.

    Raises RasterError when nothing of this machine has the name, for pipes and devices, there or beside it, which GDAL
    would wait for and could not read twice, and for names that are no UTF-8 text.

    >>> readable("https://host/b.tif")
    'https://host/b.tif'
    """
    place = local_path(name)
    if place is None:
        return name
    try:
        place.stat()
    except FileNotFoundError:
        raise RasterError(f"{name}: no such file") from None
    except (OSError, ValueError) as e:
        raise RasterError(f"{name}: cannot be read ({getattr(e, 'strerror', None) or e})") from None
    if is_pipe(place):
        raise RasterError(f"{name}: is a pipe or a device, but rasters are read more than once; save it to a file")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise RasterError(f"{name}: its name is not UTF-8 text, which GDAL is asked in; rename it") from None
    refuse_pipes_beside(place, read_with(place))
    return f"./{name}" if ":" in name and not place.is_absolute() and not name.startswith(".") else name


def refuse_pipes_beside(place: Path, names: Iterable[str]) -> None:
    """Raises RasterError where one of the names of what is read with a raster is that of a pipe or a device."""
    if side := next((side for side in names if is_pipe(side)), None):
        raise RasterError(
            f"{Path(side)}: is a pipe or a device, but would be read with {place.name}; move it elsewhere"
        )


def rasters_below(folder: Path) -> list[Path]:
    """The rasters in a folder and all folders in it, by suffix, sorted; hidden ones are left out.

    Linked folders are followed; each folder is read once, wherever it is linked from.
    """
    return sorted(path for path in _files_below(folder) if path.suffix.lower() in SUFFIXES)


def rasters_in_zip(archive: Path) -> list[tuple[PurePosixPath, str]]:
    """(name inside, name for GDAL) of the rasters in a zip archive, by suffix, sorted; hidden ones are left out.

    Raises BadZipFile and OSError when it cannot be read.
    """
    with ZipFile(archive) as opened:
        inside = sorted(map(PurePosixPath, opened.namelist()))
    return [
        (name, f"/vsizip/{{{archive}}}/{name}")
        for name in inside
        if name.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in name.parts)
    ]


def _files_below(folder: Path) -> Iterator[Path]:
    known: set[tuple[int, int]] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        seen = os.stat(here)  # noqa: PTH116
        if (seen.st_dev, seen.st_ino) in known:
            folders.clear()
            continue
        known.add((seen.st_dev, seen.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (path for name in files if not name.startswith(".") and (path := Path(here, name)).is_file())
