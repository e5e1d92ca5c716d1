"""A mask against its label: one grid, label codes, and the confusion in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # the public errors leave out those of PROJ
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from segearth_cli.classes import CLASSES_TAG, NODATA, ClassSet, from_tag
from segearth_cli.errors import ClassesError, RasterError
from segearth_cli.evaluation.confusion import Confusion, confusion, empty
from segearth_cli.presets import COLOUR
from segearth_cli.raster import Window, open_dataset

IGNORED, UNKNOWN = -1, -2  # in place of a class code
_CACHE_BYTES = 256 << 20  # a row of tiles of both rasters, so that full-width bands read each tile once


@dataclass(frozen=True, slots=True)
class LabelCodes:
    """How the codes of labels become class codes.

    mapping: label code -> class code. ignored: label codes left out; `mapping` wins. offset: added to every code
    that neither names, unless its result is a class that `mapping` already gives to another code. The code of a
    pixel in a label of three bands is COLOUR + 0xRRGGBB.
    """

    mapping: Mapping[int, int] = field(default_factory=dict)
    ignored: frozenset[int] = frozenset({NODATA})
    offset: int = 0

    def target(self, code: int, classes: int) -> int:
        """The class of a label code, IGNORED or UNKNOWN."""
        if code in self.mapping:
            return self.mapping[code]
        if code in self.ignored:
            return IGNORED
        target = code + self.offset
        return target if 0 <= target < classes and target not in self.mapping.values() else UNKNOWN


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Settings of an evaluation.

    codes: what label codes mean. count_nodata: whether labelled pixels without data in the mask count as missed;
    else they are left out. block_pixels: pixels held at a time.
    """

    codes: LabelCodes = field(default_factory=LabelCodes)
    count_nodata: bool = False
    block_pixels: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Tally:
    """The confusion of some pixels, and what was left out of it; tallies are added with `+`.

    ignored: pixels without a label (ignored codes, nodata of the label, outside of it). nodata: labelled pixels
    without data in the mask. codes: the label codes seen, ignored ones included.
    """

    confusion: Confusion
    ignored: int = 0
    nodata: int = 0
    codes: frozenset[int] = frozenset()

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.confusion + other.confusion,
            self.ignored + other.ignored,
            self.nodata + other.nodata,
            self.codes | other.codes,
        )


def height(path: str) -> int:
    """Rows of a raster, 0 when it cannot be opened."""
    try:
        with open_dataset(path) as dataset:
            return int(dataset.height)
    except RasterError:
        return 0


def compare(
    prediction: str,
    label: str,
    classes: ClassSet,
    options: EvaluateOptions,
    advance: Callable[[int], None] = lambda _: None,
) -> Tally:
    """The tally of one mask against its label, on the mask's grid; `advance` is called with rows just done.

    A label on another grid or CRS is warped to the mask's, nearest neighbour; without georeferencing sizes must be
    equal. Raises RasterError for files that cannot be compared, ClassesError for codes that are no class.
    """
    total = Tally(empty(len(classes)))
    labelled = False
    try:
        with ExitStack() as stack:
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES))
            mask = stack.enter_context(open_dataset(prediction))
            truth = stack.enter_context(open_dataset(label))
            targets = _mask_targets(mask, classes)
            _check_label(truth)
            aligned = _aligned(mask, truth, stack)
            for window in _bands(mask, options.block_pixels):
                codes, valid = _codes(aligned, window)
                labelled |= bool(valid.any())
                wanted, seen = _wanted(codes, valid, classes, options.codes, label)
                found = _found(mask.read(1, window=window.to_rasterio()), targets, prediction, len(classes))
                total += _tally(wanted, found, len(classes), options) + Tally(empty(len(classes)), codes=seen)
                advance(window.height)
    except RasterioError as e:
        raise RasterError(f"{prediction}, {label}: cannot be read or brought to one grid ({e})") from e
    if not labelled:
        raise RasterError(f"{prediction}: does not overlap its label {label}, or the label holds no data there")
    return total


def _mask_targets(mask: rasterio.DatasetReader, classes: ClassSet) -> NDArray[np.int16]:
    """(256,) class of each code of a mask: K for a background the class list lacks, IGNORED for nodata."""
    if mask.count != 1 or mask.dtypes[0] != "uint8":
        raise RasterError(f"{mask.name}: {mask.count} bands of {mask.dtypes[0]}; a mask has one of uint8 codes")
    targets = np.full(256, UNKNOWN, np.int16)
    tag = mask.tags().get(CLASSES_TAG)
    if tag is None:
        targets[: len(classes)] = np.arange(len(classes))
    else:
        own = from_tag(tag)
        code_of = {name.casefold(): code for code, name in enumerate(classes.names)}
        extra = [
            name for code, name in enumerate(own.names) if name.casefold() not in code_of and code != own.background
        ]
        if extra:
            raise ClassesError(
                f"{mask.name}: its class '{extra[0]}' is not in the class list ({', '.join(classes.names)}); "
                "give the list it was made with by --classes-file"
            )
        targets[: len(own)] = [code_of.get(name.casefold(), len(classes)) for name in own.names]
    targets[int(mask.nodata) if mask.nodata in range(256) else NODATA] = IGNORED
    return targets


def _check_label(label: rasterio.DatasetReader) -> None:
    if label.count > 4:
        raise RasterError(f"{label.name}: {label.count} bands; a label has one of codes or three of colours")
    if label.count >= 3 and label.dtypes[0] != "uint8":
        raise RasterError(f"{label.name}: colours of {label.dtypes[0]}; a label with three bands has uint8")
    if label.count < 3 and not np.issubdtype(label.dtypes[0], np.integer):
        raise RasterError(f"{label.name}: {label.dtypes[0]} values; a label has whole-number codes")


