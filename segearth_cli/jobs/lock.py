"""Locks of the kernel on small files: held by one process at a time, and gone with it, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segearth_cli.errors import RunError
from segearth_cli.files import remove


@contextmanager
def claim(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process holds the lock of a file; with `wait` it waits until the present holder is done.

    On a file system without locks everyone gets it, so what is done under it must bear being done twice.
    Raises RunError when the folder cannot be written.
    """
    handle = _lock(path, wait=wait)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            try:
                with suppress(OSError):
                    remove(path)
            finally:  # whatever comes, a lock is not held for longer than the work
                os.close(handle)


def _lock(path: Path, *, wait: bool) -> int | None:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as e:
            raise RunError(f"{path.parent}: cannot write: {e.strerror or e}") from e
        try:
            locked = _flock(handle, wait=wait)
        except BaseException:  # interrupted while waiting
            os.close(handle)
            raise
        with suppress(OSError):
            if locked and os.fstat(handle).st_ino == path.stat().st_ino:  # not one that its holder just removed
                return handle
        os.close(handle)
        if not locked:
            return None


def _flock(handle: int, *, wait: bool) -> bool:
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True
