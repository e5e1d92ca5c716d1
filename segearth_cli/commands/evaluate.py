"""`segearth evaluate`: masks against labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segearth_cli import presets
from segearth_cli.classes import ClassSet
from segearth_cli.commands.arguments import INPUTS, inputs, masks_in, named_themselves
from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.many import Tried, each, raise_failed
from segearth_cli.commands.remarks import remarks
from segearth_cli.commands.results import note_written
from segearth_cli.console import answer, first_of, note
from segearth_cli.errors import RunError, SomeFailedError, UsageError
from segearth_cli.evaluation import LabelOptions
from segearth_cli.files import write_text
from segearth_cli.gate import Target, admit
from segearth_cli.jobs import mask_raster
from segearth_cli.options import build, like, option
from segearth_cli.prediction import ClassOptions, listed_classes
from segearth_cli.progress import Extent, Progress, progress, underway

if TYPE_CHECKING:
    from segearth_cli.evaluation import Confusion, EvaluateOptions, Pairing, Tally

_NAMING = ("classes", "classes_file", "preset")  # options that name classes


@dataclass(frozen=True, slots=True)
class ScoredClasses:
    """Which classes are scored."""

    classes: str | None = like(
        ClassOptions, "classes", None, help="Classes in the order of the label codes: a,b|synonym"
    )
    """Classes separated by commas, their synonyms by bars."""
    classes_file: Path | None = like(ClassOptions, "classes_file", None, help="Class file: one class a line.")
    """A class file."""
    preset: str | None = like(ClassOptions, "preset", None, help="Classes and label codes of a published set.")
    """Id or name of a published setting."""


@dataclass(frozen=True, slots=True)
class PairingOptions:
    """Which label belongs to which mask."""

    label_suffix: str = option("", help="End of label names to drop before pairing, e.g. _label.", panel="Labels")
    """Dropped from the stems of labels."""
    prediction_suffix: str = option("", help="End of mask names to drop before pairing.", panel="Labels")
    """Dropped from the stems of masks."""
    allow_missing: bool = option(False, help="Exit with 0 though some files could not be scored.", panel="Labels")
    """Files without a partner, or that cannot be read, are no failure."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Where the figures go."""

    json_file: str | None = option(
        None, "--json", help="Write all figures as JSON; - for stdout.", panel="Outputs", unit="file"
    )
    """A file, or `-`."""
    csv: Path | None = option(None, help="Write a class a line as CSV.", panel="Outputs", unit="file")
    """A file."""
    png: Path | None = option(None, help="Write the confusion matrix as a picture.", panel="Outputs", unit="file")
    """A file."""
    overwrite: bool = option(False, help="Replace files that exist.", panel="Outputs")
    """Replace files that exist."""
    quiet: bool = option(False, "--quiet", "-q", help="No progress and no remarks.", panel="Messages")
    """Errors only."""

    @property
    def places(self) -> dict[str, Path]:
        """The files to write, by flag."""
        named = {"--json": self.json_file if self.json_file != "-" else None, "--csv": self.csv, "--png": self.png}
        return {flag: Path(path) for flag, path in named.items() if path}


EXAMPLES = (
    "segearth evaluate scene.mask.tif labels.tif -c background,water,building",
    "segearth evaluate masks/ labels/ --preset loveda --json scores.json",
)


@flags_of(ScoredClasses, LabelOptions, PairingOptions, ReportOptions, examples=EXAMPLES)
def evaluate(
    predictions: Annotated[str, typer.Argument(help=f"A mask, or several: {INPUTS}.")],
    labels: Annotated[
        str, typer.Argument(help="Its label, a raster or features; several are paired with the masks by stem.")
    ],
    **given: Any,
) -> None:
    """Score masks against labels: IoU, precision and recall of each class, mIoU, confusion matrix.

    Pixels are summed over the whole set before dividing, as mmsegmentation does. Labels on another grid are warped
    to the mask's. Pixels where the mask has no data are left out unless --count-nodata. Where no classes are named,
    those that the masks tell count.
    """
    from segearth_cli.evaluation import EvaluateOptions, set_figures

    asked, paired = build(LabelOptions, given), build(PairingOptions, given)
    report = build(ReportOptions, given)
    named, pairing = build(ClassOptions, given), _pairing(predictions, labels, paired)
    own = None if any(given.get(name) is not None for name in _NAMING) else _own_classes(pairing, quiet=report.quiet)
    chosen, setting = listed_classes(named, own)
    admit(_targets(report), lambda: _inputs(pairing), overwrite=report.overwrite)
    options = EvaluateOptions.of(setting, asked, len(chosen), (label for _, label in pairing.pairs))
    tally, tried = _run(pairing, chosen, options, report.quiet)
    failed, missing = sum(one.error is not None for one in tried), _tell_missing(pairing)
    scored = [one.name for one in tried if one.error is None]
    for remark in () if report.quiet else remarks(tally, chosen, options, setting, scored):
        note(remark)
    found = set_figures(chosen, tally, pairs=len(tried) - failed, unscored=failed + missing, tilings=options.tilings)
    by_tile = zip(options.tilings, tally.tiled, strict=True)
    told = [_tile_line(name, setting, chosen, counts) for name, counts in by_tile if setting]
    _report(report, chosen, tally, json.dumps(found, indent=2, ensure_ascii=False), told)
    if paired.allow_missing:
        return
    raise_failed(tried, "pairs")
    if missing:
        raise SomeFailedError(f"{missing} files found no partner; --allow-missing makes this exit code 0")


