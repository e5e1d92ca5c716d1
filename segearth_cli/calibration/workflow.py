"""Scenes and labels to a calibration: placed, encoded where labels lie, fitted, judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segearth_cli.calibration.fit import Floats
from segearth_cli.calibration.gather import Gathered, gathered, joined, window_count
from segearth_cli.calibration.holdout import Ints
from segearth_cli.calibration.labels import Labels, Placed, left_out, placed, read_labels, why_left_out
from segearth_cli.calibration.learning import Samples, Text, learn
from segearth_cli.calibration.options import LabelSource
from segearth_cli.classes import ClassSet
from segearth_cli.errors import CalibrationError
from segearth_cli.prediction import (
    Calibration,
    LabelledScene,
    Predictor,
    Settings,
    feature_settings,
    prepared,
    write_calibration,
)
from segearth_cli.progress import progress
from segearth_cli.weights import Assembled

APART = 10_000_000  # pixels between scenes, so that no block of ground holds labels of two


@dataclass(frozen=True, slots=True)
class _Part:
    """What one scene gave."""

    origin: LabelledScene
    placed: Placed
    gathered: Gathered


def calibrate_to_file(
    out: Path, scenes: Sequence[str], source: LabelSource, predictor: Predictor, settings: Settings
) -> tuple[Calibration, dict[str, Any]]:
    """Writes the calibration that labels give scenes, as the command and the Python function do; with its JSON.

    Raises CalibrationError where one is asked to be made of another, or of too few labels; RasterError, VectorError.
    """
    if source.labels is None:
        raise CalibrationError("--labels: name points, lines or polygons with a field `class`, or a raster of codes")
    if settings.options.calibration is not None:
        raise CalibrationError("--calibration: is for predict and --suggest; one is made of labels alone")
    labels = read_labels(source.labels, source.field, source.layer, source.ignore or (), settings.classes)
    made = write_calibration(out, calibrate_scenes(scenes, labels, predictor, settings))
    names = [origin.name for origin in made.scenes]
    return made, {"calibration": str(out), "sha256": made.sha256, "kept": made.kept, "scenes": names} | dict(
        made.report
    )


def calibrate_scenes(scenes: Sequence[str], labels: Labels, predictor: Predictor, settings: Settings) -> Calibration:
    """What labels say of the classes on scenes; each label goes to every scene that has data under it.

    Labels that give nothing are counted and told. Raises CalibrationError where they show fewer than two classes,
    RasterError when a scene cannot be read.
    """
    parts = [_part(scene, labels, predictor) for scene in scenes]
    every = [one for one, _ in parts]
    for reason in why_left_out(left_out(labels, every)):
        predictor.run.notice(f"{reason}: left out")
    given = sorted((part for _, part in parts if part is not None), key=lambda part: part.origin.fingerprint)
    classes, assembled = settings.classes, predictor.model()
    _refuse_few(given, classes, labels)
    samples = _samples(given)
    learned = learn(samples, text_of(assembled, classes, predictor), classes.names)
    features = feature_settings(settings.options, settings.model, assembled.native)
    return Calibration(
        learned.directions,
        learned.biases,
        classes,
        {key: assembled.facts[key] for key in ("model", "model_sha256", "upsampler", "upsampler_sha256")},
        {"model": settings.model.model, "upsampler": settings.model.upsampler},
        features | {"threshold": settings.options.threshold},
        tuple(part.origin for part in given),
        learned.kept,
        learned.report,
    ).sealed()


def text_of(assembled: Assembled, classes: ClassSet, predictor: Predictor) -> Text:
    """The classes as text has them, decided as a mask is."""
    decider = predictor.decider()

    def decide(logits: Floats) -> Ints:
        columns = torch.from_numpy(np.ascontiguousarray(logits.T, np.float32))[..., None]
        return decider(columns).codes.flatten().numpy().astype(np.int64)

    phrases = assembled.of_clip.phrases.cpu().double().numpy()
    return Text(phrases, np.array(classes.query_class, np.int64), predictor.options.logit_scale, decide)


def _part(path: str, labels: Labels, predictor: Predictor) -> tuple[Placed, _Part | None]:
    """Where labels lie on a scene, and what it gave, if they do."""
    with prepared(path, predictor) as ready:
        on_scene = placed(labels, ready.scene)
        if not len(on_scene.codes):
            return on_scene, None
        total = window_count(ready, on_scene.places)
        with progress(ready.scene.stem, total, quiet=predictor.run.quiet) as advance:
            found = gathered(ready, on_scene.places, advance)
        origin = LabelledScene(str(ready.facts["scene"]), ready.identity["fingerprint"], len(on_scene.codes))
        return on_scene, _Part(origin, on_scene, found)


def _samples(parts: Sequence[_Part]) -> Samples:
    """What all scenes gave."""
    units = np.cumsum([0, *(int(part.placed.units.max()) + 1 for part in parts)])
    return Samples(
        joined([part.gathered.labelled for part in parts]),
        np.concatenate([part.placed.codes for part in parts]),
        np.concatenate([part.placed.units + first for part, first in zip(parts, units, strict=False)]),
        np.concatenate([part.placed.places + np.array([i * APART, 0]) for i, part in enumerate(parts)]),
        joined([part.gathered.area for part in parts]),
    )


def _refuse_few(parts: Sequence[_Part], classes: ClassSet, labels: Labels) -> None:
    """Raises CalibrationError where labels show fewer than two classes."""
    shown = sorted({code for part in parts for code in part.placed.codes.tolist()})
    if len(shown) >= 2:
        return
    if not len(labels.codes):
        reasons = ", ".join(why_left_out(labels.told)) or "the file is empty"
        raise CalibrationError(f"--labels: none names a class of the list ({reasons})")
    found = f"only {classes.names[shown[0]]}" if shown else "nothing"
    raise CalibrationError(
        f"--labels: show {found} on data of {'the scene' if len(parts) < 2 else 'the scenes'}; "
        "label at least two classes, some ten points each"
    )
