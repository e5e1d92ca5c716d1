"""Labels that people drew: `segearth evaluate` against features with a name or a code."""

import json

import fiona
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import rasterio
import shapely
import shapely.ops
from rasterio.features import shapes as outlines
from rasterio.transform import from_origin

import segearth_cli

CRS, PLACE = "EPSG:32633", from_origin(400_000, 5_000_000, 2, 2)
NAMES = ("ground", "water", "roof")
LIST = ("--classes", "ground,water|river|fleuve\u0301,roof")


def blocky(seed, rows=600, cols=80):
    return np.kron(np.random.default_rng(seed).integers(0, 3, (rows // 20, cols // 20)), np.ones((20, 20))).astype("u1")


def write(path, codes):
    form = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255, "crs": CRS, "transform": PLACE}
    with rasterio.open(path, "w", height=codes.shape[0], width=codes.shape[1], **form) as ds:
        ds.write(codes, 1)
    return path


def drawn(codes):
    """Outlines of codes on the map, and the code of each."""
    found = [(shapely.geometry.shape(one), int(code)) for one, code in outlines(codes, transform=PLACE)]
    return [one for one, _ in found], [code for _, code in found]


def save(path, geometries, values, crs=CRS, field="class", kind="str", driver="GPKG", **more):
    move = pyproj.Transformer.from_crs(CRS, crs, always_xy=True).transform
    schema = {"geometry": "Unknown", "properties": {field: kind}}
    with fiona.open(path, "w", driver=driver, schema=schema, crs=crs, **more) as sink:
        for one, value in zip(geometries, values, strict=True):
            moved = one if crs == CRS else shapely.transform(one, lambda xy: np.stack(move(*xy.T), axis=1))
            sink.write({"geometry": shapely.geometry.mapping(moved), "properties": {field: value}})
    return path


@pytest.fixture
def mask(tmp_path):
    return write(tmp_path / "scene.mask.tif", blocky(0))


def test_labels_are_read_anew_when_only_their_table_changed(tmp_path, mask):
    shapes, codes = drawn(blocky(0))
    names, other = ([NAMES[(code + turn) % 3] for code in codes] for turn in (0, 1))
    path = save(tmp_path / "labels.shp", shapes, names, driver="ESRI Shapefile")
    assert segearth_cli.evaluate(mask, path, list(NAMES))["miou"] == 1
    save(tmp_path / "other.shp", shapes, other, driver="ESRI Shapefile")
    (tmp_path / "other.dbf").replace(tmp_path / "labels.dbf")
    assert segearth_cli.evaluate(mask, path, list(NAMES))["miou"] == 0


@pytest.mark.parametrize("names", ["ground,water", "water,ground"])
def test_a_hint_names_the_class_that_no_label_shows(tmp_path, segearth, names):
    codes = (blocky(0) > 1).astype("u1")
    label, first = write(tmp_path / "label.tif", np.where(codes, 255, 0).astype("u1")), names.split(",")[0]
    done = segearth(
        "evaluate", write(tmp_path / "m.tif", codes), label, "-c", names, "--map", f"0={int(first == 'water')}"
    )
    assert f"--map 255={int(first != 'water')}" in done.err


def test_what_no_feature_lies_on_is_no_code_and_gives_no_hint(tmp_path, segearth):
    codes = np.zeros((40, 80), "u1")
    mask = write(tmp_path / "m.tif", codes)
    label = save(tmp_path / "l.gpkg", [shapely.box(*PLACE @ (0, 40), *PLACE @ (50, 0))], ["ground"])
    done = segearth("evaluate", mask, label, "-c", "ground,water", "--json", "-")
    assert done.code == 0, done.err
    assert "255" not in done.err
    rows = [(row["code"], row["pixels"]) for row in json.loads(done.out)["labels"]]
    assert rows == [("0", 50 * 40), (None, 30 * 40)]


@pytest.fixture
def figures(segearth):
    def run(*arguments):
        done = segearth("evaluate", *arguments, "--json", "-")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return run


@pytest.mark.parametrize("named", ["names", "phrases", "codes", "codes as text"])
@pytest.mark.parametrize(("driver", "suffix"), [("GPKG", "gpkg"), ("GeoJSON", "geojson"), ("ESRI Shapefile", "shp")])
def test_features_score_as_the_raster_they_outline(tmp_path, mask, figures, named, driver, suffix):
    truth = blocky(1)
    wanted = figures(mask, write(tmp_path / "truth.tif", truth), *LIST)
    geometries, codes = drawn(truth)
    words = {"names": NAMES, "phrases": ("Ground", "fleuvé", "ROOF"), "codes": (0, 1, 2), "codes as text": "012"}[named]
    kind = "int" if named == "codes" else "str"
    label = save(tmp_path / f"label.{suffix}", geometries, [words[code] for code in codes], kind=kind, driver=driver)
    found = figures(mask, label, *LIST)
    assert (found["classes"], found["confusion"]) == (wanted["classes"], wanted["confusion"])


def test_a_table_of_clicks_scores_as_their_layer(tmp_path, mask, figures, segearth):
    """What `segearth calibrate` took as labels, in the CRS of the mask."""
    random = np.random.default_rng(2)
    places = [shapely.Point(*(PLACE @ place)) for place in random.uniform((0, 0), (80, 600), (30, 2)).tolist()]
    names = [NAMES[number % 3] for number in range(30)]
    lines = ["class,WKT", *(f"{name},{place.wkt}" for name, place in zip(names, places, strict=True))]
    (tmp_path / "clicks.csv").write_text("\n".join(lines) + "\n")
    found = figures(mask, tmp_path / "clicks.csv", *LIST)
    wanted = figures(mask, save(tmp_path / "clicks.gpkg", places, names), *LIST)
    assert (found["classes"], found["confusion"]) == (wanted["classes"], wanted["confusion"])
    assert sum(one["support"] for one in found["classes"]) in range(28, 31)  # two may fall into one pixel
    (tmp_path / "empty.csv").write_text("a,b\n1,2\n")
    refused = segearth("evaluate", mask, tmp_path / "empty.csv", *LIST)
    assert (refused.code, len(refused.lines)) == (2, 1)
    assert "--field class: " in refused.err


def test_features_of_another_crs_and_field_are_brought_to_the_mask(tmp_path, mask, figures):
    truth = blocky(1)
    geometries, codes = drawn(truth)
    fine = [shapely.segmentize(one, 5) for one in geometries]
    label = save(tmp_path / "l.gpkg", fine, [NAMES[code] for code in codes], "EPSG:4326", "Kind", layer="a")
    save(label, [], [], layer="b")
    found = figures(mask, label, *LIST, "--field", "kind", "--layer", "a")
    wanted = figures(mask, write(tmp_path / "truth.tif", truth), *LIST)
    assert found["accuracy"] == pytest.approx(wanted["accuracy"], abs=1e-3)


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "fgb", "shp", "parquet"])
def test_polygons_of_a_mask_are_labels_as_they_come_the_table_of_styles_beside_them(
    tmp_path, mask, figures, segearth, suffix
):
    assert segearth("vectorize", mask, "-o", tmp_path / f"mask.{suffix}").code == 0
    assert figures(mask, tmp_path / f"mask.{suffix}", "-c", "class_0,class_1,class_2")["accuracy"] == 1


