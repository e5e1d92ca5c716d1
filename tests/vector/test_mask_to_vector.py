"""Mask files to vector files, as a user meets it: the workflow and its command line."""

import json
import os
import sqlite3
import threading
import xml.etree.ElementTree as ET

import fiona
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import rasterio.shutil
import shapely
from flaky import serving
from rasterio import features
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine, from_origin

from segearth_cli.classes import CLASSES_TAG, parse, to_tag, with_background
from segearth_cli.errors import RasterError, UsageError, VectorError
from segearth_cli.raster import Size
from segearth_cli.vector import VectorizeOptions, vectorize

UTM_METRE = pyproj.Proj("EPSG:32633").get_factors(13.7283, 45.1462).meridional_scale  # map metres a metre on the ground
NORTH_UP = from_origin(400_000, 5_000_000, 0.5, 0.5)
CLASSES = with_background(parse("background,water,building"), "background")


def blobs(height=90, width=110, codes=3, seed=0):
    noise = np.random.default_rng(seed).integers(0, codes, (-(-height // 8), -(-width // 8)))
    mask = np.kron(noise, np.ones((8, 8)))[:height, :width].astype(np.uint8)
    mask[np.random.default_rng(seed + 1).random(mask.shape) < 0.02] = 1
    return mask


def save(path, mask, *, transform=NORTH_UP, crs="EPSG:32633", nodata=255, tag=CLASSES, **profile):
    height, width = mask.shape
    form = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": mask.dtype, "nodata": nodata}
    with rasterio.open(path, "w", **form, crs=crs, transform=transform, **profile) as ds:
        ds.write(mask, 1)
        if tag:
            ds.update_tags(**{CLASSES_TAG: to_tag(tag)})
    return path


def read(path):
    if path.suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
        return [(shapely.from_wkb(row.pop("geometry")), row) for row in rows]
    with fiona.open(path) as found:
        return [(shapely.geometry.shape(f.geometry), dict(f.properties)) for f in found]


def run(mask, out, **options):
    vectorize(mask, out, VectorizeOptions(quiet=True, **options))
    return read(out)


def rasterized(found, shape, transform):
    return features.rasterize([(g, row["class_id"]) for g, row in found], shape, transform=transform, dtype="uint8")


TRANSFORMS = {
    "north up": NORTH_UP,
    "south up": Affine(0.5, 0, 400_000, 0, 0.5, 5_000_000),
    "rotated": Affine.translation(400_000, 5_000_000) * Affine.rotation(33) * Affine.scale(0.5, -0.5),
    "oblong pixels": from_origin(400_000, 5_000_000, 0.5, 2.0),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_the_polygons_give_the_mask_back_on_any_grid(tmp_path, transform):
    mask = blobs()
    found = run(save(tmp_path / "m.tif", mask, transform=transform), tmp_path / "m.gpkg", rows=17)
    assert np.array_equal(rasterized(found, mask.shape, transform), mask)
    assert all(g.is_valid and g.exterior.is_ccw and not any(r.is_ccw for r in g.interiors) for g, _ in found)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_areas_and_perimeters_are_those_of_the_pixels(tmp_path, transform):
    mask = blobs()
    found = run(save(tmp_path / "m.tif", mask, transform=transform), tmp_path / "m.gpkg")
    pixel, metre = abs(transform.determinant) / UTM_METRE**2, 1 / UTM_METRE
    for code, name in ((1, "water"), (2, "building")):
        total = sum(row["area_m2"] for _, row in found if row["class"] == name)
        assert total == pytest.approx((mask == code).sum() * pixel)
    assert all(row["perimeter_m"] == pytest.approx(g.length * metre) for g, row in found)


def test_areas_on_a_geographic_crs_are_geodesic(tmp_path):
    path = save(tmp_path / "m.tif", blobs(), transform=from_origin(15, 60, 1e-3, 1e-3), crs="EPSG:4326")
    geod = pyproj.Geod(ellps="WGS84")
    for g, row in run(path, tmp_path / "m.gpkg"):
        area, length = geod.geometry_area_perimeter(g)[0], geod.geometry_length(g.boundary)
        # edges are straight on the map, where geodesics bend: a few parts in 100,000 at this size
        assert (row["area_m2"], row["perimeter_m"]) == pytest.approx((abs(area), length), rel=1e-4)


ON_THE_GLOBE = {
    "Pacific Mercator": ("EPSG:3832", from_origin(3_300_000, 200_000, 4_000, 4_000)),
    "UTM far off its zone": ("EPSG:32601", from_origin(160_000, 7_000_000, 4_000, 4_000)),
    "a corner of four pixels at the pole": ("EPSG:3031", from_origin(-48_000, 48_000, 1_000, 1_000)),
    "the pole on an edge": ("EPSG:3995", from_origin(-48_000, 48_500, 1_000, 1_000)),
    "the pole in a pixel": ("EPSG:3413", from_origin(-48_500, 48_500, 1_000, 1_000)),
    "0 to 360 degrees": ("EPSG:4326", from_origin(0, 90, 360 / 110, 2)),
}


@pytest.mark.parametrize("form", [{}, {"dissolve": True}, {"connectivity": 8}], ids=str)
@pytest.mark.parametrize("place", ON_THE_GLOBE.values(), ids=ON_THE_GLOBE)
def test_geojson_is_valid_and_has_each_place_in_the_class_of_its_pixel(tmp_path, place, form):
    crs, transform = place
    mask = blobs() + np.uint8(1)
    path = save(tmp_path / "m.tif", mask, crs=crs, transform=transform, tag=None)
    found = run(path, tmp_path / "m.geojson", **form)
    assert all(g.is_valid and not g.is_empty for g, _ in found)
    to_degrees = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    row, col = np.indices(mask.shape).reshape(2, -1)
    x, y = to_degrees.transform(*(transform @ (col + 0.45, row + 0.4)))  # not the pole, nor the antimeridian
    told = np.zeros(mask.size, int)
    for g, fields in found:
        told += fields["class_id"] * shapely.contains_xy(g, (x + 180) % 360 - 180, y)
    assert np.array_equal(told, mask.ravel())


def test_edges_that_bend_in_degrees_lie_in_their_place_in_geojson(tmp_path):
    path = save(tmp_path / "m.tif", np.full((3, 3000), 1, "u1"), transform=from_origin(300_000, 7_000_000, 10, 10))
    ((g, _),) = run(path, tmp_path / "m.geojson")
    back = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:32633", always_xy=True)
    x, y = back.transform(*shapely.get_coordinates(shapely.segmentize(g, 1e-3)).T)
    off = shapely.distance(shapely.points(x, y), shapely.box(300_000, 6_999_970, 330_000, 7_000_000).exterior)
    assert off.max() < 0.3 * 10  # a quarter of a pixel, and how degrees differ from metres


@pytest.mark.parametrize("suffix", ["geojson", "pmtiles"])
def test_coordinates_that_are_no_map_go_to_no_other_crs(tmp_path, suffix):
    path = save(tmp_path / "m.tif", blobs(), crs="EPSG:4978", transform=from_origin(4e6, 5e5, 10, 10))
    with pytest.raises(RasterError, match="geocentric"):
        run(path, tmp_path / f"m.{suffix}")
    assert not (tmp_path / f"m.{suffix}").exists()


@pytest.mark.parametrize("suffix", ["gpkg", "geojson"])
def test_a_mask_placed_by_ground_control_points_is_drawn_on_the_ground(tmp_path, suffix):
    mask = blobs(60, 80)
    corners = [(r, c) for r in (0, 60) for c in (0, 80)]
    points = [GroundControlPoint(r, c, *(NORTH_UP @ (c, r))) for r, c in corners]
    path = save(tmp_path / "m.tif", mask, transform=None, gcps=points)
    found = run(path, tmp_path / f"m.{suffix}")
    straight = run(save(tmp_path / "n.tif", mask), tmp_path / f"n.{suffix}")
    assert len(found) == len(straight)
    for (g, row), (h, other) in zip(found, straight, strict=True):
        assert row["area_m2"] == pytest.approx(other["area_m2"], rel=1e-4)
        assert g.hausdorff_distance(h) < (1e-8 if suffix == "geojson" else 1e-3)


def test_feet_become_metres(tmp_path):
    path = save(tmp_path / "m.tif", np.ones((3, 4), np.uint8), transform=from_origin(9e5, 2e5, 10, 10), crs="EPSG:2263")
    ((_, row),) = run(path, tmp_path / "m.gpkg")
    foot = 1200 / 3937  # US survey foot in metres, by definition
    assert row["area_m2"] == pytest.approx(12 * (10 * foot) ** 2, rel=1e-3)  # the map stretches by less than that
    assert row["perimeter_m"] == pytest.approx(14 * 10 * foot, rel=1e-3)


def test_pixels_without_data_and_the_background_are_not_drawn(tmp_path):
    mask = blobs()
    mask[10:40, 20:60] = 255
    found = run(save(tmp_path / "m.tif", mask), tmp_path / "m.gpkg")
    assert {row["class"] for _, row in found} == {"water", "building"}
    assert np.array_equal(rasterized(found, mask.shape, NORTH_UP), np.where(mask == 255, 0, mask))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "uint32"])
def test_codes_of_any_integer_type_keep_their_value(tmp_path, dtype):
    limits = np.iinfo(dtype)
    mask = np.array([[0, limits.max], [limits.max, limits.min]], dtype)
    found = run(save(tmp_path / "m.tif", mask, nodata=None, tag=None), tmp_path / "m.gpkg")
    codes = sorted({0, int(limits.min), int(limits.max)})
    assert sorted({row["class_id"] for _, row in found}) == codes
    assert {row["class"] for _, row in found} == {f"class_{code}" for code in codes}
    assert sum(g.area for g, _ in found) == 1  # 4 pixels of half a metre


def test_an_internal_mask_band_hides_pixels(tmp_path):
    hidden = np.zeros((20, 30), bool)
    hidden[3:9, 4:20] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = save(tmp_path / "m.tif", np.ones((20, 30), np.uint8), nodata=None, tag=None)
        with rasterio.open(path, "r+") as ds:
            ds.write_mask(~hidden)
    ((polygon, _),) = run(path, tmp_path / "m.gpkg")
    assert np.array_equal(features.rasterize([polygon], hidden.shape, transform=NORTH_UP) == 0, hidden)


def test_gdal_category_names_name_the_classes(tmp_path):
    path = save(tmp_path / "m.tif", blobs(), tag=None)
    names = "".join(f"<Category>{name}</Category>" for name in ("Background", "sea", "ville d'été"))
    text = f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand></PAMDataset>'
    (tmp_path / "m.tif.aux.xml").write_text(text, encoding="utf-8")
    assert {row["class"] for _, row in run(path, tmp_path / "m.gpkg")} == {"sea", "ville d'été"}


@pytest.mark.parametrize(("driver", "name"), [("ENVI", "m"), ("RST", "m.rst"), ("VRT", "m.vrt"), ("GTiff", "n.tif")])
def test_every_format_with_category_names_names_the_classes(tmp_path, driver, name):
    save(tmp_path / "m.tif", blobs(), tag=None, nodata=None)
    names = "".join(f"<Category>{name}</Category>" for name in ("Background", "sea", "roof &amp; wall"))
    text = f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand></PAMDataset>'
    (tmp_path / "m.tif.aux.xml").write_text(text, encoding="utf-8")
    rasterio.shutil.copy(tmp_path / "m.tif", tmp_path / name, driver=driver)
    assert {row["class"] for _, row in run(tmp_path / name, tmp_path / "m.gpkg")} == {"sea", "roof & wall"}


def colours_of(path):
    """Colours of classes in the style of a GeoPackage, by class name."""
    ((qml,),) = sqlite3.connect(path).execute("SELECT styleQML FROM layer_styles").fetchall()
    root = ET.fromstring(qml)
    symbols = {s.get("name"): s.find(".//Option[@name='color']").get("value") for s in root.iter("symbol")}
    return {c.get("value"): symbols[c.get("symbol")] for c in root.iter("category")}


def test_a_class_whose_name_a_shapefile_cuts_is_told(tmp_path, capfd):
    names = ("水" * 84, "水" * 85, "roof")
    path = save(tmp_path / "m.tif", blobs(), tag=parse(",".join(names)))
    for suffix, told in {"gpkg": 0, "shp": 1}.items():
        vectorize(path, tmp_path / f"m.{suffix}", VectorizeOptions())
        assert capfd.readouterr().err.count("class_id tells classes apart") == told
        kept = {row["class_id"]: row["class"] for _, row in read(tmp_path / f"m.{suffix}")}
        assert kept == {code: name[:84] if told else name for code, name in enumerate(names)}


def test_a_black_class_stays_black_and_an_unset_table_is_no_colour(tmp_path):
    for name, table in (("set", {0: (255, 255, 255, 255), 1: (0, 0, 0, 255)}), ("unset", {0: (0, 0, 0, 255)})):
        path = save(tmp_path / f"{name}.tif", blobs(codes=2), tag=None)
        with rasterio.open(path, "r+") as ds:
            ds.write_colormap(1, table)
        run(path, tmp_path / f"{name}.gpkg")
    assert colours_of(tmp_path / "set.gpkg") == {"class_0": "255,255,255,255", "class_1": "0,0,0,255"}
    assert "0,0,0,255" not in colours_of(tmp_path / "unset.gpkg").values()


def test_classes_without_a_name_are_coloured_too(tmp_path):
    run(save(tmp_path / "m.tif", blobs(), tag=None), tmp_path / "m.gpkg")
    ((qml,),) = sqlite3.connect(tmp_path / "m.gpkg").execute("SELECT styleQML FROM layer_styles").fetchall()
    values = [category.get("value") for category in ET.fromstring(qml).iter("category")]
    assert sorted(values) == ["class_0", "class_1", "class_2"]


def test_chosen_classes_alone_are_drawn_and_unknown_ones_named(tmp_path):
    path = save(tmp_path / "m.tif", blobs())
    assert {row["class"] for _, row in run(path, tmp_path / "m.gpkg", classes=("Building",))} == {"building"}
    with pytest.raises(UsageError, match=r"watr.*water, building; did you mean water\?"):
        run(path, tmp_path / "n.gpkg", classes=("watr",))


def test_a_class_is_found_however_its_name_is_written(tmp_path):
    path = save(tmp_path / "m.tif", blocky := blobs(), tag=parse("pré  salé,wood,roof"))
    for asked in ("pré salé", "PRE\u0301 SALE\u0301"):
        found = run(path, tmp_path / "m.gpkg", classes=(asked,))
        assert np.array_equal(rasterized(found, blocky.shape, NORTH_UP), np.zeros_like(blocky))
        assert sum(g.area for g, _ in found) == (blocky == 0).sum() / 4


def test_a_name_of_several_codes_means_all_of_them_and_codes_without_one_go_by_number(tmp_path):
    mask = blobs(codes=5)
    path = save(tmp_path / "m.tif", mask, tag=None)
    names = "".join(f"<Category>{name}</Category>" for name in ("field", "wood", "Field"))
    text = f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand></PAMDataset>'
    (tmp_path / "m.tif.aux.xml").write_text(text, encoding="utf-8")
    for asked, codes in {"field": {0, 2}, "wood": {1}, "class_3": {3}, "4": {4}, "2": {2}}.items():
        found = run(path, tmp_path / "m.gpkg", classes=(asked,))
        assert {row["class_id"] for _, row in found} == codes
        assert sum(g.area for g, _ in found) == pytest.approx(np.isin(mask, list(codes)).sum() / 4)


def test_a_class_that_is_no_data_and_codes_that_no_layer_holds_are_refused(tmp_path):
    path = save(tmp_path / "m.tif", blobs(), tag=None, nodata=1)
    with pytest.raises(UsageError, match="takes 1 for no data"):
        run(path, tmp_path / "m.gpkg", classes=("1",))
    path = save(tmp_path / "n.tif", np.full((9, 9), 2**63, np.uint64), tag=None, nodata=None)
    with pytest.raises(RasterError, match="the code 9223372036854775808"):
        run(path, tmp_path / "n.gpkg")


@pytest.mark.parametrize("size", [0, 1, 60 * 80, 1e300])
def test_a_sieve_that_nothing_falls_through_or_all_does_leaves_the_mask_as_it_is(tmp_path, size):
    mask = blobs(60, 80)
    found = run(save(tmp_path / "m.tif", mask), tmp_path / "m.gpkg", min_area=Size(size, "px"))
    assert np.array_equal(rasterized(found, mask.shape, NORTH_UP), mask)


@pytest.mark.parametrize("rows", [7, None])
def test_a_sieve_joins_small_pieces_as_gdal_does_and_spares_nodata(tmp_path, rows):
    mask = blobs()
    mask[30:50, 30:36] = 255
    path = save(tmp_path / "m.tif", mask)
    found = run(path, tmp_path / "m.gpkg", min_area=Size(5, "m2"), rows=rows)
    expected = features.sieve(mask, 20, mask=mask != 255)
    expected[mask == 255] = 0
    assert np.array_equal(rasterized(found, mask.shape, NORTH_UP), expected)


@pytest.mark.parametrize("rows", [4, None])
def test_small_holes_are_filled_with_all_that_lies_in_them(tmp_path, rows):
    mask = np.full((40, 60), 2, np.uint8)
    mask[5:11, 5:11] = 0
    mask[7:9, 7:9] = 1  # a class in the small hole
    mask[20:32, 20:32] = 0  # a large hole
    mask[35, 50] = 255  # no data in a hole
    path = save(tmp_path / "m.tif", mask)
    found = run(path, tmp_path / "m.gpkg", fill_holes=Size(50, "px"), rows=rows)
    ((building, row),) = found
    assert row["class"] == "building"
    assert sorted(shapely.Polygon(hole).area for hole in building.interiors) == [0.25, 36]  # 1 and 144 pixels


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("area", [1.5, 9, 200])
def test_of_holes_in_holes_the_one_around_all_others_fills_them(tmp_path, seed, area):
    rng = np.random.default_rng(seed)
    mask = np.where(rng.random((50, 60)) < 0.7, 1, rng.integers(0, 4, (50, 60))).astype(np.uint8)
    mask = np.where(rng.random(mask.shape) < 0.02, 255, np.kron(mask[::2, ::2], np.ones((2, 2), np.uint8)))
    path = save(tmp_path / "m.tif", mask, tag=None)
    drawn = [(g, row["class_id"]) for g, row in run(path, tmp_path / "m.gpkg", classes=("1", "2"))]
    holes = [(shapely.Polygon(ring), code) for g, code in drawn for ring in g.interiors]
    small = sorted(((g, code) for g, code in holes if g.area * 4 < area), key=lambda hole: hole[0].area)
    expected = features.rasterize(small, out=mask.copy(), transform=NORTH_UP) if small else mask
    expected[(mask == 255) | ~np.isin(expected, (1, 2))] = 0
    found = run(
        path, tmp_path / "f.gpkg", classes=("1", "2"), fill_holes=Size(area, "px"), rows=int(rng.integers(1, 60))
    )
    assert np.array_equal(rasterized(found, mask.shape, NORTH_UP), expected)


@pytest.mark.parametrize("options", [{}, {"smooth": True}, {"connectivity": 8}, {"smooth": True, "connectivity": 8}])
def test_simplified_classes_neither_overlap_nor_part(tmp_path, options):
    path = save(tmp_path / "m.tif", blobs(), tag=None)
    found = run(path, tmp_path / "m.gpkg", simplify=Size(1, "m"), **options)
    whole = shapely.union_all([g for g, _ in found])
    assert all(g.is_valid for g, _ in found)
    assert sum(g.area for g, _ in found) == pytest.approx(whole.area)
    assert not whole.interiors


@pytest.mark.slow
@pytest.mark.parametrize("simplify", [None, Size(1, "px")])
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("dissolve", [False, True])
def test_features_are_valid_whichever_options_are_asked_together(tmp_path, simplify, smooth, connectivity, dissolve):
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 3, (40, 48)).astype(np.uint8)  # of corners that meet at every second pixel
    path, options = save(tmp_path / "m.tif", mask, tag=None), {"dissolve": dissolve, "connectivity": connectivity}
    found = run(path, tmp_path / "m.gpkg", simplify=simplify, smooth=smooth, **options)
    assert all(g.is_valid and not g.is_empty for g, _ in found)
    right = {"simplify": simplify, "smooth": smooth, "regularize": True, **options}
    if dissolve or connectivity == 8:
        with pytest.raises(UsageError, match="^--regularize and .* may overlap"):
            run(path, tmp_path / "r.gpkg", **right)
    else:
        assert all(g.is_valid and not g.is_empty for g, _ in run(path, tmp_path / "r.gpkg", **right))


def test_mean_confidence_is_that_of_the_pixels_with_one(tmp_path):
    mask = blobs()
    confidence = np.random.default_rng(5).integers(0, 256, mask.shape).astype(np.uint8)  # 255 = none
    save(tmp_path / "c.tif", confidence, tag=None)
    path = save(tmp_path / "m.tif", mask)
    for g, row in run(path, tmp_path / "m.gpkg", confidence=tmp_path / "c.tif", rows=13):
        inside = features.rasterize([g], mask.shape, transform=NORTH_UP, dtype="uint8") == 1
        values = confidence[inside & (confidence != 255)] / 254
        assert row["confidence"] == pytest.approx(values.mean() if len(values) else 0, abs=1e-6)  # rounded to 6 digits


@pytest.mark.parametrize(("size", "moved"), [((50, 50), 0), (None, 1), (None, 0.1)])
def test_a_confidence_raster_of_other_pixels_is_refused(tmp_path, size, moved):
    save(tmp_path / "c.tif", blobs(*size or ()), tag=None, transform=NORTH_UP @ Affine.translation(0, moved))
    with pytest.raises(UsageError, match="same pixels"):
        run(save(tmp_path / "m.tif", blobs()), tmp_path / "m.gpkg", confidence=tmp_path / "c.tif")


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "fgb", "shp", "parquet"])
def test_dissolving_writes_all_that_the_polygons_of_a_class_are_as_one_feature(tmp_path, suffix):
    path, sure = save(tmp_path / "m.tif", blobs()), save(tmp_path / "c.tif", blobs(seed=7), tag=None)
    out = tmp_path / f"west_1.{suffix}"  # in capitals ST_, as GDAL's functions on geometries begin
    parts = run(path, tmp_path / f"parts.{suffix}", confidence=sure)
    found = run(path, out, dissolve=True, confidence=sure, rows=17)
    assert sorted(row["class"] for _, row in found) == ["building", "water"]
    for shape, row in found:
        of = [(g, other) for g, other in parts if other["class"] == row["class"]]
        assert shape.is_valid
        assert shape.equals(shapely.union_all([g for g, _ in of]))
        assert len(shape.geoms) == len(of)
        assert row["class_id"] == of[0][1]["class_id"]
        area = np.array([other["area_m2"] for _, other in of])
        assert row["area_m2"] == pytest.approx(area.sum())
        assert row["confidence"] == pytest.approx(np.average([o["confidence"] for _, o in of], weights=area), abs=1e-5)
    if suffix == "gpkg":
        db = sqlite3.connect(out)
        assert db.execute("SELECT rtreecheck('rtree_west_1_geom')").fetchone() == ("ok",)
        with fiona.open(out) as layer:
            assert len(layer) == 2
            assert layer.bounds == pytest.approx(shapely.total_bounds([g for g, _ in parts]))


