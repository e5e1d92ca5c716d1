"""What a run will take: windows, memory and disk, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from segearth_cli.prediction.plan import KEPT_BYTES, Plan
from segearth_cli.raster import BLOCK


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take."""

    windows: int
    """Windows that run, but for those without data."""
    rows: int
    """Rows of the working grid."""
    cols: int
    """Columns of the working grid."""
    memory: int
    """Bytes beside the model, at most."""
    disk: int
    """Bytes of all outputs, overviews included, uncompressed."""


def estimate(plan: Plan, *, queries: int, batch: int, pixel_bytes: int) -> Estimate:
    """Memory and disk of a plan. pixel_bytes: written for each pixel, all outputs together.

    Memory bounds the arrays held: strips of logits, pixels read ahead, rows to write, a batch in the model, what the
    upsampler keeps for neighbouring windows, at most a kilobyte a pixel.
    """
    strips = (2 * queries + 2) * 4 * plan.window * plan.cols
    pixels = (plan.window + 4 * BLOCK) * plan.cols * 4
    rows = BLOCK * plan.width * pixel_bytes * 2 + (64 << 20)
    if plan.tile is not None:  # a row of tiles is held until it is whole
        rows += plan.tile[0] * plan.width * pixel_bytes
    kept = min(KEPT_BYTES, 1000 * plan.window * plan.cols) if plan.window_count() > 1 else 0
    model = min(batch, plan.window_count()) * plan.window**2 * (queries + 300) * 4 + kept
    pixels_written = plan.height * plan.width if plan.area is None else plan.area.pixels
    with_overviews = pixels_written * pixel_bytes * 4 // 3
    return Estimate(plan.window_count(), plan.rows, plan.cols, strips + pixels + rows + model, with_overviews)
