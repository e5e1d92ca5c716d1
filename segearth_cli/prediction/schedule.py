"""Which windows the model gets when: in batches, or on a CPU side by side; fewer at once where memory runs out.

A schedule is given batches in order and gives each back with its logits in the same order. It knows no scene.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from segearth_cli.clock import stage
from segearth_cli.console import untold
from segearth_cli.errors import SegEarthError, is_out_of_memory
from segearth_cli.model import Overlap
from segearth_cli.prediction.plan import Plan
from segearth_cli.prediction.sent import SentChip
from segearth_cli.raster import Chip, Window

# chips (B, 3, S, S), valid (B, S, S) or None, what windows before them left -> logits (B, Q, S, S); of some, where
# pixels (n, 2) come fourth, logits (1, Q, n) of these alone
Model = Callable[..., Tensor]


@dataclass(slots=True)
class Work:
    """How a region is computed, and what that took. Nothing here changes a pixel, but for `each` in bfloat16."""

    device: torch.device
    """Where the model runs."""
    batch: int = 8
    """Windows that the model gets together; halved for good where memory runs out."""
    threads: int = 2
    """Threads that read ahead."""
    beside: int = 0
    """On a CPU, how many windows are computed side by side, each alone; 0 = in batches. Halved like `batch`."""
    each: int = 1
    """Threads of a window that is computed beside others."""
    progress: Callable[[int], None] = lambda _windows: None
    """Called with numbers of windows that are through."""
    notice: Callable[[str], None] = untold
    """Called with each line that the user should see."""
    waited: float = 0.0
    """Seconds without new pixels for the model; side by side, windows may still be in work."""
    computed: int = 0
    """Windows with data so far."""

    @property
    def together(self) -> int:
        """Windows of a batch."""
        return 1 if self.beside else self.batch


def work_for(plan: Plan, device: torch.device, at_once: int | None, **options: Any) -> Work:
    """How the windows of a plan are best computed on a device.

    at_once: how many together; None = what fills an accelerator, or one for each core of a CPU. There each window takes
    one thread, because products in bfloat16 round by the number of threads; only a window without others takes all.
    options: of Work.
    """
    if device.type != "cpu":
        return Work(device, at_once or (32 if device.type == "cuda" else 8), **options)
    threads = torch.get_num_threads()
    if plan.window_count() == 1:
        return Work(device, beside=1, each=threads, **options)
    return Work(device, beside=min(at_once or threads, threads, plan.window_count()), **options)


@dataclass(slots=True)
class WindowBatch:
    """Windows to run. Without windows it only tells how far down they are."""

    row: int = 0
    """No window above this row of the working grid is still to come."""
    windows: list[Window] = field(default_factory=list)
    """Where they lie on the working grid, row-major."""
    chips: list[Chip | SentChip] = field(default_factory=list)
    """Their pixels, one for each window; where the model runs already, all of them are."""
    pixels: list[Tensor] = field(default_factory=list)
    """Of a window computed beside others, the only pixels (n, 2) that are wanted, for a model that can be asked so."""


Results = Generator[tuple[WindowBatch, Iterable[Tensor]], None, None]  # logits (n, Q, S, S) of the next n windows


def scheduled(model: Model, batches: Iterable[WindowBatch], overlap: Overlap, work: Work) -> Results:
    """Each batch with the logits of its windows, as `work` says."""
    schedule = SideBySide if work.beside else OneByOne
    return schedule(model, overlap, work).results(batches)


class OneByOne:
    """Batches run one after another; out of memory halves the batch size for good."""

    def __init__(self, model: Model, overlap: Overlap, work: Work):
        self._model = model
        self._overlap = overlap
        self._work = work

    def results(self, batches: Iterable[WindowBatch]) -> Results:
        """Each batch with its logits, which are computed when they are asked for."""
        for batch in batches:
            yield batch, self._logits(batch)

    def _logits(self, batch: WindowBatch) -> Iterator[Tensor]:
        first, work = 0, self._work
        while first < len(batch.chips):
            chips = batch.chips[first : first + work.batch]
            try:
                logits = self._model(*tensors(chips, work), self._overlap)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
                if not out_of_memory(e):
                    raise
                work.batch = _halved(min(work.batch, max(2, len(chips))), batch, e, work)  # one may have been filled up
                if work.device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            first += len(chips)
            yield logits[: len(chips)]


class Attempt:
    """A batch of at most one window, given to a thread that computes it."""

    def __init__(self, batch: WindowBatch, future: Future[Tensor] | None):
        self.batch = batch
        self._future = future

    @property
    def state(self) -> Literal["nothing", "running", "short", "failed", "done"]:
        """nothing: no window to compute. short: memory ran out, to be tried again. failed: for another reason."""
        if self._future is None:
            return "nothing"
        if not self._future.done():
            return "running"
        error = self._future.exception()
        return "done" if error is None else "short" if out_of_memory(error) else "failed"

    def settled(self) -> Attempt:
        """Itself, when it is no longer running."""
        if self._future is not None:
            with stage("wait"):
                wait([self._future])
        return self

    def error(self) -> BaseException | None:
        """What kept it from being computed."""
        return self._future.exception() if self._future else None

    def repeat(self, compute: Callable[[WindowBatch], Tensor]) -> None:
        """Computes the window in this thread. Raises what `compute` raises."""
        self._future = Future()
        self._future.set_result(compute(self.batch))

    def forget(self) -> None:
        """Lets go of what a failed attempt holds, its tensors above all."""
        self._future = None

    def logits(self) -> list[Tensor]:
        """The logits (1, Q, S, S) of the window, if there is one. Raises what kept it from being computed."""
        return [self._future.result()] if self._future else []


class SideBySide:
    """On a CPU, windows in threads of their own, because one makes too many small products for many cores.

    Results come in the order in which windows were begun. Out of memory halves how many are in work for good; those
    that ran short of it are computed again, alone.
    """

    def __init__(self, model: Model, overlap: Overlap, work: Work):
        self._model = model
        self._overlap = overlap
        self._work = work
        self._attempts: deque[Attempt] = deque()  # begun, oldest first

    def results(self, batches: Iterable[WindowBatch]) -> Results:
        """Each batch with its logits, later ones in work while they are used."""
        with self._threads() as pool:
            for batch in batches:
                ready = []
                while len(self._attempts) >= self._work.beside:
                    ready.append(self._oldest())
                future = pool.submit(self._first, batch) if batch.chips else None
                self._attempts.append(Attempt(batch, future))
                yield from ready  # stitched while others are in work
            while self._attempts:
                yield self._oldest()

    @contextmanager
    def _threads(self) -> Iterator[ThreadPoolExecutor]:
        """A thread for each window in work; torch's own number of threads is as it was in the end."""
        threads, each = torch.get_num_threads(), self._work.each
        torch.set_num_threads(each)
        pool = ThreadPoolExecutor(self._work.beside, "segearth-run", torch.set_num_threads, (each,))
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)

    def _oldest(self) -> tuple[WindowBatch, list[Tensor]]:
        """The batch that was begun first, with its logits; it is no longer in work."""
        oldest = self._attempts[0].settled()
        if oldest.state == "short":
            self._work.beside = _halved(self._work.beside, oldest.batch, oldest.error(), self._work)
            self._repeat_short()
        self._attempts.popleft()
        return oldest.batch, oldest.logits()

    def _repeat_short(self) -> None:
        """Computes what ran short of memory again, when nothing else is in work."""
        short = [attempt for attempt in self._attempts if attempt.settled().state == "short"]
        for attempt in short:
            attempt.forget()
        for attempt in short:
            attempt.repeat(self._alone)

    def _alone(self, batch: WindowBatch) -> Tensor:
        try:
            return self._first(batch)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
            if out_of_memory(e):
                _halved(1, batch, e, self._work)
            raise

    def _first(self, batch: WindowBatch) -> Tensor:
        return self._model(*tensors(batch.chips[:1], self._work), self._overlap, *batch.pixels)


