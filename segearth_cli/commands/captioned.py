"""Pictures with a caption each: tiles of the scene that comes along, or those of a user's list."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from segearth_cli import texts
from segearth_cli.errors import UsageError
from segearth_cli.raster import Scene, Window, open_scene

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 56  # pixels of a tile of the scene: 17 km
# Rows and columns of the middles of tiles, captioned by eye.
TILES: Mapping[str, tuple[tuple[int, int], ...]] = {
    "a satellite image of the deep blue sea": ((420, 140), (475, 140), (475, 196), (590, 196), (310, 500)),
    "a satellite image of large white clouds": ((85, 460), (125, 440), (215, 335), (150, 245), (165, 400)),
    "a satellite image of forest under small clouds": (
        (300, 300),
        (335, 350),
        (580, 400),
        (275, 345),
        (630, 395),
    ),
    "a satellite image of a coast between forest and sea": ((320, 405), (600, 475), (470, 440), (340, 185), (280, 370)),
    "a satellite image of shallow water over sand": (
        (448, 300),
        (100, 255),
        (530, 640),
        (140, 735),
        (450, 350),
    ),
    "a satellite image of the sea with many small clouds": ((640, 240), (530, 135), (395, 640), (360, 480), (440, 90)),
}


def our_pictures(scene: Path, side: int) -> tuple[Tensor, list[str]]:
    """Tiles of the scene that comes along, (N, 3, side, side) in uint8, and their captions."""
    opened = open_scene(str(scene))
    told = [(caption, middle) for caption, middles in TILES.items() for middle in middles]
    pictures = [_square(opened, row - SIDE // 2, col - SIDE // 2, SIDE, side) for _, (row, col) in told]
    return _stacked(pictures), [caption for caption, _ in told]


def listed_pictures(path: Path, side: int) -> tuple[Tensor, list[str]]:
    """The pictures of a list, their middle square, (N, 3, side, side) in uint8, and their captions.

    path: a CSV with the columns `image`, relative to its folder, and `caption`. Raises UsageError for another file.
    """
    try:
        rows = list(csv.DictReader(texts.read_text(path).splitlines(), skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UsageError(f"--pairs {path}: cannot be read ({texts.reason(e)})") from None
    if not rows or any(not row.get("image") or not row.get("caption") for row in rows):
        raise UsageError(f"--pairs {path}: need a CSV with the columns image and caption, both filled in every row")
    if len({row["caption"] for row in rows}) < 2:
        raise UsageError(f"--pairs {path}: all captions are the same; need two different ones at least")
    scenes = [open_scene(str(path.parent / row["image"])) for row in rows]
    sides = [min(scene.height, scene.width) for scene in scenes]
    squares = [
        _square(scene, (scene.height - own) // 2, (scene.width - own) // 2, own, side)
        for scene, own in zip(scenes, sides, strict=True)
    ]
    return _stacked(squares), [row["caption"] for row in rows]


def _square(scene: Scene, row: int, col: int, own: int, side: int) -> Tensor:
    """A square of a scene, `own` pixels a side, as (3, side, side); black where there are no data."""
    import torch

    factor = side / own
    size = max(side, round(scene.height * factor)), max(side, round(scene.width * factor))
    top, left = min(round(row * factor), size[0] - side), min(round(col * factor), size[1] - side)
    chip = scene.read(Window(top, left, side, side), size)
    return torch.from_numpy(chip.image * chip.valid)


def _stacked(pictures: list[Tensor]) -> Tensor:
    import torch

    return torch.stack(pictures)
