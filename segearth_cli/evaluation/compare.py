"""A mask against its label: one grid, label codes, and the confusion in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # the public errors leave out those of PROJ
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from segearth_cli.classes import CLASSES_TAG, NODATA, ClassSet, from_tag
from segearth_cli.errors import ClassesError, RasterError
from segearth_cli.evaluation.confusion import Confusion, confusion, empty
from segearth_cli.presets import COLOUR
from segearth_cli.raster import Window, environment, open_dataset, reads_network

IGNORED, UNKNOWN, UNFILLED = -1, -2, -3  # in place of a class code; the last is a label's own nodata value
_CACHE_BYTES = 256 << 20  # a row of tiles of both rasters, so that full-width bands read each tile once


@dataclass(frozen=True, slots=True)
class LabelCodes:
    """How the codes of labels become class codes.

    The code of a pixel in a label of three bands is COLOUR + 0xRRGGBB.
    """

    mapping: Mapping[int, int] = field(default_factory=dict)
    """Label code -> class code; wins over all else."""
    ignored: frozenset[int] = frozenset({NODATA})
    """Label codes left out."""
    offset: int = 0
    """Added to every code that neither names, unless `mapping` gives the resulting class to another code."""

    def target(self, code: int, classes: int, nodata: int | None = None) -> int:
        """The class of a label code, IGNORED, UNFILLED or UNKNOWN.

        nodata: the code that the label's file says to be no data. It is so only where nothing names a class for it:
        many tools write 0 there, which is a class as often as not.
        """
        if code in self.mapping:
            return self.mapping[code]
        if code in self.ignored:
            return IGNORED
        target = code + self.offset
        if 0 <= target < classes and target not in self.mapping.values():
            return target
        return UNFILLED if code == nodata else UNKNOWN


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Settings of an evaluation."""

    codes: LabelCodes = field(default_factory=LabelCodes)
    """What label codes mean."""
    count_nodata: bool = False
    """Whether labelled pixels without data in the mask count as missed; else they are left out."""
    block_pixels: int = 1 << 20
    """Pixels held at a time."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The confusion of some pixels, and what was left out of it; tallies are added with `+`."""

    confusion: Confusion
    """Of all pixels that count."""
    nodata: int = 0
    """Labelled pixels without data in the mask."""
    labels: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """Pixels by label code and what it means: a class, IGNORED or UNFILLED."""
    outside: int = 0
    """Pixels of the mask that no pixel of the label lies on, or one that is masked or transparent."""
    kept: frozenset[tuple[str, int, int]] = frozenset()
    """("label" or "mask", code, class) of nodata values that count, as the class list or a map names them."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.confusion + other.confusion,
            self.nodata + other.nodata,
            dict(Counter(self.labels) + Counter(other.labels)),
            self.outside + other.outside,
            self.kept | other.kept,
        )

    @property
    def codes(self) -> frozenset[int]:
        """The label codes seen, those left out included."""
        return frozenset(code for code, _ in self.labels)

    @property
    def ignored(self) -> int:
        """Pixels without a label: left out by their code, or outside."""
        return self.outside + sum(pixels for (_, target), pixels in self.labels.items() if target < 0)


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
            mask = stack.enter_context(open_dataset(prediction))
            truth = stack.enter_context(open_dataset(label))
            stack.enter_context(environment(remote=reads_network(mask) or reads_network(truth)))
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES))
            targets = _mask_targets(mask, classes)
            _check_label(truth)
            aligned, nodata = _aligned(mask, truth, stack), _nodata_code(truth)
            if (own := _nodata_code(mask)) is not None and own in range(256) and 0 <= targets[own] < len(classes):
                total += Tally(empty(len(classes)), kept=frozenset({("mask", own, int(targets[own]))}))
            for window in _bands(mask, options.block_pixels):
                codes, valid = _codes(aligned, window)
                wanted, seen = _wanted(codes, valid, classes, options.codes, nodata, label)
                found = _found(mask, window, targets, len(classes))
                outside = int(valid.size - np.count_nonzero(valid))
                labelled |= any(code != nodata or target >= 0 for code, target in seen)
                kept = frozenset(("label", code, target) for code, target in seen if code == nodata and target >= 0)
                total += _tally(wanted, found, len(classes), options)
                total += Tally(empty(len(classes)), labels=seen, outside=outside, kept=kept)
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
    nodata = int(mask.nodata) if mask.nodata in range(256) else NODATA
    if targets[nodata] == UNKNOWN:  # the class list wins over the file's nodata, as for labels
        targets[nodata] = IGNORED
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
            src_nodata=None,  # its code is looked at like all others
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
    """Label codes and where the label has pixels; three bands are one code, COLOUR + 0xRRGGBB."""
    valid = _unmasked(label, window)
    colours = len([c for c in label.colorinterp if c != ColorInterp.alpha]) >= 3
    if not colours:
        return label.read(1, window=window.to_rasterio()), valid
    red, green, blue = label.read((1, 2, 3), window=window.to_rasterio()).astype(np.int32)
    return COLOUR | red << 16 | green << 8 | blue, valid


def _unmasked(dataset: rasterio.DatasetReader, window: Window) -> NDArray[np.bool_]:
    """Where a raster has pixels by its mask band or alpha; a nodata value is a code like any other here."""
    if MaskFlags.per_dataset not in dataset.mask_flag_enums[0]:
        return np.ones((window.height, window.width), bool)
    return np.asarray(dataset.read_masks(1, window=window.to_rasterio()) > 0)


def _nodata_code(label: rasterio.DatasetReader) -> int | None:
    """The code that a label's nodata value stands for, None without one that a pixel can have."""
    value = label.nodata
    if value is None or not np.isfinite(value) or value != int(value):
        return None
    code = int(value)
    return COLOUR | code << 16 | code << 8 | code if label.count >= 3 and 0 <= code < 256 else code


