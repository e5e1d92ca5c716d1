"""Labels as people give them, features of a vector layer or pixels of a raster, to pixels of scenes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from segearth_cli.calibration.fit import Floats
from segearth_cli.calibration.holdout import Ints
from segearth_cli.classes import ClassSet
from segearth_cli.errors import CalibrationError, RasterError
from segearth_cli.evaluation import (
    UNKNOWN,
    LabelCodes,
    check_label,
    code_text,
    codes_of,
    drawn_class,
    ignored_codes,
    is_drawn,
    nodata_code,
)
from segearth_cli.raster import (
    Frame,
    Onto,
    Placement,
    Scene,
    Window,
    blocks,
    environment,
    opened_dataset,
    reads_network,
    reason,
    without_georeference,
)
from segearth_cli.vector import read_drawn

REASONS = 8  # why labels were left out that are told one by one
LONG = 60  # characters of a class that are told
EACH = 16  # pixels that a line or polygon gives, spread evenly: its neighbours tell little more
LATTICE = 1024  # places that are tried in a polygon's bounds
FROM_RASTER = 200  # pixels of each class that a label raster gives
STRIP = 1024  # side of the blocks that it is read in
BORDER = 1e-6  # pixels; a point on a border stays on its side when it comes from another CRS

Move = Callable[[NDArray[Any]], NDArray[Any]]  # of shapely (n,)


@dataclass(frozen=True, slots=True)
class Labels:
    """What is labelled, where it lies on the map, and as what."""

    geometry: NDArray[Any]
    """(F,) of shapely."""
    codes: Ints
    """(F,) class codes."""
    crs: str | None
    """CRS of the geometries as WKT; None = that of the scenes."""
    told: Counter[str] = field(default_factory=Counter)
    """How many features were left out, by the reason."""
    of_size: tuple[int, int] | None = None
    """Rows and columns of a scene in whose pixels they are, as of a raster without georeference; None = on the map."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Labelled pixels of one scene, row-major."""

    places: Ints
    """(n, 2) row and column."""
    codes: Ints
    """(n,) classes."""
    units: Ints
    """(n,) which label each is of, numbered from 0 by where it lies."""
    features: frozenset[int]
    """Which of the labels lie on data of the scene."""
    touching: frozenset[int]
    """Which lie on the scene at all."""


def read_labels(path: Path, column: str, layer: str | None, ignore: Sequence[str], classes: ClassSet) -> Labels:
    """The labels of a file: of vector data (`is_drawn`), else of a raster. column: the field that names the class.

    ignore: codes that are none. Raises VectorError, RasterError, UsageError.
    """
    meaning = LabelCodes(ignored=LabelCodes().ignored | ignored_codes(ignore))
    if not is_drawn(str(path)):
        return _with_phrases(_from_raster(path, meaning, len(classes)), classes)
    drawn, told, kept, codes = read_drawn(path, column, layer), Counter[str](), [], []
    meant = {value: drawn_class(value, classes, meaning) for value in set(drawn.values) - {None}}
    for number, (geometry, value) in enumerate(zip(drawn.geometry, drawn.values, strict=True)):
        code = UNKNOWN if value is None else meant[value]
        if value is None:
            told["with an empty field"] += 1
        elif code == UNKNOWN:
            told[f"of the unknown class {str(value)[:LONG]}"] += 1
        elif code < 0:
            continue  # as --ignore asks
        elif geometry is None or geometry.is_empty:
            told["without a geometry"] += 1
        else:
            kept.append(number)
            codes.append(code)
    return _with_phrases(Labels(drawn.geometry[kept], np.array(codes, np.int64), drawn.crs, told), classes)


def _with_phrases(labels: Labels, classes: ClassSet) -> Labels:
    """The labels of classes that have phrases; a background that is only what falls below the threshold has none."""
    there = np.isin(labels.codes, classes.query_class)
    told = Counter(labels.told)
    for code in labels.codes[~there].tolist():
        told[f"of {classes.names[code]}, which has no phrases"] += 1
    return replace(labels, geometry=labels.geometry[there], codes=labels.codes[there], told=told)


