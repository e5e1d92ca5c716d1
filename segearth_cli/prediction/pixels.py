"""Pixels of a scene from top to bottom, each read once, by threads that run ahead of the model."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from segearth_cli.clock import stage
from segearth_cli.raster import Chip, Window

BAND_ROWS = 256  # rows read at once where the file's blocks do not ask for more
CHUNK_COLS = 2048  # about as many columns a thread reads at once


@dataclass(slots=True)
class Strips:
    """Strips of equal height, top to bottom, over the columns left..right-1; each pixel is read once."""

    read: Callable[[Window], Chip]
    """The pixels of a window; called from several threads."""
    rows: Sequence[int]
    """First row of each strip, in rising order."""
    height: int
    """Rows of a strip."""
    left: int
    """First column."""
    right: int
    """First column that is not read."""
    block: tuple[int, int] = (BAND_ROWS, CHUNK_COLS)
    """Rows and columns that reads are aligned to."""
    threads: int = 2
    """Threads that read."""
    ahead: int = 2
    """Bands of rows that are read ahead."""
    waited: float = 0.0
    """Seconds that the consumer spent waiting for pixels."""
    _bands: deque[tuple[int, Chip]] = field(default_factory=deque)

    def __iter__(self) -> Generator[tuple[int, Chip], None, None]:
        """First row of each strip and its pixels; bands above it are kept until `drop`."""
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="segearth-read")
        pending: deque[tuple[Window, list[Future[Chip]]]] = deque()
        todo = self._plan()
        try:
            for row in self.rows:
                while not self._bands or self._bottom() < row + self.height:
                    while len(pending) <= self.ahead and (band := next(todo, None)):
                        pending.append((band, [pool.submit(self.read, part) for part in self._parts(band)]))
                    self._receive(*pending.popleft())
                yield row, self._cut(row, row + self.height)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def valid(self, first: int, end: int) -> NDArray[np.bool_]:
        """Where rows first..end-1, not dropped yet, have data: (n, right - left)."""
        return self._cut(first, end).valid

    def drop(self, row: int) -> None:
        """Forget the rows above `row`."""
        while self._bands and self._bands[0][0] + len(self._bands[0][1].valid) <= row:
            self._bands.popleft()

    def _plan(self) -> Iterator[Window]:
        """The bands to read, top to bottom, aligned to blocks; gaps between strips are not read."""
        step = self.block[0]
        first = self.rows[0]
        end = self.rows[-1] + self.height
        row = first
        while row < end:
            bottom = min((row // step + 1) * step, end)
            yield Window(row, self.left, bottom - row, self.right - self.left)
            row = bottom

    def _parts(self, band: Window) -> list[Window]:
        step = self.block[1]
        edges = [band.col, *range((band.col // step + 1) * step, band.right, step), band.right]
        return [Window(band.row, a, band.height, b - a) for a, b in pairwise(edges)]

    def _receive(self, band: Window, parts: list[Future[Chip]]) -> None:
        started = time.perf_counter()
        with stage("wait"):
            chips = [part.result() for part in parts]
        self.waited += time.perf_counter() - started
        whole = chips[0]
        if len(chips) > 1:
            whole = Chip(
                np.concatenate([c.image for c in chips], axis=2), np.concatenate([c.valid for c in chips], axis=1)
            )
        self._bands.append((band.row, whole))

    def _bottom(self) -> int:
        row, chip = self._bands[-1]
        return row + len(chip.valid)

    def _cut(self, first: int, end: int) -> Chip:
        images, valids = [], []
        for row, chip in self._bands:
            inner = slice(max(first - row, 0), max(end - row, 0))
            images.append(chip.image[:, inner])
            valids.append(chip.valid[inner])
        return Chip(np.concatenate(images, axis=1), np.concatenate(valids))