def _wanted(
    codes: NDArray[np.integer],
    valid: NDArray[np.bool_],
    classes: ClassSet,
    meaning: LabelCodes,
    nodata: int | None,
    label: str,
) -> tuple[NDArray[np.int16], dict[tuple[int, int], int]]:
    """Class of each label pixel or below 0, and pixels by code and what it means."""
    if codes.dtype == np.uint8:
        every = np.bincount(codes[valid], minlength=256)
        values = np.flatnonzero(every)
        pixels = every[values]
    else:
        values, pixels = np.unique(codes[valid], return_counts=True)
    targets = np.array([meaning.target(int(value), len(classes), nodata) for value in values], np.int16)
    if unknown := [int(value) for value in values[targets == UNKNOWN]]:
        raise ClassesError(_unknown_line(label, unknown, classes))
    if codes.dtype == np.uint8:
        table = np.full(256, IGNORED, np.int16)
        table[values] = targets
        wanted = table[codes]
    else:
        places = np.searchsorted(values, codes).clip(max=max(len(values) - 1, 0))
        wanted = targets[places] if len(values) else np.full(codes.shape, IGNORED, np.int16)
    wanted[~valid] = IGNORED
    seen = zip(map(int, values), map(int, targets), strict=True)
    return wanted, dict(zip(seen, map(int, pixels), strict=True))


def code_text(code: int) -> str:
    """A label code as the options take it: a number, or a colour in quotes.

    >>> code_text(7), code_text(COLOUR | 0xFF00FF)
    ('7', "'#ff00ff'")
    """
    return f"'#{code - COLOUR:06x}'" if code >= COLOUR else str(code)


def _unknown_line(label: str, codes: Sequence[int], classes: ClassSet) -> str:
    shown = [code_text(code) for code in codes[:6]]
    more = f" and {len(codes) - 6} more" if len(codes) > 6 else ""
    return (
        f"{label}: label code {', '.join(shown)}{more} is none of the {len(classes)} classes "
        f"(0-{len(classes) - 1}); leave it out with --ignore {shown[0]}, "
        f"or name its class with --map, e.g. --map {shown[0]}=0, or with --label-offset"
    )


def _found(mask: rasterio.DatasetReader, window: Window, targets: NDArray[np.int16], classes: int) -> NDArray[np.int16]:
    """Class of each mask pixel, K for none of the classes, IGNORED for nodata."""
    codes = mask.read(1, window=window.to_rasterio())
    found = np.where(_unmasked(mask, window), targets[codes], np.int16(IGNORED))
    if (unknown := found == UNKNOWN).any():
        raise ClassesError(
            f"{mask.name}: mask code {int(codes[unknown].max())} is none of the {classes} classes "
            f"(0-{classes - 1}); give the class list that the mask was made with"
        )
    return found


def _tally(wanted: NDArray[np.int16], found: NDArray[np.int16], classes: int, options: EvaluateOptions) -> Tally:
    labelled = wanted >= 0
    without = labelled & (found == IGNORED)
    if options.count_nodata:
        found = np.where(found == IGNORED, classes, found)
        counted = labelled
    else:
        counted = labelled & ~without
    return Tally(confusion(wanted[counted], found[counted], classes), int(without.sum()))
