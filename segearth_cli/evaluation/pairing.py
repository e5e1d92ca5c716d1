"""Which mask belongs to which label: two files, or the rasters of two folders by their stems."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segearth_cli.errors import UsageError

SUFFIXES = {".tif", ".tiff", ".png", ".vrt", ".img", ".jp2", ".bmp", ".gif", ".jpg", ".jpeg"}


@dataclass(frozen=True, slots=True)
class Pairing:
    """Masks and their labels, sorted by name, and the files that found no partner."""

    pairs: tuple[tuple[Path, Path], ...]
    predictions_alone: tuple[Path, ...] = ()
    labels_alone: tuple[Path, ...] = ()


def pair(predictions: str, labels: str, *, prediction_suffix: str = "", label_suffix: str = "") -> Pairing:
    """Two files as one pair, or the rasters of two folders (or quoted patterns) by their stems.

    `a.mask.tif` and `a.tif` have the stem `a`; the suffixes are taken off the stems that end in them. A folder with
    files named `*.mask.*` is read for these alone. Raises UsageError when nothing pairs or a stem comes twice.
    """
    if Path(predictions).is_file() and Path(labels).is_file():
        return Pairing(((Path(predictions), Path(labels)),))
    masks = _by_stem(_rasters(predictions, "PREDICTIONS"), prediction_suffix, "PREDICTIONS")
    truths = _by_stem(_rasters(labels, "LABELS"), label_suffix, "LABELS")
    both = sorted(masks.keys() & truths.keys())
    if not both:
        first, second = next(iter(masks)), next(iter(truths))
        raise UsageError(
            f"{predictions}, {labels}: no mask and label share a stem ('{first}' there, '{second}' here); "
            "see --prediction-suffix and --label-suffix"
        )
    return Pairing(
        tuple((masks[stem], truths[stem]) for stem in both),
        tuple(masks[stem] for stem in sorted(masks.keys() - truths.keys())),
        tuple(truths[stem] for stem in sorted(truths.keys() - masks.keys())),
    )


def _rasters(place: str, what: str) -> list[Path]:
    root = Path(place)
    if root.is_dir():
        files = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    elif glob.has_magic(place):
        files = [Path(name) for name in sorted(glob.glob(place, recursive=True)) if Path(name).is_file()]  # noqa: PTH207
    elif root.is_file():
        raise UsageError(f"{what} {place}: is a file, the other one is not; name two files or two folders")
    else:
        raise UsageError(f"{what} {place}: no such file or folder")
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise UsageError(f"{what} {place}: holds no raster ({', '.join(sorted(SUFFIXES))})")
    return [path for path in files if path.stem.endswith(".mask")] or files


def _by_stem(paths: Iterable[Path], suffix: str, what: str) -> dict[str, Path]:
    stems: dict[str, Path] = {}
    for path in paths:
        stem = path.stem.removesuffix(".mask").removesuffix(suffix)
        if stem in stems:
            raise UsageError(
                f"{what}: {stems[stem]} and {path} have the same stem '{stem}'; name one folder, or a quoted pattern "
                "such as 'Val/*/masks/*.png', that holds it once"
            )
        stems[stem] = path
    return stems
