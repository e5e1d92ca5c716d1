"""CLIP's image tower as SegEarth-OV uses it: chips to tokens and a global token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segearth_cli.errors import UsageError, WeightsError
from segearth_cli.model.choices import Attention
from segearth_cli.model.copies import own
from segearth_cli.model.device import finer

# The projections whose products make the attention maps of the last block; the outputs are summed.
_PAIRS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "segearth": ((0, 0), (1, 1), (2, 2)),  # qq' + kk' + vv'; Li et al., arXiv:2410.01768
    "clearclip": ((0, 0),),  # qq'; Lan et al., arXiv:2407.12442
    "vanilla": ((0, 1),),  # qk'
}
NARROW = 512  # channels; with AMX, bfloat16 makes the products of a block 1.2, 1.7, 4.6 times faster at 128, 256, 768


class Encoder(nn.Module):
    """The image tower of an open_clip ViT with its last block modulated.

    clip: an open_clip model, left as it is; its tower is taken over in an equal, faster form. mean, std: of its
    training images, for RGB in 0-1; kept as buffers.
    Raises WeightsError for towers that are not open_clip's own ViT with a class token.
    """

    mean: Tensor
    std: Tensor
    visual: Any  # open_clip's tower; nn.Module's own annotations cannot describe its parts

    def __init__(self, clip: Any, mean: Sequence[float], std: Sequence[float], *, attention: Attention = "segearth"):
        super().__init__()
        if attention not in _PAIRS:
            raise UsageError(f"--attention {attention}: unknown; choose one of {', '.join(_PAIRS)}")
        _check_tower(clip.visual)
        self.visual = own(clip.visual)
        for block in self.visual.transformer.resblocks[:-1]:
            _one_pass(block.mlp)
        self.pairs = _PAIRS[attention]
        self._dtype = torch.float32
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1) * 255, persistent=False)
        self._positions: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return int(self.visual.patch_size[0])

    @property
    def native(self) -> int:
        """Window side in pixels that the model was trained for."""
        return int(self.visual.image_size[0])

    @property
    def channels(self) -> int:
        """C, the length of an embedding."""
        return int(self.visual.proj.shape[1])

    def normalise(self, chips: Tensor, valid: Tensor | None = None) -> Tensor:
        """Chips (B, 3, H, W), RGB 0-255, as (x - mean) / std in float32; pixels without data get the mean colour.

        valid: (B, H, W), True = data.
        """
        x = (chips.to(torch.float32) - self.mean) / self.std
        return x if valid is None else x * valid.unsqueeze(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised chips (B, 3, H, W) -> global token (B, C), patch tokens (B, C, h, w), neither of unit length.

        H and W are multiples of the patch. Both come out of the modulated last block: no residual, no MLP.
        """
        block = self.visual.transformer.resblocks[-1]
        attended = _attended(block.attn, block.ln_1(self.trunk(x)), self.pairs)
        return self._project(attended, x.shape[-2] // self.patch, x.shape[-1] // self.patch)

    def training_features(self, x: Tensor) -> Tensor:
        """The features that SimFeatUp learns from: normalised chips (B, 3, H, W) -> (B, C, h, w).

        The INPUT of the last block through ln_post and the projection; intended to differ from `forward`.
        """
        return self._project(self.trunk(x), x.shape[-2] // self.patch, x.shape[-1] // self.patch)[1]

    def trunk(self, x: Tensor) -> Tensor:
        """Normalised chips (B, 3, H, W) -> the input of the last block, (B, 1 + h w, D) in float32."""
        visual = self.visual
        x = visual.conv1(x.to(visual.conv1.weight.dtype)).float()
        h, w = x.shape[-2:]
        cls = visual.class_embedding.expand(x.shape[0], 1, -1)
        x = torch.cat([cls, x.flatten(2).transpose(1, 2)], dim=1) + self._position(h, w)
        x = visual.ln_pre(x)
        for block in visual.transformer.resblocks[:-1]:
            x = x + block.ls_1(_attended(block.attn, block.ln_1(x), _PAIRS["vanilla"]))
            x = x + block.ls_2(block.mlp(block.ln_2(x).to(self._dtype)))
        return x

    def in_precision(self, dtype: torch.dtype) -> Encoder:
        """An encoder of the same weights with its matrix products in `dtype`.

        Sums, norms, embeddings and projection stay float32. So do the patch embedding and the last block where `dtype`
        is bfloat16: about a thirtieth of the products of ViT-B/16; emulated on the parity cases, it halves the largest
        error of logits or nearly so. And so does all of a tower narrower than NARROW: of `mini`'s masks bfloat16 would
        move 0.12 % of the pixels for 12 % of the time.
        """
        if dtype == torch.bfloat16 and self.visual.conv1.out_channels < NARROW:
            dtype = torch.float32
        made, edge = own(self), finer(dtype)
        made._dtype = dtype
        *blocks, last = made.visual.transformer.resblocks
        for block in blocks:
            block.attn.to(dtype)
            block.mlp.to(dtype)
        last.attn.to(edge)
        made.visual.conv1.to(edge)
        return made

    def _project(self, x: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
        x = self.visual.ln_post(x.float()) @ self.visual.proj
        return x[:, 0], x[:, 1:].transpose(1, 2).reshape(x.shape[0], -1, h, w)

    def _position(self, h: int, w: int) -> Tensor:
        """Positional embedding (1 + h w, D), resized bicubically when the grid is not the model's own."""
        embedding: Tensor = self.visual.positional_embedding
        if self.training or (h, w) == self.visual.grid_size:
            return resize_positions(embedding, self.visual.grid_size, (h, w))
        key = h, w, embedding.device, embedding.dtype
        if key not in self._positions:
            self._positions[key] = resize_positions(embedding, self.visual.grid_size, (h, w))
        return self._positions[key]


def _attended(attn: nn.MultiheadAttention, x: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Attention of a block in its weights' dtype, pairs of projections each making a map: (B, N, D) -> (B, N, D).

    Sums attention outputs instead of attention maps: equal, and no (N, N) map is held.
    """
    b, n, d = x.shape
    weight = cast(Tensor, attn.in_proj_weight)
    qkv = F.linear(x.to(weight.dtype), weight, attn.in_proj_bias)
    parts = qkv.view(b, n, 3, attn.num_heads, d // attn.num_heads).permute(2, 0, 3, 1, 4)
    out = sum(F.scaled_dot_product_attention(parts[i], parts[j], parts[2]) for i, j in pairs)
    return cast(Tensor, attn.out_proj(cast(Tensor, out).transpose(1, 2).reshape(b, n, d)))


@torch.no_grad()
def _one_pass(mlp: Any) -> None:
    """QuickGELU, x sigmoid(1.702 x), as SiLU between weights that hold the factor: one pass over memory, not three."""
    if type(mlp.gelu).__name__ == "QuickGELU":  # open_clip's, which need not be imported to run a tower
        mlp.c_fc.weight = nn.Parameter(mlp.c_fc.weight * 1.702, requires_grad=mlp.c_fc.weight.requires_grad)
        mlp.c_fc.bias = nn.Parameter(mlp.c_fc.bias * 1.702, requires_grad=mlp.c_fc.bias.requires_grad)
        mlp.c_proj.weight = nn.Parameter(mlp.c_proj.weight / 1.702, requires_grad=mlp.c_proj.weight.requires_grad)
        mlp.gelu = nn.SiLU()


def resize_positions(embedding: Tensor, own: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Positional embedding (1 + N, D) of the grid `own` for another grid: (1 + h w, D).

    Bicubic, no antialias, scale factor (n + 0.1) / N per axis, as the authors' code resizes (method.md 2.2).
    """
    if own == grid:
        return embedding
    patches = embedding[1:].float().T.reshape(1, -1, *own)
    factors = ((grid[0] + 0.1) / own[0], (grid[1] + 0.1) / own[1])
    resized = F.interpolate(patches, scale_factor=factors, mode="bicubic", align_corners=False)
    if resized.shape[-2:] != grid:
        raise WeightsError(f"positions resized to {tuple(resized.shape[-2:])}, need {grid}: use another --window")
    return torch.cat([embedding[:1], resized[0].flatten(1).T.to(embedding.dtype)])


def _check_tower(visual: Any) -> None:
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    plain = blocks is not None and all(isinstance(getattr(b, "attn", None), nn.MultiheadAttention) for b in blocks)
    if not plain or getattr(visual, "class_embedding", None) is None or getattr(visual, "attn_pool", None) is not None:
        raise WeightsError(
            f"--model: the image tower {type(visual).__name__} is not a plain ViT with a class token; "
            "choose an open_clip ViT such as ViT-B-16-quickgelu:openai"
        )
