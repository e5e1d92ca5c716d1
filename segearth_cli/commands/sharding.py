"""`segearth predict --work`: the options of long jobs, and scenes computed in shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segearth_cli import console
from segearth_cli.errors import SegEarthError, UsageError
from segearth_cli.files import from_arguments
from segearth_cli.jobs import Entry, Outcome, read_manifest, summary_lines, write_summary

TILE = 512  # pixels of a mask's tiles (masks.TILE, which would bring rasterio into --help)

if TYPE_CHECKING:
    from segearth_cli.classes import ClassSet
    from segearth_cli.jobs import Job, Session, Shard, Share
    from segearth_cli.prediction import PredictOptions, RunOptions, Summary
    from segearth_cli.raster import Outputs
    from segearth_cli.weights import Assembled, ModelOptions


@dataclass(frozen=True, slots=True)
class Sharding:
    """The options of long jobs, checked to go together. index, count: the share to compute, or None for all."""

    work: Path | None = None
    size: int = 4096
    resume: bool = False
    index: int | None = None
    count: int | None = None
    engine: str = "local"
    scheduler: str | None = None
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.index is None) != (self.count is None):
            raise UsageError("--shard-index and --shard-count go together, e.g. --shard-index 0 --shard-count 8")
        if self.size < TILE or self.size % TILE:
            raise UsageError(f"--shard-size {self.size}: need a multiple of {TILE} px, the mask's tiles")
        if self.index is not None and self.count is not None and not 0 <= self.index < self.count:
            raise UsageError(f"--shard-index {self.index}: must be 0 to {self.count - 1}, below --shard-count")
        if self.engine not in ("local", "dask"):
            raise UsageError(f"--engine {self.engine}: choose local or dask")
        if self.scheduler is not None and self.engine != "dask":
            raise UsageError("--scheduler: is for --engine dask")
        needing = {
            "--shard-index": self.index is not None,
            "--engine dask": self.engine == "dask",
            "--devices": len(self.devices) > 1,
        }
        for flag, given in needing.items():
            if given and self.work is None:
                raise UsageError(f"{flag}: needs --work DIR, the folder that the processes share")

    @property
    def partial(self) -> bool:
        """Whether only a share is computed, which joins no mask."""
        return self.index is not None

    @property
    def share(self) -> Share:
        """The share to compute."""
        from segearth_cli.jobs import Share

        return Share(self.index or 0, self.count or 1)


def sharding_options(
    work: Path | None, size: int, resume: bool, index: int | None, count: int | None, engine: str,
    scheduler: str | None, devices: str | None, device: str, precision: str,
) -> tuple[Sharding, str]:  # fmt: skip
    """The options of long jobs, and the device of this process. Raises UsageError where they do not go together."""
    named = tuple(part.strip() for part in devices.split(",")) if devices is not None else ()
    if not all(named):
        raise UsageError(f"--devices {devices}: need devices separated by commas, e.g. cuda:0,cuda:1")
    if named and device != "auto":
        raise UsageError("--device and --devices: choose one of them")
    if scheduler is not None and precision == "auto":
        raise UsageError("--scheduler: name the workers' --precision too, fp32, fp16 or bf16; auto is for one machine")
    sharding = Sharding(work, size, resume, index, count, engine, scheduler, named)
    return sharding, named[0] if named else device


def scene_entries(scenes: Sequence[str], manifest: Path | None) -> list[Entry]:
    """The scenes of the command line or of the manifest. Raises UsageError when there are none, or both are given."""
    if manifest is None:
        return [Entry(name) for name in from_arguments(scenes)]
    if scenes:
        raise UsageError("name scenes either on the command line or with --manifest")
    return read_manifest(manifest)


def shard_folders(names: Sequence[str], work: Path, *, single: bool) -> dict[str, Path]:
    """The folder of each scene's run: `work` itself for one scene, one folder a stem in it for several.

    Raises UsageError when two scenes would share one.
    """
    from segearth_cli.raster import stem

    if single and len(names) == 1:
        return {names[0]: work}
    folders: dict[str, Path] = {}
    for name in names:
        if work / stem(name) in folders.values():
            raise UsageError(f"{name}: another scene has its stem too, so both would work in {work / stem(name)}")
        folders[name] = work / stem(name)
    return folders


def write_polygons(outputs: Outputs, *, quiet: bool) -> None:
    """The polygons of a mask just written, where they were asked for."""
    if outputs.vector is None:
        return
    from segearth_cli.vector import Options, vectorize

    vectorize(outputs.mask, outputs.vector, Options(confidence=outputs.confidence, quiet=quiet))


def each_reported(
    names: Sequence[str], outputs: Sequence[Outputs], act: Any, summary: Path | None, *, quiet: bool
) -> int:
    """Acts on every scene, on those that fail once more in the end, and reports what became of each. The exit code."""
    outcomes: dict[str, Outcome] = {}
    todo = list(zip(names, outputs, strict=True))
    for last in (False, True):
        for name, output in todo:
            outcomes[name] = _outcome(name, output, act)
            if outcomes[name].state == "failed" and not last and not quiet:
                console.note(f"{name}: failed, to be tried once more: {outcomes[name].error}")
        todo = [(name, output) for name, output in todo if outcomes[name].state == "failed"]
    if summary is not None:
        write_summary(summary, outcomes.values())
    if todo or not quiet:
        for line in summary_lines(list(outcomes.values())):
            console.note(line)
    return 3 if todo else 0


def _outcome(name: str, output: Outputs, act: Any) -> Outcome:
    try:
        found = act(name, output)
    except SegEarthError as e:
        return Outcome(name, str(output.mask), "failed", error=str(e))
    if found is None:
        return Outcome(name, str(output.mask), "done")
    state: Literal["skipped", "done"] = "skipped" if found.skipped else "done"
    return Outcome(name, found.mask, state, found.computed_windows, found.seconds)


@dataclass
class Sharded:
    """Runs one scene after another in shards, each in its folder."""

    sharding: Sharding
    folders: dict[str, Path]  # by scene
    model: ModelOptions
    options: PredictOptions
    run: RunOptions
    classes: ClassSet
    as_json: bool
    assembled: Assembled | None = None

    def __call__(self, scene: str, outputs: Outputs) -> Summary | None:
        """Computes a share of a scene's shards and, where that is all of them, joins the mask."""
        import time

        from segearth_cli.jobs import finish, session
        from segearth_cli.prediction import as_json, done_before, summarise
        from segearth_cli.weights import assemble

        started = time.perf_counter()
        job = self._job(scene, outputs)
        if self.assembled is None:
            self.assembled = assemble(self.model, self.classes)
            for line in self.assembled.notices:
                self.run.notice(line)
        with session(job, self.assembled, self.run, join=self.sharding.resume or self.sharding.partial) as work:
            if self.sharding.partial:
                shards = self._compute(work)
                facts = {"scene": scene, "work": str(job.folder), "shards": [shard.name for shard in shards]}
                print(json.dumps(facts, ensure_ascii=False) if self.as_json else job.folder, flush=True)
                return None
            facts = work.ledger.run["facts"]
            if self.run.skip and done_before(outputs, work.scene, self.classes, facts, overwrite=self.run.overwrite):
                summary = summarise(scene, outputs, work.scene, work.plan, facts)
            else:
                self._compute(work)
                summary = finish(work, outputs, time.perf_counter() - started)
                write_polygons(outputs, quiet=self.run.quiet)
        print(json.dumps(as_json(summary), ensure_ascii=False) if self.as_json else summary.mask, flush=True)
        return summary

    def _compute(self, work: Session) -> list[Shard]:
        """Computes this process's share on the engine asked for; its shards."""
        sharding = self.sharding
        if sharding.engine == "dask":
            from segearth_cli.jobs import compute_with_dask

            return compute_with_dask(work, sharding.share, sharding.scheduler, max(1, len(sharding.devices)))
        if len(sharding.devices) > 1:
            from segearth_cli.jobs import compute_on

            return compute_on(work, sharding.share, sharding.devices)
        from segearth_cli.jobs import compute_share

        return compute_share(work, sharding.share)

    def _job(self, scene: str, outputs: Outputs) -> Job:
        from segearth_cli.jobs import Job

        place = Path(scene).absolute() if Path(scene).exists() else scene
        return Job(
            str(place), self.folders[scene].absolute(), tuple(outputs.by_kind()), self.sharding.size, self.model,
            self.options, self.classes,
        )  # fmt: skip
