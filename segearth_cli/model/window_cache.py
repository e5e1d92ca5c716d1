"""What overlapping windows have in common, kept from one window to the next so that it is computed once."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock

from torch import Tensor

from segearth_cli.clock import counted, stage
from segearth_cli.model.tiles import TILE


@dataclass(frozen=True, slots=True)
class TileRun:
    """Tiles of an axis that a window has whole or not at all."""

    first: int
    """The first tile."""
    end: int
    """The tile after the last."""
    windows: int
    """How many windows along the axis have them."""


def runs(tiles: int, step: int) -> list[TileRun]:
    """An axis of tiles cut so that windows `step` tiles apart have whole runs in common.

    The outermost tiles see a window's edge, so no other window along the axis has them.

    >>> [(run.first, run.end, run.windows) for run in runs(28, 14)]
    [(0, 1, 1), (1, 13, 2), (13, 15, 1), (15, 27, 2), (27, 28, 1)]
    """
    last = tiles - 1
    cuts = sorted({0, 1, last, tiles, *range(1, last, step), *range(last, 1, -step)})
    return [
        TileRun(a, b, 1 if a < 1 or b > last else (a - 1) // step + (last - b) // step + 1) for a, b in pairwise(cuts)
    ]


@dataclass(slots=True)
class _Kept:
    """A tensor kept for other windows."""

    tensor: Future[Tensor]
    """Perhaps still being made."""
    left: int
    """How many windows are still to have it."""
    size: int = 0
    """Its bytes; 0 while it is being made."""


class Overlap:
    """Tensors that windows `stride` pixels apart need again, each until the last of them has had it.

    A tensor is found by a digest of what it is made from, so a wrong guess of what recurs costs time and nothing else.
    When more than `limit` bytes are kept, some drawn at random go: the oldest would be the wrong ones, as the next
    row of windows needs them first. Several threads may ask at once.
    """

    def __init__(self, stride: int, limit: int):
        self.stride = stride
        self.nbytes = 0  # of what is kept
        self._limit = limit
        self._kept: dict[Hashable, _Kept] = {}
        self._lock = Lock()

    def runs(self, tiles: int, pixels: int, window: int) -> list[TileRun] | None:
        """The runs of an axis of `tiles` over `pixels` of a grid that spans a window of `window` pixels.

        None where windows overlap by no whole tiles.
        """
        step, rest = divmod(self.stride * pixels, window * TILE)
        return runs(tiles, step) if rest == 0 and step < tiles - 2 else None

    def get(self, key: Hashable, windows: int, make: Callable[[], Tensor]) -> Tensor:
        """The tensor of a key, made unless it is here; windows: how many need it in all, two or more."""
        with self._lock:
            kept = self._kept.get(key)
            if mine := kept is None:
                kept = self._kept[key] = _Kept(Future(), windows)
            kept.left -= 1
            if kept.left == 0:
                self._drop(key)
        if mine:
            self._make(key, kept, make)
        with stage("wait"):
            return kept.tensor.result()

    def _make(self, key: Hashable, kept: _Kept, make: Callable[[], Tensor]) -> None:
        try:
            tensor = make()
        except BaseException as e:
            with self._lock:
                self._drop(key)
            kept.tensor.set_exception(e)
            raise
        kept.tensor.set_result(tensor)
        with self._lock:
            if self._kept.get(key) is kept:
                kept.size = tensor.nbytes
                self.nbytes += kept.size
            while self.nbytes > self._limit:
                self._drop(random.choice([key for key, kept in self._kept.items() if kept.size]))

    def _drop(self, key: Hashable) -> None:
        if kept := self._kept.pop(key, None):
            self.nbytes -= kept.size


@dataclass(frozen=True, slots=True)
class Common:
    """How the tiles of a stage are cut into blocks that other windows have too, and where these are kept."""

    overlap: Overlap
    """What earlier windows left."""
    rows: list[TileRun]
    """The blocks from top to bottom, in rows of tiles."""
    cols: list[TileRun]
    """The blocks from left to right, in columns of tiles."""


def common_blocks(overlap: Overlap, size: tuple[int, int], whole: tuple[int, int]) -> Common | None:
    """How a stage of `size` is cut, where windows of `whole` pixels have whole tiles of it in common."""
    rows, cols = (overlap.runs(-(-n // TILE), n, pixels) for n, pixels in zip(size, whole, strict=True))
    return Common(overlap, rows, cols) if rows and cols else None


@counted("kernels")
def digest(x: Tensor) -> bytes:
    """What tells the content of a contiguous tensor on the CPU from others."""
    return hashlib.sha256(x.numpy().data).digest()
