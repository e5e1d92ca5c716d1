"""Labels read as classes: what a code, a colour or a grey value means, and which pixels carry one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError

from segearth_cli.classes import NODATA, ClassSet
from segearth_cli.console import first_of
from segearth_cli.errors import ClassesError, RasterError, UsageError
from segearth_cli.presets import COLOUR
from segearth_cli.raster import Window, environment, opened_dataset, reads_network, reason, strips

_AT_ONCE = 1 << 22  # pixels of a label, in whole rows, that are looked at together
_WHOLE = 2.0**53  # beyond it floats are no exact codes
IGNORED, UNKNOWN, UNFILLED = -1, -2, -3  # in place of a class code; the last is a label's own nodata value


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
    threshold: int | None = None
    """Grey values from this one on are class 1, those below class 0, but for ignored ones; None = values are codes."""
    other: int | None = None
    """What colours are that `mapping` lacks: a class or IGNORED; None = they are unknown."""

    def target(self, code: int, classes: int, nodata: int | None = None) -> int:
        """The class of a label code, IGNORED, UNFILLED or UNKNOWN.

        nodata: the code that the label's file says to be no data. It is so only where nothing names a class for it:
        many tools write 0 there, which is a class as often as not.
        """
        if self.threshold is not None and code not in self.ignored:
            return int(code >= self.threshold)
        if code in self.mapping:
            return self.mapping[code]
        if code in self.ignored:
            return IGNORED
        target = code + self.offset
        if 0 <= target < classes and target not in self.mapping.values():
            return target
        if self.other is not None and code >= COLOUR:
            return self.other
        return UNFILLED if code == nodata else UNKNOWN


def read_label(
    path: str, classes: ClassSet, meaning: LabelCodes
) -> tuple[NDArray[np.int16], dict[tuple[int, int], int]]:
    """Class of each pixel of a label or below 0, (H, W), and pixels by code and what it means.

    Every pixel counts, whatever masks and alpha bands say, as in the authors' converters. Raises RasterError for a
    file that is no label, ClassesError for a code that is no class.
    """
    try:
        with opened_dataset(path) as label, environment(remote=reads_network(label)):
            check_label(label)
            whole = Window(0, 0, label.height, label.width)
            codes, valid = codes_of(label, whole, grey=meaning.threshold is not None)
            return wanted_classes(codes, np.ones_like(valid), classes, meaning, nodata_code(label), path)
    except RasterioError as e:
        raise RasterError(f"{path}: cannot be read ({reason(e)})") from e


def grey_values(path: str) -> frozenset[int]:
    """The grey values that a label holds. Raises RasterError where it cannot be read."""
    try:
        with opened_dataset(path) as label, environment(remote=reads_network(label)):
            check_label(label)
            whole = Window(0, 0, label.height, label.width)
            found = [_values(codes_of(label, strip, grey=True)[0]) for strip in strips(whole, _AT_ONCE)]
            return frozenset(np.concatenate(found).tolist())
    except RasterioError as e:
        raise RasterError(f"{path}: cannot be read ({reason(e)})") from e


def _values(codes: NDArray[np.integer]) -> NDArray[np.integer]:
    """The values of an array, each once; those of 8 bits without sorting all pixels."""
    if codes.dtype != np.uint8:
        return np.unique(codes)
    return np.flatnonzero(np.bincount(codes.ravel(), minlength=256))


def codes_of(
    label: rasterio.DatasetReader, window: Window, *, grey: bool
) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Label codes and where the label has pixels; three bands are one code, COLOUR + 0xRRGGBB, or one grey value."""
    valid = unmasked(label, window)
    if grey:
        return _grey(label, window), valid
    colours = len([c for c in label.colorinterp if c != ColorInterp.alpha]) >= 3
    if not colours:
        return _whole_numbers(label.read(1, window=window.to_rasterio()), valid, label.name)
    red, green, blue = label.read((1, 2, 3), window=window.to_rasterio()).astype(np.int32)
    return COLOUR | red << 16 | green << 8 | blue, valid


