"""What a command may write, decided before it works: every output is named here, and refused while nothing is lost.

A command lists its outputs, with the flags they come from, and its inputs; `admit` tells in one line what cannot be
meant. Writing itself is in `files`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from segearth_cli.beside import STYLE, side_files
from segearth_cli.errors import SegEarthError, UsageError
from segearth_cli.files import make_folders, recover
from segearth_cli.options import Option, at_home
from segearth_cli.styles import is_own

_OWN_TEXTS = ("--summary", "--json", "--csv")  # written without GDAL
_READING = ("file", "path", "name", "set", "file|WKT")  # units of options that may name a file to read
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]+:/|/vsi[a-z0-9_]+[/?]", re.IGNORECASE)  # a Path makes s3:/b of s3://b


@dataclass(frozen=True, slots=True)
class Target:
    """A file that a command will write, with all its side files."""

    path: Path
    """As the user named it."""
    flag: str
    """The option that names it, for error lines: `--out`."""
    kept: bool = False
    """It may be there already: the command itself looks whether it is of the same run before it replaces it."""
    scene: str = ""
    """The input that it is made of, where a command has several."""


_PROMISED: ContextVar[tuple[Target, ...]] = ContextVar("promised", default=())
_READ: ContextVar[tuple[Callable[[], Iterable[Path]], ...]] = ContextVar("read", default=())


def admit(
    targets: Sequence[Target],
    inputs: Callable[[], Iterable[Path]],
    *,
    overwrite: bool,
    folders: Collection[Path] = (),
    work: Collection[Path] = (),
    dry: bool = False,
) -> None:
    """Raises UsageError when one of `targets` may not be written, SegEarthError when it cannot be; makes `folders`.

    inputs: the files and folders that the command reads, all that a data set is made of; asked for only when a target
    exists, for else none of them is an input. folders: those of outputs that may be missing. work: folders of runs.
    dry: nothing is made, nor cleared up after a process that was killed.
    """
    targets = [*targets, *_PROMISED.get()]
    for target in targets:
        if not target.path.name:
            raise UsageError(f"{target.flag} {target.path}: is a folder, need a file name")
    for path, flag in [(target.path, target.flag) for target in targets] + [(folder, "--work") for folder in work]:
        _refuse_elsewhere(path, flag)
        _refuse_unmeant(path, flag)
        _refuse_nameless(path, flag)
    for folder in work:
        if os.path.lexists(folder) and not folder.is_dir():
            raise UsageError(f"--work {folder}: is no folder; name one, or one that is not there yet")
    if not dry:
        recover(target.path for target in targets)
    read: dict[object, Path] | None = None
    for target in targets:
        there = [path for path in _members(target) if _exists(path, target.flag) and not _shared(path, target)]
        _refuse_kind(target)
        if there and read is None:
            read = _identities(path for files in (inputs, *_READ.get()) for path in files())
        for path in there:
            if (entry := _identity(path)) in (read or {}):
                raise UsageError(f"{target.flag} {path}: is read by this command ({read[entry]}); choose another name")  # type: ignore[index]
            if owner := _owner(path, target):
                raise UsageError(
                    f"{target.flag} {target.path}: {path} beside it belongs to {owner}; choose another name"
                )
        if there and not overwrite and not target.kept:
            whose = "" if there[0] == target.path else f" (beside {target.path.name})"
            raise UsageError(f"{there[0]}: exists already{whose}; replace it with --overwrite")
    _refuse_twice(targets)
    _refuse_folders({target.path.absolute().parent: target for target in targets}, folders)
    if not dry:
        make_folders(folders)


@contextmanager
def promised(target: Target, *, overwrite: bool) -> Iterator[None]:
    """Admits a file that is written when a command has ended; meanwhile it is one of those that the command asks for.

    Raises as `admit` does.
    """
    admit([target], list, overwrite=overwrite)
    token = _PROMISED.set((*_PROMISED.get(), replace(target, kept=True)))
    try:
        yield
    finally:
        _PROMISED.reset(token)


@contextmanager
def reading(files: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """Has `admit` take files for inputs within the block, beside those that it is told; asked for as its own are."""
    token = _READ.set((*_READ.get(), files))
    try:
        yield
    finally:
        _READ.reset(token)


def named_files(given: Mapping[str, Any], known: Iterable[Option]) -> Iterator[Path]:
    """The files, and folders of models, that values of options name to be read, `NAME:FILE` and `local-dir:` too.

    given: values by keyword; those of other options are left alone.
    """
    for told in known:
        if told.panel == "Outputs" or not (told.kind is Path or told.unit in _READING):
            continue
        values = given.get(told.name)
        for text in map(str, values if isinstance(values, list | tuple) else [] if values is None else [values]):
            for name in map(at_home, (text, text.partition(":")[2])):
                if os.path.isfile(name) or (told.unit == "name" and os.path.isdir(name)):  # noqa: PTH112, PTH113 - see `exists`
                    yield Path(name)


def _refuse_elsewhere(path: Path, flag: str) -> None:
    """Raises UsageError when `path` is a URL or one of GDAL's virtual file systems, which nothing is written to."""
    if _ELSEWHERE.match(str(path)):
        raise UsageError(f"{flag} {path}: is no path of this machine; write to a local folder and copy what comes out")


