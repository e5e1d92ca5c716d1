"""One image against its label, tile by tile as published and each pixel once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.classes import ClassSet
from segearth_cli.errors import RasterError
from segearth_cli.evaluation import Confusion, LabelCodes, counted, empty, read_label
from segearth_cli.prediction import (
    Plan,
    PredictOptions,
    Predictor,
    Prepared,
    Tile,
    prepared,
    tile_rows,
    work_for,
)
from segearth_cli.presets import Preset
from segearth_cli.raster import Window, check_unchanged, environment, opened_dataset, starts
from segearth_cli.reproduction.find import Pair

ONCE = "each pixel once"


@dataclass(frozen=True, slots=True)
class Piece:
    """A tile of an image, and how it is scored."""

    tile: Tile
    """Where it lies in the image, and the pixels that count where each pixel counts once."""
    kept: bool
    """Whether it is one of the tiles that the published files hold."""


def scorings(preset: Preset) -> tuple[str, ...]:
    """The ways in which a set is scored, the published one first."""
    return (*reversed(preset.tilings()), ONCE) if preset.tile is not None else ("each image",)


def shares_of_places(pairs: Iterable[Pair]) -> dict[str, Window]:
    """For tiles that a converter wrote: the pixels of each, by the pair's name, that it is the nearest to."""
    scenes: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.place is not None:
            scenes[pair.place.scene].append(pair)
    found = {}
    for ours in scenes.values():
        places = [pair.place for pair in ours if pair.place is not None]
        rows = _shares({(place.row, place.height) for place in places})
        cols = _shares({(place.col, place.width) for place in places})
        for pair, place in zip(ours, places, strict=True):
            (top, bottom), (left, right) = rows[place.row, place.height], cols[place.col, place.width]
            found[pair.name] = Window(top - place.row, left - place.col, bottom - top, right - left)
    return found