def save_parquet(path, geometries, values, **about):
    geo = {"version": "1.1.0", "primary_column": "shape", "columns": {"shape": {"encoding": "WKB"} | about}}
    table = pa.table({"fid": range(len(values)), "shape": shapely.to_wkb(geometries), "class": values})
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)
    return path


def test_geoparquet_that_tells_no_crs_lies_in_degrees(tmp_path, mask, figures):
    geometries, codes = drawn(blocky(1))
    names = [NAMES[code] for code in codes]
    to_degrees = pyproj.Transformer.from_crs(CRS, "OGC:CRS84", always_xy=True).transform
    degrees = [shapely.ops.transform(to_degrees, one) for one in geometries]
    here = save_parquet(tmp_path / "utm.parquet", geometries, names, crs=pyproj.CRS(CRS).to_json_dict())
    untold = save_parquet(tmp_path / "degrees.parquet", degrees, names)
    wanted = figures(mask, write(tmp_path / "truth.tif", blocky(1)), *LIST)["confusion"]
    assert figures(mask, here, *LIST)["confusion"] == figures(mask, untold, *LIST)["confusion"] == wanted


@pytest.mark.parametrize("kind", ["table", "arrow", "text", "layer"])
def test_parquet_that_is_no_layer_of_wkb_is_one_line(tmp_path, mask, segearth, kind):
    path, more = tmp_path / "l.parquet", ()
    if kind == "table":
        pq.write_table(pa.table({"class": ["water"]}), path)
    elif kind == "text":
        path.write_text("no parquet at all")
    else:
        save_parquet(
            path,
            [shapely.box(*PLACE @ (0, 9), *PLACE @ (9, 0))],
            ["water"],
            encoding="WKB" if kind == "layer" else "polygon",
        )
        more = ("--layer", "x") if kind == "layer" else ()
    done = segearth("evaluate", mask, path, *LIST, *more)
    assert (done.code, len(done.lines)) == (2 if kind == "layer" else 1, 1)
    assert "l.parquet" in done.err


