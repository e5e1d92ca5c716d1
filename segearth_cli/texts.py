"""Text that is read once: of a file, or of a pipe such as `<(command)` or /dev/stdin, without waiting for ever."""

from __future__ import annotations

import codecs
import json
import os
import select
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segearth_cli.errors import SegEarthError

MOST = 1 << 24  # bytes of a list that people write
PATIENCE = 10.0  # seconds until a pipe without a writer is given up
_SLOWEST = 600.0  # seconds between two pieces of a writer that is there


def is_pipe(path: str | Path) -> bool:
    """Whether a name is that of a pipe or a device, which what reads a file more than once would wait for."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - asked for dozens of names a raster
    except (OSError, ValueError):  # told by who opens it
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def refuse_pipe(path: Path) -> None:
    """Raises SegEarthError for a pipe or a device."""
    if is_pipe(path):
        raise SegEarthError(f"{path}: is a pipe or a device, but is read more than once; save it to a file")


def read_text(path: Path) -> str:
    """The text of a file or pipe, without its byte order mark: UTF-8, or UTF-16 by its mark, as spreadsheets save it.

    Raises OSError for what cannot be read, is larger than 16 MB, or a pipe that nobody writes to, and
    UnicodeDecodeError.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        content = _pieces(number, waits=not stat.S_ISREG(os.fstat(number).st_mode))
    finally:
        os.close(number)
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if marked else "utf-8-sig")


def reason(error: Exception) -> str:
    """Why `read_text` could not read a text."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text; save it as UTF-8"
    return str(getattr(error, "strerror", None) or error)


def from_json(text: str, constant: Callable[[str], Any] | None = None) -> Any:
    """The value of a JSON text. Raises ValueError for any other, also where it is nested too deeply.

    constant: what NaN and infinities, which JSON has no numbers for, become by their names; None = floats.
    """
    try:
        return json.loads(text, parse_constant=constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _pieces(number: int, *, waits: bool) -> bytes:
    content = b""
    limit = None if os.isatty(number) else PATIENCE
    while len(content) <= MOST:
        if waits and not _ready(number, limit):
            raise OSError("a pipe that nobody writes to")
        try:
            piece = os.read(number, 1 << 20)
        except BlockingIOError:  # another reader took it
            continue
        if not piece:
            return content
        content, limit = content + piece, _SLOWEST if limit else None
    raise OSError(f"more than {MOST >> 20} MB")


def _ready(number: int, seconds: float | None) -> bool:
    """Whether there is something to read, or an end; a pipe whose writers have all left has one."""
    asked = select.poll()
    asked.register(number, select.POLLIN | select.POLLHUP)
    return bool(asked.poll(None if seconds is None else seconds * 1000))
