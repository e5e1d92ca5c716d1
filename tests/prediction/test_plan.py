"""How options become sizes, and which of them cannot be meant."""

import math
import re
from typing import get_args

import numpy as np
import pytest
import rasterio
from hypothesis import assume, given
from hypothesis import strategies as st
from rasterio.transform import Affine

from segearth_cli.errors import GridError, RasterError, UsageError
from segearth_cli.model import Attention
from segearth_cli.prediction import PredictOptions
from segearth_cli.prediction.cost import Held, estimate
from segearth_cli.prediction.plan import Plan, make_plan, off_scale
from segearth_cli.raster import grid, open_scene
from segearth_cli.raster.grid import Window
from segearth_cli.weights import ModelOptions

SIDES = st.integers(1, 300)


@pytest.fixture
def scene(write_raster, noise):
    return open_scene(write_raster("scene.tif", noise(3, 120, 200)))  # 0.5 m


@pytest.fixture(scope="module")
def made_scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    frame = {"width": 20, "height": 20, "count": 3, "dtype": "uint8", "crs": "EPSG:32632"}
    with rasterio.open(path, "w", transform=Affine(0.5, 0, 356_000, 0, -0.5, 5_645_000), **frame) as ds:
        ds.write(np.ones((3, 20, 20), np.uint8))
    return open_scene(str(path))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (120, 200)),
        ({"scale": 0.5}, (60, 100)),
        ({"scale": 2.0}, (240, 400)),
        ({"gsd": 1.0}, (60, 100)),
        ({"gsd": 0.25}, (240, 400)),
        ({"long_side": 448}, (269, 448)),
        ({"scale": 1e-6}, (1, 1)),
    ],
)
def test_a_resolution_gives_the_working_size(scene, options, size):
    assert make_plan(scene, PredictOptions(**options), 224).size == size


def test_metres_of_a_geographic_scene_are_those_at_its_centre(write_raster, noise):
    degrees = Affine(1e-5, 0, 10, 0, -1e-5, 60.0006)
    scene = open_scene(write_raster("degrees.tif", noise(3, 120, 200), crs="EPSG:4326", transform=degrees))
    side = 111_319.49 * 1e-5 * math.sqrt(math.cos(math.radians(60)))
    assert make_plan(scene, PredictOptions(gsd=2 * side), 224).size == (60, 100)


def test_a_scene_at_the_gsd_asked_for_keeps_its_grid(write_raster, noise):
    """UTM stretches: a pixel of 0.5 m on the map is 0.50013 m on the ground here, which is no reason to resample."""
    east = Affine(0.5, 0, 356_000, 0, -0.5, 5_645_000)
    scene = open_scene(write_raster("wide.tif", noise(3, 4, 20_000), transform=east))
    assert scene.pixel_metres() != 0.5
    assert make_plan(scene, PredictOptions(gsd=0.5), 224).size == (4, 20_000)


@pytest.mark.parametrize(
    ("good", "size"),
    [
        ((0.3, 1.0), (120, 200)),  # the scene has 0.5 m
        ((0.1, 0.25), (240, 400)),
        ((1.0, 2.0), (60, 100)),
        ((0.01, 0.02), (480, 800)),  # no more than four times finer
    ],
)
def test_an_automatic_gsd_is_the_nearest_that_the_model_is_good_at(scene, good, size):
    plan = make_plan(scene, PredictOptions(gsd="auto", good_gsd=good), 224)
    assert plan.size == size
    assert (off_scale(scene, plan, PredictOptions(gsd="auto", good_gsd=good)) is None) == (size != (480, 800))


@given(st.floats(1e-3, 1e3), st.floats(1, 50))
def test_a_scene_is_told_of_when_the_model_sees_it_twice_too_fine_or_too_coarse(made_scene, low, span):
    options = PredictOptions(good_gsd=(low, low * span))
    told = off_scale(made_scene, make_plan(made_scene, options, 224), options)
    metres = made_scene.pixel_metres()
    assert (told is not None) == (metres * 2 <= low or metres >= low * span * 2)
    assert told is None or "--gsd auto" in told


@pytest.mark.parametrize("good", [(0.01, 0.02), (0.1, 0.25), (2.0, 4.0)])
def test_who_is_told_to_resample_is_told_what_it_costs(write_raster, noise, good):
    scene = open_scene(write_raster("scene.tif", noise(3, 500, 700)))
    now, auto = (PredictOptions(gsd=gsd, good_gsd=good) for gsd in (None, "auto"))
    plan, finer = (make_plan(scene, options, 64) for options in (now, auto))
    metres, times = re.search(r"--gsd auto: (\S+) m, (\S+) times the windows", off_scale(scene, plan, now)).groups()
    assert float(metres) == pytest.approx(0.5 * 700 / finer.cols, rel=0.01)
    assert float(times) == pytest.approx(finer.window_count() / plan.window_count(), rel=0.01)  # three digits


def test_a_small_scene_takes_no_more_windows_when_resampled(scene):
    options = PredictOptions(good_gsd=(2.0, 4.0))
    assert off_scale(scene, make_plan(scene, options, 224), options).endswith("--gsd auto: 2 m, as many windows")


def test_a_scene_of_no_place_is_told_nothing_of_scale(write_raster, noise):
    scene = open_scene(write_raster("photo.tif", noise(3, 20, 20), crs=None, transform=None))
    options = PredictOptions(good_gsd=(0.1, 0.2))
    assert off_scale(scene, make_plan(scene, options, 224), options) is None
    with pytest.raises(RasterError, match="no CRS, so --gsd has no meaning"):
        make_plan(scene, PredictOptions(gsd="auto", good_gsd=(0.1, 0.2)), 224)