@pytest.mark.parametrize("suffix", ["pmtiles", "mbtiles"])
def test_vector_tiles_show_the_classes_in_their_colours(tmp_path, suffix):
    path = save(tmp_path / "m.tif", blobs())
    vectorize(path, tmp_path / f"m.{suffix}", VectorizeOptions(quiet=True))
    whole = run(path, tmp_path / "m.gpkg")
    meta, _, geometry, fields = pyogrio.raw.read(tmp_path / f"m.{suffix}")
    found = dict(zip(meta["fields"].tolist(), fields, strict=True))
    assert pyproj.CRS(meta["crs"]).to_epsg() == 3857
    to_map = pyproj.Transformer.from_crs("EPSG:3857", "EPSG:32633", always_xy=True)
    shapes = shapely.transform(shapely.from_wkb(geometry), lambda xy: np.stack(to_map.transform(*xy.T), axis=1))
    for name, color in zip(CLASSES.names, CLASSES.colors, strict=True):
        of = found["class"] == name
        assert set(found["color"][of]) <= {"#{:02x}{:02x}{:02x}".format(*color)}
        area = sum(g.area for g, row in whole if row["class"] == name)
        assert shapely.area(shapes[of]).sum() == pytest.approx(area, rel=0.1)  # corners move by 1/8 pixel, 1/4 in tiles


