"""GeoPackage by SQLite: rows, spatial index and a QGIS style into a layer that GDAL has made."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.classes import Color
from segearth_cli.vector import rtree
from segearth_cli.vector.wkb import wkb

Statement = tuple[str, tuple[Any, ...]]
_LITTLE_ENDIAN_WITH_ENVELOPE = 0b011  # flags of a geometry's header, OGC 12-128 2.1.3

_SIGNS = "`~!@#$%^&*()+-={}|[]\\:\";'<>?,./"  # not allowed in front by GDAL's GeoPackage driver
_RESERVED = ("gpkg", "sqlite_", "rtree", "ogr_empty")  # beginnings of names
_TABLES = ("layer_styles",)  # of QGIS


class Insert:
    """Appends features to the layer `name` of an open GeoPackage, within one transaction."""

    def __init__(self, connection: sqlite3.Connection, name: str, fields: Sequence[str]) -> None:
        self._connection = connection
        (self._srs,) = connection.execute(
            "SELECT srs_id FROM gpkg_geometry_columns WHERE table_name = ?", (name,)
        ).fetchone()
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
        head = struct.pack("<2sBBi", b"GP", 0, _LITTLE_ENDIAN_WITH_ENVELOPE, self._srs)
        envelopes = boxes.astype("<f8").tobytes()
        blobs = (head + envelopes[i * 32 : i * 32 + 32] + shape for i, shape in enumerate(wkb(geometry)))
        self._connection.executemany(
            self._row, ((fid, blob, *row) for fid, blob, row in zip(fids, blobs, rows, strict=True))
        )
        self._boxes.append(boxes)
        self.count += len(geometry)

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
        rtree.build(connection, f"rtree_{name}_geom".replace('"', '""'), boxes)
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


def style(name: str, colors: Mapping[str, Color]) -> list[Statement]:
    """Statements that give the layer `name` a default style in QGIS: a colour for each value of the field `class`."""
    contents = (
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change) "
        "VALUES ('layer_styles', 'attributes', 'layer_styles', '', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
    )
    row = (
        "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
        "styleQML, styleSLD, useAsDefault, description, owner, ui) VALUES ('', '', ?, 'geom', ?, ?, '', 1, ?, '', NULL)"
    )
    return [(_STYLES, ()), (contents, ()), (row, (name, name, qml(colors), "Class colours of the mask"))]


_STYLES = """CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
  f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
  useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
  update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))"""


def qml(colors: Mapping[str, Color]) -> str:
    """A QGIS style: polygons filled by their class, with a thin darker border."""
    categories, symbols = [], []
    for i, (name, color) in enumerate(colors.items()):
        text = quoteattr(name)
        categories.append(f'<category render="true" symbol="{i}" value={text} label={text} type="string"/>')
        fill = ",".join(map(str, (*color, 255)))
        border = ",".join(map(str, (*(c * 6 // 10 for c in color), 255)))
        symbols.append(
            f'<symbol type="fill" name="{i}" alpha="0.7" clip_to_extent="1" force_rhr="0">'
            f'<layer class="SimpleFill" enabled="1" locked="0" pass="0"><Option type="Map">'
            f'<Option type="QString" name="color" value="{fill}"/>'
            f'<Option type="QString" name="outline_color" value="{border}"/>'
            '<Option type="QString" name="outline_style" value="solid"/>'
            '<Option type="QString" name="outline_width" value="0.2"/>'
            '<Option type="QString" name="outline_width_unit" value="MM"/>'
            '<Option type="QString" name="style" value="solid"/>'
            "</Option></layer></symbol>"
        )
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
        '<qgis version="3.28.0" styleCategories="Symbology">'
        '<renderer-v2 type="categorizedSymbol" attr="class" forceraster="0" symbollevels="0" enableorderby="0">'
        f"<categories>{''.join(categories)}</categories><symbols>{''.join(symbols)}</symbols>"
        "</renderer-v2><blendMode>0</blendMode><layerOpacity>1</layerOpacity></qgis>"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