def placed(labels: Labels, scene: Scene) -> Placed:
    """The pixels with data of a scene that labels lie on; those that two classes claim are left out.

    A point on the border of two pixels is of the one to the right and below, on the outer border of the last.
    """
    to_pixels, touching, units = _to_pixels(labels, scene), set[int](), dict[tuple[Any, ...], set[int]]()
    drawn = np.asarray(to_pixels(labels.geometry), object)
    pixels = [_pixels_of(one, scene.height, scene.width) for one in drawn]
    ends = np.cumsum([0, *map(len, pixels)])
    valid = scene.valid_at(np.concatenate([np.zeros((0, 2), np.int64), *pixels]))
    for number, (found, code) in enumerate(zip(pixels, labels.codes.tolist(), strict=True)):
        if len(found):
            touching.add(number)
        if len(found := found[valid[ends[number] : ends[number + 1]]]):
            units.setdefault((code, *map(tuple, found.tolist())), set()).add(number)
    claims: dict[tuple[int, int], dict[int, int]] = {}
    for unit, (code, *places) in enumerate(sorted(units)):
        for place in places:
            claims.setdefault(place, {}).setdefault(code, unit)
    rows = [(*place, *next(iter(claim.items()))) for place, claim in sorted(claims.items()) if len(claim) == 1]
    table = np.array(rows, np.int64).reshape(-1, 4)
    used = frozenset(number for numbers in units.values() for number in numbers)
    return Placed(table[:, :2], table[:, 2], table[:, 3], used, frozenset(touching))


def left_out(labels: Labels, every: Sequence[Placed]) -> Counter[str]:
    """How many labels gave no pixel to any scene, by the reason."""
    told = Counter(labels.told)
    touching = frozenset[int]().union(*(one.touching for one in every))
    used = frozenset[int]().union(*(one.features for one in every))
    told["outside of the scene" if len(every) == 1 else "outside of all scenes"] += len(labels.codes) - len(touching)
    told["without data under them"] += len(touching - used)
    return +told


def why_left_out(counts: Counter[str]) -> list[str]:
    """How many labels were left out for which reason: a text a reason, the most frequent ones, and one for the others.

    >>> why_left_out(Counter({"outside of the scene": 2, "without a geometry": 1}))
    ['2 labels outside of the scene', '1 label without a geometry']
    """
    first = counts.most_common(REASONS)
    texts = [f"{count} label{'s'[: count != 1]} {reason}" for reason, count in sorted(first)]
    others = counts.total() - sum(count for _, count in first)
    return [*texts, f"{others} labels for {len(counts) - REASONS} other reasons"] if others else texts


def _from_raster(path: Path, codes: LabelCodes, classes: int) -> Labels:
    """Some pixels of each class of a raster of codes, drawn by a hash of their place."""
    told, best = Counter[str](), {code: np.zeros((0, 3), np.uint64) for code in range(classes)}
    try:
        with opened_dataset(path) as ds, environment(remote=reads_network(ds)):
            check_label(ds)
            nodata = nodata_code(ds)
            for window in blocks(Window(0, 0, ds.height, ds.width), STRIP, STRIP):
                values, there = codes_of(ds, window, grey=False)
                for value in np.unique(values[there]).tolist():
                    target = codes.target(value, classes, nodata)
                    rows, cols = np.nonzero((values == value) & there)
                    if target >= 0:
                        places = np.stack([rows + window.row, cols + window.col], axis=1).astype(np.uint64)
                        table = np.concatenate([best[target], np.column_stack([_drawn(places), places])])
                        best[target] = _first(table, FROM_RASTER)
                    elif value not in codes.ignored and value != nodata:
                        told[f"of the unknown code {code_text(value)}"] += len(rows)
            frame = Frame(ds.height, ds.width, ds.crs, ds.transform, ds.gcps, ds.rpcs)
    except RasterioError as e:
        raise RasterError(f"{path}: cannot be read ({reason(e)})") from e
    placement = Placement(frame, str(path))
    table = np.concatenate(list(best.values()))
    points = placement.move(table[:, :0:-1].astype(np.float64) + 0.5)
    return Labels(
        np.asarray(shapely.points(points), object),
        np.repeat(list(best), [len(rows) for rows in best.values()]),
        placement.crs.to_wkt() if placement.crs else None,
        told,
        (frame.height, frame.width) if without_georeference(frame) else None,
    )


