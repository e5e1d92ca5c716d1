"""One row of a table on one set: every pair of the published split, scored and added up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segearth_cli.classes import ClassSet
from segearth_cli.errors import ClassesError, RasterError, UsageError
from segearth_cli.evaluation import LabelCodes, LabelOptions, fitting, label_codes
from segearth_cli.model import pick_device
from segearth_cli.prediction import RunOptions, Settings, predictor_for, resolve_settings
from segearth_cli.presets import Preset
from segearth_cli.progress import progress
from segearth_cli.reproduction.find import FoundSet
from segearth_cli.reproduction.records import read_record, record_file, save_record
from segearth_cli.reproduction.rows import TableRow
from segearth_cli.reproduction.score import Cuts, Scored, nothing, opened, score


@dataclass(frozen=True, slots=True)
class Result:
    """What a row gave on a set."""

    preset: Preset
    """The published setting."""
    row: TableRow
    """What was changed in it."""
    classes: ClassSet
    """The classes that were scored."""
    scored: Scored
    """The counts of all images."""
    pairs: int
    """Images that were counted."""
    failed: Mapping[str, str]
    """Why others were not, by the pair's name."""
    model: Mapping[str, Any]
    """What ran, as masks say it."""
    labels: str
    """How labels were read."""


def row_settings(preset: Preset, row: TableRow, given: Mapping[str, Any]) -> Settings:
    """The published settings of a row; given: the model's options that the user named, by keyword.

    Matrix products are in float32, on CUDA in float16 as the authors' are. Raises UsageError for bfloat16, and as
    `resolve_settings` does.
    """
    if given.get("precision") == "bf16":
        raise UsageError("--precision bf16: too coarse for published figures; use fp32, or fp16 on CUDA")
    settings = resolve_settings({"preset": preset.id} | dict(given) | dict(row.changes))
    model = settings.model
    if "attention" in row.changes:  # a row of its own, with as many blocks as its publication has
        model = replace(model, last_blocks=None)
    if model.precision == "auto":
        cuda = pick_device(model.device).type == "cuda"
        model = replace(model, precision="fp16" if cuda else "fp32")
    return replace(settings, model=model)


def label_reading(preset: Preset, found: FoundSet) -> LabelCodes:
    """How the labels of a set are read, as its authors do. Raises RasterError where one cannot be."""
    codes = label_codes(preset, LabelOptions(), len(preset.rows))
    return fitting(codes, (pair.label for pair in found.pairs))


def reproduce_row(
    preset: Preset, row: TableRow, found: FoundSet, settings: Settings, records: Path, run: RunOptions
) -> Result:
    """Scores every pair; those that are recorded already are not computed again.

    An image or label that cannot be read is told and left out. Raises WeightsError, ClassesError, UsageError.
    """
    codes, cuts = label_reading(preset, found), Cuts.of(preset, found.pairs)
    predictor = predictor_for(settings.model, settings.classes, settings.options, run)
    predictor = replace(predictor, run=run.silent())
    total, failed = nothing(preset, settings.classes), dict[str, str]()
    with progress(f"{preset.id} {row.name}", len(found.pairs), unit="image", quiet=run.quiet) as advance:
        for pair in found.pairs:
            try:
                with opened(pair, cuts, codes, predictor) as image:
                    place = record_file(records, image.facts)
                    scored = read_record(place)
                    if scored is None:
                        scored = score(image, preset)
                        save_record(place, pair.name, scored)
            except ClassesError as e:
                raise ClassesError(
                    f"{str(e).partition('; ')[0]}; {preset.name} as published has none: labels that are coded "
                    "otherwise are for segearth predict and evaluate"
                ) from e
            except RasterError as e:
                failed[pair.name] = str(e)
                run.notice(str(e))
            else:
                total += scored
            advance(1)
    return Result(
        preset,
        row,
        settings.classes,
        total,
        len(found.pairs) - len(failed),
        failed,
        dict(predictor.known().facts),
        _told(codes),
    )


def _told(codes: LabelCodes) -> str:
    if codes.threshold is not None:
        return "0 is the background" if codes.threshold == 1 else f"{codes.threshold} and more is the class"
    return "codes and colours of the published labels" if codes.mapping else "codes of the classes"
