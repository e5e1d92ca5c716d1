"""Windows cover a scene, whole and in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.errors import GridError
from segearth_cli.raster import grid
from segearth_cli.raster.grid import Window

SIZES = st.integers(1, 40)
LENGTHS = st.integers(1, 150)


@st.composite
def tilings(draw):
    size = draw(SIZES)
    return draw(LENGTHS), size, draw(st.integers(1, size))


@st.composite
def regions(draw, height, width):
    row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Window(row, col, draw(st.integers(1, height - row)), draw(st.integers(1, width - col)))


@given(tilings())
def test_windows_cover_every_pixel_and_leave_nothing_over(tiling):
    length, size, _ = tiling
    covered = np.zeros(length, int)
    for start in grid.starts(*tiling):
        assert start + min(size, length) <= length
        covered[start : start + size] += 1
    assert covered.all()


@given(tilings())
def test_no_window_repeats_and_no_step_is_longer_than_the_stride(tiling):
    steps = np.diff(grid.starts(*tiling))
    assert ((steps > 0) & (steps <= tiling[2])).all()


@given(LENGTHS, SIZES, st.integers(-3, 60).filter(lambda stride: stride < 1 or stride > 40))
def test_a_stride_that_leaves_gaps_is_refused(length, size, stride):
    with pytest.raises(GridError, match="--stride"):
        grid.starts(length, size, stride)


@given(st.data(), st.integers(1, 60), st.integers(1, 60), SIZES)
def test_windows_of_a_region_are_those_of_the_grid_that_touch_it(data, height, width, size):
    stride = data.draw(st.integers(1, size))
    region = data.draw(regions(height, width))
    found = list(grid.windows(height, width, size, stride, region))
    touching = [
        w
        for w in grid.windows(height, width, size, stride)
        if w.row < region.bottom and w.bottom > region.row and w.col < region.right and w.right > region.col
    ]
    assert found == touching
    assert found == sorted(found)  # row-major: rows before columns
    assert {(w.height, w.width) for w in found} == {(min(size, height), min(size, width))}


@given(tilings(), st.data())
def test_touching_is_filtering(tiling, data):
    length, size, _ = tiling
    first = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(first + 1, length))
    expected = [s for s in grid.starts(*tiling) if set(range(s, s + size)) & set(range(first, end))]
    assert grid.touching(*tiling, first, end) == expected


@given(st.data(), st.integers(1, 50), st.integers(1, 50), SIZES, SIZES)
def test_blocks_cut_a_region_without_overlap(data, height, width, rows, cols):
    region = data.draw(regions(height, width))
    times = np.zeros((height, width), int)
    for block in grid.blocks(region, rows, cols):
        assert block.height <= rows
        assert block.width <= cols
        times[block.slices] += 1
    assert (times[region.slices] == 1).all()
    assert times.sum() == region.height * region.width


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 3000))
def test_strips_hold_whole_rows_of_no_more_pixels_than_asked_for(height, width, pixels):
    found = list(grid.strips(grid.Window(2, 3, height, width), pixels))
    assert all(strip.width == width and (strip.height * width <= pixels or strip.height == 1) for strip in found)
    assert sum(strip.height for strip in found) == height
    assert len(found) == -(-height // max(1, pixels // width))


@given(st.integers(1, 20000), st.integers(1, 20000), st.floats(1e-4, 64))
def test_a_working_size_rounds_as_the_published_settings(height, width, factor):
    rows, cols = grid.working_size(height, width, factor)
    assert rows == max(1, int(height * factor + 0.5))
    assert cols == max(1, int(width * factor + 0.5))


@given(st.integers(1, 64), st.integers(1, 64), st.sampled_from(["mean", "taper"]))
def test_every_pixel_of_a_window_counts(height, width, blend):
    weights = grid.window_weights(height, width, blend)
    assert weights.shape == (height, width)
    assert (weights > 0).all()


@given(st.integers(1, 64))
def test_tapers_that_overlap_by_half_add_up_to_the_same_everywhere(half):
    weights = grid.window_weights(2 * half, 2 * half, "taper")
    quarters = weights[:half, :half] + weights[:half, half:] + weights[half:, :half] + weights[half:, half:]
    np.testing.assert_allclose(quarters, quarters[0, 0], rtol=1e-5)  # float32
