"""Ground: areas and lengths are those on the ellipsoid, whatever the CRS; pyproj.Geod is the oracle."""

import itertools

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import assume, example, given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import Affine, from_origin

from segearth_cli.raster import Frame, Ground, parse_area, parse_length

TURNED = "+proj=ob_tran +o_proj=longlat +o_lon_p=-162 +o_lat_p=39.25 +lon_0=180 +to_meter=0.0174532925199433"
GRIDS = (  # of one ellipsoid or another, conformal, of equal area, neither; in metres, degrees, grads, feet
    "EPSG:4326", "EPSG:4807", "EPSG:3857", "EPSG:3395", "ESRI:54004", "EPSG:4087", "EPSG:6933", "ESRI:54009",
    "EPSG:3035", "EPSG:3031", "EPSG:3413", "EPSG:2263", "UTM", "EPSG:4326+5773", TURNED,
)  # fmt: skip
WHOLE_EARTH = 510_065_621.724e6  # m2, surface of WGS 84


def frame(crs, transform, side=64):
    return Frame(side, side, CRS.from_user_input(crs) if crs else None, transform, ([], None), None)


def geodetic(crs):
    """Degrees of map coordinates, and what measures on the ellipsoid, by pyproj alone."""
    crs = pyproj.CRS(crs)
    crs = crs.sub_crs_list[0] if crs.is_compound else crs
    base = crs.source_crs if crs.is_geographic and crs.is_derived else crs.geodetic_crs
    degrees = np.degrees(base.axis_info[0].unit_conversion_factor)
    there = pyproj.Transformer.from_crs(base, crs, always_xy=True)

    def back(x, y):
        return np.array(there.transform(x, y, direction="INVERSE")) * degrees

    return back, lambda lon, lat: there.transform(lon / degrees, lat / degrees), crs.get_geod()


def by_geod(crs, polygon):
    """Area and perimeter of a polygon in map coordinates, its edges straight there."""
    back, _, geod = geodetic(crs)
    west, south, east, north = polygon.bounds
    points = shapely.get_coordinates(shapely.segmentize(polygon, max(east - west, north - south) / 300))
    area, length = geod.polygon_area_perimeter(*back(*points.T))
    return abs(area), length


