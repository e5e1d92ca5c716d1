"""`segearth vectorize`: masks to vector layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from segearth_cli.commands.arguments import INPUTS, inputs, mask_raster, masks_in
from segearth_cli.commands.many import each, raise_failed

FORMATS = ("gpkg", "geojson", "fgb", "shp", "parquet")


def vectorize(
    mask: Annotated[list[str], typer.Argument(help=f"Masks, or folders of sharded runs: {INPUTS}.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="File to write, its suffix is the format; or a folder."),
    ] = None,
    format: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--format", "-f", help=f"{', '.join(FORMATS)}; default: the suffix of --out, else gpkg."),
    ] = None,
    classes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--classes", help="Classes to write, e.g. water,building; default: all but the background."),
    ] = None,
    min_area: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--min-area", help="Smaller pieces join their largest neighbour first, e.g. 200px or 50m2."),
    ] = None,
    fill_holes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--fill-holes", help="Fill smaller holes, with all that lies in them, e.g. 200px or 50m2."),
    ] = None,
    simplify: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--simplify", help="Simplify borders, shared ones alike on both sides, e.g. 1px or 0.5m."),
    ] = None,
    smooth: Annotated[bool, typer.Option("--smooth", help="Round the stairs of pixel borders off.")] = False,
    regularize: Annotated[
        bool, typer.Option("--regularize", help="Give outlines right angles, for buildings; neighbours may overlap.")
    ] = False,
    dissolve: Annotated[bool, typer.Option("--dissolve", help="One multipolygon a class.")] = False,
    connectivity: Annotated[
        int, typer.Option("--connectivity", help="4, or 8: pixels that meet at a corner belong together.")
    ] = 4,
    confidence: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--confidence", help="Raster on the same pixels; its mean becomes the field confidence."),
    ] = None,
    block_rows: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--block-rows", min=1, help="Rows read at once; changes memory and speed, never the polygons."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.")] = False,
) -> None:
    """Write the classes of masks as polygons; prints the paths of the files written."""
    from segearth_cli.console import answer, note
    from segearth_cli.errors import SegEarthError, UsageError
    from segearth_cli.gate import Target, admit
    from segearth_cli.raster import files_of, parse_area, parse_length
    from segearth_cli.vector import VectorizeOptions, output_path
    from segearth_cli.vector import vectorize as run

    if connectivity not in (4, 8):
        raise UsageError(f"--connectivity {connectivity}: need 4 or 8")
    if format is not None and format.casefold().lstrip(".") not in FORMATS:
        raise UsageError(f"--format {format}: unknown; use one of {', '.join(FORMATS)}")
    options = VectorizeOptions(
        classes=None if classes is None else _names(classes),
        min_area=parse_area(min_area, "--min-area") if min_area else None,
        fill_holes=parse_area(fill_holes, "--fill-holes") if fill_holes else None,
        simplify=parse_length(simplify, "--simplify") if simplify else None,
        smooth=smooth,
        regularize=regularize,
        dissolve=dissolve,
        connectivity=8 if connectivity == 8 else 4,
        confidence=confidence,
        rows=block_rows,
        quiet=quiet,
    )
    names = inputs(mask, masks_in)
    outs = [output_path(name, out, format, several=len(names) > 1) for name in names]
    admit(
        [Target(target, "--out", scene=name) for name, target in zip(names, outs, strict=True)],
        lambda: (file for name in (*names, confidence) if name for file in files_of(str(name))),
        overwrite=overwrite,
        folders={target.parent for target in outs if target.parent == out},
    )

    def act(job: tuple[str, Path]) -> None:
        name, target = job
        summary = run(mask_raster(name), target, options)
        answer(str(summary.path))
        if not quiet:
            total, kinds = sum(summary.polygons.values()), len(summary.polygons)
            found = f"{total} polygon{'s'[: total != 1]} of {kinds} class{'es' * (kinds != 1)}"
            note(f"{name}: {found} in {summary.seconds:.1f} s")

    raise_failed(each(names, list(zip(names, outs, strict=True)), act, faults=(SegEarthError,)), "masks")


def _names(classes: str) -> tuple[str, ...]:
    from segearth_cli.errors import UsageError

    names = tuple(name.strip() for name in classes.split(","))
    if not all(names):
        raise UsageError(f"--classes {classes}: a name is empty; separate names by single commas, e.g. water,building")
    return names