def _whole_numbers(
    codes: NDArray[Any], valid: NDArray[np.bool_], label: str
) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Codes as integers and where there are any: many tools write labels as floats, NaN where there is none.

    Raises RasterError for fractions.
    """
    if codes.dtype.kind != "f":
        return codes, valid
    there = valid & np.isfinite(codes)
    whole = np.where(there, codes, NODATA)
    if (odd := (whole != np.rint(whole)) | (np.abs(whole) >= _WHOLE)).any():
        raise RasterError(f"{label}: the value {whole[odd][0]:g}; a label has whole-number codes")
    return whole.astype(np.int64), there


def _grey(label: rasterio.DatasetReader, window: Window) -> NDArray[np.integer]:
    """Grey values (H, W); of colours, also of a palette, their luma (BT.601) as OpenCV rounds it."""
    box = window.to_rasterio()
    if label.count >= 3:
        red, green, blue = label.read((1, 2, 3), window=box).astype(np.int64)
        return _luma(red, green, blue)
    codes: NDArray[np.integer] = label.read(1, window=box)
    if label.colorinterp[0] != ColorInterp.palette:
        return codes
    table = np.zeros((int(np.iinfo(codes.dtype).max) + 1, 3), np.int64)
    for code, colour in label.colormap(1).items():
        table[code] = colour[:3]
    values: NDArray[np.integer] = _luma(*table.T)[codes]
    return values


def _luma(red: NDArray[np.int64], green: NDArray[np.int64], blue: NDArray[np.int64]) -> NDArray[np.int64]:
    return (9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15


def unmasked(dataset: rasterio.DatasetReader, window: Window) -> NDArray[np.bool_]:
    """Where a raster has pixels by its mask band or alpha; a nodata value is a code like any other here.

    GDAL takes alpha for a mask in 8 and unsigned 16 bits alone; here it counts in every type: of a label that was
    brought to another grid it tells where the label ends.
    """
    box = window.to_rasterio()
    if MaskFlags.per_dataset in dataset.mask_flag_enums[0]:
        return np.asarray(dataset.read_masks(1, window=box) > 0)
    if ColorInterp.alpha in dataset.colorinterp:
        return np.asarray(dataset.read(dataset.colorinterp.index(ColorInterp.alpha) + 1, window=box) > 0)
    return np.ones((window.height, window.width), bool)


def nodata_code(label: rasterio.DatasetReader) -> int | None:
    """The code that a label's nodata value stands for, None without one that a pixel can have."""
    value = label.nodata
    if value is None or not np.isfinite(value) or value != int(value):
        return None
    code = int(value)
    return COLOUR | code << 16 | code << 8 | code if label.count >= 3 and 0 <= code < 256 else code


def wanted_classes(
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
        raise ClassesError(_unknown_line(label, unknown, classes, meaning))
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
    return f"'#{code - COLOUR:06x}'" if COLOUR <= code < 2 * COLOUR else str(code)


def code_of(text: str, option: str) -> int:
    """The label code that a text of an option names; inverse of `code_text`. Raises UsageError for no such text."""
    text = text.strip()
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return COLOUR + int(text[1:], 16)
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    raise UsageError(f"{option} {text}: need a whole number or a colour such as '#ff0000'")


def ignored_codes(given: Iterable[str | int]) -> frozenset[int]:
    """The codes that --ignore names, one or several by commas in each of its values. Raises UsageError."""
    return frozenset(code_of(text, "--ignore") for value in given for text in str(value).split(","))


def _unknown_line(label: str, codes: Sequence[int], classes: ClassSet, meaning: LabelCodes) -> str:
    shown = [code_text(code) for code in codes]
    what = f"{label}: label code{'s' if len(codes) > 1 else ''} {first_of(shown, 6)}"
    leave = f"leave {'it' if len(codes) == 1 else 'one'} out with --ignore {shown[0]}"
    taken = codes[0] + meaning.offset
    if 0 <= taken < len(classes):
        return (
            f"{what}: class {taken} ({classes.names[taken]}) is that of other codes by --map or --preset; "
            f"{leave}, or add {shown[0]}={taken} to --map"
        )
    shift = "" if codes[0] >= COLOUR else ", or with --label-offset"
    return (
        f"{what} {'is' if len(codes) == 1 else 'are'} none of the {len(classes)} classes (0-{len(classes) - 1}); "
        f"{leave}, or name its class with --map, e.g. --map {shown[0]}=0{shift}"
    )


def check_label(label: rasterio.DatasetReader) -> None:
    """Raises RasterError for a raster that holds neither codes nor colours."""
    if label.count > 4:
        raise RasterError(f"{label.name}: {label.count} bands; a label has one of codes or three of colours")
    if label.count >= 3 and label.dtypes[0] != "uint8":
        raise RasterError(f"{label.name}: colours of {label.dtypes[0]}; a label with three bands has uint8")
    if label.count == 2 and ColorInterp.alpha not in label.colorinterp:
        raise RasterError(f"{label.name}: 2 bands; a label has one of codes or three of colours (gdal_translate -b 1)")
    if label.dtypes[0].startswith("complex"):
        raise RasterError(f"{label.name}: {label.dtypes[0]} values; a label has whole-number codes")
