"""Encoder, upsampler and phrases together: chips to logits. Knows no files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segearth_cli.clock import stage
from segearth_cli.model.cosines import Cosines
from segearth_cli.model.cpu_stages import Direct
from segearth_cli.model.device import finer
from segearth_cli.model.encoder import Encoder
from segearth_cli.model.gpu_stages import Fused
from segearth_cli.model.refine import undecided
from segearth_cli.model.tiles import TILE
from segearth_cli.model.upsampler import Upsampler
from segearth_cli.model.window_cache import Overlap

Crop = tuple[slice, slice]

AXES = 16  # come and go together, for the matrix units
RESIDUAL = 3e-3  # half its square, 5e-6, is what a cosine changes by at a pixel as long as the median token


class Segmenter(nn.Module):
    """What turns a window into a cosine for every phrase and pixel.

    phrases: unit text embeddings (Q, C). upsampler: None for logits at token resolution, resized bilinearly.
    global_bias: how much of the global token's own cosine is taken away (lambda = -global_bias).
    precision: dtype of the image tower's products and, but for bfloat16, of the upsampler's; sums, norms and logits
    are float32. fused, direct: the upsampler's kernels on CUDA and on a CPU; None = PyTorch. offsets: (Q,), added to
    the logits; None = none. adaptive: the class of each phrase, to run the upsampler's last stage on a CPU only where
    two classes come close; None = everywhere.
    Encoder and upsampler are left as they are.
    """

    phrases: Tensor
    offsets: Tensor | None

    def __init__(
        self,
        encoder: Encoder,
        upsampler: Upsampler | None,
        phrases: Tensor,
        *,
        global_bias: float = 0.3,
        precision: torch.dtype = torch.float32,
        fused: Fused | None = None,
        offsets: Tensor | None = None,
        adaptive: Sequence[int] | None = None,
        direct: Direct | None = None,
    ):
        super().__init__()
        self.encoder = encoder.in_precision(precision)
        self.upsampler = upsampler and upsampler.computing(precision, direct)
        self.global_bias = global_bias
        self.precision = precision
        self.fused, self.direct = fused, direct
        self.register_buffer("phrases", phrases.float(), persistent=False)
        self._axes = len(phrases) == phrases.shape[1] and torch.equal(phrases, torch.eye(len(phrases)).to(phrases))
        self.register_buffer("offsets", None if offsets is None else offsets.float(), persistent=False)
        self._classes = None if adaptive is None else torch.tensor(adaptive)
        self.eval()

    def asking(self, phrases: Tensor, offsets: Tensor | None = None) -> Segmenter:
        """The same model with other vectors (Q, C), of any length, in place of its phrases.

        The unit vectors of all axes, `torch.eye(C)`, give the features themselves: logits are linear in the vectors.
        """
        made = Segmenter(
            self.encoder, self.upsampler, phrases, global_bias=self.global_bias, precision=self.precision,
            fused=self.fused, offsets=offsets, direct=self.direct,
        )  # fmt: skip
        return made.to(self.phrases.device)

    @torch.inference_mode()
    def forward(
        self, chips: Tensor, valid: Tensor | None = None, overlap: Overlap | None = None, pixels: Tensor | None = None
    ) -> Tensor:
        """Chips (B, 3, H, W) RGB 0-255, valid (B, H, W) or None for all -> logits (B, Q, H, W) float32.

        The logits are those of method 4: <f, t> - global_bias * <g, t> + offset, f and g of unit length. overlap: what
        earlier windows of the same scene left for these, used on a CPU. pixels: row and column (n, 2) of those that are
        wanted, of one chip on a CPU, which gives (1, Q, n) in a fraction of the time; None = all.
        """
        if chips.device.type == "cpu" and len(chips) > 1:  # one at a time, so that no batch changes their numbers
            parts = zip(chips, [None] * len(chips) if valid is None else valid, strict=True)
            return torch.cat([self(chip[None], None if ok is None else ok[None], overlap) for chip, ok in parts])
        minimum = 1 if self.upsampler is None else self.upsampler.minimum
        with stage("logits"):
            x, crop = pad(self.encoder.normalise(chips, valid), self.encoder.patch, minimum)
            with stage("ViT"):
                token, tokens = self.encoder(x)
            bias = self.global_bias * (F.normalize(token, dim=-1) @ self.phrases.T)
            if self.offsets is not None:
                bias = bias - self.offsets
            if pixels is not None:
                pixels = pixels + torch.tensor([crop[0].start, crop[1].start])
            logits = self.cosines(tokens, x, overlap if x.device.type == "cpu" else None, bias, pixels)
            if pixels is not None:
                return logits[:, :, pixels[:, 0], pixels[:, 1]] - bias[:, :, None]
            return logits[:, :, crop[0], crop[1]] - bias[:, :, None, None]

    @torch.inference_mode()
    def token(self, chips: Tensor, valid: Tensor | None = None) -> Tensor:
        """The global token (B, C) of chips, see `forward`."""
        minimum = 1 if self.upsampler is None else self.upsampler.minimum
        token: Tensor = self.encoder(pad(self.encoder.normalise(chips, valid), self.encoder.patch, minimum)[0])[0]
        return token

    def cosines(
        self, tokens: Tensor, x: Tensor, overlap: Overlap | None = None, bias: Tensor | None = None,
        pixels: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Cosines (B, Q, H, W) of pixels with phrases, from tokens (B, C, h, w) and their normalised chips x.

        bias: what will be taken from them, (B, Q), where the last stage may be left out. pixels: (n, 2), those that
        must be right, all of them exact; None = all.
        """
        if self.upsampler is None:
            return self._bilinear(tokens, x)
        return self._upsampled(self.upsampler, tokens, x, overlap, self._chosen(x, bias, pixels))

    def _chosen(self, x: Tensor, bias: Tensor | None, pixels: Tensor | None) -> Callable[[Tensor], Tensor] | None:
        """From the cosines without the last stage, (Q, H, W), to the tiles that need it; None = all do."""
        if pixels is not None:
            holding = torch.zeros([-(-side // TILE) for side in x.shape[-2:]], dtype=torch.bool)
            holding[pixels[:, 0] // TILE, pixels[:, 1] // TILE] = True
            return lambda _: holding
        if self._classes is None or bias is None or x.is_cuda or len(x) > 1:
            return None
        classes, less = self._classes, bias[0, :, None, None]
        return lambda coarse: undecided(coarse - less, classes)

    def _bilinear(self, tokens: Tensor, x: Tensor) -> Tensor:
        cosines = torch.einsum("bchw,qc->bqhw", F.normalize(tokens, dim=1), self.phrases)
        return F.interpolate(cosines, size=x.shape[-2:], mode="bilinear", align_corners=False)

    def _upsampled(
        self, upsampler: Upsampler, tokens: Tensor, x: Tensor, overlap: Overlap | None,
        chosen: Callable[[Tensor], Tensor] | None,
    ) -> Tensor:  # fmt: skip
        """Cosines of upsampled features, (B, Q, H, W), without upsampling C channels where fewer do.

        The upsampler is linear in the tokens, so the products with the phrases are taken on the tokens, and the length
        of a pixel's feature needs only the tokens' coordinates in a basis of their own span.
        """
        b, c, h, w = tokens.shape
        folded, constant = upsampler.fold(tokens.flatten(2).transpose(1, 2))  # (B, N, C), (C,)
        rows = torch.cat([folded, constant.expand(b, 1, c)], dim=1)  # the head's bias rides along as one more token
        with stage("axes"):
            span = coordinates(rows, at_most=c - len(self.phrases) - 1)
        if span is None:
            maps, cosines = rows, Cosines(c, rows[:, -1:], None if self._axes and not x.is_cuda else self.phrases)
        else:
            maps = torch.cat([span, rows @ self.phrases.T], dim=-1)
            cosines = Cosines(span.shape[-1], maps[:, -1:], None)
        dtype = finer(self.precision)
        if x.is_cuda and dtype != self.precision:
            dtype = torch.float16  # as near to float32, and what the fused kernels take
        grid = maps[:, :-1].reshape(b, h, w, -1).to(dtype)
        if chosen is not None:
            return upsampler.adaptive(grid, x, cosines, chosen, overlap)
        return upsampler.lift(grid, x, cosines, overlap, self.fused).permute(0, 3, 1, 2)


def coordinates(rows: Tensor, at_most: int) -> Tensor | None:
    """Coordinates of vectors in a basis of their span: (B, N, C) -> (B, N, R), or None where R would exceed `at_most`.

    On a CPU, see `_principal`. On CUDA, where eigenvectors are slow, the Cholesky factor of the Gram matrix, R = N,
    the diagonal raised by 1e-10 of its mean for dependent rows. Both in float64.
    """
    least = rows.shape[1] if rows.is_cuda else min(AXES, *rows.shape[1:])
    if least > at_most:
        return None
    exact = rows.to("cpu" if rows.device.type == "mps" else rows.device).double()  # MPS has no float64
    found = _factor(exact) if exact.is_cuda else _principal(exact)
    return found.to(rows) if found.shape[-1] <= at_most else None


def _factor(rows: Tensor) -> Tensor:
    gram = rows @ rows.transpose(1, 2)
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal += 1e-10 * diagonal.mean(dim=1, keepdim=True) + torch.finfo(torch.float64).tiny
    factor, failed = torch.linalg.cholesky_ex(gram)  # whose check, unlike that of `cholesky`, waits for no device
    return torch.where(failed.view(-1, 1, 1) > 0, torch.nan, factor)


def _principal(rows: Tensor) -> Tensor:
    """Coordinates (B, N, R) of vectors (B, N, C) along their principal axes, but for the weakest.

    Those are left out that together hold no more than RESIDUAL of the median length of any vector: tokens of one
    photograph are so alike that some 50 of 197 axes stay. R is a multiple of AXES.
    """
    along: Tensor
    if rows.shape[1] <= rows.shape[2]:
        values, vectors = torch.linalg.eigh(rows @ rows.transpose(1, 2))
        along = vectors * values.clamp(min=0).sqrt().unsqueeze(1)
    else:
        along = rows @ torch.linalg.eigh(rows.transpose(1, 2) @ rows).eigenvectors
    left_out = along.square().cumsum(dim=-1).amax(dim=1)  # (B, R) squared, the weakest axes first
    limit = RESIDUAL**2 * rows.square().sum(dim=-1).median(dim=1, keepdim=True).values
    kept = along.shape[-1] - int((left_out <= limit).sum(dim=-1).min())
    return along[..., -max(AXES, math.ceil(kept / AXES) * AXES) :]


def pad(x: Tensor, patch: int, minimum: int = 1) -> tuple[Tensor, Crop]:
    """Normalised chips (B, 3, H, W) zero-padded to whole patches, and where the chips lie in the result.

    Split evenly, the odd pixel right and bottom (method 5.1); at least `minimum` patches a side.
    """
    height, width = x.shape[-2:]
    more = [max(-(-side // patch), minimum) * patch - side for side in (height, width)]
    top, left = more[0] // 2, more[1] // 2
    crop = slice(top, top + height), slice(left, left + width)
    return F.pad(x, (left, more[1] - left, top, more[0] - top)), crop
