"""`segearth predict --work`: the options of long jobs, and scenes computed in shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segearth_cli import console
from segearth_cli.commands.arguments import inputs, plain, rasters_in, without_own
from segearth_cli.commands.many import OF_ONE, Tried, each_twice, raise_failed
from segearth_cli.commands.results import note_written, scene_line, show
from segearth_cli.errors import SegEarthError, UsageError
from segearth_cli.jobs import Outcome, SceneEntry, growing_summary, read_manifest, summary_lines, write_summary
from segearth_cli.options import build, option, validate
from segearth_cli.raster import BLOCK

Engine = Literal["local", "dask"]
CLUSTER = 16  # workers that a Dask cluster is taken to have

if TYPE_CHECKING:
    from segearth_cli.jobs import Job, Pool, Shard, Share
    from segearth_cli.prediction import Predictor, RunOptions, SceneSummary, Settings
    from segearth_cli.raster import Outputs


def parse_devices(text: str) -> tuple[str, ...]:
    """Devices from `cuda:0,cuda:1`. Raises UsageError when one is empty."""
    named = tuple(part.strip() for part in text.split(","))
    if not all(named):
        raise UsageError(f"--devices {text}: need devices separated by commas, e.g. cuda:0,cuda:1")
    return named


def parse_size(text: str) -> int | Literal["auto"]:
    """Pixels from the text of a flag, or `auto`. Raises UsageError for anything else."""
    if text == "auto":
        return "auto"
    if not text.isdigit():
        raise UsageError(f"--shard-size {text}: need auto or a multiple of {BLOCK} px")
    return int(text)


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

    work: Path | None = option(
        None,
        help="Keep finished parts of the mask in this folder, to go on from and to share.",
        panel="Long jobs",
        unit="folder",
    )
    """The folder of the run; None = all at once."""
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


def shard_folders(names: Sequence[str], work: Path, *, single: bool) -> dict[str, Path]:
    """The folder of each scene's run: `work` itself for one scene, one folder a stem in it for several.

    Raises UsageError when two scenes would share one.
    """
    from segearth_cli.raster import stem

    if single and len(names) == 1:
        return {names[0]: work}
    folders: dict[str, Path] = {}
    taken: set[str] = set()
    for name in names:
        if stem(name) in taken:
            raise UsageError(f"{name}: another scene has its stem too, so both would work in {work / stem(name)}")
        taken.add(stem(name))
        folders[name] = work / stem(name)
    return folders


def each_reported(
    names: Sequence[str], outputs: Sequence[Outputs], acts: Sequence[Any], summary: Path | None, *, quiet: bool
) -> None:
    """Acts on every scene, each in its own way, on those that fail once more in the end, and reports what became of
    each as it is known.
    """
    jobs = list(zip(range(len(names)), names, outputs, strict=True))
    with _table(summary, outputs) as settled:

        def named(job: tuple[int, str, Outputs], last: bool) -> Any:
            number, scene, output = job
            return acts[number](scene, output, last=last, told=place(number, names))

        tried = each_twice(names, jobs, named, settled, quiet=quiet)
    report(tried, outputs, summary, quiet=quiet)


@contextmanager
def _table(summary: Path | None, outputs: Sequence[Outputs]) -> Iterator[Callable[[int, Tried[Any]], None]]:
    """Adds what became of scenes to the summary, where one is written, as soon as it is known."""
    with nullcontext(None) if summary is None else growing_summary(summary) as add:

        def settled(number: int, one: Tried[Any]) -> None:
            if add is not None and (outcome := _outcome(one, outputs[number])) is not None:
                add(outcome)

        yield settled


def report(tried: Sequence[Tried[Any]], outputs: Sequence[Outputs], summary: Path | None, *, quiet: bool) -> None:
    """Tells what became of all scenes, in the order of the list. Raises when some failed."""
    found = [_outcome(one, output) for one, output in zip(tried, outputs, strict=True)]
    outcomes = [outcome for outcome in found if outcome is not None]
    if summary is not None:
        write_summary(summary, outcomes)
        note_written([summary], quiet=quiet)
    if not quiet or any(one.error for one in tried):
        for line in summary_lines(outcomes):
            console.note(line)
    raise_failed(tried, "scenes")


def place(number: int, names: Sequence[str]) -> str:
    """Which scene of several is begun, for people; nothing where it is the only one.

    >>> place(311, ["s.tif"] * 10_000)
    'scene 312 of 10,000: s.tif'
    """
    return f"scene {number + 1:,} of {len(names):,}: {names[number]}" if len(names) > 1 else ""


def _outcome(one: Tried[SceneSummary | list[Shard]], output: Outputs) -> Outcome | None:
    """What became of a scene; None for one without a shard in the share that was computed."""
    scene, found = console.without_secrets(one.name), one.result
    if one.error is not None:
        return Outcome(scene, str(output.mask), "failed", error=console.without_secrets(str(one.error)))
    if found is None or isinstance(found, list):
        return Outcome(scene, "", "part") if found else None
    state: Literal["skipped", "done"] = "skipped" if found.skipped else "done"
    return Outcome(scene, found.mask, state, found.computed_windows, found.seconds)


@dataclass(frozen=True, slots=True)
class Sharded:
    """Scenes computed in shards, each in its folder, by whoever the options name."""

    sharding: Sharding
    """How scenes are cut and dealt."""
    folders: Mapping[str, Path]
    """The run's folder of each scene."""
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
            Entry(job_of(name, output, settings, self.sharding, self.folders), output, place(number, names))
            for number, (name, output, settings) in enumerate(zip(names, outputs, self.settings, strict=True))
        ]
        tried: dict[int, Tried[Any]] = {}
        with _table(summary, outputs) as add, self.sharding.pool(self.predictor.run) as pool:

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
            show(folder, facts, as_json=self.as_json)


def job_of(
    scene: str, outputs: Outputs, settings: Settings, sharding: Sharding, folders: Mapping[str, Path]
) -> Job:  # fmt: skip
    """What is computed of a scene, in which of the runs' folders."""
    from segearth_cli.jobs import Job, shards_needed
    from segearth_cli.raster import exists

    place = Path(scene).absolute() if exists(scene) else scene
    return Job(
        str(place), folders[scene].absolute(), tuple(outputs.by_kind()), sharding.size, settings.model,
        settings.options, settings.classes, shards_needed(sharding.tasks, len(folders)),
    )  # fmt: skip
