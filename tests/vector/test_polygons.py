"""Polygons of masks, by the laws they keep: exact, valid, and the same for strips of any height."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio import features

from segearth_cli.vector import corners
from segearth_cli.vector import polygons as shapes
from segearth_cli.vector import reshape as borders
from segearth_cli.vector.diagonals import joined_diagonally
from segearth_cli.vector.simpler import simple_polygons
from segearth_cli.vector.strips import linked


def trace(mask, rows=None, **options):
    strips = ((mask[top : top + (rows or len(mask))], None) for top in range(0, len(mask), rows or len(mask)))
    return shapes.gathered(shapes.polygons(strips, mask.shape[1], mask.dtype, **options))


def rasterized(found, shape):
    pairs = list(zip(found.geometry, found.code.tolist(), strict=True))
    return features.rasterize(pairs, shape, dtype="uint8") if pairs else np.zeros(shape, np.uint8)


def canonical(found):
    return sorted(zip(shapely.to_wkt(shapely.normalize(found.geometry)), found.code.tolist(), strict=True))


def alike(found):
    """As `canonical`, a polygon the same as a multipolygon of it alone."""
    outlines = [shapely.to_wkt(shapely.normalize(shapely.get_parts(shape))).tolist() for shape in found.geometry]
    return sorted((sorted(outline), code) for outline, code in zip(outlines, found.code.tolist(), strict=True))


def spiral(size):
    mask = np.zeros((size, size), np.uint8)
    row, col, way, length = size // 2, size // 2, 0, 2
    while 0 <= row < size and 0 <= col < size:
        for _ in range(length):
            if 0 <= row < size and 0 <= col < size:
                mask[row, col] = 1
            row, col = row + (0, 1, 0, -1)[way], col + (1, 0, -1, 0)[way]
        way, length = (way + 1) % 4, length + 1
    return mask


def nested(size):
    edge = np.minimum.reduce(np.meshgrid(*[np.minimum(np.arange(size), np.arange(size)[::-1])] * 2))
    return (edge % 2 + 1).astype(np.uint8)


checkerboard = (np.indices((12, 15)).sum(axis=0) % 2 + 1).astype(np.uint8)
ADVERSARIAL = {
    "one pixel": np.ones((1, 1), np.uint8),
    "nothing": np.zeros((6, 7), np.uint8),
    "all one class": np.full((9, 5), 3, np.uint8),
    "checkerboard": checkerboard,
    "checkerboard on nothing": checkerboard - 1,
    "diagonal": np.eye(11, dtype=np.uint8),
    "diagonals that close": (np.eye(9, dtype=np.uint8) | np.eye(9, dtype=np.uint8)[::-1]),
    "spiral": spiral(19),
    "holes in holes": nested(15),
    "comb": np.pad(np.tile([[1, 2]], (9, 6)), ((1, 0), (0, 0)), constant_values=1).astype(np.uint8),
    "ring that touches itself": np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1]], np.uint8),
}


@st.composite
def masks(draw):
    height, width = draw(st.tuples(st.integers(1, 14), st.integers(1, 14)))
    values = draw(st.lists(st.integers(0, draw(st.integers(1, 3))), min_size=height * width, max_size=height * width))
    return np.array(values, np.uint8).reshape(height, width)


@st.composite
def noisy(draw):
    """Masks of one class with pixels of others here and there."""
    mask = draw(masks())
    kept = np.random.default_rng(draw(st.integers(0, 1000))).random(mask.shape) < 0.3
    return np.where(kept, mask, 1).astype(np.uint8)


@pytest.mark.parametrize("mask", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_adversarial_masks_come_back_from_their_valid_polygons(mask):
    found = trace(mask)
    assert shapely.is_valid(found.geometry).all()
    assert np.array_equal(rasterized(found, mask.shape), mask)
    assert len(found) == sum(1 for _ in features.shapes(mask, mask=mask > 0))


@given(masks())
def test_any_mask_comes_back_from_its_valid_polygons(mask):
    found = trace(mask)
    assert shapely.is_valid(found.geometry).all()
    assert np.array_equal(rasterized(found, mask.shape), mask)
    for code in np.unique(mask[mask > 0]):
        assert shapely.area(found.geometry[found.code == code]).sum() == (mask == code).sum()


@pytest.mark.parametrize("mask", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_strips_give_the_polygons_of_the_whole_for_adversarial_masks(mask, rows):
    assert canonical(trace(mask, rows)) == canonical(trace(mask))


@pytest.mark.slow
@given(masks(), st.integers(1, 6))
def test_strips_of_any_height_give_the_polygons_of_the_whole(mask, rows):
    assert canonical(trace(mask, rows)) == canonical(trace(mask))


def test_no_vertex_stands_on_a_straight_line():
    (polygon,) = trace(np.ones((7, 9), np.uint8), rows=2).geometry
    assert shapely.get_num_coordinates(polygon) == 5


@pytest.mark.slow
@given(masks(), st.integers(1, 6))
def test_weights_are_summed_over_the_pixels_of_each_polygon(mask, rows):
    weight = np.arange(mask.size, dtype=float).reshape(1, *mask.shape)
    strips = ((mask[top : top + rows], weight[:, top : top + rows]) for top in range(0, len(mask), rows))
    for polygon, total in zip(
        *(lambda s: (s.geometry, s.sums[:, 0]))(
            shapes.gathered(shapes.polygons(strips, mask.shape[1], mask.dtype, weights=1))
        ),
        strict=True,
    ):
        inside = features.rasterize([polygon], mask.shape, dtype="uint8") == 1
        assert total == weight[0][inside].sum()


@given(masks())
def test_eight_connected_shapes_are_valid_and_as_many_as_the_components(mask):
    found = shapes.gathered(joined_diagonally([trace(mask, touches=True)]))
    assert shapely.is_valid(found.geometry).all()
    assert np.array_equal(rasterized(found, mask.shape), mask)
    assert len(found) == sum(1 for _ in features.shapes(mask, mask=mask > 0, connectivity=8))


@pytest.mark.slow
@given(masks(), st.integers(1, 6))
def test_strips_of_any_height_give_the_eight_connected_shapes_of_the_whole(mask, rows):
    strips = [(mask[top : top + rows], None) for top in range(0, len(mask), rows)]
    parts = joined_diagonally(shapes.polygons(strips, mask.shape[1], mask.dtype, touches=True))
    assert alike(shapes.gathered(parts)) == alike(shapes.gathered(joined_diagonally([trace(mask, touches=True)])))


def overlaps(geometry):
    return shapely.area(geometry).sum() - shapely.area(shapely.union_all(geometry))


@pytest.mark.slow
@given(masks(), st.integers(1, 6))
def test_smooth_borders_are_valid_shared_and_the_same_for_any_strips(mask, rows):
    mask = np.kron(mask, np.ones((2, 2), np.uint8))
    found = trace(mask, smoother=borders.smoothed)
    assert shapely.is_valid(found.geometry).all()
    assert abs(overlaps(found.geometry)) < 1e-9  # areas of up to 784 in double precision
    assert canonical(trace(mask, rows, smoother=borders.smoothed)) == canonical(found)


def nodes(mask):
    """Points at which three borders meet at least."""
    padded = np.pad(mask, 1).astype(int)
    upright, level = np.diff(padded, axis=1) != 0, np.diff(padded, axis=0) != 0
    borders = upright[:-1].astype(int) + upright[1:] + level[:, :-1] + level[:, 1:]
    return {(col, row) for row, col in np.argwhere(borders > 2).tolist()}


def backwards(polygon):
    """A polygon whose rings begin at their first corner, holes in the order of these, and run the other way round."""

    def turned(ring):
        xy = shapely.get_coordinates(ring)[:-1][::-1]
        return np.roll(xy, -min(range(len(xy)), key=lambda i: tuple(xy[i, ::-1])), axis=0)

    holes = sorted((turned(ring) for ring in polygon.interiors), key=lambda xy: tuple(xy[0, ::-1]))
    return shapely.Polygon(turned(polygon.exterior), holes)


def simple(mask, tolerance, rows=None, smoother=None):
    strips = [(mask[top : top + (rows or len(mask))], None) for top in range(0, len(mask), rows or len(mask))]
    return shapes.gathered(simple_polygons(strips, *mask.shape, mask.dtype, tolerance, smoother=smoother))


SMOOTHERS = st.sampled_from([None, borders.smoothed])


@given(masks(), st.sampled_from([0.5, 1.0, 2.0, 5.0]), st.sampled_from([1, 3]), SMOOTHERS)
def test_simple_borders_leave_no_overlap_and_no_gap(mask, tolerance, side, smoother):
    mask = np.kron(mask + 1, np.ones((side, side), np.uint8))  # every pixel has a class
    found = simple(mask, tolerance, smoother=smoother)
    assert shapely.is_valid(found.geometry).all()
    assert abs(overlaps(found.geometry)) < 1e-9
    assert not shapely.union_all(found.geometry).interiors


def test_simplifying_a_slanted_border_leaves_few_points():
    mask = (np.add.outer(np.arange(60), 2 * np.arange(60)) > 90).astype(np.uint8) + 1
    few = shapely.get_num_coordinates(simple(mask, 1.5).geometry).sum()
    assert few < 20 < shapely.get_num_coordinates(trace(mask).geometry).sum()


TOLERANCES = st.sampled_from([0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0])


@pytest.mark.slow
@given(st.one_of(masks(), noisy()), TOLERANCES, st.integers(1, 6), SMOOTHERS)
def test_simple_borders_are_valid_and_the_same_for_strips_of_any_height(mask, tolerance, rows, smoother):
    found = simple(mask, tolerance, smoother=smoother)
    assert shapely.is_valid(found.geometry).all()
    assert abs(overlaps(found.geometry)) < 1e-9
    assert len(found) == len(trace(mask))
    assert canonical(simple(mask, tolerance, rows, smoother)) == canonical(found)


@given(st.one_of(masks(), noisy()), TOLERANCES)
def test_simple_borders_are_those_of_geos(mask, tolerance):
    mask = mask + 1  # every pixel has a class: what is not drawn is no region for GEOS
    found = trace(mask, smoother=borders.with_nodes)
    meet = nodes(mask)

    def when(polygon):
        """The order in which borders are taken: those of polygons that end higher up, of these, rectangles first."""
        ring = shapely.get_coordinates(polygon.exterior)
        box = len(ring) == 5 and not meet & set(map(tuple, ring.tolist()))
        return ring[:, 1].max(), not box, min(map(tuple, ring[:, ::-1].tolist()))

    order = sorted(range(len(found)), key=lambda i: when(found.geometry[i]))
    given = np.array([backwards(found.geometry[i]) for i in order], object)
    code = found.code[order]
    geos = shapes.Shapes(shapely.coverage_simplify(given, tolerance), code, np.zeros((len(code), 0)))
    assert canonical(simple(mask, tolerance)) == canonical(geos)


@pytest.mark.parametrize("degrees", [0, 17, 45, 80])
def test_a_slanted_building_gets_right_angles(degrees):
    plan = shapely.Polygon([(0, 0), (60, 0), (60, 25), (30, 25), (30, 40), (0, 40)])
    placed = shapely.affinity.translate(shapely.affinity.rotate(plan, degrees, origin=(30, 20)), 40, 50)
    found = trace(features.rasterize([placed], (130, 140), dtype="uint8"))
    (building,) = shapes.gathered(shapes.with_right_angles([found])).geometry
    xy = shapely.get_coordinates(building.exterior)
    edges = np.diff(xy, axis=0)
    cosines = (edges * np.roll(edges, 1, axis=0)).sum(axis=1) / np.prod(
        [np.hypot(*edges.T), np.roll(np.hypot(*edges.T), 1)], axis=0
    )
    assert np.abs(cosines).max() < 1e-6  # right angles, up to rounding
    assert len(edges) == 6
    assert building.intersection(placed).area / building.union(placed).area > 0.93  # of 1800 pixels, 1 px all around


@given(masks(), st.booleans())
def test_leaps_visit_the_same_items_as_a_walk(mask, nodes):
    for strip in linked([(mask, None)], mask.shape[1], mask.dtype, nodes=nodes):
        follow, starts = strip.links.follow, strip.links.starts
        tops = strip.links.first_corner + corners.tops(strip.found, strip.links)
        leapt = corners.leap(follow, starts, tops)
        walked = corners.walk(follow, np.concatenate([starts, np.arange(len(follow))]))
        for one, other in zip(leapt, walked, strict=True):
            assert one.tolist() == other.tolist()
