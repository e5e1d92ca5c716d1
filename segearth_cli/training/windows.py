"""Random windows of unlabelled images: seeded, the same with any number of workers, resumable at any position."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segearth_cli.errors import SegEarthError
from segearth_cli.raster import Chip, ReadOptions, Scene, Window, open_scene
from segearth_cli.training.collection import Picture

TRIES = 20  # windows read before one with much nodata is taken
DRAWS = 400  # windows drawn to find as many outside of what is held out
ENOUGH = 0.9  # share of valid pixels at which a window is taken at once
OPEN = 64  # images kept open by each thread
AHEAD = 2  # batches read ahead


@dataclass(frozen=True, slots=True)
class Crop:
    """A window of one picture."""

    picture: int
    """Its number in the collection."""
    window: Window
    """Where it lies, in pixels of the picture."""

    def overlaps(self, other: Crop) -> bool:
        """Whether both are of one picture and have a pixel in common."""
        a, b = self.window, other.window
        rows = a.row < b.bottom and b.row < a.bottom
        return self.picture == other.picture and rows and a.col < b.right and b.col < a.right


@dataclass(frozen=True, slots=True)
class CropBatch:
    """The windows of one step."""

    images: Tensor
    """(B, 3, S, S), uint8 RGB."""
    valid: Tensor
    """(B, S, S), True = data."""
    unreadable: tuple[str, ...]
    """A line for each file that could not be read."""


Sample = tuple[Chip | None, tuple[str, ...]]  # a window, and a line for each file that could not be read


class Windows:
    """Random windows by number: window i is a function of the seed and i alone.

    In each run through the collection a picture gives one window for every crop x crop pixels that it has, at least
    one, in an order shuffled anew. Pictures smaller than a window are reflected. crop: side of a window in pixels.
    avoid: places never touched.
    """

    def __init__(
        self, pictures: Sequence[Picture], crop: int, seed: int, read: ReadOptions, avoid: Sequence[Crop] = ()
    ):
        self.pictures, self.crop, self.seed, self.read, self.avoid = tuple(pictures), crop, seed, read, tuple(avoid)
        self._ends = np.cumsum([self.share(i) for i in range(len(self.pictures))])
        self._order: tuple[int, NDArray[np.int64]] = -1, np.empty(0, np.int64)
        self._open = threading.local()
        self._stretched: dict[str, Scene] = {}

    def __len__(self) -> int:
        """Windows in one run through the collection."""
        return int(self._ends[-1])

    def share(self, picture: int) -> int:
        """Windows of a picture in one run through the collection."""
        return max(1, self.pictures[picture].height * self.pictures[picture].width // self.crop**2)

    def __getitem__(self, number: int) -> Sample:
        """Window `number` with the lines of files that could not be read; None when there is no data in any try."""
        _, chip, unreadable = self.draw(number)
        return chip, unreadable

    def draw(self, number: int) -> tuple[Crop | None, Chip | None, tuple[str, ...]]:
        """Window `number` with its place."""
        rng = np.random.default_rng([self.seed, number])
        best: tuple[float, Crop | None, Chip | None] = (0.0, None, None)
        unreadable: dict[str, None] = {}
        places = (self._place(number, attempt, rng) for attempt in range(DRAWS))
        free = (place for place in places if not any(place.overlaps(other) for other in self.avoid))
        for place in islice(free, TRIES):
            try:
                chip = self.read_place(place)
            except SegEarthError as e:
                picture = self.pictures[place.picture]
                unreadable[str(e).replace(picture.path, picture.name)] = None
                continue
            share = float(chip.valid.mean())
            if share > best[0]:
                best = share, place, chip
            if share >= ENOUGH:
                break
        return best[1], best[2], tuple(unreadable)

    def read_place(self, place: Crop) -> Chip:
        """The pixels of a place, reflected to crop x crop. Raises RasterError."""
        return _filled(self._scene(self.pictures[place.picture]).read(place.window), self.crop)

    def _place(self, number: int, attempt: int, rng: np.random.Generator) -> Crop:
        """Where the next try looks: first at the number's turn in the shuffled order, then anywhere."""
        turn = self._shuffled(number) if attempt == 0 else int(rng.integers(len(self)))
        index = int(np.searchsorted(self._ends, turn, side="right"))
        picture = self.pictures[index]
        height, width = min(self.crop, picture.height), min(self.crop, picture.width)
        row, col = rng.integers(picture.height - height + 1), rng.integers(picture.width - width + 1)
        return Crop(index, Window(int(row), int(col), height, width))

    def _shuffled(self, number: int) -> int:
        epoch, turn = divmod(number, len(self))
        order = self._order  # replaced whole: threads share it
        if order[0] != epoch:
            order = self._order = epoch, np.random.default_rng([self.seed, epoch, 1]).permutation(len(self))
        return int(order[1][turn])

    def _scene(self, picture: Picture) -> Scene:
        scenes: OrderedDict[str, Scene] = self._open.__dict__.setdefault("scenes", OrderedDict())
        if picture.path not in scenes:
            scenes[picture.path] = self._opened(picture.path)
            if len(scenes) > OPEN:
                scenes.popitem(last=False)[1].close()
        scenes.move_to_end(picture.path)
        return scenes[picture.path]

    def _opened(self, path: str) -> Scene:
        """A scene of this thread's own; a stretch, which takes a read of the whole, is computed once."""
        if path in self._stretched:
            return replace(self._stretched[path], _local=threading.local())
        scene = open_scene(path, self.read)
        if scene.stretch is not None:
            self._stretched[path] = replace(scene, _local=threading.local())
        return scene


