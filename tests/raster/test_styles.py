"""Styles and tables beside masks and polygons: every class once, under its name and in its colour, in all places."""

import json
import shutil
import sqlite3
from pathlib import Path
from xml.etree import ElementTree as ET

import fiona
import numpy as np
import pytest
import rasterio

from segearth_cli import classes as class_lists
from segearth_cli.class_colors import default_color
from segearth_cli.classes import NODATA, ClassSet
from segearth_cli.raster import Outputs, Rows, Window, open_scene, writing
from segearth_cli.styles import OPACITY, polygon_qml
from segearth_cli.vector import VectorizeOptions, vectorize

ODD = ("a & b", "<i>x</i>", "Straße 'x' \"y\"", "水体", "🌳 park", "</script><b>", "100 %", "$a_1$", "]]>")
BLACK = (0, 0, 0)


def class_set(*names, colors=None):
    names = names or tuple(f"class {i}" for i in range(255))
    colors = colors or tuple(default_color(name, code) for code, name in enumerate(names))
    return ClassSet(names, tuple((name,) for name in names), colors)


SETS = {
    "one class": class_set("water"),
    "odd names": class_set(*ODD),
    "255 classes": class_set(),
    "black classes": class_set("coal", "night", "snow", colors=(BLACK, BLACK, (255, 255, 255))),
}


def save_mask(path, scene, classes, codes=None, **files):
    codes = np.arange(scene.height * scene.width).reshape(scene.height, scene.width) if codes is None else codes
    codes = np.where(codes % 7 == 6, NODATA, codes % len(classes)).astype(np.uint8)
    with writing(Outputs(path, **files), scene, classes, {"SEGEARTH_RUN": '{"threshold": 0.5}'}) as writer:
        writer.write(Rows(Window(0, 0, *codes.shape), codes, codes, None))
    return codes


@pytest.fixture
def scene(write_raster):
    return open_scene(write_raster("scene.tif", np.zeros((3, 40, 60), np.uint8)))


def rgb(text):
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def mask_rows(qml):
    """Names and colours by code that a style shows for a raster."""
    return {int(e.get("value")): (e.get("label"), rgb(e.get("color"))) for e in ET.parse(qml).iter("paletteEntry")}


def polygon_rows(root):
    """Colours by class that a style shows for polygons."""
    fills = {s.get("name"): s.find(".//Option[@name='color']").get("value") for s in root.iter("symbol")}
    return {c.get("value"): tuple(map(int, fills[c.get("symbol")].split(",")[:3])) for c in root.iter("category")}


def table_rows(path):
    """The attribute table in a side file or VRT: a dict a row."""
    table = ET.parse(path).find(".//GDALRasterAttributeTable")
    names = [field.find("Name").text for field in table.findall("FieldDefn")]
    return [dict(zip(names, (f.text for f in row.findall("F")), strict=True)) for row in table.findall("Row")]


@pytest.mark.parametrize("classes", SETS.values(), ids=SETS)
def test_style_table_palette_and_tag_tell_the_same_classes(scene, tmp_path, classes):
    codes = save_mask(tmp_path / "m.tif", scene, classes)
    with rasterio.open(tmp_path / "m.tif") as ds:
        palette, told = ds.colormap(1), class_lists.from_tag(ds.tags()["SEGEARTH_CLASSES"])
    rows = mask_rows(tmp_path / "m.qml")
    assert rows == {code: (name, palette[code][:3]) for code, name in enumerate(told.names)}
    table = table_rows(tmp_path / "m.tif.aux.xml")
    colours = [tuple(int(row[c]) for c in ("Red", "Green", "Blue")) for row in table]
    assert dict(enumerate(zip((row["Class"] for row in table), colours, strict=True))) == rows
    assert [int(row["Count"]) for row in table] == [int((codes == code).sum()) for code in range(len(classes))]


