"""The upsampler in three Triton kernels a stage, for half precision on a GPU; `jbu` holds what they must equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segearth_cli.model.constants import constant
from segearth_cli.model.cosines import Cosines
from segearth_cli.model.kernel_parameters import KernelParameters, convolutions
from segearth_cli.model.resizing import resizing
from segearth_cli.model.tiles import TILE  # halved in height by `taps_kernel`: radius 5 then fills 252 of 256 places

CHUNK_BYTES = 1 << 29  # what the tensors between the kernels may take at a stage
FUSED_QUERIES = 64  # phrases whose products fit the registers beside the span
PLACES = 256  # of a tile's neighbourhood, and channels at once
ROUNDINGS = 4  # of the largest value, by which a proof may be off; PyTorch's own half precision was off by 1 to 2
OTHER_WINNERS = 0.001  # of the pixels of a proof, that may have another best phrase

Steps = Sequence[tuple[KernelParameters, tuple[int, int]]]  # the JBU of each stage, and the (H, W) it ends at
Plain = Callable[[Steps, Tensor, Tensor, "Cosines | None"], Tensor]  # PyTorch's path from the same arguments


class Fused:
    """The kernels where they have shown that they compute what PyTorch does.

    The first window of a kind is computed by PyTorch in float32 too, because no card is known to be like another. A
    machine without Triton or a compiler, or a card that the kernels do not compile for or compute something else on, is
    told of once to `notice`; from then on PyTorch's path does the work.
    """

    def __init__(self, notice: Callable[[str], None] = lambda _line: None):
        self.refused: str | None = None  # why, once they are
        self._notice = notice
        self._proven: set[tuple[object, ...]] = set()

    def attempt(
        self, steps: Steps, maps: Tensor, guidance: Tensor, finish: Cosines | None, plain: Plain
    ) -> Tensor | None:
        """`lift`, or None where PyTorch's path has to do: other precisions, larger radii, machines that cannot.

        Raises torch.OutOfMemoryError as PyTorch does.
        """
        known = maps.dtype in (torch.float16, torch.bfloat16) and all(_fits(jbu) for jbu, _ in steps)
        if self.refused is not None or not known:
            return None
        kind = maps.device, maps.dtype, steps[0][0].radius, finish is not None and _fusable(finish)
        try:
            with torch.cuda.device(maps.device) if maps.is_cuda else nullcontext():
                if kind not in self._proven:
                    first = maps[:1], guidance[:1], finish and finish.part(0, 1)
                    exact = plain(steps, maps[:1].float(), *first[1:])
                    _compare(lift(steps, *first), exact, maps.dtype, winners=first[2] is not None)
                    self._proven.add(kind)
                return lift(steps, maps, guidance, finish)
        except torch.OutOfMemoryError:
            raise
        except Exception as e:  # whatever a compiler, a driver or a card may come up with
            if "out of memory" in str(e):
                raise torch.OutOfMemoryError(str(e)) from e
            reason = next((line.strip() for line in str(e).splitlines() if line.strip()), type(e).__name__)
            self.refused = reason[:200]
            self._notice(
                f"the upsampler's GPU kernels do not run here ({self.refused}); going on with slower ones of PyTorch"
            )
            return None


def lift(steps: Steps, maps: Tensor, guidance: Tensor, finish: Cosines | None = None) -> Tensor:
    """Maps (B, h, w, R) through all stages: (B, H, W, R), or with `finish` (B, H, W, Q) in float32.

    guidance: (B, 3, H, W). Windows are taken a few at a time: see CHUNK_BYTES; no window's numbers depend on it.
    """
    channels = maps.shape[-1]
    maps = F.pad(maps, (0, -channels % 16))  # rows of whole 16 byte vectors
    made = {jbu: _kept_operands(jbu, maps.dtype) for jbu, _ in steps}
    height, width = steps[-1][1]
    each = 2 * maps.element_size() * height * width * (maps.shape[-1] + made[steps[-1][0]].spatial.numel())
    count = max(1, CHUNK_BYTES // each)
    parts = []
    for first in range(0, len(maps), count):
        part, image = maps[first : first + count], guidance[first : first + count].float()
        last = finish and finish.part(first, first + len(part))
        for i, (jbu, size) in enumerate(steps, 1):
            final = last if i == len(steps) and last is not None and _fusable(last) else None
            part = stage(made[jbu], part, F.adaptive_avg_pool2d(image, size), final)
        if last is None or not _fusable(last):
            part = part[..., :channels]
        if last is not None and not _fusable(last):
            part = last(part.flatten(1, 2)).view(*part.shape[:3], -1)
        parts.append(part)
    return torch.cat(parts) if len(parts) > 1 else parts[0]


@dataclass(frozen=True, slots=True)
class Operands:
    """The parameters of a JBU as the kernels read them: input channels outermost, padded with zeros to powers of two.

    K key channels, T taps.
    """

    radius: int
    """How many pixels taps reach each way."""
    range: tuple[Tensor, Tensor, Tensor, Tensor]
    """Weight (3, K) and bias (K,) of the first key convolution, (K, K) and (K,) of the second with the temperature."""
    spatial: Tensor
    """(T,), the spatial kernel."""
    fixup: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    """Weight (T, T), of the colours (3, T) and bias (T,) of the first convolution, (T, T) and (T,) of the second."""


def _kept_operands(jbu: KernelParameters, dtype: torch.dtype) -> Operands:
    made: Operands = jbu.kept.get(("operands", dtype), list(jbu.parameters()), lambda: operands(jbu, dtype))
    return made


def operands(jbu: KernelParameters, dtype: torch.dtype) -> Operands:
    """The operands of a JBU; `dtype` is that of the products, the rest is float32."""
    first, first_bias, second, second_bias = jbu.key_parameters()
    keys, taps = _power(len(second)), _power(jbu.taps)
    range_ = (
        _padded(first.T, 3, keys).float(),
        _padded(first_bias[None], 1, keys).float(),
        _padded(second.T, keys, keys).to(dtype),
        _padded(second_bias[None], 1, keys).float(),
    )
    widened, change, change_bias = jbu.correction_parameters()
    of_taps, of_colours, bias = torch.split(widened.T, [jbu.taps, 3, 1])
    fixup = (
        _padded(of_taps, taps, taps).to(dtype),
        _padded(of_colours, 3, taps).float(),
        _padded(bias, 1, taps).float(),
        _padded(change.T, taps, taps).to(dtype),
        _padded(change_bias[None], 1, taps).float(),
    )
    return Operands(jbu.radius, range_, _padded(jbu.log_spatial().exp()[None], 1, taps).float(), fixup)


def stage(made: Operands, source: Tensor, guidance: Tensor, finish: Cosines | None = None) -> Tensor:
    """One doubling: maps (B, h, w, R) on the grid of the guidance (B, 3, H, W) float32, R a multiple of 16.

    (B, H, W, R), or with `finish`, which must be fusable, (B, H, W, Q) in float32.
    """
    from segearth_cli.model import gpu_kernels as kernels

    b, _, _, channels = source.shape
    height, width = guidance.shape[-2:]
    fine = _fine(source, height, width, made.radius)
    rows, cols = fine.shape[1:3]
    size = height, width, rows, cols
    k, t = made.range[0].shape[1], made.spatial.numel()
    guidance = guidance.contiguous()
    keys = source.new_empty(b, rows, cols, k)
    kernels.keys_kernel[-(-rows * cols // 128), b](
        guidance, *made.range, keys, *size, RADIUS=made.radius, K=k, BLOCK=128, num_warps=4
    )
    taps = source.new_empty(b, height, width, t)
    tiles = -(-width // TILE), -(-height // TILE)
    kernels.taps_kernel[tiles[0], 2 * tiles[1], b](
        *(keys, guidance, made.spatial, *made.fixup, taps, *size),
        **{"RADIUS": made.radius, "K": k, "T": t, "N": PLACES, "TALL": TILE // 2, "WIDE": TILE},
        num_warps=8,
        num_stages=1,
    )
    block = min(PLACES, _power(channels))
    span, queries = (finish.span, finish.offset.shape[-1] - finish.span) if finish else (channels, 0)
    offset = F.pad(finish.offset, (0, channels - span - queries)).float().contiguous() if finish else made.spatial
    out = source.new_empty(b, height, width, queries, dtype=torch.float32) if finish else None
    out = source.new_empty(b, height, width, channels) if out is None else out
    kernels.apply_kernel[tiles[0] * tiles[1], 1 if finish else -(-channels // block), b](
        *(taps, fine, offset, out, *size, channels, span, queries),
        **{"RADIUS": made.radius, "T": t, "TALL": TILE, "WIDE": TILE, "NEAR": 32, "BLOCK": block},
        Q=_power(queries) if finish else 0,
        num_warps=8,
        num_stages=3,
    )
    return out


def _fine(source: Tensor, height: int, width: int, radius: int) -> Tensor:
    """Maps (B, h, w, R) resized bicubically, reflected by the radius and filled up to tiles with zeros, as products."""
    sizes = zip(source.shape[1:3], (height, width), strict=True)
    down, across = (_to_whole_tiles(n, target, radius, source.device, source.dtype) for n, target in sizes)
    wide = torch.matmul(across, source)  # (B, h, cols, R)
    return torch.matmul(down, wide.flatten(2)).view(len(source), len(down), len(across), -1)


@constant()
def _to_whole_tiles(source: int, target: int, radius: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`resizing` with zeros below to whole tiles."""
    return F.pad(resizing(source, target, radius), (0, 0, 0, -target % TILE)).to(device, dtype)


