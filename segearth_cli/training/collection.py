"""What there is to train on: the images of folders, files and archives, without the labels that lie beside them."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from segearth_cli.console import first_of
from segearth_cli.errors import SegEarthError, TrainingError
from segearth_cli.raster import (
    SUFFIXES,
    ReadOptions,
    Scene,
    local_folder,
    open_scene,
    rasters_below,
    rasters_in_zip,
    stem,
)
from segearth_cli.texts import refuse_pipe

LABELS = re.compile(
    r"(^|[^a-z])(masks?|labels?|gts?|ground[^a-z]?truths?|annotations?|segmentations?)([^a-z]|$)", re.IGNORECASE
)  # parts of names of folders and files that hold labels


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the collection."""

    name: str
    """For the user."""
    path: str
    """For GDAL."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""


@dataclass(frozen=True, slots=True)
class Collection:
    """What was found."""

    pictures: tuple[Picture, ...]
    """The images that can be read, in a fixed order."""
    unreadable: tuple[str, ...]
    """A line for each file that cannot be read."""
    left_out: tuple[str, ...] = ()
    """A line for each kind of file that is no image to learn from."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A picture with what tells images from labels."""

    picture: Picture
    named: bool  # as labels are, itself or a folder below the one that was given
    colour: bool  # at least three bands
    palette: bool
    whole: bool  # one band of whole numbers
    own: bool  # written by segearth


def collect(names: Sequence[str], tars: Sequence[str], read: ReadOptions) -> Collection:
    """The images of folders (recursively, links followed), files, and tar and zip archives, in a fixed order.

    Left out is what segearth wrote and, where there are colour images, what looks like their labels: files and folders
    named so (`masks_png/`, `a_label.tif`), palettes, and single bands of whole numbers that have the stem of an image.
    read: of GeoTIFFs, as for predict. Raises TrainingError when no image is left.
    """
    found: list[_Found] = []
    unreadable: list[str] = []
    for name, path, inner in _candidates(names, tars, unreadable):
        try:
            scene = open_scene(path, read)
            scene.close()
            found.append(_described(Picture(name, path, scene.height, scene.width), inner, scene))
        except SegEarthError as e:
            unreadable.append(str(e).replace(path, name))
    images, left_out = _without_labels(found)
    if not images:
        first = "; ".join([*left_out, *(f"the first: {line}" for line in unreadable[:1])])
        where = ", ".join([*names, *tars])
        raise TrainingError(f"{where}: no readable images ({len(unreadable)} unreadable{first and '; ' + first})")
    return Collection(tuple(images), tuple(unreadable), tuple(left_out))


def _described(picture: Picture, inner: str, scene: Scene) -> _Found:
    """A picture with what tells images from labels. inner: its folders below the one that was given."""
    named = bool(LABELS.search(inner) or LABELS.search(stem(picture.name)))
    one = len(scene.bands) == 1
    whole = one and np.issubdtype(np.dtype(scene.dtype), np.integer)
    return _Found(picture, named, not one, scene.palette is not None, whole, scene.own)


def _without_labels(found: Sequence[_Found]) -> tuple[list[Picture], list[str]]:
    """The pictures that are images, and a line for each kind of those that are not."""
    own = [one for one in found if one.own]
    stems = {stem(one.picture.name) for one in found if one.colour and not one.named and not one.own}
    labels = [
        one
        for one in (found if stems else ())
        if not one.own and (one.named or one.palette or (one.whole and stem(one.picture.name) in stems))
    ]
    out = {id(one) for one in (*own, *labels)}
    lines = [_line(what, group) for what, group in (("written by segearth", own), ("labels", labels)) if group]
    return [one.picture for one in found if id(one) not in out], lines


def _line(what: str, group: Sequence[_Found]) -> str:
    return f"{len(group)} left out, {what}: {first_of([one.picture.name for one in group])}"


def _candidates(names: Sequence[str], tars: Sequence[str], unreadable: list[str]) -> Iterator[tuple[str, str, str]]:
    """Name, GDAL path and inner folders of every file that may be an image."""
    for name in names:
        folder = local_folder(name)
        if folder is not None:
            for path in rasters_below(folder):
                yield str(path), str(path), str(path.parent.relative_to(folder))
        elif archive := _ARCHIVES.get(Path(name).suffix.lower()):
            yield from archive(Path(name), unreadable)
        else:
            yield name, name, Path(name).parent.name
    for name in tars:
        yield from _members(Path(name).expanduser(), unreadable)


def _members(path: Path, unreadable: list[str]) -> Iterator[tuple[str, str, str]]:
    """The images of a tar archive, each as the part of the file where its bytes lie; nothing is unpacked."""
    refuse_pipe(path)
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile() and (inside := Path(member.name)).suffix.lower() in SUFFIXES:
                    where = f"/vsisubfile/{member.offset_data}_{member.size},{path}"
                    yield f"{path}:{member.name}", where, str(inside.parent)
    except (tarfile.TarError, OSError) as e:
        why = getattr(e, "strerror", None) or "not an uncompressed tar archive; decompress it first"
        unreadable.append(f"{path}: {why}")


def _zipped(path: Path, unreadable: list[str]) -> Iterator[tuple[str, str, str]]:
    """The images of a zip archive, read in place."""
    try:
        yield from ((f"{path}:{inside}", where, str(inside.parent)) for inside, where in rasters_in_zip(path))
    except (BadZipFile, OSError) as e:
        unreadable.append(f"{path}: {getattr(e, 'strerror', None) or 'not a zip archive'}")


_ARCHIVES: dict[str, Callable[[Path, list[str]], Iterator[tuple[str, str, str]]]] = {".tar": _members, ".zip": _zipped}
