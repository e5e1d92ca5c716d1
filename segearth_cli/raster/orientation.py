"""Which side of a picture its file says is up. GDAL applies none of it, so users are told."""

from __future__ import annotations

import struct
from typing import Any

from segearth_cli.raster.stored import Stored, stored

_TAG = 274  # Orientation, TIFF 6.0, 1 to 8; EXIF is a TIFF
_UPRIGHT = 1
_MOST_ENTRIES = 4096  # of a directory; a damaged one may claim any number


def orientation(dataset: Any) -> int:
    """1 to 8 as TIFF and EXIF number them; 1, rows from top to bottom, where the file says nothing."""
    said = dataset.tags().get("EXIF_Orientation", "").strip()  # of JPEGs, by GDAL
    if said.isdecimal():
        return _known(int(said))
    if not dataset.files or dataset.driver not in _READERS:
        return _UPRIGHT
    return _known(_READERS[dataset.driver](stored(dataset.files[0]), dataset))


def _known(value: int | None) -> int:
    return value if value is not None and 1 <= value <= 8 else _UPRIGHT


def _of_tiff(read: Stored, dataset: Any) -> int | None:
    where = dataset.get_tag_item("IFD_OFFSET", "TIFF", bidx=1)
    return _in_tiff(read, int(where) if where and where.isdigit() else None)


def _in_tiff(read: Stored, directory: int | None = None) -> int | None:
    """Orientation in a directory of a TIFF or BigTIFF; directory: its offset, by default that of the first one."""
    head = read(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return None
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    if directory is None:
        directory = struct.unpack_from(f"{order}{'Q' if big else 'I'}", head.ljust(16, b"\0"), 8 if big else 4)[0]
    count_size, entry_size, value_at = (8, 20, 12) if big else (2, 12, 8)
    count = int.from_bytes(read(directory, count_size), "little" if order == "<" else "big")
    entries = read(directory + count_size, min(count, _MOST_ENTRIES) * entry_size)
    for at in range(0, len(entries) - entry_size + 1, entry_size):
        if struct.unpack_from(f"{order}H", entries, at)[0] == _TAG:
            return int(struct.unpack_from(f"{order}H", entries, at + value_at)[0])
    return None


def _of_png(read: Stored, _dataset: Any) -> int | None:
    """The chunk eXIf of a PNG, a TIFF of its own."""
    at = 8
    while (head := read(at, 8))[4:].isalpha() and head[4:] not in (b"IDAT", b"IEND"):
        if head[4:] == b"eXIf":
            return _in_tiff(_from(read, at + 8))
        at += 12 + int.from_bytes(head[:4], "big")
    return None


def _of_webp(read: Stored, _dataset: Any) -> int | None:
    """The chunk EXIF of a WebP's RIFF."""
    at = 12
    while len(head := read(at, 8)) == 8 and head[:4].strip().isalnum():
        if head[:4] == b"EXIF":
            start = at + 8 + (6 if read(at + 8, 6) == b"Exif\0\0" else 0)
            return _in_tiff(_from(read, start))
        size = int.from_bytes(head[4:], "little")
        at += 8 + size + size % 2
    return None


def _from(read: Stored, start: int) -> Stored:
    return lambda at, count: read(start + at, count)


_READERS = {"GTiff": _of_tiff, "PNG": _of_png, "WEBP": _of_webp}