def _fits(jbu: KernelParameters) -> bool:
    """Whether the neighbourhood of a tile and the taps of a JBU fit the kernels."""
    margin = 2 * int(jbu.radius)
    return (TILE // 2 + margin) * (TILE + margin) <= PLACES and convolutions(jbu.range_proj)[1].out_channels <= 64


def _fusable(finish: Cosines) -> bool:
    """Whether the last stage's kernel can make the cosines itself."""
    return 0 < finish.ready <= FUSED_QUERIES


def _compare(found: Tensor, exact: Tensor, dtype: torch.dtype, *, winners: bool) -> None:
    """Raises ArithmeticError unless the kernels' window is the exact one but for rounding in `dtype`.

    winners: the last axis holds cosines with phrases, so the best phrase of a pixel is compared too.
    """
    away, largest = (found.float() - exact).abs().max(), exact.abs().max()
    if not away <= ROUNDINGS * torch.finfo(dtype).eps * largest:  # a NaN is no rounding
        raise ArithmeticError(f"a first window differs by {away:.3g} of {largest:.3g}")
    if winners:
        other = float((found.argmax(dim=-1) != exact.argmax(dim=-1)).float().mean())
        if other > OTHER_WINNERS:
            raise ArithmeticError(f"a first window has another best phrase at {other:.2%} of its pixels")


def _power(n: int) -> int:
    """The power of two from 16 on, the least side of a matrix product, that holds n."""
    return max(16, 1 << (n - 1).bit_length())


def _padded(x: Tensor, rows: int, cols: int) -> Tensor:
    return F.pad(x.detach(), (0, cols - x.shape[1], 0, rows - x.shape[0])).contiguous()