def _shares(spans: set[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """(first, end) of each (start, size) along one axis, overlaps cut in their middle."""
    ordered = sorted(spans)
    first, found = ordered[0][0], {}
    for place, (start, size) in enumerate(ordered):
        after = ordered[place + 1][0] if place + 1 < len(ordered) else start + size
        end = min(start + size, max((after + start + size) // 2, first)) if after < start + size else start + size
        found[start, size] = max(first, start), end
        first = max(first, end)
    return found


def extents(pairs: Iterable[Pair]) -> dict[str, tuple[int, int]]:
    """Rows and columns of the scenes that tiles were cut from, as far as tiles reach, by the scene's name."""
    found: dict[str, tuple[int, int]] = {}
    for place in (pair.place for pair in pairs):
        if place is not None:
            rows, cols = found.get(place.scene, (0, 0))
            found[place.scene] = max(rows, place.row + place.height), max(cols, place.col + place.width)
    return found


@dataclass(frozen=True, slots=True)
class Cuts:
    """How the images of a set are cut: tiles that a converter wrote are whole images."""

    preset: Preset
    """The setting."""
    shares: Mapping[str, Window]
    """As `shares_of_places` gives them."""
    extents: Mapping[str, tuple[int, int]]
    """As `extents` gives them."""

    @classmethod
    def of(cls, preset: Preset, pairs: Sequence[Pair]) -> Cuts:
        """The cuts of a set's pairs."""
        return cls(preset, shares_of_places(pairs), extents(pairs))

    def is_tile(self, pair: Pair, height: int, width: int) -> bool:
        """Whether an image is a tile already: its name says so, and it is no larger than one."""
        tile = self.preset.tile
        return tile is not None and pair.place is not None and width <= tile[0] and height <= tile[1]

    def pieces(self, pair: Pair, plan: Plan) -> list[Piece]:
        """The tiles of an image, the whole image where it is one."""
        whole = Window(0, 0, plan.height, plan.width)
        if plan.tile is not None:
            kept = self._kept(plan.height, plan.width)
            return [Piece(tile, (tile.window.row, tile.window.col) in kept) for tile in plan.tiles()]
        if pair.place is None or self.preset.tile is None:
            return [Piece(Tile(whole, whole), kept=True)]
        kept = self._kept(*self.extents[pair.place.scene])
        share = self.shares[pair.name].intersection(whole) or Window(0, 0, 0, 0)
        return [Piece(Tile(whole, share), (pair.place.row, pair.place.col) in kept)]

    def _kept(self, height: int, width: int) -> set[tuple[int, int]]:
        """First rows and columns of the tiles that the published files hold, of a scene of this size."""
        tile = self.preset.tile or (width, height)
        step = self.preset.tile_kept or self.preset.tile_stride or tile
        rows, cols = starts(height, tile[1], step[1]), starts(width, tile[0], step[0])
        return {(row, col) for row in rows for col in cols}


@dataclass(frozen=True, slots=True)
class Scored:
    """What one image gives; the counts of all images are added up."""

    counts: Mapping[str, Confusion]
    """A confusion for each way of scoring."""
    tiles: Mapping[str, int]
    """How many tiles each counts."""

    def __add__(self, other: Scored) -> Scored:
        return Scored(
            {name: counts + other.counts[name] for name, counts in self.counts.items()},
            {name: tiles + other.tiles[name] for name, tiles in self.tiles.items()},
        )


def nothing(preset: Preset, classes: ClassSet) -> Scored:
    """What no image gives: the zero of `+`."""
    ways = scorings(preset)
    return Scored(dict.fromkeys(ways, empty(len(classes))), dict.fromkeys(ways, 0))


@dataclass(frozen=True, slots=True)
class Ready:
    """An image opened and planned, with its label read and cut into tiles; not predicted yet."""

    prepared: Prepared
    """The image."""
    wanted: NDArray[np.int16]
    """(H, W) class of each pixel by its label, below 0 where it is left out."""
    pieces: list[Piece]
    """The tiles that are scored."""
    facts: dict[str, Any]
    """All that decides the counts."""


def ready(prepared: Prepared, pair: Pair, cuts: Cuts, codes: LabelCodes, classes: ClassSet) -> Ready:
    """An image ready to be scored. Raises RasterError where image and label differ in size."""
    wanted, _ = read_label(pair.label, classes, codes)
    plan = prepared.plan
    if wanted.shape != (plan.height, plan.width):
        rows, cols = wanted.shape
        raise RasterError(f"{pair.label}: {cols} x {rows} px, its image {plan.width} x {plan.height}: {pair.image}")
    pieces = cuts.pieces(pair, plan)
    facts = dict(prepared.facts) | {
        "scorings": scorings(cuts.preset),
        "label_sha256": hashlib.sha256(np.ascontiguousarray(wanted).tobytes()).hexdigest(),
        "tiles": [[*piece.tile.window, *piece.tile.share, piece.kept] for piece in pieces],
    }
    return Ready(prepared, wanted, pieces, facts)


def options_for(pair: Pair, cuts: Cuts, options: PredictOptions) -> PredictOptions:
    """The options of a pair: images that are tiles are not cut, every pixel is data, the first three bands are RGB.

    So do the authors' readers of pictures. Raises RasterError for an image that cannot be read.
    """
    with opened_dataset(pair.image) as ds:
        height, width, bands = ds.height, ds.width, (1, 2, 3) if ds.count >= 3 else None
    read = replace(options.read, bands=bands, nodata="none", alpha=False, mask=False)
    if cuts.is_tile(pair, height, width):
        return replace(options, read=read, tile=None, tile_stride=None)
    return replace(options, read=read)


def score(image: Ready, preset: Preset) -> Scored:
    """The counts of an image: every tile segmented as a scene of its own."""
    found = image.prepared
    predictor, assembled = found.predictor, found.predictor.model()
    classes = predictor.classes
    decide = predictor.decider()
    work = work_for(found.plan.of_tile, assembled.device, predictor.run.batch, threads=predictor.run.threads)
    total = nothing(preset, classes)
    with environment(found.path):
        for piece in image.pieces:
            window = piece.tile.window
            parts = tile_rows(
                found.scene, found.plan, piece.tile, assembled.segmenter, len(classes.query_class), decide, work, window
            )
            codes = np.concatenate([rows.codes for rows in parts])
            total += _of_piece(image, piece, codes, preset, classes)
        check_unchanged(found.scene, found.seal)
    return total


def _of_piece(image: Ready, piece: Piece, codes: NDArray[np.uint8], preset: Preset, classes: ClassSet) -> Scored:
    window = piece.tile.window
    wanted = image.wanted[window.slices]
    inside = codes[: wanted.shape[0], : wanted.shape[1]]  # a tile may reach beyond the image
    whole, none = counted(wanted, inside, len(classes)), empty(len(classes))
    ways = scorings(preset)
    if len(ways) == 1:
        return Scored({ways[0]: whole}, {ways[0]: 1})
    rows, cols = piece.tile.share.seen_from(window.row, window.col).slices
    found, tiles = {ONCE: counted(wanted[rows, cols], inside[rows, cols], len(classes))}, {ONCE: 1}
    for way in preset.tilings():
        takes = piece.kept or way == "each tile"
        found[way], tiles[way] = whole if takes else none, int(takes)
    return Scored({way: found[way] for way in ways}, {way: tiles[way] for way in ways})


@contextmanager
def opened(pair: Pair, cuts: Cuts, codes: LabelCodes, predictor: Predictor) -> Iterator[Ready]:
    """The image of a pair ready to be scored, closed in the end. Raises RasterError where it cannot be."""
    own = replace(predictor, options=options_for(pair, cuts, predictor.options))
    with prepared(pair.image, own) as found:
        yield ready(found, pair, cuts, codes, predictor.classes)
