"""What a disk does and says when it is written to: waiting until data are there, and its errors as a line."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from segearth_cli.errors import SegEarthError, is_of_gdal

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
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


_MORE = 1 << 20  # bytes; more than the libraries hold back


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
        raise SegEarthError(cannot_write(path, e)) from e


def cannot_write(path: Path, cause: BaseException | str) -> str:
    """The error line of a file that cannot be written; the cause as `cause_of` found it."""
    mend = "; make room there or choose another folder" if getattr(cause, "errno", None) in _NO_ROOM else ""
    return f"{path}: cannot write: {said(cause)}{mend}"


def said(cause: BaseException | str) -> str:
    """A cause in words, without the name of a file."""
    return " ".join(str(getattr(cause, "strerror", None) or cause).split())


def cause_of(given_up: Iterable[Path], found: BaseException | str) -> BaseException | str:
    """Why files that are given up could not be written: what the system says when it is to take more of one.

    found: what a library said, which tells less and often of something else; where the system takes more, that is it.
    """
    return next((refused for path in given_up if (refused := refusal(path, _MORE)) is not None), found)


def refusal(path: Path, more: int = 1 << 16) -> OSError | None:
    """What the system says when it is to take `more` bytes of a file, None where it takes them.

    Libraries that close a file do not always tell that its last bytes found no room.
    """
    try:
        with path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                for _ in range(2):  # of what finds no room a part may be taken first
                    file.write(bytes(more))
            finally:
                file.truncate(end)
    except OSError as e:
        return e
    return None


def make_temporary_folder() -> Path:
    """A new folder for temporary files, which who asks for it removes. Raises SegEarthError when there is none."""
    try:
        return Path(tempfile.mkdtemp(prefix="segearth-"))
    except OSError as e:
        raise SegEarthError(f"TMPDIR: cannot make a folder for temporary files: {said(e)}") from e


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for temporary files of this process, gone with all that is in it at the end of the block.

    Raises SegEarthError when there is none to be had, or what is written there finds no room.
    """
    folder = make_temporary_folder()
    try:
        yield folder
    except Exception as e:
        full = (isinstance(e, OSError) and e.errno in FULL) or is_of_gdal(e)
        if isinstance(e, SegEarthError) or not full or (cause := refusal(folder / "more", _MORE)) is None:
            raise
        raise SegEarthError(no_temporary_room(folder, cause)) from e
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def telling_temporary(folder: Path) -> Iterator[None]:
    """Tells what the system says of a temporary folder of ours, where else it would be said of another file."""
    try:
        yield
    except OSError as e:
        raise SegEarthError(no_temporary_room(folder, e)) from e


def no_temporary_room(folder: Path, cause: BaseException | str) -> str:
    """The error line of a temporary folder of ours that takes no more; the cause as `cause_of` found it."""
    place = folder.parent
    return f"{place}: cannot write to this folder for temporary files: {said(cause)}; set TMPDIR to another"


def utf_8(text: str) -> bytes:
    r"""A text as files hold it; of names of files, which need be no UTF-8, the odd bytes as they are written.

    >>> utf_8("caf\u00e9"), utf_8("a\udcf2.tif")
    (b'caf\xc3\xa9', b'a\\xf2.tif')
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").encode()


class Lines:
    """A text file that grows by whole lines: where one finds no room, or is interrupted, nothing of it stays."""

    def __init__(self, path: Path, file: BinaryIO):
        """file: open at its end for writing, without a buffer."""
        self._path, self._file = path, file

    def write(self, lines: str) -> None:
        """Adds whole lines. Raises SegEarthError when they cannot be written."""
        end, left = self._file.seek(0, os.SEEK_END), utf_8(lines)
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
