"""`segearth predict --dry-run`: what a scene would take, told before anything runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segearth_cli.commands.inspect import as_json as reading_as_json
from segearth_cli.commands.results import show
from segearth_cli.commands.sharding import Sharding, job_of

if TYPE_CHECKING:
    from segearth_cli.classes import ClassSet
    from segearth_cli.prediction import Predictor, RunOptions, Settings
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
    folders: Mapping[str, Path]
    """The run's folder of each scene, where it is cut."""

    def __call__(self, scene: str, outputs: Outputs) -> None:
        """Prints it. Raises what the run would raise of the scene, its calibration, and what is there of it already."""
        from segearth_cli.jobs import shard_side, shards_needed
        from segearth_cli.prediction import estimate, make_plan, remarks
        from segearth_cli.raster import inspect_scene, open_scene
        from segearth_cli.weights import image_facts

        options, classes = self.settings.options, self.settings.classes
        opened = open_scene(scene, options.read)
        model = image_facts(self.settings.model.model)
        plan = make_plan(opened, options, model.native, model.patch)
        told = [*opened.notices, *remarks(opened, plan, options)]
        opened.close()
        told += (line for line in self._compared(scene, outputs) if line not in told)
        reading = inspect_scene(scene, options.read)
        for line in told[len(opened.notices) :]:
            self.run.notice(line)
        pixel_bytes = 1 + (outputs.confidence is not None) + 4 * len(classes) * (outputs.scores is not None)
        facts: dict[str, Any] = {
            "scene": scene,
            "mask": str(outputs.mask),
            "window": plan.window,
            "stride": plan.stride,
        }
        facts |= asdict(
            estimate(
                plan,
                queries=len(classes.query_class),
                batch=self.run.batch or os.cpu_count() or 1,
                pixel_bytes=pixel_bytes,
            )
        )
        if self.sharding.work is not None:
            size = self.sharding.size
            side = shard_side(plan, shards_needed(self.sharding.tasks, len(self.folders))) if size == "auto" else size
            facts |= {"shard_size": side, "shards": plan.block_count(side)}
        shards = f"{facts['shards']} shards, " if "shards" in facts else ""
        if plan.tile is not None:
            facts |= {"tile": [*plan.tile[::-1]], "tiles": len(plan.tiles())}
            shards = f"{facts['tiles']} tiles of {plan.tile[1]} x {plan.tile[0]} px, {shards}"
        line = (
            f"{scene}: {opened.width} x {opened.height} px, working size {plan.cols} x {plan.rows} px, "
            f"{facts['windows']} windows of {plan.window} px every {plan.stride} px, {shards}"
            f"memory about {facts['memory'] / 1e9:.2f} GB beside the model, disk up to {facts['disk'] / 1e9:.2f} GB"
        )
        facts["reading"] = reading_as_json(reading)
        show("\n".join([line, *list(reading.lines())[1:]]), facts, as_json=self.as_json)

    def _compared(self, scene: str, outputs: Outputs) -> list[str]:
        """What a run says of a scene that has a calibration, or files or a folder of a run already; else nothing.

        Only then the weights are hashed, and torch is imported. Raises what the run would raise.
        """
        options, work = self.settings.options, self.folders.get(scene)
        there = self.run.skip and not self.sharding.partial and any(path.exists() for path in outputs.paths())
        held = work is not None and (work / "run.json").exists()
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