def _halved(windows: int, batch: WindowBatch, error: BaseException | None, work: Work) -> int:
    """Half as many windows at once as ran out of memory. Raises SegEarthError for one."""
    if windows == 1:
        side = batch.windows[0].height
        raise SegEarthError(f"out of memory with one window of {side} px; use a smaller --window") from error
    work.notice(f"out of memory: going on with --batch-size {windows // 2}")
    return windows // 2


def tensors(chips: Sequence[Chip | SentChip], work: Work) -> tuple[Tensor, Tensor | None]:
    """Pixels (B, 3, S, S) and where they are data (B, S, S) on the device, None where all are.

    On accelerators, whose results depend on a batch's size, the last one of a scene is filled up.
    """
    full = [*chips, *[chips[-1]] * (work.batch - len(chips))] if work.device.type != "cpu" else chips
    sent = [chip for chip in full if isinstance(chip, SentChip)]
    if sent:
        pixels = torch.stack([chip.pixels for chip in sent])
        return pixels[:, :3], None if all(chip.whole for chip in sent) else pixels[:, 3] != 0
    return _sent_now([chip for chip in full if isinstance(chip, Chip)], work)


def _sent_now(full: list[Chip], work: Work) -> tuple[Tensor, Tensor | None]:
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


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory ran out, on a CPU or an accelerator."""
    return isinstance(error, torch.OutOfMemoryError) or (error is not None and is_out_of_memory(error))
