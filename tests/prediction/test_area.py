"""Areas of interest: within them the mask is that of the whole scene to the byte, outside nothing is computed."""

import json

import fiona
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from noise import save_scene
from rasterio.control import GroundControlPoint
from rasterio.features import geometry_mask
from rasterio.transform import from_gcps, from_origin

import segearth_cli
from segearth_cli.errors import RasterError
from segearth_cli.raster import Frame, Window, area_of, area_of_interest, open_scene, starts

HEIGHT, WIDTH, SIDE = 200, 260, 64  # SIDE: of the tiny model's windows, every 32 px
CORNER, PIXEL = (400_000.1, 5_000_000.3), 0.3  # of noise.save_scene
CRS = "EPSG:32633"
BENT = shapely.Polygon([(30.2, 20.4), (150.7, 33.1), (90.3, 120.9), (64.4, 60.2)], [[(70, 40), (90, 41), (80, 50)]])
APART = shapely.MultiPolygon([shapely.box(3.2, 4.1, 20.7, 30.2), BENT, shapely.box(220, 150, 259.9, 199.9)])


def on_map(geometry, crs=CRS):
    """Pixel coordinates as those of the map, in a CRS."""
    placed = shapely.transform(geometry, lambda xy: xy * (PIXEL, -PIXEL) + CORNER)
    move = pyproj.Transformer.from_crs(CRS, crs, always_xy=True).transform
    return placed if crs == CRS else shapely.transform(placed, lambda xy: np.stack(move(*xy.T), axis=1))


def within(geometry, height=HEIGHT, width=WIDTH):
    """Which pixels have their middle in a geometry of pixel coordinates; rasterio is the judge."""
    return geometry_mask([geometry], (height, width), rasterio.Affine.identity(), invert=True)


def save(path, geometry, crs, driver="GPKG"):
    parts = shapely.get_parts(geometry)
    schema = {"geometry": "Unknown", "properties": {"name": "str"}}
    with fiona.open(path, "w", driver=driver, schema=schema, crs=crs) as sink:
        sink.writerecords({"geometry": shapely.geometry.mapping(one), "properties": {"name": "x"}} for one in parts)
    return path


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return save_scene(tmp_path_factory.mktemp("scene") / "scene.tif", HEIGHT, WIDTH, nodata=0, holes=[(40, 60, 20, 30)])


@pytest.fixture
def predict(segearth, model_dir, tmp_path, scene):
    """Runs the command on the scene: what it told, and where its mask is."""

    def run(*options, name="mask.tif", of=scene, code=0):
        done = segearth(
            *("predict", of, "-c", "water,roof,forest", "-o", tmp_path / name, "-m", f"local-dir:{model_dir}"),
            *("--upsampler", "none", "-d", "cpu", "--precision", "fp32", "--json", *options),
        )
        assert done.code == code, done.err
        return done

    return run


def bands(*paths):
    with rasterio.Env():
        return [rasterio.open(path).read() for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [(), ("--scale", "0.4"), ("--scale", "1.6"), ("--tile", "96x80", "--tile-stride", "60")]
)
def test_within_the_area_the_mask_is_that_of_the_whole_and_outside_nodata(predict, tmp_path, how):
    extras = ["--confidence", tmp_path / "{}c.tif", "--scores", tmp_path / "{}s.tif"]
    for name, area in {"whole": (), "part": ("--aoi", on_map(APART).wkt)}.items():
        predict(*how, *area, *(str(one).replace("{}", name) for one in extras), name=f"{name}.tif")
    inside = within(APART)
    for end in (".tif", "c.tif", "s.tif"):
        whole, part = bands(tmp_path / f"whole{end}", tmp_path / f"part{end}")
        empty = np.nan if end == "s.tif" else 255
        assert np.array_equal(part, np.where(inside, whole, np.asarray(empty, part.dtype)), equal_nan=end == "s.tif")
    with rasterio.open(tmp_path / "whole.tif") as a, rasterio.open(tmp_path / "part.tif") as b:
        assert (a.transform, a.crs, a.shape) == (b.transform, b.crs, b.shape)


