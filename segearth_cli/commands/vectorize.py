"""`segearth vectorize`: masks to vector layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segearth_cli.commands.arguments import INPUTS, inputs, masks_in, named_themselves
from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.many import each, raise_failed
from segearth_cli.commands.targets import admit_made
from segearth_cli.console import answer, note
from segearth_cli.errors import SegEarthError, UsageError, of_input
from segearth_cli.gate import Target, admit
from segearth_cli.jobs import mask_raster
from segearth_cli.options import build, option
from segearth_cli.quantities import duration
from segearth_cli.vector import Format, VectorizeOptions

if TYPE_CHECKING:
    from segearth_cli.vector import Vectorized


@dataclass(frozen=True, slots=True)
class VectorPlaces:
    """Where the vector files go."""

    out: Path | None = option(
        None,
        "--out",
        "-o",
        help="File to write, its suffix is the format; or a folder.",
        panel="Outputs",
        unit="path",
        shown="STEM.gpkg here",
    )
    """A file for one mask, or a folder; None = the current folder."""
    format: Format | None = option(
        None, "--format", "-f", help="Format of the file.", panel="Outputs", shown="the suffix of --out, else gpkg"
    )
    """Suffix of the files; None = that of `out`, else gpkg."""
    partitioned: bool = option(
        False, help="A folder of GeoParquet files, made a block at a time, for masks of any size.", panel="Outputs"
    )
    """A folder in place of a file."""
    overwrite: bool = option(False, help="Replace files that exist.", panel="Outputs")
    """Replace files that exist."""


EXAMPLES = (
    "segearth vectorize scene.mask.tif",
    "segearth vectorize scene.mask.tif -c building --min-area 50m2 --simplify 1px",
    "segearth vectorize masks/ -o polygons/ -f geojson",
    "segearth vectorize run/ -o polygons/ --partitioned",
)


@flags_of(VectorPlaces, VectorizeOptions, examples=EXAMPLES)
def vectorize(
    mask: Annotated[list[str], typer.Argument(help=f"Masks, or folders of sharded runs: {INPUTS}.")],
    **given: Any,
) -> None:
    """Write the classes of masks as polygons; prints the paths of the files written."""
    from segearth_cli.vector import output_path
    from segearth_cli.vector import vectorize as run

    places, options = build(VectorPlaces, given), build(VectorizeOptions, given)
    names = inputs(mask, masks_in)
    if options.classes is not None:
        _refuse_unknown(names, options.classes)
    if places.partitioned:
        _partitioned(names, places, options)
        return
    several = len(names) > 1 or (not (places.out and places.out.suffix) and not named_themselves(names, mask))
    outs = [output_path(name, places.out, places.format, several=several) for name in names]
    confidence = [] if options.confidence is None else [str(options.confidence)]
    admit_made(names, outs, places.out, confidence, overwrite=places.overwrite)

    def act(job: tuple[str, Path]) -> None:
        name, target = job
        summary = run(mask_raster(name), target, options)
        _told(name, summary, options)

    raise_failed(each(names, list(zip(names, outs, strict=True)), act, faults=(SegEarthError,)), "masks")


def _told(name: str, summary: Vectorized, options: VectorizeOptions) -> None:
    """Prints the path of what was written, and tells what it holds."""
    from segearth_cli.raster import is_remote

    answer(str(summary.path))
    if not options.quiet:
        total, kinds = sum(summary.polygons.values()), len(summary.polygons)
        found = f"{total} polygon{'s'[: total != 1]} of {kinds} class{'es' * (kinds != 1)}"
        note(f"{name}: {found}; {summary.path}; {duration(summary.seconds)}")
        if is_remote(name) and any(kind.startswith("class_") for kind in summary.polygons):
            note(
                f"{name}: names no classes itself, and no side file (.aux.xml, with names or a nodata value) is asked "
                "for over the network; copy both here, or set GDAL_DISABLE_READDIR_ON_OPEN=TRUE"
            )


def _partitioned(names: Sequence[str], places: VectorPlaces, options: VectorizeOptions) -> None:
    """Draws one mask into a folder. Raises UsageError where that cannot be meant."""
    from segearth_cli.raster import files_of, stem
    from segearth_cli.vector import partitions, refuse_beyond, vectorize_partitioned

    if len(names) != 1 or places.format not in (None, "parquet"):
        raise UsageError("--partitioned: takes one mask and writes GeoParquet")
    refuse_beyond(options)
    folder = places.out or Path(f"{stem(names[0]).removesuffix('.mask')}.parquet")
    raster = mask_raster(names[0])
    files = partitions(raster, folder)
    if others := sorted(path.name for path in folder.glob("*") if path not in files):
        raise UsageError(f"--out {folder}: holds {others[0]}, which would be taken for a part; name another folder")
    confidence = [] if options.confidence is None else [str(options.confidence)]
    admit(
        [Target(path, "--out") for path in files],
        lambda: files_of(raster, *confidence),
        overwrite=places.overwrite,
        folders=[folder],
    )
    _told(names[0], vectorize_partitioned(raster, folder, options), options)


def _refuse_unknown(masks: Sequence[str], classes: tuple[str, ...]) -> None:
    """Raises UsageError, before any mask is drawn, for classes that none of them has."""
    from segearth_cli.raster import read_mask

    fault: UsageError | None = None
    for name in masks:
        try:
            with of_input(name):
                read_mask(mask_raster(name)).codes(classes)
            return
        except UsageError as e:
            fault = fault or e
        except SegEarthError:  # of this mask, which is told when its turn comes
            continue
    if fault is not None:
        raise fault
