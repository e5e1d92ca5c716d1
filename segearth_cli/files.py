"""The one place that writes: files appear whole or not at all, with their side files, and outlive a crash.

All of the package makes, replaces and removes files through here; drivers write to a temporary name given by
`replacing`. What may be written at all is decided before work starts, in `gate`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from segearth_cli.beside import SQLITE, other_user, side_files
from segearth_cli.disk import FULL, Lines, sync, sync_folder, telling, utf_8
from segearth_cli.errors import SegEarthError
from segearth_cli.signals import held

_KEPT = 40  # characters that temporary names of a file begin with at most; file systems allow 255 bytes
_ODD = re.compile(r"[^\w.-]")  # libraries take other characters for parts of a URL, or drop them
_OURS = re.compile(r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-[0-9a-f]{6}\.(part|old|commit)", re.DOTALL)


@contextmanager
def replacing(path: Path, within: Path | None = None) -> Iterator[Path]:
    """A temporary name beside `path`, or in `within`, to write to; it takes the place of `path` on success, and is
    removed on failure.

    What is replaced is a data set: the side files of the old one go, those that a driver left beside the temporary
    name come along. The name keeps the suffix of `path`, which drivers go by. A symbolic link stays, its target is
    replaced. within: a folder on the same disk, for many files that appear in one folder. Raises SegEarthError when
    the folder cannot be written or the disk is full.
    """
    with replacing_all([path], within) as (temporary,):
        yield temporary


@contextmanager
def replacing_all(paths: Sequence[Path], within: Path | None = None) -> Iterator[list[Path]]:
    """`replacing` for several files that appear together: after an error all of them are the old ones."""
    sets = [_DataSet.at(path, within) for path in paths]
    try:
        for one in sets:
            one.check()
        with telling(paths[0], FULL):
            yield [one.temporary for one in sets]
        with telling(paths[0]):
            for path in (path for one in sets for path in [one.temporary, *(new for new, _ in one.made())]):
                sync(path)
            with held():
                _commit(sets)
                _remove_all(left for one in sets for left in one.leavings())
    except BaseException:
        with held():
            for one in sets:
                one.clean()
        raise


@contextmanager
def created(path: Path, within: Path | None = None) -> Iterator[BinaryIO]:
    """A file open for writing bytes that takes the place of `path`, whole, when the block succeeds."""
    with replacing(path, within) as temporary, temporary.open("wb") as f:
        yield f


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces a file by one that holds `data`."""
    with created(path) as f:
        f.write(data)


def write_text(path: Path, text: str, within: Path | None = None) -> None:
    """Replaces a file by one that holds `text` in UTF-8. within: as for `replacing`."""
    with created(path, within) as f:
        f.write(utf_8(text))


def create_text(path: Path, text: str) -> bool:
    """Makes a file that is not there yet, whole; whether it was this process that did."""
    if path.exists():
        return False
    one = _DataSet.at(path)
    try:
        one.check()
        with telling(path):
            with one.temporary.open("wb") as f:
                f.write(utf_8(text))
            sync(one.temporary)
            try:
                os.link(one.temporary, path)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                os.replace(one.temporary, path)
            sync_folder(path.parent)
    finally:
        _remove_all(one.leavings())
    return True


def appending(path: Path) -> Lines:
    """A text file open to append whole lines to."""
    return Lines(path, path.open("ab", buffering=0))


def growing(path: Path, *, resumed: bool) -> BinaryIO:
    """A file that several calls write piece by piece, open at its end, or anew."""
    return path.open("ab" if resumed else "wb")


def move(source: Path, target: Path) -> None:
    """Gives a whole file its name, in place of what had it before."""
    sync(source)
    os.replace(source, target)
    sync_folder(target.parent)


def remove(path: Path) -> None:
    """Removes a file, if there is one."""
    path.unlink(missing_ok=True)


def recover(paths: Iterable[Path]) -> None:
    """Clears up after processes of this machine that were killed while they wrote one of `paths`.

    A data set that they had begun to replace becomes the new one where its file was replaced already, else the old one.
    """
    wanted: dict[Path, dict[str, Path]] = {}
    for path in paths:
        target = _DataSet.at(path).target
        wanted.setdefault(target.parent, {})[_hidden(target.name)] = target
    for folder, targets in wanted.items():
        with suppress(OSError):
            found = [(name, match) for name in os.listdir(folder) if (match := _OURS.match(name))]
            dead = {m[0].rpartition(".")[0]: m["name"] for _, m in found if m["name"] in targets and _is_dead(m)}
            for start, name in dead.items():
                left = _DataSet(targets[name], targets[name], start)
                left.recover()
                for other, _ in found:
                    if other.startswith(f"{start}."):
                        remove(folder / other)


def recover_all(folder: Path) -> None:
    """`recover` for whatever was being written in a folder of our own."""
    with suppress(OSError):
        recover([folder / match["name"] for name in os.listdir(folder) if (match := _OURS.match(name))])


