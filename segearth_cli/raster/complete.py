"""Whether a picture reaches its end: GDAL reads what is missing of some formats as black and says nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from segearth_cli.raster.paths import local_path
from segearth_cli.raster.remote import is_remote
from segearth_cli.raster.stored import Stored, stored

_PIECE = 1 << 18  # bytes looked through at once
_PNG_END = b"IEND\xaeB`\x82"  # the name of the last chunk and, as it is empty, its checksum
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)  # a marker that is no part of a JPEG's pixels
_ALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})  # markers of JPEG without a length
_END = 0xD9
_BARE = frozenset({"ENVI", "EHdr", "ERS", "PNM", "RRASTER", "GTX"})  # formats without packing, which GDAL fills up
_HEADERS = frozenset({"hdr", "ers", "prj", "xml", "grd", "clr", "stx"})


def cut_short(dataset: Any) -> str:
    """GDAL's name of the file of a dataset that ends before its picture does, empty when all is there.

    Of a VRT the PNGs and JPEGs among its sources are looked at; formats that GDAL itself looks after are not.
    """
    if dataset.driver == "VRT":
        checks = {name: _BY_SUFFIX[suffix] for name in dataset.files if (suffix := _suffix(name)) in _BY_SUFFIX}
    elif check := _BY_DRIVER.get(dataset.driver):
        checks = dict.fromkeys(dataset.files[:1], check)
    elif dataset.driver == "PCIDSK" and dataset.tags(ns="IMAGE_STRUCTURE"):  # tiled ones tell more than they have
        checks = dict.fromkeys(dataset.files[:1], _pcidsk_ends)
    else:
        return _raw_cut_short(dataset) if dataset.driver in _BARE else ""
    return next((name for name, ends in checks.items() if not _complete(name, ends)), "")


def _complete(name: str, ends: Callable[[Stored], bool]) -> bool:
    """Whether a file reaches its end; one of this machine is looked through once for each state of it."""
    place = local_path(name)
    if place is None:
        return ends(stored(name))
    seen = place.stat()
    return _known(str(place.absolute()), ends, (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))


@lru_cache(maxsize=1 << 14)
def _known(name: str, ends: Callable[[Stored], bool], _state: tuple[int, ...]) -> bool:
    return ends(stored(name))


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].casefold()


def _raw_cut_short(dataset: Any) -> str:
    """The file of bare pixels, on this machine or in an archive here, that is shorter than its header says."""
    facts = dataset.tags(ns="ENVI")
    pixels = [name for name in dataset.files if _suffix(name) not in _HEADERS and not is_remote(name)]
    if facts.get("file_compression", "0").strip() not in ("", "0") or not pixels:
        return ""
    header = facts.get("header_offset", "0").strip()
    bits = (int(dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", 0)) for band in dataset.indexes)
    bits = (few or 8 * np.dtype(kind).itemsize for few, kind in zip(bits, dataset.dtypes, strict=True))
    last = (int(header) if header.isdigit() else 0) + dataset.width * dataset.height * sum(bits) // 8 - 1
    return "" if any(stored(name)(last, 1) for name in pixels) else pixels[0]


def _pcidsk_ends(read: Stored) -> bool:
    """Whether a PCIDSK file has all blocks of 512 bytes that its header tells."""
    blocks = read(16, 16).strip()
    return not blocks.isdigit() or bool(read(512 * int(blocks) - 1, 1))


def _png_ends(read: Stored) -> bool:
    """Whether the chunks of a PNG lead to its last one; of another file, True."""
    if not read(0, 8).startswith(b"\x89PNG"):
        return True
    at = 8
    while (head := read(at, 12))[4:8].isalpha():
        if head[4:] == _PNG_END:
            return True
        at += 12 + int.from_bytes(head[:4], "big")
    return False


def _jpeg_ends(read: Stored) -> bool:
    """Whether the segments of a JPEG lead to the marker of its end; thumbnails within have one of their own.

    Of another file, True.
    """
    if not read(0, 2).startswith(b"\xff\xd8"):
        return True
    at = 2
    while len(piece := read(at, _PIECE)) > 1 and piece.strip(b"\0"):
        if (found := _MARKER.search(piece)) is None:
            at += len(piece) - 1  # half a marker may stand at the seam
            continue
        marker, at = piece[found.end() - 1], at + found.end()
        if marker == _END:
            return True
        if marker not in _ALONE:
            at += int.from_bytes(read(at, 2), "big")
    return False


_BY_DRIVER: dict[str, Callable[[Stored], bool]] = {"PNG": _png_ends, "JPEG": _jpeg_ends}
_BY_SUFFIX: dict[str, Callable[[Stored], bool]] = {"png": _png_ends, "jpg": _jpeg_ends, "jpeg": _jpeg_ends}
