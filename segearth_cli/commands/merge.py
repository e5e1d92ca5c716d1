"""`segearth merge`: the parts of a long job to one mask."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from segearth_cli.commands.arguments import geotiff
from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.results import show
from segearth_cli.console import note
from segearth_cli.errors import UsageError
from segearth_cli.gate import Target, admit
from segearth_cli.options import build, option, validate
from segearth_cli.quantities import duration
from segearth_cli.raster import FileOptions


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """What the parts of a run are joined to."""

    out: Path | None = option(
        None, "--out", "-o", help="Mask to write.", panel="Outputs", unit="file", shown="DIR/mask.vrt"
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
    form: FileOptions = field(default_factory=FileOptions)
    """How the files are laid out."""
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


EXAMPLES = (
    "segearth merge run",
    "segearth merge run -o scene.mask.tif --format cog",
)


@flags_of(MergeOptions, examples=EXAMPLES)
def merge(
    folder: Annotated[Path, typer.Argument(help="The --work folder of a run.")],
    **given: Any,
) -> None:
    """Join the parts of a run; prints the path of the mask, or says what is missing."""
    from segearth_cli.jobs import complete, open_ledger, write_geotiff, write_joined_cog, write_vrts
    from segearth_cli.raster import Outputs

    options, started = build(MergeOptions, given), time.monotonic()
    ledger = open_ledger(folder)
    asked = {"mask": options.out, "confidence": options.confidence, "scores": options.scores}
    for kind, path in asked.items():
        if path is not None and kind not in ledger.kinds:
            raise UsageError(f"--{kind}: the run in {folder} was computed without it")
    wanted = {kind: path for kind, path in asked.items() if path is not None}
    targets = [Target(path, "--out" if kind == "mask" else f"--{kind}") for kind, path in wanted.items()]
    admit(targets, lambda: [folder], overwrite=options.overwrite)
    for target in targets:
        geotiff(target.path, target.flag, several=False)
    found = complete(ledger, allow_missing=options.allow_missing)
    for line in found.missing_lines():
        note(line)
    vrts = write_vrts(ledger, found)
    if options.out is not None:
        write = write_joined_cog if options.form.layout == "cog" else write_geotiff
        write(ledger, found, Outputs(**wanted, form=options.form), quiet=options.quiet)  # type: ignore[arg-type]
    places = {kind: str(path) for kind, path in (wanted or vrts).items()}
    empty = sum(record.state == "empty" for record in found.records.values())
    facts = {"work": str(folder), "shards": len(ledger.shards), "empty_shards": empty, **places}
    if options.allow_missing:
        facts["missing_shards"] = [shard.name for shard in found.missing]
    show(places["mask"], facts, as_json=options.as_json)
    if not options.quiet:
        joined = f"{len(found.records):,} of {len(ledger.shards):,} parts joined"
        note(f"{joined}: {', '.join(places.values())}; {duration(time.monotonic() - started)}")
