"""The image tower in two parts: frozen blocks whose tokens are computed once, and the trained end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as DINOv2
BLOCKS, FROZEN, WIDTH, EMBEDDING = 10, 6, 384, 256
CONFIG: dict[str, Any] = {
    "embed_dim": EMBEDDING,
    "vision_cfg": {
        "image_size": 224,
        "patch_size": 16,
        "width": WIDTH,
        "layers": BLOCKS,
        "head_width": 64,
        "ls_init_value": 1.0,
        "no_ln_pre": True,
    },
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 160, "heads": 5, "layers": 4},
}
SHRINK = 1.0  # of the mean variance, added before whitening
PREPROCESS = {"mean": list(MEAN), "std": list(STD)}


@torch.inference_mode()
def frozen_tokens(visual: Any, canvases: NDArray[np.uint8]) -> Tensor:
    """Canvases (B, 224, 224, 3) -> tokens after the frozen blocks, (B, 197, D)."""
    x = torch.from_numpy(canvases).permute(0, 3, 1, 2).float()
    x = (x / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    x = visual.conv1(x).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(x.shape[0], 1, -1), x], dim=1) + visual.positional_embedding
    for block in visual.transformer.resblocks[:FROZEN]:
        x = _block(block, x)
    return x


def end(visual: Any, x: Tensor) -> Tensor:
    """Tokens after the frozen blocks -> global token and patch tokens (B, 197, C), out of the modulated last block."""
    *plain, last = visual.transformer.resblocks[FROZEN:]
    for block in plain:
        x = _block(block, x)
    q, k, v = _heads(last, x)
    attended = _attend(q, q, v) + _attend(k, k, v) + _attend(v, v, v)
    x = last.attn.out_proj(attended.transpose(1, 2).flatten(2))
    return cast(Tensor, visual.ln_post(x) @ visual.proj)


@torch.no_grad()
def whiten(visual: Any, x: Tensor) -> None:
    """Start ln_post and the projection with patch tokens centred, of like variance, and a constant last channel.

    x: frozen tokens (B, 197, D) in float32. As they come, a few directions hold nearly all variance of the modulated
    block's output, unit vectors crowd together, and words take thousands of steps to part.
    """
    visual.ln_post.weight.fill_(1)
    visual.ln_post.bias.zero_()
    projection, visual.proj.data = visual.proj.data, torch.eye(WIDTH)
    tokens = torch.cat([end(visual, part)[:, 1:].flatten(0, 1) for part in torch.split(x, 32)])
    visual.proj.data = projection
    mean = tokens.mean(dim=0)
    values, vectors = torch.linalg.eigh((tokens - mean).T @ (tokens - mean) / len(tokens))
    values, vectors = values.flip(0)[: EMBEDDING - 1], vectors.flip(1)[:, : EMBEDDING - 1]
    white = vectors / (values + SHRINK * values.mean()).sqrt()
    white /= ((tokens - mean) @ white).norm(dim=1).mean()
    visual.ln_post.bias.copy_(1 - mean)  # a layer norm leaves nothing along the ones: there the 1 is a constant
    visual.proj.copy_(torch.cat([white, torch.full((WIDTH, 1), 0.7 / WIDTH)], dim=1))


def _heads(block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    b, n, d = x.shape
    heads = block.attn.num_heads
    qkv = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
    q, k, v = qkv.view(b, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
    return q, k, v


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def _block(block: Any, x: Tensor) -> Tensor:
    """The same as open_clip's block."""
    out = _attend(*_heads(block, x))
    x = x + block.ls_1(block.attn.out_proj(out.transpose(1, 2).flatten(2)))
    return cast(Tensor, x + block.ls_2(block.mlp(block.ln_2(x))))


def new_model(state: dict[str, Tensor]) -> Any:
    """An open_clip model whose image tower starts from the DINOv2 tensors; text tower and projection are new."""
    from open_clip.model import CLIP

    model = CLIP(**CONFIG)
    missing = model.visual.load_state_dict(state, strict=False).missing_keys
    if missing != ["proj"]:
        raise ValueError(f"the trunk lacks {missing}")
    return model


def memmap(path: Path, count: int, mode: Literal["r", "r+", "w+"] = "r+") -> NDArray[np.int16]:
    """Tokens (count, 197, D), bfloat16 stored as their 16 bits."""
    return np.memmap(path, np.dtype(np.int16), mode, shape=(count, 197, WIDTH))
