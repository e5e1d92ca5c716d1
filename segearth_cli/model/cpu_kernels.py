"""The compiled kernels of the upsampler on a CPU, by LLVM; `cpu_stages` says what they are for and calls them.

Pixels are taken eight at a time, a row of a tile, and every operation is written as one on vectors: no compiler decides
in which order numbers are added, so a tile's numbers depend on nothing but its neighbourhood.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from segearth_cli.model.cpu_shapes import BICUBIC, NEAR, RADIUS, WIDTH
from segearth_cli.model.machine_code import LANES, WIDE, Writer, machine_code, vector
from segearth_cli.model.tiles import TILE

SIDE = 2 * RADIUS + 1
TAPS = SIDE * SIDE
VECTORS = 2 if WIDE else 1  # of channels at once: with eight pixels they and their operands fill the registers
BLOCK = LANES * VECTORS  # channels at once


def _keys(module):
    """The keys (H, K, W) of a guidance (H, 3, W), W no less than LANES and K a multiple of TILE: method 3.2.

    first (C, 3), second (K, C): weights of the two convolutions, each with its bias. hidden: room for (C, LANES).
    """
    w = Writer(
        module, "keys", ["guidance", "first", "first_bias", "second", "second_bias", "out", "hidden"], [],
        ["tall", "wide", "units", "count"],
    )  # fmt: skip
    tall, wide, units, count = w.sizes
    with w.each(0, tall) as y, w.each(0, wide, LANES) as x:
        left = w.least(x, w.plus(wide, -LANES))
        with w.each(0, units) as unit:
            total = w.spread(w.number("first_bias", unit), LANES)
            for colour in range(3):
                gain = w.spread(w.number("first", w.times(unit, 3), colour), LANES)
                near = w.load(LANES, "guidance", w.times(w.plus(w.times(y, 3), colour), wide), left)
                total = w.fma(gain, near, total)
            w.store(w.gelu(total), "hidden", w.times(unit, LANES))
        with w.each(0, count, TILE) as key:
            sums = [w.variable(LANES, w.spread(w.number("second_bias", key, i), LANES)) for i in range(TILE)]
            with w.each(0, units) as unit:
                own = w.load(LANES, "hidden", w.times(unit, LANES))
                for i, total in enumerate(sums):
                    gain = w.spread(w.number("second", w.times(w.plus(key, i), units), unit), LANES)
                    w.set(total, w.fma(gain, own, w.get(total)))
            for i, total in enumerate(sums):
                w.store(w.get(total), "out", w.times(w.plus(w.times(y, count), key, i), wide), left)
    w.end()


def _kernels(module):
    """The kernels of tiles before they are corrected, with what their correction takes: (64 n, WIDTH).

    keys (H, K, W) and guidance (H, 3, W) with margins of RADIUS; rows, cols: of each tile's first pixel. scores: room
    for (WIDTH, 8), of which all past the taps is zero.
    """
    w = Writer(
        module, "kernels", ["keys", "guidance", "spatial", "out", "scores"], ["rows", "cols"],
        ["tiles", "count", "wide"],
    )  # fmt: skip
    tiles, count, wide = w.sizes
    with w.each(0, tiles) as tile, w.each(0, TILE) as y:
        top, col = w.plus(w.number("rows", tile), y), w.number("cols", tile)
        with w.each(0, SIDE) as down:
            _scored(w, top, col, down, count, wide)
        _normalised(w)
        first = w.times(w.plus(w.times(tile, TILE), y), TILE * WIDTH)
        with w.each(0, WIDTH, TILE) as tap:
            _transposed(w, w.times(tap, TILE), w.plus(first, tap))
        with w.each(0, TILE) as x:
            for colour in range(3):
                row = w.times(w.plus(w.times(w.plus(top, RADIUS), 3), colour), wide)
                w.store(w.number("guidance", row, col, RADIUS, x), "out", first, w.times(x, WIDTH), TAPS + colour)
            w.store(w.one, "out", first, w.times(x, WIDTH), TAPS + 3)
    w.end()


def _scored(w, top, col, down, count, wide):
    """Products of the keys of eight pixels with those of the taps of one row, to rows of `scores`."""
    sums = [w.variable(TILE) for _ in range(SIDE)]
    own_row, row = (w.times(w.plus(top, y), count, wide) for y in (RADIUS, down))
    with w.each(0, count) as key:
        channel = w.times(key, wide)
        own = w.load(TILE, "keys", own_row, channel, col, RADIUS)
        for tap, total in enumerate(sums):
            other = w.load(TILE, "keys", row, channel, col, tap)
            w.set(total, w.fma(own, other, w.get(total)))
    for tap, total in enumerate(sums):
        w.store(w.get(total), "scores", w.times(down, SIDE * TILE), tap * TILE)


def _normalised(w):
    """Scores (TAPS, 8) to the kernels of eight pixels, in their place: method 3.3 to 3.5."""
    most = w.variable(TILE, w.load(TILE, "scores"))
    with w.each(0, TAPS) as tap:
        score, before = w.load(TILE, "scores", w.times(tap, TILE)), w.get(most)
        w.set(most, w.greater(score, before, score, before))
    highest, total, kept = w.get(most), w.variable(TILE), w.variable(TILE)
    with w.each(0, TAPS) as tap:
        at = w.times(tap, TILE)
        power = w.exp(w.sub(w.load(TILE, "scores", at), highest))
        weight = w.mul(power, w.spread(w.number("spatial", tap), TILE))
        w.set(total, w.add(w.get(total), power))
        w.set(kept, w.add(w.get(kept), weight))
        w.store(weight, "scores", at)
    least, sum_ = w.mul(w.get(total), vector(1e-7, TILE)), w.get(kept)
    gain = w.div(vector(1.0, TILE), w.greater(sum_, least, sum_, least))  # the published clamp
    with w.each(0, TAPS) as tap:
        at = w.times(tap, TILE)
        w.store(w.mul(w.load(TILE, "scores", at), gain), "scores", at)


def _transposed(w, first, to):
    """Eight taps of eight pixels, (8, 8) from `first` on in `scores`, to the rows of WIDTH numbers of these pixels."""
    rows = [w.load(TILE, "scores", first, TILE * i) for i in range(TILE)]
    for step in (1, 2, 4):  # squares of this side change places across the diagonal
        low = [j if not j & step else TILE + (j ^ step) for j in range(TILE)]
        high = [(j | step) if not j & step else TILE + j for j in range(TILE)]
        for i in (i for i in range(TILE) if not i & step):
            pair = rows[i], rows[i | step]
            rows[i], rows[i | step] = (w.shuffled(*pair, places) for places in (low, high))
    for i, row in enumerate(rows):
        w.store(row, "out", to, i * WIDTH)


def _taps(module):
    """What the taps of tiles, (64 n, WIDTH), make of maps resized bicubically: (64 n, R), R a multiple of BLOCK.

    source (h, w, R). down, across: for each position of the resized maps with their margins the first of four source
    positions, and their weights (H, 4) and (W, 4). strip, patch: room for (PATCH, NEAR, BLOCK), (NEAR, NEAR, BLOCK).
    """
    w = Writer(
        module, "taps", ["weights", "source", "down_by", "across_by", "out", "strip", "patch"],
        ["rows", "cols", "down", "across"], ["tiles", "wide", "channels"],
    )  # fmt: skip
    tiles, wide, channels = w.sizes
    with w.each(0, tiles) as tile:
        row, col = w.number("rows", tile), w.number("cols", tile)
        firsts = [w.number("down", row, y) for y in range(NEAR)]
        top, end = functools.reduce(w.least, firsts), w.plus(functools.reduce(w.most, firsts), BICUBIC)
        with w.each(0, channels, BLOCK) as block:
            with w.each(top, end) as y, w.each(0, NEAR) as x:
                left = w.plus(w.times(y, wide), w.number("across", col, x))
                to = w.times(w.plus(w.times(w.plus(y, w.times(top, -1)), NEAR), x), BLOCK)
                by = w.times(w.plus(col, x), BICUBIC)
                _four(w, "source", w.plus(w.times(left, channels), block), channels, ("across_by", by), ("strip", to))
            with w.each(0, NEAR) as y, w.each(0, NEAR) as x:
                above = w.plus(w.number("down", row, y), w.times(top, -1))
                first = w.times(w.plus(w.times(above, NEAR), x), BLOCK)
                by, to = w.times(w.plus(row, y), BICUBIC), w.times(w.plus(w.times(y, NEAR), x), BLOCK)
                _four(w, "strip", first, NEAR * BLOCK, ("down_by", by), ("patch", to))
            with w.each(0, TILE) as y:
                pixel = w.times(w.plus(w.times(tile, TILE), y), TILE)
                _mixed(w, pixel, w.times(y, NEAR * BLOCK), channels, block)
    w.end()


def _four(w, source, first, step, by, to):
    """BLOCK channels of four positions `step` apart, mixed by the four weights from `by` on."""
    gains = [w.spread(w.number(*by, i), LANES) for i in range(BICUBIC)]
    for lane in range(0, BLOCK, LANES):
        total = vector(0.0, LANES)
        for i, gain in enumerate(gains):
            total = w.fma(gain, w.load(LANES, source, first, w.times(step, i), lane), total)
        w.store(total, *to, lane)


def _mixed(w, pixel, near, channels, block):
    """BLOCK channels of eight pixels: what the taps of each, rows of WIDTH, make of the patch from `near` on."""
    sums = [[w.variable(LANES) for _ in range(VECTORS)] for _ in range(TILE)]
    with w.each(0, SIDE) as down:
        row, taps = w.times(down, NEAR * BLOCK), w.plus(w.times(pixel, WIDTH), w.times(down, SIDE))
        for col in range(NEAR):
            values = [w.load(LANES, "patch", near, row, col * BLOCK + lane) for lane in range(0, BLOCK, LANES)]
            for x in range(max(0, col - SIDE + 1), min(TILE, col + 1)):
                gain = w.spread(w.number("weights", taps, x * WIDTH + col - x), LANES)
                for total, value in zip(sums[x], values, strict=True):
                    w.set(total, w.fma(gain, value, w.get(total)))
    for x, totals in enumerate(sums):
        for lane, total in enumerate(totals):
            w.store(w.get(total), "out", w.times(w.plus(pixel, x), channels), block, lane * LANES)


class Compiled(NamedTuple):
    """The kernels as machine code; arguments are contiguous tensors, of floats or 64-bit integers, and sizes."""

    keys: Callable[..., None]
    """See `_keys`."""
    kernels: Callable[..., None]
    """See `_kernels`."""
    taps: Callable[..., None]
    """See `_taps`."""
    engine: Any
    """What holds the code."""
    lanes: int = LANES
    """The width of a guidance is no less."""
    block: int = BLOCK
    """Channels of maps are a multiple of it."""


@functools.cache
def compiled() -> Compiled:
    """The kernels for this CPU."""
    (keys, kernels, taps), engine = machine_code((_keys, _kernels, _taps))
    return Compiled(keys, kernels, taps, engine)
