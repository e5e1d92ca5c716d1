"""Vector files: every format as others read it, whole or not at all."""

import json
import sqlite3
import xml.etree.ElementTree as ET
from pathlib import Path

import fiona
import numpy as np
import pyproj
import pytest
import shapely

from segearth_cli.errors import SegEarthError, UsageError, VectorError
from segearth_cli.vector.features import FeatureBatch, VectorLayer
from segearth_cli.vector.layers import writing

UTM = pyproj.CRS("EPSG:32633").to_wkt()
FIELDS = ("class_id", "class", "area_m2", "perimeter_m")
COLORS = {"water": (46, 120, 210), "bare <soil> & 'sand'": (190, 150, 105)}
FORMATS = ["gpkg", "geojson", "fgb", "shp", "parquet"]


def layer(crs=UTM, geometry="Polygon", name="scene"):
    return VectorLayer(name, crs, geometry, FIELDS, COLORS, 0.5)


def squares(n):
    x, y = 400_000 + 10.0 * np.arange(n), 5_000_000 - 7.0 * (np.arange(n) % 13)
    names = np.array([list(COLORS)[i % 2] for i in range(n)], object)
    columns = {
        "class_id": np.arange(n) % 2,
        "class": names,
        "area_m2": np.full(n, 20.25),
        "perimeter_m": np.full(n, 18.0),
    }
    return FeatureBatch(shapely.box(x, y, x + 4.5, y + 4.5), columns)


def write(path, features, **options):
    with writing(path, layer(**options)) as append:
        append(features)


def write_half(path):
    with writing(path, layer()) as append:
        append(squares(5))
        raise ZeroDivisionError


def read(path):
    if path.suffix.casefold() == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        rows = pq.read_table(path).to_pylist()
        return [(shapely.from_wkb(row.pop("geometry")), row) for row in rows]
    with fiona.open(path) as found:
        return [(shapely.geometry.shape(f.geometry), dict(f.properties)) for f in found]


@pytest.mark.parametrize("suffix", [*FORMATS, *map(str.upper, FORMATS)])
def test_every_format_gives_the_features_back(tmp_path, suffix):
    written = squares(120)
    write(tmp_path / f"scene.{suffix}", written)
    found = read(tmp_path / f"scene.{suffix}")
    by_class = {name: sum(row["class"] == name for _, row in found) for name in COLORS}
    assert by_class == dict.fromkeys(COLORS, 60)
    assert {row["area_m2"] for _, row in found} == {20.25}
    if suffix.casefold() != "geojson":  # that one is in degrees
        assert shapely.union_all([g for g, _ in found]).equals(shapely.union_all(written.geometry))


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_layer_is_valid_and_has_its_fields(tmp_path, suffix):
    with writing(tmp_path / f"scene.{suffix}", layer()):
        pass
    assert read(tmp_path / f"scene.{suffix}") == []


@pytest.mark.parametrize("suffix", ["gpkg", "fgb", "shp"])
def test_the_layer_carries_its_crs(tmp_path, suffix):
    write(tmp_path / f"scene.{suffix}", squares(3))
    with fiona.open(tmp_path / f"scene.{suffix}") as found:
        assert pyproj.CRS.from_wkt(found.crs_wkt).to_epsg() == 32633


def test_geojson_follows_its_rfc(tmp_path):
    write(tmp_path / "scene.geojson", squares(30))
    found = json.loads((tmp_path / "scene.geojson").read_text("utf-8"))
    assert found["type"] == "FeatureCollection"
    assert "crs" not in found
    to_utm = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:32633", always_xy=True)
    for feature, square in zip(found["features"], squares(30).geometry, strict=True):
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert feature["type"] == "Feature"
        assert shapely.LinearRing(ring).is_ccw
        back = shapely.Polygon(np.stack(to_utm.transform(*ring.T), axis=1))
        assert back.hausdorff_distance(square) < 0.01  # 7 digits of a degree are 1 cm


def geojson(tmp_path, crs, *polygons):
    """Polygons given on a map, as read from a GeoJSON file."""
    columns = {"class_id": [1], "class": ["water"], "area_m2": [1.0], "perimeter_m": [1.0]}
    columns = {name: np.array(values * len(polygons), object) for name, values in columns.items()}
    given = FeatureBatch(np.array([shapely.orient_polygons(polygon) for polygon in polygons], object), columns)
    write(tmp_path / "scene.geojson", given, crs=pyproj.CRS(crs).to_wkt())
    found = [shape for shape, _ in read(tmp_path / "scene.geojson")]
    for shape in found:
        assert shape.is_valid
        assert -180 <= shape.bounds[0] <= shape.bounds[2] <= 180
        assert all(part.exterior.is_ccw for part in shapely.get_parts(shape))
    return found


