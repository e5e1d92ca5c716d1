"""The one way from a scene to a mask: opened and planned once, then written region by region.

A direct run is one region, the whole scene; shards, Dask tasks and calls from Python take the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from segearth_cli.classes import NODATA, ClassSet
from segearth_cli.clock import stage
from segearth_cli.console import untold, without_secrets
from segearth_cli.prediction.behind import behind
from segearth_cli.prediction.calibrated import (
    Calibration,
    corrected_model,
    other_scene,
    read_calibration,
    refuse_other_model,
)
from segearth_cli.prediction.decision import Decider
from segearth_cli.prediction.measured import Measured, SceneSummary, area_with_data, extent_of, together
from segearth_cli.prediction.options import PredictOptions, RunOptions
from segearth_cli.prediction.plan import Plan, make_plan, remarks
from segearth_cli.prediction.provenance import date_after, done_before, run_facts, run_tags
from segearth_cli.prediction.schedule import work_for
from segearth_cli.prediction.tiled import finished_rows
from segearth_cli.progress import Progress, progress, underway
from segearth_cli.raster import (
    Outputs,
    Scene,
    Seal,
    Window,
    check_unchanged,
    environment,
    identity,
    open_sealed,
    refuse_own,
    writing,
)
from segearth_cli.weights import Assembled, Described, ModelOptions, assemble, describe_model


def assembled_once(
    options: ModelOptions, classes: ClassSet, notice: Callable[[str], None] = untold, *, quiet: bool = True
) -> Callable[[], Assembled]:
    """A function that gives the model: assembled, and its notices told, when it is first called."""

    @cache
    def model() -> Assembled:
        with underway(f"loading {options.model}", quiet=quiet):
            return assemble(options, classes, notice)

    return model


def predictor_for(options: ModelOptions, classes: ClassSet, predict: PredictOptions, run: RunOptions) -> Predictor:
    """What makes masks with a model that is loaded when the first scene needs it; scenes that are done do not."""
    model = assembled_once(options, classes, run.notice, quiet=run.quiet)
    return Predictor(model, classes, predict, run, cache(lambda: describe_model(options)))


@dataclass(frozen=True, slots=True)
class Predictor:
    """All that makes a mask of a scene, but the scene."""

    model: Callable[[], Assembled]
    """Gives the model for the phrases of `classes`; called when a scene needs it (`assembled_once`)."""
    classes: ClassSet
    """The classes of the mask."""
    options: PredictOptions
    """What changes a pixel."""
    run: RunOptions
    """What does not."""
    described: Callable[[], Described] | None = None
    """Gives what plans and provenance need of the model, without loading it; None = the model is asked."""

    def known(self) -> Described:
        """What plans and provenance need of the model."""
        if self.described is not None:
            return self.described()
        model = self.model()
        return Described(model.native, model.facts)

    def decider(self, *, scores: bool = False) -> Decider:
        """What turns the logits of its phrases into classes. scores: whether each class's probability is kept."""
        classes, options = self.classes, self.options
        return Decider(
            classes.query_class, options.threshold, classes.background, scores=scores, scale=options.logit_scale
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A scene opened and planned, whose regions can be written."""

    path: str
    """The scene as it was named."""
    scene: Scene
    """The scene, open."""
    seal: Seal
    """How it looked before it was read."""
    plan: Plan
    """How it is cut."""
    identity: Mapping[str, Any]
    """Bytes, time of change and fingerprint of its files (`raster.identity`)."""
    facts: Mapping[str, Any]
    """Everything that decides a pixel (`run_facts`)."""
    predictor: Predictor
    """What makes the mask."""
    assembled: Callable[[], Assembled]
    """The model, calibrated where that is asked for."""

    def without_data(self, region: Window) -> bool:
        """Whether no pixel of a region can be data of the mask, as the file's index or the area asked for tells."""
        return self.plan.wanted(region) is None or self.scene.hole(region)


@contextmanager
def prepared(path: str, predictor: Predictor) -> Iterator[Prepared]:
    """A scene ready to be written, closed in the end; what there is to say of it is told.

    Raises RasterError when it cannot be read or segearth wrote it, UsageError for a resolution that cannot be meant,
    WeightsError.
    """
    with underway(f"opening {without_secrets(path)}", quiet=predictor.run.quiet), environment(path):
        scene, seal = open_sealed(path, predictor.options.read)
    refuse_own(scene)
    try:
        for line in scene.notices:
            predictor.run.notice(line)
        calibration, model, assembled = _calibrated(predictor)
        with environment(path):
            plan = make_plan(scene, predictor.options, model.native)
            for line in remarks(scene, plan, predictor.options):
                predictor.run.notice(line)
            known, seal = identity(scene), seal.with_pixels(scene)
        if calibration is not None and (other := other_scene(calibration, scene, known["fingerprint"])):
            predictor.run.notice(other)
        facts = run_facts(
            scene, plan, model.facts, predictor.classes, predictor.options, known["fingerprint"], calibration
        )
        yield Prepared(path, scene, seal, plan, known, facts, predictor, assembled)
    finally:
        scene.close()


def _calibrated(predictor: Predictor) -> tuple[Calibration | None, Described, Callable[[], Assembled]]:
    """A run's calibration, what is known of its model with that, and what gives it. Raises CalibrationError."""
    path = predictor.options.calibration
    if path is None:
        return None, predictor.known(), predictor.model
    calibration, known = read_calibration(path), predictor.known()
    refuse_other_model(path, calibration, known.facts)
    return calibration, known, cache(lambda: corrected_model(calibration, predictor.model()))


class _NothingToKeep(Exception):  # noqa: N818
    """A part without a pixel of data, whose files are not kept."""


def write_region(
    prepared: Prepared, outputs: Outputs, region: Window, advance: Progress, *, part: bool = False
) -> Measured:
    """Writes mask, and confidence and scores where asked for, of a region; they appear when all are complete.

    advance: called with numbers of windows. part: of files that will be joined: without overviews, and none at all
    where no pixel is data. Raises RasterError when the scene cannot be read or a file cannot be written,
    SceneChangedError when the scene has changed since it was prepared.
    """
    started = time.perf_counter()
    scene, plan, predictor = prepared.scene, prepared.plan, prepared.predictor
    if part and prepared.without_data(region):
        check_unchanged(scene, prepared.seal)
        advance(plan.window_count(region))
        return Measured({NODATA: region.height * region.width}, 0, 0.0, 0.0)
    with stage("load"):
        assembled, classes, run = prepared.assembled(), predictor.classes, predictor.run
    work = work_for(plan.of_tile, assembled.device, run.batch, threads=run.threads, progress=advance, notice=run.notice)
    pixels: dict[int, int] = {}
    decide = predictor.decider(scores=outputs.scores is not None)
    model, queries, tags = assembled.segmenter, len(classes.query_class), run_tags(prepared.facts)
    with (
        environment(prepared.path),
        suppress(_NothingToKeep),
        writing(outputs, scene, classes, tags, region, whole=not part) as writer,
        closing(finished_rows(scene, plan, model, queries, decide, work, region)) as finished,
    ):
        with behind(writer.write, partial(environment, prepared.path), "segearth-write") as write:
            for rows in finished:
                write(rows)
        pixels = writer.counts
        check_unchanged(scene, prepared.seal)
        if part and pixels.keys() <= {NODATA}:
            raise _NothingToKeep
    return Measured(pixels, work.computed, round(time.perf_counter() - started, 3), round(work.waited, 3))


def predict_scene(path: str, outputs: Outputs, predictor: Predictor, told: str = "") -> SceneSummary:
    """Writes the files of a scene, polygons included; each appears when it is complete.

    told: a line for the user when it is begun, not where its files are there already.

    Raises RasterError when the scene cannot be read or a file cannot be written, UsageError for a resolution that
    cannot be meant or a file of another run.
    """
    started = time.perf_counter()
    with prepared(path, predictor) as ready:
        if found := left_alone(ready, outputs):
            return found
        if told:
            predictor.run.notice(told)
        windows, extent = ready.plan.window_count(), extent_of(ready.scene, ready.plan.wanted_share)
        with progress(ready.scene.stem, windows, extent=extent, quiet=predictor.run.quiet) as advance:
            measured = write_region(ready, outputs, ready.plan.whole, advance)
    measured = together([measured], time.perf_counter() - started)
    finish_outputs(ready, outputs)
    return summarise(ready, outputs, measured)


def left_alone(prepared: Prepared, outputs: Outputs) -> SceneSummary | None:
    """The summary of a scene whose files are there from the same run, a missing preview drawn; else None.

    Raises UsageError when one is there from another run and may not be replaced.
    """
    if not is_done(prepared, outputs):
        return None
    draw_preview(prepared, outputs, missing=True)
    return summarise(prepared, outputs, None)


def is_done(prepared: Prepared, outputs: Outputs) -> bool:
    """Whether the files of a scene are there from the same run, which may then be left alone.

    Raises UsageError when one is there from another run and may not be replaced.
    """
    predictor = prepared.predictor
    return predictor.run.skip and done_before(
        outputs, prepared.scene, predictor.classes, prepared.facts, overwrite=predictor.run.overwrite
    )


def finish_outputs(prepared: Prepared, outputs: Outputs) -> None:
    """What is left to do when the rasters of a scene are there: dates, and polygons and preview where asked for."""
    date_after(outputs, prepared.scene)
    if outputs.vector is not None:
        from segearth_cli.vector import VectorizeOptions, vectorize

        quiet = prepared.predictor.run.quiet
        vectorize(outputs.mask, outputs.vector, VectorizeOptions(confidence=outputs.confidence, quiet=quiet))
    draw_preview(prepared, outputs)


def draw_preview(prepared: Prepared, outputs: Outputs, *, missing: bool = False) -> None:
    """Draws mask and scene for people, where asked for. missing: only if the file is not there."""
    if outputs.preview is None or (missing and outputs.preview.exists()):
        return
    from segearth_cli.maps import draw

    with environment(prepared.path):
        draw(outputs.mask, outputs.preview, scene=prepared.scene)


def summarise(prepared: Prepared, outputs: Outputs, measured: Measured | None) -> SceneSummary:
    """The summary of a scene; measured: None for one that was left alone."""
    places = {kind: str(place) for kind, place in outputs.by_kind().items()}
    codes = [*enumerate(prepared.predictor.classes.names), (NODATA, "nodata")]
    return SceneSummary(
        scene=without_secrets(prepared.path),
        mask=places["mask"],
        confidence=places.get("confidence"),
        scores=places.get("scores"),
        vector=str(outputs.vector) if outputs.vector else None,
        preview=str(outputs.preview) if outputs.preview else None,
        height=prepared.scene.height,
        width=prepared.scene.width,
        windows=prepared.plan.window_count(),
        computed_windows=measured.computed_windows if measured else 0,
        area_m2=area_with_data(prepared.scene, measured) if measured else None,
        seconds=measured.seconds if measured else 0.0,
        waited_seconds=measured.waited_seconds if measured else 0.0,
        pixels={name: measured.pixels.get(code, 0) for code, name in codes} if measured else {},
        run=dict(prepared.facts),
        skipped=measured is None,
    )
