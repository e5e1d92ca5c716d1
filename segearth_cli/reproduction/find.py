"""The images and labels of a set below a folder, paired, and those of the published split chosen."""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from segearth_cli import texts
from segearth_cli.console import first_of
from segearth_cli.errors import UsageError
from segearth_cli.presets import Preset
from segearth_cli.raster import SUFFIXES, rasters_below, rasters_in_zip
from segearth_cli.reproduction.layouts import Layout, layout_of

Role = Literal["image", "label"]
_CONVERTED = "img_dir"  # the folder of images that mmsegmentation's converters write
_TILE = re.compile(r"_(\d+)_(\d+)_(\d+)_(\d+)$")  # the end of a converter's tiles


@dataclass(frozen=True, slots=True)
class TilePlace:
    """Where a tile that a converter wrote lies in its scene, in pixels."""

    scene: str
    """What tells the scene: folders and name, without what tells the tile."""
    row: int
    """First row."""
    col: int
    """First column."""
    height: int
    """Rows."""
    width: int
    """Columns."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its label."""

    name: str
    """Folders and stem that both have in common."""
    image: str
    """A raster."""
    label: str
    """A raster."""
    place: TilePlace | None
    """Where it lies, for a tile by its name."""


@dataclass(frozen=True, slots=True)
class FoundSet:
    """What there is of a set."""

    pairs: tuple[Pair, ...]
    """Those that are counted, by name."""
    images_alone: tuple[str, ...]
    """Images of the split without a label."""
    labels_alone: tuple[str, ...]
    """Labels of the split without an image."""
    remarks: tuple[str, ...]
    """Lines for the user: which folders were taken, what was left out."""


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    folders: tuple[str, ...]  # below the set's folder, as they are written
    key: tuple[str, ...]  # folders that are no role's, then the stem without its end, all in small letters
    rank: int  # of several of one key, the least counts


class _Files(NamedTuple):
    """What is told of an image and its label by where they lie."""

    image: _File
    label: _File


def find_pairs(preset: Preset, folder: Path, names: Path | None = None) -> FoundSet:
    """The pairs of a set below a folder, zip archives included; names: a list of those that are counted.

    Raises UsageError, which tells the published layout, where there is none.
    """
    layout = layout_of(preset.id)
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder; {preset.name} is looked for as {layout.expected}")
    files = list(_rasters(folder))
    images, labels = _roles(files, layout)
    pairs, images_left, labels_left = _paired(images, labels)
    if not pairs:
        held = f"{len(images)} images and {len(labels)} labels that do not pair" if files else "no raster"
        raise UsageError(f"{folder}: holds {held}; {preset.name} is looked for as {layout.expected}")
    of_split, split = _of_split(pairs, layout, folder, names)
    converted = [pair for pair in of_split if any(word.casefold() == _CONVERTED for word in pair.image.folders)]
    counted = converted or of_split
    remarks = _remarks(layout, folder, split, of_split, counted, others=len(pairs) - len(of_split))
    images_alone, labels_alone = (
        tuple(sorted(file.path for file in left if _belongs(file, split.split, layout)))
        for left in (images_left, labels_left)
    )
    found = tuple(sorted((_pair(pair, layout, preset) for pair in counted), key=lambda pair: pair.name))
    return FoundSet(found, images_alone, labels_alone, tuple(f"{preset.id}: {remark}" for remark in remarks))


def _remarks(
    layout: Layout, folder: Path, split: _Split, of_split: Sequence[_Files], counted: Sequence[_Files], *, others: int
) -> Iterator[str]:
    """What the user should know of how pairs were found. others: how many are of other splits."""
    shown = [_shown(file.folders, folder) for file in counted[0]]
    yield f"{len(counted)} pairs, images as {shown[0]}, labels as {shown[1]}"
    if split.line:
        yield split.line
    wanted = split.split if isinstance(split.split, frozenset) else frozenset()
    if lacking := sorted(wanted - {_number(pair.image, layout) for pair in counted}):
        yield f"{len(lacking)} of the {len(wanted)} names of the split have no pair: {first_of(lacking)}"
    if raw := len(of_split) - len(counted):
        yield f"{raw} pairs outside {_CONVERTED} are taken for what it was made of, and left out"
    if others:
        yield f"{others} pairs of other splits are left out"


