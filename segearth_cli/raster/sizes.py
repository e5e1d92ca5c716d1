"""Lengths and areas as people give them, in pixels or metres; what they are in a raster is told by `ground`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from segearth_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Size:
    """A length or an area."""

    value: float
    """How many of the unit, 0 or more."""
    unit: str
    """`px`: pixel sides of a length, pixels of an area; `m`, `m2`: metres and square metres on the ground."""

    @property
    def text(self) -> str:
        """As one would type it."""
        return f"{self.value:g}{self.unit}"


def parse_length(text: str, option: str) -> Size:
    """A length such as `1px` or `0.5m`. Raises UsageError.

    >>> parse_length("1.5px", "--simplify")
    Size(value=1.5, unit='px')
    """
    return _size(text, ("px", "m"), option, "1px or 0.5m")


def parse_area(text: str, option: str) -> Size:
    """An area such as `200px` or `50m2`. Raises UsageError."""
    return _size(text, ("px", "m2"), option, "200px or 50m2")


def _size(text: str, units: tuple[str, ...], option: str, example: str) -> Size:
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+2?)\s*", text.casefold().replace("²", "2"))
    if not match or match[2] not in units or math.isinf(float(match[1])):
        raise UsageError(f"{option} {text}: not a size; give a number with its unit, e.g. {option} {example}")
    return Size(float(match[1]), match[2])
