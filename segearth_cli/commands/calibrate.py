"""`segearth calibrate`: a few labels of a scene to a calibration of its classes, or where to put labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segearth_cli import console
from segearth_cli.calibration import LabelSource
from segearth_cli.commands.arguments import INPUTS, inputs, rasters_in, without_own
from segearth_cli.commands.flags import flags_of
from segearth_cli.console import untold
from segearth_cli.errors import UsageError
from segearth_cli.gate import Target, admit
from segearth_cli.options import build, option
from segearth_cli.prediction import ClassOptions, PredictOptions, RunOptions, defaults_now, resolve_settings
from segearth_cli.progress import underway
from segearth_cli.weights import ModelOptions

if TYPE_CHECKING:
    from segearth_cli.prediction import Predictor, Settings


@dataclass(frozen=True, slots=True)
class CalibrationPlaces:
    """What is written."""

    out: Path | None = option(
        None,
        "--out",
        "-o",
        help="Calibration; with --suggest a GeoPackage.",
        panel="Outputs",
        unit="file",
        shown="STEM.calibration or STEM.suggestions.gpkg here",
    )
    """The calibration, or the suggestions; None = named after the first scene, in the current folder."""
    as_json: bool = option(
        False, "--json", help="Print the hold-out as one JSON object instead of a table.", panel="Messages"
    )
    """JSON on stdout."""


EXAMPLES = (
    "segearth calibrate scene.tif --suggest 40 --classes-file legend.txt",
    "segearth calibrate scene.tif --labels clicks.gpkg --classes-file legend.txt",
    "segearth calibrate *.tif --labels codes.tif --ignore 0 -c water,roof,tree",
)


@flags_of(
    LabelSource,
    CalibrationPlaces,
    ClassOptions,
    PredictOptions,
    ModelOptions,
    RunOptions,
    defaults=defaults_now,
    examples=EXAMPLES,
)
def calibrate(
    scenes: Annotated[list[str], typer.Argument(help=f"Rasters that labels lie on: {INPUTS}.")],
    **given: Any,
) -> None:
    """Learn from a few labels how the classes look; prints what that is worth, and the path of the file.

    Text alone, biases alone and text with a correction of each class are judged on labels held out in blocks of
    ground, and the best is kept. It is for these scenes: on others it may do worse than text alone.
    """
    from segearth_cli.raster import files_of

    source, places = build(LabelSource, given), build(CalibrationPlaces, given)
    run = build(RunOptions, given, notice=untold if given.get("quiet") else console.note)
    names = without_own(inputs(scenes, rasters_in))
    settings = resolve_settings(given)
    _refuse(source, names, given)
    out = _out(places.out, names, source)
    read = [*names, *([str(source.labels)] if source.labels else [])]
    admit([Target(out, "--out")], lambda: files_of(*read), overwrite=run.overwrite)
    for line in settings.notes:
        run.notice(line)
    with underway("starting", quiet=run.quiet):  # torch takes seconds
        from segearth_cli.prediction import predictor_for

    predictor = predictor_for(settings.model, settings.classes, settings.options, run)
    if source.suggest is not None:
        _suggest(names[0], source.suggest, predictor, out)
    else:
        _calibrate(names, source, predictor, settings, out, as_json=places.as_json)


def _calibrate(
    names: Sequence[str], source: LabelSource, predictor: Predictor, settings: Settings, out: Path, *, as_json: bool
) -> None:
    from segearth_cli.calibration import calibrate_to_file, told
    from segearth_cli.commands.results import show

    calibration, facts = calibrate_to_file(out, names, source, predictor, settings)
    show(out if as_json else f"{told(calibration)}\n{out}", facts, as_json=as_json)


def _suggest(name: str, count: int, predictor: Predictor, out: Path) -> None:
    from segearth_cli.calibration import suggest_labels
    from segearth_cli.vector import write_points

    found = suggest_labels(name, count, predictor)
    write_points(out, found.points, found.crs, {"predicted": found.predicted, "runner_up": found.runner_up})
    if len(found.points) < count:
        predictor.run.notice(f"{name}: {len(found.points)} points in place of {count}; it has no more places to tell")
    console.answer(str(out))


def _refuse(source: LabelSource, names: Sequence[str], given: dict[str, Any]) -> None:
    """Raises UsageError for options that cannot be meant together."""
    if source.suggest is None:
        if source.labels is None:
            raise UsageError("--labels: name points, lines or polygons with a field `class`, or a raster of codes")
        if given.get("calibration") is not None:
            raise UsageError(
                "--calibration: is for predict and --suggest; labels are all that a calibration is made of"
            )
    else:
        if source.labels is not None:
            raise UsageError("--suggest and --labels: choose one; labels make a calibration")
        if len(names) > 1:
            raise UsageError(f"--suggest: is for one scene, {len(names)} are named; run it for each")


def _out(out: Path | None, names: Sequence[str], source: LabelSource) -> Path:
    """Where the result goes. Raises UsageError for a name that another kind of file has."""
    from segearth_cli.raster import stem

    suffix = ".calibration" if source.suggest is None else ".gpkg"
    if out is None:
        return Path(f"{stem(names[0])}{'.suggestions' * (source.suggest is not None)}{suffix}")
    if source.suggest is not None and out.suffix.casefold() != suffix:
        raise UsageError(f"--out {out}: suggestions are a GeoPackage; name it .gpkg")
    if source.suggest is None and out.suffix.casefold() in (".gpkg", ".tif", ".tiff", ".geojson", ".shp"):
        raise UsageError(f"--out {out}: what is written is a calibration; name it .calibration")
    return out
