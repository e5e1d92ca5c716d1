"""`segearth predict --work`: the options of long jobs, and scenes computed in shards."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segearth_cli import console
from segearth_cli.commands.arguments import inputs, plain, rasters_in, without_own
from segearth_cli.commands.many import OF_ONE, Tried, raise_failed
from segearth_cli.commands.reporting import numbered, report, table
from segearth_cli.commands.results import scene_line, show
from segearth_cli.errors import SegEarthError, UsageError
from segearth_cli.jobs import Place, SceneEntry, parse_place, read_manifest
from segearth_cli.options import build, option, validate, whole
from segearth_cli.raster import BLOCK

Engine = Literal["local", "dask"]
CLUSTER = 16  # workers that a Dask cluster is taken to have

if TYPE_CHECKING:
    from segearth_cli.jobs import Job, Pool, Share
    from segearth_cli.prediction import Predictor, RunOptions, Settings
    from segearth_cli.raster import Outputs


def parse_devices(text: str) -> tuple[str, ...]:
    """Devices from `cuda:0,cuda:1`. Raises UsageError when one is empty."""
    named = tuple(part.strip() for part in text.split(","))
    if not all(named):
        raise UsageError(f"--devices {text}: need devices separated by commas, e.g. cuda:0,cuda:1")
    return named


def parse_work(text: str) -> Place:
    """The folder or the prefix that a run is kept in. Raises UsageError for a bucket that cannot be."""
    try:
        return parse_place(text)
    except UsageError as e:
        raise UsageError(f"--work {e}") from None


def parse_size(text: str) -> int | Literal["auto"]:
    """Pixels from the text of a flag, or `auto`. Raises UsageError for anything else."""
    if text == "auto":
        return "auto"
    if (number := whole(text)) is None:
        raise UsageError(f"--shard-size {text}: need auto or a multiple of {BLOCK} px")
    return number


_ARRAYS = (("JOB_COMPLETION_INDEX", ""), ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN"))  # the number, the first one


def array_index() -> int:
    """The number from 0 of this task in its array: a Kubernetes indexed job's, or a SLURM array's.

    Raises UsageError when no such variable holds a whole number.
    """
    for name, first in _ARRAYS:
        if text := os.environ.get(name):
            try:
                return int(text) - int(os.environ.get(first) or 0)
            except ValueError:
                raise UsageError(f"--shard-count: {name} is {text}, need a whole number; name --shard-index") from None
    names = " nor ".join(name for name, _ in _ARRAYS)
    raise UsageError(f"--shard-count: which share? Name it with --shard-index 0; neither {names} is set")


@dataclass(frozen=True, slots=True)
class Sharding:
    """The options of long jobs, checked to go together."""

    work: Place | None = option(
        None,
        help="Keep finished parts of the mask in this folder, or below s3://BUCKET/PREFIX or gs://, to go on from and "
        "to share.",
        panel="Long jobs",
        unit="folder",
        parse=parse_work,
    )
    """Where the run is kept; None = all at once."""
    size: int | Literal["auto"] = option(
        4096,
        "--shard-size",
        help="Side of the parts that --work keeps; auto: as many parts as all who compute need.",
        panel="Long jobs",
        unit="px",
        parse=parse_size,
    )
    """Side of a shard in pixels of the scene, a multiple of `BLOCK`; `auto` = the run's, or found for each scene."""
    resume: bool = option(
        False, help="Go on where the run in --work stopped; skip scenes that are done.", panel="Long jobs"
    )
    """Join a run that is there."""
    index: int | None = option(
        None,
        "--shard-index",
        help="Compute one share of the parts only, counted from 0; with --shard-count alone that of the array's task.",
        panel="Long jobs",
        unit="number",
    )
    """The share to compute, below `count`; None = all of them."""
    count: int | None = option(
        None, "--shard-count", help="Into how many shares the parts are dealt.", panel="Long jobs", unit="number"
    )
    """Shares in all; None = one."""
    engine: Engine = option("local", help="Where parts are computed.", panel="Long jobs")
    """What hands shards out."""
    scheduler: str | None = option(
        None,
        help="Address of a Dask scheduler.",
        panel="Long jobs",
        unit="address",
        shown="a cluster on this machine",
    )
    """Address of a Dask scheduler; None = a cluster on this machine."""
    wait_workers: float = option(
        600.0,
        help="Wait this long for a Dask scheduler that is lost, and for workers.",
        panel="Long jobs",
        unit="s",
        at_least=0,
    )
    """Seconds after which a run ends that nobody computes for."""
    devices: tuple[str, ...] = option(
        (),
        help="One process a device, e.g. cuda:0,cuda:1.",
        panel="Long jobs",
        unit="names",
        parse=parse_devices,
        alternative="device",
    )
    """A process for each; empty = this one."""

    def __post_init__(self) -> None:
        validate(self)
        if self.index is None and self.count is not None:
            object.__setattr__(self, "index", array_index())
        if self.index is not None and self.count is None:
            raise UsageError("--shard-index and --shard-count go together, e.g. --shard-index 0 --shard-count 8")
        if self.size != "auto" and (self.size < BLOCK or self.size % BLOCK):
            raise UsageError(f"--shard-size {self.size}: need auto or a multiple of {BLOCK} px, the mask's blocks")
        if self.index is not None and self.count is not None and not 0 <= self.index < self.count:
            raise UsageError(f"--shard-index {self.index}: must be 0 to {self.count - 1}, below --shard-count")
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
    def tasks(self) -> int:
        """How many compute at once, as far as is known before: a cluster that is there may have any number."""
        return CLUSTER if self.scheduler else self.count or max(1, len(self.devices))

    @property
    def own_device(self) -> dict[str, str]:
        """The device of this process by keyword, where --devices names it."""
        return {"device": self.devices[0]} if self.devices else {}

    @property
    def share(self) -> Share | None:
        """The share to compute of the list; None = all of it."""
        from segearth_cli.jobs import Share

        return Share(self.index, self.count or 1) if self.index is not None else None

    def try_place(self) -> None:
        """Raises RunError before anything else is done where the bucket of --work cannot be used."""
        from segearth_cli.jobs import open_store

        if self.work is not None and not isinstance(self.work, Path):
            open_store(self.work).prepare()

    def pool(self, run: RunOptions) -> AbstractContextManager[Pool]:
        """Who computes shards, with the engine asked for."""
        from segearth_cli import jobs

        if self.engine == "dask":
            return jobs.cluster(self.scheduler, max(1, len(self.devices)), run, self.wait_workers)
        return jobs.devices(self.devices, run) if len(self.devices) > 1 else nullcontext(jobs.Alone())


