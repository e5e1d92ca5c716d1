"""Features of chosen pixels of a scene, exactly as its mask would be decided from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segearth_cli.calibration.fit import Floats
from segearth_cli.calibration.holdout import Ints
from segearth_cli.prediction import Plan, Prepared, by_tile, sampled_logits, windows_at, work_for
from segearth_cli.progress import Progress
from segearth_cli.raster import Window, environment

AREA = 800  # pixels that stand for the ground around the labels


@dataclass(frozen=True, slots=True)
class Gathered:
    """Features of one scene."""

    labelled: NDArray[np.float32]
    """(n, C) at the places asked for."""
    area: NDArray[np.float32]
    """(m, C) at places all over the windows that hold these."""


def window_count(ready: Prepared, places: Ints) -> int:
    """How many windows hold places (n, 2)."""
    return sum(len(windows_at(part.plan, part.places)) for part in by_tile(ready.scene, ready.plan, places))


def gathered(ready: Prepared, places: Ints, advance: Progress, area: int = AREA) -> Gathered:
    """Features at places (n, 2) with data, and at about `area` others in the windows that hold them.

    No other window is run. A feature is what a logit is linear in: the mean over windows of the pixel's direction less
    that of the window as a whole.
    """
    channels = ready.assembled().of_clip.encoder.channels
    model, run = ready.assembled().of_clip.asking(torch.eye(channels)), ready.predictor.run
    labelled, others = np.zeros((len(places), channels), np.float32), [np.zeros((0, channels), np.float32)]
    for part in by_tile(ready.scene, ready.plan, places):
        windows = windows_at(part.plan, part.places)
        share = max(1, area * len(part.places) // len(places))
        around = np.array(list(lattice(part.plan, windows, share)), np.int64).reshape(-1, 2)
        around = around[part.scene.valid_at(around)]
        work = work_for(
            part.plan, ready.assembled().device, run.batch, threads=run.threads, progress=advance, notice=run.notice
        )
        every = np.concatenate([part.places, around])
        with environment(ready.path):
            features = sampled_logits(part.scene, part.plan, model, channels, every, work, windows)
        labelled[part.which], rest = features[: len(part.places)], features[len(part.places) :]
        others.append(rest[np.isfinite(rest).all(axis=1)])
    return Gathered(labelled, np.concatenate(others))


def lattice(plan: Plan, windows: Sequence[Window], count: int) -> Iterator[tuple[int, int]]:
    """About `count` places of the output, evenly over windows of the working grid, fewer where windows overlap."""
    step = max(1, int(np.sqrt(sum(w.height * w.width for w in windows) / max(1, count) / 2)))
    down, across = plan.height / plan.rows, plan.width / plan.cols
    seen = set[tuple[int, int]]()
    for window in windows:
        for row in range(-(-window.row // step) * step, window.bottom, step):
            for col in range(-(-window.col // step) * step, window.right, step):
                place = int((row + 0.5) * down), int((col + 0.5) * across)
                if place not in seen:
                    seen.add(place)
                    yield place


def joined(parts: Sequence[NDArray[np.float32]]) -> Floats:
    """Rows of several arrays in float64."""
    rows: Floats = np.concatenate(parts).astype(np.float64)
    return rows