@dataclass(frozen=True, slots=True)
class _Split:
    split: str | frozenset[str] | None  # a word in folders, names that are counted, or everything
    line: str = ""


def _of_split(
    pairs: Sequence[_Files], layout: Layout, folder: Path, names: Path | None
) -> tuple[Sequence[_Files], _Split]:
    """The pairs of the published split, and how they were told."""
    listed = names or (_list_file(folder, layout.splits) if layout.listed else None)
    if names is None:
        for place, split in enumerate(layout.splits):
            inside = [pair for pair in pairs if any(_has_word(file.folders, split) for file in pair)]
            if inside:
                line = f"the published split is {layout.splits[0]}, counted is {split}" if place else ""
                return inside, _Split(split, line)
    known = _listed_names(listed) if listed else layout.names
    inside = [pair for pair in pairs if _number(pair.image, layout) in known]
    if inside and known:
        line = f"the {len(known)} names of {listed} are counted" if listed else ""
        return inside, _Split(known, line)
    if names is not None:
        raise UsageError(f"--list {names}: names none of the {len(pairs)} pairs, such as {_name(pairs[0])}")
    if any(_has_word((folder.resolve().name,), split) for split in layout.splits):
        return pairs, _Split(None)
    wanted = layout.splits[0] if layout.splits else "published"
    return pairs, _Split(None, f"nothing tells the {wanted} split, all {len(pairs)} pairs are counted")


def _belongs(file: _File, split: str | frozenset[str] | None, layout: Layout) -> bool:
    if split is None:
        return True
    if isinstance(split, str):
        return _has_word(file.folders, split)
    return _number(file, layout) in split


def _has_word(folders: Iterable[str], word: str) -> bool:
    """Whether a folder has a name, or a word of its name is it: `val` of `uavid_val`."""
    return any(folder.casefold() == word or word in re.split(r"[^a-z0-9]+", folder.casefold()) for folder in folders)


def _number(file: _File, layout: Layout) -> str:
    """What tells one image from another, of its stem without what tells a tile."""
    stem = _TILE.sub("", file.key[-1])
    found = re.fullmatch(layout.number, stem, re.IGNORECASE)
    return found[1] if found else stem


def _list_file(folder: Path, splits: Sequence[str]) -> Path | None:
    """A list of names beside a set's images: `val.txt` or one that ends so."""
    if not splits:
        return None
    lists = sorted((p for p in folder.rglob("*.txt") if p.is_file()), key=lambda p: (len(p.parts), p.name))
    return next((path for path in lists if splits[0] in re.split(r"[^a-z0-9]+", path.stem.casefold())), None)


def _listed_names(path: Path) -> frozenset[str]:
    """The names of a list, a line each, as stems are compared."""
    try:
        lines = texts.read_text(path).split()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path}: cannot be read as a list of names ({texts.reason(e)})") from e
    return frozenset(_stem(PurePosixPath(line).name).casefold() for line in lines)


