"""Styles for QGIS: classes in their colours, for masks and for polygons; the `.qml` that QGIS reads beside a layer.

QGIS looks for one name whatever the layer's kind: `a.qml` beside `a.tif` and `a.shp`. So one file holds a part for
rasters and one for polygons, and who writes one of them leaves the other alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from segearth_cli.beside import STYLE, STYLED, side_files
from segearth_cli.class_colors import Color
from segearth_cli.files import growing

OPACITY = 0.7  # of a layer, so that what lies under it can be seen; the same for masks and polygons
_OURS = "<!-- written by segearth -->"  # gone when QGIS or somebody else saves a style of their own
_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
_RASTER, _POLYGONS = "pipe", "renderer-v2"

Legend = Mapping[int, tuple[str, Color]]  # name and colour by code


def polygon_qml(colors: Mapping[str, Color]) -> str:
    """A style for polygons: filled by the value of their field `class`, with a thin darker border."""
    return _document([_polygon_part(colors)])


def write_style(
    temporary: Path, path: Path, *, legend: Legend | None = None, colors: Mapping[str, Color] | None = None
) -> None:
    """Writes the style beside `temporary`, which is to replace `path`; none where nothing is to be told or none goes.

    legend: of a mask; colors: of polygons, by name; neither: of a raster without classes. Of a style of our own that is
    there already the part for the other kind of layer stays, and classes of polygons in other files of this name too.
    """
    if style_path(temporary) not in side_files(temporary):
        return
    old = _own(style_path(path))
    parts = {tag: found for tag in (_RASTER, _POLYGONS) if (found := old.find(tag)) is not None}
    if colors is not None:
        shared = any(path.with_name(path.stem + other).exists() for other in STYLED if other != path.suffix.casefold())
        parts[_POLYGONS] = _polygon_part((_colors_of(parts.get(_POLYGONS)) if shared else {}) | dict(colors))
    else:
        parts.pop(_RASTER, None)
        if legend is not None:
            parts[_RASTER] = _mask_part(legend)
    if parts:
        with growing(style_path(temporary), resumed=False) as f:  # takes its place with the layer
            f.write(_document(parts.values()).encode())


def style_path(path: Path) -> Path:
    """Where QGIS looks for the style of a layer.

    >>> style_path(Path("a.mask.tif")).name
    'a.mask.qml'
    """
    return path.with_name(path.name.removesuffix(path.suffix) + STYLE)


def is_own(path: Path) -> bool:
    """Whether a file is a style that segearth wrote and nobody has saved since."""
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as f:
            return _OURS.encode() in f.read(len(_HEAD) + len(_OURS) + 4)
    except OSError:
        return False


def legible(name: str) -> str:
    """A name as XML can hold it: what is no character there is replaced."""
    return "".join(c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "\ufffd"
                   for c in name)  # fmt: skip


def _own(path: Path) -> ET.Element:
    try:
        return ET.parse(path).getroot() if is_own(path) else ET.Element("qgis")
    except (OSError, ET.ParseError):
        return ET.Element("qgis")


def _document(parts: object) -> str:
    root = ET.Element("qgis", version="3.22.0", styleCategories="Symbology")
    root.extend(parts)  # type: ignore[arg-type]
    ET.SubElement(root, "blendMode").text = "0"
    if root.find(_POLYGONS) is not None:
        ET.SubElement(root, "layerOpacity").text = str(OPACITY)
    ET.indent(root)
    return f"{_HEAD}\n{_OURS}\n{ET.tostring(root, encoding='unicode')}\n"


def _mask_part(legend: Legend) -> ET.Element:
    pipe = ET.Element(_RASTER)
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity=str(OPACITY), alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    rows = ET.SubElement(renderer, "colorPalette")
    for code, (name, color) in sorted(legend.items()):
        ET.SubElement(rows, "paletteEntry", value=str(code), label=legible(name), color=hexadecimal(color), alpha="255")
    return pipe


def hexadecimal(color: Color) -> str:
    """A colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def _polygon_part(colors: Mapping[str, Color]) -> ET.Element:
    renderer = ET.Element(
        _POLYGONS, type="categorizedSymbol", attr="class", forceraster="0", symbollevels="0", enableorderby="0"
    )
    categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    for number, (name, color) in enumerate(colors.items()):
        row = {"render": "true", "symbol": str(number), "value": legible(name), "label": legible(name)}
        ET.SubElement(categories, "category", row, type="string")
        symbol = ET.SubElement(
            symbols, "symbol", type="fill", name=str(number), alpha="1", clip_to_extent="1", force_rhr="0"
        )
        layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
        told = ET.SubElement(layer, "Option", type="Map")
        look = {
            "color": _text((*color, 255)),
            "outline_color": _text((*(c * 6 // 10 for c in color), 255)),
            "outline_style": "solid",
            "outline_width": "0.2",
            "outline_width_unit": "MM",
            "style": "solid",
        }
        for key, value in look.items():
            ET.SubElement(told, "Option", type="QString", name=key, value=value)
            ET.SubElement(layer, "prop", k=key, v=value)  # as QGIS before 3.26 reads it
    return renderer


def _colors_of(part: ET.Element | None) -> dict[str, Color]:
    """The colours by name that `_polygon_part` was made of."""
    if part is None:
        return {}
    fills = {s.get("name"): s.find(".//Option[@name='color']") for s in part.iter("symbol")}
    found = {}
    for row in part.iter("category"):
        fill = fills.get(row.get("symbol"))
        if fill is not None:
            r, g, b = map(int, (fill.get("value") or "0,0,0").split(",")[:3])
            found[row.get("value") or ""] = (r, g, b)
    return found


def _text(color: tuple[int, ...]) -> str:
    return ",".join(map(str, color))
