"""Files that appear whole or not at all, and paths given on the command line."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segearth_cli.errors import RasterError, SegEarthError, UsageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to `path` on success, removed on failure.

    The name keeps the suffix of `path`, which drivers go by. Side files that a driver leaves beside the temporary
    name (`-wal`, `-journal`, `.aux.xml`, ...) are removed too. Raises SegEarthError when the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        if not path.parent.is_dir():
            raise SegEarthError(f"{path}: the folder {path.parent} does not exist; make it or choose another --out")
        if not os.access(path.parent, os.W_OK):
            raise SegEarthError(f"{path}: the folder {path.parent} is not writable; choose another --out")
        yield temporary
        temporary.replace(path)
    finally:
        for left in [temporary, *_siblings(temporary)]:
            with suppress(OSError):
                left.unlink()


def _siblings(temporary: Path) -> Iterable[Path]:
    return (path for path in temporary.parent.glob(".*.part*") if path.name.startswith(temporary.stem))


def refuse_existing(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Raises UsageError when one of `paths` exists and `overwrite` is off, or is a folder."""
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path}: is a folder, need a file name")
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: exists already; replace it with --overwrite")


def from_arguments(arguments: Iterable[str]) -> list[str]:
    """The inputs named on a command line; `-` stands for one a line of stdin."""
    names: list[str] = []
    for argument in arguments:
        names += [line.strip() for line in sys.stdin if line.strip()] if argument == "-" else [argument]
    if not names:
        raise UsageError("no input: name at least one file, or pass - and send one path a line on stdin")
    return names


def cache_dir() -> Path:
    """The folder for what can be fetched or computed again: $SEGEARTH_CACHE, else `segearth` in the XDG cache."""
    if own := os.environ.get("SEGEARTH_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "segearth"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content as hexadecimal text."""
    with path.open("rb") as f:
        digest = hashlib.sha256()
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check_readable(path: Path) -> None:
    """Raises RasterError when a local file is absent or may not be read."""
    if not path.exists():
        raise RasterError(f"{path}: no such file")
    if not os.access(path, os.R_OK):
        raise RasterError(f"{path}: not readable; check its permissions")