def clear(folder: Path) -> None:
    """Removes what killed processes of this machine left in a folder that holds temporary names alone."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if (match := _OURS.match(name)) and _is_dead(match):
                remove(folder / name)


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
    inside = os.readlink(space) if space.is_symlink() else ""
    return hashlib.sha256(f"{platform.node()}\n{inside}".encode()).hexdigest()[:6]


def _hidden(name: str) -> str:
    """What the temporary names of a file begin with: plain characters, of no other file in its folder."""
    plain = _ODD.sub("_", name)
    if plain == name and len(name) <= _KEPT:
        return name
    return f"{plain[: _KEPT - 9]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class _DataSet:
    """A file that is to be replaced together with its side files."""

    path: Path
    """As the user names it."""
    target: Path
    """The file itself: where a symbolic link leads."""
    start: str
    """What its temporary names begin with; it tells whose they are, so that those of a killed process can go."""
    within: Path | None = None
    """The folder of its temporary names; None = that of the file."""

    @classmethod
    def at(cls, path: Path, within: Path | None = None) -> _DataSet:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        own = f"{_host()}-{os.getpid()}-{secrets.token_hex(3)}"
        return cls(path, target, f".{_hidden(target.name)}.{own}", within)

    def _temporary(self, end: str) -> Path:
        return (self.within or self.target.parent) / f"{self.start}{end}"

    @property
    def temporary(self) -> Path:
        """What is written to."""
        suffix = self.target.suffix.lower()  # GDAL writes x.shp for x.SHP
        return self._temporary(f".part{suffix if len(suffix) < _KEPT else ''}")

    @property
    def marker(self) -> Path:
        """There from when all is written until all is in its place."""
        return self._temporary(".commit")

    def aside(self, number: int) -> Path:
        """Where an old side file waits for the end; its number is its place in `side_files`."""
        return self._temporary(f".old.{number}")

    @property
    def former(self) -> Path:
        """A second name of the old file."""
        return self._temporary(".old")

    def check(self) -> None:
        """Raises SegEarthError when the file cannot be made here."""
        folder = self.target.parent
        if not folder.is_dir():
            raise SegEarthError(f"{self.path}: the folder {folder} does not exist; make it or choose another --out")
        if not os.access(folder, os.W_OK):
            raise SegEarthError(f"{self.path}: the folder {folder} is not writable; choose another --out")
        if self.target.exists() and not self.target.is_file():
            raise SegEarthError(f"{self.path}: is no regular file, which cannot be replaced; choose another name")

    def stale(self) -> list[tuple[Path, Path]]:
        """Old side files and where they wait, also those beside a link that leads to the file.

        World files that another raster of the stem has need of stay.
        """
        own = side_files(self.target)
        there = [number for number, side in enumerate(own) if os.path.lexists(side)]
        found = [(own[number], self.aside(number)) for number in there if not other_user(own[number], self.target)]
        if self.path != self.target:
            beside = [side for side in side_files(self.path) if os.path.lexists(side)]
            others = [side for side in beside if Path(os.path.realpath(side)) not in own]
            found += [(side, side.with_name(f"{self.start}.old{side.suffix}")) for side in others]
        return found

    def made(self) -> list[tuple[Path, Path]]:
        """Side files that were left beside the temporary name, and where they go."""
        pairs = zip(side_files(self.temporary), side_files(self.target), strict=True)
        return [(new, place) for new, place in pairs if new.exists() and not place.name.endswith(SQLITE)]

    def recover(self) -> None:
        """Ends what was begun: forward when the file itself was replaced, else back."""
        if not self.marker.exists():
            return
        if self.temporary.exists():
            for number, side in enumerate(side_files(self.target)):
                if self.aside(number).exists() and not os.path.lexists(side):
                    os.replace(self.aside(number), side)
        else:
            for new, place in self.made():
                os.replace(new, place)

    def leavings(self) -> list[Path]:
        """What drivers may leave of a file that was written whole, by name: no folder is listed for it."""
        return [self.temporary, *side_files(self.temporary)]

    def clean(self) -> None:
        """Removes what was written and has not found its place."""
        beside = self.temporary.parent.glob(".*.part*")
        _remove_all(left for left in beside if left.name.startswith(f"{self.start}.part"))


def _commit(sets: Sequence[_DataSet]) -> None:
    """Puts what was written and synced into its places. After an error everything is as it was, or done.

    Of each data set the old side files go first, then the file is replaced, then the new side files come: at no moment
    is a file read with side files that are not its own.
    """
    undo: list[tuple[Path, Path | None]] = []  # (what is put back, where), or (what is removed, None)
    markers = [one.marker for one in sets if one.made() or one.stale()]
    try:
        for marker in markers:
            marker.touch()
        for one in sets:
            _place(one, undo, alone=len(sets) == 1 and not markers)
    except BaseException:
        for source, place in reversed(undo):
            with suppress(OSError):
                if place is not None:
                    os.replace(source, place)
                remove(source)  # two names of one file both stay when one takes the place of the other
        _remove_all(markers)
        raise
    try:
        for folder in {one.target.parent for one in sets}:
            sync_folder(folder)
    finally:
        _remove_all([*markers, *(source for source, place in undo if place is not None)])


def _place(one: _DataSet, undo: list[tuple[Path, Path | None]], *, alone: bool) -> None:
    """Replaces one data set; `undo` grows by what brings the old one back. alone: one rename does it all."""
    if alone:
        os.replace(one.temporary, one.target)
        return
    for side, aside in one.stale():
        undo.append((aside, side))
        os.replace(side, aside)
    if not one.target.exists():
        undo.append((one.target, None))
    else:
        with suppress(OSError):  # a file system without hard links
            os.link(one.target, one.former)
            undo.append((one.former, one.target))
    new = one.made()
    os.replace(one.temporary, one.target)
    for made, place in new:
        undo.append((place, None))
        os.replace(made, place)


def _remove_all(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            remove(path)


def make_folders(folders: Iterable[Path]) -> None:
    """Make the folders that are missing. Raises SegEarthError when one cannot be made."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise SegEarthError(f"{folder}: cannot make the folder: {e.strerror}") from e