def held_out(pictures: Sequence[Picture], crop: int, seed: int, read: ReadOptions, count: int) -> tuple[Crop, ...]:
    """Places for validation, in different pictures where possible, none overlapping; training must avoid them.

    No more than leave half of all windows to train on: a place takes up the whole of a picture that is less than four
    windows wide or high, and four windows of a larger one. None of a collection too small for that.
    """
    windows = Windows(pictures, crop, seed + 1, read)
    places: list[Crop] = []
    taken: dict[int, int] = {}
    for number in range(min(8 * count, len(windows))):
        if len(places) == count:
            break
        place = windows.draw(number)[0]
        if place is None or any(place.overlaps(other) for other in places):
            continue
        share, picture = windows.share(place.picture), pictures[place.picture]
        cost = share if min(picture.height, picture.width) < 4 * crop else taken.get(place.picture, 0) + 4
        if sum((taken | {place.picture: cost}).values()) <= len(windows) / 2:
            taken[place.picture] = cost
            places.append(place)
    return tuple(places)


def positions(first_step: int, steps: int, batch: int, rank: int = 0, world: int = 1) -> Iterator[list[int]]:
    """The numbers of the windows of each step that is left, for one of several devices."""
    share = batch // world
    for step in range(first_step, steps):
        start = step * batch + rank * share
        yield list(range(start, start + share))


def batches(windows: Windows, numbers: Iterable[list[int]], workers: int) -> Iterator[CropBatch | None]:
    """The windows of each list of numbers, read ahead by threads; None where one of them found no data."""
    if workers == 0:
        yield from (collate([windows[i] for i in some]) for some in numbers)
        return
    pool = ThreadPoolExecutor(workers)  # GDAL reads outside of Python's lock
    try:
        waiting: deque[list[Future[Sample]]] = deque()
        for some in numbers:
            waiting.append([pool.submit(windows.__getitem__, i) for i in some])
            if len(waiting) > AHEAD:
                yield collate([future.result() for future in waiting.popleft()])
        while waiting:
            yield collate([future.result() for future in waiting.popleft()])
    finally:
        pool.shutdown(cancel_futures=True)


def collate(samples: Sequence[Sample]) -> CropBatch | None:
    """Windows as a batch; None when one of them found no data."""
    chips = [chip for chip, _ in samples if chip is not None]
    if len(chips) < len(samples):
        return None
    return CropBatch(
        torch.from_numpy(np.stack([chip.image for chip in chips])),
        torch.from_numpy(np.stack([chip.valid for chip in chips])),
        tuple(line for _, lines in samples for line in lines),
    )


def _filled(chip: Chip, side: int) -> Chip:
    """A chip reflected about its borders to side x side, the odd pixel right and bottom."""
    missing = [side - size for size in chip.valid.shape]
    pad = [(m // 2, m - m // 2) for m in missing]
    return Chip(np.pad(chip.image, [(0, 0), *pad], mode="reflect"), np.pad(chip.valid, pad, mode="reflect"))