def test_vector_tiles_of_nothing_or_of_no_place_are_refused(tmp_path):
    empty = save(tmp_path / "m.tif", np.full((30, 40), 255, np.uint8))
    nowhere = save(tmp_path / "n.tif", blobs(), crs=None)
    for path, said in ((empty, "no polygons"), (nowhere, "no CRS")):
        with pytest.raises(VectorError, match=said):
            vectorize(path, tmp_path / "m.pmtiles", VectorizeOptions(quiet=True))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.tif", "n.tif"]


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "fgb", "shp"])
def test_a_mask_without_data_gives_an_empty_layer(tmp_path, suffix):
    path = save(tmp_path / "m.tif", np.full((30, 40), 255, np.uint8))
    assert run(path, tmp_path / f"m.{suffix}") == []


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "complex_int16"])
def test_several_bands_and_real_values_are_refused(tmp_path, dtype):
    if dtype == "complex_int16":  # of GDAL alone
        with rasterio.open(tmp_path / "m.tif", "w", driver="GTiff", width=4, height=3, count=1, dtype=dtype):
            pass
    else:
        save(tmp_path / "m.tif", blobs().astype(dtype), tag=None, nodata=None)
    with pytest.raises(RasterError, match=f"{dtype} values"):
        run(tmp_path / "m.tif", tmp_path / "m.gpkg")
    assert not (tmp_path / "m.gpkg").exists()


