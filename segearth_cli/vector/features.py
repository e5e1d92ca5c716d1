"""What a vector layer is made of: its description and its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.class_colors import Color
from segearth_cli.vector.dissolve import Whole

FIELDS = {
    "class_id": "int",
    "class": "str",
    "area_m2": "float",
    "perimeter_m": "float",
    "confidence": "float",
    "part_of": "int",
    "color": "str",
}


@dataclass(frozen=True, slots=True)
class VectorLayer:
    """What a vector layer is, before its features."""

    name: str
    """What it is called in formats whose layers have names."""
    crs: str | None
    """CRS of its geometries as WKT, or None."""
    geometry: str
    """Polygon or MultiPolygon."""
    fields: tuple[str, ...]
    """Some of FIELDS, in the order of their columns."""
    colors: dict[str, Color]
    """Colours of classes by name; complete when the file is closed."""
    pixel: float
    """Side of a pixel of the mask, in units of the CRS."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """How mask and polygons were made, where the format has a place for it."""


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """F features of a layer."""

    geometry: NDArray[Any]
    """(F,) polygons in the layer's CRS, all of shapely or each a `Whole` in a file."""
    columns: Mapping[str, NDArray[Any]]
    """Values (F,) of each field, by its name."""

    def __len__(self) -> int:
        return len(self.geometry)

    @property
    def in_files(self) -> bool:
        """Whether its geometries lie in files."""
        return len(self) > 0 and isinstance(self.geometry[0], Whole)

    def shapes(self) -> NDArray[Any]:
        """Its geometries of shapely, those of files in memory."""
        return np.asarray(shapely.from_wkb(self.wkb()), object) if self.in_files else self.geometry

    def wkb(self) -> NDArray[Any]:
        """Its geometries as little-endian WKB, in an array of bytes."""
        if not self.in_files:
            return np.asarray(shapely.to_wkb(self.geometry, byte_order=1), object)
        texts = np.empty(len(self), object)
        texts[:] = [shape.wkb() for shape in self.geometry]
        return texts

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The values of each feature, in Python's types."""
        return zip(*(values.tolist() for values in self.columns.values()), strict=True)


Write = Callable[[FeatureBatch], None]