@pytest.mark.parametrize("suffix", ["geojson", "fgb", "shp", "parquet", "gpkg"])
def test_polygons_have_the_colours_of_their_mask(scene, tmp_path, suffix):
    classes = SETS["odd names"]
    save_mask(tmp_path / "m.tif", scene, classes)
    drawn = vectorize(tmp_path / "m.tif", tmp_path / f"polygons.{suffix}", VectorizeOptions(quiet=True))
    if suffix == "gpkg":
        ((text,),) = sqlite3.connect(drawn.path).execute("SELECT styleQML FROM layer_styles")
        root = ET.fromstring(text)
    else:
        root = ET.parse(tmp_path / "polygons.qml").getroot()
    assert polygon_rows(root) == dict(zip(classes.names, classes.colors, strict=True))
    assert set(drawn.polygons) == set(classes.names)


def test_a_long_name_is_the_same_in_a_shapefile_and_its_style(scene, tmp_path):
    classes = class_set("水" * 60, "roof")
    save_mask(tmp_path / "m.tif", scene, classes)
    vectorize(tmp_path / "m.tif", tmp_path / "p.shp", VectorizeOptions(quiet=True))
    with fiona.open(tmp_path / "p.shp") as layer:
        assert {row.properties["class"] for row in layer} == set(classes.names)
    assert set(polygon_rows(ET.parse(tmp_path / "p.qml").getroot())) == set(classes.names)


def test_masks_and_polygons_are_equally_opaque(scene, tmp_path):
    save_mask(tmp_path / "m.tif", scene, SETS["one class"])
    polygons = ET.fromstring(polygon_qml({"water": (1, 2, 3)}))
    assert {symbol.get("alpha") for symbol in polygons.iter("symbol")} == {"1"}
    raster = ET.parse(tmp_path / "m.qml").find(".//rasterrenderer")
    assert float(polygons.find("layerOpacity").text) == float(raster.get("opacity")) == OPACITY


def test_a_mask_and_its_polygons_share_one_style_each_with_its_part(scene, tmp_path):
    classes = SETS["odd names"]
    save_mask(tmp_path / "m.tif", scene, classes)
    for suffix, chosen in (("geojson", ODD[:2]), ("shp", ODD[1:4])):
        vectorize(tmp_path / "m.tif", tmp_path / f"m.{suffix}", VectorizeOptions(quiet=True, classes=chosen))
    assert len(mask_rows(tmp_path / "m.qml")) == len(classes)
    assert set(polygon_rows(ET.parse(tmp_path / "m.qml").getroot())) == set(ODD[:4])  # of both files
    (tmp_path / "m.geojson").unlink()
    vectorize(tmp_path / "m.tif", tmp_path / "m.shp", VectorizeOptions(quiet=True, classes=ODD[:1]))
    assert set(polygon_rows(ET.parse(tmp_path / "m.qml").getroot())) == set(ODD[:1])  # of what is there
    save_mask(tmp_path / "m.tif", scene, SETS["one class"])
    assert len(mask_rows(tmp_path / "m.qml")) == 1
    assert set(polygon_rows(ET.parse(tmp_path / "m.qml").getroot())) == set(ODD[:1])


def test_a_raster_without_classes_gets_no_style_and_keeps_that_of_polygons(scene, tmp_path):
    save_mask(tmp_path / "m.tif", scene, SETS["one class"], confidence=tmp_path / "c.tif")
    assert not (tmp_path / "c.qml").exists()
    vectorize(tmp_path / "m.tif", tmp_path / "c.fgb", VectorizeOptions(quiet=True))
    save_mask(tmp_path / "m.tif", scene, SETS["one class"], confidence=tmp_path / "c.tif")
    assert set(polygon_rows(ET.parse(tmp_path / "c.qml").getroot())) == {"water"}


def test_the_style_of_a_json_file_that_may_be_anything_is_left_alone(scene, tmp_path):
    save_mask(tmp_path / "m.tif", scene, SETS["one class"])
    before = (tmp_path / "m.qml").read_bytes()
    vectorize(tmp_path / "m.tif", tmp_path / "m.json", VectorizeOptions(quiet=True))
    assert (tmp_path / "m.qml").read_bytes() == before