def _aligned(mask: rasterio.DatasetReader, label: rasterio.DatasetReader, stack: ExitStack) -> rasterio.DatasetReader:
    """The label on the mask's grid."""
    if mask.crs is None or label.crs is None:
        if mask.shape != label.shape:
            lacking = "the mask" if mask.crs is None else "the label"
            raise RasterError(
                f"{label.name}: {label.width} x {label.height} px, the mask {mask.width} x {mask.height}, and "
                f"{lacking} has no CRS to tell where they meet; resample one, or add its CRS (gdal_edit.py -a_srs)"
            )
        return label
    if mask.crs == label.crs and mask.shape == label.shape and _same_corners(mask, label):
        return label
    return stack.enter_context(_warped(mask, label))


def _warped(mask: rasterio.DatasetReader, label: rasterio.DatasetReader) -> WarpedVRT:
    try:
        return WarpedVRT(
            label,
            crs=mask.crs,
            transform=mask.transform,
            width=mask.width,
            height=mask.height,
            resampling=Resampling.nearest,
            add_alpha=ColorInterp.alpha not in label.colorinterp,
        )
    except CPLE_BaseError as e:
        raise RasterError(
            f"{label.name}: no way from its CRS to that of {mask.name}; give it the right one (gdal_edit.py -a_srs)"
        ) from e


def _same_corners(mask: rasterio.DatasetReader, label: rasterio.DatasetReader) -> bool:
    """Whether the grids agree within a hundredth of a pixel."""
    corners = np.array([[0, mask.width, 0], [0, 0, mask.height], [1, 1, 1]])  # a column each: x, y, 1
    ours, theirs = (np.reshape(dataset.transform, (3, 3)) for dataset in (mask, label))
    return bool(np.allclose(np.linalg.solve(ours, theirs @ corners), corners, rtol=0, atol=0.01))


def _bands(mask: rasterio.DatasetReader, pixels: int) -> Iterator[Window]:
    """Full-width windows of at most `pixels` pixels (one row at least): the reading order of every format."""
    rows = max(1, pixels // mask.width)
    for row in range(0, mask.height, rows):
        yield Window(row, 0, min(rows, mask.height - row), mask.width)


def _codes(label: rasterio.DatasetReader, window: Window) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Label codes and where they are valid; three bands are one code, COLOUR + 0xRRGGBB."""
    valid = label.read_masks(1, window=window.to_rasterio()) > 0
    colours = len([c for c in label.colorinterp if c != ColorInterp.alpha]) >= 3
    if not colours:
        return label.read(1, window=window.to_rasterio()), valid
    red, green, blue = label.read((1, 2, 3), window=window.to_rasterio()).astype(np.int32)
    return COLOUR | red << 16 | green << 8 | blue, valid


def _wanted(
    codes: NDArray[np.integer], valid: NDArray[np.bool_], classes: ClassSet, meaning: LabelCodes, label: str
) -> tuple[NDArray[np.int16], frozenset[int]]:
    """Class of each label pixel or IGNORED, and the codes seen."""
    if codes.dtype == np.uint8:
        values = np.flatnonzero(np.bincount(codes[valid], minlength=256))
        targets = np.full(256, IGNORED, np.int16)
        targets[values] = [meaning.target(int(value), len(classes)) for value in values]
        wanted = targets[codes]
    else:
        values, inverse = np.unique(codes, return_inverse=True)
        targets = np.array([meaning.target(int(value), len(classes)) for value in values], np.int16)
        wanted = targets[inverse.reshape(codes.shape)]
    wanted[~valid] = IGNORED
    if (unknown := wanted == UNKNOWN).any():
        raise ClassesError(_unknown_line(label, np.unique(codes[unknown]), classes))
    return wanted, frozenset(map(int, values))


def _unknown_line(label: str, codes: Sequence[int] | NDArray[np.integer], classes: ClassSet) -> str:
    shown = [f"'#{code - COLOUR:06x}'" if code >= COLOUR else str(code) for code in map(int, codes[:6])]
    more = f" and {len(codes) - 6} more" if len(codes) > 6 else ""
    return (
        f"{label}: label code {', '.join(shown)}{more} is none of the {len(classes)} classes "
        f"(0-{len(classes) - 1}); leave it out with --ignore {shown[0]}, "
        f"or name its class with --map, e.g. --map {shown[0]}=0, or with --label-offset"
    )


def _found(codes: NDArray[np.uint8], targets: NDArray[np.int16], prediction: str, classes: int) -> NDArray[np.int16]:
    """Class of each mask pixel, K for none of the classes, IGNORED for nodata."""
    found = targets[codes]
    if (unknown := found == UNKNOWN).any():
        raise ClassesError(
            f"{prediction}: mask code {int(codes[unknown].max())} is none of the {classes} classes "
            f"(0-{classes - 1}); give the class list that the mask was made with"
        )
    return found


def _tally(wanted: NDArray[np.int16], found: NDArray[np.int16], classes: int, options: EvaluateOptions) -> Tally:
    labelled = wanted != IGNORED
    without = labelled & (found == IGNORED)
    if options.count_nodata:
        found = np.where(found == IGNORED, classes, found)
        counted = labelled
    else:
        counted = labelled & ~without
    return Tally(confusion(wanted[counted], found[counted], classes), int((~labelled).sum()), int(without.sum()))