@pytest.fixture
def vectorize_here(segearth, tmp_path, monkeypatch):
    """Runs `segearth vectorize` in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **how: segearth("vectorize", *arguments, **how)


def test_a_mask_read_over_the_network_whose_names_lie_beside_it_is_told(tmp_path, vectorize_here):
    save(tmp_path / "bare.tif", blobs(), tag=None)
    save(tmp_path / "ours.tif", blobs())
    with serving(tmp_path) as url:
        bare, ours = (vectorize_here(f"{url}/{name}.tif", "-o", tmp_path / f"{name}.gpkg") for name in ("bare", "ours"))
    assert (bare.code, ours.code) == (0, 0)
    assert "bare.tif: names no classes itself" in bare.err
    assert "names no classes" not in ours.err + vectorize_here(tmp_path / "bare.tif", "-o", tmp_path / "here.gpkg").err


def test_paths_come_from_stdin_and_go_to_stdout_and_one_failure_is_exit_code_3(vectorize_here, tmp_path):
    save(tmp_path / "one.mask.tif", blobs())
    (tmp_path / "two.tif").write_text("no raster")
    done = vectorize_here("-", "--quiet", "--format", "geojson", stdin="one.mask.tif\ntwo.tif\nthree.tif\n")
    assert done.code == 3
    assert done.out == "one.geojson\n"
    lines = done.lines
    assert [name in line for name, line in zip(("two.tif", "three.tif", "2 of 3"), lines, strict=True)] == [True] * 3
    assert json.loads((tmp_path / "one.geojson").read_text())["features"]


def test_a_folder_for_several_masks_is_made(vectorize_here, tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"{name}.mask.tif", blobs())
    done = vectorize_here("a.mask.tif", "b.mask.tif", "--quiet", "-o", "new/vectors/")
    assert (done.code, done.out) == (0, "new/vectors/a.gpkg\nnew/vectors/b.gpkg\n")
    assert {path.name for path in (tmp_path / "new" / "vectors").iterdir()} == {"a.gpkg", "b.gpkg"}


def test_one_mask_goes_into_a_folder_as_several_do(vectorize_here, segearth, tmp_path):
    """The README's pipe, where the pattern finds one scene."""
    save(tmp_path / "a.mask.tif", blobs())
    done = vectorize_here("a.mask.tif", "--quiet", "-o", "vectors/")
    assert (done.code, done.out) == (0, "vectors/a.gpkg\n")
    assert segearth("preview", "a.mask.tif", "-o", "pages/", "-f", "html").out == "pages/a.preview.html\n"
    assert vectorize_here("a.mask.tif", "--quiet", "-o", "named", "-f", "fgb").out == "named.fgb\n"
    assert vectorize_here("a.mask.tif", "--quiet", "-o", "of.2026", "-f", "fgb").out == "of.2026.fgb\n"
    done = vectorize_here("a.mask.tif", "-o", "named.gpkg", "-f", "fgb")
    assert (done.code, done.err) == (
        2,
        "segearth: --out named.gpkg: no name for --format fgb; name it named.fgb, or leave --format out\n",
    )


