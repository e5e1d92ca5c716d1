"""The compiled kernels of the upsampler on a CPU, by Numba; `cpu_stages` says what they are for and calls them.

Pixels are taken eight at a time, a row of a tile, and every operation is written as one on vectors: no compiler decides
in which order numbers are added, so a tile's numbers depend on nothing but its neighbourhood.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, float32, int64, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from segearth_cli.model.cpu_shapes import BICUBIC, RADIUS, WIDTH
from segearth_cli.model.tiles import TILE

SIDE = 2 * RADIUS + 1
TAPS = SIDE * SIDE
NEAR = TILE + 2 * RADIUS
PATCH = NEAR + BICUBIC  # source positions that a tile needs along an axis, at most
WIDE = bool(llvm.get_host_cpu_features().get("avx512f"))  # 32 registers of 16 numbers
LANES = 16 if WIDE else 8
VECTORS = 2 if WIDE else 1  # of channels at once: with eight pixels they and their operands fill the registers
BLOCK = LANES * VECTORS  # channels at once

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)


def _vector(lanes):
    return ir.VectorType(_FLOAT, lanes)


def _all(value, lanes):
    return ir.Constant(_vector(lanes), [value] * lanes)


def _index(value):
    return ir.Constant(ir.IntType(64), value)


def _shuffled(builder, one, other, places):
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_INT, len(places)), places))


def _spread(builder, scalar, lanes):
    """A number in every lane."""
    blank = ir.Constant(_vector(lanes), ir.Undefined)
    first = builder.insert_element(blank, scalar, ir.Constant(_INT, 0))
    return _shuffled(builder, first, blank, [0] * lanes)


def _fma(builder, x, y, plus):
    """x y + plus, rounded once."""
    kind = ir.FunctionType(x.type, [x.type] * 3)
    return builder.call(
        cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{x.type.count}f32"), [x, y, plus]
    )


def _exp(builder, x):
    """e to the power of x <= 0, within two units of the last place; below -87 that of -87. NaN stays."""
    lanes = x.type.count

    def fixed(value):
        return _all(value, lanes)

    x = builder.select(builder.fcmp_ordered("<", x, fixed(-87.0)), fixed(-87.0), x)
    shifted = _fma(
        builder, x, fixed(1.4426950408889634), fixed(12582912.0)
    )  # 1.5 * 2^23: the last bits are the exponent
    whole = builder.fsub(shifted, fixed(12582912.0))
    rest = _fma(builder, whole, fixed(-0.693359375), x)  # log 2 in two parts
    rest = _fma(builder, whole, fixed(2.12194440e-4), rest)
    series = fixed(1.9875691500e-4)  # Cephes' expf
    for factor in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        series = _fma(builder, series, rest, fixed(factor))
    power = builder.fadd(_fma(builder, series, builder.fmul(rest, rest), rest), fixed(1.0))
    ints = ir.VectorType(_INT, lanes)
    exponent = builder.add(builder.bitcast(shifted, ints), ir.Constant(ints, [127] * lanes))
    scale = builder.shl(exponent, ir.Constant(ints, [23] * lanes))
    return builder.fmul(power, builder.bitcast(scale, x.type))


def _gelu(builder, x):
    """x times the normal distribution at x, within 1e-7 |x|: Abramowitz and Stegun, 7.1.26. NaN stays."""
    lanes = x.type.count

    def fixed(value):
        return _all(value, lanes)

    negative, above = builder.fsub(fixed(-0.0), x), builder.fcmp_ordered(">", x, fixed(0.0))
    size, positive = builder.select(above, x, negative), builder.select(above, x, fixed(0.0))
    near = builder.fdiv(fixed(1.0), _fma(builder, size, fixed(0.3275911 / math.sqrt(2)), fixed(1.0)))
    series = fixed(1.061405429 / 2)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = _fma(builder, series, near, fixed(factor / 2))
    power = _exp(builder, builder.fmul(builder.fmul(size, size), fixed(-0.5)))
    tail = builder.fmul(builder.fmul(series, near), power)  # the distribution at -|x|
    return _fma(builder, builder.fsub(fixed(-0.0), size), tail, positive)


class _Memory:
    """Vectors of the arrays among an intrinsic's arguments, by the array's place and an offset in numbers."""

    def __init__(self, context, builder, signature, arguments):
        self._arrays = [
            context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else None
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        self._builder = builder

    def place(self, array, *offsets):
        where = self._arrays[array]
        for offset in offsets:
            where = self._builder.gep(where, [offset])
        return where

    def number(self, array, *offsets):
        return self._builder.load(self.place(array, *offsets))

    def load(self, lanes, array, *offsets):
        where = self._builder.bitcast(self.place(array, *offsets), _vector(lanes).as_pointer())
        return self._builder.load(where, align=4)

    def store(self, vector, array, *offsets):
        where = self._builder.bitcast(self.place(array, *offsets), vector.type.as_pointer())
        self._builder.store(vector, where, align=4)


def _variables(builder, count, lanes):
    """Vectors of zeros that loops may change."""
    made = [cgutils.alloca_once(builder, _vector(lanes)) for _ in range(count)]
    for variable in made:
        builder.store(_all(0.0, lanes), variable)
    return made


@intrinsic
def _hidden(_typing, guidance, first, step, weight, bias, unit, hidden):
    """One hidden channel of LANES pixels, activated, to its row of `hidden`: method 3.2."""

    def generate(context, builder, signature, arguments):
        _, first, step, _, _, unit, _ = arguments
        memory = _Memory(context, builder, signature, arguments)
        total = _spread(builder, memory.number(4, unit), LANES)
        for colour in range(3):
            gain = _spread(builder, memory.number(3, builder.mul(unit, _index(3)), _index(colour)), LANES)
            near = memory.load(LANES, 0, first, builder.mul(step, _index(colour)))
            total = _fma(builder, gain, near, total)
        memory.store(_gelu(builder, total), 6, builder.mul(unit, _index(LANES)))
        return context.get_dummy_value()

    return types.void(guidance, first, step, weight, bias, unit, hidden), generate


@intrinsic
def _keyed(_typing, hidden, units, weight, bias, first, out, to, step):
    """TILE keys of LANES pixels, from the key `first` on, to rows of `out` that lie `step` apart."""

    def generate(context, builder, signature, arguments):
        _, units, _, _, first, _, to, step = arguments
        memory = _Memory(context, builder, signature, arguments)
        sums = _variables(builder, TILE, LANES)
        for key, total in enumerate(sums):
            builder.store(_spread(builder, memory.number(3, first, _index(key)), LANES), total)
        with cgutils.for_range(builder, units) as loop:
            own = memory.load(LANES, 0, builder.mul(loop.index, _index(LANES)))
            for key, total in enumerate(sums):
                row = builder.mul(builder.add(first, _index(key)), units)
                gain = _spread(builder, memory.number(2, row, loop.index), LANES)
                builder.store(_fma(builder, gain, own, builder.load(total)), total)
        for key, total in enumerate(sums):
            memory.store(builder.load(total), 5, to, builder.mul(step, _index(key)))
        return context.get_dummy_value()

    return types.void(hidden, units, weight, bias, first, out, to, step), generate


@intrinsic
def _scores(_typing, keys, centre, around, step, count, scores, to):
    """Products of the keys of eight pixels with those of the taps of one row, to `scores` (SIDE, 8)."""

    def generate(context, builder, signature, arguments):
        _, centre, around, step, count, _, to = arguments
        memory = _Memory(context, builder, signature, arguments)
        sums = _variables(builder, SIDE, TILE)
        with cgutils.for_range(builder, count) as loop:
            channel = builder.mul(loop.index, step)
            own = memory.load(TILE, 0, centre, channel)
            for tap, total in enumerate(sums):
                other = memory.load(TILE, 0, around, channel, _index(tap))
                builder.store(_fma(builder, own, other, builder.load(total)), total)
        for tap, total in enumerate(sums):
            memory.store(builder.load(total), 5, to, _index(tap * TILE))
        return context.get_dummy_value()

    return types.void(keys, centre, around, step, count, scores, to), generate


@intrinsic
def _normalise(_typing, scores, spatial):
    """Scores (TAPS, 8) to the kernels of eight pixels, in their place: method 3.3 to 3.5."""

    def generate(context, builder, signature, arguments):
        memory = _Memory(context, builder, signature, arguments)
        most, total, kept = _variables(builder, 3, TILE)
        builder.store(memory.load(TILE, 0, _index(0)), most)
        with cgutils.for_range(builder, _index(TAPS)) as loop:
            score, before = memory.load(TILE, 0, builder.mul(loop.index, _index(TILE))), builder.load(most)
            builder.store(builder.select(builder.fcmp_ordered(">", score, before), score, before), most)
        highest = builder.load(most)
        with cgutils.for_range(builder, _index(TAPS)) as loop:
            at = builder.mul(loop.index, _index(TILE))
            power = _exp(builder, builder.fsub(memory.load(TILE, 0, at), highest))
            weight = builder.fmul(power, _spread(builder, memory.number(1, loop.index), TILE))
            builder.store(builder.fadd(builder.load(total), power), total)
            builder.store(builder.fadd(builder.load(kept), weight), kept)
            memory.store(weight, 0, at)
        least, sum_ = builder.fmul(builder.load(total), _all(1e-7, TILE)), builder.load(kept)
        sum_ = builder.select(builder.fcmp_ordered(">", sum_, least), sum_, least)  # the published clamp
        gain = builder.fdiv(_all(1.0, TILE), sum_)
        with cgutils.for_range(builder, _index(TAPS)) as loop:
            at = builder.mul(loop.index, _index(TILE))
            memory.store(builder.fmul(memory.load(TILE, 0, at), gain), 0, at)
        return context.get_dummy_value()

    return types.void(scores, spatial), generate


@intrinsic
def _transpose(_typing, scores, first, out, to):
    """Eight taps of eight pixels, (8, 8), to the rows of WIDTH numbers of these pixels."""

    def generate(context, builder, signature, arguments):
        _, first, _, to = arguments
        memory = _Memory(context, builder, signature, arguments)
        rows = [memory.load(TILE, 0, first, _index(TILE * i)) for i in range(TILE)]
        for step in (1, 2, 4):  # squares of this side change places across the diagonal
            low = [j if not j & step else TILE + (j ^ step) for j in range(TILE)]
            high = [(j | step) if not j & step else TILE + j for j in range(TILE)]
            for i in (i for i in range(TILE) if not i & step):
                pair = rows[i], rows[i | step]
                rows[i], rows[i | step] = (_shuffled(builder, *pair, places) for places in (low, high))
        for i, row in enumerate(rows):
            memory.store(row, 2, to, _index(i * WIDTH))
        return context.get_dummy_value()

    return types.void(scores, first, out, to), generate


@intrinsic
def _four(_typing, source, first, step, weights, at, out, to):
    """BLOCK channels of four positions `step` apart, mixed by the four weights from `at` on."""

    def generate(context, builder, signature, arguments):
        _, first, step, _, at, _, to = arguments
        memory = _Memory(context, builder, signature, arguments)
        gains = [_spread(builder, memory.number(3, at, _index(i)), LANES) for i in range(BICUBIC)]
        for lane in range(0, BLOCK, LANES):
            total = _all(0.0, LANES)
            for i, gain in enumerate(gains):
                near = memory.load(LANES, 0, first, builder.mul(step, _index(i)), _index(lane))
                total = _fma(builder, gain, near, total)
            memory.store(total, 5, to, _index(lane))
        return context.get_dummy_value()

    return types.void(source, first, step, weights, at, out, to), generate


@intrinsic
def _mix(_typing, weights, first, patch, near, out, to, step):
    """BLOCK channels of eight pixels: what the taps of each, rows of WIDTH, make of a patch (NEAR, NEAR, BLOCK)."""

    def generate(context, builder, signature, arguments):
        _, first, _, near, _, to, step = arguments
        memory = _Memory(context, builder, signature, arguments)
        sums = [_variables(builder, VECTORS, LANES) for _ in range(TILE)]
        with cgutils.for_range(builder, _index(SIDE)) as loop:
            row = builder.mul(loop.index, _index(NEAR * BLOCK))
            taps = builder.mul(loop.index, _index(SIDE))
            for col in range(NEAR):
                values = [
                    memory.load(LANES, 2, near, row, _index(col * BLOCK + lane)) for lane in range(0, BLOCK, LANES)
                ]
                for pixel in range(max(0, col - SIDE + 1), min(TILE, col + 1)):
                    weight = memory.number(0, first, taps, _index(pixel * WIDTH + col - pixel))
                    gain = _spread(builder, weight, LANES)
                    for total, value in zip(sums[pixel], values, strict=True):
                        builder.store(_fma(builder, gain, value, builder.load(total)), total)
        for pixel, totals in enumerate(sums):
            for lane, total in enumerate(totals):
                shift = builder.mul(step, _index(pixel))
                memory.store(builder.load(total), 4, to, shift, _index(lane * LANES))
        return context.get_dummy_value()

    return types.void(weights, first, patch, near, out, to, step), generate


def keys(guidance, first, first_bias, second, second_bias, out):
    """The keys (H, K, W) of a guidance (H, 3, W), W no less than LANES and K a multiple of TILE.

    first (C, 3), second (K, C): weights of the two convolutions, each with its bias.
    """
    count, wide = second.shape[0], guidance.shape[2]
    units = first.shape[0]
    hidden = np.empty(units * LANES, np.float32)
    for y in range(guidance.shape[0]):
        for x in range(0, wide, LANES):
            left = min(x, wide - LANES)
            for unit in range(units):
                _hidden(guidance, y * 3 * wide + left, wide, first, first_bias, unit, hidden)
            for key in range(0, count, TILE):
                to = (y * count + key) * wide + left
                _keyed(hidden, units, second, second_bias, key, out, to, wide)


def kernels(keys, guidance, rows, cols, spatial, out):
    """The kernels of tiles before they are corrected, with what their correction takes: (64 n, WIDTH).

    keys (H, K, W) and guidance (H, 3, W) with margins of RADIUS; rows, cols: of each tile's first pixel.
    """
    count, wide = keys.shape[1], keys.shape[2]
    scores = np.zeros(WIDTH * TILE, np.float32)
    for i in range(len(rows)):
        for y in range(TILE):
            top = rows[i] + y
            centre = (top + RADIUS) * count * wide + cols[i] + RADIUS
            for dy in range(SIDE):
                _scores(keys, centre, (top + dy) * count * wide + cols[i], wide, count, scores, dy * SIDE * TILE)
            _normalise(scores, spatial)
            first = (i * TILE + y) * TILE
            for tap in range(0, WIDTH, TILE):
                _transpose(scores, tap * TILE, out, first * WIDTH + tap)
            for x in range(TILE):
                for colour in range(3):
                    out[first + x, TAPS + colour] = guidance[top + RADIUS, colour, cols[i] + RADIUS + x]
                out[first + x, TAPS + 3] = 1.0


def taps(weights, rows, cols, source, down, down_by, across, across_by, out):
    """What the taps of tiles, (64 n, WIDTH), make of maps resized bicubically: (64 n, R), R a multiple of BLOCK.

    source (h, w, R). down, across: for each position of the resized maps with their margins the first of four source
    positions, and their weights (H, 4) and (W, 4).
    """
    wide, channels = source.shape[1], source.shape[2]
    strip = np.empty((PATCH, NEAR, BLOCK), np.float32)
    patch = np.empty((NEAR, NEAR, BLOCK), np.float32)
    for i in range(len(rows)):
        tall = down[rows[i] : rows[i] + NEAR]
        top, end = tall.min(), tall.max() + BICUBIC
        for c in range(0, channels, BLOCK):
            for y in range(top, end):
                for x in range(NEAR):
                    left = across[cols[i] + x]
                    _four(
                        source, (y * wide + left) * channels + c, channels,
                        across_by, (cols[i] + x) * BICUBIC, strip, ((y - top) * NEAR + x) * BLOCK,
                    )  # fmt: skip
            for y in range(NEAR):
                for x in range(NEAR):
                    _four(
                        strip, ((tall[y] - top) * NEAR + x) * BLOCK, NEAR * BLOCK,
                        down_by, (rows[i] + y) * BICUBIC, patch, (y * NEAR + x) * BLOCK,
                    )  # fmt: skip
            for y in range(TILE):
                pixel = (i * TILE + y) * TILE
                _mix(weights, pixel * WIDTH, patch, y * NEAR * BLOCK, out, pixel * channels + c, channels)


_LIST, _TABLE, _CUBE = int64[::1], float32[:, ::1], float32[:, :, ::1]


class Compiled(NamedTuple):
    """The kernels as machine code."""

    keys: Any
    """See `keys`."""
    kernels: Any
    """See `kernels`."""
    taps: Any
    """See `taps`."""
    block: int
    """Channels of maps are a multiple of it."""


@functools.cache
def compiled(keep: Path | None) -> Compiled:
    """The kernels for this CPU, read from the folder `keep`, or compiled and left there; None = compiled.

    What cannot be read or left is compiled in silence. Machine code for one CPU is not found by another.
    """
    made = (
        _compiled(keys, (_CUBE, _TABLE, float32[::1], _TABLE, float32[::1], _CUBE), keep),
        _compiled(kernels, (_CUBE, _CUBE, _LIST, _LIST, float32[::1], _TABLE), keep),
        _compiled(taps, (_TABLE, _LIST, _LIST, _CUBE, _LIST, _TABLE, _LIST, _TABLE, _TABLE), keep),
    )
    return Compiled(*made, BLOCK)


def _compiled(function, signature, keep):
    try:
        return _of_signature(function, signature, keep)
    except Exception:  # Numba's files there may be damaged, the disk full
        if keep is None:
            raise
        return _of_signature(function, signature, None)


def _of_signature(function, signature, keep):
    made = njit(nogil=True, error_model="numpy")(function)
    if keep is not None:
        before = config.CACHE_DIR
        config.CACHE_DIR = str(keep / llvm.get_host_cpu_name())  # processes on two CPUs at once would mix their files
        try:
            made.enable_caching()
        finally:
            config.CACHE_DIR = before
    made.compile(signature)
    return made
