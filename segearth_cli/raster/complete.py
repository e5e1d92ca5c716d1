"""Whether a picture reaches its end: GDAL reads what is missing of a PNG or JPEG as black and says nothing."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import IO

_PNG_SIGNATURE = 8
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)  # a marker that is no part of a JPEG's pixels
_ALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})  # markers of JPEG without a length
_END = 0xD9


def is_cut_short(path: Path, driver: str) -> bool:
    """Whether a file ends before its picture does; False for formats that GDAL itself looks after."""
    ends = {"PNG": _png_ends, "JPEG": _jpeg_ends}.get(driver)
    if ends is None:
        return False
    with path.open("rb") as file:
        return not ends(file)


def _png_ends(file: IO[bytes]) -> bool:
    """Whether the chunks of a PNG lead to its last one."""
    size = file.seek(0, 2)
    at = _PNG_SIGNATURE
    while at + 12 <= size:
        file.seek(at)
        head = file.read(8)
        at += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return at <= size
    return False


def _jpeg_ends(file: IO[bytes]) -> bool:
    """Whether the segments of a JPEG lead to the marker of its end; thumbnails within have one of their own."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = 0
        while at + 1 < len(content):
            found = _MARKER.search(content, at)
            if found is None:
                return False
            marker, at = content[found.end() - 1], found.end()
            if marker == _END:
                return True
            if marker not in _ALONE:
                at += int.from_bytes(content[at : at + 2], "big")
    return False
