"""The cache folder: for what can be fetched or computed again. The hashes of large files are kept there."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from segearth_cli.errors import SegEarthError
from segearth_cli.files import make_folders, write_text
from segearth_cli.texts import refuse_pipe

_LARGE = 1 << 26  # bytes
_SETTLED = 5.0  # seconds; a younger file could change again within its clock's tick


def cache_dir() -> Path:
    """The folder for what can be fetched or computed again: $SEGEARTH_CACHE, else `segearth` in the XDG cache.

    One in the folder for temporary files, for a user without a home.
    """
    if own := os.environ.get("SEGEARTH_CACHE"):
        return Path(own).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "segearth"
    except RuntimeError:  # no HOME, and a user without an entry in passwd
        return Path(tempfile.gettempdir()) / f"segearth-{os.getuid()}"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content as hexadecimal text.

    That of a large file is kept in the cache folder, for as long as nothing touches the file.
    """
    refuse_pipe(path)
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
            make_folders([kept.parent])
            write_text(kept, digest.hexdigest())
    return digest.hexdigest()


def _kept_hash(path: Path, seen: os.stat_result) -> Path:
    identity = f"{path.resolve()}\n{seen.st_ino} {seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns}"
    return cache_dir() / "sha256" / hashlib.sha256(identity.encode()).hexdigest()[:32]