def test_only_windows_with_wanted_pixels_run_and_the_dry_run_counts_them(predict):
    inside = within(BENT)
    windows = sum(
        inside[row : row + SIDE, col : col + SIDE].any()
        for row in starts(HEIGHT, SIDE, SIDE // 2)
        for col in starts(WIDTH, SIDE, SIDE // 2)
    )
    aoi = ("--aoi", on_map(BENT).wkt)
    planned = json.loads(predict("--dry-run", *aoi).out)
    assert planned["windows"] == windows < json.loads(predict("--dry-run").out)["windows"]
    done = json.loads(predict(*aoi).out)
    assert (done["windows"], done["computed_windows"]) == (windows, windows)


def test_a_box_on_the_windows_own_edges_runs_none_of_their_neighbours(predict):
    west, north, east, south = on_map(shapely.box(64, 64, 96, 128)).bounds
    bbox = f"{west + 0.01},{north + 0.01},{east - 0.01},{south - 0.01}"
    found = json.loads(predict("--dry-run", "--bbox", bbox).out)["windows"]
    assert found == sum(col < 96 and col + SIDE > 64 for col in starts(WIDTH, SIDE, 32)) * 3


@pytest.mark.slow
@pytest.mark.parametrize("crs", [CRS, "EPSG:4326", "EPSG:3857", "EPSG:3035"])
@pytest.mark.parametrize("kind", ["gpkg", "geojson", "shp", "wkt"])
def test_areas_of_any_format_and_crs_hold_the_same_pixels(predict, tmp_path, crs, kind):
    placed = on_map(shapely.segmentize(APART, 5.0), crs)
    if kind == "wkt":
        aoi = f"SRID={crs.split(':')[1]};{placed.wkt}"
    else:
        driver = {"gpkg": "GPKG", "geojson": "GeoJSON", "shp": "ESRI Shapefile"}[kind]
        aoi = save(tmp_path / f"area.{kind}", placed, crs, driver)
    predict("--aoi", aoi)
    there = bands(tmp_path / "mask.tif")[0][0] != 255
    wanted = within(APART) & (
        bands(save_scene(tmp_path / "again.tif", HEIGHT, WIDTH, nodata=0, holes=[(40, 60, 20, 30)]))[0] > 0
    ).all(0)
    assert np.count_nonzero(there != wanted) <= 2  # 1e-7 of a degree, which GeoJSON keeps, is 1 cm


def test_a_file_of_google_earth_is_an_area(predict, tmp_path):
    area = shapely.transform(BENT, lambda xy: xy + np.array([0.3, 0.1]))  # no edge of it through the middles of pixels
    placed = on_map(area, "EPSG:4326")
    rings = [" ".join(f"{x},{y},0" for x, y in ring.coords) for ring in (placed.exterior, *placed.interiors)]
    inner = "".join(f"<innerBoundaryIs><LinearRing><coordinates>{ring}</coordinates></LinearRing></innerBoundaryIs>"
                    for ring in rings[1:])  # fmt: skip
    outer = f"<outerBoundaryIs><LinearRing><coordinates>{rings[0]}</coordinates></LinearRing></outerBoundaryIs>"
    place = f"<Placemark><name>x</name><Polygon>{outer}{inner}</Polygon></Placemark>"
    (tmp_path / "a.kml").write_text(
        f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Folder><name>f</name>{place}</Folder></Document></kml>'
    )
    predict("--aoi", tmp_path / "a.kml", "--ignore-mask", "--nodata", "none")
    assert np.array_equal(bands(tmp_path / "mask.tif")[0][0] != 255, within(area))


@pytest.mark.slow
def test_shards_and_a_resume_give_the_same_mask_and_another_area_is_refused(predict, tmp_path):
    big = save_scene(tmp_path / "big.tif", 1100, 1200)
    area = ("--aoi", on_map(shapely.Polygon([(300, 400), (700, 380), (520, 800)])).wkt)
    predict(*area, of=big, name="whole.tif")
    work = ("--work", tmp_path / "run", "--shard-size", "512")
    assert json.loads(predict("--dry-run", *work, *area, of=big).out)["shards"] == 4
    predict(*work, *area, of=big, name="shards.tif")
    assert (tmp_path / "shards.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    predict(*work, *area, "--resume", "--overwrite", of=big, name="shards.tif")
    other = ("--aoi", on_map(shapely.box(300, 400, 500, 700)).wkt)
    told = predict(*work, *other, "--resume", of=big, code=1)
    assert told.lines[-1].count("area.sha256") == 1
    assert "holds another run" in told.lines[-1]
    assert "area.sha256" in predict(*work, "--resume", of=big, code=1).lines[-1]


def test_the_mask_and_run_json_name_the_area_whatever_file_it_came_from(predict, tmp_path):
    west, south, east, north = on_map(shapely.box(10, 10, 90, 80)).bounds
    box = f"{west},{south},{east},{north},{CRS}"
    runs = []
    for given in (("--bbox", box), ("--aoi", f"SRID=32633;{shapely.box(west, south, east, north).wkt}")):
        predict(*given, "--work", tmp_path / "run", "--resume", "--overwrite")
        with rasterio.open(tmp_path / "mask.tif") as ds:
            runs.append(json.loads(ds.tags()["SEGEARTH_RUN"])["area"])
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]["area"]
    assert runs == [facts, facts]
    assert (facts["crs"], facts["bounds"]) == (CRS, pytest.approx([west, south, east, north]))


def test_a_manifest_goes_on_with_the_same_area_alone(predict, tmp_path, scene, segearth, model_dir):
    (tmp_path / "list.csv").write_text(f"scene,out\n{scene},{tmp_path / 'a.tif'}\n")

    def run(*options):
        return segearth(
            *("predict", "--manifest", tmp_path / "list.csv", "-c", "water,roof", "-m", f"local-dir:{model_dir}"),
            *("--upsampler", "none", "-d", "cpu", "--precision", "fp32", *options),
        )

    area = ("--aoi", on_map(BENT).wkt)
    assert run(*area).code == 0
    before = (tmp_path / "a.tif").stat().st_mtime_ns
    assert run(*area).code == 0
    assert (tmp_path / "a.tif").stat().st_mtime_ns == before
    told = run("--aoi", on_map(APART).wkt)
    assert told.code == 1
    assert "exists already, from another run" in told.err


@pytest.mark.slow
def test_python_takes_the_same_areas_and_geometries_of_shapely(predict, tmp_path, scene, model_dir):
    predict("--aoi", on_map(BENT).wkt)
    options = {
        "model": f"local-dir:{model_dir}",
        "upsampler": "none",
        "device": "cpu",
        "precision": "fp32",
        "quiet": True,
    }
    for aoi in (on_map(BENT), on_map(BENT).wkt, save(tmp_path / "a.gpkg", on_map(BENT), CRS)):
        mask = segearth_cli.predict(scene, "water,roof,forest", aoi=aoi, **options)
        assert np.array_equal(mask.array, bands(tmp_path / "mask.tif")[0][0])
    west, south, east, north = on_map(BENT).bounds
    boxed = segearth_cli.predict(scene, "water,roof,forest", bbox=(west, south, east, north, CRS), **options)
    assert (boxed.array != 255).sum() > (mask.array != 255).sum()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--bbox", "7,50,8,51"), "lies beside the scene in the scene's own CRS (WGS 84 / UTM zone 33N); name another"),
        (("--bbox", "100,50,101,51,EPSG:4326"), "--bbox 100,50,101,51,EPSG:4326 lies beside the scene"),
        (("--bbox", "8,50,7,51"), "need W,S,E,N with W below E and S below N"),
        (("--bbox", "8,50,9"), "need W,S,E,N"),
        (("--bbox", "7,50,8,51,EPSG:nothing"), "EPSG:nothing is no CRS"),
        (("--aoi", "POINT (400010 4999990)"), "holds no polygon"),
        (("--aoi", "LINESTRING (400010 4999990, 400020 4999990)"), "holds no polygon"),
        (("--aoi", "POLYGON ((0 0, 1 1))"), "is no WKT"),
        (("--aoi", "POLYGON EMPTY"), "holds no polygon"),
        (("--aoi", "absent.gpkg"), "--aoi absent.gpkg: no such file"),
        (("--aoi", "POLYGON ((0 0, 9 0, 9 9, 0 0))", "--bbox", "7,50,8,51"), "choose one of them"),
    ],
)
def test_an_area_that_cannot_be_meant_is_told_in_one_line_and_nothing_is_written(predict, tmp_path, options, told):
    done = predict(*options, code=2 if "beside" not in told else 1)
    assert told in done.lines[-1]
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_vector_data_is_told(predict, tmp_path):
    (tmp_path / "area.gpkg").write_text("nothing")
    assert "--aoi" in predict("--aoi", tmp_path / "area.gpkg", code=1).lines[-1]


