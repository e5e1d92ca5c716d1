"""Where the results of a scene, and what is made of its mask, go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from segearth_cli.beside import GEOTIFF
from segearth_cli.errors import UsageError
from segearth_cli.raster.options import FileOptions
from segearth_cli.raster.paths import stem

BLOCK = 512  # pixels of a side of the blocks of a file; rows are written in whole blocks, each one once


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the results of one scene go; None = not asked for."""

    mask: Path
    """GeoTIFF of class codes."""
    confidence: Path | None = None
    """GeoTIFF of the winner's probability times 254."""
    scores: Path | None = None
    """GeoTIFF with a band of probabilities for each class."""
    vector: Path | None = None
    """Vector layer of the mask's polygons."""
    preview: Path | None = None
    """Picture or page of the mask for people."""
    form: FileOptions = field(default_factory=FileOptions)
    """How the rasters are laid out."""
    temporary: Path | None = None
    """Folder, on the same disk, of the names that rasters have until they are complete; None = beside them."""

    def paths(self) -> list[Path]:
        """The files that will exist."""
        return [*self.by_kind().values(), *(path for path in (self.vector, self.preview) if path is not None)]

    def by_kind(self) -> dict[str, Path]:
        """The rasters by what they hold: mask, confidence, scores."""
        kinds = {"mask": self.mask, "confidence": self.confidence, "scores": self.scores}
        return {kind: path for kind, path in kinds.items() if path is not None}


def geotiff(path: Path | None, option: str, *, several: bool) -> None:
    """Raises UsageError when a raster that we write would get a name of another format, or one name for several."""
    if path is None or not path.suffix or path.is_dir():
        return
    known = path.suffix.lower() in GEOTIFF
    if several and known:
        raise UsageError(f"{option} {path}: one file for several scenes; name a folder")
    if not several and not known:
        raise UsageError(
            f"{option} {path}: what is written is a GeoTIFF; name it .tif (polygons: segearth vectorize), "
            "or make the folder first"
        )


def made_of(mask: str, out: Path | None, ending: str, *, several: bool) -> Path:
    """Where what is made of a mask goes: `out` where its name has a suffix, else a file in that folder, or in this one.

    ending: of the file's name where `out` is none; `scene.mask.tif`, wherever it lies, then gives `scene` with it.
    Raises UsageError when one file is named for several masks.
    """
    if out is None or out.is_dir() or not out.suffix:
        return (out or Path()) / f"{stem(mask).removesuffix('.mask')}{ending}"
    if several:
        raise UsageError(f"--out {out}: one file for several masks; name a folder")
    return out
