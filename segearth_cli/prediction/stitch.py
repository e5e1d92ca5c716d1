"""Rows of a mosaic that became final, decided on the device and fetched while the model goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segearth_cli.classes import NODATA
from segearth_cli.errors import SegEarthError
from segearth_cli.prediction.decision import Decider
from segearth_cli.prediction.mosaic import Mosaic, Regrid
from segearth_cli.prediction.pixels import Strips
from segearth_cli.prediction.plan import DECIDE_PIXELS, Plan
from segearth_cli.raster import Rows, Scene, Window

Later = Callable[[], Rows]  # waits until the rows have come from the device


@dataclass(slots=True)
class Stitcher:
    """Turns rows of the mosaic that became final into finished rows of the output."""

    scene: Scene
    """The scene, asked where its own grid has data when the working grid is another."""
    plan: Plan
    """How it is cut."""
    region: Window
    """The rows and columns of the output that are wanted."""
    mosaic: Mosaic
    """The mean logits of the working pixels that the region needs."""
    strips: Strips
    """The pixels read, which tell where there is data."""
    decide: Decider
    """Logits to classes."""
    _done: int = 0  # output rows of the region given so far
    _regrid: Regrid | None = None

    def __post_init__(self) -> None:
        if self.plan.resampled:
            scene_size = self.plan.height, self.plan.width
            self._regrid = Regrid(self.plan.size, scene_size, self.region, self.mosaic.region, self.mosaic.device)

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
        """Where the next output rows have data and are wanted."""
        window = Window(self.region.row + self._done, self.region.col, rows, self.region.width)
        wanted = None if self.plan.area is None else self.plan.area.holds(window)
        if wanted is not None and not wanted.any():
            return wanted
        if self._regrid is not None:
            valid = self.scene.valid(window)
        else:
            left = self.region.col - self.strips.left
            valid = self.strips.valid(window.row, window.bottom)[:, left : left + self.region.width]
        return valid if wanted is None else valid & wanted

    def _decided(self, logits: Tensor, valid: NDArray[np.bool_]) -> Later:
        window = self._next(valid.shape[0])
        if not valid.any():
            return partial(without_data, window, self.decide)
        decision = self.decide(logits)
        arrived = _fetch(decision.codes, decision.confidence, decision.scores)

        def rows() -> Rows:
            codes, confidence, scores = arrived()
            if ((confidence == NODATA) & valid).any():
                raise SegEarthError("--model: gives no number for some pixels with data; try --precision fp32")
            if not valid.all():
                codes[~valid] = confidence[~valid] = NODATA
                if scores is not None:
                    scores[:, ~valid] = np.nan
            return Rows(window, codes, confidence, scores)

        return rows

    def _nothing(self, row: int) -> Iterator[Later]:
        """Rows down to working row `row` without a single window."""
        while self.region.row + self._done < row:
            rows = min(row - self.region.row - self._done, self._limit())
            yield partial(without_data, self._next(rows), self.decide)

    def _next(self, rows: int) -> Window:
        window = Window(self.region.row + self._done, self.region.col, rows, self.region.width)
        self._done += rows
        return window


def without_data(window: Window, decide: Decider) -> Rows:
    """The rows of a window none of whose pixels is data."""
    codes = np.full((window.height, window.width), NODATA, np.uint8)
    return Rows(window, codes, codes, decide.no_scores((window.height, window.width)))


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
