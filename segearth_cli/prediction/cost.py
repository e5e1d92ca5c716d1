"""What a run will take: windows, memory and disk, before anything runs.

The figures of memory are those of processes on a CPU, without the files of libraries, which processes share and the
system drops where memory is short; tests hold them to what real ones take.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from segearth_cli.prediction.plan import DECIDE_PIXELS, KEPT_BYTES, Plan
from segearth_cli.raster import BLOCK, CACHE_MB, Window

LIBRARIES = 310_000_000  # bytes that Python, torch, NumPy and GDAL take of their own
OPEN_CLIP = 200_000_000  # bytes that stay of it once phrases have been embedded
KEPT_A_PIXEL = 650  # bytes that an upsampler keeps for other windows: 11 x 11 taps, and those of coarser stages
PLANES, UPSAMPLED_PLANES = 70, 230  # float32 values a pixel of a window in work: the tower's, the upsampler's
SLACK = 1.1  # bytes of the heap for one that is held


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Held:
    """What a process has in memory whatever scene it computes, in bytes."""

    tower: int
    """Weights of the image tower, in float32."""
    text: int
    """Weights of the rest, in memory only while phrases are embedded that no cache knows."""
    upsampled: bool
    """Whether there is an upsampler, which keeps tensors from window to window."""
    threads: int
    """Windows in work at once."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take."""

    windows: int
    """Windows that the scene is made of, but for those without data."""
    rows: int
    """Rows of the working grid."""
    cols: int
    """Columns of the working grid."""
    memory: int
    """Bytes of a process at its peak, phrases known."""
    memory_new_phrases: int
    """The same of one that embeds phrases first."""
    disk: int
    """Bytes of all outputs, overviews included, uncompressed."""


def estimate(plan: Plan, part: Window, held: Held, *, queries: int, pixel_bytes: int, source_bytes: int) -> Estimate:
    """What a plan takes. part: what a process computes at once, the scene or a shard. pixel_bytes: written for each
    pixel, all outputs together; source_bytes: read for each.
    """
    pixels_written = plan.height * plan.width if plan.area is None else plan.area.pixels
    running = LIBRARIES + held.tower + _scene_bytes(plan, part, held, queries, pixel_bytes, source_bytes)
    loading = LIBRARIES + 2 * held.tower
    embedding = LIBRARIES + OPEN_CLIP + 3 * held.tower + 2 * held.text
    return Estimate(
        plan.window_count(),
        plan.rows,
        plan.cols,
        max(running, loading),
        max(running + OPEN_CLIP, embedding),
        pixels_written * pixel_bytes * 4 // 3,
    )


def _scene_bytes(plan: Plan, part: Window, held: Held, queries: int, pixel_bytes: int, source_bytes: int) -> int:
    """What the arrays of a scene take: strips of logits, pixels read ahead, GDAL's blocks, rows to write, windows in
    work, what the upsampler keeps for others.
    """
    one = plan.of_tile
    work = one.working_region(part.intersection(one.whole) or one.whole)
    cols, several = min(work.width + plan.window, one.cols), plan.window_count() > 1
    strips = (2 * queries + 2) * 4 * plan.window * cols
    pixels = (plan.window + 4 * BLOCK) * cols * 4
    decided = 3 * 4 * queries * min(DECIDE_PIXELS, plan.window * part.width)
    rows = BLOCK * part.width * pixel_bytes * 2
    if plan.tile is not None:  # a row of tiles is held until it is whole
        rows += plan.tile[0] * part.width * pixel_bytes
    blocks = min(CACHE_MB << 20, plan.height * plan.width * (source_bytes + pixel_bytes))
    planes = queries + PLANES + held.upsampled * UPSAMPLED_PLANES
    windows = min(held.threads, plan.window_count()) * plan.window**2 * planes * 4
    area = cols * min(work.height + plan.window, one.rows)
    kept = min(KEPT_BYTES, KEPT_A_PIXEL * area) if held.upsampled and several else 0
    return int(strips + pixels + decided + rows + blocks + windows + SLACK * kept)
