"""GeoPackage by SQLite: rows and their spatial index into a layer that GDAL has made.

The index, of SQLite's R*Tree module, is built whole: tens of times faster than box by box.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.vector.dissolve import Whole
from segearth_cli.vector.wkb import wkb

Statement = tuple[str, tuple[Any, ...]]
_LITTLE_ENDIAN_WITH_ENVELOPE = 0b011  # flags of a geometry's header, OGC 12-128 2.1.3

_SIGNS = "`~!@#$%^&*()+-={}|[]\\:\";'<>?,./"  # not allowed in front by GDAL's GeoPackage driver
_RESERVED = ("gpkg", "sqlite_", "rtree", "ogr_empty")  # beginnings of names
_TABLES = ("layer_styles",)  # of QGIS
CELLS = 51  # of a node, RTREE_MAXCELLS of SQLite
_CELL = np.dtype([("id", ">i8"), ("box", ">f4", 4)])  # sqlite.org/rtree.html, "shadow tables"
_ROOT = 1


class Insert:
    """Appends features to the layer `name` of an open GeoPackage, within one transaction."""

    def __init__(self, connection: sqlite3.Connection, name: str, fields: Sequence[str]) -> None:
        self._connection, self._name = connection, name
        (srs,) = connection.execute("SELECT srs_id FROM gpkg_geometry_columns WHERE table_name = ?", (name,)).fetchone()
        self._head = struct.pack("<2sBBi", b"GP", 0, _LITTLE_ENDIAN_WITH_ENVELOPE, srs)
        columns = ", ".join(f'"{field}"' for field in ("fid", "geom", *fields))
        marks = ", ".join("?" * (len(fields) + 2))
        self._row = f"INSERT INTO {_quoted(name)} ({columns}) VALUES ({marks})"
        self._boxes = [np.empty((0, 4))]
        self.count = 0

    def __call__(self, geometry: NDArray[Any], rows: Iterable[tuple[Any, ...]]) -> None:
        """Append geometries (F,) with their rows of field values."""
        if not len(geometry):
            return
        fids = range(self.count + 1, self.count + len(geometry) + 1)
        boxes = shapely.bounds(geometry)[:, [0, 2, 1, 3]]
        envelopes = boxes.astype("<f8").tobytes()
        blobs = (self._head + envelopes[i * 32 : i * 32 + 32] + shape for i, shape in enumerate(wkb(geometry)))
        self._connection.executemany(
            self._row, ((fid, blob, *row) for fid, blob, row in zip(fids, blobs, rows, strict=True))
        )
        self._boxes.append(boxes)
        self.count += len(geometry)

    def whole(self, shape: Whole, row: tuple[Any, ...]) -> None:
        """Append a multipolygon that lies in a file, in pieces where Python has the means (3.11)."""
        self.count += 1
        boxes = shape.bounds[[0, 2, 1, 3]]
        head = self._head + boxes.astype("<f8").tobytes()
        if not hasattr(self._connection, "blobopen"):
            self._connection.execute(self._row, (self.count, head + shape.wkb(), *row))
        else:
            size = len(head) + len(shape.head) + shape.size
            self._connection.execute(self._row.replace("?, ?", "?, zeroblob(?)", 1), (self.count, size, *row))
            with self._connection.blobopen(self._name, "geom", self.count) as blob:
                for piece in chain([head], shape.pieces()):
                    blob.write(piece)
        self._boxes.append(boxes[None])

    @property
    def boxes(self) -> NDArray[np.float64]:
        """Boxes (n, 4), min x, max x, min y, max y, of all features so far."""
        return np.concatenate(self._boxes)

    def run(self, statements: Iterable[Statement]) -> None:
        """Execute further statements in the same transaction."""
        for sql, values in statements:
            self._connection.execute(sql, values)


@contextmanager
def fill(path: Path, name: str, fields: Sequence[str]) -> Iterator[Insert]:
    """Rows for the empty layer `name` of the GeoPackage `path`; the triggers that keep its index rest meanwhile."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (name,)
        ).fetchall()
        for trigger, _ in triggers:
            connection.execute(f"DROP TRIGGER {_quoted(trigger)}")
        insert = Insert(connection, name, fields)
        yield insert
        boxes = insert.boxes
        build_index(connection, f"rtree_{name}_geom".replace('"', '""'), boxes)
        if len(boxes):
            extent = (*boxes[:, ::2].min(axis=0).tolist(), *boxes[:, 1::2].max(axis=0).tolist())
            connection.execute(
                "UPDATE gpkg_contents SET min_x = ?, min_y = ?, max_x = ?, max_y = ? WHERE table_name = ?",
                (*extent, name),
            )
        connection.execute("UPDATE gpkg_ogr_contents SET feature_count = ? WHERE table_name = ?", (insert.count, name))
        for _, sql in triggers:
            connection.execute(sql)
        connection.execute("COMMIT")
    finally:
        connection.close()


