"""What a preview shows, before it is drawn: small pictures, rows of the legend, scale, how the mask was made."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.class_colors import Color
from segearth_cli.console import without_secrets
from segearth_cli.errors import UsageError
from segearth_cli.maps.options import PreviewOptions
from segearth_cli.quantities import digits
from segearth_cli.raster import (
    ClassAreas,
    Ground,
    MaskFile,
    PixelOptions,
    ReadOptions,
    Scene,
    class_areas,
    crs_name,
    environment,
    open_scene,
    read_mask,
    same_pixels,
    small_mask,
    small_scene,
    small_size,
    stem,
    tagged_run,
)

NOTHING = 0  # in `Sheet.rows`: no data


@dataclass(frozen=True, slots=True)
class LegendRow:
    """A class in the legend."""

    name: str
    """As the mask tells it."""
    color: Color
    """Its colour."""
    pixels: int
    """Pixels of the mask."""
    share: float
    """Of the mask's area with data, 0 to 1."""
    hectares: float | None
    """Area on the ground; None where nothing tells it."""

    @property
    def area(self) -> str:
        """Its area for people; its pixels where nothing tells that."""
        return f"{self.pixels:,} px" if self.hectares is None else f"{digits(self.hectares)} ha"


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that a preview shows."""

    title: str
    """What the mask is of."""
    rows: NDArray[np.int64]
    """(h, w) number of the legend's row from 1, 0 = no data."""
    scene: NDArray[np.uint8] | None
    """(h, w, 4) RGBA, transparent without data; None without a scene."""
    legend: tuple[LegendRow, ...]
    """A row for each class of the mask."""
    counted: bool
    """Whether areas are counted; else they are estimated from an overview."""
    metres: float | None
    """Of a pixel of the pictures, along a row in the middle; None where nothing tells it."""
    facts: tuple[tuple[str, str], ...]
    """Name and value of all that is told of how the mask was made."""
    line: str
    """The most important of it in a line."""
    opacity: float
    """Of the mask over the scene."""

    @property
    def colors(self) -> NDArray[np.uint8]:
        """(1 + rows, 4) RGBA of the numbers in `rows`."""
        return np.array([(0, 0, 0, 0), *((*row.color, 255) for row in self.legend)], np.uint8)

    @property
    def total(self) -> float | None:
        """Hectares with data."""
        known = [row.hectares for row in self.legend]
        return None if None in known else sum(one for one in known if one is not None)


def make_sheet(mask_path: str, scene: Scene | str | None, options: PreviewOptions, size: int) -> Sheet:
    """What a preview shows of a mask; scene: open, or its path; size: pixels of the longer side.

    Raises RasterError when a file cannot be read, UsageError for a scene that is not the mask's.
    """
    mask = read_mask(mask_path)
    shape = small_size(mask.height, mask.width, size)
    small = small_mask(mask, shape)
    areas = class_areas(mask, small)
    legend, table = _legend(mask, areas)
    ground = Ground(mask.frame, mask.path)
    width = ground.pixel_width
    known = ground.crs is not None and math.isfinite(width) and width > 0
    run = tagged_run(mask.tags)
    return Sheet(
        title=stem(without_secrets(mask_path)).removesuffix(".mask"),
        rows=np.where(small.data, _numbers(small.codes, table), NOTHING),
        scene=None if scene is None else _scene(scene, mask, run, options.read, shape),
        legend=legend,
        counted=areas.counted,
        metres=width * mask.width / shape[1] if known else None,
        facts=_facts(mask, run),
        line=_line(run),
        opacity=options.opacity,
    )


def on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB (h, w, 3) of RGBA, white where it is transparent."""
    return np.where(rgba[..., 3:] > 0, rgba[..., :3], 255).astype(np.uint8)


def scene_name(mask_path: str) -> str | None:
    """The name of the file that a mask was made of, as far as it tells. Raises RasterError."""
    name = tagged_run(read_mask(mask_path).tags).get("scene")
    return name if isinstance(name, str) and name and name == PurePath(name).name else None


def _legend(mask: MaskFile, areas: ClassAreas) -> tuple[tuple[LegendRow, ...], dict[int, int]]:
    """The rows, and the number of each code's row."""
    codes = sorted((mask.names.keys() | areas.pixels.keys()) - {mask.nodata})
    metres = areas.square_metres
    weight = areas.pixels if metres is None else metres
    whole = sum(weight.values()) or 1
    rows = tuple(
        LegendRow(
            mask.name(code),
            mask.color(code),
            areas.pixels.get(code, 0),
            weight.get(code, 0) / whole,
            None if metres is None else metres.get(code, 0.0) / 10_000,
        )
        for code in codes
    )
    return rows, {code: number for number, code in enumerate(codes, start=1)}


def _numbers(codes: NDArray[Any], table: dict[int, int]) -> NDArray[np.int64]:
    """The row's number of each code."""
    known, index = np.unique(codes, return_inverse=True)
    numbers = np.array([table.get(int(code), NOTHING) for code in known], np.int64)
    return numbers[index].reshape(codes.shape)


def _scene(
    scene: Scene | str, mask: MaskFile, run: dict[str, Any], read: PixelOptions, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """The scene (h, w, 4) in RGBA."""
    if not isinstance(scene, str):
        return _rgba(scene, mask, shape)
    chosen = {field.name: getattr(read, field.name) for field in fields(read)}
    if read.bands is None and isinstance(run.get("bands"), list):
        chosen["bands"] = tuple(run["bands"])
    with environment(scene):
        opened = open_scene(scene, ReadOptions(**chosen))
        try:
            return _rgba(opened, mask, shape)
        finally:
            opened.close()


def _rgba(scene: Scene, mask: MaskFile, shape: tuple[int, int]) -> NDArray[np.uint8]:
    if (scene.height, scene.width) != (mask.height, mask.width):
        raise UsageError(
            f"--scene {scene.path}: {scene.width} x {scene.height} px, but the mask has {mask.width} x {mask.height}; "
            "name the scene that it was made of"
        )
    if not same_pixels(mask.frame, scene):
        raise UsageError(f"--scene {scene.path}: lies elsewhere than the mask; name the scene that it was made of")
    chip = small_scene(scene, shape)
    return np.dstack([*chip.image, np.where(chip.valid, 255, 0)]).astype(np.uint8)


def _facts(mask: MaskFile, run: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    crs = mask.frame.crs or mask.frame.gcps[1]
    own = {"mask": stem(without_secrets(mask.path)), "pixels": f"{mask.width} x {mask.height}"}
    own |= {"CRS": name} if (name := crs_name(crs)) else {}
    return tuple((key, without_secrets(_text(value))) for key, value in (own | run).items())


def _line(run: dict[str, Any]) -> str:
    named = [
        ("scene", "scene {}"),
        ("model", "model {}"),
        ("upsampler", "upsampler {}"),
        ("threshold", "threshold {}"),
        ("window", "windows of {} px"),
        ("segearth", "segearth {}"),
    ]
    told = [form.format(without_secrets(_text(run[key]))) for key, form in named if run.get(key) is not None]
    return ", ".join(told)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
