"""`segearth predict --dry-run`: what a scene would take, told before anything runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from segearth_cli.commands.results import show
from segearth_cli.commands.sharding import Sharding, job_of
from segearth_cli.options import whole
from segearth_cli.quantities import data_size, duration, percent

if TYPE_CHECKING:
    from segearth_cli.classes import ClassSet
    from segearth_cli.jobs import Forecast, Place
    from segearth_cli.prediction import Plan, Predictor, RunOptions, Settings
    from segearth_cli.raster import Outputs
    from segearth_cli.weights import ModelOptions


@dataclass
class DryRun:
    """Tells what a scene would take."""

    settings: Settings
    """How it would be segmented."""
    as_json: bool
    """Whether a JSON object is printed in place of lines."""
    run: RunOptions
    """How it would be computed."""
    sharding: Sharding
    """How it would be cut and dealt."""
    folders: Mapping[str, Place]
    """The run's folder of each scene, where it is cut."""
    number: int
    """Of the scene in the list."""

    def __call__(self, scene: str, outputs: Outputs) -> None:
        """Prints it. Raises what the run would raise of the scene, its calibration, and what is there of it already."""
        import numpy as np

        from segearth_cli.prediction import Held, estimate, make_plan, remarks
        from segearth_cli.raster import inspect_scene, open_scene, refuse_own
        from segearth_cli.weights import image_facts

        options, classes = self.settings.options, self.settings.classes
        opened = open_scene(scene, options.read)
        refuse_own(opened)
        model = image_facts(self.settings.model.model)
        plan = make_plan(opened, options, model.native)
        told = [*opened.notices, *remarks(opened, plan, options)]
        opened.close()
        told += (line for line in self._compared(scene, outputs) if line not in told)
        reading = inspect_scene(scene, options.read)
        for line in told[len(opened.notices) :]:
            self.run.notice(line)
        source = np.dtype(opened.dtype).itemsize * len(opened.bands)
        facts: dict[str, Any] = {
            "scene": scene,
            "mask": str(outputs.mask),
            "window": plan.window,
            "stride": plan.stride,
        }
        written = _pixel_bytes(outputs, classes)
        shards = self._forecast(scene, plan, written)
        held = Held(model.tower_bytes, model.text_bytes, self.settings.model.upsampler != "none", self._threads())
        facts |= asdict(estimate(
            plan, shards.part if shards else plan.whole, held, queries=len(classes.query_class), pixel_bytes=written,
            source_bytes=source,
        ))  # fmt: skip
        facts |= _flat(shards) if shards else {}
        facts |= {} if plan.tile is None else {"tile": [*plan.tile[::-1]], "tiles": len(plan.tiles())}
        line = (
            f"{scene}: {opened.width} x {opened.height} px, working size {plan.cols} x {plan.rows} px, "
            f"{_windows(facts)}{_memory(facts)}, disk up to {data_size(facts['disk'])}"
        )
        if shards:
            line += f" and {data_size(shards.shard_disk)} of shards"
        lines = [line, *(told for told in (_by_done(shards), self._card()) if told)]
        facts["reading"] = asdict(reading)
        show("\n".join([*lines, *list(reading.lines())[1:]]), facts, as_json=self.as_json)

    def _forecast(self, scene: str, plan: Plan, pixel_bytes: int) -> Forecast | None:
        """What its shards will take; None without a folder for them. pixel_bytes: written for each pixel."""
        if self.sharding.work is None:
            return None
        from segearth_cli.jobs import forecast, shards_needed

        share = self.sharding.share
        return forecast(
            plan, self.folders[scene], self.sharding.size, shards_needed(self.sharding.tasks, len(self.folders)),
            share and replace(share, scene=self.number), pixel_bytes,
        )  # fmt: skip

    def _threads(self) -> int:
        """Windows that a process on a CPU has in work at once, as torch counts threads."""
        from segearth_cli.prediction import usable_cores

        threads = whole(os.environ.get("OMP_NUM_THREADS", "")) or usable_cores()
        devices = self.sharding.devices
        threads = max(1, threads // max((devices.count(device) for device in devices), default=1))
        return min(self.run.batch or threads, threads)

    def _card(self) -> str | None:
        """A line on the memory of a card that is named, which nothing here tells."""
        cards = [one for one in self.sharding.devices or (self.settings.model.device,) if one not in ("auto", "cpu")]
        if not cards:
            return None
        named = ", ".join(dict.fromkeys(cards))
        return (
            f"  memory of {named} is not counted, only that of a process on a CPU; a batch that does not fit is halved"
        )

    def _compared(self, scene: str, outputs: Outputs) -> list[str]:
        """What a run says of a scene that has a calibration, or files or a folder of a run already; else nothing.

        Only then the weights are hashed, and torch is imported. Raises what the run would raise.
        """
        from segearth_cli.jobs import holds_run

        options, work = self.settings.options, self.folders.get(scene)
        there = self.run.skip and not self.sharding.partial and any(path.exists() for path in outputs.paths())
        held = work is not None and holds_run(work)
        if not (options.calibration or there or held):
            return []
        from segearth_cli.jobs import refuse_folder
        from segearth_cli.prediction import is_done, prepared

        told: list[str] = []
        run = replace(self.run, quiet=True, notice=told.append)
        predictor = replace(_predictor(self.settings.model, self.settings.classes), options=options, run=run)
        with prepared(scene, predictor) as ready:
            if held:
                job = job_of(scene, outputs, self.settings, self.sharding, self.folders)
                refuse_folder(job, ready, join=self.sharding.resume or self.sharding.partial)
            if there and is_done(ready, outputs):
                told.append(f"{scene}: {outputs.mask} is there from the same run, which leaves it alone")
        return told


@lru_cache(maxsize=1)
def _predictor(model: ModelOptions, classes: ClassSet) -> Predictor:
    from segearth_cli.prediction import PredictOptions, RunOptions, predictor_for

    return predictor_for(model, classes, PredictOptions(), RunOptions())


def _pixel_bytes(outputs: Outputs, classes: ClassSet) -> int:
    """Bytes that are written for each pixel, all rasters together."""
    import numpy as np

    from segearth_cli.raster import layouts

    kinds = layouts(classes)
    return sum(kinds[kind][0] * np.dtype(kinds[kind][1]).itemsize for kind in outputs.by_kind())


def _flat(shards: Forecast) -> dict[str, Any]:
    """A forecast as facts, what follows from shards that are done among them."""
    facts = asdict(shards)
    return facts | (facts.pop("by_done") or {})


def _windows(facts: Mapping[str, Any]) -> str:
    """Windows, tiles and shards, for people."""
    told = f"{facts['windows']} windows of {facts['window']} px every {facts['stride']} px, "
    if "tile" in facts:
        told += f"{facts['tiles']} tiles of {facts['tile'][0]} x {facts['tile'][1]} px, "
    if "shards" not in facts:
        return told
    done = f" ({facts['shards_done']} done)" if facts["shards_done"] else ""
    told += f"{facts['shards']} shards of {facts['shard_size']} px{done}, "
    return f"{told}{facts['shard_windows']} windows in them (seams cost {percent(facts['seams'])}), "


def _memory(facts: Mapping[str, Any]) -> str:
    new = facts["memory_new_phrases"]
    return f"memory about {_gigabytes(facts['memory'])} a process ({_gigabytes(new)} where phrases are new)"


def _by_done(shards: Forecast | None) -> str | None:
    """A line on what is to be expected by the shards that are done."""
    if shards is None or shards.by_done is None:
        return None
    found = shards.by_done
    return (
        f"  by {shards.shards_done} shards that are done: {data_size(found.shard_disk_expected)} of shards, "
        f"{data_size(found.disk_expected)} joined, {duration(found.seconds_expected)} of one process to go"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