@given(
    st.sampled_from(GRIDS), st.floats(-179, 179), st.floats(-89.5, 89.5), st.floats(1, 6),
    st.lists(st.floats(0.2, 1), min_size=3, max_size=9),
)  # fmt: skip
@example("EPSG:3857", 13.4, 52.5, 2.0, [1.0] * 4)
@example("EPSG:4326", 13.4, -89.4, 3.0, [1.0] * 4)
@pytest.mark.slow
def test_random_polygons_measure_what_they_do_on_the_ellipsoid(grid, lon, lat, decades, radii):
    grid = f"EPSG:{32601 + int((lon + 180) // 6)}" if grid == "UTM" else grid
    _, there, _ = geodetic(grid)
    x, y = there(lon, lat)
    assume(np.isfinite([x, y]).all())
    crs = pyproj.CRS(grid)
    bounds = crs.area_of_use.bounds if crs.area_of_use else (-180, -90, 180, 90)
    assume(bounds[0] <= lon <= bounds[2] and bounds[1] <= lat <= bounds[3])
    reach = 10**decades  # metres, from 10 to 1,000,000
    reach = min(reach, (90 - abs(lat)) * 1e5, (180 - abs(lon)) * 1e5 * np.cos(np.radians(lat)))
    unit = crs.axis_info[0].unit_conversion_factor * (crs.ellipsoid.semi_major_metre if crs.is_geographic else 1)
    pixel = reach / 32 / unit
    angle = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    star = shapely.Polygon(32 + 31 * np.array(radii)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    ground = Ground(frame(grid, from_origin(x - 32 * pixel, y + 32 * pixel, pixel, pixel)))
    (polygon,) = ground.to_map(np.array([star], object))
    back, _, _ = geodetic(grid)
    assume(np.isfinite(back(*shapely.get_coordinates(polygon).T)).all())
    ((area,), (length,)) = ground.measure(np.array([polygon], object))
    assert (area, length) == pytest.approx(by_geod(grid, polygon), rel=2e-3)


@pytest.mark.parametrize(
    ("crs", "box", "share"),
    [
        ("EPSG:4326", (-180, -90, 180, 90), 1),
        ("EPSG:4326", (-90, -90, 90, 90), 0.5),
        ("EPSG:4326", (-170, -90, 190, 0), 0.5),
        ("EPSG:4807", (-200, 0, 200, 100), 0.5),
        ("EPSG:6933", (-17367530.44, -7342230.13, 17367530.44, 7342230.13), 1),
        ("EPSG:3857", (-20037508.34, 0, 20037508.34, 1e9), 0.5),
    ],
)
def test_polygons_half_the_globe_wide_have_their_area(crs, box, share):
    ground = Ground(frame(crs, from_origin(box[0], box[3], (box[2] - box[0]) / 64, (box[3] - box[1]) / 64)))
    ((area,), _) = ground.measure(np.array([shapely.box(*box)], object))
    assert area == pytest.approx(share * WHOLE_EARTH, rel=1e-3)  # the Paris grid has an ellipsoid of its own


def test_a_polygon_around_a_pole_and_its_holes():
    outer, hole = shapely.box(-9e5, -9e5, 6e5, 6e5), shapely.box(-1e5, -1e5, 2e5, 2e5)
    ground = Ground(frame("EPSG:3031", from_origin(-9e5, 6e5, 15e5 / 64, 15e5 / 64)))
    ((area,), (length,)) = ground.measure(np.array([outer.difference(hole)], object))
    (outside, around), (inside, within) = by_geod("EPSG:3031", outer), by_geod("EPSG:3031", hole)
    assert (area, length) == pytest.approx((outside - inside, around + within), rel=1e-4)


def test_a_multipolygon_measures_what_its_parts_do():
    boxes = shapely.box(np.arange(3) * 4.0, 50, np.arange(3) * 4.0 + 2, 55)
    ground = Ground(frame("EPSG:4326", from_origin(0, 60, 0.2, 0.2)))
    parts, whole = ground.measure(boxes), ground.measure(np.array([shapely.multipolygons(boxes)], object))
    assert [values.sum() for values in parts] == pytest.approx([float(values[0]) for values in whole])


def test_another_planet_has_its_own_ellipsoid():
    mars = "+proj=eqc +lat_ts=10 +a=3396190 +b=3376200 +units=m"
    ground = Ground(frame(mars, from_origin(1e6, 6e5, 5, 5)))
    (polygon,) = ground.to_map(np.array([shapely.box(3, 5, 60, 40)], object))
    ((area,), (length,)) = ground.measure(np.array([polygon], object))
    assert (area, length) == pytest.approx(by_geod(mars, polygon), rel=1e-4)


def test_a_plan_of_a_site_is_measured_in_its_plane():
    site = 'LOCAL_CS["site",UNIT["foot",0.3048]]'
    ground = Ground(frame(site, from_origin(0, 64, 1, 1)))
    assert ground.pixel_area == pytest.approx(0.3048**2)
    ((area,), (length,)) = ground.measure(np.array([shapely.box(0, 0, 2, 3)], object))
    assert (area, length) == pytest.approx((6 * 0.3048**2, 10 * 0.3048))


def test_pixels_that_reach_beyond_the_poles_end_there():
    rows, cols = 9, 16  # the middles of the first and the last row are the poles
    step = 180 / (rows - 1)
    ground = Ground(frame("EPSG:4326", Affine(360 / cols, 0, -180, 0, -step, 90 + step / 2), rows))
    edges = 90 + step / 2 - step * np.arange(rows + 1)
    strips = [shapely.box(-180, low, 180, high) for high, low in itertools.pairwise(edges)]
    areas, _ = ground.measure(np.array(strips, object))
    assert (areas > 0).all()
    assert areas.sum() == pytest.approx(WHOLE_EARTH, rel=1e-6)


def test_what_lies_off_the_globe_is_measured_in_the_plane():
    ground = Ground(frame("ESRI:54009", from_origin(-18e6, 9e6, 36e6 / 64, 18e6 / 64)))
    corner = shapely.box(-18e6, 8e6, -17e6, 9e6)
    ((area,), (length,)) = ground.measure(np.array([corner], object))
    assert (area, length) == pytest.approx((1e12, 4e6))


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("turn", [0, 33])
def test_a_pixel_measures_the_same_in_the_middle_as_a_polygon_of_it(crs, turn):
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(9.5, 52)
    side = 1e-5 if crs == "EPSG:4326" else 0.5
    ground = Ground(frame(crs, Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(side, -side)))
    ((area,), _) = ground.measure(ground.to_map(np.array([shapely.box(31.5, 31.5, 32.5, 32.5)], object)))
    assert ground.pixel_area == pytest.approx(area, rel=1e-5)
    assert ground.pixels(parse_area(f"{area * 200}m2", "--min-area")) == pytest.approx(200, rel=1e-5)
    assert ground.pixels(parse_length(f"{np.sqrt(area) * 3}m", "--simplify")) == pytest.approx(3, rel=1e-5)


def by_points(transform, crs, side=64):
    """A frame placed by ground control points alone."""
    corners = [(0, 0), (0, side), (side, 0), (side, side), (side // 2, side // 3)]
    points = [GroundControlPoint(r, c, *(transform @ (c, r))) for r, c in corners]
    return Frame(side, side, None, Affine.identity(), (points, CRS.from_user_input(crs)), None)


@pytest.mark.parametrize(("crs", "side"), [("EPSG:32632", 0.5), ("EPSG:4326", 1e-5)])
def test_ground_control_points_place_pixels_as_their_transform_does(crs, side):
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(9.5, 52)
    transform = from_origin(x, y, side, side)
    ground, exact = Ground(by_points(transform, crs)), Ground(frame(crs, transform))
    boxes = np.array([shapely.box(3, 4, 20, 30), shapely.box(40, 1, 64, 64)], object)
    assert ground.pixel_area == pytest.approx(exact.pixel_area, rel=1e-5)
    assert ground.measure(ground.to_map(boxes))[0] == pytest.approx(exact.measure(exact.to_map(boxes))[0], rel=1e-5)


def test_rational_polynomials_place_pixels_too():
    lines, samples = [0.0] * 20, [0.0] * 20
    lines[2], samples[1] = -1.0, 1.0  # rows grow southwards, columns eastwards
    one = [1.0] + [0.0] * 19
    rpcs = RPC(
        err_bias=0.0, err_rand=0.0, height_off=10.0, height_scale=500.0, lat_off=50.0, lat_scale=0.01, line_off=50.0,
        line_scale=50.0, long_off=7.0, long_scale=0.01, samp_off=50.0, samp_scale=50.0, line_den_coeff=one,
        line_num_coeff=lines, samp_den_coeff=one, samp_num_coeff=samples,
    )  # fmt: skip
    ground = Ground(Frame(100, 100, None, Affine.identity(), ([], None), rpcs))
    exact = Ground(frame("EPSG:4326", from_origin(6.99, 50.01, 2e-4, 2e-4), side=100))
    assert ground.pixel_area == pytest.approx(exact.pixel_area, rel=1e-3)  # GDAL inverts them to a tenth of a pixel
