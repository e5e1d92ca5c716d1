"""Stitching is a mean that no order of machine events can change."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from segearth_cli.prediction.mosaic import Mosaic, Regrid
from segearth_cli.prediction.plan import Plan
from segearth_cli.raster import grid
from segearth_cli.raster.grid import Window

SIDES = st.integers(1, 30)


def stitched(values, size, stride, region, blend="mean", compute=None):
    """The mosaic of windows cut from values (Q, H, W), released as soon as rows are final."""
    height, width = values.shape[1:]
    weights = torch.from_numpy(grid.window_weights(min(size, height), min(size, width), blend))
    mosaic, parts = Mosaic(len(values), region, weights), []
    for window in grid.windows(height, width, size, stride, region):
        parts.append(mosaic.release(max(window.row, mosaic.top)))
        logits = values[:, window.slices[0], window.slices[1]]
        mosaic.add([window], (logits if compute is None else compute(window, logits))[None])
    parts.append(mosaic.release(region.bottom))
    return torch.cat(parts, dim=1)


@st.composite
def scenes(draw):
    height, width, size = draw(SIDES), draw(SIDES), draw(st.integers(1, 12))
    row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    region = Window(row, col, draw(st.integers(1, height - row)), draw(st.integers(1, width - col)))
    return height, width, size, draw(st.integers(1, size)), region


@given(scenes(), st.sampled_from(["mean", "taper"]))
def test_stitching_a_pixelwise_function_changes_nothing(scene, blend):
    height, width, size, stride, region = scene
    values = torch.randn(2, height, width, generator=torch.manual_seed(0))
    expected = values[:, region.slices[0], region.slices[1]]
    torch.testing.assert_close(stitched(values, size, stride, region, blend), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@given(scenes(), st.sampled_from(["mean", "taper"]))
def test_a_region_is_bit_for_bit_what_the_whole_holds_there(scene, blend):
    height, width, size, stride, region = scene

    def depends_on_its_window(window, logits):
        return logits + torch.sin(torch.tensor(window.row * 31.0 + window.col))

    values = torch.randn(2, height, width, generator=torch.manual_seed(0))
    whole = stitched(values, size, stride, Window(0, 0, height, width), blend, depends_on_its_window)
    part = stitched(values, size, stride, region, blend, depends_on_its_window)
    assert torch.equal(part, whole[:, region.slices[0], region.slices[1]])


@given(scenes(), st.lists(st.integers(1, 5), min_size=1, max_size=6), st.booleans())
def test_windows_added_together_are_those_added_one_by_one_to_the_bit(scene, together, whole):
    height, width, size, stride, region = scene
    region = Window(0, 0, height, width) if whole else region
    high, wide = min(size, height), min(size, width)
    weights = torch.from_numpy(grid.window_weights(high, wide, "taper"))
    rows = {}
    for window in grid.windows(height, width, size, stride, region):
        rows.setdefault(window.row, []).append(window)
    one, some = Mosaic(2, region, weights), Mosaic(2, region, weights)
    for row, windows in rows.items():
        logits = torch.randn(len(windows), 2, high, wide, generator=torch.manual_seed(row))
        assert torch.equal(one.release(max(row, one.top)), some.release(max(row, some.top)))
        for window, values in zip(windows, logits, strict=True):
            one.add([window], values[None])
        first, cuts = 0, itertools.cycle(together)
        while first < len(windows):
            end = first + next(cuts)
            some.add(windows[first:end], logits[first:end])
            first = end
    assert torch.equal(one.release(region.bottom), some.release(region.bottom))


def test_mean_counts_every_window_the_same():
    mosaic = Mosaic(1, Window(0, 0, 2, 3), torch.ones(2, 2))
    mosaic.add([Window(0, 0, 2, 2)], torch.full((1, 1, 2, 2), 1.0))
    mosaic.add([Window(0, 1, 2, 2)], torch.full((1, 1, 2, 2), 4.0))
    assert mosaic.release(2)[0, 0].tolist() == [1.0, 2.5, 4.0]


def test_a_window_above_released_rows_is_a_bug_not_a_wrong_mask():
    mosaic = Mosaic(1, Window(0, 0, 8, 4), torch.ones(4, 4))
    mosaic.release(2)
    with pytest.raises(RuntimeError, match="outside the strip"):
        mosaic.add([Window(0, 0, 4, 4)], torch.ones(1, 1, 4, 4))


@given(SIDES, SIDES, st.integers(1, 70), st.integers(1, 70), st.integers(1, 9), st.integers(1, 9), st.data())
def test_regridding_in_pieces_is_interpolating_the_whole(rows, cols, height, width, piece, limit, data):
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(row + 1, height)), data.draw(st.integers(col + 1, width))
    region = Window(row, col, bottom - row, right - col)
    assume((rows, cols) != (height, width))  # nothing to regrid
    work = Plan(height, width, rows, cols, 4, 2, "mean").working_region(region)
    values = torch.randn(2, rows, cols, generator=torch.manual_seed(0))
    regrid, parts = Regrid((rows, cols), (height, width), region, work, torch.device("cpu")), []
    for first in range(work.row, work.bottom, piece):
        part = values[:, first : min(first + piece, work.bottom), work.col : work.right]
        for out in regrid.push(part, limit=limit):
            assert out.shape[1] <= limit
            parts.append(out)
    whole = F.interpolate(values.double()[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    expected = whole[:, region.slices[0], region.slices[1]]
    torch.testing.assert_close(torch.cat(parts, dim=1).double(), expected, rtol=1e-5, atol=1e-5)  # float32 inside


def nbytes(made):
    """What the tensors of an object hold."""
    return sum(value.nbytes for value in vars(made).values() if isinstance(value, torch.Tensor))


def test_memory_does_not_grow_with_the_height():
    mosaic = Mosaic(1, Window(0, 0, 100_000, 4), torch.ones(4, 4))
    held = {nbytes(mosaic)}
    for row in range(0, 400, 2):
        mosaic.release(row)
        mosaic.add([Window(row, 0, 4, 4)], torch.full((1, 1, 4, 4), float(row)))
        held.add(nbytes(mosaic))
    assert max(held) < 500  # 16 sums, 16 counts and 16 weights of 4 bytes
    assert np.isfinite(mosaic.release(400).numpy()).all()