def _refuse_unmeant(path: Path, flag: str) -> None:
    """Raises UsageError for `-` and `~`, which mean stdout and home to people, where nothing has that name."""
    first, *rest = path.parts or ("",)
    if os.path.lexists(first):
        return
    if first == "~" or (first.startswith("~") and rest):
        raise UsageError(f"{flag} {path}: {first} is no folder here, and the shell put none in its place; write it out")
    if first == "-":
        raise UsageError(f"{flag} {path}: files are not written to stdout; name a file or a folder")


def _refuse_nameless(path: Path, flag: str) -> None:
    """Raises UsageError for a name that is no UTF-8 text, as GDAL asks; what is written without GDAL may have it."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        if flag not in _OWN_TEXTS:
            raise UsageError(f"{flag} {path}: its name is not UTF-8 text, as GDAL asks; choose another") from None


def _members(target: Target) -> list[Path]:
    return [target.path, *side_files(target.path)]


def _shared(path: Path, target: Target) -> bool:
    """Whether a side file is a style of our own, which serves all layers of its name."""
    return path != target.path and path.suffix == STYLE and is_own(path)


def _owner(side: Path, target: Target) -> Path | None:
    """The file that a side file belongs to where that is not `target`, which is not there: world files go by stems."""
    if (
        side == target.path
        or _shared(side, target)
        or side.name.startswith(target.path.name)
        or os.path.lexists(target.path)
    ):
        return None
    own = _members(target)
    beside = (path for path in sorted(side.parent.iterdir()) if path.stem == target.path.stem)
    return next((path for path in beside if path not in own and path.is_file()), None)


def _exists(path: Path, flag: str) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as e:  # a name too long for the file system, or with a zero byte
        if isinstance(e, NotADirectoryError):
            return False  # told with the folder
        raise UsageError(f"{flag} {path}: cannot be a file: {getattr(e, 'strerror', None) or e}") from e
    return True


def _refuse_kind(target: Target) -> None:
    path = target.path
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, need a file name")
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as e:  # a link that leads to itself
        raise UsageError(f"{target.flag} {path}: cannot be a file: {e.strerror}") from e
    if not path.is_file():
        raise UsageError(f"{path}: is no regular file (a device or a pipe); choose another {target.flag}")


def _identity(path: Path) -> object:
    """The same for two names of one file, there or not."""
    try:
        seen = path.stat()
        return seen.st_dev, seen.st_ino
    except OSError:
        folder, name = os.path.split(os.path.realpath(path))
        return folder, name.casefold() if _blind(Path(folder)) else name


@lru_cache(maxsize=1024)
def _blind(folder: Path) -> bool:
    """Whether names in a folder differ by more than capitals, as far as the folder's own name tells."""
    other = folder.with_name(folder.name.swapcase()) if folder.name else folder
    try:
        return other != folder and other.samefile(folder)
    except OSError:
        return False


def _identities(paths: Iterable[Path]) -> dict[object, Path]:
    return {_identity(path): path for given in paths for path in _within(given)}


def _within(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    else:
        yield path


def _refuse_twice(targets: Collection[Target]) -> None:
    taken: dict[object, Target] = {}
    for target in targets:
        for path in _members(target):
            other = taken.setdefault(_identity(path), target)
            style = path.suffix == STYLE and path not in (target.path, other.path)  # each writes a part of it
            if other is not target and not style:
                if other.scene and target.scene and other.scene != target.scene:
                    raise UsageError(
                        f"{target.scene} and {other.scene} would both write {path}; run them apart or rename one"
                    )
                flags = f"{other.flag} and {target.flag}" if other.flag != target.flag else other.flag
                raise UsageError(f"{flags}: would both write {path}; choose different names")
    for scene in {target.scene for target in targets if target.scene}:  # which may be there only once another is done
        if writer := taken.get(_identity(Path(scene))):
            raise UsageError(f"{writer.flag} {writer.path}: is read by this command ({scene}); choose another name")


def _refuse_folders(parents: dict[Path, Target], made: Collection[Path]) -> None:
    will_be = {folder.absolute() for folder in made}
    for folder, target in parents.items():
        nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if nearest != folder and folder not in will_be:
            raise UsageError(f"{target.path}: the folder {target.path.parent} does not exist; make it first")
        if not nearest.is_dir():
            raise UsageError(f"{target.flag} {target.path}: {nearest} is a file, need a folder")
        if not os.access(nearest, os.W_OK):
            raise SegEarthError(f"{target.path}: the folder {nearest} is not writable; choose another {target.flag}")
