"""Labels that people drew, features with a name or a code, brought to the pixels of a mask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize

from segearth_cli.beside import side_files
from segearth_cli.classes import NODATA, ClassSet
from segearth_cli.disk import temporary_folder
from segearth_cli.errors import ClassesError, RasterError
from segearth_cli.evaluation.codes import UNKNOWN, LabelCodes
from segearth_cli.raster import (
    BLOCK,
    SUFFIXES,
    Frame,
    Onto,
    Window,
    blocks,
    exists,
    opened_dataset,
    region_georeference,
    size_of,
    temporary_raster,
)
from segearth_cli.vector import Drawn, read_drawn

ENDINGS = frozenset({".gpkg", ".geojson", ".json", ".fgb", ".shp", ".parquet", ".kml", ".gml"})
_NAMED = ENDINGS | {".csv"}  # a table with the column WKT, as calibrate takes it; in a folder a .csv may be anything


def is_drawn(path: str) -> bool:
    """Whether labels are features: by their suffix, or in a file that cannot be opened as a raster."""
    suffix = Path(path).suffix.casefold()
    return suffix not in SUFFIXES and (suffix in _NAMED or exists(path)) and not any(size_of(path))


def drawn_class(value: Any, classes: ClassSet, meaning: LabelCodes) -> int:
    """The class that a value of a field means, IGNORED or UNKNOWN.

    A number that `meaning` maps is that class; else a value is a class by its name or one of its phrases, and last a
    number what it is in a raster.
    """
    text, number = _text(value), _number(value)
    if number not in meaning.mapping:
        for word in (str(value), text):
            if (code := classes.code_named(word)) is not None:
                return code
    return UNKNOWN if number is None else meaning.target(number, len(classes))


def _text(value: Any) -> str:
    """A value of a field as people write it."""
    return str(value).strip().removesuffix(".0")


def _number(value: Any) -> int | None:
    """The whole number that a value of a field is, None for any other."""
    return int(text) if re.fullmatch(r"-?\d{1,18}", text := _text(value)) else None


@contextmanager
def as_raster(
    label: str, mask: str, classes: ClassSet, meaning: LabelCodes, field: str, layer: str | None
) -> Iterator[tuple[str, int]]:
    """The path of class codes on the pixels of a mask, while the block runs, and how many pixels two classes claim.

    255 stands there and where no feature lies.

    A pixel is of the polygons that hold its middle, and of the points and lines on it. meaning: of numbers in the
    field. Raises RasterError where no feature lies on the mask, ClassesError, VectorError, UsageError.
    """
    file = Path(label)
    drawn = _drawn(file, field, layer, tuple(map(_state, (file, *side_files(file)))))
    targets = {value: _target(value, classes, meaning, label, field) for value in set(drawn.values) - {None}}
    codes = np.array([targets.get(value, -1) for value in drawn.values], np.int64)
    with opened_dataset(mask) as ds:
        frame = Frame(ds.height, ds.width, ds.crs, ds.transform, ds.gcps, ds.rpcs)
    kept = np.flatnonzero((codes >= 0) & np.array([one is not None for one in drawn.geometry], bool))
    placed = Onto(frame, mask, drawn.crs, label).place(drawn.geometry[kept])
    with temporary_folder() as folder:
        path = folder / f"{file.stem}.tif"
        some, claimed = _burn(path, frame, placed, codes[kept])
        if not some:
            raise RasterError(f"{mask}: does not overlap its label {label}, or no feature there names a class")
        yield str(path), claimed


def _state(path: Path) -> tuple[int, int] | None:
    """When a file was changed, and its bytes; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=1)
def _drawn(path: Path, field: str, layer: str | None, states: tuple[Any, ...]) -> Drawn:  # noqa: ARG001 - read anew if changed
    return read_drawn(path, field, layer, "labels")


def _target(value: Any, classes: ClassSet, meaning: LabelCodes, label: str, field: str) -> int:
    """The class of a value of the field, or below 0 where it is left out. Raises ClassesError where it is none."""
    found = drawn_class(value, classes, meaning)
    if found == UNKNOWN:
        number, hint = _number(value), f"one of {', '.join(classes.names)}"
        if number is not None:
            hint = f"--ignore {number}, --map {number}=0 or --label-offset"
        raise ClassesError(f"{label}: '{value}' in the field {field} is none of the classes; need {hint}")
    return found


def _burn(path: Path, frame: Frame, geometry: NDArray[Any], codes: NDArray[np.int64]) -> tuple[bool, int]:
    """Writes codes as a raster in a temporary folder; whether any pixel has one, and how many are claimed by two."""
    order = np.argsort(codes, kind="stable")
    geometry, codes = geometry[order], codes[order]
    tree, whole = shapely.STRtree(geometry), Window(0, 0, frame.height, frame.width)
    some, claimed = False, 0
    form = {"height": frame.height, "width": frame.width, "count": 1, "dtype": "uint8", "nodata": NODATA}
    form |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate"}
    with temporary_raster(path, **form, **region_georeference(frame, whole)) as ds:
        for window in blocks(whole, BLOCK, frame.width):
            box = shapely.box(window.col, window.row, window.right, window.bottom)
            there = np.sort(tree.query(box))
            low, high = (_rasterized(geometry[which], codes[which], window) for which in (there[::-1], there))
            burned = np.where(low == high, high, NODATA).astype(np.uint8)
            some |= bool((burned != NODATA).any())
            claimed += int((low != high).sum())
            ds.write(burned, 1, window=window.to_rasterio())
    return some, claimed


def _rasterized(geometry: NDArray[Any], codes: NDArray[np.int64], window: Window) -> NDArray[np.uint8]:
    """The code of the last geometry on each pixel, (H, W)."""
    shapes = [(one, code) for one, code in zip(geometry, codes.tolist(), strict=True) if not one.is_empty]
    shape = window.height, window.width
    if not shapes:
        return np.full(shape, NODATA, np.uint8)
    to_pixels = rasterio.Affine.translation(window.col, window.row)
    return np.asarray(rasterize(shapes, shape, fill=NODATA, transform=to_pixels, dtype="uint8"))