def _first(table: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
    """The first rows of a table in its order, of which only those that come into question are sorted."""
    if len(table) > count:
        table = table[table[:, 0] <= np.partition(table[:, 0], count - 1)[count - 1]]
    return table[np.lexsort(table.T[::-1])[:count]]


def _drawn(places: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers (n,) that lie as if drawn at random and depend on places (n, 2) alone; splitmix64."""
    z = places[:, 0] * np.uint64(0x9E3779B97F4A7C15) + places[:, 1] * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def _to_pixels(labels: Labels, scene: Scene) -> Move:
    """From geometries of labels to those in columns and rows of a scene, fractions included."""
    if labels.of_size is not None:
        if labels.of_size != (scene.height, scene.width):
            there, here = ("{1} x {0} px".format(*size) for size in (labels.of_size, (scene.height, scene.width)))
            raise CalibrationError(f"--labels: a raster of {there} without georeference, {scene.path} has {here}")
        return np.asarray
    return Onto(scene, scene.path, labels.crs, "--labels").place


def _pixels_of(geometry: Any, height: int, width: int) -> Ints:
    """Pixels (n, 2) of a scene that a geometry in pixel coordinates lies on, row-major, each once."""
    found = [np.zeros((0, 2), np.int64)]
    for part in shapely.get_parts(shapely.get_parts(geometry)):
        xy = _PLACES[part.geom_type](part, (height, width)) + BORDER
        xy = xy[np.isfinite(xy).all(axis=1)]
        inside = ((xy >= 0) & (xy <= (width + 2 * BORDER, height + 2 * BORDER))).all(axis=1)
        places = np.minimum(np.floor(xy[inside]).astype(np.int64), (width - 1, height - 1))
        found.append(places[:, ::-1])
    every: Ints = np.unique(np.concatenate(found), axis=0)
    chosen = np.unique(np.linspace(0, max(0, len(every) - 1), EACH).round().astype(np.int64))
    return every if len(every) <= EACH else every[chosen]


def _of_point(part: Any, _size: tuple[int, int]) -> Floats:
    return np.array([[part.x, part.y]])


def _of_line(part: Any, size: tuple[int, int]) -> Floats:
    inside = shapely.clip_by_rect(part, 0, 0, size[1], size[0])
    count = min(EACH, int(inside.length) + 1)
    points = shapely.line_interpolate_point(
        shapely.line_merge(inside), (np.arange(count) + 0.5) / count, normalized=True
    )
    return np.array([[point.x, point.y] for point in np.atleast_1d(points) if not point.is_empty]).reshape(-1, 2)


def _of_polygon(part: Any, size: tuple[int, int]) -> Floats:
    """Centres of pixels in a polygon, on a lattice as fine as it needs; of a thin one a point inside."""
    left, top, right, bottom = np.clip(part.bounds, 0, (size[1], size[0]) * 2)
    if not right - left > 0 or not bottom - top > 0:
        return np.zeros((0, 2))
    step = max(1, int(np.ceil(np.sqrt((right - left) * (bottom - top) / LATTICE))))
    axes = [np.arange(int(a) // step * step, b, step) + step // 2 + 0.5 for a, b in ((left, right), (top, bottom))]
    x, y = (grid.ravel() for grid in np.meshgrid(*axes))
    inside = shapely.contains_xy(part, x, y)
    if inside.any():
        return np.stack([x[inside], y[inside]], axis=1)
    return _of_point(shapely.point_on_surface(part), size)


_PLACES = {"Point": _of_point, "LineString": _of_line, "LinearRing": _of_line, "Polygon": _of_polygon}
