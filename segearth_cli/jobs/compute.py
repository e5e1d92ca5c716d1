"""A scene computed shard by shard: each is written and vouched for on its own, so that nothing is done twice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segearth_cli.classes import NODATA, ClassSet
from segearth_cli.console import progress
from segearth_cli.errors import RunError, SegEarthError
from segearth_cli.jobs.merge import complete, tags, write_geotiff
from segearth_cli.jobs.run_folder import COMPLETE, Ledger, Shard, State, describe, start
from segearth_cli.prediction import (
    Decider,
    Plan,
    PredictOptions,
    RunOptions,
    Summary,
    Work,
    make_plan,
    run_facts,
    segmented_rows,
    summarise,
    work_for,
)
from segearth_cli.raster import Outputs, Scene, environment, identity, layouts, open_scene, writing
from segearth_cli.weights import Assembled, ModelOptions

FAILURES = 3  # in a row, after which a run stops: what ails them ails the rest


@dataclass(frozen=True, slots=True)
class Job:
    """A scene to be computed in shards: all that a process needs to take part in it; can be pickled.

    kinds: mask, and confidence and scores where asked for. shard_size: pixels.
    """

    scene: str
    folder: Path
    kinds: tuple[str, ...]
    shard_size: int
    model: ModelOptions
    options: PredictOptions
    classes: ClassSet


@dataclass(frozen=True, slots=True)
class Share:
    """Every count-th shard from the index-th on: what one of several processes takes."""

    index: int = 0
    count: int = 1

    def of(self, shards: list[Shard]) -> list[Shard]:
        """The shards of this share."""
        return shards[self.index :: self.count]


@dataclass(frozen=True, slots=True)
class Session:
    """A run's folder with the scene and the model at hand."""

    job: Job
    run: RunOptions
    assembled: Assembled
    scene: Scene
    plan: Plan
    ledger: Ledger

    def compute(self, shard: Shard, advance: Callable[[int], None], *, wait: bool = False) -> State | None:
        """Computes and records a shard that is not complete; its state, or None when another process is at it.

        With `wait`, the other process is waited for. advance: called with numbers of windows. Raises what kept the
        shard from being computed, after it is recorded.
        """
        with self.ledger.claim(shard, wait=wait) as mine:
            if not mine:
                return None
            found = self.ledger.look(shard)
            if found.state in COMPLETE:
                advance(self.plan.window_count(shard.window))
                return found.state
            with environment(self.job.scene):
                return self._compute(shard, advance)

    def _compute(self, shard: Shard, advance: Callable[[int], None]) -> State:
        started = time.perf_counter()
        run, device = self.run, self.assembled.device
        work = work_for(self.plan, device, run.batch, threads=run.threads, progress=advance, notice=run.notice)
        counts = np.zeros(256, np.int64)
        state: State = "done"
        try:
            self._write(shard, work, counts)
        except _Nothing:
            state = "empty"
        except SegEarthError as e:
            self.ledger.write(shard, "failed", {"error": str(e)})
            raise
        pixels = {str(code): int(n) for code, n in enumerate(counts) if n}
        seconds = {"seconds": round(time.perf_counter() - started, 3), "waited_seconds": round(work.waited, 3)}
        self.ledger.write(shard, state, {"pixels": pixels, "computed_windows": work.computed, **seconds})
        return state

    def _write(self, shard: Shard, work: Work, counts: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        job, outputs = self.job, self.ledger.outputs(shard)
        if self.scene.hole(shard.window):
            work.progress(self.plan.window_count(shard.window))
            counts[NODATA] = shard.window.height * shard.window.width
            raise _Nothing
        self._check_space(shard)
        classes, scores = job.classes, "scores" in job.kinds
        decide = Decider(classes.query_class, job.options.threshold, classes.background, scores=scores)
        model, queries, window = self.assembled.segmenter, len(classes.queries), shard.window
        with (
            writing(outputs, self.scene, classes, tags(self.ledger), window, whole=False) as writer,
            closing(segmented_rows(self.scene, self.plan, model, queries, decide, work, window)) as finished,
        ):
            for rows in finished:
                writer.write(rows)
                counts += np.bincount(rows.codes.ravel(), minlength=256)
            if not counts[:NODATA].any():
                raise _Nothing

    def _check_space(self, shard: Shard) -> None:
        """Raises RunError when the disk might not hold a shard: better than half a file and what GDAL says of it."""
        kinds = [layouts(self.job.classes)[kind] for kind in self.job.kinds]
        needed = shard.window.height * shard.window.width * sum(n * np.dtype(dtype).itemsize for n, dtype, _ in kinds)
        free = shutil.disk_usage(self.ledger.folder).free
        if free < needed:
            raise RunError(
                f"{self.ledger.folder}: cannot write: {free / 1e6:.1f} MB left on the disk, "
                f"a shard takes up to {needed / 1e6:.1f} MB"
            )


class _Nothing(Exception):  # noqa: N818
    """A shard without a pixel of data: nothing is kept of it but its record."""


@contextmanager
def session(job: Job, assembled: Assembled, run: RunOptions, *, join: bool) -> Iterator[Session]:
    """A session in the folder of a job; the folder is made where it is not there yet.

    join: go on where the folder holds this run already. Raises RunError when it holds another, RasterError when the
    scene cannot be read.
    """
    with environment(job.scene):
        scene = open_scene(job.scene, job.options.read)
    try:
        with environment(job.scene):
            plan = make_plan(scene, job.options, assembled.native)
            known = identity(scene)
        facts = run_facts(scene, plan, assembled.facts, job.classes, job.options, known["fingerprint"])
        described = describe(scene, {"path": job.scene, **known}, facts, job.classes, job.shard_size, job.kinds)
        ledger = start(job.folder, described, join=join)
        yield Session(job, run, assembled, scene, plan, ledger)
    finally:
        scene.close()


def compute_share(work: Session, share: Share) -> list[Shard]:
    """Computes the shards of a share that are not complete, waiting in the end for those that others are at.

    Returns the shards of the share. Raises RunError when some failed; three in a row end it at once.
    """
    shards = share.of(work.ledger.shards)
    todo = [shard for shard in shards if work.ledger.look(shard).state not in COMPLETE]
    if len(todo) < len(shards):
        work.run.notice(f"{work.job.folder}: {len(shards) - len(todo)} of {len(shards)} shards are done already")
    failures = Failures(work.job.folder, len(shards))
    with progress(
        work.scene.stem, sum(work.plan.window_count(s.window) for s in todo), quiet=work.run.quiet
    ) as advance:
        busy = [shard for shard in todo if failures.attempt(shard, lambda s: work.compute(s, advance)) is None]
        busy = [shard for shard in busy if shard not in failures.shards]
        if busy:
            work.run.notice(f"{work.job.folder}: another process is at {len(busy)} of the shards; waiting for it")
        for shard in busy:
            failures.attempt(shard, lambda s: work.compute(s, advance, wait=True))
    failures.report()
    return shards


class Failures:
    """Shards that could not be computed, and when there are enough of them."""

    def __init__(self, folder: Path, total: int):
        self.shards: dict[Shard, str] = {}
        self._folder = folder
        self._total = total
        self._in_a_row = 0

    def attempt(self, shard: Shard, compute: Callable[[Shard], State | None]) -> State | None:
        """What `compute` says of a shard, None when it fails. Raises RunError when too many failed in a row."""
        try:
            state = compute(shard)
        except SegEarthError as e:
            self.add(shard, str(e))
            return None
        self._in_a_row = 0
        return state

    def add(self, shard: Shard, error: str) -> None:
        """Counts a failure."""
        self.shards[shard] = error
        self._in_a_row += 1
        if self._in_a_row >= FAILURES:
            self.report()

    def report(self) -> None:
        """Raises RunError when there were failures."""
        if self.shards:
            shard, error = next(iter(self.shards.items()))
            raise RunError(
                f"{error} ({len(self.shards)} of {self._total} shards failed, {shard.name} first; the others stay in "
                f"{self._folder}: go on with --resume)"
            )


def finish(work: Session, outputs: Outputs, seconds: float) -> Summary:
    """Joins the shards of a finished run to its outputs; what it all gave.

    Raises RunError when shards are missing, RasterError when a file cannot be written.
    """
    records = [found.record for _, found in complete(work.ledger)]
    write_geotiff(work.ledger, outputs)
    codes = [*enumerate(work.job.classes.names), (NODATA, "nodata")]
    return summarise(
        work.job.scene, outputs, work.scene, work.plan, work.ledger.run["facts"],
        computed_windows=sum(record["computed_windows"] for record in records),
        seconds=round(seconds, 3),
        waited_seconds=round(sum(record["waited_seconds"] for record in records), 3),
        pixels={name: sum(record["pixels"].get(str(code), 0) for record in records) for code, name in codes},
    )  # fmt: skip
