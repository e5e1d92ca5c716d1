"""A scene computed shard by shard: each is written and vouched for on its own, so that nothing is done twice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

from segearth_cli.cache import sha256
from segearth_cli.classes import ClassSet
from segearth_cli.errors import RunError, SegEarthError, of_input
from segearth_cli.jobs.documents import Run
from segearth_cli.jobs.merge import complete, write_geotiff
from segearth_cli.jobs.place import Place
from segearth_cli.jobs.run_folder import (
    COMPLETE,
    Ledger,
    Shard,
    State,
    describe,
    open_ledger,
    refuse_other_run,
    start,
)
from segearth_cli.jobs.shard_size import Size, shard_side
from segearth_cli.jobs.store import holds_run
from segearth_cli.prediction import (
    Measured,
    PredictOptions,
    Predictor,
    Prepared,
    RunOptions,
    SceneSummary,
    finish_outputs,
    predictor_for,
    prepared,
    summarise,
    together,
    write_region,
)
from segearth_cli.raster import Outputs, environment, layouts
from segearth_cli.weights import ModelOptions

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """A scene to be computed in shards: all that a process needs to take part in it; can be pickled."""

    scene: str = field(repr=False)
    """Its path, the same on all machines that take part; not in logs of workers, where a signed URL would stay."""
    folder: Place
    """Where the run is kept, which all of them reach."""
    kinds: tuple[str, ...]
    """What is written: mask, and confidence and scores where asked for."""
    shard_size: Size
    """Side of a shard, in pixels, a multiple of a mask's tiles; `auto` = that of the folder, or by `shards_needed`."""
    model: ModelOptions
    """Which model, and where it runs."""
    options: PredictOptions
    """What changes a pixel."""
    classes: ClassSet
    """The classes of the mask."""
    shards_needed: int = 1
    """How many shards a side that is found should give."""


@lru_cache(maxsize=1)
def _predictor(model: ModelOptions, classes: ClassSet, run: RunOptions) -> Predictor:
    return predictor_for(model, classes, PredictOptions(), run)


def predictor_of(job: Job, run: RunOptions) -> Predictor:
    """What computes a job in a process of its own; the model stays for the next one that takes the same."""
    return replace(_predictor(job.model, job.classes, run), options=job.options)


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several processes takes of a flat list of shards, those of many scenes among them.

    Shard j of scene i goes to share (i + j) mod count. No share needs to know how many shards other scenes have,
    so a scene that cannot be opened shifts no other.
    """

    index: int = 0
    """Which share, from 0."""
    count: int = 1
    """Into how many shares the shards are dealt."""
    scene: int = 0
    """Which scene of several the shards are of, from 0."""

    def of(self, shards: Sequence[T]) -> list[T]:
        """Those of a scene's shards that this share takes.

        >>> Share(1, 3).of("abcdef"), Share(1, 3, scene=2).of("abcdef")
        (['b', 'e'], ['c', 'f'])
        """
        return list(shards[(self.index - self.scene) % self.count :: self.count])


@dataclass(frozen=True, slots=True)
class Session:
    """A run's folder with the scene and the model at hand."""

    job: Job
    """What is computed."""
    prepared: Prepared
    """The scene, open and planned."""
    ledger: Ledger
    """What the folder says of the run."""

    @property
    def run(self) -> RunOptions:
        """How shards are computed."""
        return self.prepared.predictor.run

    def compute(self, shard: Shard, advance: Callable[[int], None], *, wait: bool = False) -> State | None:
        """Computes and records a shard that is not complete; its state, or None when another process is at it.

        With `wait`, the other process is waited for. advance: called with numbers of windows. Raises what kept the
        shard from being computed, after it is recorded.
        """
        with self.ledger.store.claim(shard.name, wait=wait) as mine:
            if not mine:
                return None
            found = self.ledger.look(shard)
            if found.state in COMPLETE:
                advance(self.prepared.plan.window_count(shard.window))
                return found.state
            try:
                with of_input(self.job.scene):
                    measured, files = self._write(shard, advance)
            except SegEarthError as e:
                self.ledger.write_failure(shard, str(e))
                raise
            return self.ledger.write(shard, measured, files)

    def _write(self, shard: Shard, advance: Callable[[int], None]) -> tuple[Measured, dict[str, str]]:
        """What a shard gave, and the SHA-256 of its files by name."""
        with environment(self.job.scene), self.ledger.receiving(shard) as outputs:
            if not self.prepared.without_data(shard.window):
                self._check_space(shard)
            measured = write_region(self.prepared, outputs, shard.window, advance, part=True)
            return measured, {} if measured.empty else {path.name: sha256(path) for path in outputs.paths()}

    def _check_space(self, shard: Shard) -> None:
        """Raises RunError when the disk might not hold a shard: better than half a file and what GDAL says of it."""
        kinds = [layouts(self.job.classes)[kind] for kind in self.job.kinds]
        needed = shard.window.height * shard.window.width * sum(n * np.dtype(dtype).itemsize for n, dtype, _ in kinds)
        free = shutil.disk_usage(self.ledger.store.disk).free
        if free < needed:
            raise RunError(
                f"{self.ledger.store.disk}: cannot write: {free / 1e6:.1f} MB left on the disk, "
                f"a shard takes up to {needed / 1e6:.1f} MB"
            )


@contextmanager
def session(job: Job, predictor: Predictor, *, join: bool, alone: bool = False) -> Iterator[Session]:
    """A session in the folder of a job; the folder is made where it is not there yet.

    join: go on where the folder holds this run already. alone: this process computes, so that a model that cannot be
    loaded leaves no folder. Raises RunError when the folder holds another run, RasterError when the scene cannot be
    read.
    """
    found = job.shard_size == "auto"
    with ExitStack() as stack:
        with of_input(job.scene):
            ready = stack.enter_context(prepared(job.scene, predictor))
            described = _described(job, ready)
        if alone and not holds_run(job.folder):
            predictor.model()
        yield Session(job, ready, start(job.folder, described, join=join, any_size=found))


def refuse_folder(job: Job, ready: Prepared, *, join: bool) -> None:
    """Raises the RunError that a session of a job would raise, whose folder holds a run; makes nothing there."""
    ledger = open_ledger(job.folder)
    refuse_other_run(ledger, _described(job, ready), join=join, any_size=job.shard_size == "auto")


def _described(job: Job, ready: Prepared) -> Run:
    """What run.json says of a job."""
    side = shard_side(ready.plan, job.shards_needed) if job.shard_size == "auto" else job.shard_size
    return describe(ready.scene, job.scene, ready.identity, ready.facts, job.classes, side, job.kinds)


def finish(work: Session, outputs: Outputs, started: float) -> SceneSummary:
    """Joins the shards of a finished run to its outputs, polygons included; what it all gave.

    started: by `time.perf_counter`. Raises RunError when shards are missing, RasterError when a file cannot be written.
    """
    shards = complete(work.ledger)
    write_geotiff(work.ledger, shards, outputs, quiet=work.run.quiet)
    measured = together((record.measured for record in shards.records.values()), time.perf_counter() - started)
    finish_outputs(work.prepared, outputs)
    return summarise(work.prepared, outputs, measured)
