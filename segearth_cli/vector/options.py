"""What is drawn of a mask and how, as the user says it; light, for a command line to be built from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from segearth_cli.classes import OWN_TAGS
from segearth_cli.errors import UsageError
from segearth_cli.options import option, validate
from segearth_cli.raster import Size, parse_area, parse_length
from segearth_cli.version import __version__

# suffixes of vector files, as people name a format
Format = Literal["gpkg", "geojson", "fgb", "shp", "parquet", "pmtiles", "mbtiles"]

VECTORIZE_TAG = f"{OWN_TAGS}VECTORIZE"
_TOLD = ("classes", "min_area", "fill_holes", "simplify", "smooth", "regularize", "dissolve", "connectivity")


def parse_names(classes: str) -> tuple[str, ...]:
    """Class names from `water,building`. Raises UsageError for an empty one."""
    names = tuple(name.strip() for name in classes.split(","))
    if not all(names):
        raise UsageError(f"--classes {classes}: a name is empty; separate names by single commas, e.g. water,building")
    return names


@dataclass(frozen=True, slots=True)
class VectorizeOptions:
    """What to draw and how."""

    classes: tuple[str, ...] | None = option(
        None,
        "--classes",
        "-c",
        help="Classes to write, e.g. water,building.",
        panel="Classes",
        unit="names",
        shown="all but the background",
        parse=parse_names,
    )
    """Names or codes of the classes to draw; None = all but background and nodata."""
    min_area: Size | None = option(
        None,
        help="Smaller pieces join their largest neighbour first, e.g. 200px or 50m2.",
        panel="Shapes",
        unit="area",
        parse=partial(parse_area, option="--min-area"),
    )
    """Pieces below this join their largest neighbour before anything is drawn."""
    fill_holes: Size | None = option(
        None,
        help="Fill smaller holes, with all that lies in them, e.g. 200px or 50m2.",
        panel="Shapes",
        unit="area",
        parse=partial(parse_area, option="--fill-holes"),
    )
    """Holes below this are filled with the class around them."""
    simplify: Size | None = option(
        None,
        help="Simplify borders, shared ones alike on both sides, e.g. 1px or 0.5m.",
        panel="Shapes",
        unit="length",
        parse=partial(parse_length, option="--simplify"),
    )
    """Side of a square as large as the largest triangle that is cut off a border."""
    smooth: bool = option(False, help="Round the stairs of pixel borders off.", panel="Shapes")
    """Cut corners by half a pixel at most."""
    regularize: bool = option(
        False, help="Give outlines right angles, for buildings; neighbours may overlap.", panel="Shapes"
    )
    """Turn edges to the main direction of their polygon, where that keeps its form."""
    dissolve: bool = option(False, help="One multipolygon a class.", panel="Shapes")
    """One feature for each class in place of one for each piece."""
    connectivity: Literal[4, 8] = option(
        4, help="With 8, pixels that meet at a corner belong together.", panel="Shapes"
    )
    """Neighbours that a pixel hangs together with."""
    confidence: Path | None = option(
        None,
        help="Raster on the same pixels; its mean becomes the field confidence.",
        panel="Shapes",
        unit="file",
    )
    """A raster of one band on the mask's pixels; uint8 is 254 times a probability, other types are one."""
    rows: int | None = option(
        None,
        "--block-rows",
        help="Rows read at once; changes memory and speed, never the polygons.",
        panel="Machine",
        unit="number",
        shown="by the width",
        at_least=1,
    )
    """Height in pixels of the strips that a mask is read in, from 1; None = about 4 million pixels each."""
    quiet: bool = option(False, "--quiet", "-q", help="No progress and no notes.", panel="Messages")
    """No progress and no notes."""

    def __post_init__(self) -> None:
        validate(self)
        joined = "--dissolve" if self.dissolve else "--connectivity 8" if self.connectivity == 8 else None
        if self.regularize and joined:
            raise UsageError(
                f"--regularize and {joined}: outlines with right angles may overlap, but not as parts of one "
                "multipolygon; leave one of them out"
            )

    def tags(self) -> dict[str, str]:
        """Everything that decides the polygons of a mask, as a tag for formats that carry such."""
        told = {name: getattr(self, name) for name in _TOLD} | {"segearth": __version__}
        told |= {name: value.text for name, value in told.items() if isinstance(value, Size)}
        told["confidence"] = None if self.confidence is None else self.confidence.name
        return {VECTORIZE_TAG: json.dumps(told, sort_keys=True, ensure_ascii=False)}
