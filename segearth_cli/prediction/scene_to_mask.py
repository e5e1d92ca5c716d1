"""One scene from its path to the files that are written for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segearth_cli import __version__
from segearth_cli.classes import CLASSES_TAG, ClassSet, to_tag
from segearth_cli.console import progress
from segearth_cli.errors import UsageError
from segearth_cli.prediction.decision import Decider
from segearth_cli.prediction.plan import Plan, PredictOptions, make_plan, provenance
from segearth_cli.prediction.segment import segmented_rows, work_for
from segearth_cli.raster import Outputs, Scene, environment, identity, local_files, open_scene, read_tags, writing
from segearth_cli.weights import Assembled


def untold(_line: str) -> None:
    """Tells the user nothing."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a scene is computed; none of it changes a pixel.

    batch: None = chosen by the device. threads: that read. skip: leave scenes alone whose files are there from the
    same run, and refuse to replace those of another one unless `overwrite`.
    """

    batch: int | None = None
    threads: int = 2
    quiet: bool = False
    skip: bool = False
    overwrite: bool = False
    notice: Callable[[str], None] = untold


@dataclass(frozen=True, slots=True)
class Summary:
    """What one scene took and gave; fields are those of `--json`. pixels: by class and `nodata`, none if skipped."""

    scene: str
    mask: str
    confidence: str | None
    scores: str | None
    vector: str | None
    height: int
    width: int
    windows: int
    computed_windows: int
    seconds: float
    waited_seconds: float
    pixels: dict[str, int]
    run: dict[str, Any]
    skipped: bool = False


def predict_scene(
    path: str, outputs: Outputs, assembled: Assembled, classes: ClassSet, options: PredictOptions, run: RunOptions
) -> Summary:
    """Writes the mask of a scene, and confidence and scores where asked for; the files appear when all are complete.

    Raises RasterError when the scene cannot be read or a file cannot be written, UsageError for a resolution that
    cannot be meant.
    """
    with environment(path):
        return _predict_scene(path, outputs, assembled, classes, options, run)


def _predict_scene(
    path: str, outputs: Outputs, assembled: Assembled, classes: ClassSet, options: PredictOptions, run: RunOptions
) -> Summary:
    started = time.perf_counter()
    scene = open_scene(path, options.read)
    try:
        for line in scene.notices:
            run.notice(line)
        plan = make_plan(scene, options, assembled.native)
        facts = run_facts(scene, plan, assembled.facts, classes, options, identity(scene)["fingerprint"])
        if run.skip and done_before(outputs, scene, classes, facts, overwrite=run.overwrite):
            return summarise(path, outputs, scene, plan, facts)
        decide = Decider(classes.query_class, options.threshold, classes.background, scores=outputs.scores is not None)
        work = work_for(plan, assembled.device, run.batch, threads=run.threads, notice=run.notice)
        counts = np.zeros(256, np.int64)
        tags = {"SEGEARTH_RUN": provenance(facts), "SEGEARTH_VERSION": __version__}
        with (
            progress(scene.stem, plan.window_count(), quiet=run.quiet) as work.progress,
            writing(outputs, scene, classes, tags) as writer,
            closing(segmented_rows(scene, plan, assembled.segmenter, len(classes.queries), decide, work)) as finished,
        ):
            for rows in finished:
                writer.write(rows)
                counts += np.bincount(rows.codes.ravel(), minlength=256)
    finally:
        scene.close()
    return summarise(
        path, outputs, scene, plan, facts,
        computed_windows=work.computed,
        seconds=round(time.perf_counter() - started, 3),
        waited_seconds=round(work.waited, 3),
        pixels={**{name: int(counts[code]) for code, name in enumerate(classes.names)}, "nodata": int(counts[255])},
    )  # fmt: skip


def summarise(
    path: str, outputs: Outputs, scene: Scene, plan: Plan, facts: Mapping[str, Any], **measured: Any
) -> Summary:
    """The summary of the scene at `path`; measured: what its run took and gave, nothing for a scene left alone."""
    places = {kind: str(place) for kind, place in outputs.by_kind().items()}
    nothing = {"computed_windows": 0, "seconds": 0.0, "waited_seconds": 0.0, "pixels": {}, "skipped": True}
    return Summary(
        scene=path,
        mask=places["mask"],
        confidence=places.get("confidence"),
        scores=places.get("scores"),
        vector=str(outputs.vector) if outputs.vector else None,
        height=scene.height,
        width=scene.width,
        windows=plan.window_count(),
        run=dict(facts),
        **(measured or nothing),
    )


def done_before(
    outputs: Outputs, scene: Scene, classes: ClassSet, facts: Mapping[str, Any], *, overwrite: bool
) -> bool:
    """Whether all files of a scene are there, written by the same run since the scene last changed.

    Raises UsageError when one is there from another run and may not be replaced.
    """
    wanted = {"SEGEARTH_RUN": provenance(facts), CLASSES_TAG: to_tag(classes)}
    changed = max((path.stat().st_mtime for path in local_files(scene)), default=0.0)
    same = []
    for kind, path in outputs.by_kind().items():
        if not path.exists():
            same.append(False)
            continue
        tags = read_tags(path)
        same.append(path.stat().st_mtime >= changed and all(
            tags.get(name) == text for name, text in wanted.items() if kind == "mask" or name != CLASSES_TAG
        ))  # fmt: skip
        if not same[-1] and not overwrite:
            raise UsageError(f"{path}: exists already, from another run; replace it with --overwrite")
    return all(same) and (outputs.vector is None or outputs.vector.exists())


def run_facts(
    scene: Scene, plan: Plan, model: Mapping[str, Any], classes: ClassSet, options: PredictOptions, fingerprint: str
) -> dict[str, Any]:
    """Everything that decides the value of a pixel, for the mask's tag and for telling runs apart.

    fingerprint: of the scene (`identity`).
    """
    return {
        "segearth": __version__,
        "scene": Path(scene.path).name,
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
        **model,
    }


def as_json(summary: Summary) -> dict[str, Any]:
    """A summary as the object that `--json` prints."""
    return asdict(summary)