@pytest.mark.parametrize(
    ("crs", "box"),
    [
        ("EPSG:4326", (179, 10, 181, 11)),  # a map that goes on behind 180
        ("EPSG:4326", (-181, 10, -179, 11)),
        ("EPSG:3832", (3228366, 1111475, 3451005, 1223457)),  # Pacific Mercator, central meridian 150
        ("EPSG:32660", (719000, 1105000, 937000, 1217000)),
    ],
)
def test_geojson_is_cut_at_the_antimeridian(tmp_path, crs, box):
    hole = shapely.box(
        *(np.array([0.3, 0.3, 0.7, 0.7]) * (np.tile(box[2:], 2) - np.tile(box[:2], 2)) + np.tile(box[:2], 2))
    )
    (found,) = geojson(tmp_path, crs, shapely.box(*box).difference(hole))
    west, east = sorted(shapely.get_parts(found), key=lambda part: part.bounds[0])
    assert (west.bounds[0], east.bounds[2]) == (-180, 180)
    assert found.area == pytest.approx(2 * 0.84, rel=0.02)
    assert west.area == pytest.approx(east.area, rel=0.05)


def test_a_polygon_around_a_pole_reaches_it_in_geojson(tmp_path):
    ring = shapely.Point(0, 0).buffer(1e6, 64)
    cap, belt = geojson(tmp_path, "EPSG:3031", ring, ring.difference(shapely.Point(0, 0).buffer(5e5, 64)))
    assert cap.bounds[:2] == (-180, -90)
    assert cap.bounds[2] == 180
    assert belt.bounds[1] > -86
    to_map = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:3031", always_xy=True)
    for lon in (-179.9, -60, 0, 77, 179.9):
        at_pole, within = (shapely.Point(lon, lat) for lat in (-89.9, -82.5))
        assert cap.covers(at_pole)
        assert not belt.covers(at_pole)
        assert cap.covers(within)
        assert belt.covers(within)
    assert 5e5 < np.hypot(*to_map.transform(77, -82.5)) < 1e6


def test_what_lies_beyond_a_pole_is_cut_off_in_geojson(tmp_path):
    north, both = geojson(tmp_path, "EPSG:4326", shapely.box(10, 80, 20, 90.5), shapely.box(-180, -90.5, 180, 90.5))
    assert north.equals(shapely.box(10, 80, 20, 90))
    assert both.equals(shapely.box(-180, -90, 180, 90))


def test_a_polygon_wide_as_the_globe_stays_whole_in_geojson(tmp_path):
    half, whole = geojson(
        tmp_path, "EPSG:3857", shapely.box(-1.5e7, -1e6, 1.5e7, 1e6), shapely.box(-2e7, -1e6, 2e7, 1e6)
    )
    assert (half.geom_type, whole.geom_type) == ("Polygon", "Polygon")
    assert half.bounds[2] == pytest.approx(np.degrees(1.5e7 / 6378137))
    assert whole.area == pytest.approx(2 * np.degrees(2e7 / 6378137) * 2 * half.bounds[3])


def test_a_geopackage_opens_coloured(tmp_path):
    write(tmp_path / "scene.gpkg", squares(3))
    db = sqlite3.connect(tmp_path / "scene.gpkg")
    ((name, column, qml, default),) = db.execute(
        "SELECT f_table_name, f_geometry_column, styleQML, useAsDefault FROM layer_styles"
    ).fetchall()
    assert (name, column, default) == ("scene", "geom", 1)
    root = ET.fromstring(qml)
    symbol_of = {c.get("value"): c.get("symbol") for c in root.iter("category")}
    color_of = {s.get("name"): s.find(".//Option[@name='color']").get("value") for s in root.iter("symbol")}
    assert {name: color_of[symbol_of[name]] for name in COLORS} == {
        name: ",".join(map(str, (*color, 255))) for name, color in COLORS.items()
    }