def test_windows_are_the_models_own_with_half_overlap_unless_told(scene):
    assert (lambda p: (p.window, p.stride))(make_plan(scene, PredictOptions(), 225)) == (225, 112)
    assert (lambda p: (p.window, p.stride))(make_plan(scene, PredictOptions(window=1), 225)) == (1, 1)
    assert (lambda p: (p.window, p.stride))(make_plan(scene, PredictOptions(window=64, stride=64), 225)) == (64, 64)


@pytest.mark.parametrize("stride", [65, 128])
def test_a_stride_that_leaves_gaps_is_told(scene, stride):
    with pytest.raises(GridError, match=f"--stride {stride}: must be between 1 and the window, 64 px"):
        make_plan(scene, PredictOptions(window=64, stride=stride), 224)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"scale": 1.0, "gsd": 2.0}, "--scale and --gsd together: choose one resolution"),
        ({"scale": 0.0}, "--scale 0.0: need a number above 0"),
        ({"gsd": -1.0}, "--gsd -1.0: need a number above 0"),
        ({"gsd": math.inf}, "--gsd inf: need a number above 0"),
        ({"scale": math.nan}, "--scale nan: need a number above 0"),
        ({"long_side": 0}, "--long-side 0: need a whole number from 1"),
        ({"window": 0}, "--window 0: need a whole number from 1"),
        ({"stride": 0}, "--stride 0: need a whole number from 1"),
        ({"stride": -1}, "--stride -1: need a whole number from 1"),
        ({"threshold": 1.1}, "--threshold 1.1: need a number from 0 to 1"),
        ({"threshold": math.nan}, "--threshold nan: need a number from 0 to 1"),
        ({"blend": "max"}, "--blend max: choose one of mean, taper"),
        ({"threshold": "high"}, "--threshold 'high': need a number from 0 to 1"),
        ({"window": 2.5}, "--window 2.5: need a whole number from 1"),
    ],
)
def test_options_that_cannot_be_meant_are_told(options, line):
    with pytest.raises(UsageError) as caught:
        PredictOptions(**options)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"attention": "x"}, f"--attention x: choose one of {', '.join(get_args(Attention))}"),
        ({"precision": "fp8"}, "--precision fp8: choose one of auto, fp32, bf16, fp16"),
        ({"global_bias": math.inf}, "--global-bias inf: need a finite number"),
    ],
)
def test_options_of_the_model_that_cannot_be_meant_are_told(options, line):
    with pytest.raises(UsageError) as caught:
        ModelOptions("mini", **options)
    assert str(caught.value) == line


@pytest.mark.parametrize("options", [{"gsd": 1e-9}, {"gsd": 1e-4}, {"scale": 3000}, {"long_side": 200_000}])
def test_a_resolution_far_above_the_scenes_own_is_that_scenes_fault(scene, options):
    with pytest.raises(RasterError, match="working size .* choose a coarser"):
        make_plan(scene, PredictOptions(**options), 224)


@given(SIDES, SIDES, SIDES, SIDES, st.data())
def test_a_working_region_holds_all_that_its_output_is_made_of(height, width, rows, cols, data):
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    region = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))
    work = Plan(height, width, rows, cols, 8, 4, "mean").working_region(region)
    assert 0 <= work.row < work.bottom <= rows
    assert 0 <= work.col < work.right <= cols
    assume((rows, cols) != (height, width))
    for first, end, size, working, low, high in (
        (region.row, region.bottom, height, rows, work.row, work.bottom),
        (region.col, region.right, width, cols, work.col, work.right),
    ):
        for place in (first, end - 1):
            at = max((place + 0.5) * (working / size) - 0.5, 0)
            assert low <= min(math.floor(at), working - 1) < high
            assert min(math.floor(at) + 1, working - 1) < high


@pytest.mark.slow
@given(SIDES, SIDES, st.integers(1, 80), st.data())
def test_the_count_is_that_of_the_grid(rows, cols, window, data):
    stride = data.draw(st.integers(1, window))
    plan = Plan(rows, cols, rows, cols, window, stride, "mean")
    assert plan.window_count() == len(list(grid.windows(rows, cols, window, stride)))


def test_memory_does_not_grow_with_the_height():
    def memory(height):
        plan, held = (
            Plan(height, 2000, height, 2000, 224, 112, "mean"),
            Held(1 << 28, 1 << 28, upsampled=True, threads=2),
        )
        return estimate(plan, plan.whole, held, queries=4, pixel_bytes=1, source_bytes=3).memory

    assert memory(400_000) == memory(40_000)


@pytest.mark.slow
@given(SIDES, SIDES, st.integers(1, 80), st.integers(1, 120), st.sampled_from([0.5, 1, 1.7]), st.data())
def test_windows_of_blocks_are_those_of_each_together(height, width, window, side, factor, data):
    stride = data.draw(st.integers(1, window))
    rows, cols = max(1, int(height * factor)), max(1, int(width * factor))
    tile = data.draw(st.sampled_from([None, (70, 50)]))
    step = (60, 50) if tile else (0, 0)
    plan = Plan(height, width, *(tile or (rows, cols)), window, stride, "mean", tile, step)
    blocks = list(grid.blocks(plan.whole, side, side))
    assert plan.block_count(side) == len(blocks)
    assert plan.windows_in_blocks(side) == sum(plan.window_count(block) for block in blocks)
