"""Files that appear whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from segearth_cli.errors import SegEarthError, UsageError

_LARGE = 1 << 26  # bytes
_OURS = re.compile(r"\..+\.(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-[0-9a-f]{6}\.part.*", re.DOTALL)
_SETTLED = 5.0  # seconds; a younger file could change again within its clock's tick


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to `path` on success, removed on failure.

    The name keeps the suffix of `path`, which drivers go by. Side files that a driver leaves beside the temporary
    name (`-wal`, `-journal`, `.aux.xml`, ...) are removed too. Raises SegEarthError when the folder cannot be written.
    """
    own = f"{_host()}-{os.getpid()}-{secrets.token_hex(3)}"
    temporary = path.with_name(f".{path.name}.{own}.part{path.suffix}")
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


def recover(paths: Iterable[Path]) -> None:
    """Removes what processes of this machine that were killed left of `paths`; what others write, or may, stays."""
    for path in paths:
        with suppress(OSError):
            for left in path.parent.glob(f".{glob.escape(path.name)}.*.part*"):
                if (ours := _OURS.fullmatch(left.name)) and _is_dead(ours):
                    left.unlink(missing_ok=True)


def _is_dead(ours: re.Match[str]) -> bool:
    """Whether the process that gave a temporary name ran on this machine and is gone."""
    if ours["host"] != _host():
        return False
    try:
        os.kill(int(ours["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@cache
def _host() -> str:
    """What tells this machine, or this container, from others that may share a folder with it."""
    space = Path("/proc/self/ns/pid")
    inside = str(space.readlink()) if space.is_symlink() else ""
    return hashlib.sha256(f"{platform.node()}\n{inside}".encode()).hexdigest()[:6]


def _siblings(temporary: Path) -> Iterable[Path]:
    return (path for path in temporary.parent.glob(".*.part*") if path.name.startswith(temporary.stem))


def refuse_existing(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Raises UsageError when one of `paths` exists and `overwrite` is off, or is a folder."""
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path}: is a folder, need a file name")
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: exists already; replace it with --overwrite")


def make_folders(folders: Iterable[Path]) -> None:
    """Make the folders that are missing. Raises SegEarthError when one cannot be made."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise SegEarthError(f"{folder}: cannot make the folder: {e.strerror}") from e


def cache_dir() -> Path:
    """The folder for what can be fetched or computed again: $SEGEARTH_CACHE, else `segearth` in the XDG cache."""
    if own := os.environ.get("SEGEARTH_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "segearth"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content as hexadecimal text.

    That of a large file is kept in the cache folder, for as long as nothing touches the file.
    """
    seen = path.stat()
    kept = _kept_hash(path, seen) if seen.st_size >= _LARGE else None
    with suppress(OSError, ValueError):
        if kept and len(known := kept.read_text(encoding="ascii")) == 64:
            return known
    with path.open("rb") as f:
        digest = hashlib.sha256()
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    if kept and time.time() - seen.st_mtime > _SETTLED:
        with suppress(OSError, SegEarthError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            with replacing(kept) as temporary:
                temporary.write_text(digest.hexdigest(), encoding="ascii")
    return digest.hexdigest()


def _kept_hash(path: Path, seen: os.stat_result) -> Path:
    identity = f"{path.resolve()}\n{seen.st_ino} {seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns}"
    return cache_dir() / "sha256" / hashlib.sha256(identity.encode()).hexdigest()[:32]
