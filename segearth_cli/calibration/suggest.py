"""Where another label would help most: close decisions, spread over the scene, of every class that is predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segearth_cli.calibration.gather import window_count
from segearth_cli.calibration.holdout import Ints
from segearth_cli.errors import CalibrationError
from segearth_cli.prediction import Predictor, Prepared, by_tile, prepared, sampled_logits, work_for
from segearth_cli.progress import progress
from segearth_cli.raster import Placement, environment, without_georeference

CELLS = 4  # for each point: patches of ground of which one becomes it
TRIED = 16  # pixels of a cell that are looked at
CLOSE = 0.5  # of the candidates of a class, by how close their decision is, compete by how far they lie from others


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Points that are worth a label, the most useful first."""

    points: NDArray[np.float64]
    """(n, 2) in the scene's CRS, centres of pixels."""
    crs: str | None
    """CRS of the scene as WKT."""
    predicted: tuple[str, ...]
    """(n,) the class that is predicted there."""
    runner_up: tuple[str, ...]
    """(n,) the one that came next."""


def suggest_labels(path: str, count: int, predictor: Predictor) -> Suggestions:
    """`count` points of a scene, or as many as it has cells of data, where another label would help most.

    The scene is looked at in cells of ground spread evenly over it; of a large one not all windows are run. Raises
    CalibrationError when no pixel is data.
    """
    with prepared(path, predictor) as ready:
        places = _candidates(ready, count)
        if not len(places):
            raise CalibrationError(f"{path}: no pixel is data, so there is nothing to label")
        first, second, margin = _decisions(ready, places)
        chosen = spread(places, first, margin, count)
        placement, names = Placement(ready.scene, path), ready.predictor.classes.names
        xy = placement.move(places[chosen][:, ::-1].astype(np.float64) + 0.5)
        if without_georeference(ready.scene):
            xy = xy * (1, -1)  # as QGIS shows a picture without georeference
        return Suggestions(
            xy,
            placement.crs.to_wkt() if placement.crs else None,
            tuple(names[code] for code in first[chosen].tolist()),
            tuple(names[code] for code in second[chosen].tolist()),
        )


def spread(places: Ints, classes: Ints, margin: NDArray[np.float64], count: int) -> Ints:
    """Which of some places (n, 2) to take, best first: classes in turn, the rarest first, close ones, far from others.

    classes (n,): what is predicted there. margin (n,): of the winner over the next, small where a decision is close.
    """
    named, numbers = np.unique(classes, return_counts=True)
    order = named[np.lexsort((named, numbers))]
    waiting = {}
    for code in order.tolist():
        own = np.flatnonzero(classes == code)
        own = own[np.lexsort((own, margin[own]))]
        waiting[code] = own[: max(count, int(len(own) * CLOSE))]
    distance = np.full(len(places), np.inf)
    chosen: list[int] = []
    while len(chosen) < count and waiting:
        for code in [code for code in order.tolist() if code in waiting]:
            own = waiting[code][distance[waiting[code]] > 0]
            if not len(own):
                del waiting[code]
                continue
            best = int(own[np.argmax(distance[own])])
            chosen.append(best)
            distance = np.minimum(distance, np.hypot(*(places - places[best]).T))
            if len(chosen) == count:
                break
    return np.array(chosen, np.int64)


def _candidates(ready: Prepared, count: int) -> Ints:
    """Places with data, row-major: `TRIED` in each of about `CELLS` times `count` cells, spread evenly.

    Those of a cell lie within a step of windows, so that few windows hold them all.
    """
    plan, scene = ready.plan, ready.scene
    side = max(1.0, np.sqrt(scene.height * scene.width / (CELLS * count)))
    step = plan.stride * (plan.tile or (scene.height, scene.width))[1] / plan.cols
    inner, steps = max(1.0, min(step, side)), int(np.sqrt(TRIED))
    within = ((np.arange(steps) + 0.5) / steps - 0.5) * inner
    rows, cols = (
        np.unique((((np.arange(n) + 0.5) * length / n)[:, None] + within).clip(0, length - 1).astype(np.int64))
        for length in (scene.height, scene.width)
        for n in [max(1, round(length / side))]
    )
    places: Ints = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)
    return places[scene.valid_at(places)]


def _decisions(ready: Prepared, places: Ints) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Codes of the winner and of the next at places, and the distance of their probabilities."""
    assembled, run, classes = ready.assembled(), ready.predictor.run, ready.predictor.classes
    logits = np.zeros((len(places), len(classes.query_class)), np.float32)
    with progress(ready.scene.stem, window_count(ready, places), quiet=run.quiet) as advance, environment(ready.path):
        for part in by_tile(ready.scene, ready.plan, places):
            work = work_for(
                part.plan, assembled.device, run.batch, threads=run.threads, progress=advance, notice=run.notice
            )
            logits[part.which] = sampled_logits(
                part.scene, part.plan, assembled.segmenter, logits.shape[1], part.places, work
            )
    decide = ready.predictor.decider(scores=True)
    scores = decide(torch.from_numpy(np.ascontiguousarray(logits.T))[..., None]).scores
    values = np.zeros((1, len(places))) if scores is None else scores[..., 0].double().numpy()
    order = np.argsort(-values, axis=0, kind="stable")
    second, held = order[min(1, len(order) - 1)], np.arange(len(places))
    return order[0], second, values[order[0], held] - values[second, held]
