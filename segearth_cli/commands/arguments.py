"""Inputs as they are named on a command line: one reading for every command."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from segearth_cli import console
from segearth_cli.beside import is_side_file
from segearth_cli.errors import RasterError, UsageError
from segearth_cli.options import at_home

INPUTS = "files, folders, quoted patterns, URLs, /vsi paths; - reads them from stdin, one a line"  # for help

Folder = Callable[[Path], list[str]]  # what a folder stands for


def inputs(arguments: Iterable[str], folder: Folder) -> list[str]:
    """The names that arguments stand for, each once, in the order given.

    `-` is one name a line of stdin, taken as it is; a pattern is expanded here (`**` too) unless a file has that very
    name; `~` and `file://` become plain paths; URLs, /vsi paths and subdatasets pass untouched. Raises UsageError when
    there are none, or a pattern finds nothing.
    """
    names: dict[str, None] = {}
    for argument in arguments:
        for name in _lines() if argument == "-" else [argument]:
            names |= dict.fromkeys(_named(name, folder, pattern=argument != "-"))
    if not names:
        raise UsageError("no input: name at least one file, or pass - and send one path a line on stdin")
    return list(names)


def named_themselves(names: Iterable[str], arguments: Iterable[str]) -> bool:
    """Whether inputs are those that were named, none found in a folder, by a pattern or in a list."""
    return set(map(Path, names)) == {Path(plain(argument)) for argument in arguments}


def rasters_in(folder: Path) -> list[str]:
    """The rasters in a folder; the folder itself where it holds none, as some of GDAL's formats are folders."""
    from segearth_cli.raster import rasters_below

    return [str(path) for path in rasters_below(folder)] or [str(folder)]


def masks_in(folder: Path) -> list[str]:
    """The masks in a folder: those named `*.mask.*` where there are any, else all rasters; a mask in parts is one."""
    from segearth_cli.jobs import is_in_parts

    if is_in_parts(folder):
        return [str(folder)]
    from segearth_cli.raster import SUFFIXES, rasters_below

    found = [str(path) for path in rasters_below(folder)]
    if not found:
        raise UsageError(f"{folder}: holds no raster ({', '.join(sorted(SUFFIXES))})")
    return [name for name in found if Path(name).stem.endswith(".mask")] or [n for n in found if not _is_picture(n)]


def _is_picture(name: str) -> bool:
    """Whether a file is a preview of ours, which lies beside its mask."""
    from segearth_cli.raster import is_result

    return name.casefold().endswith(".preview.png") and is_result(name)


def itself(folder: Path) -> list[str]:
    """The folder, for commands that read folders in their own way."""
    return [str(folder)]


def without_own(names: list[str]) -> list[str]:
    """The names that are no masks, confidences or scores of segearth's own; those left out are told in one line.

    Raises RasterError when nothing is left.
    """
    from segearth_cli.raster import NO_SCENE, is_result

    own = [name for name in names if is_result(name)]
    if not own:
        return names
    if len(own) == len(names):
        raise RasterError(f"{console.first_of(own, 1)}: {NO_SCENE}")
    console.note(f"left out, written by segearth itself: {console.first_of(own)}")
    left_out = set(own)
    return [name for name in names if name not in left_out]


def _named(name: str, folder: Folder, *, pattern: bool) -> Iterator[str]:
    from segearth_cli.raster import exists, local_folder, local_path

    if not name.strip():
        raise UsageError("an input has no name; look for an empty variable or a stray '' on the command line")
    found = [name := plain(name)]
    if pattern and glob.has_magic(name) and local_path(name) is not None and not exists(name):
        found = [match for match in sorted(glob.glob(name, recursive=True)) if not is_side_file(match)]  # noqa: PTH207
        if not found:
            raise UsageError(f"{name}: no file matches this pattern")
    for one in found:
        place = local_folder(one)
        yield from [one] if place is None else folder(place)


def plain(name: str) -> str:
    """A name without `file://` and `~`, and archives as GDAL names them."""
    for kind in ("zip", "tar"):
        if name.startswith(f"{kind}://"):
            return f"/vsi{kind}/" + name.removeprefix(f"{kind}://").replace("!", "/", 1)
    if name.startswith("file://"):
        path = urlsplit(name).path if "?" not in name and "#" not in name else name.removeprefix("file://")
        return path if os.path.exists(path) else unquote(path, errors="surrogateescape")  # noqa: PTH110
    return at_home(name)


def _lines() -> Iterator[str]:
    """The lines of stdin that are not blank; names of files need not be UTF-8."""
    raw = getattr(sys.stdin, "buffer", None)
    lines = sys.stdin if raw is None else (os.fsdecode(line) for line in raw)
    return (line.strip() for line in lines if line.strip())