def test_the_file_of_an_area_is_not_written_over(predict, tmp_path):
    aoi = save(tmp_path / "area.gpkg", on_map(BENT), CRS)
    before = aoi.read_bytes()
    assert "is read by this command" in predict("--aoi", aoi, "--vector", aoi, "--overwrite", code=2).err
    assert aoi.read_bytes() == before


# Where scenes lie


def placed(path, height=40, width=60, **place):
    return open_scene(str(save_scene(path, height, width, **place)))


def pixels(scene, geometry, crs):
    area = area_of(scene, scene.path, area_of_interest([geometry], crs, "--aoi"))
    return area.holds(Window(0, 0, scene.height, scene.width))


@pytest.mark.parametrize("west", [179.7, -180.3])  # a scene that goes on beyond the antimeridian, on either side
@pytest.mark.parametrize("turned", [0, 360, -360])
def test_whole_turns_of_longitude_make_no_difference(tmp_path, west, turned):
    scene = placed(tmp_path / "s.tif", crs="EPSG:4326", transform=from_origin(west, 10.4, 0.01, 0.01))
    found = pixels(scene, shapely.box(179.8 + turned, 10.1, 180.1 + turned, 10.2), "EPSG:4326")
    assert np.array_equal(found, within(shapely.box(10, 20, 40, 30), 40, 60))


