"""What lies beside a raster: the `.aux.xml` of GDAL with class names and attribute table, the `.qml` of QGIS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from segearth_cli.classes import OWN_TAGS, ClassSet
from segearth_cli.files import growing
from segearth_cli.raster.paths import local_path
from segearth_cli.styles import Legend, legible, write_style

OURS = (OWN_TAGS, "STATISTICS_", "TIFFTAG_")  # beginnings of the tags that describe the file which is replaced


# Columns of the attribute table, with GDAL's numbers for type (0 whole, 1 real, 2 text) and usage.
_COLUMNS = (("Value", 0, 5), ("Count", 1, 1), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))


def write_side_files(
    temporary: Path, path: Path, classes: ClassSet | None, counts: Mapping[int, int] | None = None
) -> None:
    """Writes what goes beside `temporary`, which is to replace the raster `path`; nothing where nothing is to be told.

    classes: of a mask; counts: its pixels by code. Into the side file goes what GDAL left there (a CRS that GeoTIFF
    cannot express), names and attribute table of the classes, and of the old side file of `path` the tags that somebody
    added: they tell of the place, where statistics, histograms, georeference and tables tell of the pixels that go.
    """
    write_style(temporary, path, legend=None if classes is None else legend(classes))
    root = _read(_beside(temporary))
    before = ET.tostring(root)
    if classes is not None:
        band = root.find("PAMRasterBand[@band='1']")
        band = ET.SubElement(root, "PAMRasterBand", {"band": "1"}) if band is None else band
        for old in [*band.findall("CategoryNames"), *band.findall("GDALRasterAttributeTable")]:
            band.remove(old)
        band.extend(tables(classes, counts))
    for tags in _added(_read(_beside(path)), root.findall("Metadata")):
        root.append(tags)
    if ET.tostring(root) != before:
        ET.indent(root)
        with growing(_beside(temporary), resumed=False) as f:  # takes its place with the raster
            f.write(f"{ET.tostring(root, encoding='unicode')}\n".encode())


def legend(classes: ClassSet) -> Legend:
    """Names and colours by code."""
    return dict(enumerate(zip(classes.names, classes.colors, strict=True)))


def tables(classes: ClassSet, counts: Mapping[int, int] | None = None) -> list[ET.Element]:
    """What GDAL keeps of the classes of a band: their names, and a table with a row for each.

    counts: pixels by code; None leaves their column out.
    """
    names = ET.Element("CategoryNames")
    for name in classes.names:
        ET.SubElement(names, "Category").text = legible(name)
    table = ET.Element("GDALRasterAttributeTable", tableType="thematic")
    columns = [column for column in _COLUMNS if counts is not None or column[0] != "Count"]
    for index, column in enumerate(columns):
        field = ET.SubElement(table, "FieldDefn", index=str(index))
        for key, value in zip(("Name", "Type", "Usage"), column, strict=True):
            ET.SubElement(field, key).text = str(value)
    for code, (name, (red, green, blue)) in legend(classes).items():
        row = ET.SubElement(table, "Row", index=str(code))
        cells = {"Value": code, "Count": (counts or {}).get(code, 0), "Class": legible(name)}
        cells |= {"Red": red, "Green": green, "Blue": blue}
        for title, _, _ in columns:
            ET.SubElement(row, "F").text = str(cells[title])
    return [names, table]


def table_counts(path: str) -> dict[int, int] | None:
    """Pixels by code as the attribute table of a mask on this machine tells them; None where none does."""
    place = local_path(path)
    if place is None:
        return None
    root = _root(place) if place.suffix.casefold() == ".vrt" else _read(_beside(place))
    found = next(root.iter("GDALRasterAttributeTable"), None) if root is not None else None
    if found is None:
        return None
    titles = [field.findtext("Name") for field in found.findall("FieldDefn")]
    try:
        code, count = titles.index("Value"), titles.index("Count")
        cells = [[cell.text or "" for cell in row.findall("F")] for row in found.findall("Row")]
        return {int(row[code]): round(float(row[count])) for row in cells} or None
    except (ValueError, IndexError):
        return None


def _root(path: Path) -> ET.Element | None:
    try:
        return ET.parse(path).getroot()
    except (OSError, ET.ParseError):
        return None


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".aux.xml")


def _read(path: Path) -> ET.Element:
    root = _root(path)
    return root if root is not None and root.tag == "PAMDataset" else ET.Element("PAMDataset")


def _added(old: ET.Element, new: Iterable[ET.Element]) -> Iterable[ET.Element]:
    """The tags of a raster that are neither ours nor GDAL's, by domain."""
    taken = {tags.get("domain") for tags in new}
    for tags in old.findall("Metadata"):
        for tag in tags.findall("MDI"):
            if (tag.get("key") or "").startswith(OURS):
                tags.remove(tag)
        if len(tags) and tags.get("domain") not in taken:
            yield tags
