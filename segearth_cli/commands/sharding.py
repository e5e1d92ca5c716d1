"""`segearth predict --work`: the options of long jobs, and scenes computed in shards."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segearth_cli import console
from segearth_cli.commands.arguments import inputs, plain, rasters_in, without_own
from segearth_cli.commands.many import Tried, each_twice, raise_failed
from segearth_cli.commands.results import show
from segearth_cli.errors import UsageError
from segearth_cli.jobs import Outcome, SceneEntry, growing_summary, read_manifest, summary_lines, write_summary
from segearth_cli.options import build, option, validate
from segearth_cli.raster import BLOCK

Engine = Literal["local", "dask"]

if TYPE_CHECKING:
    from segearth_cli.jobs import Job, Session, Shard, Share
    from segearth_cli.prediction import Predictor, SceneSummary
    from segearth_cli.raster import Outputs
    from segearth_cli.weights import ModelOptions


def parse_devices(text: str) -> tuple[str, ...]:
    """Devices from `cuda:0,cuda:1`. Raises UsageError when one is empty."""
    named = tuple(part.strip() for part in text.split(","))
    if not all(named):
        raise UsageError(f"--devices {text}: need devices separated by commas, e.g. cuda:0,cuda:1")
    return named


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
    size: int = option(4096, "--shard-size", help="Side of the parts that --work keeps.", panel="Long jobs", unit="px")
    """Side of a shard in pixels of the scene, a multiple of `BLOCK`."""
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
    devices: tuple[str, ...] = option(
        (), help="One process a device, e.g. cuda:0,cuda:1.", panel="Long jobs", unit="names", parse=parse_devices
    )
    """A process for each; empty = this one."""

    def __post_init__(self) -> None:
        validate(self)
        if self.index is None and self.count is not None:
            object.__setattr__(self, "index", array_index())
        if self.index is not None and self.count is None:
            raise UsageError("--shard-index and --shard-count go together, e.g. --shard-index 0 --shard-count 8")
        if self.size < BLOCK or self.size % BLOCK:
            raise UsageError(f"--shard-size {self.size}: need a multiple of {BLOCK} px, the mask's blocks")
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
    def own_device(self) -> dict[str, str]:
        """The device of this process by keyword, where --devices names it."""
        return {"device": self.devices[0]} if self.devices else {}

    def share(self, scene: int) -> Share:
        """The share to compute of the scene of this number."""
        from segearth_cli.jobs import Share

        return Share(self.index or 0, self.count or 1, scene)

    def compute(self, work: Session, share: Share) -> list[Shard]:
        """Computes a share of shards, which it returns, with the engine asked for."""
        from segearth_cli import jobs

        if self.engine == "dask":
            return jobs.compute_with_dask(work, share, self.scheduler, max(1, len(self.devices)))
        if len(self.devices) > 1:
            return jobs.compute_on(work, share, self.devices)
        return jobs.compute_share(work, share)


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
    names: Sequence[str], outputs: Sequence[Outputs], act: Any, summary: Path | None, *, quiet: bool
) -> None:
    """Acts on every scene, on those that fail once more in the end, and reports what became of each as it is known."""
    jobs = list(zip(range(len(names)), names, outputs, strict=True))
    table = nullcontext(None) if summary is None else growing_summary(summary)
    with table as add:

        def settled(number: int, one: Tried[Any]) -> None:
            if add is not None and (outcome := _outcome(one, outputs[number])) is not None:
                add(outcome)

        def named(job: tuple[int, str, Outputs], last: bool) -> Any:
            number, scene, output = job
            return act(scene, output, last=last, told=place(number, names))

        tried = each_twice(names, jobs, named, settled, quiet=quiet)
    found = [_outcome(one, output) for one, output in zip(tried, outputs, strict=True)]
    outcomes = [outcome for outcome in found if outcome is not None]
    if summary is not None:
        write_summary(summary, outcomes)  # in the order of the list
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


@dataclass
class Sharded:
    """Runs one scene after another in shards, each in its folder."""

    sharding: Sharding
    """How scenes are cut and dealt."""
    folders: dict[str, Path]
    """The run's folder of each scene."""
    model: ModelOptions
    """Which model, for processes that load it themselves."""
    predictor: Predictor
    """What makes a mask in this process."""
    as_json: bool
    """Whether a JSON object is printed instead of a path."""

    def __post_init__(self) -> None:
        self._numbers = {scene: number for number, scene in enumerate(self.folders)}

    def __call__(
        self,
        scene: str,
        outputs: Outputs,
        *,
        last: bool = True,  # noqa: ARG002 - processes at one list share the shards of a scene, not scenes
        told: str = "",
    ) -> SceneSummary | list[Shard]:
        """Computes a share of a scene's shards, which it returns, or, where that is all of them, its files."""
        from segearth_cli.jobs import compute_part, predict_in_shards
        from segearth_cli.prediction import as_json

        sharding, job = self.sharding, self._job(scene, outputs)
        if sharding.partial:
            share = sharding.share(self._numbers[scene])
            shards = compute_part(job, self.predictor, share, sharding.compute, told)
            if shards or len(self.folders) == 1:
                facts = {"scene": scene, "work": str(job.folder), "shards": [shard.name for shard in shards]}
                show(job.folder, facts, as_json=self.as_json)
            return shards
        summary = predict_in_shards(
            job, self.predictor, outputs, join=sharding.resume, engine=sharding.compute, told=told
        )
        show(summary.mask, as_json(summary), as_json=self.as_json)
        return summary

    def _job(self, scene: str, outputs: Outputs) -> Job:
        from segearth_cli.jobs import Job
        from segearth_cli.raster import exists

        place = Path(scene).absolute() if exists(scene) else scene
        return Job(
            str(place), self.folders[scene].absolute(), tuple(outputs.by_kind()), self.sharding.size, self.model,
            self.predictor.options, self.predictor.classes,
        )  # fmt: skip
