"""Rasters of strangers: what a service may open at all. Nothing here acts unless `SEGEARTH_UNTRUSTED` is set."""

from __future__ import annotations

import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segearth_cli.errors import RasterError, UsageError
from segearth_cli.raster.paths import UNTRUSTED, local_path

PIXELS_VARIABLE = "SEGEARTH_MAX_PIXELS"
MEMORY_VARIABLE = "SEGEARTH_MAX_MEMORY"
DRIVERS = ("GTiff", "PNG", "JPEG", "JP2OpenJPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 2_000_000_000
MAX_MEMORY = 16_000_000_000  # bytes that a process may hold of its own
MAX_BANDS = 256
MAX_BLOCK = 1 << 28  # bytes that GDAL must hold to give one pixel
MAX_VRT = 1 << 24  # bytes
SETTINGS = {  # GDAL's side files and VRTs may name others and run code
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}
OFFLINE = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none"}  # for files of this machine

_NAMING = re.compile(r"file|dataset|dsn|datasource|url|path|connection")  # parts of keys whose values name files


def from_strangers() -> bool:
    """Whether rasters, and what is read with them, are those of strangers."""
    return os.environ.get(UNTRUSTED, "").casefold() not in ("", "0", "no", "false", "off")


def limit_memory() -> None:
    """Bounds what this process, and each that it starts, may allocate; what it asks for beyond that is refused.

    Nothing where rasters are one's own, a lower limit holds already, or the system has no such limits (Windows).
    """
    if not from_strangers():
        return
    wanted = _whole(MEMORY_VARIABLE, MAX_MEMORY, "bytes")
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    lowest = min([wanted, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_DATA, (lowest, hard))


def drivers(name: str) -> list[str]:
    """GDAL's drivers that may open a raster: a VRT only from a file of this machine that was looked through.

    Raises RasterError for a VRT that reaches outside its folder or onto the network.
    """
    place = local_path(name)
    if name.lstrip().startswith("<"):
        raise RasterError("a raster given as text is refused with --untrusted; give a file")
    return [*DRIVERS, "VRT"] if place is not None and _is_vrt(place) else list(DRIVERS)


def vrt_sources(name: str) -> list[str]:
    """The files that a VRT of this machine names; none for any other raster.

    Raises RasterError when one lies outside the VRT's folder or onto the network, or what it names cannot be told.
    """
    place = local_path(name)
    if place is None or not _is_vrt(place):
        return []
    folder = place.resolve().parent
    return [str(_inside(name, folder, value, relative=relative)) for value, relative in _named(name, place)]


def check_size(name: str, dataset: Any) -> None:
    """Raises RasterError for a raster that asks for more than a service gives."""
    pixels, most = dataset.width * dataset.height, _whole(PIXELS_VARIABLE, MAX_PIXELS, "pixels")
    if pixels > most:
        raise RasterError(f"{name}: {pixels:,} px, with --untrusted at most {most:,} ({PIXELS_VARIABLE})")
    if dataset.count > MAX_BANDS:
        raise RasterError(f"{name}: {dataset.count} bands, with --untrusted at most {MAX_BANDS}")
    largest = max((math.prod(shape) * _bytes(kind) for shape, kind in _blocks(dataset)), default=0)
    if largest > MAX_BLOCK:
        raise RasterError(
            f"{name}: blocks of {largest / 1e6:.0f} MB, with --untrusted at most {MAX_BLOCK / 1e6:.0f} MB"
        )


def _blocks(dataset: Any) -> Iterator[tuple[tuple[int, int], str]]:
    return zip(dataset.block_shapes, dataset.dtypes, strict=True)


def _bytes(kind: str) -> int:
    import numpy as np

    return 4 if kind == "complex_int16" else np.dtype(kind).itemsize


def _whole(variable: str, default: int, unit: str) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{variable}={text}: need a whole number of {unit} from 1")
    return int(text)


def _is_vrt(place: Path) -> bool:
    """Whether GDAL would take a file for a VRT, which it tells by the beginning of the text or the name."""
    try:
        with place.open("rb") as f:
            return b"<VRTDataset" in f.read(4096) or place.suffix.casefold() == ".vrt"
    except OSError:
        return False


def _named(name: str, place: Path) -> Iterator[tuple[str, bool]]:
    """Values in a VRT that name files, and whether each is relative to the VRT. GDAL reads attributes as elements."""
    try:
        raw = place.read_bytes() if place.stat().st_size <= MAX_VRT else b"<!"
        if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw or raw == b"<!":
            raise ValueError("too large, or with a document type")
        root = ET.fromstring(raw)
    except (OSError, ValueError, ET.ParseError) as e:
        raise RasterError(f"{name}: a VRT that cannot be looked through, refused with --untrusted ({e})") from None
    for element in root.iter():
        attributes = {key.rpartition("}")[2].casefold(): value for key, value in element.attrib.items()}
        children = {child.tag.rpartition("}")[2].casefold(): child.text for child in element}
        relative = (attributes.get("relativetovrt") or children.get("relativetovrt") or "0").strip() == "1"
        keys = [element.tag.rpartition("}")[2].casefold(), attributes.get("key", "").casefold()]
        if element is not root and any(map(_NAMING.search, keys)) and (text := (element.text or "").strip()):
            yield text, relative
        for key, value in attributes.items():
            if _NAMING.search(key) and value.strip():
                yield value.strip(), relative


def _inside(name: str, folder: Path, value: str, *, relative: bool) -> Path:
    place = None if value.startswith("<") else local_path(value)
    if place is not None:
        whole = (folder / place if relative else place).resolve()
        if whole.is_relative_to(folder):
            return whole
    raise RasterError(
        f"{name}: a VRT that names {value[:200]}, outside its folder or on the network; refused with --untrusted"
    )
