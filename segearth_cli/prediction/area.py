"""Which part of the scenes is asked for, as the user says it: a file of polygons, WKT, or four numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segearth_cli.errors import UsageError, said
from segearth_cli.options import at_home, build, option, validate

if TYPE_CHECKING:
    from segearth_cli.raster import AreaOfInterest

_WKT = re.compile(r"\s*(?:SRID\s*=\s*(\d+)\s*;)?\s*([A-Z]+\s*(?:Z|M|ZM)?\s*(?:\(|EMPTY).*)", re.IGNORECASE | re.DOTALL)
_NUMBERS = 4
_LONG = 60  # characters of WKT that error lines show


def parse_bbox(text: str) -> tuple[Any, ...]:
    """West, south, east, north, and a CRS where one is named. Raises UsageError for anything else.

    >>> parse_bbox("356000,5644900,356100,5645000"), parse_bbox("7,50.9,7.1,51,EPSG:4326")[4]
    ((356000.0, 5644900.0, 356100.0, 5645000.0), 'EPSG:4326')
    """
    parts = text.split(",", _NUMBERS)
    try:
        numbers = tuple(float(part) for part in parts[:_NUMBERS])
    except ValueError:
        numbers = ()
    if len(numbers) != _NUMBERS:
        raise UsageError(
            f"--bbox {text}: need W,S,E,N and a CRS if it is not the scene's, e.g. 7,50.9,7.1,51,EPSG:4326"
        )
    return (*numbers, *(part.strip() for part in parts[_NUMBERS:]))


@dataclass(frozen=True, slots=True)
class AreaOptions:
    """The part of the scenes that is segmented; the mask keeps the scene's grid. At most one of them."""

    aoi: str | None = option(
        None,
        help="Segment only what lies in polygons: a vector file, or WKT in the scene's CRS or SRID=4326;POLYGON...",
        panel="Area",
        unit="file|WKT",
    )
    """A vector file (GeoParquet, or what fiona reads), or WKT with or without `SRID=n;`; None = all of the scene."""
    bbox: tuple[Any, ...] | None = option(
        None,
        help="Segment only what lies in W,S,E,N, in the scene's CRS or another one that is named, e.g. EPSG:4326.",
        panel="Area",
        unit="numbers",
        parse=parse_bbox,
    )
    """Four numbers, and a CRS where it is not the scene's own; W above E crosses the antimeridian."""

    def __post_init__(self) -> None:
        validate(self)
        if self.aoi is not None and self.bbox is not None:
            raise UsageError("--aoi and --bbox together: choose one of them")

    @property
    def file(self) -> Path | None:
        """The file that is read, if it is one."""
        return None if self.aoi is None or _WKT.fullmatch(self.aoi) else Path(at_home(self.aoi))

    def read(self) -> AreaOfInterest | None:
        """The area; None = all. Raises UsageError where it is no polygon or no file, VectorError for a damaged file."""
        if self.bbox is not None:
            return _box(self.bbox)
        return None if self.aoi is None else _polygons(self.aoi, self.file)


@dataclass(frozen=True, slots=True)
class AreaFacts:
    """What a mask's provenance says of the area that it is of."""

    sha256: str
    """Of the polygons and their CRS."""
    bounds: tuple[float, float, float, float]
    """West, south, east, north, in that CRS."""
    crs: str | None
    """A code or WKT; null = that of the scene."""


def asked_area(given: Mapping[str, Any]) -> AreaOfInterest | None:
    """The area among values by keyword; from Python it may be a Path, or a geometry of shapely, too."""
    from segearth_cli.raster import AreaOfInterest, area_of_interest

    aoi = given.get("aoi")
    if isinstance(aoi, AreaOfInterest):
        return aoi
    if hasattr(aoi, "geom_type"):
        return area_of_interest([aoi], None, "--aoi")
    return build(AreaOptions, dict(given) | ({} if aoi is None else {"aoi": str(aoi)})).read()


def _box(bbox: tuple[Any, ...]) -> AreaOfInterest:
    from segearth_cli.raster import area_in_box

    try:
        west, south, east, north = map(float, bbox[:_NUMBERS])
        (crs,) = bbox[_NUMBERS:] or (None,)
    except (TypeError, ValueError):
        raise UsageError(f"--bbox {bbox}: need W,S,E,N and a CRS if it is not the scene's") from None
    return area_in_box((west, south, east, north), crs)


def _polygons(aoi: str, file: Path | None) -> AreaOfInterest:
    import shapely

    from segearth_cli.raster import area_of_interest
    from segearth_cli.vector import read_shapes

    if file is not None:
        if not file.exists():
            raise UsageError(f"--aoi {file}: no such file, and no WKT such as 'POLYGON ((0 0, 9 0, 9 9, 0 0))'")
        drawn = read_shapes(file, None, "--aoi")
        return area_of_interest([one for one in drawn.geometry if one is not None], drawn.crs, f"--aoi {file}")
    found = _WKT.fullmatch(aoi)
    code, text = found.groups() if found else (None, aoi)
    told = f"--aoi {aoi}" if len(aoi) <= _LONG else f"--aoi {aoi[:_LONG]}..."
    try:
        geometry = shapely.from_wkt(text)
    except shapely.errors.ShapelyError as e:
        raise UsageError(f"{told}: is no WKT ({said(e)})") from None
    return area_of_interest([geometry], f"EPSG:{code}" if code else None, told)