def test_existing_files_are_kept_without_overwrite(vectorize_here, tmp_path):
    save(tmp_path / "m.tif", blobs())
    (tmp_path / "m.gpkg").write_text("mine")
    done = vectorize_here("m.tif")
    assert done.code == 2
    assert "--overwrite" in done.err
    assert (tmp_path / "m.gpkg").read_text() == "mine"


def test_a_mask_without_crs_is_drawn_in_its_own_coordinates_and_said(vectorize_here, tmp_path):
    save(tmp_path / "m.tif", np.ones((4, 5), np.uint8), crs=None, transform=Affine.identity())
    done = vectorize_here("m.tif")
    assert done.code == 0
    assert "no CRS" in done.err
    assert read(tmp_path / "m.gpkg")[0][0].bounds == (0, 0, 5, 4)


@pytest.mark.parametrize("flags", [("--simplify", "1"), ("--min-area", "5 acres"), ("--connectivity", "6")])
def test_a_bad_value_is_one_line_that_shows_what_is_accepted(vectorize_here, tmp_path, flags):
    save(tmp_path / "m.tif", blobs())
    done = vectorize_here("m.tif", *flags)
    assert done.code == 2
    assert len(done.lines) == 1
    assert flags[0] in done.err


def test_one_polygon_of_one_class_is_said_so(vectorize_here, tmp_path):
    save(tmp_path / "m.tif", np.ones((4, 5), np.uint8))
    assert "m.tif: 1 polygon of 1 class; m.gpkg; " in vectorize_here("m.tif").err
    save(tmp_path / "n.tif", np.array([[1, 2]], np.uint8))
    assert "n.tif: 2 polygons of 2 classes; n.gpkg; " in vectorize_here("n.tif").err


