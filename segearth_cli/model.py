"""Encoder, upsampler and phrases together: chips to logits. Knows no files."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segearth_cli.encoder import Encoder, finer
from segearth_cli.fused import Cosines
from segearth_cli.upsampler import Upsampler

Crop = tuple[slice, slice]


class Segmenter(nn.Module):
    """What turns a window into a cosine for every phrase and pixel.

    phrases: unit text embeddings (Q, C). upsampler: None for logits at token resolution, resized bilinearly.
    global_bias: how much of the global token's own cosine is taken away (lambda = -global_bias).
    precision: dtype of the image tower's products and, but for bfloat16, of the upsampler's; sums, norms and logits
    are float32.
    """

    phrases: Tensor

    def __init__(
        self,
        encoder: Encoder,
        upsampler: Upsampler | None,
        phrases: Tensor,
        *,
        global_bias: float = 0.3,
        precision: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.encoder = encoder.in_precision(precision)
        self.upsampler = upsampler
        self.global_bias = global_bias
        self.precision = precision
        self.register_buffer("phrases", phrases.float(), persistent=False)
        self.eval()

    @torch.inference_mode()
    def forward(self, chips: Tensor, valid: Tensor | None = None) -> Tensor:
        """Chips (B, 3, H, W) RGB 0-255, valid (B, H, W) or None for all -> logits (B, Q, H, W) float32.

        The logits are those of method 4: <f, t> - global_bias * <g, t>, f and g of unit length.
        """
        if (
            chips.device.type == "cpu" and len(chips) > 1
        ):  # one window fills a CPU, and then no batch changes its numbers
            parts = zip(chips, [None] * len(chips) if valid is None else valid, strict=True)
            return torch.cat([self(chip[None], None if ok is None else ok[None]) for chip, ok in parts])
        minimum = 1 if self.upsampler is None else self.upsampler.minimum
        x, crop = pad(self.encoder.normalise(chips, valid), self.encoder.patch, minimum)
        token, tokens = self.encoder(x)
        lift = self._bilinear if self.upsampler is None else self._upsampled
        logits: Tensor = lift(tokens, x)
        bias = self.global_bias * (F.normalize(token, dim=-1) @ self.phrases.T)
        return logits[:, :, crop[0], crop[1]] - bias[:, :, None, None]

    @torch.inference_mode()
    def token(self, chips: Tensor, valid: Tensor | None = None) -> Tensor:
        """The global token (B, C) of chips, see `forward`."""
        minimum = 1 if self.upsampler is None else self.upsampler.minimum
        token: Tensor = self.encoder(pad(self.encoder.normalise(chips, valid), self.encoder.patch, minimum)[0])[0]
        return token

    def _bilinear(self, tokens: Tensor, x: Tensor) -> Tensor:
        cosines = torch.einsum("bchw,qc->bqhw", F.normalize(tokens, dim=1), self.phrases)
        return F.interpolate(cosines, size=x.shape[-2:], mode="bilinear", align_corners=False)

    def _upsampled(self, tokens: Tensor, x: Tensor) -> Tensor:
        """Cosines of upsampled features, (B, Q, H, W), without upsampling C channels where fewer do.

        The upsampler is linear in the tokens, so the products with the phrases are taken on the tokens, and the length
        of a pixel's feature needs only the tokens' coordinates in a basis of their own span.
        """
        assert self.upsampler is not None
        b, c, h, w = tokens.shape
        folded, constant = self.upsampler.fold(tokens.flatten(2).transpose(1, 2))  # (B, N, C), (C,)
        rows = torch.cat([folded, constant.expand(b, 1, c)], dim=1)  # the head's bias rides along as one more token
        few = h * w + 1 + len(self.phrases) < c
        maps = torch.cat([coordinates(rows), rows @ self.phrases.T], dim=-1) if few else rows
        span = maps.shape[-1] - len(self.phrases) if few else c
        cosines = Cosines(span, maps[:, -1:], None if few else self.phrases)
        dtype = finer(self.precision)
        if x.is_cuda and dtype != self.precision:
            dtype = torch.float16  # as near to float32, and what the fused kernels take
        grid = maps[:, :-1].reshape(b, h, w, -1).to(dtype)
        return self.upsampler.lift(grid, x, cosines).permute(0, 3, 1, 2)


def coordinates(rows: Tensor) -> Tensor:
    """Coordinates of vectors in an orthonormal basis of their span: (B, N, C) -> (B, N, N), same lengths and angles.

    The Cholesky factor of the Gram matrix, in float64; its diagonal is raised by 1e-10 of its mean for dependent rows.
    """
    exact = rows.to("cpu" if rows.device.type == "mps" else rows.device).double()  # MPS has no float64
    gram = exact @ exact.transpose(1, 2)
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal += 1e-10 * diagonal.mean(dim=1, keepdim=True) + torch.finfo(torch.float64).tiny
    factor: Tensor = torch.linalg.cholesky(gram)
    return factor.to(rows.device, rows.dtype)


def pad(x: Tensor, patch: int, minimum: int = 1) -> tuple[Tensor, Crop]:
    """Normalised chips (B, 3, H, W) zero-padded to whole patches, and where the chips lie in the result.

    Split evenly, the odd pixel right and bottom (method 5.1); at least `minimum` patches a side.
    """
    height, width = x.shape[-2:]
    more = [max(-(-side // patch), minimum) * patch - side for side in (height, width)]
    top, left = more[0] // 2, more[1] // 2
    crop = slice(top, top + height), slice(left, left + width)
    return F.pad(x, (left, more[1] - left, top, more[0] - top)), crop
