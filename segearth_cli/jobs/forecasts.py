"""What the shards of a scene will take, told before they are computed: counted, and by those that are done already."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from segearth_cli.errors import RunError
from segearth_cli.jobs.compute import Share
from segearth_cli.jobs.place import Place
from segearth_cli.jobs.run_folder import COMPLETE, Ledger, Shard, open_ledger, shards_of
from segearth_cli.jobs.shard_size import Size, shard_side
from segearth_cli.prediction import Plan
from segearth_cli.raster import BLOCK, Window

HEAD = 4500  # bytes of a file beside its pixels: tags, colours
SMALLER = {"mask": 0.43, "confidence": 0.33, "scores": 0.33}  # packed bytes of an overview for one of the level below


@dataclass(frozen=True, slots=True)
class ByDone:
    """What is to be expected if the rest is like the shards that are done."""

    shard_disk_expected: int
    """Bytes of the files of all shards."""
    disk_expected: int
    """Bytes of the joined rasters, overviews included."""
    seconds_expected: float
    """Seconds that one process takes for what is left."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the shards of a scene, or a share of them, will take."""

    shard_size: int
    """Side of a shard, in pixels."""
    shards: int
    """Shards with wanted pixels."""
    shards_done: int
    """Those of them that are complete."""
    shard_windows: int
    """Windows of all others, those at seams once for each shard that they touch."""
    seams: float
    """Windows of all shards of the scene beyond those of the scene, as a share of these."""
    shard_disk: int
    """Bytes of the shards' files, uncompressed."""
    by_done: ByDone | None
    """None while no shard with data is done."""

    @property
    def part(self) -> Window:
        """What a process computes at once."""
        return Window(0, 0, self.shard_size, self.shard_size)


def forecast(plan: Plan, place: Place, size: Size, needed: int, share: Share | None, pixel_bytes: int) -> Forecast:
    """What is to be computed of a scene in a run's store, which may hold nothing yet.

    needed: how many shards a side that is found should give. pixel_bytes: written for each pixel, all kinds together.
    """
    ledger = _ledger(plan, place, size)
    side = ledger.run.shard_size if ledger else shard_side(plan, needed) if size == "auto" else size
    of_seams = plan.windows_in_blocks(side)
    seams = of_seams / max(1, plan.window_count()) - 1
    if ledger is None and share is None:
        pixels = plan.height * plan.width if plan.area is None else plan.block_count(side) * side**2
        return Forecast(side, plan.block_count(side), 0, of_seams, seams, pixels * pixel_bytes, None)
    everything = shards_of(plan.whole, side)
    shards = [shard for shard in (share.of(everything) if share else everything) if plan.wanted(shard.window)]
    found = dict(zip(shards, ledger.asked(ledger.told, shards), strict=True)) if ledger else {}
    left = [shard for shard in shards if shard not in found or found[shard].state not in COMPLETE]
    done = [shard for shard in shards if shard in found and found[shard].state == "done"]
    windows = sum(plan.window_count(shard.window) for shard in left)
    by_done = None
    if ledger is not None and done:
        complete = _pixels([shard for shard in shards if found[shard].state in COMPLETE])
        records = [record for shard in done if (record := found[shard].record)]
        computed = sum(record.computed_windows for record in records)
        seconds = windows * sum(record.seconds for record in records) / max(1, computed)
        named = {kind: [ledger.files(shard)[kind] for shard in done] for kind in ledger.kinds}
        stored = {kind: sum(ledger.asked(ledger.store.nbytes, names)) for kind, names in named.items()}
        by_done = ByDone(
            sum(stored.values()) * _pixels(shards) // complete,
            _joined(plan, {kind: (n - HEAD * len(done)) / complete for kind, n in stored.items()}),
            round(seconds, 1),
        )
    return Forecast(side, len(shards), len(shards) - len(left), windows, seams, _pixels(shards) * pixel_bytes, by_done)


def _ledger(plan: Plan, place: Place, size: Size) -> Ledger | None:
    """The run that a store holds, where it can be that of a plan."""
    with suppress(RunError):
        ledger = open_ledger(place)
        frame = ledger.run.frame
        same = (frame["height"], frame["width"]) == (plan.height, plan.width)
        return ledger if same and size in ("auto", ledger.run.shard_size) else None
    return None


def _pixels(shards: Sequence[Shard]) -> int:
    return sum(shard.window.height * shard.window.width for shard in shards)


def _joined(plan: Plan, a_pixel: Mapping[str, float]) -> int:
    """Bytes of the joined files with overviews. a_pixel: packed bytes of a pixel, by what a file holds."""
    levels = range(max(0, math.ceil(math.log2(max(plan.height, plan.width) / BLOCK))) + 1)
    packed = sum(max(0.0, n) * sum(SMALLER[kind] ** level for level in levels) for kind, n in a_pixel.items())
    return int(packed * plan.height * plan.width) + HEAD * len(a_pixel)
