"""Pixels come in order, each read once, from threads whose errors arrive."""

import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.prediction.pixels import Strips
from segearth_cli.raster import Chip, grid

HEIGHT, WIDTH = 90, 70
IMAGE = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH)).astype(np.uint8)
VALID = np.random.default_rng(1).random((HEIGHT, WIDTH)) > 0.5


class Source:
    """Reads IMAGE and counts how often each pixel was asked for."""

    def __init__(self):
        self.times = np.zeros((HEIGHT, WIDTH), int)
        self.threads = Counter()
        self._lock = threading.Lock()

    def __call__(self, window):
        with self._lock:
            self.times[window.slices] += 1
            self.threads[threading.current_thread().name] += 1
        return Chip(IMAGE[:, window.slices[0], window.slices[1]], VALID[window.slices])


@given(
    st.integers(1, 40),
    st.data(),
    st.tuples(st.integers(1, 100), st.integers(1, 100)),
    st.integers(1, 4),
    st.integers(0, 4),
)
def test_strips_hold_their_pixels_and_each_pixel_is_read_once(size, data, block, threads, ahead):
    stride = data.draw(st.integers(1, size))
    left = data.draw(st.integers(0, WIDTH - 1))
    right = data.draw(st.integers(left + 1, WIDTH))
    all_rows = grid.starts(HEIGHT, size, stride)
    first = data.draw(st.integers(0, len(all_rows) - 1))
    rows = all_rows[first : data.draw(st.integers(first + 1, len(all_rows)))]
    source = Source()
    strips = Strips(source, rows, size, left, right, block, threads, ahead)
    seen = []
    for row, chip in strips:
        strips.drop(row)  # what a mosaic no longer needs
        seen.append(row)
        assert (chip.image == IMAGE[:, row : row + size, left:right]).all()
        assert (chip.valid == VALID[row : row + size, left:right]).all()
        assert (strips.valid(row, row + size) == chip.valid).all()
    assert seen == rows
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[rows[0] : rows[-1] + size, left:right] = 1
    assert (source.times == expected).all()


def test_reading_runs_in_other_threads_and_ahead():
    source, started = Source(), threading.Event()
    strips = iter(Strips(source, list(range(0, 80, 10)), 10, 0, WIDTH, (10, WIDTH), threads=2, ahead=3))
    next(strips)
    for _ in range(1000):
        if source.times[:30].all():
            break
        started.wait(0.005)
    assert source.times[:30].all()  # rows below the strip that was asked for
    assert threading.current_thread().name not in source.threads
    assert not source.times[50:].any()  # but not without bound
    strips.close()


def test_an_error_in_a_thread_reaches_the_reader():
    def broken(window):
        if window.row >= 40:
            raise OSError("row 40 is damaged")
        return Chip(IMAGE[:, window.slices[0], window.slices[1]], VALID[window.slices])

    seen = []
    with pytest.raises(OSError, match="row 40"):
        for row, _ in Strips(broken, [0, 20, 40, 60], 20, 0, WIDTH, (20, WIDTH)):
            seen.append(row)
    assert seen == [0, 20]


def test_closing_early_leaves_no_thread_reading():
    strips = iter(Strips(Source(), [0, 20, 40, 60], 20, 0, WIDTH, (20, WIDTH)))
    next(strips)
    strips.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("segearth-read") and t.is_alive()]
