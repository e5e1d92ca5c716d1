"""Outputs in a real QGIS: every class in the legend once, in its colour. Needs Debian's qgis and python3-qgis."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import from_origin
from tiers import every

from segearth_cli.class_colors import default_color
from segearth_cli.classes import NODATA, ClassSet
from segearth_cli.raster import Outputs, Rows, Window, write_array, writing
from segearth_cli.raster import open_scene as opened
from segearth_cli.vector import VectorizeOptions, vectorize

pytestmark = [pytest.mark.qgis, pytest.mark.slow]

ROOT = Path(__file__).parents[1]
PYTHON = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")  # that of the system, which QGIS extends
SUFFIXES = ("gpkg", "geojson", "fgb", "shp")
ODD = ("a & b", "<i>x</i>", "Straße 'x' \"y\"", "水体", "</script><b>", "]]>")
SETS = {
    "odd": (ODD, None),
    "one": (("water",), None),
    "many": (tuple(f"class {i}" for i in range(255)), None),
    "black": (("coal", "night", "snow"), ((0, 0, 0), (0, 0, 0), (255, 255, 255))),
}


def in_qgis(*arguments):
    environment = {key: text for key, text in os.environ.items() if not key.startswith("PYTHON")}
    words = [PYTHON, ROOT / "scripts" / "check_in_qgis.py", *arguments]
    environment |= {"QT_QPA_PLATFORM": "offscreen"}
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Masks and polygons of each set of classes, by its name."""
    found = {}
    for title, (names, colors) in SETS.items():
        folder = tmp_path_factory.mktemp(title)
        colors = colors or tuple(default_color(name, code) for code, name in enumerate(names))
        classes = ClassSet(names, tuple((name,) for name in names), colors)
        write_array(
            folder / "scene.tif",
            np.zeros((3, 80, 90), np.uint8),
            transform=from_origin(356000, 5645000, 0.5, 0.5),
            crs="EPSG:32632",
            nodata=None,
        )
        scene = opened(str(folder / "scene.tif"))
        codes = np.arange(80 * 90).reshape(80, 90) // 9 % (len(names) + 1)
        codes = np.where(codes == len(names), NODATA, codes).astype(np.uint8)
        with writing(Outputs(folder / "m.tif"), scene, classes, {}) as writer:
            writer.write(Rows(Window(0, 0, 80, 90), codes, codes, None))
        layers = [folder / f"m.{suffix}" for suffix in SUFFIXES]
        for layer in layers:
            vectorize(folder / "m.tif", layer, VectorizeOptions(quiet=True))
        found[title] = [folder / "m.tif", *layers]
    return found


@pytest.mark.parametrize("title", every(2, SETS))
def test_the_legend_shows_every_class_once_under_its_name_in_its_colour(outputs, title, tmp_path):
    done = in_qgis(*outputs[title], "--png", tmp_path / "look.png")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"{len(SETS[title][0])} classes as told, opacity 0.70") == len(SUFFIXES) + 2
    assert (tmp_path / "look.png").stat().st_size > 5000


def test_the_check_sees_a_mask_without_its_style(outputs, tmp_path):
    bare = tmp_path / "m.tif"
    bare.write_bytes(outputs["odd"][0].read_bytes())
    (tmp_path / "m.qml").write_text("<qgis/>")
    assert in_qgis(bare).returncode == 1
