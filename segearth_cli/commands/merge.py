"""`segearth merge`: the parts of a long job to one mask."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.results import show
from segearth_cli.commands.targets import run_files
from segearth_cli.console import note
from segearth_cli.errors import UsageError
from segearth_cli.gate import Target, admit
from segearth_cli.options import build, like, option, validate
from segearth_cli.quantities import duration
from segearth_cli.raster import Compression, FileOptions, geotiff

if TYPE_CHECKING:
    from segearth_cli.jobs import Joinable, Ledger, Place

Layout = Literal["geotiff", "cog", "stac"]


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """What the parts of a run are joined to."""

    out: Path | None = option(
        None,
        "--out",
        "-o",
        help="Mask to write, or folder of --format stac.",
        panel="Outputs",
        unit="path",
        shown="DIR/mask.vrt",
    )
    """The joined mask; None = a VRT in the run's folder."""
    confidence: Path | None = option(
        None, help="Also write the confidence, where the run has it.", panel="Outputs", unit="file"
    )
    """The joined confidence."""
    scores: Path | None = option(
        None, help="Also write the scores, where the run has them.", panel="Outputs", unit="file"
    )
    """The joined scores."""
    layout: Layout = like(
        FileOptions,
        "layout",
        "geotiff",
        help="GeoTIFF, cloud-optimised (COG), or a folder with a COG a part and a STAC collection.",
    )
    """One file, or one a part."""
    compress: Compression = like(FileOptions, "compress", "deflate")
    """How files are packed."""
    allow_missing: bool = option(
        False, help="Join what is there; nodata, told where, for parts that are not.", panel="Outputs"
    )
    """Nodata in place of parts that are not complete."""
    overwrite: bool = option(False, help="Replace files that exist.", panel="Outputs")
    """Replace files that exist."""
    as_json: bool = option(False, "--json", help="Print a JSON object instead of the mask's path.", panel="Messages")
    """JSON on stdout in place of a path."""

    quiet: bool = option(False, "--quiet", "-q", help="No progress and no notes.", panel="Messages")
    """Errors, and parts that are missing, only."""

    def __post_init__(self) -> None:
        validate(self)
        if self.out is None and (self.confidence or self.scores):
            raise UsageError("--confidence and --scores: need --out for the mask beside them")
        if self.layout == "stac" and self.out is None:
            raise UsageError("--format stac: needs --out, the folder of the collection")
        if self.layout == "stac" and (self.confidence or self.scores):
            raise UsageError("--format stac: has all that the run has; leave --confidence and --scores out")


EXAMPLES = (
    "segearth merge run",
    "segearth merge run -o scene.mask.tif --format cog",
    "segearth merge run -o collection/ --format stac",
)


@flags_of(MergeOptions, examples=EXAMPLES)
def merge(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The --work folder of a run, or s3://BUCKET/PREFIX.")],
    **given: Any,
) -> None:
    """Join the parts of a run; prints the path of the mask, or says what is missing."""
    from segearth_cli.jobs import complete, open_ledger, parse_place, write_stac, write_vrts

    options, started = build(MergeOptions, given), time.monotonic()
    place = parse_place(folder)
    ledger = open_ledger(place)
    wanted = _admitted(options, place, ledger)
    found = complete(ledger, allow_missing=options.allow_missing)
    for line in found.missing_lines():
        note(line)
    places: Mapping[str, str | Path]
    if options.out is not None and options.layout == "stac":
        places = {"mask": write_stac(ledger, found, options.out, options.compress)}
    elif wanted:
        # A COG is made of the VRTs, which it writes itself; a bucket may be one that can be read alone.
        if isinstance(place, Path) and options.layout != "cog":
            write_vrts(ledger, found, overwrite=True)
        places = _joined(options, ledger, found, wanted)
    else:
        places = write_vrts(ledger, found, overwrite=True)
    empty = sum(record.state == "empty" for record in found.records.values())
    told = {"collection" if options.layout == "stac" else kind: str(path) for kind, path in places.items()}
    facts = {"work": str(place), "shards": len(ledger.shards), "empty_shards": empty, **told}
    if options.allow_missing:
        facts["missing_shards"] = [shard.name for shard in found.missing]
    show(places["mask"], facts, as_json=options.as_json)
    if not options.quiet:
        joined = f"{len(found.records):,} of {len(ledger.shards):,} parts joined"
        note(f"{joined}: {', '.join(map(str, places.values()))}; {duration(time.monotonic() - started)}")


def _admitted(options: MergeOptions, place: Place, ledger: Ledger) -> dict[str, Path]:
    """The files to write by kind, once the gate has let them in; none where a VRT is enough."""
    from segearth_cli.jobs import COLLECTION, replaceable, vrts

    asked = {"mask": options.out, "confidence": options.confidence, "scores": options.scores}
    for kind, path in asked.items():
        if path is not None and kind not in ledger.kinds:
            raise UsageError(f"--{kind}: the run in {place} was computed without it")
    wanted = {kind: path for kind, path in asked.items() if path is not None}
    read = [*run_files(place)] if isinstance(place, Path) else []
    if options.out is not None and options.layout == "stac":
        target = Target(options.out / COLLECTION, "--out", kept=True)
        admit([target], lambda: read, overwrite=options.overwrite, folders=[options.out])
        return {}
    targets = [Target(path, "--out" if kind == "mask" else f"--{kind}") for kind, path in wanted.items()]
    mosaics = [Target(path, "FOLDER", kept=replaceable(path)) for path in vrts(ledger)]
    admit([*targets, *mosaics], lambda: read, overwrite=options.overwrite)
    for target in targets:
        geotiff(target.path, target.flag, several=False)
    return wanted


def _joined(options: MergeOptions, ledger: Ledger, found: Joinable, wanted: dict[str, Path]) -> dict[str, Path]:
    """Writes the files of `wanted`, and returns them."""
    from segearth_cli.jobs import write_geotiff, write_joined_cog
    from segearth_cli.raster import Outputs

    cog = options.layout == "cog"
    form = FileOptions("cog" if cog else "geotiff", options.compress)
    (write_joined_cog if cog else write_geotiff)(ledger, found, Outputs(**wanted, form=form))  # type: ignore[arg-type]
    return wanted
