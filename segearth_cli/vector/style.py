"""Styles for QGIS: polygons in the colours of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from segearth_cli.classes import Color
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