def test_codes_are_mapped_ignored_and_shifted_as_those_of_rasters(tmp_path, mask, figures):
    truth = blocky(1)
    geometries, codes = drawn(truth)
    label = save(tmp_path / "l.gpkg", geometries, [code + 1 for code in codes], kind="int")
    wanted = figures(mask, write(tmp_path / "truth.tif", truth), *LIST)["confusion"]
    assert figures(mask, label, *LIST, "--label-offset", "-1")["confusion"] == wanted
    assert figures(mask, label, *LIST, "--map", "1=0,2=1,3=2")["confusion"] == wanted
    left_out = figures(mask, label, *LIST, "--label-offset", "-1", "--ignore", "3")
    assert [row["support"] for row in left_out["classes"]] == [*map(int, np.bincount(truth.ravel())[:2]), 0]
    for several in (("--ignore", "2,3"), ("--ignore", "2", "--ignore", "3")):
        left_out = figures(mask, label, *LIST, "--label-offset", "-1", *several)
        assert [row["support"] for row in left_out["classes"]] == [np.bincount(truth.ravel())[0], 0, 0]


@pytest.mark.parametrize("kind", [int, float, str])
def test_classes_that_are_called_by_numbers_are_known_by_them(tmp_path, mask, figures, kind):
    geometries, codes = drawn(blocky(1))
    named = figures(mask, save(tmp_path / "n.gpkg", geometries, [NAMES[code] for code in codes]), *LIST)
    values = [kind((2, 1, 0)[code]) for code in codes]  # classes in reverse if they were codes
    label = save(tmp_path / "l.gpkg", geometries, values, kind=kind.__name__)
    assert figures(mask, label, "--classes", "2,1,0")["confusion"]["counts"] == named["confusion"]["counts"]
    mapped = figures(mask, label, "--classes", "2,1,0", "--map", "0=0,1=1,2=2")
    assert mapped["confusion"]["counts"] == named["confusion"]["counts"][::-1]


@pytest.mark.parametrize("suffix", [".dat", ""])
def test_labels_of_whatever_suffix_are_what_they_can_be_opened_as(tmp_path, mask, figures, suffix):
    truth = blocky(1)
    geometries, codes = drawn(truth)
    wanted = figures(mask, write(tmp_path / "truth.tif", truth), *LIST)["confusion"]
    raster, vector = tmp_path / f"raster{suffix}", tmp_path / f"vector{suffix}"
    write(raster, truth)
    save(tmp_path / "l.gpkg", geometries, [NAMES[code] for code in codes]).rename(vector)
    assert figures(mask, raster, *LIST)["confusion"] == figures(mask, vector, *LIST)["confusion"] == wanted


def test_points_count_as_their_pixels_and_what_two_classes_claim_is_left_out(tmp_path, mask, figures):
    with rasterio.open(mask) as ds:
        codes = ds.read(1)
    places = [(5, 5), (100, 30), (555, 70)]
    points = [shapely.Point(PLACE @ (col + 0.5, row + 0.5)) for row, col in places]
    names = [NAMES[codes[place]] for place in places]
    assert figures(mask, save(tmp_path / "p.gpkg", points, names), *LIST)["pixels"] == 3
    box = shapely.box(*(PLACE @ (10, 20)), *(PLACE @ (20, 10)))
    both = save(tmp_path / "b.gpkg", [box, shapely.box(*(PLACE @ (15, 20)), *(PLACE @ (30, 10)))], ["water", "roof"])
    scored = figures(mask, both, *LIST)
    assert scored["pixels"] == 200 - 50
    rows = [(row["pixels"], row["left_out"]) for row in scored["labels"] if row["left_out"]]
    assert rows == [(50, "features of two classes"), (codes.size - 200, "no label, or a masked one")]
    same = save(tmp_path / "s.gpkg", [box, box], ["water", "river"])
    assert figures(mask, same, *LIST)["pixels"] == 100


