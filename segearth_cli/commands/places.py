"""Where the files of `segearth predict` go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from segearth_cli.errors import UsageError
from segearth_cli.maps import Kind
from segearth_cli.options import option
from segearth_cli.raster import FileOptions, geotiff
from segearth_cli.vector import Format

if TYPE_CHECKING:
    from segearth_cli.jobs import SceneEntry
    from segearth_cli.raster import Outputs


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of a run go, as asked for."""

    out: Path | None = option(
        None,
        "--out",
        "-o",
        help="Mask for one scene, folder for several.",
        panel="Outputs",
        unit="path",
        shown="STEM.mask.tif here",
    )
    """A file for one scene, else a folder; None = the current folder."""
    confidence: Path | None = option(
        None,
        help="Also write the winner's probability: uint8, 0-254, 255 = nodata (folder for several).",
        panel="Outputs",
        unit="path",
    )
    """A file for one scene, else a folder."""
    scores: Path | None = option(
        None,
        help="Also write every class's probability: float32 bands (folder for several).",
        panel="Outputs",
        unit="path",
    )
    """A file for one scene, else a folder."""
    vector: Path | None = option(
        None,
        help="Also write polygons: gpkg, geojson, fgb, shp, parquet, pmtiles beside the mask; or a file, a folder.",
        panel="Outputs",
        unit="format/path",
    )
    """A format, for a file beside the mask; or a file for one scene, else a folder, of GeoPackages."""
    form: FileOptions = field(default_factory=FileOptions)
    """How the rasters are laid out."""
    preview: Kind | None = option(
        None,
        help="Also draw mask and scene for people, beside the mask: STEM.preview.png or .html.",
        panel="Outputs",
        bare="png",
    )
    """A picture or a page; None = neither."""
    manifest: Path | None = option(
        None,
        help="Many scenes: a CSV (columns scene, out, confidence, scores, calibration) or one path a line.",
        panel="Outputs",
        unit="file",
        read=True,
    )
    """Names the scenes in place of arguments, where each one's files go, and its calibration."""
    summary: Path | None = option(None, help="Write what became of each scene as a CSV.", panel="Outputs", unit="file")
    """A CSV to write."""


def named_places(entries: list[SceneEntry], places: Places) -> set[Path | None]:
    """What options and rows name outputs by, and the folders that rows name files in: what of it is one may be made."""
    cells = [cell for one in entries for cell in (one.out, one.confidence, one.scores) if cell is not None]
    rows = [path for cell in cells for path in (cell, cell.parent)]
    return {places.out, places.confidence, places.scores, places.vector, *rows}


def scene_outputs(entries: list[SceneEntry], places: Places) -> list[Outputs]:
    """Where each scene's files go: a name with a suffix is a file for one scene, else a folder.

    Raises UsageError for polygons of an unknown format, and for a name that is none of a GeoTIFF.
    """
    from segearth_cli.raster import Outputs, stem
    from segearth_cli.vector import driver

    for flag, given in {"--out": places.out, "--confidence": places.confidence, "--scores": places.scores}.items():
        geotiff(given, flag, several=len(entries) > 1)

    def located(given: Path | None, kind: str, name: str, scenes: int = len(entries)) -> Path | None:
        if given is None:
            return Path(f"{stem(name)}.mask.tif") if kind == "mask" else None
        if scenes == 1 and given.suffix and not given.is_dir():
            return given
        if given.is_file():
            needed = "for several scenes" if scenes > 1 else "or a name that ends in .tif"
            raise UsageError(f"{given}: is a file, need a folder {needed}")
        return given / (f"{stem(name)}.gpkg" if kind == "vector" else f"{stem(name)}.{kind}.tif")

    def asked(entry: SceneEntry, column: str, common: Path | None, kind: str) -> Path | None:
        own: Path | None = getattr(entry, column)
        geotiff(own, f"--{column}", several=False)
        return located(common, kind, entry.scene) if own is None else located(own, kind, entry.scene, 1)

    def of(entry: SceneEntry) -> Outputs:
        mask = asked(entry, "out", places.out, "mask") or Path()
        beside = mask.stem.removesuffix(".mask")
        as_format = str(places.vector) in get_args(Format)
        polygons = f"{beside}.{places.vector}"
        return Outputs(
            mask,
            asked(entry, "confidence", places.confidence, "confidence"),
            asked(entry, "scores", places.scores, "scores"),
            mask.with_name(polygons) if as_format else located(places.vector, "vector", entry.scene),
            mask.with_name(f"{beside}.preview.{places.preview}") if places.preview else None,
            places.form,
        )

    found = [of(entry) for entry in entries]
    if places.vector is not None:
        for output in found:
            driver(output.vector or places.vector)
    return found
