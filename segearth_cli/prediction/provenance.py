"""What decides the value of a pixel: written into every mask, and read back to tell whether it is there already."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segearth_cli.classes import CLASSES_TAG, RUN_TAG, ClassSet, to_tag
from segearth_cli.console import without_secrets
from segearth_cli.errors import UsageError
from segearth_cli.model import LOGIT_SCALE
from segearth_cli.prediction.calibrated import Calibration
from segearth_cli.prediction.options import PredictOptions
from segearth_cli.prediction.plan import Plan
from segearth_cli.raster import Outputs, Scene, local_files, read_tags
from segearth_cli.version import __version__


def run_facts(
    scene: Scene,
    plan: Plan,
    model: Mapping[str, Any],
    classes: ClassSet,
    options: PredictOptions,
    fingerprint: str,
    calibration: Calibration | None,
) -> dict[str, Any]:
    """Everything that decides the value of a pixel, for the mask's tag and for telling runs apart.

    model: the facts of an `Assembled`. fingerprint: of the scene (`raster.identity`). calibration: None = text
    alone.
    """
    return {
        "segearth": __version__,
        "scene": Path(without_secrets(scene.path)).name,
        "scene_fingerprint": fingerprint,
        "classes": [list(phrases) for phrases in classes.phrases],
        "background": None if classes.background is None else classes.names[classes.background],
        "threshold": options.threshold,
        "window": plan.window,
        "stride": plan.stride,
        "blend": plan.blend,
        "working_size": list(plan.size),
        "bands": list(scene.bands),
        "stretch": None if scene.stretch is None else [list(pair) for pair in scene.stretch],
        "antialias": scene.antialias,
        **({"decibels": True} if scene.decibels else {}),
        **_tile_facts(plan),
        **({"area": options.area.facts()} if options.area else {}),
        **options.read.validity_facts(),
        **_chosen_words(classes, options),
        **model,
        **(calibration.facts() if calibration else {}),
    }


def _tile_facts(plan: Plan) -> dict[str, Any]:
    """Width and height of tiles and their step, where a scene is cut into some."""
    return {"tile": [*plan.tile[::-1]], "tile_stride": [*plan.tile_stride[::-1]]} if plan.tile is not None else {}


def _chosen_words(classes: ClassSet, options: PredictOptions) -> dict[str, Any]:
    """What is said of words only where it is not as published, so that masks of former versions are the same run."""
    found: dict[str, Any] = {}
    if classes.synonyms:
        found["synonyms"] = list(classes.synonyms)
    if classes.descriptions:
        found["descriptions"] = list(classes.descriptions)
    if options.logit_scale != LOGIT_SCALE:
        found["logit_scale"] = options.logit_scale
    return found


def run_tags(facts: Mapping[str, Any]) -> dict[str, str]:
    """The tags that every file of a run carries; the keys of the facts sorted, so that equal runs carry equal text."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return {RUN_TAG: text, "SEGEARTH_VERSION": __version__}


def date_after(outputs: Outputs, scene: Scene) -> None:
    """Gives files just written the time of their scene where that is later, so that a clock ahead misleads nobody.

    `done_before` takes a scene that is younger than its mask for one that has changed.
    """
    changed = _changed(scene)
    for path in outputs.by_kind().values():
        if path.stat().st_mtime_ns < changed:
            os.utime(path, ns=(changed, changed))


def done_before(
    outputs: Outputs, scene: Scene, classes: ClassSet, facts: Mapping[str, Any], *, overwrite: bool
) -> bool:
    """Whether all files of a scene are there, written by the same run since the scene last changed.

    Raises UsageError when one is there from another run, or polygons without their mask, and may not be replaced.
    """
    wanted = {RUN_TAG: run_tags(facts)[RUN_TAG], CLASSES_TAG: to_tag(classes)}
    changed = _changed(scene)
    same = []
    for kind, path in outputs.by_kind().items():
        if not path.exists():
            same.append(False)
            continue
        tags = read_tags(path)
        same.append(path.stat().st_mtime_ns >= changed and all(
            tags.get(name) == text for name, text in wanted.items() if kind == "mask" or name != CLASSES_TAG
        ))  # fmt: skip
        if not same[-1] and not overwrite:
            raise _of_another_run(path)
    drawn = outputs.vector is None or outputs.vector.exists()
    if not all(same) and outputs.vector is not None and drawn and not overwrite:
        raise _of_another_run(outputs.vector)
    return all(same) and drawn


def _of_another_run(path: Path) -> UsageError:
    return UsageError(f"{path}: exists already, from another run; replace it with --overwrite")


def _changed(scene: Scene) -> int:
    """When the files of a scene last changed, in nanoseconds; 0 where they are not on this machine."""
    return max((path.stat().st_mtime_ns for path in local_files(scene)), default=0)
