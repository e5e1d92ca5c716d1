"""The Triton kernels of the upsampler on a GPU; `gpu_stages` says what they are for and launches them.

Every offset within a tile fits 32 bits; the tile's own is 64 bits wide. Sizes in capitals are fixed when a kernel is
compiled. Products take their operands as they are stored (half precision) and are summed in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _gelu(x):
    return 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))


@triton.jit
def _reflected(at, n):
    """Positions reflected at both ends of 0..n-1; what lies still further, in the overhang of tiles, is clamped."""
    at = tl.abs(at)
    at = tl.where(at < n, at, 2 * (n - 1) - at)
    return tl.maximum(at, 0)


@triton.jit
def keys_kernel(
    guidance,  # (B, 3, H, W) float32
    first,  # (3, K) float32
    first_bias,  # (K,) float32
    second,  # (K, K), input channels outermost
    second_bias,  # (K,) float32
    keys,  # out: (B, rows, cols, K)
    height,
    width,
    rows,
    cols,
    RADIUS: tl.constexpr,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Keys on the grid reflected by the radius: BLOCK positions of one window."""
    window = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < rows * cols
    y, x = _reflected(place // cols - RADIUS, height), _reflected(place % cols - RADIUS, width)
    colours = guidance + window * 3 * height * width + y * width + x
    k = tl.arange(0, K)
    hidden = tl.load(first_bias + k)[None, :]
    for c in tl.static_range(3):
        colour = tl.load(colours + c * height * width, mask=inside, other=0.0)
        hidden += colour[:, None] * tl.load(first + c * K + k)[None, :]
    weight = tl.load(second + k[:, None] * K + k[None, :])
    made = tl.dot(_gelu(hidden).to(weight.dtype), weight, input_precision="ieee")
    made += tl.load(second_bias + k)[None, :]
    out = keys + window * rows * cols * K + place[:, None] * K + k[None, :]
    tl.store(out, made.to(keys.dtype.element_ty), mask=inside[:, None])


@triton.jit
def taps_kernel(
    keys,  # (B, rows, cols, K), from keys_kernel
    guidance,  # (B, 3, H, W) float32
    spatial,  # (T,) float32, 0 past the taps
    first,  # (T, T), input taps outermost
    first_colours,  # (3, T) float32
    first_bias,  # (T,) float32
    second,  # (T, T), times 0.1
    second_bias,  # (T,) float32, times 0.1
    taps,  # out: (B, H, W, T)
    height,
    width,
    rows,
    cols,
    T: tl.constexpr,  # taps, padded to a power of two
    N: tl.constexpr,  # pixels of a tile's neighbourhood, padded to a power of two
    RADIUS: tl.constexpr,
    K: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
):
    """The kernels of one tile of TALL x WIDE pixels.

    Scores of all pairs of a pixel and a neighbour of the tile are one product on the matrix units; each pixel's own
    taps are gathered from it. No value per tap and key channel is loaded, let alone stored.
    """
    P: tl.constexpr = TALL * WIDE
    SIDE: tl.constexpr = 2 * RADIUS + 1
    ACROSS: tl.constexpr = WIDE + 2 * RADIUS
    window = tl.program_id(2).to(tl.int64)
    top, left = tl.program_id(1) * TALL, tl.program_id(0) * WIDE
    p, n, t, k = tl.arange(0, P), tl.arange(0, N), tl.arange(0, T), tl.arange(0, K)
    y, x = p // WIDE, p % WIDE

    corner = keys + ((window * rows + top) * cols + left) * K
    centre = tl.load(corner + ((y + RADIUS) * cols + x + RADIUS)[:, None] * K + k[None, :])
    inside = n < (TALL + 2 * RADIUS) * ACROSS
    around = tl.load(
        corner + (n // ACROSS * cols + n % ACROSS)[:, None] * K + k[None, :], mask=inside[:, None], other=0.0
    )
    scores = tl.dot(centre, tl.trans(around), input_precision="ieee")  # (P, N)
    real = t < SIDE * SIDE
    own = (y * ACROSS + x)[:, None] + tl.where(real, t // SIDE * ACROSS + t % SIDE, 0)[None, :]
    scores = tl.where(real[None, :], tl.gather(scores, own, 1), float("-inf"))  # (P, T)

    weights = tl.exp(scores - tl.max(scores, axis=1)[:, None])
    least = 1e-7 * tl.sum(weights, axis=1)  # the published clamp of a sum of softmax times spatial kernel
    weights *= tl.load(spatial + t)[None, :]
    weights /= tl.maximum(tl.sum(weights, axis=1), least)[:, None]

    y, x = y + top, x + left
    shown = (y < height) & (x < width)
    colours = guidance + window * 3 * height * width + y * width + x
    weight = tl.load(first + t[:, None] * T + t[None, :])
    hidden = tl.dot(weights.to(weight.dtype), weight, input_precision="ieee") + tl.load(first_bias + t)[None, :]
    for c in tl.static_range(3):
        colour = tl.load(colours + c * height * width, mask=shown, other=0.0)
        hidden += colour[:, None] * tl.load(first_colours + c * T + t)[None, :]
    weight = tl.load(second + t[:, None] * T + t[None, :])
    weights += tl.dot(_gelu(hidden).to(weight.dtype), weight, input_precision="ieee")
    weights += tl.load(second_bias + t)[None, :]
    out = taps + window * height * width * T + (y * width + x)[:, None] * T + t[None, :]
    tl.store(out, weights.to(taps.dtype.element_ty), mask=shown[:, None])


@triton.jit
def apply_kernel(
    taps,  # (B, H, W, T), from taps_kernel
    fine,  # (B, rows, cols, R), the source on the target's grid, reflected by the radius
    offset,  # (B, R) float32, read where Q > 0
    out,  # (B, H, W, R), or (B, H, W, queries) float32 where Q > 0
    height,
    width,
    rows,
    cols,
    channels,  # R
    span,
    queries,  # channels span..span + queries - 1 are products with phrases
    RADIUS: tl.constexpr,
    T: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
    NEAR: tl.constexpr,  # neighbours at once
    BLOCK: tl.constexpr,  # channels at once
    Q: tl.constexpr,  # queries padded to a power of two, at least 16; 0 to write the maps themselves
):
    """Upsampled maps of one tile; where Q > 0 its cosines: products over the length of the first `span` channels.

    The tile's kernels, spread over its neighbourhood, times the neighbourhood's maps: a matrix product.
    """
    SIDE: tl.constexpr = 2 * RADIUS + 1
    ACROSS: tl.constexpr = WIDE + 2 * RADIUS
    SIZE: tl.constexpr = (TALL + 2 * RADIUS) * ACROSS
    across = tl.cdiv(width, WIDE)
    window = tl.program_id(2).to(tl.int64)
    top, left = tl.program_id(0) // across * TALL, tl.program_id(0) % across * WIDE
    p = tl.arange(0, TALL * WIDE)
    y, x = p // WIDE, p % WIDE
    shown = (y + top < height) & (x + left < width)
    origin = (window * height + top) * width + left  # the tile's first pixel
    pixel = y * width + x  # from there
    near_taps = taps + origin * T + (pixel * T - y * SIDE - x)[:, None]  # at neighbour (0, 0) of the tile
    corner = fine + ((window * rows + top) * cols + left) * channels
    first = tl.program_id(1) * BLOCK
    squares = tl.zeros((TALL * WIDE,), tl.float32)
    q = tl.arange(0, max(Q, 16))
    products = tl.zeros((TALL * WIDE, max(Q, 16)), tl.float32)
    for start in range(first, span if Q > 0 else first + 1, BLOCK):
        r = start + tl.arange(0, BLOCK)
        total = tl.zeros((TALL * WIDE, BLOCK), tl.float32)
        products = tl.zeros((TALL * WIDE, max(Q, 16)), tl.float32)
        for near in range(0, SIZE, NEAR):
            n = near + tl.arange(0, NEAR)
            row, col = n // ACROSS, n % ACROSS
            dy, dx = row[None, :] - y[:, None], col[None, :] - x[:, None]
            reached = (dy >= 0) & (dy < SIDE) & (dx >= 0) & (dx < SIDE) & shown[:, None] & (n < SIZE)[None, :]
            weights = tl.load(near_taps + (row * SIDE + col)[None, :], mask=reached, other=0.0)
            at = corner + (row * cols + col)[:, None] * channels
            maps = tl.load(at + r[None, :], mask=(n < SIZE)[:, None] & (r < channels)[None, :], other=0.0)
            total = tl.dot(weights, maps, total, input_precision="ieee")
            if Q > 0:
                inside = (n < SIZE)[:, None] & (q < queries)[None, :]
                maps = tl.load(at + span + q[None, :], mask=inside, other=0.0)
                products = tl.dot(weights, maps, products, input_precision="ieee")
        if Q > 0:
            total += tl.load(offset + window * channels + r, mask=r < span, other=0.0)[None, :]
            squares += tl.sum(tl.where((r < span)[None, :], total * total, 0.0), axis=1)
        else:
            place = out + origin * channels + pixel[:, None] * channels + r[None, :]
            tl.store(place, total.to(out.dtype.element_ty), mask=shown[:, None] & (r < channels)[None, :])
    if Q > 0:
        products += tl.load(offset + window * channels + span + q, mask=q < queries, other=0.0)[None, :]
        products /= tl.maximum(tl.sqrt(squares), 1e-12)[:, None]
        place = out + origin * queries + pixel[:, None] * queries + q[None, :]
        tl.store(place, products, mask=shown[:, None] & (q < queries)[None, :])
