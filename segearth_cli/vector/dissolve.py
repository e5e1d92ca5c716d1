"""Polygons of one class as one multipolygon, its parts on disk until it is written: it may be larger than memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.disk import telling_temporary
from segearth_cli.files import growing

_PIECE = 1 << 24  # bytes that are read at once


def _head(parts: int) -> bytes:
    """What the WKB of a multipolygon of so many parts begins with."""
    return struct.pack("<BII", 1, 6, parts)


@dataclass(slots=True)
class Whole:
    """A multipolygon as the WKB of its parts in a file."""

    path: Path
    """The file: one polygon after another."""
    parts: int = 0
    """How many there are."""
    size: int = 0
    """Bytes of the parts."""
    batches: list[tuple[int, int]] = field(default_factory=list)
    """How many parts were added at once, and their bytes."""
    bounds: NDArray[np.float64] = field(default_factory=lambda: np.array([np.inf, np.inf, -np.inf, -np.inf]))
    """Least x and y, greatest x and y."""

    def add(self, polygons: NDArray[Any]) -> None:
        """Append polygons, at least one."""
        texts = shapely.to_wkb(polygons, byte_order=1).tolist()
        with growing(self.path, resumed=True) as file:
            file.writelines(texts)
        low, high = np.split(shapely.total_bounds(polygons), 2)
        self.bounds = np.concatenate([np.minimum(self.bounds[:2], low), np.maximum(self.bounds[2:], high)])
        self.parts += len(texts)
        size = sum(map(len, texts))
        self.size += size
        self.batches.append((len(texts), size))

    @property
    def head(self) -> bytes:
        """What its WKB begins with."""
        return _head(self.parts)

    def polygons(self) -> Iterator[NDArray[Any]]:
        """Its parts as polygons of shapely, as they were added."""
        with self.path.open("rb") as file:
            for parts, size in self.batches:
                yield shapely.get_parts(shapely.from_wkb(_head(parts) + file.read(size)))

    def pieces(self) -> Iterator[bytes]:
        """Its WKB, in pieces."""
        yield self.head
        with self.path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def wkb(self) -> bytes:
        """Its WKB at once."""
        return b"".join(self.pieces())


class Dissolved:
    """The multipolygon of each class, with sums over its parts."""

    def __init__(self, folder: Path, sums: int) -> None:
        """folder: for temporary files, which is there. sums: how many values of each polygon are summed."""
        self._folder, self._n = folder, sums
        self._wholes: dict[int, tuple[Whole, NDArray[np.float64]]] = {}

    def add(self, polygons: NDArray[Any], code: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Polygons (F,) on the map with their codes and values (F, n). Raises SegEarthError when the disk is full."""
        for one in np.unique(code).tolist():
            of = code == one
            whole, total = self._wholes.setdefault(one, (Whole(self._folder / f"{one}.wkb"), np.zeros(self._n)))
            with telling_temporary(self._folder):
                whole.add(polygons[of])
            total += values[of].sum(axis=0)

    def __iter__(self) -> Iterator[tuple[int, Whole, NDArray[np.float64]]]:
        """Code, multipolygon and sums of each class."""
        for code, (whole, total) in sorted(self._wholes.items()):
            yield code, whole, total
