"""GeoPackage by SQLite: names of layers, and what is added to a layer that GDAL has written."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from segearth_cli.vector.dissolve import Whole

Statement = tuple[str, tuple[Any, ...]]
_LITTLE_ENDIAN_WITH_ENVELOPE = 0b011  # flags of a geometry's header, OGC 12-128 2.1.3
_GEOMETRY = "geom"

_SIGNS = "`~!@#$%^&*()+-={}|[]\\:\";'<>?,./"  # not allowed in front by GDAL's GeoPackage driver
_RESERVED = ("gpkg", "sqlite_", "rtree", "ogr_empty")  # beginnings of names
_TABLES = ("layer_styles",)  # of QGIS


class Edit:
    """An open GeoPackage with a layer `name`, within one transaction."""

    def __init__(self, connection: sqlite3.Connection, name: str, fields: Sequence[str]) -> None:
        self._connection, self._name = connection, name
        self._index = f"rtree_{name}_{_GEOMETRY}"
        columns = ", ".join(f'"{field}"' for field in (_GEOMETRY, *fields))
        self._row = f"INSERT INTO {_quoted(name)} ({columns}) VALUES (?{', ?' * len(fields)})"

    def insert(self, shape: Whole, row: tuple[Any, ...]) -> None:
        """Append a multipolygon that lies in a file, in pieces where Python has the means (3.11)."""
        run = self._connection.execute
        (srs,) = run("SELECT srs_id FROM gpkg_geometry_columns WHERE table_name = ?", (self._name,)).fetchone()
        west, south, east, north = shape.bounds.tolist()
        box = (west, east, south, north)
        head = struct.pack("<2sBBi4d", b"GP", 0, _LITTLE_ENDIAN_WITH_ENVELOPE, srs, *box)
        if hasattr(self._connection, "blobopen"):
            size = len(head) + len(shape.head) + shape.size
            fid = run(self._row.replace("(?", "(zeroblob(?)"), (size, *row)).lastrowid or 0
            with self._connection.blobopen(self._name, _GEOMETRY, fid) as blob:
                for piece in chain([head], shape.pieces()):
                    blob.write(piece)
        else:
            fid = run(self._row, (head + shape.wkb(), *row)).lastrowid or 0
        run(f"INSERT INTO {_quoted(self._index)} VALUES (?, ?, ?, ?, ?)", (fid, *box))
        run(
            "UPDATE gpkg_contents SET min_x = min(ifnull(min_x, ?1), ?1), max_x = max(ifnull(max_x, ?2), ?2), "
            "min_y = min(ifnull(min_y, ?3), ?3), max_y = max(ifnull(max_y, ?4), ?4) WHERE table_name = ?5",
            (*box, self._name),
        )

    def run(self, statements: Iterable[Statement]) -> None:
        """Execute further statements in the same transaction."""
        for sql, values in statements:
            self._connection.execute(sql, values)


@contextmanager
def editing(path: Path, name: str, fields: Sequence[str], count: int) -> Iterator[Edit]:
    """The layer `name` of the GeoPackage `path`; triggers that keep its index by functions of GDAL rest meanwhile.

    count: its features. Raises OSError where there are fewer, in the layer or in its index.
    """
    index = f"rtree_{name}_{_GEOMETRY}"
    connection = sqlite3.connect(path.absolute(), isolation_level=None)  # relative, file:a were a URI
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for table in (name, f"{index}_rowid"):
            if connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone() != (count,):
                raise OSError("the file ends before its features do")
        every = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (name,)
        )
        triggers = [(trigger, sql) for trigger, sql in every if trigger.startswith(f"{index}_")]
        for trigger, _ in triggers:
            connection.execute(f"DROP TRIGGER {_quoted(trigger)}")
        yield Edit(connection, name, fields)
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


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
