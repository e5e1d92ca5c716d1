"""How a raster is read, as the user says it; without rasterio, so that a command line can be built from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from segearth_cli.errors import UsageError
from segearth_cli.options import option, validate, whole

Blend = Literal["mean", "taper"]
Layout = Literal["geotiff", "cog"]
Compression = Literal["deflate", "zstd", "lzw", "none"]


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Band numbers from `4,3,2`. Raises UsageError when they are no numbers."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--bands {text}: need band numbers from 1 separated by commas, e.g. 4,3,2") from None


Decibels = Literal["no", "yes", "look"]


def parse_decibels(rule: str) -> tuple[Decibels, str]:
    """Whether values become decibels before they are stretched, and the rest of the rule.

    `db` and `db,MIN,MAX` say so; `sar` has the values looked at.

    >>> parse_decibels("db,-25,0"), parse_decibels("sar"), parse_decibels("P2,P98")
    (('yes', '-25,0'), ('look', 'auto'), ('no', 'P2,P98'))
    """
    head, _, rest = rule.partition(",")
    if head.strip().casefold() == "db":
        return "yes", rest or "auto"
    return ("look", rest or "auto") if head.strip().casefold() == "sar" else ("no", rule)


def parse_stretch(rule: str) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """Percentiles, and limits when the rule names values. Raises UsageError for anything else.

    >>> parse_stretch("P1,P99"), parse_stretch("0,3000")
    (((1.0, 99.0), None), ((2.0, 98.0), (0.0, 3000.0)))
    """
    if parse_decibels(rule)[1] == "auto":
        return (2.0, 98.0), None
    try:
        low, high = parse_decibels(rule)[1].split(",")
        percent = low[:1] in "pP" and high[:1] in "pP"
        pair = (float(low[1:]), float(high[1:])) if percent else (float(low), float(high))
    except ValueError:
        pair, percent = (1.0, 0.0), False
    if not pair[0] < pair[1] or not math.isfinite(pair[1] - pair[0]) or (percent and (pair[0] < 0 or pair[1] > 100)):
        raise UsageError(f"--stretch {rule}: need auto, MIN,MAX, two percentiles such as P2,P98, db or sar")
    return (pair, None) if percent else ((2.0, 98.0), pair)


def parse_sides(text: str, flag: str = "--tile") -> tuple[int, ...]:
    """Width and height in pixels from `1280x1080` or `512`; () for `none`. Raises UsageError for anything else.

    >>> parse_sides("1280x1080"), parse_sides("512"), parse_sides("none")
    ((1280, 1080), (512, 512), ())
    """
    if text.strip().casefold() == NO_VALUE:
        return ()
    sides = [whole(part.strip()) or 0 for part in text.casefold().replace("×", "x").split("x")]
    if len(sides) > 2 or not all(sides):
        raise UsageError(f"{flag} {text}: need WIDTHxHEIGHT in pixels such as 1280x1080, one number, or none")
    return sides[0], sides[-1]


NO_VALUE = "none"


def parse_nodata(text: str) -> float | str:
    """The value that means no data, `none` for none. Raises UsageError for anything else.

    >>> parse_nodata("-9999"), parse_nodata("None"), parse_nodata("nan")
    (-9999.0, 'none', nan)
    """
    if text.strip().casefold() == NO_VALUE:
        return NO_VALUE
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--nodata {text}: need a number, nan or none") from None


def nodata_number(given: float | str | None) -> float | None:
    """The number chosen as nodata, None for `none` and where nothing was chosen. Raises UsageError."""
    value = None if given is None else parse_nodata(str(given))
    return None if value == NO_VALUE or value is None else float(value)


@dataclass(frozen=True, slots=True)
class PixelOptions:
    """How pixels become 8-bit RGB, and which of them are data."""

    bands: tuple[int, ...] | None = option(
        None,
        "--bands",
        "-b",
        help="Bands for red, green, blue, e.g. 4,3,2; one for grey.",
        panel="Pixels",
        unit="numbers",
        shown="by colour interpretation",
        parse=parse_bands,
    )
    """Three band numbers from 1 or one; None = by colour interpretation."""
    stretch: str = option(
        "auto",
        help="To 8 bits: auto, MIN,MAX or percentiles P2,P98; db and sar for radar, e.g. db,-25,0; once a scene.",
        panel="Pixels",
        unit="rule",
    )
    """`MIN,MAX` in the scene's own units (scale and offset of its bands applied), percentiles such as `P2,P98`, or
    `auto`: P2,P98, and none for 8-bit. `db` before any of them: of 10 log10 of the values. `sar`: of the
    values where more than one in a hundred is below 0 (they are decibels), else as `db`, and none for 8-bit."""
    nodata: float | str | None = option(
        None,
        help="Value of pixels without data, or none: every value is data.",
        panel="Pixels",
        unit="value",
        shown="as the file says",
        parse=parse_nodata,
        finite=False,
    )
    """A number for every band, or `none`: every value is data; None = as the file says."""
    alpha: bool = option(
        True, "--alpha/--no-alpha", help="Leave out where a band flagged as alpha is 0.", panel="Pixels"
    )
    """Whether a band flagged as alpha tells the pixels with data."""
    mask: bool = option(
        True, "--use-mask/--ignore-mask", help="Leave out what the file's own mask bands leave out.", panel="Pixels"
    )
    """Whether the file's mask bands tell the pixels with data."""

    def __post_init__(self) -> None:
        validate(self)
        parse_stretch(self.stretch)

    def nodata_value(self) -> float | None:
        """The number chosen as nodata, None for `none` and where nothing was chosen."""
        return nodata_number(self.nodata)

    def validity_facts(self) -> dict[str, Any]:
        """The choices about what is data that differ from the file's own, for the provenance of a mask."""
        nodata = None if self.nodata is None else str(parse_nodata(str(self.nodata)))
        chosen = {"nodata": nodata, "alpha": self.alpha, "mask": self.mask}
        return {name: value for name, value in chosen.items() if value is not None and value is not True}


@dataclass(frozen=True, slots=True)
class ReadOptions(PixelOptions):
    """How a raster is read at any resolution."""

    antialias: bool = option(
        True,
        "--antialias/--no-antialias",
        help="Average what a coarser pixel covers; off: resample as the published settings.",
        panel="Resolution",
        advised=True,
    )
    """Average what a coarser pixel covers (as GDAL's bilinear does); off: the two nearest an axis, as published."""


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How the rasters that stay are laid out; the pixels are the same."""

    layout: Layout = option("geotiff", "--format", help="GeoTIFF, or cloud-optimised (COG).", panel="Outputs")
    """A COG has its overviews and index in front, for readers over the network."""
    compress: Compression = option(
        "deflate", help="How rasters are packed; deflate and lzw are read everywhere.", panel="Outputs"
    )
    """GDAL's name of a lossless compression, or `none`."""

    def __post_init__(self) -> None:
        validate(self)
