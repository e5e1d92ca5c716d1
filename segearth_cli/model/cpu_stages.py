"""The upsampler by compiled kernels, for float32 at inference on a CPU; `jbu` holds what they must equal."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from segearth_cli.clock import counted
from segearth_cli.model.choices import Kernels
from segearth_cli.model.constants import constant
from segearth_cli.model.cosines import Cosines
from segearth_cli.model.cpu_shapes import BICUBIC, NEAR, PATCH, RADIUS, WIDTH
from segearth_cli.model.kernel_parameters import KernelParameters
from segearth_cli.model.products import linear
from segearth_cli.model.resizing import resizing
from segearth_cli.model.tiles import TILE, extend, untiled
from segearth_cli.model.window_cache import Common, TileRun, digest

CHUNK = 28  # tiles at once: what lies between their kernels and the correction stays in the cache
STRIP = 4  # rows of tiles at once where no other window has any

Tiles = tuple[Tensor, Tensor]  # row and column of the first pixel of each, (n,)
Bicubic = tuple[Tensor, Tensor]  # of an axis: the first of four source positions of each resized one, their weights


def llvm_version() -> str | None:
    """The version of llvmlite, LLVM for Python, which compiles the kernels; None where it cannot be imported."""
    try:
        import llvmlite
    except ImportError:
        return None
    return str(llvmlite.__version__)


def by_llvm(kernels: Kernels, device: torch.device) -> bool:
    """Whether the upsampler runs by the compiled kernels on a device, as far as they serve it."""
    return device.type == "cpu" and kernels != "torch" and llvm_version() is not None


class Direct:
    """The compiled kernels: taps are taken where they are, in place of products with dense neighbourhoods."""

    def __init__(self) -> None:
        """Compiles the kernels, a fifth of a second of CPU, once in a process. Raises ImportError without llvmlite."""
        from segearth_cli.model import cpu_kernels

        self._code = cpu_kernels.compiled()

    def __deepcopy__(self, _memo: object) -> Direct:
        return self

    def serves(self, jbu: KernelParameters, maps: Tensor, guidance: Tensor) -> bool:
        """Whether a JBU can lift maps (B, h, w, R) so: float32 on a CPU, at inference, with the published radius.

        The guidance (B, 3, H, W) must be no smaller than the maps.
        """
        known = maps.device.type == "cpu" and maps.dtype == guidance.dtype == torch.float32 and jbu.radius == RADIUS
        grown = all(n <= m for n, m in zip(maps.shape[1:3], guidance.shape[2:], strict=True))
        return known and grown and not jbu.training and not torch.is_grad_enabled()

    def stage(
        self, jbu: KernelParameters, source: Tensor, guidance: Tensor, finish: Cosines | None, common: Common | None
    ) -> Tensor:
        """What `JBU.forward` gives: maps (B, h, w, R) on the grid of the guidance (B, 3, H, W)."""
        windows = [
            self._window(jbu, source[i], guidance[i : i + 1], finish and finish.part(i, i + 1), common)
            for i in range(len(source))
        ]
        return windows[0] if len(windows) == 1 else torch.cat(windows)

    def at_tiles(
        self, jbu: KernelParameters, source: Tensor, guidance: Tensor, rows: Tensor, cols: Tensor, finish: Cosines
    ) -> Tensor:
        """What `JBU.at_tiles` gives: what `finish` makes of the tiles at rows and cols, (n, 64, K)."""
        made, extended, found = _kept_weights(jbu), extend(guidance, RADIUS)[0], []
        maps = _Maps(source[0], guidance, self._code.block)
        near = self._neighbours(made, extended)
        for first in range(0, len(rows), CHUNK):  # always as many, so that a tile's numbers depend on no other
            part = [F.pad(x[first : first + CHUNK], (0, max(0, first + CHUNK - len(x)))) for x in (rows, cols)]
            tiles = part[0] * TILE, part[1] * TILE
            found.append(self._pixels(self._weights(made, near, tiles), tiles, maps, finish))
        return torch.cat(found)[: len(rows)]

    def _window(
        self, jbu: KernelParameters, source: Tensor, guidance: Tensor, finish: Cosines | None, common: Common | None
    ) -> Tensor:
        """One window's maps (h, w, R): (1, H, W, K), in blocks that other windows may have had."""
        made, extended, maps = (
            _kept_weights(jbu),
            extend(guidance, RADIUS)[0],
            _Maps(source, guidance, self._code.block),
        )
        tall, wide = ((side - 2 * RADIUS) // TILE for side in extended.shape[:2])
        out: Tensor | None = None
        for down, across in _blocks(common, tall, wide):
            crop = _with_margins(extended, down, across)
            make = functools.partial(self._block, made, crop)
            if common is not None and (windows := down.windows * across.windows) > 1:
                weights = common.overlap.get((id(jbu), crop.shape, digest(crop)), windows, make)
            else:
                weights = make()
            count, left = across.end - across.first, across.first * TILE
            step = max(1, CHUNK // count)
            for row, mine in zip(
                range(down.first, down.end, step), torch.split(weights, step * count * TILE**2), strict=True
            ):
                end = min(row + step, down.end)
                pixels = self._pixels(mine, _grid(row, end, across.first, across.end), maps, finish)
                if out is None:
                    out = _blank(pixels, (tall * TILE, wide * TILE), first_channels=finish is not None)
                out[:, row * TILE : end * TILE, left : left + count * TILE] = untiled(pixels, (1, end - row, count))
        height, width = guidance.shape[-2:]
        return cast(Tensor, out)[:, :height, :width]

    def _block(self, made: KernelWeights, extended: Tensor) -> Tensor:
        """The weights of all tiles of an extended guidance (H, W, 3): see `_weights`."""
        tall, wide = ((side - 2 * RADIUS) // TILE for side in extended.shape[:2])
        near, (rows, cols) = self._neighbours(made, extended), _grid(0, tall, 0, wide)
        weights = extended.new_empty(len(rows) * TILE**2, WIDTH)
        for first in range(0, len(rows), CHUNK):
            tiles = rows[first : first + CHUNK], cols[first : first + CHUNK]
            out = weights[first * TILE**2 : (first + CHUNK) * TILE**2]
            self._weights(made, near, tiles, out)
        return weights

    @counted("kernels")
    def _neighbours(self, made: KernelWeights, extended: Tensor) -> tuple[Tensor, Tensor]:
        """The keys (H, K, W) of an extended guidance (H, W, 3), and the guidance as (H, 3, W).

        Keys are scaled so that their products carry the temperature.
        """
        guidance = extended.transpose(1, 2).contiguous()
        tall, _, wide = guidance.shape
        count, units = made.range[2].shape
        keys, hidden = guidance.new_empty(tall, count, wide), guidance.new_empty(units, self._code.lanes)
        self._code.keys(guidance, *made.range, keys, hidden, tall, wide, units, count)
        return keys, guidance

    @counted("kernels")
    def _weights(
        self, made: KernelWeights, near: tuple[Tensor, Tensor], tiles: Tiles, out: Tensor | None = None
    ) -> Tensor:
        """What pixels of tiles take of those near them, (64 n, WIDTH): a row's first numbers are its kernel.

        near: of `_neighbours`, that of the tiles and their margins. out: where to.
        """
        first, second, bias = made.fixup
        kernels, scores = near[0].new_empty(len(tiles[0]) * TILE**2, WIDTH), near[0].new_zeros(WIDTH, TILE)
        self._code.kernels(*near, made.spatial, kernels, scores, *tiles, len(tiles[0]), *near[0].shape[1:])
        hidden = linear(kernels.to(first.dtype), first, act="gelu")
        return torch.add(kernels, linear(hidden, second, bias), out=out)

    @counted("taps")
    def _pixels(self, weights: Tensor, tiles: Tiles, maps: _Maps, finish: Cosines | None) -> Tensor:
        """The upsampled pixels of tiles, (n, 64, K), from their weights."""
        wide, channels = maps.filled.shape[1:]
        (down, down_by), (across, across_by) = maps.bicubic
        out = weights.new_empty(len(weights), channels)
        room = [weights.new_empty(tall, NEAR, self._code.block) for tall in (PATCH, NEAR)]
        arrays = weights, maps.filled, down_by, across_by, out, *room
        self._code.taps(*arrays, *tiles, down, across, len(tiles[0]), wide, channels)
        pixels = out.view(-1, TILE**2, out.shape[-1])[..., : maps.channels]
        return pixels if finish is None else finish(pixels).view(*pixels.shape[:2], -1)


class _Maps:
    """Maps (h, w, R) as the kernels read them, to be resized to the grid of a guidance (1, 3, H, W).

    block: they get a multiple of so many channels.
    """

    def __init__(self, source: Tensor, guidance: Tensor, block: int):
        h, w, self.channels = source.shape
        more = -self.channels % block, max(0, BICUBIC - w), max(0, BICUBIC - h)
        self.filled = F.pad(source, (0, more[0], 0, more[1], 0, more[2])).contiguous()
        height, width = guidance.shape[-2:]
        self.bicubic: tuple[Bicubic, Bicubic] = _bicubic(h, height), _bicubic(w, width)


@dataclass(frozen=True, slots=True)
class KernelWeights:
    """The parameters of a JBU as the kernels take them: C hidden channels, K keys, T taps, rows of WIDTH numbers."""

    range: tuple[Tensor, Tensor, Tensor, Tensor]
    """Weight (C, 3) and bias of the first key convolution; of the second, with the temperature, (K, C), K of 8 each."""
    spatial: Tensor
    """(T,), the spatial kernel."""
    fixup: tuple[Tensor, Tensor, Tensor]
    """Weight of the first convolution with its bias as one more column, weight and bias of a tenth of the second."""


def _kept_weights(jbu: KernelParameters) -> KernelWeights:
    made: KernelWeights = jbu.kept.get(("direct", jbu.correcting), list(jbu.parameters()), lambda: kernel_weights(jbu))
    return made


def kernel_weights(jbu: KernelParameters) -> KernelWeights:
    """The parameters of a JBU for the kernels; those of the correction in the dtype that it has for them."""
    first, first_bias, second, second_bias = (x.detach() for x in jbu.key_parameters())
    more = -len(second) % TILE
    range_ = first, first_bias, F.pad(second, (0, 0, 0, more)), F.pad(second_bias, (0, more))
    widened, change, change_bias = (
        F.pad(x.detach(), [n for side in reversed(x.shape) for n in (0, WIDTH - side)]).contiguous()
        for x in jbu.corrections(torch.float32)
    )
    return KernelWeights(range_, jbu.log_spatial().exp().detach(), (widened, change, change_bias))


@constant()
def _bicubic(source: int, target: int) -> Bicubic:
    """`resizing` as the first of BICUBIC source positions and their weights, of each resized one; to whole tiles."""
    whole = F.pad(resizing(source, target, RADIUS), (0, max(0, BICUBIC - source), 0, -target % TILE))
    first = whole.ne(0).int().argmax(dim=1).clamp(max=whole.shape[1] - BICUBIC)
    first[target + 2 * RADIUS :] = first[target + 2 * RADIUS - 1]  # near the others of their tile
    weights = whole.gather(1, first[:, None] + torch.arange(BICUBIC))
    return first, weights.float()


@constant(256)
def _grid(top: int, bottom: int, left: int, right: int) -> Tiles:
    """The tiles of some rows and columns of tiles, row by row."""
    rows, cols = torch.arange(top, bottom) * TILE, torch.arange(left, right) * TILE
    return rows.repeat_interleave(len(cols)), cols.repeat(len(rows))


def _blocks(common: Common | None, tall: int, wide: int) -> Iterator[tuple[TileRun, TileRun]]:
    """The blocks that the tiles of a window are made in.

    From right to left, because a window to the right may be at the same stage in another thread.
    """
    whole = TileRun(0, wide, 1)
    if common is None:
        yield from ((TileRun(row, min(row + STRIP, tall), 1), whole) for row in range(0, tall, STRIP))
        return
    for down in common.rows:
        yield from ((down, across) for across in (reversed(common.cols) if down.windows > 1 else [whole]))


def _with_margins(extended: Tensor, down: TileRun, across: TileRun) -> Tensor:
    """A block's part of an extended guidance (H, W, 3)."""
    rows, cols = (slice(run.first * TILE, run.end * TILE + 2 * RADIUS) for run in (down, across))
    return extended[rows, cols].contiguous()


def _blank(pixels: Tensor, size: tuple[int, int], *, first_channels: bool) -> Tensor:
    """Room for the pixels (n, 64, K) of a window, (1, *size, K); first_channels: it lies as (1, K, *size) in memory.

    What is finished goes to be added up phrase by phrase.
    """
    if first_channels:
        return pixels.new_empty(1, pixels.shape[-1], *size).permute(0, 2, 3, 1)
    return pixels.new_empty(1, *size, pixels.shape[-1])
