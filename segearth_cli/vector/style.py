"""The style of a layer within a GeoPackage, where QGIS looks for it."""

from __future__ import annotations

from collections.abc import Mapping

from segearth_cli.class_colors import Color
from segearth_cli.styles import polygon_qml
from segearth_cli.vector.geopackage import Statement


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
    return [(_STYLES, ()), (contents, ()), (row, (name, name, polygon_qml(colors), "Class colours of the mask"))]


_STYLES = """CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
  f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
  useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
  update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))"""