@pytest.mark.parametrize("n", [1, 51, 52, 2602, 6000])
def test_the_spatial_index_of_a_geopackage_finds_what_lies_in_a_window(tmp_path, n):
    features = squares(n)
    write(tmp_path / "scene.gpkg", features)
    db = sqlite3.connect(tmp_path / "scene.gpkg")
    assert db.execute("SELECT rtreecheck('rtree_scene_geom')").fetchone() == ("ok",)
    window = (400_100, 4_999_950, 400_900, 4_999_990)
    with fiona.open(tmp_path / "scene.gpkg") as found:
        assert len(found) == n
        assert found.bounds == pytest.approx(shapely.total_bounds(features.geometry))
        got = {f.id for f in found.filter(bbox=window)}
    assert len(got) == shapely.intersects(features.geometry, shapely.box(*window)).sum()


@pytest.mark.parametrize(
    "name",
    [
        "(1)",
        ".hidden",
        "-x",
        "~",
        "1a",
        "two words",
        "gpkg_x",
        "GPKG",
        "sqlite_x",
        "rtree",
        "layer_styles",
        "a'b\"c",
        "é",
    ],
)
def test_every_file_name_becomes_a_layer_of_a_geopackage(tmp_path, name):
    write(tmp_path / f"{name}.gpkg", squares(3), name=name)
    (layer,) = set(fiona.listlayers(tmp_path / f"{name}.gpkg")) - {"layer_styles"}
    with fiona.open(tmp_path / f"{name}.gpkg", layer=layer) as found:
        assert len(list(found)) == 3
    db = sqlite3.connect(tmp_path / f"{name}.gpkg")
    assert db.execute("SELECT f_table_name FROM layer_styles").fetchall() == [(layer,)]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["a;b", "a!b", "a?b", "a#b", " a", "a\tb\n", "a\\b", "user.zip!b", "file:a", "a:b"])
def test_names_are_taken_to_the_letter_and_nothing_beside_them_is_touched(tmp_path, monkeypatch, suffix, name):
    monkeypatch.chdir(tmp_path)
    Path("user.zip").write_bytes(b"an archive")
    Path("plain").mkdir()
    Path(name).mkdir()
    for path in (Path("plain", f"scene.{suffix}"), Path(name, f"scene.{suffix}"), Path(f"{name}.{suffix}")):
        write(path, squares(3))
    plain, same = ({one.name: one.stat().st_size for one in Path(folder).iterdir()} for folder in ("plain", name))
    assert same == plain
    beside = {one.name: one.stat().st_size for one in Path().iterdir() if one.is_file()}
    assert beside.pop("user.zip") == 10
    assert beside == {one.replace("scene", name): size for one, size in plain.items()}


def test_a_geopackage_can_be_edited_afterwards(tmp_path):
    path = tmp_path / "scene.gpkg"
    write(path, squares(60))
    with fiona.open(path, "a") as found:
        new = shapely.geometry.mapping(shapely.box(0, 0, 1, 1))
        row = {"class_id": 1, "class": "water", "area_m2": 1.0, "perimeter_m": 4.0}
        found.writerecords([{"geometry": new, "properties": row}])
    with fiona.open(path) as found:
        assert [f["properties"]["area_m2"] for f in found.filter(bbox=(-1, -1, 2, 2))] == [1.0]
    assert sqlite3.connect(path).execute("SELECT rtreecheck('rtree_scene_geom')").fetchone() == ("ok",)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_failure_leaves_the_folder_as_it_was(tmp_path, suffix):
    path = tmp_path / f"scene.{suffix}"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"


def test_an_old_shapefile_is_replaced_with_all_its_files(tmp_path):
    write(tmp_path / "scene.shp", squares(9))
    (tmp_path / "scene.qix").write_bytes(b"a stale index")
    write(tmp_path / "scene.shp", squares(4))
    assert len(read(tmp_path / "scene.shp")) == 4
    assert {p.suffix for p in tmp_path.iterdir()} == {".shp", ".shx", ".dbf", ".prj", ".cpg", ".qml"}


def test_an_unknown_suffix_names_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match=r"\.gpkg.*\.parquet"), writing(tmp_path / "scene.dxf", layer()):
        pass


def test_an_absent_folder_is_one_line(tmp_path):
    with pytest.raises(SegEarthError, match="does not exist"), writing(tmp_path / "no" / "scene.gpkg", layer()):
        pass


def test_a_crs_of_another_planet_cannot_be_geojson(tmp_path):
    mars = 'GEOGCS["Mars",DATUM["Mars",SPHEROID["Mars",3396190,169.9]],PRIMEM["R",0],UNIT["degree",0.0174532925199433]]'
    with pytest.raises(VectorError, match=r"\.gpkg"):
        write(tmp_path / "scene.geojson", squares(2), crs=mars)
    assert list(tmp_path.iterdir()) == []
