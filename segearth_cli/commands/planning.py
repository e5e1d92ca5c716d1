"""`segearth predict --dry-run`: what a scene would take, told before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from segearth_cli.commands.inspect import as_json as reading_as_json
from segearth_cli.commands.results import show
from segearth_cli.commands.sharding import Sharding

if TYPE_CHECKING:
    from segearth_cli.prediction import Settings
    from segearth_cli.raster import Outputs


@dataclass
class DryRun:
    """Tells what a scene would take."""

    settings: Settings
    """How it would be segmented."""
    as_json: bool
    """Whether a JSON object is printed in place of lines."""
    batch: int | None
    """Windows at once; None = chosen by the device."""
    sharding: Sharding
    """How it would be cut and dealt."""
    scenes: int
    """How many scenes the run has."""
    notice: Callable[[str], None]
    """Called with each line that the user should see."""

    def __call__(self, scene: str, outputs: Outputs) -> None:
        from segearth_cli.jobs import shard_side, shards_needed
        from segearth_cli.prediction import estimate, make_plan, remarks
        from segearth_cli.raster import inspect_scene, open_scene
        from segearth_cli.weights import image_facts

        options, classes = self.settings.options, self.settings.classes
        opened = open_scene(scene, options.read)
        model = image_facts(self.settings.model.model)
        plan = make_plan(opened, options, model.native, model.patch)
        for line in remarks(opened, plan, options):
            self.notice(line)
        opened.close()
        reading = inspect_scene(scene, options.read)
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
                batch=self.batch or os.cpu_count() or 1,
                pixel_bytes=pixel_bytes,
            )
        )
        if self.sharding.work is not None:
            size = self.sharding.size
            side = shard_side(plan, shards_needed(self.sharding.tasks, self.scenes)) if size == "auto" else size
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