@pytest.mark.parametrize("crs", ["EPSG:32601", "EPSG:32660", "EPSG:3832"])
def test_an_area_across_the_antimeridian_has_no_seam(tmp_path, crs):
    to = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = to.transform(180, 10)
    scene = placed(tmp_path / "s.tif", crs=crs, transform=from_origin(x - 300, y + 200, 10, 10))
    cut = shapely.MultiPolygon([shapely.box(179.999, 9.999, 180, 10.001), shapely.box(-180, 9.999, -179.999, 10.001)])
    found = pixels(scene, cut, "EPSG:4326")
    rows, cols = np.nonzero(found)
    assert found[rows.min() + 1 : rows.max(), cols.min() + 1 : cols.max()].all()
    assert (np.ptp(cols) + 1, np.ptp(rows) + 1) == (pytest.approx(22, abs=1), pytest.approx(22, abs=1))
    west, south, east, north = 179.999, 9.999, -179.999, 10.001
    from segearth_cli.raster import area_in_box

    boxed = area_of(scene, scene.path, area_in_box((west, south, east, north), "EPSG:4326"))
    assert np.array_equal(boxed.holds(Window(0, 0, 40, 60)), found)


def test_a_cap_around_the_pole_is_a_disc_on_a_polar_map(tmp_path):
    scene = placed(
        tmp_path / "s.tif", 80, 80, crs="EPSG:3413", transform=from_origin(-400_000, 400_000, 10_000, 10_000)
    )
    found = pixels(scene, shapely.box(-180, 88, 180, 90), "EPSG:4326")
    y, x = np.mgrid[:80, :80] - 39.5
    radius = np.hypot(*pyproj.Transformer.from_crs(4326, 3413, always_xy=True).transform(0, 88)) / 10_000
    assert np.count_nonzero(found != (np.hypot(x, y) < radius)) <= 8


def test_the_whole_world_is_all_of_a_scene(tmp_path):
    scene = placed(tmp_path / "s.tif")
    assert pixels(scene, shapely.box(-180, -90, 180, 90), "EPSG:4326").all()


def test_scenes_placed_by_points_take_areas_too(tmp_path, noise):
    path = tmp_path / "s.tif"
    corners = [(0, 0), (0, 60), (40, 0), (40, 60)]
    points = [GroundControlPoint(row, col, 10 + col * 0.01, 50 - row * 0.01) for row, col in corners]
    with rasterio.open(path, "w", driver="GTiff", height=40, width=60, count=3, dtype="uint8", photometric="RGB") as ds:
        ds.gcps = points, rasterio.CRS.from_epsg(4326)
        ds.write(noise(3, 40, 60))
    assert from_gcps(points)
    found = pixels(open_scene(str(path)), shapely.box(10.1, 49.8, 10.3, 49.9), "EPSG:4326")
    assert np.array_equal(found, within(shapely.box(10, 10, 30, 20), 40, 60))