def test_a_class_that_no_mask_has_is_met_before_any_is_drawn(vectorize_here, tmp_path):
    save(tmp_path / "a.tif", blobs())
    save(tmp_path / "b.tif", blobs())
    done = vectorize_here("a.tif", "b.tif", "-o", "out", "--classes", "watre")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "did you mean water?" in done.err
    assert not (tmp_path / "out").exists()


def test_a_class_that_one_of_several_masks_lacks_stops_that_one_alone(vectorize_here, tmp_path):
    save(tmp_path / "a.tif", np.ones((4, 5), np.uint8), tag=parse("background,water"))
    save(tmp_path / "b.tif", blobs())
    done = vectorize_here("a.tif", "b.tif", "-o", "out", "--classes", "building", "-q")
    assert (done.code, done.out) == (3, "out/b.gpkg\n")


def test_an_empty_class_name_is_refused(vectorize_here, tmp_path):
    save(tmp_path / "m.tif", blobs())
    done = vectorize_here("m.tif", "--classes", "water,,building")
    assert done.code == 2
    assert "a name is empty" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("what", ["mask", "confidence"])
def test_what_changes_while_it_is_read_gives_no_polygons(tmp_path, what):
    rng = np.random.default_rng(0)
    files = {name: tmp_path / f"{name}.tif" for name in ("mask", "confidence")}
    for path in files.values():
        with rasterio.open(path, "w", driver="GTiff", width=300, height=300, count=1, dtype="uint8") as ds:
            ds.write(rng.integers(0, 9, (1, 300, 300)).astype(np.uint8))
    over = threading.Event()

    def touch():
        while not over.wait(0.002):
            os.utime(files[what])

    writer = threading.Thread(target=touch)
    writer.start()
    try:
        with pytest.raises(RasterError, match=f"{what}.tif: changed while it was read"):
            vectorize(
                files["mask"], tmp_path / "out.gpkg", VectorizeOptions(confidence=files["confidence"], quiet=True)
            )
    finally:
        over.set()
        writer.join()
    assert not (tmp_path / "out.gpkg").exists()
