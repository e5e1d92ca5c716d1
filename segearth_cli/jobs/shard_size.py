"""How large shards are where nobody says: small enough that all who compute have some, large enough for few seams."""

from __future__ import annotations

from typing import Literal

from segearth_cli.prediction import Plan
from segearth_cli.raster import BLOCK

Size = int | Literal["auto"]  # pixels of a side

LARGEST = 4096  # pixels; what is lost with a shard in flight grows with it
EACH = 4  # shards for each that computes: one that is done early finds more
SEAMS = 1.25  # windows of all shards for one of the whole scene, at most


def shards_needed(tasks: int, scenes: int) -> int:
    """How many shards a scene should have at least, that all of so many who compute have some of the scenes.

    >>> shards_needed(1, scenes=1), shards_needed(16, scenes=1), shards_needed(16, scenes=10)
    (1, 64, 7)
    """
    return -(-EACH * tasks // scenes) if tasks > 1 else 1


def shard_side(plan: Plan, needed: int) -> int:
    """The largest side, in pixels, that cuts a scene into as many shards as needed.

    Where that takes more than SEAMS times the windows of the scene, the smallest that does not.
    """
    if needed <= 1:
        return LARGEST
    most = SEAMS * plan.window_count()
    sides = [side for side in range(BLOCK, LARGEST + 1, BLOCK) if plan.windows_in_blocks(side) <= most] or [LARGEST]
    enough = [side for side in sides if plan.block_count(side) >= needed]
    return max(enough, default=min(sides))
