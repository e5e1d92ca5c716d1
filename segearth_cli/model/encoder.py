"""CLIP's image tower as SegEarth-OV uses it: chips to tokens and a global token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segearth_cli.errors import UsageError, WeightsError
from segearth_cli.model.attention import ATTENTIONS, Attend, Row, Tokens, vanilla
from segearth_cli.model.choices import Attention
from segearth_cli.model.constants import OfWeights
from segearth_cli.model.copies import own
from segearth_cli.model.device import finer
from segearth_cli.model.products import Packed, act_of, linear

NARROW = 512  # channels; with AMX, bfloat16 makes the products of a block 1.2, 1.7, 4.6 times faster at 128, 256, 768


class Encoder(nn.Module):
    """The image tower of a CLIP's ViT with its last block, or blocks, modulated.

    clip: what has a `Tower`, or open_clip's own, as `visual`; left as it is, taken over in an equal, faster form.
    mean, std: of its training images, for RGB in 0-1; kept as buffers. keep_residual: modulated blocks keep their
    residual and MLP. last_blocks: how many blocks are modulated; None = as the attention's publication has it.
    Raises WeightsError for towers that are not a plain ViT with a class token, UsageError for an attention that is
    unknown or cannot be had so.
    """

    mean: Tensor
    std: Tensor
    visual: Any  # the tower; nn.Module's own annotations cannot describe its parts

    def __init__(
        self, clip: Any, mean: Sequence[float], std: Sequence[float], *, attention: Attention = "segearth",
        keep_residual: bool = False, last_blocks: int | None = None,
    ):  # fmt: skip
        super().__init__()
        _check_tower(clip.visual)
        self.row, self.modulated = _row(attention, keep_residual, last_blocks, len(clip.visual.transformer.resblocks))
        self._given = _kept if keep_residual else _scaled if self.row.beside else _dropped
        self.visual = own(clip.visual)
        for block in self.visual.transformer.resblocks[:-1]:
            _one_pass(block.mlp)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1) * 255, persistent=False)
        self._kept, self._packed = OfWeights(), Packed()

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

        H and W are multiples of the patch. Both come out of the modulated last block: no residual, no MLP. Of several
        modulated blocks, each given what the ordinary block before it gives, outputs are summed.
        """
        h, w = x.shape[-2] // self.patch, x.shape[-1] // self.patch
        blocks = self.visual.transformer.resblocks
        tokens = self._ordinary(self._embedded(x), blocks[: -self.modulated])
        total = tokens if self.row.beside else None
        for i, block in enumerate(blocks[-self.modulated :], 1):
            attended = _attended(block, tokens, (h, w), self.row.attend, self._packed)
            given = self._given(block, tokens, attended, self._packed)
            total = given if total is None else total + given
            if i < self.modulated:
                tokens = self._ordinary(tokens, [block])
        return self._project(cast(Tensor, total), h, w)

    def training_features(self, x: Tensor) -> Tensor:
        """The features that SimFeatUp learns from: normalised chips (B, 3, H, W) -> (B, C, h, w).

        The INPUT of the last block through ln_post and the projection; intended to differ from `forward`.
        """
        return self._project(self.trunk(x), x.shape[-2] // self.patch, x.shape[-1] // self.patch)[1]

    def trunk(self, x: Tensor) -> Tensor:
        """Normalised chips (B, 3, H, W) -> the input of the last block, (B, 1 + h w, D) in float32."""
        return self._ordinary(self._embedded(x), self.visual.transformer.resblocks[:-1])

    def _embedded(self, x: Tensor) -> Tensor:
        """Normalised chips (B, 3, H, W) -> the input of the first block, (B, 1 + h w, D) in float32."""
        visual = self.visual
        x = visual.conv1(x.to(visual.conv1.weight.dtype)).float()
        h, w = x.shape[-2:]
        cls = visual.class_embedding.expand(x.shape[0], 1, -1)
        x = torch.cat([cls, x.flatten(2).transpose(1, 2)], dim=1) + self._position(h, w)
        return cast(Tensor, visual.ln_pre(x))

    def _ordinary(self, x: Tensor, blocks: Iterable[Any]) -> Tensor:
        """Tokens (B, N, D) through blocks as they were trained."""
        for block in blocks:
            attended = _attended(block, x, (1, x.shape[1] - 1), vanilla, self._packed)
            x = _kept(block, x, attended, self._packed)
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
        *blocks, last = made.visual.transformer.resblocks
        for block in blocks:
            block.attn.to(dtype)
            block.mlp.to(dtype)
        last.attn.to(edge)
        last.mlp.to(edge)
        made.visual.conv1.to(edge)
        return made

    def _project(self, x: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
        x = self.visual.ln_post(x.float()) @ self.visual.proj
        return x[:, 0], x[:, 1:].transpose(1, 2).reshape(x.shape[0], -1, h, w)

    def _position(self, h: int, w: int) -> Tensor:
        """Positional embedding (1 + h w, D), resized bicubically when the grid is not the model's own."""
        embedding: Tensor = self.visual.positional_embedding
        grid = self.visual.grid_size
        return self._kept.get((h, w), [embedding], lambda: resize_positions(embedding, grid, (h, w)))


def _attended(block: Any, x: Tensor, grid: tuple[int, int], attend: Attend, packed: Packed) -> Tensor:
    """Attention of a block in its weights' dtype: its input (B, N, D) -> (B, N, D)."""
    attn, normed = block.attn, block.ln_1(x)
    b, n, d = normed.shape
    weight = cast(Tensor, attn.in_proj_weight)
    qkv = linear(normed.to(weight.dtype), weight, attn.in_proj_bias, packed=packed)
    q, k, v = qkv.view(b, n, 3, attn.num_heads, d // attn.num_heads).permute(2, 0, 3, 1, 4)
    out = attend(q, k, v, Tokens(grid, normed))
    return linear(out.transpose(1, 2).reshape(b, n, d), attn.out_proj.weight, attn.out_proj.bias, packed=packed)


# What a block gives, from its input x and what it attended to, both (B, N, D).


def _dropped(_block: Any, _x: Tensor, attended: Tensor, _packed: Packed) -> Tensor:
    """Without residual and MLP, as the published rows."""
    return attended


def _scaled(block: Any, _x: Tensor, attended: Tensor, _packed: Packed) -> Tensor:
    """What it would add to the tokens."""
    return cast(Tensor, block.ls_1(attended))


def _kept(block: Any, x: Tensor, attended: Tensor, packed: Packed) -> Tensor:
    """With residual and MLP, as a tower is trained."""
    x = x + block.ls_1(attended)
    return cast(Tensor, x + block.ls_2(_widened(block.mlp, block.ln_2(x), packed)))


def _widened(mlp: Any, x: Tensor, packed: Packed) -> Tensor:
    """What the MLP of a block makes of its normed input, in its weights' dtype."""
    x, act = x.to(mlp.c_fc.weight.dtype), act_of(mlp.gelu)
    hidden = linear(x, mlp.c_fc.weight, mlp.c_fc.bias, act, packed) if act else mlp.gelu(mlp.c_fc(x))
    return linear(hidden, mlp.c_proj.weight, mlp.c_proj.bias, packed=packed)


def _row(attention: Attention, keep_residual: bool, last_blocks: int | None, depth: int) -> tuple[Row, int]:
    """An attention, and how many of `depth` blocks it takes the place of."""
    if attention not in ATTENTIONS:
        raise UsageError(f"--attention {attention}: unknown; choose one of {', '.join(ATTENTIONS)}")
    row = ATTENTIONS[attention]
    if keep_residual and row.beside:
        raise UsageError(f"--keep-residual: {attention} has a residual of its own; leave one of them out")
    if last_blocks is not None and not 1 <= last_blocks <= depth:
        raise UsageError(f"--last-blocks {last_blocks}: the model has {depth} blocks; choose 1 to {depth}")
    return row, min(row.blocks, depth) if last_blocks is None else last_blocks


@torch.no_grad()
def _one_pass(mlp: Any) -> None:
    """QuickGELU, x sigmoid(1.702 x), as SiLU between weights that hold the factor: one pass over memory, not three."""
    if type(mlp.gelu).__name__ == "QuickGELU":  # open_clip's or ours
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
