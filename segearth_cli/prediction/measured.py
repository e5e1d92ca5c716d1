"""What regions and scenes took and gave: in windows, seconds, pixels and square metres."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from segearth_cli.classes import NODATA
from segearth_cli.progress import Extent
from segearth_cli.raster import Scene, ground_area


@dataclass(frozen=True, slots=True)
class Measured:
    """What a region, or several together, took and gave."""

    pixels: Mapping[int, int]
    """Pixels of each code, 255 = nodata; codes of none are left out."""
    computed_windows: int
    """Windows with data, which the model ran."""
    seconds: float
    """Time on the clock, to the millisecond."""
    waited_seconds: float
    """The part of it without new pixels for the model."""

    @property
    def empty(self) -> bool:
        """Whether no pixel is data."""
        return self.pixels.keys() <= {NODATA}


def together(parts: Iterable[Measured], seconds: float) -> Measured:
    """What several regions gave, computed in `seconds` on the clock."""
    parts = list(parts)
    codes = sorted({code for part in parts for code in part.pixels})
    return Measured(
        {code: sum(part.pixels.get(code, 0) for part in parts) for code in codes},
        sum(part.computed_windows for part in parts),
        round(seconds, 3),
        round(sum(part.waited_seconds for part in parts), 3),
    )


@dataclass(frozen=True, slots=True)
class SceneSummary:
    """What one scene took and gave; the fields are those of `--json`."""

    scene: str
    """The scene as it was named, without secrets of URLs."""
    mask: str
    """Path of the mask."""
    confidence: str | None
    """Path of the confidence, where it was asked for."""
    scores: str | None
    """Path of the scores, where they were asked for."""
    vector: str | None
    """Path of the polygons, where they were asked for."""
    preview: str | None
    """Path of the picture or page, where it was asked for."""
    height: int
    """Rows of scene and mask, in pixels."""
    width: int
    """Columns of scene and mask, in pixels."""
    windows: int
    """Windows that the wanted part of the scene is made of."""
    computed_windows: int
    """Windows with data, which the model ran; 0 if skipped."""
    area_m2: float | None
    """Square metres of the ground that has data; None where nothing tells the size of a pixel, or if skipped."""
    seconds: float
    """Time on the clock."""
    waited_seconds: float
    """The part of it without new pixels for the model."""
    pixels: dict[str, int]
    """Pixels of each class and of `nodata`; nothing if skipped."""
    run: dict[str, Any]
    """Everything that decides a pixel, as in the tag `SEGEARTH_RUN`."""
    skipped: bool = False
    """Whether the files were there already, from the same run."""


def extent_of(scene: Scene, share: float = 1.0) -> Extent:
    """How much map a scene, or a share of it, is."""
    area = ground_area(scene)
    return Extent(round(scene.height * scene.width * share), None if area is None else area * share)


def area_with_data(scene: Scene, measured: Measured) -> float | None:
    """Square metres of the ground that has data; None where nothing tells the size of a pixel."""
    area, pixels = ground_area(scene), scene.height * scene.width
    return None if area is None else round(area * (pixels - measured.pixels.get(NODATA, 0)) / pixels, 3)


def as_json(summary: SceneSummary) -> dict[str, Any]:
    """A summary as the object that `--json` prints."""
    return asdict(summary)