def _stem(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in SUFFIXES else name


def _rasters(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(path for GDAL, folders and name below the set's folder) of every raster, also of those in zip archives."""
    for path in rasters_below(folder):
        yield str(path), path.relative_to(folder).parts
    for archive in sorted(folder.rglob("*")):
        if archive.suffix.casefold() == ".zip" and archive.is_file() and zipfile.is_zipfile(archive):
            above = (*archive.relative_to(folder).parts[:-1], archive.stem)
            yield from ((path, (*above, *inside.parts)) for inside, path in rasters_in_zip(archive))


def _roles(files: Iterable[tuple[str, tuple[str, ...]]], layout: Layout) -> tuple[list[_File], list[_File]]:
    """Images and labels; a raster that nothing tells is an image where a label has its name."""
    roles: dict[Role, list[_File]] = {"image": [], "label": []}
    unknown = []
    for path, parts in files:
        *folders, name = parts
        stem = _stem(name)
        if any(layout.is_left_out(word) for word in (*folders, stem)):
            continue
        role = _role(folders, stem, layout)
        if role is None:
            unknown.append(_file(path, folders, stem, "image", layout))
        else:
            roles[role].append(_file(path, folders, stem, role, layout))
    wanted = {label.key[-1] for label in roles["label"]}
    known = {image.key[-1] for image in roles["image"]}
    roles["image"] += [one for one in unknown if one.key[-1] in wanted - known]
    return _best(roles["image"]), _best(roles["label"])


def _role(folders: Sequence[str], stem: str, layout: Layout) -> Role | None:
    stem = _TILE.sub("", stem.casefold())
    if any(end and stem.endswith(end) for end in layout.label_ends):
        return "label"
    if any(end and stem.endswith(end) for end in layout.image_ends):
        return "image"
    if layout.always_labels and any(re.fullmatch(layout.always_labels, one, re.IGNORECASE) for one in folders):
        return "label"
    for folder in reversed(folders):
        if re.fullmatch(layout.labels, folder, re.IGNORECASE):
            return "label"
        if re.fullmatch(layout.images, folder, re.IGNORECASE):
            return "image"
    return None


def _file(path: str, folders: Sequence[str], stem: str, role: Role, layout: Layout) -> _File:
    ends = layout.image_ends if role == "image" else layout.label_ends
    small, rank = stem.casefold(), len(ends)
    for place, end in enumerate(ends):
        if small.endswith(end):
            small, rank = small.removesuffix(end), place
            break
    patterns = f"{layout.images}|{layout.labels}" + (f"|{layout.always_labels}" if layout.always_labels else "")
    plain = [one.casefold() for one in folders if not re.fullmatch(patterns, one, re.IGNORECASE)]
    converted = any(one.casefold().endswith(("_cvt", "_cvt_pre")) for one in folders)
    return _File(path, tuple(folders), (*plain, small), 2 * rank + converted)


def _best(files: Sequence[_File]) -> list[_File]:
    """One file of each key: the one of the least rank, then the first by name."""
    found: dict[tuple[str, ...], _File] = {}
    for one in sorted(files, key=lambda file: (file.rank, file.path)):
        found.setdefault(one.key, one)
    return list(found.values())


def _paired(images: Sequence[_File], labels: Sequence[_File]) -> tuple[list[_Files], list[_File], list[_File]]:
    """Pairs of one key, then of one stem where it comes once on either side; and what is left."""
    theirs = {label.key: label for label in labels}
    both = [_Files(image, theirs[image.key]) for image in images if image.key in theirs]
    taken = {pair.image.key for pair in both}
    lost = [[one for one in side if one.key not in taken] for side in (images, labels)]
    by_stem: list[dict[str, list[_File]]] = [defaultdict(list), defaultdict(list)]
    for side, found in zip(lost, by_stem, strict=True):
        for one in side:
            found[one.key[-1]].append(one)
    for stem, ours in by_stem[0].items():
        if len(ours) == len(by_stem[1].get(stem, ())) == 1:
            both.append(_Files(ours[0], by_stem[1][stem][0]))
    used = {id(one) for pair in both for one in pair}
    ours_left, theirs_left = ([one for one in side if id(one) not in used] for side in lost)
    return both, ours_left, theirs_left


def _name(pair: _Files) -> str:
    return "/".join(pair.image.key)


def _pair(files: _Files, layout: Layout, preset: Preset) -> Pair:
    name, image, label = _name(files), files.image.path, files.label.path
    found = _TILE.search(name) if preset.tile is not None else None
    if found is None:
        return Pair(name, image, label, None)
    a, b, c, d = map(int, found.groups())
    row, bottom, col, right = (a, b, c, d) if layout.rows_first else (b, d, a, c)
    if bottom <= row or right <= col:
        return Pair(name, image, label, None)
    return Pair(name, image, label, TilePlace(name[: found.start()], row, col, bottom - row, right - col))


def _shown(folders: tuple[str, ...], folder: Path) -> str:
    return "/".join((folder.name or str(folder), *folders))


def find_sets(presets: Iterable[Preset], root: Path) -> dict[str, Path]:
    """The folder of each set below a folder of sets, by preset; sets that are not there are left out.

    Raises UsageError where there is none.
    """
    if not root.is_dir():
        raise UsageError(f"--all {root}: is no folder")
    below = [path for depth in ("*", "*/*", "*/*/*") for path in sorted(root.glob(depth)) if path.is_dir()]
    found = {}
    for preset in presets:
        known = {_plain(name) for name in (preset.id, preset.name, *layout_of(preset.id).folders)}
        place = next((path for path in below if _plain(path.name) in known), None)
        if place is not None:
            found[preset.id] = place
    if not found:
        raise UsageError(f"--all {root}: holds no folder of a set, such as loveda, potsdam or WHU-Aerial")
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold().replace("ⅱ", "ii"))