def test_the_table_of_the_side_file_that_goes_goes_and_tags_that_somebody_added_stay(scene, tmp_path):
    save_mask(tmp_path / "m.tif", scene, SETS["odd names"])
    side = tmp_path / "m.tif.aux.xml"
    text = side.read_text(encoding="utf-8")
    mine = '<Metadata><MDI key="surveyor">me</MDI></Metadata>'
    side.write_text(text.replace("<PAMDataset>", f"<PAMDataset>{mine}"), encoding="utf-8")
    save_mask(tmp_path / "m.tif", scene, SETS["one class"])
    assert [row["Class"] for row in table_rows(side)] == ["water"]
    with rasterio.open(tmp_path / "m.tif") as ds:
        assert ds.tags()["surveyor"] == "me"


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not installed")
def test_gdal_reads_the_attribute_table(scene, tmp_path):
    import subprocess

    save_mask(tmp_path / "m.tif", scene, SETS["odd names"])
    told = subprocess.run(["gdalinfo", tmp_path / "m.tif"], capture_output=True, text=True, check=True).stdout
    assert "GDALRasterAttributeTable" in told
    assert told.count("<Row index=") == len(ODD)


# provenance of polygons


def test_a_geopackage_tells_how_it_was_made_by_its_metadata_tables(scene, tmp_path):
    save_mask(tmp_path / "m.tif", scene, SETS["odd names"])
    vectorize(tmp_path / "m.tif", tmp_path / "p.gpkg", VectorizeOptions(quiet=True, connectivity=8))
    db = sqlite3.connect(tmp_path / "p.gpkg")
    ((scope, mime, text),) = db.execute("SELECT md_scope, mime_type, metadata FROM gpkg_metadata")
    told = {item.get("key"): item.text for item in ET.fromstring(text).iter("MDI")}
    assert (scope, mime) == ("dataset", "text/xml")
    assert db.execute("SELECT reference_scope, table_name, md_file_id FROM gpkg_metadata_reference").fetchall() == [
        ("table", "p", 1)
    ]
    extensions = "SELECT table_name FROM gpkg_extensions WHERE extension_name = 'gpkg_metadata' ORDER BY 1"
    assert db.execute(extensions).fetchall() == [("gpkg_metadata",), ("gpkg_metadata_reference",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    with fiona.open(tmp_path / "p.gpkg") as layer:
        assert layer.tags() == told
    check_told(told)


def test_geoparquet_tells_how_it_was_made_by_its_metadata(scene, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    save_mask(tmp_path / "m.tif", scene, SETS["odd names"])
    vectorize(tmp_path / "m.tif", tmp_path / "p.parquet", VectorizeOptions(quiet=True, connectivity=8))
    told = parquet.read_schema(tmp_path / "p.parquet").metadata
    check_told({key.decode(): text.decode() for key, text in told.items()})


def check_told(told):
    assert json.loads(told["SEGEARTH_RUN"]) == {"threshold": 0.5}
    assert class_lists.from_tag(told["SEGEARTH_CLASSES"]).names == ODD
    assert json.loads(told["SEGEARTH_VECTORIZE"])["connectivity"] == 8


# runs in shards


@pytest.mark.slow
def test_the_mosaic_of_a_run_has_a_style_its_parts_have_none(write_raster, noise, segearth, model_dir, tmp_path):
    scene, work = write_raster("wide.tif", noise(3, 300, 700)), tmp_path / "work"
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu", "-q", "-c", "a & b,roof")
    arguments = ("predict", scene, *model, "--work", work, "--shard-size", 512, "-o", tmp_path / "m.tif")
    assert segearth(*arguments).code == 0
    assert not list((work / "shards").rglob("*.qml"))
    for out in ([], ["-o", tmp_path / "j.tif"], ["-o", tmp_path / "cog.tif", "--format", "cog"]):
        assert segearth("merge", work, *out).code == 0
    rows = mask_rows(tmp_path / "m.qml")
    assert [name for name, _ in rows.values()] == ["background", "a & b", "roof"]
    for other in (work / "mask.qml", tmp_path / "j.qml", tmp_path / "cog.qml"):
        assert mask_rows(other) == rows
    tables = [table_rows(tmp_path / f"{name}.tif.aux.xml") for name in ("m", "j", "cog")]
    assert table_rows(work / "mask.vrt") == tables[0] == tables[1] == tables[2]
    Path(work / "mask.qml").write_text("<qgis>mine</qgis>")
    assert segearth("merge", work).code == 0
    assert (work / "mask.qml").read_text() == "<qgis>mine</qgis>"