def _report(report: ReportOptions, classes: ClassSet, tally: Tally, text: str, by_tile: Sequence[str]) -> None:
    """Writes the files that are asked for, and prints the tables with lines `by_tile`, or the JSON text instead."""
    from segearth_cli.evaluation import as_csv, tables, write_png

    if "--json" in report.places:
        write_text(report.places["--json"], text + "\n")
    if report.csv:
        write_text(report.csv, as_csv(classes, tally.confusion))
    if report.png:
        write_png(report.png, classes, tally.confusion)
    note_written(report.places.values(), quiet=report.quiet)
    answer(text if report.json_file == "-" else "\n".join([tables(classes, tally.confusion).rstrip(), *by_tile]))


def _targets(report: ReportOptions) -> list[Target]:
    """The files to write. Raises UsageError for a picture with the name of something else."""
    from segearth_cli.evaluation import refuse_no_picture

    if report.png:
        refuse_no_picture(report.png, "--png")
    return [Target(path, flag) for flag, path in report.places.items()]


def _pairing(predictions: str, labels: str, asked: PairingOptions) -> Pairing:
    """Two files, or runs, as one pair whatever their names; folders, patterns and lists by stem."""
    from segearth_cli.evaluation import Pairing, is_drawn, pair

    if predictions == labels == "-":
        raise UsageError("masks and labels: only one of them can come from stdin")
    masks, truths = inputs([predictions], masks_in), inputs([labels], _labels_in)
    one_label = named_themselves(truths, [labels])
    if one_label and named_themselves(masks, [predictions]):
        return Pairing(((masks[0], truths[0]),))
    if one_label and is_drawn(truths[0]):  # a layer of features may be of many masks
        return Pairing(tuple((mask, truths[0]) for mask in masks))
    return pair(masks, truths, prediction_suffix=asked.prediction_suffix, label_suffix=asked.label_suffix)


def _own_classes(pairing: Pairing, *, quiet: bool) -> ClassSet:
    """The classes that the masks tell; runs that are not finished are passed over."""
    from segearth_cli.evaluation import classes_of

    rasters = []
    for mask, _ in pairing.pairs:
        with suppress(RunError):
            rasters.append(mask_raster(mask))
    classes = classes_of(rasters or [mask_raster(pairing.pairs[0][0])])
    if not quiet:
        note(f"classes as the masks tell them, in the order of label codes: {', '.join(classes.names)}")
    return classes


def _labels_in(folder: Path) -> list[str]:
    """The labels of a folder: its rasters, or vector files where it has no raster."""
    from segearth_cli.evaluation import ENDINGS, is_drawn
    from segearth_cli.raster import rasters_below

    drawn = sorted(str(path) for path in folder.iterdir() if path.suffix.casefold() in ENDINGS)
    rasters = masks_in(folder) if not drawn or rasters_below(folder) else []
    return rasters or [path for path in drawn if is_drawn(path)]


def _tile_line(name: str, setting: presets.Preset, classes: ClassSet, confusion: Confusion) -> str:
    from segearth_cli.evaluation import published_figure

    (width, height), step = setting.tilings()[name]
    value = published_figure(setting, classes, confusion)
    apart = f"{width} x {height} px every {' x '.join(map(str, dict.fromkeys(step)))} px"
    figure = "-" if value is None else f"{value * 100:.1f}"
    return f"counting {name}, {apart}, overlaps more than once: {setting.metric} {figure}"


def _inputs(pairing: Pairing) -> Iterator[Path]:
    """All masks and labels."""
    from segearth_cli.raster import files_of

    return files_of(*sum(pairing.pairs, ()), *pairing.predictions_alone, *pairing.labels_alone)


def _run(
    pairing: Pairing, classes: ClassSet, options: EvaluateOptions, quiet: bool
) -> tuple[Tally, list[Tried[Tally]]]:
    """The tally of all pairs, and what became of each."""
    from segearth_cli.evaluation import Tally, empty

    with underway("opening masks", quiet=quiet):
        sizes = [_size(mask) for mask, _ in pairing.pairs]
    rows, pixels = sum(height for height, _ in sizes), sum(height * width for height, width in sizes)
    with progress("evaluate", rows, unit="row", extent=Extent(pixels), quiet=quiet) as advance:
        names = [mask for mask, _ in pairing.pairs]
        tried = each(names, pairing.pairs, lambda pair: _compared(*pair, classes, options, advance))
    if all(one.error for one in tried):
        raise_failed(tried, "pairs")
    return sum((one.result for one in tried if one.result is not None), Tally(empty(len(classes)))), tried


def _compared(mask: str, label: str, classes: ClassSet, options: EvaluateOptions, advance: Progress) -> Tally:
    """The tally of a pair, which may be folders of runs."""
    from segearth_cli.evaluation import compare

    return compare(mask_raster(mask), mask_raster(label), classes, options, advance)


def _size(mask: str) -> tuple[int, int]:
    """Rows and columns of a mask, (0, 0) for one that cannot be read, which is told when its turn comes."""
    from segearth_cli.raster import size_of

    try:
        return size_of(mask_raster(mask))
    except RunError:
        return 0, 0


def _tell_missing(pairing: Pairing) -> int:
    """How many files found no partner; they are told by name."""
    alone = {"masks without a label": pairing.predictions_alone, "labels without a mask": pairing.labels_alone}
    for what, paths in alone.items():
        if paths:
            note(f"{len(paths)} {what}, not scored: {first_of(paths)}")
    return sum(map(len, alone.values()))