def sharding_options(given: Mapping[str, Any]) -> Sharding:
    """The options of long jobs. Raises UsageError where they do not go together, or not with those of the model."""
    sharding = build(Sharding, given)
    if sharding.devices and given.get("device", "auto") != "auto":
        raise UsageError("--device and --devices: choose one of them")
    if sharding.scheduler is not None and given.get("precision", "auto") == "auto":
        raise UsageError("--scheduler: name the workers' --precision too, fp32, fp16 or bf16; auto is for one machine")
    return sharding


def scene_entries(scenes: Sequence[str], manifest: Path | None) -> list[SceneEntry]:
    """The scenes of the command line or of the manifest. Raises UsageError when there are none, or both are given."""
    if manifest is None:
        return [SceneEntry(name) for name in without_own(inputs(scenes, rasters_in))]
    if scenes:
        raise UsageError("name scenes either on the command line or with --manifest")
    return [replace(entry, scene=plain(entry.scene)) for entry in read_manifest(manifest)]


def shard_folders(names: Sequence[str], work: Place, *, single: bool) -> dict[str, Place]:
    """The folder of each scene's run: `work` itself for one scene, one folder a stem in it for several.

    Raises UsageError when two scenes would share one.
    """
    from segearth_cli.raster import stem

    if single and len(names) == 1:
        return {names[0]: work}
    folders: dict[str, Place] = {}
    taken: set[str] = set()
    for name in names:
        if stem(name) in taken:
            raise UsageError(f"{name}: another scene has its stem too, so both would work in {work / stem(name)}")
        taken.add(stem(name))
        folders[name] = work / stem(name)
    return folders


@dataclass(frozen=True, slots=True)
class Sharded:
    """Scenes computed in shards, each in its folder, by whoever the options name."""

    sharding: Sharding
    """How scenes are cut and dealt."""
    folders: Mapping[str, Place]
    """Where the run of each scene is kept."""
    settings: Sequence[Settings]
    """What decides the pixels of each scene; of one model and one list of classes."""
    predictor: Predictor
    """What makes a mask in this process."""
    as_json: bool
    """Whether a JSON object is printed instead of a path."""

    def run(self, names: Sequence[str], outputs: Sequence[Outputs], summary: Path | None, *, reported: bool) -> None:
        """Computes the list. reported: in the end tell what became of each, and try what failed once more before."""
        from segearth_cli.jobs import Entry, WorkList

        entries = [
            Entry(job_of(name, output, settings, self.sharding, self.folders), output, numbered(number, names), name)
            for number, (name, output, settings) in enumerate(zip(names, outputs, self.settings, strict=True))
        ]
        tried: dict[int, Tried[Any]] = {}
        with table(summary, outputs) as add, self.sharding.pool(self.predictor.run) as pool:

            def settled(number: int, result: Any) -> None:
                error = result if isinstance(result, SegEarthError) else None
                tried[number] = Tried(names[number], None if error else result, error)
                if error is None:
                    self._show(names[number], result)
                elif not reported:
                    if len(names) == 1 or not isinstance(error, OF_ONE):
                        raise error
                    console.note(str(error))
                add(number, tried[number])

            sharding = self.sharding
            WorkList(entries, self.predictor, settled, pool, sharding.share, join=sharding.resume, again=reported).run()
        ordered = [tried[number] for number in range(len(names))]
        if reported:
            report(ordered, outputs, summary, quiet=self.predictor.run.quiet)
        else:
            raise_failed(ordered, "scenes")

    def _show(self, name: str, result: Any) -> None:
        from segearth_cli.prediction import as_json

        if not isinstance(result, list):
            show(result.mask, as_json(result), as_json=self.as_json)
            self.predictor.run.notice(scene_line(result, result.seconds))
        elif result or len(self.folders) == 1:
            folder = self.folders[name].absolute()
            facts = {"scene": name, "work": str(folder), "shards": [shard.name for shard in result]}
            show(str(folder), facts, as_json=self.as_json)


def job_of(
    scene: str, outputs: Outputs, settings: Settings, sharding: Sharding, folders: Mapping[str, Place]
) -> Job:  # fmt: skip
    """What is computed of a scene, in which of the runs' folders."""
    from segearth_cli.jobs import Job, shards_needed
    from segearth_cli.raster import exists

    place = Path(scene).absolute() if exists(scene) else scene
    return Job(
        str(place), folders[scene].absolute(), tuple(outputs.by_kind()), sharding.size, settings.model,
        settings.options, settings.classes, shards_needed(sharding.tasks, len(folders)),
    )  # fmt: skip
