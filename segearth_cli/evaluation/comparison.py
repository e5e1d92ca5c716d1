"""A mask against its label: one grid, label codes, and the confusion in bounded memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # the public errors leave out those of PROJ
from rasterio.errors import RasterioError

from segearth_cli.classes import NODATA, ClassSet
from segearth_cli.errors import ClassesError, RasterError
from segearth_cli.evaluation.codes import (
    IGNORED,
    UNKNOWN,
    LabelCodes,
    check_label,
    codes_of,
    nodata_code,
    unmasked,
    wanted_classes,
)
from segearth_cli.evaluation.confusion import Confusion, confusion, empty
from segearth_cli.evaluation.drawn_labels import as_raster, is_drawn
from segearth_cli.evaluation.labels import fitting, label_codes
from segearth_cli.evaluation.one_grid import to_grid
from segearth_cli.evaluation.options import LabelOptions
from segearth_cli.presets import Preset
from segearth_cli.raster import (
    Patient,
    Window,
    check_still,
    environment,
    opened_dataset,
    reason,
    starts,
    strips,
    tagged_classes,
    take_seal,
)

_CACHE = 256 << 20  # a row of tiles of both rasters, so that full-width bands read each tile once


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles that a set is scored by: each counts in full, overlaps more than once."""

    tile: tuple[int, int]
    """Rows and columns, in pixels."""
    stride: tuple[int, int]
    """Rows and columns from one tile to the next."""

    def times(self, height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many rows of tiles hold each row, (height,), and columns of tiles each column, (width,)."""
        rows, cols = (
            _covered(length, tile, stride)
            for length, tile, stride in zip((height, width), self.tile, self.stride, strict=True)
        )
        return rows, cols


def _covered(length: int, tile: int, stride: int) -> NDArray[np.int64]:
    count = np.zeros(length, np.int64)
    for start in starts(length, tile, stride):
        count[start : start + tile] += 1
    return count


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Settings of an evaluation."""

    codes: LabelCodes = dataclasses.field(default_factory=LabelCodes)
    """What label codes mean."""
    count_nodata: bool = False
    """Whether labelled pixels without data in the mask count as missed; else they are left out."""
    block_pixels: int = 1 << 20
    """Pixels held at a time."""
    tilings: Mapping[str, Tiling] = dataclasses.field(default_factory=dict)
    """Tiles that everything is scored by too, by what such a way of scoring is called."""
    field: str = "class"
    """Which field of labels that are features names the class, or holds its code."""
    layer: str | None = None
    """Which layer of theirs; None = the only one."""
    hint: str = ""
    """What else may mend a code that is no class; empty = nothing."""

    @classmethod
    def of(cls, setting: Preset | None, asked: LabelOptions, classes: int, labels: Iterable[str]) -> EvaluateOptions:
        """The settings for masks of so many classes and their labels, of which some may be read (`fitting`).

        setting: a published one, by which labels are coded and scored tile by tile. Raises UsageError, RasterError.
        """
        sides = {} if setting is None else setting.tilings()
        hint = ""
        if setting is not None and setting.label_codes and asked.label_offset is None:
            hint = f"codes are read as published (--preset {setting.id}); --label-offset 0 reads class codes"
        return cls(
            fitting(label_codes(setting, asked, classes), labels),
            asked.count_nodata,
            tilings={name: Tiling(tile[::-1], step[::-1]) for name, (tile, step) in sides.items()},
            field=asked.field,
            layer=asked.layer,
            hint=hint,
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """The confusion of some pixels, and what was left out of it; tallies are added with `+`."""

    confusion: Confusion
    """Of all pixels that count."""
    nodata: int = 0
    """Labelled pixels without data in the mask."""
    labels: Mapping[tuple[int, int], int] = dataclasses.field(default_factory=dict)
    """Pixels by label code and what it means: a class, IGNORED or UNFILLED."""
    outside: int = 0
    """Pixels of the mask that nothing of the label lies on, or a pixel that is masked."""
    claimed: int = 0
    """Pixels of the mask that features of two classes lie on."""
    kept: frozenset[tuple[str, int, int]] = frozenset()
    """("label" or "mask", code, class) of nodata values that count, as the class list or a map names them."""
    tiled: tuple[Confusion, ...] = ()
    """Of all pixels that count, each as often as tiles hold it, for each of `tilings` in their order."""

    def __add__(self, other: Tally) -> Tally:
        tiled = [a + b for a, b in zip(self.tiled, other.tiled, strict=True)] if self.tiled and other.tiled else ()
        return Tally(
            self.confusion + other.confusion,
            self.nodata + other.nodata,
            dict(Counter(self.labels) + Counter(other.labels)),
            self.outside + other.outside,
            self.claimed + other.claimed,
            self.kept | other.kept,
            tuple(tiled) or self.tiled or other.tiled,
        )

    @property
    def codes(self) -> frozenset[int]:
        """The label codes seen, those left out included."""
        return frozenset(code for code, _ in self.labels)

    @property
    def ignored(self) -> int:
        """Pixels without a label: left out by their code, claimed by two classes, or outside."""
        return self.outside + self.claimed + sum(pixels for (_, target), pixels in self.labels.items() if target < 0)


def compare(
    prediction: str,
    label: str,
    classes: ClassSet,
    options: EvaluateOptions,
    advance: Callable[[int], None] = lambda _: None,
) -> Tally:
    """The tally of one mask against its label, on the mask's grid; `advance` is called with rows just done.

    A label of features is drawn on the mask's pixels; one on another grid or CRS is warped to them, nearest neighbour;
    without georeferencing sizes must be equal. Raises RasterError for files that cannot be compared, ClassesError for
    codes that are no class.
    """
    try:
        return _compare(prediction, label, classes, options, advance)
    except ClassesError as e:
        if not options.hint:
            raise
        raise ClassesError(f"{e}; {options.hint}") from e


def _compare(
    prediction: str, label: str, classes: ClassSet, options: EvaluateOptions, advance: Callable[[int], None]
) -> Tally:
    if is_drawn(label):
        with as_raster(label, prediction, classes, options.codes, options.field, options.layer) as drawn:
            raster, claimed = drawn
            found = _compare_rasters(prediction, raster, classes, replace(options, codes=LabelCodes()), advance)
        bare = (NODATA, IGNORED)
        labels = {key: pixels for key, pixels in found.labels.items() if key != bare}
        outside = found.outside + found.labels.get(bare, 0) - claimed
        return replace(found, labels=labels, outside=outside, claimed=claimed)
    return _compare_rasters(prediction, label, classes, options, advance)


def _compare_rasters(
    prediction: str, label: str, classes: ClassSet, options: EvaluateOptions, advance: Callable[[int], None]
) -> Tally:
    total = Tally(empty(len(classes)))
    sealed = {path: take_seal(path) for path in (prediction, label)}
    grey = options.codes.threshold is not None
    try:
        with opened_dataset(prediction) as mask, opened_dataset(label) as truth:
            targets, through, nodata = _mask_targets(mask, classes), to_grid(mask, truth), nodata_code(truth)
            check_label(truth)
            windows = list(strips(Window(0, 0, mask.height, mask.width), options.block_pixels))
            own = nodata_code(mask)
            times = [tiling.times(mask.height, mask.width) for tiling in options.tilings.values()]
        if own is not None and own in range(256) and 0 <= targets[own] < len(classes):
            total += Tally(empty(len(classes)), kept=frozenset({("mask", own, int(targets[own]))}))
        with closing(Patient(prediction)) as masks, closing(Patient(label, through)) as labels:
            for window in windows:
                found = _found(*masks.ask(partial(_masked, window=window)), targets, len(classes), prediction)
                codes, valid = labels.ask(partial(_cached, window=window, grey=grey))
                wanted, seen = wanted_classes(codes, valid, classes, options.codes, nodata, label)
                outside = int(valid.size - np.count_nonzero(valid))
                kept = frozenset(("label", code, target) for code, target in seen if code == nodata and target >= 0)
                often = [np.outer(rows[window.row : window.bottom], cols) for rows, cols in times]
                total += _tally(wanted, found, len(classes), options, often)
                total += Tally(empty(len(classes)), labels=seen, outside=outside, kept=kept)
                advance(window.height)
    except (RasterioError, CPLE_BaseError) as e:
        raise RasterError(f"{prediction}, {label}: cannot be read or brought to one grid ({reason(e)})") from e
    if not any(code != nodata or target >= 0 for code, target in total.labels):
        raise RasterError(f"{prediction}: does not overlap its label {label}, or the label holds no data there")
    for path, seal in sealed.items():
        check_still(path, seal)
    return total


def _mask_targets(mask: rasterio.DatasetReader, classes: ClassSet) -> NDArray[np.int16]:
    """(256,) class of each code of a mask, by the names it carries; K for a background that the list lacks.

    IGNORED for nodata. Raises ClassesError for another class that the list has neither as a name nor as a synonym.
    """
    if mask.count != 1 or mask.dtypes[0] != "uint8":
        raise RasterError(f"{mask.name}: {mask.count} bands of {mask.dtypes[0]}; a mask has one of uint8 codes")
    targets = np.full(256, UNKNOWN, np.int16)
    own = tagged_classes(mask.name, mask.tags())
    if own is None:
        targets[: len(classes)] = np.arange(len(classes))
    else:
        meant = [classes.code_named(name) for name in own.names]
        extra = [own.names[code] for code, target in enumerate(meant) if target is None and code != own.background]
        if extra:
            raise ClassesError(
                f"{mask.name}: its class '{extra[0]}' is not in the class list ({', '.join(classes.names)}), nor a "
                "synonym there; give the list it was made with by --classes-file"
            )
        targets[: len(own)] = [len(classes) if target is None else target for target in meant]
    nodata = int(mask.nodata) if mask.nodata in range(256) else NODATA
    if targets[nodata] == UNKNOWN:  # the class list wins over the file's nodata, as for labels
        targets[nodata] = IGNORED
    return targets


def _cached(label: rasterio.DatasetReader, window: Window, *, grey: bool) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    with environment(label.name, cache=_CACHE):
        return codes_of(label, window, grey=grey)


def _masked(mask: rasterio.DatasetReader, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Codes of a mask, and where its mask band has data."""
    with environment(mask.name, cache=_CACHE):
        return mask.read(1, window=window.to_rasterio()), unmasked(mask, window)


def _found(
    codes: NDArray[np.uint8], present: NDArray[np.bool_], targets: NDArray[np.int16], classes: int, mask: str
) -> NDArray[np.int16]:
    """Class of each mask pixel, K for none of the classes, IGNORED for nodata."""
    found = np.where(present, targets[codes], np.int16(IGNORED))
    if (unknown := found == UNKNOWN).any():
        raise ClassesError(
            f"{mask}: mask code {int(codes[unknown].max())} is none of the {classes} classes "
            f"(0-{classes - 1}); give the class list that the mask was made with"
        )
    return found


def _tally(
    wanted: NDArray[np.int16],
    found: NDArray[np.int16],
    classes: int,
    options: EvaluateOptions,
    often: Sequence[NDArray[np.int64]] = (),
) -> Tally:
    """The tally of a window; often: how many tiles hold each pixel, for each tiling."""
    labelled = wanted >= 0
    without = labelled & (found == IGNORED)
    if options.count_nodata:
        found = np.where(found == IGNORED, classes, found)
        counted = labelled
    else:
        counted = labelled & ~without
    tiled = tuple(confusion(wanted[counted], found[counted], classes, times[counted]) for times in often)
    return Tally(confusion(wanted[counted], found[counted], classes), int(without.sum()), tiled=tiled)


def counted(wanted: NDArray[np.int16], codes: NDArray[np.uint8], classes: int) -> Confusion:
    """The confusion of mask codes (255 = none of the classes) where a label wants a class; both of one shape."""
    labelled = wanted >= 0
    return confusion(wanted[labelled], np.minimum(codes[labelled], classes), classes)
