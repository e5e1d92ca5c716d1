"""The QGIS plugin as users have it: installed from its zip, run by qgis_process, segearth in another environment."""

import ast
import configparser
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import fiona
import numpy as np
import pytest
import rasterio
from noise import save_scene

from scripts import plugin_zip

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "qgis" / "segearth").glob("*.py"))
PROCESS = shutil.which("qgis_process.bin") or shutil.which("qgis_process")  # Debian's wrapper adds a word of QGIS's own


def test_the_zip_holds_one_folder_with_what_qgis_asks_for(tmp_path):
    archive = zipfile.ZipFile(plugin_zip.build(tmp_path))
    names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"segearth"}
    assert {"segearth/__init__.py", "segearth/metadata.txt", "segearth/icon.svg", "segearth/LICENSE"} <= set(names)
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(archive.read("segearth/metadata.txt").decode())
    told = parser["general"]
    assert told["hasProcessingProvider"] == "yes"
    assert told["version"] in archive.filename
    assert plugin_zip.build(tmp_path / "again").read_bytes() == Path(archive.filename).read_bytes()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_heavy_is_imported_into_qgis(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))  # QGIS 3.22 may bring Python 3.9
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    tops = {name.split(".")[0] for name in found}
    assert tops <= {"qgis", "processing", *sys.stdlib_module_names}


@pytest.fixture(scope="module")
def installed(tmp_path_factory, at_hand_program):
    """A fresh profile of QGIS with the plugin, and the environment of a process that uses it."""
    home = tmp_path_factory.mktemp("home")
    plugins = home / ".local/share/QGIS/QGIS3/profiles/default/python/plugins"
    zipfile.ZipFile(plugin_zip.build(home / "dist")).extractall(plugins)
    left_out = ("PYTHON", "SEGEARTH", "XDG_")
    environment = {key: text for key, text in os.environ.items() if not key.startswith(left_out)}
    environment |= {"HOME": str(home), "QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1"}
    environment |= {"SEGEARTH_EXECUTABLE": str(at_hand_program), "SEGEARTH_CACHE": str(home / "cache")}
    qgis(environment, "plugins", "enable", "segearth")
    return environment


def qgis(environment, *words):
    """A finished qgis_process."""
    return subprocess.run([PROCESS, *map(str, words)], capture_output=True, text=True, env=environment, check=False)


def run(environment, name, **parameters):
    words = [f"--{key}={value}" for key, value in parameters.items()]
    return qgis(environment, "run", f"segearth:{name}", *words)


@pytest.fixture(scope="module")
def model(model_dir):
    """Parameters of the tiny model."""
    return {"MODEL": f"local-dir:{model_dir}", "DEVICE": "cpu", "EXTRA": "--upsampler none"}


@pytest.fixture
def scene(tmp_path):
    return save_scene(tmp_path / "the scene.tif", 128, 160)


@pytest.mark.qgis
@pytest.mark.slow
def test_all_algorithms_are_listed(installed):
    listed = qgis(installed, "list").stdout
    for name in ("predict", "calibrate", "vectorize", "evaluate", "preview"):
        assert f"segearth:{name}" in listed


@pytest.mark.qgis
@pytest.mark.slow
def test_a_scene_becomes_a_mask_polygons_figures_and_a_page(installed, model, scene, tmp_path):
    mask, polygons = tmp_path / "a mask.tif", tmp_path / "p.gpkg"
    classes = "it's water|sea,roof & wall"
    done = run(installed, "predict", INPUT=scene, CLASSES=classes, BACKGROUND="none", OUTPUT=mask, **model)
    assert done.returncode == 0, done.stdout + done.stderr
    with rasterio.open(mask) as ds:
        assert set(np.unique(ds.read(1))) <= {0, 1}
        assert [c["name"] for c in json.loads(ds.tags()["SEGEARTH_CLASSES"])] == ["it's water", "roof & wall"]
    assert run(installed, "vectorize", INPUT=mask, MIN_AREA="3px", SMOOTH="true", OUTPUT=polygons).returncode == 0
    assert polygons.stat().st_size > 10_000
    figures = tmp_path / "f.json"
    done = run(installed, "evaluate", INPUT=mask, LABELS=mask, CLASSES="it's water,roof & wall", OUTPUT=figures)
    assert done.returncode == 0, done.stdout
    assert "MIOU:\t1" in done.stdout
    assert json.loads(figures.read_text())["miou"] == 1
    assert run(installed, "preview", INPUT=mask, SCENE=scene, OUTPUT=tmp_path / "x.html").returncode == 0
    assert "roof &amp; wall" in (tmp_path / "x.html").read_text(encoding="utf-8")


