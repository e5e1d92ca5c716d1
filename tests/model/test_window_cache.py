"""What windows have in common is computed once, and they are the same as when each is computed alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiers import thorough
from torch.utils._python_dispatch import TorchDispatchMode

from segearth_cli.model.window_cache import Overlap, runs

SIDE, WINDOW = 192, 96
PLENTY = 1 << 30


@given(st.integers(1, 60), st.integers(1, 60))
def test_runs_cover_an_axis_in_order(tiles, step):
    found = runs(tiles, step)
    assert [run.first for run in found] == [0, *(run.end for run in found[:-1])]
    assert found[-1].end == tiles


@given(st.integers(4, 60), st.integers(1, 60))
def test_a_run_is_one_of_every_window_that_has_it(tiles, step):
    found = {(run.first, run.end): run.windows for run in runs(tiles, step)}
    for (first, end), windows in found.items():
        if first < 1 or end > tiles - 1:
            assert windows == 1
            continue
        shifts = range(-tiles, tiles + 1)
        places = [(first - i * step, end - i * step) for i in shifts]
        having = [place for place in places if place[0] >= 1 and place[1] <= tiles - 1]
        assert windows == len(having)
        assert all(place in found for place in having)


@pytest.fixture
def upsampler():
    made = tiny.upsampler(radius=2, keys=4, patch=8).double()
    with torch.no_grad():
        made.up.range_temp.fill_(0.5)
    return made


@pytest.fixture
def scene():
    return torch.randn(1, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def lifted(net, scene, overlap, row, col):
    maps = torch.randn(
        1, WINDOW // 8, WINDOW // 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(row * 1000 + col)
    )
    with torch.inference_mode():
        return net.lift(maps, scene[:, :, row : row + WINDOW, col : col + WINDOW], None, overlap)


def places(stride, side=SIDE):
    starts = range(0, side - WINDOW + 1, stride)
    return [(row, col) for row in starts for col in starts]


class Kernels(TorchDispatchMode):
    """Counts the tiles whose kernels are computed: 64 pixels each, scored against all in reach by one product."""

    def __init__(self, radius):
        super().__init__()
        self.scores, self.tiles = (64, (8 + 2 * radius) ** 2), 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        out = operation(*arguments, **options or {})
        if operation is torch.ops.aten.bmm.default and tuple(out.shape[1:]) == self.scores:
            self.tiles += len(out)
        return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stride", "order"),
    [(48, -1), (96, 1), pytest.param(20, -1, marks=pytest.mark.slow), thorough((32, 1)), thorough((16, 1))],
)
def test_a_window_is_the_same_beside_others_and_alone(upsampler, scene, stride, order):
    overlap = Overlap(stride, PLENTY)
    for row, col in places(stride, SIDE if stride > 20 else SIDE - 32)[::order]:
        beside = lifted(upsampler, scene, overlap, row, col)
        torch.testing.assert_close(beside, lifted(upsampler, scene, None, row, col), rtol=0, atol=1e-12)
        assert torch.equal(beside, lifted(upsampler, scene, Overlap(stride, PLENTY), row, col)), (
            "a bit depends on neighbours"
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stride", "share"), [(48, 0.8), pytest.param(32, 0.6, marks=pytest.mark.slow), thorough((16, 0.35))]
)
def test_what_windows_share_is_computed_once(upsampler, scene, stride, share):
    with Kernels(radius=2) as alone:
        for row, col in places(stride):
            lifted(upsampler, scene, None, row, col)
    overlap = Overlap(stride, PLENTY)
    with Kernels(radius=2) as beside:
        for row, col in places(stride):
            lifted(upsampler, scene, overlap, row, col)
    assert 0 < beside.tiles < share * alone.tiles


def test_other_pixels_at_the_same_place_are_not_taken_for_the_same(upsampler, scene):
    overlap = Overlap(48, PLENTY)
    lifted(upsampler, scene, overlap, 0, 0)
    other = scene.clone()
    other[0, 1, 70, 70] += 1
    assert torch.equal(lifted(upsampler, other, overlap, 0, 48), lifted(upsampler, other, Overlap(48, PLENTY), 0, 48))
    assert not torch.equal(
        lifted(upsampler, other, overlap, 0, 48), lifted(upsampler, scene, Overlap(48, PLENTY), 0, 48)
    )


def test_nothing_stays_once_the_last_window_had_it():
    overlap = Overlap(1, PLENTY)
    for i in range(6):
        for _ in range(3):
            overlap.get(i, 3, lambda: torch.zeros(10))
    assert overlap.nbytes == 0


def test_no_more_is_kept_than_allowed():
    overlap = Overlap(1, 200)
    for i in range(50):
        overlap.get(i, 2, lambda: torch.zeros(10))
        assert overlap.nbytes <= 200
    assert overlap.nbytes == 200


def test_threads_that_want_the_same_wait_for_the_one_that_makes_it():
    overlap, calls, both = Overlap(1, PLENTY), [], threading.Barrier(2)

    def make():
        calls.append(1)
        return torch.full((3,), float(len(calls)))

    def want(_):
        both.wait(10)
        return overlap.get("block", 2, make)

    for _ in range(50):
        with ThreadPoolExecutor(2) as pool:
            one, other = pool.map(want, range(2))
        assert one is other
    assert len(calls) == 50
    assert overlap.nbytes == 0


def test_a_failure_is_told_to_all_and_not_kept():
    overlap = Overlap(1, PLENTY)

    def fail():
        raise MemoryError

    for _ in range(2):
        with pytest.raises(MemoryError):
            overlap.get("block", 2, fail)
    assert overlap.get("block", 2, lambda: torch.zeros(3)).sum() == 0
