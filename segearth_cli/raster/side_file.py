"""The `.aux.xml` beside a raster, where GDAL and QGIS look for what a GeoTIFF cannot hold, such as class names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as ET

from segearth_cli.classes import ClassSet
from segearth_cli.files import growing

OURS = ("SEGEARTH_", "STATISTICS_", "TIFFTAG_")  # beginnings of the tags that describe the file which is replaced


def write_side_file(temporary: Path, path: Path, classes: ClassSet | None) -> None:
    """Writes what goes beside `temporary`, which is to replace the raster `path`; nothing where nothing is to be told.

    That is what GDAL left there (a CRS that GeoTIFF cannot express), the class names, and of the old side file of
    `path` the tags that somebody added: they tell of the place, where statistics, histograms, georeference and class
    names tell of the pixels that go.
    """
    root = _read(_beside(temporary))
    before = ET.tostring(root)
    if classes is not None:
        band = root.find("PAMRasterBand[@band='1']")
        band = ET.SubElement(root, "PAMRasterBand", {"band": "1"}) if band is None else band
        for old in band.findall("CategoryNames"):
            band.remove(old)
        names = ET.SubElement(band, "CategoryNames")
        for name in classes.names:
            ET.SubElement(names, "Category").text = name
    for tags in _added(_read(_beside(path)), root.findall("Metadata")):
        root.append(tags)
    if ET.tostring(root) != before:
        ET.indent(root)
        with growing(_beside(temporary), resumed=False) as f:  # takes its place with the raster
            f.write(f"{ET.tostring(root, encoding='unicode')}\n".encode())


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".aux.xml")


def _read(path: Path) -> ET.Element:
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError):
        return ET.Element("PAMDataset")
    return root if root.tag == "PAMDataset" else ET.Element("PAMDataset")


def _added(old: ET.Element, new: Iterable[ET.Element]) -> Iterable[ET.Element]:
    """The tags of a raster that are neither ours nor GDAL's, by domain."""
    taken = {tags.get("domain") for tags in new}
    for tags in old.findall("Metadata"):
        for tag in tags.findall("MDI"):
            if (tag.get("key") or "").startswith(OURS):
                tags.remove(tag)
        if len(tags) and tags.get("domain") not in taken:
            yield tags
