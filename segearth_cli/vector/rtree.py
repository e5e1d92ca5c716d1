"""The spatial index of SQLite's R*Tree module, built whole: tens of times faster than box by box."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CELLS = 51  # of a node, RTREE_MAXCELLS of SQLite
_CELL = np.dtype([("id", ">i8"), ("box", ">f4", 4)])  # sqlite.org/rtree.html, "shadow tables"
_ROOT = 1


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of one level: cells (n * CELLS,), empty ones last in a node; used (n,), boxes (n, 4)."""

    cells: NDArray[np.void]
    used: NDArray[np.int64]
    boxes: NDArray[np.float32]


def build(connection: sqlite3.Connection, index: str, boxes: NDArray[np.float64]) -> None:
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
