"""What the user can say of labels; light, for a command line to be built from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segearth_cli.errors import UsageError
from segearth_cli.evaluation import LabelOptions
from segearth_cli.options import like, option, validate


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Where labels are, and how they name classes."""

    labels: Path | None = option(
        None,
        help="Points, lines or polygons with the field `class`, in any CRS; or a raster of codes.",
        panel="Labels",
        unit="file",
    )
    """A vector file (GeoParquet, or what fiona reads), or a raster on whatever grid."""
    field: str = like(LabelOptions, "field", "class")
    """Name of the field, whatever its case."""
    layer: str | None = like(LabelOptions, "layer", None)
    """Name of the layer; None = the only one."""
    ignore: tuple[str, ...] | None = like(LabelOptions, "ignore", None)
    """Codes, or colours such as `#ff0000`, that are no class."""
    suggest: int | None = option(
        None,
        help="Write this many points where a label helps most, in place of a calibration.",
        panel="Labels",
        unit="number",
    )
    """How many points to suggest; None = calibrate."""

    def __post_init__(self) -> None:
        validate(self)
        if self.suggest is not None and not 1 <= self.suggest <= 100_000:
            raise UsageError(f"--suggest {self.suggest}: need a number of points, 1 to 100000")