def table_name(name: str) -> str:
    """A name that GDAL takes for a layer: none of SQLite's and the format's own, no sign in front, Unicode.

    >>> table_name("(1)"), table_name("gpkg_x"), table_name("two words")
    ('1)', 'layer_gpkg_x', 'two words')
    """
    name = name.encode("utf-8", "replace").decode().lstrip(_SIGNS) or "layer"
    own = name.casefold().startswith(_RESERVED) or name.casefold() in _TABLES
    return f"layer_{name}" if own else name


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of one level of an index."""

    cells: NDArray[np.void]
    """(n * CELLS,): of n nodes, empty ones last in a node."""
    used: NDArray[np.int64]
    """(n,): cells of each node that are not empty."""
    boxes: NDArray[np.float32]
    """(n, 4): of the nodes, min x, max x, min y, max y."""


def build_index(connection: sqlite3.Connection, index: str, boxes: NDArray[np.float64]) -> None:
    """Fill the empty R*Tree table `index` with boxes (n, 4), min x, max x, min y, max y, of the rows 1 to n."""
    if not len(boxes):
        return
    order = _tiled(boxes)
    level = _level(order + 1, _outward(boxes)[order])
    leaf_of = np.empty(len(boxes), np.int64)
    first, depth = 2, 0
    while True:
        n = len(level.used)
        numbers = np.array([_ROOT]) if n == 1 else np.arange(first, first + n)
        children = level.cells["id"].reshape(n, CELLS)
        pairs = [(int(child), int(node)) for node, row, used in zip(numbers, children, level.used, strict=True)
                 for child in row[:used]] if depth else []  # fmt: skip
        connection.executemany(f'INSERT INTO "{index}_parent" VALUES (?, ?)', pairs)
        if not depth:
            leaf_of[order] = np.repeat(numbers, level.used)
        blobs = _blobs(level, depth if n == 1 else 0)
        connection.executemany(
            f'INSERT OR REPLACE INTO "{index}_node" VALUES (?, ?)', zip(numbers.tolist(), blobs, strict=True)
        )
        if n == 1:
            break
        level = _level(numbers, level.boxes)
        first, depth = first + n, depth + 1
    rows = enumerate(leaf_of.tolist(), start=1)
    connection.executemany(f'INSERT INTO "{index}_rowid" VALUES (?, ?)', rows)


def _tiled(boxes: NDArray[np.float64]) -> NDArray[np.int64]:
    """An order in which neighbours in the plane stand together: columns of about square tiles (Leutenegger 1997)."""
    x, y = boxes[:, 0] + boxes[:, 1], boxes[:, 2] + boxes[:, 3]
    columns = int(np.ceil(np.sqrt(len(boxes) / CELLS)))
    column = np.empty(len(boxes), np.int64)
    column[np.argsort(x, kind="stable")] = np.arange(len(boxes)) * columns // len(boxes)
    return np.lexsort((y, column))


def _outward(boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Boxes in single precision that hold the given ones."""
    single = boxes.astype(np.float32)
    low, high = single[:, ::2], single[:, 1::2]
    single[:, ::2] = np.where(low > boxes[:, ::2], np.nextafter(low, np.float32(-np.inf)), low)
    single[:, 1::2] = np.where(high < boxes[:, 1::2], np.nextafter(high, np.float32(np.inf)), high)
    return single


def _level(ids: NDArray[np.int64], boxes: NDArray[np.float32]) -> _Level:
    n = -(-len(ids) // CELLS)
    cells = np.zeros(n * CELLS, _CELL)
    cells["id"][: len(ids)], cells["box"][: len(ids)] = ids, boxes
    starts = np.arange(0, len(ids), CELLS)
    low, high = np.minimum.reduceat(boxes, starts), np.maximum.reduceat(boxes, starts)
    both = np.stack([low[:, 0], high[:, 1], low[:, 2], high[:, 3]], axis=1)
    return _Level(cells, np.diff(np.append(starts, len(ids))), both)


def _blobs(level: _Level, depth: int) -> list[bytes]:
    """The nodes as SQLite keeps them: depth of the tree (in the root), number of cells, cells."""
    size = CELLS * _CELL.itemsize
    raw = level.cells.tobytes()
    head = depth.to_bytes(2, "big")
    return [
        head + used.to_bytes(2, "big") + raw[i * size : (i + 1) * size] for i, used in enumerate(level.used.tolist())
    ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