def test_a_scene_that_lies_nowhere_takes_an_area_in_its_pixels_alone(write_raster, noise):
    scene = open_scene(write_raster("s.png", noise(3, 40, 60), driver="PNG", crs=None, transform=None))
    for box in (shapely.box(10, 5, 30, 20), shapely.box(10, -20, 30, -5)):  # QGIS shows rows below 0
        assert np.array_equal(pixels(scene, box, None), within(shapely.box(10, 5, 30, 20), 40, 60))
    with pytest.raises(RasterError, match="has no georeference, but --aoi has one"):
        pixels(scene, shapely.box(10, 5, 30, 20), "EPSG:4326")


@pytest.mark.parametrize("seed", range(8))
def test_in_its_pixels_an_area_may_reach_beyond_it_and_rows_be_counted_either_way(write_raster, noise, seed):
    scene = open_scene(write_raster("s.png", noise(3, 40, 60), driver="PNG", crs=None, transform=None))
    left, top, width, height = np.random.default_rng(seed).uniform((-30, -9, 35, 12), (25, 25, 60, 40))
    box = shapely.box(left, top, left + width, top + height)
    upward = shapely.transform(box, lambda xy: xy * (1, -1))
    assert np.array_equal(pixels(scene, box, None), within(box, 40, 60))
    assert np.array_equal(pixels(scene, upward, None), within(box, 40, 60))


def test_pixels_do_not_depend_on_the_window_they_are_asked_for_in(tmp_path):
    scene = placed(tmp_path / "s.tif", 300, 400)
    area = area_of(scene, scene.path, area_of_interest([on_map(shapely.Point(150, 140).buffer(120))], CRS, "--aoi"))
    whole = area.holds(Window(0, 0, 300, 400))
    for window in (Window(7, 11, 100, 133), Window(150, 200, 1, 90), Window(40, 60, 90, 1)):
        assert np.array_equal(area.holds(window), whole[window.slices])
        moved = area.seen_from(5, 6).holds(window.seen_from(5, 6))
        assert np.array_equal(moved, whole[window.slices])


GLOBES = {  # where areas lie, in a CRS of their own: none of their edges goes through the middle of a pixel
    "antimeridian": ("EPSG:4258", shapely.box(170.3, -20.7, 190.6, 10.4)),
    "antimeridian, the other way": ("EPSG:4258", shapely.box(-190.3, -20.7, -170.6, 10.4)),
    "antimeridian, with a hole": ("EPSG:4258", shapely.box(150.3, 1.2, 210.6, 50.4) - shapely.box(175.1, 9, 186.3, 30)),
    "UTM": ("EPSG:32601", shapely.box(-200_000.5, 100_000.3, 900_000.7, 2_000_000.9)),
    "Mercator": ("EPSG:3832", shapely.box(2_000_000.5, -3_000_000.5, 4_000_000.2, 5_000_000.7)),
    "north pole": ("EPSG:3995", shapely.Point(100_000, 200_000).buffer(3_000_000)),
    "beside the south pole": ("EPSG:3031", shapely.box(100_000.5, -500_000.4, 2_000_000.3, 3_000_000.9)),
    "around the south pole": (
        "EPSG:3031",
        shapely.Point(0, 0).buffer(3_000_000) - shapely.Point(0, 0).buffer(1_000_000),
    ),
}


@pytest.mark.parametrize("west", [-180, 0, -150])
@pytest.mark.parametrize("lies", GLOBES)
def test_on_a_scene_of_the_globe_an_area_of_another_crs_holds_what_lies_in_it(lies, west):
    crs, drawn = GLOBES[lies]
    frame = Frame(180, 360, rasterio.CRS.from_epsg(4326), from_origin(west, 90, 1, 1), ([], None), None)
    held = area_of(frame, "globe.tif", area_of_interest([drawn], crs, "--aoi")).holds(Window(0, 0, 180, 360))
    x, y = np.meshgrid(np.arange(360) + west + 0.5, 89.5 - np.arange(180))
    there = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(x, y)
    turns = [
        shapely.contains_xy(drawn, there[0] + turn, there[1])
        for turn in ((-360, 0, 360) if crs == "EPSG:4258" else (0,))
    ]
    assert np.array_equal(held, np.any(turns, axis=0))
