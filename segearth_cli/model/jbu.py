"""One joint bilateral upsampling (JBU): maps on the grid of an image, steered by it.

FeatUp, arXiv:2403.10516. No tensor of (channels x taps x pixels) is ever made: pixels are taken in tiles of 8 x 8,
whose kernels, spread over the tile's neighbourhood and pulled back through the bicubic interpolation, are small dense
matrices.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from segearth_cli.clock import counted
from segearth_cli.errors import WeightsError
from segearth_cli.model.cosines import Cosines
from segearth_cli.model.cpu_stages import Direct
from segearth_cli.model.kernel_parameters import KernelParameters, convolutions
from segearth_cli.model.products import linear
from segearth_cli.model.resizing import Pullback, pullback, pulled_back
from segearth_cli.model.rows import RowBand, RowOf, Rowwise, dropout2d_gain, stacked
from segearth_cli.model.tiles import TILE, banded, extend, spread, tiles, untiled
from segearth_cli.model.window_cache import Common, TileRun, digest

KEY_ROWS = 32  # whose keys are made at once: what lies between them stays in the cache
CHUNK = 28  # tiles of a block whose kernels are made at once, for the same reason
ACCELERATED = 2048  # tiles at once on accelerators, some 0.17 GB in half precision


class JBU(KernelParameters):
    """One joint bilateral upsampler; its parameters carry the names of published files.

    radius: taps reach this many pixels each way. keys: channels of the range kernel.
    """

    def __init__(self, radius: int = 5, keys: int = 32):
        super().__init__(radius, keys)
        self.direct: Direct | None = None  # the compiled kernels of a CPU, for maps that they serve

    def forward(
        self, source: Tensor, guidance: Tensor, finish: Cosines | None = None, common: Common | None = None
    ) -> Tensor:
        """Maps (B, h, w, R) on the grid of the guidance (B, 3, H, W): (B, H, W, R), or what `finish` makes of them.

        finish: applied to chunks of upsampled pixels while they are in the cache. common: see `Common`; where B = 1.
        """
        height, width = guidance.shape[-2:]
        self.check((height, width))
        if self.direct is not None and self.direct.serves(self, source, guidance):
            return self.direct.stage(self, source, guidance, finish, common)
        place = self.radius, source.device, source.dtype
        axes = pullback(source.shape[1], height, *place), pullback(source.shape[2], width, *place)
        source = F.pad(source, (0, 0, *axes[1].margins, *axes[0].margins))
        shared = self._shared(source.dtype)
        if common is not None:
            return self._blockwise(guidance, source, axes, finish, common, shared)[:, :height, :width]
        if source.device.type != "cpu" and not torch.is_grad_enabled():
            return self._at_once(guidance, source, axes, finish)[:, :height, :width]
        row_of, bands = self._rows(guidance, source, axes, finish)
        if finish is None and torch.is_grad_enabled() and not guidance.requires_grad:
            rows = cast(Tensor, Rowwise.apply(row_of, bands, *(band.whole for band in bands), *shared))
        else:
            rows = stacked(row_of, bands, shared)
        return rows[:, :height, :width]

    def check(self, size: tuple[int, int]) -> None:
        """Raises WeightsError for a guidance of (H, W) that cannot be reflected by the radius."""
        if min(size) <= self.radius:
            raise WeightsError(
                f"guidance of {size[0]} x {size[1]} px is smaller than the upsampler's radius {self.radius}"
            )

    def _rows(
        self, guidance: Tensor, source: Tensor, axes: Axes, finish: Cosines | None
    ) -> tuple[RowOf, list[RowBand]]:
        """What computes one row of tiles (B, 8, W rounded up, K), and the tensors it takes a band of for each row."""
        radius, (down, across) = self.radius, axes
        dropouts = [
            dropout2d_gain(net[2], convolutions(net)[1], guidance) for net in (self.range_proj, self.fixup_proj)
        ]
        extended = extend(guidance, radius)
        neighbours = self._neighbours(extended, dropouts[0])
        blank = None if torch.is_grad_enabled() else self._blank(source, len(source) * len(across.starts))

        def row_of(row: int, around: Tensor, colours: Tensor, strip: Tensor, *shared: Tensor) -> Tensor:
            part = down.part(row, row + 1), across
            weights = self._weights(around, colours, part, source.dtype, shared, dropouts[1], blank)
            return untiled(_applied(weights, [strip], across, finish), (len(strip), 1, len(across.starts)))

        tops = [row * TILE for row in range(len(down.starts))]
        return row_of, [
            RowBand(neighbours, tops, TILE + 2 * radius),
            RowBand(extended, tops, TILE + 2 * radius),
            RowBand(source, down.starts, down.length),
        ]

    def _blockwise(
        self, guidance: Tensor, source: Tensor, axes: Axes, finish: Cosines | None, common: Common,
        shared: Sequence[Tensor],
    ) -> Tensor:  # fmt: skip
        """The same as all rows of tiles, (1, H rounded up, W rounded up, K), in blocks that other windows may have had.

        A block is made by the same steps of the same shapes in whichever window comes first, so no bit depends on it.
        From right to left, because a window to the right may be at the same stage in another thread.
        """
        extended, (down, across) = extend(guidance, self.radius), axes
        height, width = (len(axis.starts) * TILE for axis in axes)
        margin = 2 * self.radius
        out: Tensor | None = None
        undivided = [TileRun(0, len(across.starts), 1)]  # where few tiles recur, in thin blocks, it takes fewer calls
        for tall in common.rows:
            for wide in reversed(common.cols if tall.windows > 1 else undivided):
                part = down.part(tall.first, tall.end), across.part(wide.first, wide.end)
                inside = slice(tall.first * TILE, tall.end * TILE), slice(wide.first * TILE, wide.end * TILE)
                crop = extended[:, inside[0].start : inside[0].stop + margin, inside[1].start : inside[1].stop + margin]
                crop = crop.contiguous()
                make = functools.partial(self._block, crop, part, source.dtype, shared)
                if (windows := tall.windows * wide.windows) > 1:
                    key = id(self), source.shape[1:3], *(tuple(axis.kinds) for axis in part), digest(crop)
                    weights = common.overlap.get(key, windows, make)
                else:
                    weights = make()
                strips = [source[:, at : at + down.length] for at in part[0].starts]
                pixels = _applied(weights, strips, part[1], finish)
                if out is None:  # what is finished goes to be added up phrase by phrase
                    size = (1, height, width, pixels.shape[-1])
                    out = pixels.new_empty(size) if finish is None else _channels_first(pixels, size)
                out[:, inside[0], inside[1]] = untiled(pixels, (1, len(strips), len(part[1].starts)))
        return cast(Tensor, out)

    def _at_once(self, guidance: Tensor, source: Tensor, axes: Axes, finish: Cosines | None) -> Tensor:
        """The same as all rows of tiles at inference, as many of them at once as fill an accelerator."""
        across, rows = axes[1], []
        extended, shared = extend(guidance, self.radius), self._shared(source.dtype)
        for down, weights in self._in_chunks(extended, axes, source.dtype, shared, ACCELERATED):
            strips = [source[:, at : at + down.length] for at in down.starts]
            shape = len(source), len(strips), len(across.starts)
            rows.append(untiled(_applied(weights, strips, across, finish), shape))
        return torch.cat(rows, dim=1)

    def _block(self, extended: Tensor, axes: Axes, maps: torch.dtype, shared: Sequence[Tensor]) -> Tensor:
        """The weights of a block of tiles, (tiles, 64, L), from its part of the extended guidance; see `_weights`."""
        return torch.cat([weights for _, weights in self._in_chunks(extended, axes, maps, shared, CHUNK)])

    def _in_chunks(
        self, extended: Tensor, axes: Axes, maps: torch.dtype, shared: Sequence[Tensor], most: int
    ) -> Iterator[tuple[Pullback, Tensor]]:
        """At inference, some rows of tiles after the other: their pullback down, and their weights; see `_weights`.

        most: tiles at once, but for a row that holds more.
        """
        down, across = axes
        neighbours = self._neighbours(extended, None)
        tall, wide = len(down.starts), len(extended) * len(across.starts)
        step = min(tall, max(1, most // wide))
        blank = self._blank(extended.to(maps), step * wide)
        for first in range(0, tall, step):
            end = min(first + step, tall)
            band = slice(first * TILE, end * TILE + 2 * self.radius)
            part, room = down.part(first, end), blank[: (end - first) * wide]
            near = neighbours[:, band], extended[:, band]
            yield part, self._weights(*near, (part, across), maps, shared, None, room)

    @counted("kernels")
    def _neighbours(self, extended: Tensor, dropout: Tensor | None) -> Tensor:
        """The keys of an extended guidance (B, H, W, 3): (B, H, W, 32)."""
        rows = KEY_ROWS if extended.device.type == "cpu" else extended.shape[1]
        return torch.cat([self._keys(part, dropout) for part in torch.split(extended, rows, dim=1)], dim=1)

    @counted("kernels")
    def _weights(
        self, neighbours: Tensor, extended: Tensor, axes: Axes, maps: torch.dtype, shared: Sequence[Tensor],
        dropout: Tensor | None, blank: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """What the pixels of tiles take of the source positions near them, (tiles, 64, L): kernels pulled back.

        neighbours, extended: keys and guidance of the tiles and their margins, (B, 8 k + 2 radius, 8 m + 2 radius, K).
        shared: log of the spatial kernel, and what `corrections` gives.
        """
        radius, (down, across) = self.radius, axes
        centre, colours = (x[:, radius : -radius or None, radius : -radius or None] for x in (neighbours, extended))
        colours = F.pad(colours, (0, 1), value=1.0).to(self.correcting_for(maps))
        kernel = self._kernels(tiles(centre, 0), tiles(neighbours, radius), tiles(colours, 0), maps, shared, dropout)
        shape = len(extended), len(down.starts), len(across.starts)
        return pulled_back(spread(kernel, radius, blank), (down.operators.unsqueeze(1), across.operators), shape)

    def _kernels(
        self, centre: Tensor, around: Tensor, colours: Tensor, maps: torch.dtype, shared: Sequence[Tensor],
        dropout: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """The kernels of tiles, (n, 64, taps), from their keys (n, 64, 32), those around them, and their colours."""
        spatial, *fixup = shared
        scores = torch.bmm(centre.to(maps), around.to(maps).transpose(1, 2))
        kernel = self._normalised(banded(scores, self.radius).to(centre.dtype), spatial)
        return self._fixed_up(kernel, colours, fixup, dropout).to(maps)

    def at_tiles(self, source: Tensor, guidance: Tensor, rows: Tensor, cols: Tensor, finish: Cosines) -> Tensor:
        """What `finish` makes of some tiles of one window at inference, (n, 64, K): those at rows and cols, (n,).

        Maps (1, h, w, R), guidance (1, 3, H, W). Always as many tiles at once, the last ones filled up, so that a
        tile's numbers depend on no other.
        """
        if self.direct is not None and self.direct.serves(self, source, guidance):
            return self.direct.at_tiles(self, source, guidance, rows, cols, finish)
        place = self.radius, source.device, source.dtype
        down, across = (pullback(n, m, *place) for n, m in zip(source.shape[1:3], guidance.shape[-2:], strict=True))
        source = F.pad(source, (0, 0, *across.margins, *down.margins))[0]
        shared = self._shared(source.dtype)
        extended, side = extend(guidance, self.radius), TILE + 2 * self.radius
        patches = [
            x[0].unfold(0, side, TILE).unfold(1, side, TILE) for x in (self._neighbours(extended, None), extended)
        ]  # (k, m, C, side, side)
        starts = [torch.tensor(axis.starts) for axis in (down, across)]
        blank, found = self._blank(source, CHUNK), []
        for first in range(0, len(rows), CHUNK):
            row, col = (F.pad(x[first : first + CHUNK], (0, max(0, first + CHUNK - len(x)))) for x in (rows, cols))
            weights = self._weights_at(patches, (down, across), (row, col), source.dtype, shared, blank)
            tall, wide = (
                start[at][:, None] + torch.arange(axis.length)
                for start, at, axis in zip(starts, (row, col), (down, across), strict=True)
            )
            found.append(_mixed(weights, source[tall[:, None, :], wide[:, :, None]], finish).view(CHUNK, TILE**2, -1))
        return torch.cat(found)[: len(rows)]

    @counted("kernels")
    def _weights_at(
        self, patches: Sequence[Tensor], axes: Axes, at: tuple[Tensor, Tensor], maps: torch.dtype,
        shared: Sequence[Tensor], blank: Tensor,
    ) -> Tensor:  # fmt: skip
        """The weights of tiles, (n, 64, L), whose keys and guidance are patches[...][at]."""
        around, colours = (patch[at].permute(0, 2, 3, 1) for patch in patches)  # (n, side, side, C)
        inner = slice(self.radius, self.radius + TILE)
        centre, own = (x[:, inner, inner].reshape(len(x), TILE**2, -1) for x in (around, colours))
        own = F.pad(own, (0, 1), value=1.0).to(self.correcting_for(maps))
        kernel = self._kernels(centre, around.reshape(len(around), -1, around.shape[-1]), own, maps, shared, None)
        operators = axes[0].operators[at[0]], axes[1].operators[at[1]]
        return pulled_back(spread(kernel, self.radius, blank), operators, (1, 1, len(kernel)))

    def _keys(self, guidance: Tensor, dropout: Tensor | None) -> Tensor:
        """Guidance (B, H, W, 3) -> keys (B, H, W, 32), scaled so that their products carry the range temperature."""
        parameters = [self.range_temp, *self.range_proj.parameters()]
        first, first_bias, second, second_bias = self.kept.get("keys", parameters, self.key_parameters)
        hidden = F.gelu(F.linear(guidance, first, first_bias))
        if dropout is not None:
            hidden = hidden * dropout.unsqueeze(1)
        return linear(hidden, second, second_bias)

    def _normalised(self, scores: Tensor, log_spatial: Tensor) -> Tensor:
        """Range softmax times spatial kernel, summing to one over the taps, (n, 64, taps); may overwrite the scores.

        Published as softmax, product, division by the sum clamped at 1e-7. The sum is at least the smallest spatial
        weight, so for sigma >= 0.25 the clamp cannot act and one softmax of the summed logarithms is the same.
        """
        if torch.is_grad_enabled() or self.kept.get(
            "wide", [self.sigma_spatial], lambda: bool(self.sigma_spatial.abs() >= 0.25)
        ):
            return torch.softmax(_plus(scores, log_spatial), dim=-1)
        kernel = torch.softmax(scores, dim=-1) * log_spatial.exp()
        return kernel / kernel.sum(dim=-1, keepdim=True).clamp(min=1e-7)

    def _shared(self, maps: torch.dtype) -> list[Tensor]:
        """What all tiles need of the weights: log of the spatial kernel, and what `corrections` gives."""
        weights = [self.sigma_spatial, *self.fixup_proj.parameters()]
        key = "shared", self.correcting_for(maps)
        return self.kept.get(key, weights, lambda: [self.log_spatial(), *self.corrections(maps)])

    def _fixed_up(self, kernel: Tensor, colours: Tensor, fixup: Sequence[Tensor], dropout: Tensor | None) -> Tensor:
        """kernel + 0.1 fixup([kernel, colours]); (n, 64, taps). colours: and a one. fixup: of `corrections`."""
        first, change, bias = fixup
        hidden = linear(torch.cat([kernel.to(first.dtype), colours], dim=-1), first, act="gelu")
        if dropout is not None:
            hidden = hidden * dropout.repeat_interleave(hidden.shape[0] // dropout.shape[0], dim=0)
        return _plus(kernel, linear(hidden, change, bias))

    def _blank(self, like: Tensor, count: int) -> Tensor:
        """Zeros for the kernels of `count` tiles to be spread into, the same places in every tile."""
        side = TILE + 2 * self.radius
        return like.new_zeros(count, side, TILE**2, side)


def _applied(weights: Tensor, strips: Sequence[Tensor], across: Pullback, finish: Cosines | None) -> Tensor:
    """Upsampled pixels of rows of tiles, (tiles, 64, K), from their weights and from a strip of the source each."""
    near = [across.windows(strip.transpose(1, 2)) for strip in strips]  # (B, m, across, down, R)
    sources = near[0] if len(near) == 1 else torch.stack(near, dim=1)
    return _mixed(weights, sources, finish)


@counted("taps")
def _mixed(weights: Tensor, sources: Tensor, finish: Cosines | None) -> Tensor:
    """Upsampled pixels from their weights (n, 64, L) and the source positions of their tiles, L of each."""
    out = torch.bmm(weights, sources.reshape(len(weights), weights.shape[2], -1))
    return out if finish is None else finish(out)


def _channels_first(like: Tensor, size: tuple[int, int, int, int]) -> Tensor:
    """An empty tensor (B, H, W, K) that lies in memory as (B, K, H, W)."""
    b, height, width, k = size
    return like.new_empty(b, k, height, width).permute(0, 2, 3, 1)


Axes = tuple[Pullback, Pullback]  # down, across


def _plus(x: Tensor, more: Tensor) -> Tensor:
    """x + more; in the place of x where no gradient is asked for."""
    return x + more if torch.is_grad_enabled() else x.add_(more)
