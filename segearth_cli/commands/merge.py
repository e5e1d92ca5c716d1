"""`segearth merge`: the parts of a long job to one mask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segearth_cli.commands.arguments import geotiff
from segearth_cli.commands.results import show
from segearth_cli.console import note
from segearth_cli.errors import UsageError
from segearth_cli.gate import Target, admit

Opt = typer.Option


def merge(
    folder: Annotated[Path, typer.Argument(help="The --work folder of a run.")],
    out: Annotated[Path | None, Opt("--out", "-o", help="Mask to write. [default: DIR/mask.vrt]")] = None,
    confidence: Annotated[Path | None, Opt(help="Also write the confidence, where the run has it.")] = None,
    scores: Annotated[Path | None, Opt(help="Also write the scores, where the run has them.")] = None,
    file_format: Annotated[str, Opt("--format", help="geotiff or cog.")] = "geotiff",
    allow_missing: Annotated[
        bool, Opt("--allow-missing", help="Join what is there; nodata, told where, for parts that are not.")
    ] = False,
    overwrite: Annotated[bool, Opt("--overwrite", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, Opt("--json", help="Print a JSON object instead of the mask's path.")] = False,
) -> None:
    """Join the parts of a run; prints the path of the mask, or says what is missing."""
    from segearth_cli.jobs import complete, open_ledger, write_cog, write_geotiff, write_vrts
    from segearth_cli.raster import Outputs

    if file_format not in ("geotiff", "cog"):
        raise UsageError(f"--format {file_format}: choose geotiff or cog")
    if out is None and (confidence or scores):
        raise UsageError("--confidence and --scores: need --out for the mask beside them")
    ledger = open_ledger(folder)
    asked = {"mask": out, "confidence": confidence, "scores": scores}
    for kind, path in asked.items():
        if path is not None and kind not in ledger.kinds:
            raise UsageError(f"--{kind}: the run in {folder} was computed without it")
    given = {kind: path for kind, path in asked.items() if path is not None}
    targets = [Target(path, "--out" if kind == "mask" else f"--{kind}") for kind, path in given.items()]
    admit(targets, lambda: [folder], overwrite=overwrite)
    for target in targets:
        geotiff(target.path, target.flag, several=False)
    found = complete(ledger, allow_missing=allow_missing)
    for line in found.missing_lines():
        note(line)
    vrts = write_vrts(ledger, found)
    if out is not None:
        write = write_cog if file_format == "cog" else write_geotiff
        write(ledger, found, Outputs(**given))  # type: ignore[arg-type]
    places = {kind: str(path) for kind, path in (given or vrts).items()}
    empty = sum(record.state == "empty" for record in found.records.values())
    facts = {"work": str(folder), "shards": len(ledger.shards), "empty_shards": empty, **places}
    if allow_missing:
        facts["missing_shards"] = [shard.name for shard in found.missing]
    show(places["mask"], facts, as_json=as_json)
