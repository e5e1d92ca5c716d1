"""Scene to mask: read ahead, batch, run the model, stitch, decide, one region at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segearth_cli.classes import NODATA
from segearth_cli.errors import SegEarthError
from segearth_cli.model import Overlap
from segearth_cli.prediction.decision import Decider
from segearth_cli.prediction.mosaic import Mosaic, Regrid
from segearth_cli.prediction.pixels import Strips
from segearth_cli.prediction.plan import KEPT_BYTES, Plan
from segearth_cli.raster import Chip, Rows, Scene, Window, touching, window_weights

# chips (B, 3, S, S), valid (B, S, S) or None, what windows before them left -> logits (B, Q, S, S)
Model = Callable[[Tensor, "Tensor | None", Overlap], Tensor]
Results = Generator[tuple["_Batch", Iterable[Tensor]], None, None]
Later = Callable[[], Rows]  # waits until the rows have come from the device
DECIDE_PIXELS = 1 << 21  # pixels decided at once


@dataclass(slots=True)
class Work:
    """How a region is computed, none of which changes a pixel, but `each` in bfloat16; and what it took.

    batch: windows that the model gets together. beside: on a CPU, windows computed side by side instead, each by `each`
    threads of its own. threads: that read.
    """

    device: torch.device
    batch: int = 8
    threads: int = 2
    beside: int = 0
    each: int = 1
    progress: Callable[[int], None] = lambda _windows: None
    notice: Callable[[str], None] = lambda _line: None
    waited: float = 0.0  # seconds without new pixels for the model; side by side, windows may still be in work
    computed: int = 0  # windows with data


def work_for(plan: Plan, device: torch.device, at_once: int | None, **options: Any) -> Work:
    """How the windows of a plan are best computed on a device.

    at_once: how many together; None for what fills an accelerator, on a CPU one for each core. There a window takes one
    thread, unless it is the only one, because products in bfloat16 round by the number of threads. options: of Work.
    """
    if device.type != "cpu":
        return Work(device, at_once or (32 if device.type == "cuda" else 8), **options)
    threads = torch.get_num_threads()
    if plan.window_count() == 1:
        return Work(device, beside=1, each=threads, **options)
    return Work(device, beside=min(at_once or threads, threads, plan.window_count()), **options)


def segmented_rows(
    scene: Scene, plan: Plan, model: Model, queries: int, decide: Decider, work: Work, region: Window | None = None
) -> Generator[Rows, None, None]:
    """The finished rows of a region of the output grid (all of it without one), from top to bottom.

    Runs every window that touches the region and holds one strip of windows, so that neither the result depends on
    how a scene is cut into regions nor the memory on its height.
    """
    region = region or plan.whole
    part = plan.working_region(region)
    rows = touching(plan.rows, plan.window, plan.stride, part.row, part.bottom)
    cols = touching(plan.cols, plan.window, plan.stride, part.col, part.right)
    height, width = min(plan.window, plan.rows), min(plan.window, plan.cols)
    strips = Strips(
        read=lambda window: _read(scene, plan, window),
        rows=rows,
        height=height,
        left=cols[0],
        right=cols[-1] + width,
        block=_alignment(scene, plan),
        threads=work.threads,
    )
    weights = torch.from_numpy(window_weights(height, width, plan.blend)).to(work.device)
    stitcher = _Stitcher(scene, plan, region, Mosaic(queries, part, weights), strips, decide)
    late: deque[Later] = deque()
    overlap = Overlap(plan.stride, KEPT_BYTES if plan.window_count() > 1 else 0)
    run = _side_by_side if work.beside else _batchwise
    with (  # no thread goes on when something fails
        closing(_batches(strips, cols, height, width, work)) as batches,
        closing(run(model, batches, overlap, work)) as results,
    ):
        for batch, logits in results:
            work.computed += len(batch.windows)
            earlier = len(late)
            late.extend(stitcher.finish(batch.row))
            for window, values in zip(batch.windows, logits, strict=True):
                late.extend(stitcher.finish(window.row))
                stitcher.mosaic.add(window, values)
            work.progress(len(batch.windows))
            for _ in range(earlier):  # came over while this batch was given to the device, which is not waited for
                yield late.popleft()()
    late.extend(stitcher.finish(part.bottom))
    while late:
        yield late.popleft()()
    work.waited += strips.waited


@dataclass(slots=True)
class _Batch:
    """Windows to run; row: no window above it is still to come. Without windows it only tells that."""

    row: int = 0
    windows: list[Window] = field(default_factory=list)
    chips: list[Chip] = field(default_factory=list)


def _batches(strips: Strips, cols: list[int], height: int, width: int, work: Work) -> Generator[_Batch, None, None]:
    """Windows with data in row-major order, `work.batch` at a time."""
    batch = _Batch()
    with closing(iter(strips)) as filled:
        for row, strip in filled:
            if not strip.valid.any():  # what is held for the rows above can be let go
                if batch.windows:
                    yield batch
                batch = _Batch()
                yield _Batch(row)
                work.progress(len(cols))
                continue
            for col in cols:
                inner = slice(col - strips.left, col - strips.left + width)
                valid = strip.valid[:, inner]
                if not valid.any():
                    work.progress(1)
                    continue
                batch.windows.append(Window(row, col, height, width))
                batch.chips.append(Chip(strip.image[:, :, inner], valid))
                if len(batch.windows) >= work.batch:
                    yield batch
                    batch = _Batch()
    if batch.windows:
        yield batch


def _batchwise(model: Model, batches: Iterable[_Batch], overlap: Overlap, work: Work) -> Results:
    """Each batch with its logits, (Q, S, S) a window."""
    for batch in batches:
        yield batch, _run(model, batch, overlap, work)


def _run(model: Model, batch: _Batch, overlap: Overlap, work: Work) -> Iterator[Tensor]:
    """Logits of each window of a batch; out of memory halves the batch size for good."""
    first = 0
    while first < len(batch.chips):
        chips = batch.chips[first : first + work.batch]
        try:
            logits = model(*_tensors(chips, work), overlap)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
            if not _out_of_memory(e):
                raise
            work.batch = _halved(min(work.batch, max(2, len(chips))), batch, e, work)  # one may have been filled up
            if work.device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        first += len(chips)
        yield from logits[: len(chips)]


def _side_by_side(model: Model, batches: Iterable[_Batch], overlap: Overlap, work: Work) -> Results:
    """The same on a CPU: `work.beside` windows at a time, because one makes too many small products for many cores.

    Out of memory halves the windows in work for good.
    """
    work.batch = 1
    threads = torch.get_num_threads()
    torch.set_num_threads(work.each)
    pool = ThreadPoolExecutor(work.beside, "segearth-run", torch.set_num_threads, (work.each,))
    begun: deque[tuple[_Batch, Future[Tensor] | None]] = deque()  # None: a batch without windows

    def alone(batch: _Batch) -> Future[Tensor]:
        done: Future[Tensor] = Future()
        done.set_result(next(_run(model, batch, overlap, work)))
        return done

    def finished() -> tuple[_Batch, list[Tensor]]:
        if (future := begun[0][1]) and _out_of_memory(future.exception()):
            work.beside = _halved(work.beside, begun[0][0], future.exception(), work)
            wait([future for _, future in begun if future])
            short = [i for i, (_, future) in enumerate(begun) if future and _out_of_memory(future.exception())]
            future = None
            for i in short:
                begun[i] = begun[i][0], None  # lets go of what the failed attempts hold
            for i in short:
                begun[i] = begun[i][0], alone(begun[i][0])
        batch, future = begun.popleft()
        return batch, [future.result()] if future else []

    try:
        for batch in batches:
            ready = []
            while len(begun) >= work.beside:
                ready.append(finished())
            begun.append((batch, pool.submit(_first, model, batch, overlap, work) if batch.chips else None))
            yield from ready  # stitched while others are in work
        while begun:
            yield finished()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _first(model: Model, batch: _Batch, overlap: Overlap, work: Work) -> Tensor:
    return model(*_tensors(batch.chips[:1], work), overlap)[0]


def _halved(windows: int, batch: _Batch, error: BaseException | None, work: Work) -> int:
    """Half as many windows at once as ran out of memory. Raises SegEarthError for one."""
    if windows == 1:
        side = batch.windows[0].height
        raise SegEarthError(f"out of memory with one window of {side} px; use a smaller --window") from error
    work.notice(f"out of memory: going on with --batch-size {windows // 2}")
    return windows // 2


def _tensors(chips: list[Chip], work: Work) -> tuple[Tensor, Tensor | None]:
    """A batch on the device; the last one of a scene filled up on accelerators, whose results depend on its size."""
    full = [*chips, *[chips[-1]] * (work.batch - len(chips))] if work.device.type != "cpu" else chips
    images = torch.from_numpy(np.stack([chip.image for chip in full]))
    valid = None
    if not all(chip.valid.all() for chip in full):
        valid = torch.from_numpy(np.stack([chip.valid for chip in full]))
    if work.device.type == "cuda":
        images = images.pin_memory()
        valid = None if valid is None else valid.pin_memory()
    return images.to(work.device, non_blocking=True), None if valid is None else valid.to(
        work.device, non_blocking=True
    )


def _out_of_memory(error: BaseException | None) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


@dataclass(slots=True)
class _Stitcher:
    """Turns rows of the mosaic that became final into finished rows of the output."""

    scene: Scene
    plan: Plan
    region: Window
    mosaic: Mosaic
    strips: Strips
    decide: Decider
    _done: int = 0  # output rows of the region given so far
    _regrid: Regrid | None = None

    def __post_init__(self) -> None:
        if self.plan.resampled:
            scene_size = self.plan.height, self.plan.width
            self._regrid = Regrid(self.plan.size, scene_size, self.region, self.mosaic.region)

    def finish(self, row: int) -> Iterator[Later]:
        """Rows of the output that no window from working row `row` on can change."""
        row = min(row, self.mosaic.region.bottom)
        while self.mosaic.top < row:
            step = min(row, self.mosaic.filled) if self.mosaic.filled > self.mosaic.top else row
            if self._regrid is not None:
                step = min(row, self.mosaic.top + self.plan.window)
                for logits in self._regrid.push(self.mosaic.release(step), limit=self._limit()):
                    yield self._decided(logits, self._valid(logits.shape[1]))
            elif self.mosaic.filled > self.mosaic.top:
                logits = self.mosaic.release(step)
                for at in range(0, logits.shape[1], self._limit()):
                    part = logits[:, at : at + self._limit()]
                    yield self._decided(part, self._valid(part.shape[1]))
            else:
                self.mosaic.skip(row)
                yield from self._nothing(row)
            self.strips.drop(self.mosaic.top)

    def _limit(self) -> int:
        return max(1, DECIDE_PIXELS // self.region.width)

    def _valid(self, rows: int) -> NDArray[np.bool_]:
        """Where the next output rows have data."""
        first = self.region.row + self._done
        if self._regrid is not None:
            return self.scene.valid(Window(first, self.region.col, rows, self.region.width))
        left = self.region.col - self.strips.left
        return self.strips.valid(first, first + rows)[:, left : left + self.region.width]

    def _decided(self, logits: Tensor, valid: NDArray[np.bool_]) -> Later:
        window = self._next(valid.shape[0])
        if not valid.any():
            return partial(self._empty, window)
        decision = self.decide(logits)
        arrived = _fetch(decision.codes, decision.confidence, decision.scores)

        def rows() -> Rows:
            codes, confidence, scores = arrived()
            if not valid.all():
                codes[~valid] = confidence[~valid] = NODATA
                if scores is not None:
                    scores[:, ~valid] = np.nan
            return Rows(window, codes, confidence, scores)

        return rows

    def _nothing(self, row: int) -> Iterator[Later]:
        """Rows down to working row `row` without a single window."""
        while self.region.row + self._done < row:
            yield partial(self._empty, self._next(min(row - self.region.row - self._done, self._limit())))

    def _empty(self, window: Window) -> Rows:
        codes = np.full((window.height, window.width), NODATA, np.uint8)
        return Rows(window, codes, codes, self.decide.no_scores((window.height, window.width)))

    def _next(self, rows: int) -> Window:
        window = Window(self.region.row + self._done, self.region.col, rows, self.region.width)
        self._done += rows
        return window


def _fetch(codes: Tensor, confidence: Tensor, scores: Tensor | None) -> Callable[[], tuple[Any, Any, Any]]:
    """Starts to copy a decision to the host; the function that comes back waits for it and gives its arrays."""
    tensors = [tensor for tensor in (codes, confidence, scores) if tensor is not None]
    done = None
    if codes.device.type == "cuda":
        tensors = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True).copy_(t, non_blocking=True) for t in tensors]
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(codes.device))

    def arrived() -> tuple[Any, Any, Any]:
        if done is not None:
            done.synchronize()
        arrays = [tensor.cpu().numpy() for tensor in tensors]
        return arrays[0], arrays[1], arrays[2] if scores is not None else None

    return arrived


def _read(scene: Scene, plan: Plan, window: Window) -> Chip:
    """The pixels of a window, which lies within one cell of `_alignment`.

    Resampled, the whole cell is computed: a product of matrices rounds by their shapes, which the cut must not change.
    """
    if not plan.resampled:
        return scene.read(window)
    rows, cols = _alignment(scene, plan)
    top, left = window.row // rows * rows, window.col // cols * cols
    cell = Window(top, left, min(rows, plan.rows - top), min(cols, plan.cols - left))
    chip = scene.read(cell, plan.size)
    inner = Window(window.row - top, window.col - left, window.height, window.width).slices
    return Chip(chip.image[:, inner[0], inner[1]], chip.valid[inner])


def _alignment(scene: Scene, plan: Plan) -> tuple[int, int]:
    """Rows and columns that reads are aligned to: the file's blocks where it is read as it is and they are moderate."""
    if plan.resampled:
        return max(64, min(256, plan.window)), 1024
    rows, cols = scene.block
    rows = rows * max(1, 128 // rows) if rows <= 1024 else 256
    return rows, cols * max(1, 2048 // cols)
