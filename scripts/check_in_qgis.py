"""Opens what segearth wrote in a real QGIS: is every class in the legend once, named, in its colour?

QT_QPA_PLATFORM=offscreen /usr/bin/python3 scripts/check_in_qgis.py scene.mask.tif scene.gpkg scene.shp --png look.png

Runs in QGIS's own Python (Debian: `apt install qgis python3-qgis`), which need not have segearth. The first file is a
mask, whose tag tells the classes; the others are masks of the same run (VRT, COG) or its polygons. Each is opened as
QGIS opens it for a user; masks also as a copy with their `.qml` alone, without `.aux.xml`. Prints a line a layer; exit
code 1 when a legend differs. --png draws the layers side by side, each with the legend that QGIS shows for it.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from osgeo import gdal
from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCategorizedSymbolRenderer,
    QgsLayerTree,
    QgsLayerTreeModel,
    QgsLegendRenderer,
    QgsLegendSettings,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsPalettedRasterRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsRasterSymbolLegendNode,
    QgsRenderContext,
    QgsSymbolLegendNode,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize, Qt
from qgis.PyQt.QtGui import QColor, QFont, QImage, QPainter

RASTERS = (".tif", ".tiff", ".vrt")
SIDE = 300  # pixels of the map of a layer in the picture
BESIDE = 230  # pixels of a legend
LARGER = 2.5  # legends than QGIS draws them for paper

Rows = dict[str, str]  # colours `#rrggbb` by class name


def classes_of(mask: Path) -> Rows:
    """Colours by class name from a mask's tag."""
    told = json.loads(gdal.Open(str(mask)).GetMetadataItem("SEGEARTH_CLASSES"))
    return {one["name"]: one["color"] for one in told}


def opened(path: Path) -> Any:
    """A file as a layer, styled as QGIS styles it when a user opens it."""
    raster = path.suffix.casefold() in RASTERS
    layer = QgsRasterLayer(str(path), path.name) if raster else QgsVectorLayer(str(path), path.name, "ogr")
    if not layer.isValid():
        raise SystemExit(f"{path}: QGIS cannot open it: {layer.error().summary()}")
    return layer


def style_of(layer: Any) -> Rows:
    """Colours by name in the renderer of a layer; empty when it is none of classes."""
    renderer = layer.renderer()
    if isinstance(renderer, QgsPalettedRasterRenderer):
        return {one.label: one.color.name() for one in renderer.classes()}
    if isinstance(renderer, QgsCategorizedSymbolRenderer):
        return {one.label(): one.symbol().color().name() for one in renderer.categories()}
    return {}


def legend_of(layer: Any) -> list[str]:
    """The rows that QGIS shows in the legend of a layer, without its heading."""
    root = QgsLayerTree()
    node = root.addLayer(layer)
    model = QgsLayerTreeModel(root)  # owns the rows
    kinds = (QgsRasterSymbolLegendNode, QgsSymbolLegendNode)
    return [row.data(Qt.DisplayRole) for row in model.layerLegendNodes(node) if isinstance(row, kinds)]


def wanted_of(layer: Any, style: Rows, classes: Rows) -> Rows:
    """What the legend of a layer must show: all classes of a mask; of polygons those there are, and no strangers."""
    if isinstance(layer, QgsRasterLayer):
        return classes
    there = {feature["class"] for feature in layer.getFeatures()}
    return {name: color for name, color in classes.items() if name in there or name in style}


def colours_drawn(layer: Any) -> set[str]:
    """The colours of a layer as QGIS draws it on nothing, opaque."""
    copy = layer.clone()
    copy.setOpacity(1.0)
    image = rendered(copy, QColor(0, 0, 0, 0))
    pixels = {image.pixel(x, y) for x in range(0, SIDE, 3) for y in range(0, SIDE, 3)}
    return {QColor(pixel).name() for pixel in pixels if pixel >> 24 == 255}


def rendered(layer: Any, ground: Any) -> Any:
    """A layer drawn as a picture."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setBackgroundColor(ground)
    settings.setOutputSize(QSize(SIDE, SIDE))
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setFlag(QgsMapSettings.Antialiasing, False)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage().convertToFormat(QImage.Format_ARGB32)


def faults(layer: Any, classes: Rows) -> Iterator[str]:
    """What is wrong with the legend of a layer."""
    style, legend = style_of(layer), legend_of(layer)
    wanted = wanted_of(layer, style, classes)
    if style != wanted:
        yield f"styled {style}, wanted {wanted}"
    if sorted(legend) != sorted(wanted):
        yield f"{len(legend)} rows in the legend, wanted {len(wanted)}: {legend[:9]}"
    strangers = colours_drawn(layer) - set(wanted.values()) if isinstance(layer, QgsRasterLayer) else set()
    if strangers:
        yield f"draws {sorted(strangers)[:9]}, no colours of classes"


def alone(path: Path, folder: Path) -> Path:
    """A copy of a mask with its `.qml` and nothing else."""
    shutil.copyfile(path.with_suffix(".qml"), folder / f"alone-{path.stem}.qml")
    return Path(shutil.copyfile(path, folder / f"alone-{path.stem}{path.suffix}"))


def picture(layers: Sequence[Any], place: Path) -> None:
    """Draws the layers side by side with the legends that QGIS shows for them."""
    columns = min(3, len(layers))
    width, height = SIDE + BESIDE, SIDE + 30
    image = QImage(width * columns, height * math.ceil(len(layers) / columns), QImage.Format_RGB32)
    image.fill(Qt.white)
    painter = QPainter(image)
    font = QFont("DejaVu Sans")
    font.setPixelSize(14)
    painter.setFont(font)
    for number, layer in enumerate(layers):
        left, top = number % columns * width, number // columns * height
        painter.drawText(left + 6, top + 18, layer.name())
        painter.drawImage(left + 4, top + 26, rendered(layer, QColor("white")))
        tree = QgsLayerTree()
        tree.addLayer(layer)
        model = QgsLayerTreeModel(tree)  # the renderer owns neither
        legend = QgsLegendRenderer(model, QgsLegendSettings())
        painter.save()
        painter.translate(left + SIDE + 10, top + 20)
        painter.scale(LARGER, LARGER)
        legend.drawLegend(QgsRenderContext.fromQPainter(painter))
        painter.restore()
    painter.end()
    image.save(str(place))


def check(paths: Sequence[Path], png: Path | None) -> int:
    """Checks all files; the exit code."""
    classes = classes_of(paths[0])
    wrong = 0
    layers = []
    with tempfile.TemporaryDirectory() as folder:
        copies = [alone(path, Path(folder)) for path in paths if path.suffix.casefold() in (".tif", ".tiff")]
        for path in [*paths, *copies]:
            layer = opened(path)
            layers.append(layer)
            found = list(faults(layer, classes))
            wrong += bool(found)
            opacity = f"opacity {layer.opacity():.2f}"
            print(f"{path.name}: {'; '.join(found) or f'{len(style_of(layer))} classes as told, {opacity}'}")
        if len({round(layer.opacity(), 3) for layer in layers}) > 1:
            print("layers differ in opacity")
            wrong += 1
        if png is not None:
            picture(layers[: len(paths)], png)
        QgsProject.instance().clear()
    return 1 if wrong else 0


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--png", type=Path)
    given = parser.parse_args()
    app = QgsApplication([], False)
    app.initQgis()
    print(f"QGIS {Qgis.QGIS_VERSION}, GDAL {gdal.__version__}")
    code = check(given.paths, given.png)
    sys.stdout.flush()
    app.exitQgis()
    return code


if __name__ == "__main__":
    sys.exit(main())
