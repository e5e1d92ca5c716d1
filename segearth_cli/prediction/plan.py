"""How a scene will be cut and at which resolution: the plan made of the options, and what it will cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segearth_cli.errors import RasterError
from segearth_cli.prediction.options import PredictOptions, default_stride
from segearth_cli.presets import FAR
from segearth_cli.quantities import digits
from segearth_cli.raster import (
    Area,
    Blend,
    Scene,
    Window,
    area_of,
    blocks,
    check_stride,
    shares,
    touching,
    working_size,
)

KEPT_BYTES = 1 << 29  # that windows leave for their neighbours; at 224 px every 112, enough for 7,000 px of width
DECIDE_PIXELS = 1 << 21  # pixels decided at once
MAX_SIDE = 10_000_000  # pixels of a working grid; more is a typing error
FINEST, FINE_SIDE = 64, 100_000  # so is a grid of more than so many pixels that is so many times finer than its scene
FINER = 4  # times, at most, that --gsd auto makes pixels smaller
OFF_SCALE = 2  # times outside of what a model is good at that are told
_LESS = 0.25  # pixels off the edges of a window, with no middle of a pixel between
SAME_GSD = 2e-3  # a scene this close to --gsd keeps its grid: UTM stretches half a metre by less within a zone


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a scene that is segmented as if it were a scene of its own."""

    window: Window
    """Where it lies; it may reach beyond a scene that is smaller than a tile."""
    share: Window
    """What the mask takes of it: the pixels that it is the nearest to. The shares of all tiles cover the scene once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a scene is cut: its size, the working grid that the model sees, and the windows on that grid.

    With tiles, the working grid is that of a tile.
    """

    height: int
    """Rows of the scene and of the mask, in pixels."""
    width: int
    """Columns of the scene and of the mask, in pixels."""
    rows: int
    """Rows of the working grid."""
    cols: int
    """Columns of the working grid."""
    window: int
    """Side of a window, in working pixels."""
    stride: int
    """Step between windows, in working pixels; 0 < stride <= window."""
    blend: Blend
    """How the pixels of overlapping windows are weighted."""
    tile: tuple[int, int] | None = None
    """Rows and columns of the scene that are a tile; None = the scene is not cut into tiles."""
    tile_stride: tuple[int, int] = (0, 0)
    """Rows and columns from one tile to the next."""
    area: Area | None = None
    """The part of the scene that is wanted; None = all of it."""

    @property
    def size(self) -> tuple[int, int]:
        """The working grid, (rows, cols)."""
        return self.rows, self.cols

    @property
    def resampled(self) -> bool:
        """Whether the working grid differs from the scene's own, or from that of a tile."""
        return self.size != (self.tile or (self.height, self.width))

    @property
    def of_tile(self) -> Plan:
        """The plan of one tile."""
        height, width = self.tile or (self.height, self.width)
        return replace(self, height=height, width=width, tile=None, tile_stride=(0, 0), area=None)

    def within(self, tile: Tile) -> Plan:
        """The plan of one tile, with the part of it that is wanted."""
        row, col = tile.window.row, tile.window.col
        return replace(self.of_tile, area=None if self.area is None else self.area.seen_from(row, col))

    def tiles(self, region: Window | None = None) -> list[Tile]:
        """The tiles, row-major; with a region, those of which it takes a share. Without tiles the scene is one."""
        tile, (down, across) = self.tile or (self.height, self.width), self.tile_stride
        region = region or self.whole
        rows, cols = shares(self.height, tile[0], down or tile[0]), shares(self.width, tile[1], across or tile[1])
        return [
            Tile(Window(row, col, *tile), Window(top, left, bottom - top, right - left))
            for row, top, bottom in rows
            if top < region.bottom and region.row < bottom
            for col, left, right in cols
            if left < region.right and region.col < right
        ]

    @property
    def wanted_share(self) -> float:
        """The share of the scene's pixels that is wanted."""
        return 1.0 if self.area is None else self.area.pixels / (self.height * self.width)

    @property
    def whole(self) -> Window:
        """All of the scene's grid."""
        return Window(0, 0, self.height, self.width)

    def working_region(self, region: Window) -> Window:
        """The working pixels that the output pixels of a region are made of."""
        if not self.resampled:
            return region
        top, bottom = _span(region.row, region.bottom, self.height, self.rows)
        left, right = _span(region.col, region.right, self.width, self.cols)
        return Window(top, left, bottom - top, right - left)

    def wanted(self, region: Window) -> Window | None:
        """The part of a region of the output with all its wanted pixels, None where there are none."""
        return region if self.area is None else self.area.around(region)

    def window_grid(self, region: Window) -> tuple[list[int], list[int]]:
        """The first rows and first columns, on the working grid, of the windows that touch a region of the output."""
        work = self.working_region(region)
        down = touching(self.rows, self.window, self.stride, work.row, work.bottom)
        return down, touching(self.cols, self.window, self.stride, work.col, work.right)

    def needed(self, rows: Sequence[int], cols: Sequence[int]) -> NDArray[np.bool_]:
        """Which windows wanted pixels are made of, (rows, cols) for all pairs of first rows and first columns."""
        found = np.ones((len(rows), len(cols)), bool)
        if self.area is None:
            return found
        left, right = _reach(np.array(cols), min(self.window, self.cols), self.width / self.cols, self.resampled)
        for number, row in enumerate(rows):
            top, bottom = _reach(np.array([row]), min(self.window, self.rows), self.height / self.rows, self.resampled)
            boxes = np.broadcast_arrays(left, top, right, bottom)
            found[number] = self.area.touches(np.stack(boxes, axis=1))
        return found

    def window_count(self, region: Window | None = None) -> int:
        """How many windows the wanted pixels of a region of the output are made of; of all of it without one."""
        if self.tile is not None:
            tiles = self.tiles(region)
            parts = [(tile, tile.share.intersection(region or self.whole)) for tile in tiles]
            return sum(
                self.within(tile).window_count(part.seen_from(tile.window.row, tile.window.col))
                for tile, part in parts
                if part
            )
        wanted = self.wanted(region or self.whole)
        if wanted is None:
            return 0
        down, across = self.window_grid(wanted)
        return len(down) * len(across) if self.area is None else int(self.needed(down, across).sum())

    def block_count(self, side: int) -> int:
        """Into how many blocks of so many pixels a side the mask is cut, without those that hold no wanted pixel."""
        if self.area is not None:
            return sum(self.wanted(block) is not None for block in blocks(self.whole, side, side))
        return -(-self.height // side) * -(-self.width // side)

    def windows_in_blocks(self, side: int) -> int:
        """How many windows touch the blocks of the mask, those at seams once for each block that they touch.

        The windows of a region are rows times columns, so that strips across and down tell them all.
        """
        if self.area is not None:
            return sum(self.window_count(block) for block in blocks(self.whole, side, side))
        across = sum(self.window_count(strip) for strip in blocks(self.whole, side, self.width))
        down = sum(self.window_count(strip) for strip in blocks(self.whole, self.height, side))
        return across * down // self.window_count()


def make_plan(scene: Scene, options: PredictOptions, native: int) -> Plan:
    """The plan for a scene and a model's native window, in pixels.

    Raises RasterError when the resolution cannot be meant for this scene, GridError when window and stride do not tile.
    """
    tile = (options.tile[1], options.tile[0]) if options.tile else None
    height, width = tile or (scene.height, scene.width)
    factor = _factor(scene, options, max(height, width))
    rows, cols = working_size(height, width, factor)
    if max(rows, cols) > (MAX_SIDE if factor <= FINEST else FINE_SIDE):
        raise RasterError(
            f"{scene.path}: working size {cols} x {rows} px; choose a coarser --scale, --gsd or --long-side"
        )
    window = options.window or native
    stride = options.stride if options.stride is not None else default_stride(window)
    check_stride(window, stride)
    across, down = options.tile_stride or options.tile or (0, 0)
    area = None if options.area is None else area_of(scene, scene.path, options.area)
    return Plan(scene.height, scene.width, rows, cols, window, stride, options.blend, tile, (down, across), area)


def remarks(scene: Scene, plan: Plan, options: PredictOptions) -> list[str]:
    """What a user is told of a scene with these options, before anything is computed: a line each."""
    return [line for line in (far_too_large(scene, options), off_scale(scene, plan, options)) if line]


def far_too_large(scene: Scene, options: PredictOptions) -> str | None:
    """One line for the user where a scene is shrunk to a size that is meant for much smaller images, else None."""
    side, meant = max(scene.height, scene.width), options.image_side
    if meant is None or options.tile or options.long_side is None or side <= FAR * meant:
        return None
    return (
        f"{scene.path}: {side} px a side, shrunk to {options.long_side} px by a setting for images of {meant} px; "
        f"cut it as they are with --tile {meant}, or choose a resolution with --scale or --gsd"
    )


def _auto_factor(metres: float, good: tuple[float, float] | None) -> float:
    """The factor nearest 1 that brings pixels of so many metres to what a model is good at, at most FINER.

    >>> [_auto_factor(metres, (0.2, 0.5)) for metres in (0.1, 0.3, 1.0, 10.0)]
    [0.5, 1.0, 2.0, 4.0]
    """
    low, high = good or (metres, metres)
    return metres / low if metres < low else min(metres / high, float(FINER)) if metres > high else 1.0


def off_scale(scene: Scene, plan: Plan, options: PredictOptions) -> str | None:
    """One line for the user where the model sees pixels far from the size that it is good at, else None."""
    if options.good_gsd is None:
        return None
    try:
        metres = scene.pixel_metres() * (plan.tile[0] if plan.tile else plan.height) / plan.rows
    except RasterError:  # nothing tells its size on the ground
        return None
    low, high = options.good_gsd
    if not (metres > 0 and (metres * OFF_SCALE <= low or metres >= high * OFF_SCALE)):
        return None
    mend = f"no more than {FINER} times finer"
    if options.gsd != "auto":
        auto = _auto_factor(scene.pixel_metres(), options.good_gsd)
        mend = f"try --gsd auto: {scene.pixel_metres() / auto:.3g} m, {_windows_at(auto, plan)}"
    return f"{scene.path}: the model sees pixels of {metres:.3g} m and is good at {low:g} to {high:g} m; {mend}"


def _windows_at(factor: float, plan: Plan) -> str:
    """How many windows a resolution takes, for one of a plan, over the whole of a scene or tile."""
    now = plan.of_tile
    rows, cols = working_size(now.height, now.width, factor)
    times = replace(now, rows=rows, cols=cols, area=None).window_count() / replace(now, area=None).window_count()
    return "as many windows" if times == 1 else f"{digits(times)} times the windows"


def _factor(scene: Scene, options: PredictOptions, side: int) -> float:
    """Working pixels for one of the scene's; side: the longer one of what is resampled, the scene or a tile."""
    if options.scale is not None:
        return options.scale
    if options.long_side is not None:
        return options.long_side / side
    if options.gsd is not None:
        metres = scene.pixel_metres()
        if not metres > 0:
            raise RasterError(f"{scene.path}: pixels without size, so --gsd has no meaning here; use --scale")
        factor = _auto_factor(metres, options.good_gsd) if options.gsd == "auto" else metres / options.gsd
        return 1.0 if abs(factor - 1) < SAME_GSD else factor
    return 1.0


def _reach(
    first: NDArray[np.int64], size: int, step: float, resampled: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From where to where on an axis of the output the middles of pixels lie that windows of `size` have a part in.

    first: on the working grid. step: output pixels of a working one.
    """
    less = -0.5 if resampled else _LESS  # bilinear interpolation reaches half a working pixel on
    return np.asarray((first + less) * step), np.asarray((first + size - less) * step)


def _span(first: int, end: int, output: int, working: int) -> tuple[int, int]:
    """Working positions first..end-1 needed along one axis by bilinear interpolation."""
    step = working / output
    low = math.floor(max((first + 0.5) * step - 0.5, 0))
    high = math.floor(max((end - 0.5) * step - 0.5, 0)) + 2
    return min(low, working - 1), min(high, working)