def test_one_file_is_of_all_masks_and_folders_are_paired_by_stem(tmp_path, figures, segearth):
    truth, (masks, labels) = blocky(1), (tmp_path / "masks", tmp_path / "labels")
    masks.mkdir(), labels.mkdir()
    geometries, codes = drawn(truth)
    for name in "ab":
        write(masks / f"{name}.mask.tif", blocky(0))
        save(labels / f"{name}.gpkg", geometries, codes, kind="int")
    one, many = figures(masks, labels / "a.gpkg", *LIST), figures(masks, labels, *LIST)
    assert one["pairs"] == many["pairs"] == 2
    assert one["confusion"] == many["confusion"]


@pytest.mark.parametrize("reach", [10.0**power for power in (3, 7, 9, 12, 20, 100)])
def test_how_far_a_polygon_reaches_beyond_the_mask_changes_nothing(tmp_path, mask, figures, reach):
    corners = np.array([(-30, 40), (60, -9), (200, 80), (70, 180)])  # of the mask's pixels, some beyond it
    far = shapely.Polygon(np.where(corners > 70, corners * reach, corners))
    near = shapely.intersection(far, shapely.box(-40, -40, 200, 700))
    placed = [shapely.transform(one, lambda xy: xy * (2, -2) + (400_000, 5_000_000)) for one in (far, near)]
    whole, cut = (save(tmp_path / f"{i}.gpkg", [one], ["water"]) for i, one in enumerate(placed))
    assert figures(mask, cut, *LIST)["confusion"] == figures(mask, whole, *LIST)["confusion"]


@pytest.mark.parametrize(
    ("values", "options", "told"),
    [
        (["lake"], (), "'lake' in the field class is none of the classes; need one of ground, water, roof"),
        ([7], (), "'7' in the field class is none of the classes; need --ignore 7, --map 7=0 or --label-offset"),
        (["water"], ("--field", "clas"), "--field clas: "),
        (["water"], ("--layer", "x"), "--layer x: "),
    ],
)
def test_features_that_name_no_class_are_told(tmp_path, mask, segearth, values, options, told):
    kind = "int" if values == [7] else "str"
    box = shapely.box(*(PLACE @ (10, 20)), *(PLACE @ (20, 10)))
    done = segearth("evaluate", mask, save(tmp_path / "l.gpkg", [box], values, kind=kind), *LIST, *options)
    assert done.code in (1, 2)
    assert told in done.err


@pytest.mark.parametrize("value", [["water", "roof"], {"of": "water"}], ids=["list", "object"])
def test_a_field_of_several_values_is_one_line(tmp_path, mask, segearth, value):
    shape = shapely.geometry.mapping(shapely.box(*(PLACE @ (10, 20)), *(PLACE @ (20, 10))))
    feature = {"type": "Feature", "geometry": shape, "properties": {"class": value}}
    label = tmp_path / "l.geojson"
    label.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    done = segearth("evaluate", mask, label, *LIST)
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
    assert "l.geojson: the field class holds" in done.err


def test_a_field_without_a_name_is_nothing_to_tell(tmp_path, mask, segearth, recwarn):
    shape = shapely.geometry.mapping(shapely.box(*(PLACE @ (10, 20)), *(PLACE @ (20, 10))))
    feature = {"type": "Feature", "geometry": shape, "properties": {"class": "water", "": 1}}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    label = tmp_path / "l.geojson"
    label.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    done = segearth("evaluate", mask, label, *LIST)
    assert done.code == 0, done.err
    assert [str(one.message) for one in recwarn if "field" in str(one.message)] == []


def test_features_beside_the_mask_are_told(tmp_path, mask, segearth):
    label = save(tmp_path / "l.gpkg", [shapely.box(0, 0, 9, 9)], ["water"])
    done = segearth("evaluate", mask, label, *LIST)
    assert (done.code, "does not overlap its label" in done.err) == (1, True)


def test_python_scores_against_features_too(tmp_path, mask, figures):
    geometries, codes = drawn(blocky(1))
    label = save(tmp_path / "l.gpkg", geometries, [NAMES[code] for code in codes], field="kind")
    found = segearth_cli.evaluate(mask, label, "ground,water,roof", field="kind")
    assert found["confusion"] == figures(mask, label, *LIST, "--field", "kind")["confusion"]