@pytest.mark.qgis
@pytest.mark.slow
def test_labels_become_a_calibration_and_what_is_there_is_replaced_only_when_asked(installed, model, scene, tmp_path):
    with rasterio.open(scene) as ds:
        transform, crs = ds.transform, ds.crs
    schema = {"geometry": "Point", "properties": {"kind": "str"}}
    places = np.random.default_rng(0).uniform(0, 128, (60, 2))
    with fiona.open(tmp_path / "l.gpkg", "w", "GPKG", schema, layer="my labels", crs=crs.to_string()) as layer:
        for number, place in enumerate(places):
            point = {"type": "Point", "coordinates": transform @ tuple(place)}
            layer.write({"geometry": point, "properties": {"kind": ("a", "b")[number % 2]}})
    made, words = tmp_path / "x.calibration", {"CLASSES": "a,b", "BACKGROUND": "none"}
    labels = f"{tmp_path / 'l.gpkg'}|layername=my labels"
    done = run(installed, "calibrate", INPUT=scene, LABELS=labels, FIELD="kind", OUTPUT=made, **words, **model)
    assert done.returncode == 0, done.stdout
    mask = tmp_path / "m.tif"
    mask.write_text("mine")
    done = run(installed, "predict", INPUT=scene, CALIBRATION=made, OUTPUT=mask, **words, **model)
    assert done.returncode != 0
    assert "exists already" in done.stdout + done.stderr
    assert mask.read_text() == "mine"
    done = run(installed, "predict", INPUT=scene, CALIBRATION=made, OUTPUT=mask, OVERWRITE="true", **words, **model)
    assert done.returncode == 0, done.stdout
    with rasterio.open(mask) as ds:
        assert "calibration" in json.loads(ds.tags()["SEGEARTH_RUN"])


@pytest.mark.qgis
@pytest.mark.slow
def test_errors_and_a_missing_command_are_told(installed, model, scene, tmp_path):
    done = run(installed, "predict", INPUT=scene, CLASSES="a,,b", OUTPUT=tmp_path / "m.tif", **model)
    assert "is empty; separate classes by commas" in done.stdout + done.stderr
    absent = installed | {"SEGEARTH_EXECUTABLE": "/no/such/segearth"}
    done = run(absent, "predict", INPUT=scene, CLASSES="a,b", OUTPUT=tmp_path / "m.tif")
    assert "is no program; install it" in done.stdout + done.stderr


CANCEL = """
import sys
from qgis.core import QgsApplication, QgsProcessingFeedback
app = QgsApplication([], False); app.initQgis()
sys.path[:0] = ["/usr/share/qgis/python/plugins", sys.argv[1]]
from processing.core.Processing import Processing
Processing.initialize()
from segearth.command import run
seen = []
class Feedback(QgsProcessingFeedback):
    def setProgress(self, value):
        seen.append(value)
        if value > 0:
            self.cancel()
run(sys.argv[2:], Feedback())
print("progress", seen)
"""


@pytest.mark.qgis
@pytest.mark.slow
def test_progress_is_shown_and_cancelling_stops_the_command_and_leaves_nothing(installed, model_dir, tmp_path):
    scene = save_scene(tmp_path / "big.tif", 3000, 3000)
    plugins = Path(installed["HOME"]) / ".local/share/QGIS/QGIS3/profiles/default/python/plugins"
    words = ("predict", scene, "-c", "a,b", "-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu",
             "--stride", "8", "-o", tmp_path / "m.tif")  # fmt: skip
    code = [os.environ.get("QGIS_PYTHON", "/usr/bin/python3"), "-c", CANCEL, plugins, *map(str, words)]
    done = subprocess.run(code, capture_output=True, text=True, env=installed, check=False)
    assert done.returncode == 0, done.stderr
    seen = [float(value) for value in done.stdout.splitlines()[-1].partition("[")[2].rstrip("]").split(",")]
    assert seen == sorted(seen)
    assert 0 < seen[-1] < 100
    assert {path.name for path in tmp_path.iterdir()} == {"big.tif"}
