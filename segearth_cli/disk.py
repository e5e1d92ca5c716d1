"""What a disk does and says when it is written to: waiting until data are there, and its errors as a line."""

from __future__ import annotations

import errno
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from segearth_cli.errors import SegEarthError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})  # no room, or none that may be taken
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM})  # said of folders


def sync(path: Path) -> None:
    """Waits until a file is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where its file system can do that."""
    try:
        sync(folder)
    except OSError as e:
        if e.errno not in _NO_SYNC:
            raise


@contextmanager
def telling(path: Path, only: Container[int] | None = None) -> Iterator[None]:
    """Turns what the system says when `path` cannot be written into an error line.

    only: the error numbers that are told so; None = all.
    """
    try:
        yield
    except OSError as e:
        if isinstance(e, SegEarthError) or (only is not None and e.errno not in only):
            raise
        raise SegEarthError(f"{path}: cannot write: {e.strerror or e}") from e


class Lines:
    """A text file that grows by whole lines: where one finds no room, or is interrupted, nothing of it stays."""

    def __init__(self, path: Path, file: BinaryIO):
        """file: open at its end for writing, without a buffer."""
        self._path, self._file = path, file

    def write(self, lines: str) -> None:
        """Adds whole lines. Raises SegEarthError when they cannot be written."""
        end, left = self._file.seek(0, os.SEEK_END), lines.encode()
        with telling(self._path):
            try:
                while left:
                    left = left[self._file.write(left) :]
            except BaseException:
                with suppress(OSError):
                    self._file.truncate(end)
                raise

    def close(self) -> None:
        """Closes the file."""
        with telling(self._path):
            self._file.close()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
