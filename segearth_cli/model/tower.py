"""CLIP's image tower from its configuration: modules under open_clip's names, without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segearth_cli.errors import WeightsError

# What open_clip's vision_cfg may say besides, and the only values that this tower can be built from.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "attentional_pool": (False,),
    "block_type": (None, "default"),
    "qk_norm": (False,),
    "scaled_cosine_attn": (False,),
    "scale_heads": (False,),
    "scale_attn_inner": (False,),
    "scale_attn": (False,),
    "scale_fc": (False,),
    "pos_embed_type": ("learnable", "sin_cos_2d"),
    "timm_model_name": (None, ""),
}
_OWN = {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "ls_init_value", "no_ln_pre"}
_OWN |= {"act_kwargs", "norm_kwargs"}
# Of training, of pooling, or of poolers that are not there: no number of `Encoder` depends on them.
_IDLE = {"patch_dropout", "final_ln_after_pool", "pool_type", "output_tokens", "attn_pooler_queries"}
_IDLE |= {"attn_pooler_heads", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias", "timm_drop"}
_IDLE |= {"timm_drop_path"}


class Tower(nn.Module):
    """A ViT with a class token, of the parameters and names of open_clip's, unfilled (on the meta device).

    config: an open_clip `model_cfg` (embed_dim, vision_cfg, quick_gelu).
    Raises WeightsError for towers that are no plain ViT with a class token, ValueError or AssertionError for numbers
    that do not go together.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        vision = dict(config["vision_cfg"])
        _check_plain(vision)
        width, layers = vision.get("width", 768), vision.get("layers", 12)
        patch, self.image_size = _pair(vision.get("patch_size", 16)), _pair(vision.get("image_size", 224))
        self.patch_size = patch
        self.grid_size = self.image_size[0] // patch[0], self.image_size[1] // patch[1]
        norm: Mapping[str, Any] = vision.get("norm_kwargs") or {}
        with torch.device("meta"):
            self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
            self.class_embedding = nn.Parameter(torch.empty(width))
            self.positional_embedding = nn.Parameter(torch.empty(self.grid_size[0] * self.grid_size[1] + 1, width))
            self.ln_pre = nn.Identity() if vision.get("no_ln_pre") else nn.LayerNorm(width, **norm)
            self.transformer = nn.Module()
            self.transformer.resblocks = nn.ModuleList(
                _Block(width, vision, quick=bool(config.get("quick_gelu")), norm=norm) for _ in range(layers)
            )
            self.ln_post = nn.LayerNorm(width, **norm)
            self.proj = nn.Parameter(torch.empty(width, config["embed_dim"]))


class _Block(nn.Module):
    """A block of a ViT, its norms before attention and MLP."""

    def __init__(self, width: int, vision: Mapping[str, Any], *, quick: bool, norm: Mapping[str, Any]):
        super().__init__()
        scale = vision.get("ls_init_value") is not None
        hidden = int(width * vision.get("mlp_ratio", 4.0))
        self.ln_1 = nn.LayerNorm(width, **norm)
        self.attn = nn.MultiheadAttention(width, width // vision.get("head_width", 64), batch_first=True)
        self.ls_1 = LayerScale(width) if scale else nn.Identity()
        self.ln_2 = nn.LayerNorm(width, **norm)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, hidden))
        self.mlp.add_module("gelu", (QuickGELU if quick else nn.GELU)(**vision.get("act_kwargs") or {}))
        self.mlp.add_module("c_proj", nn.Linear(hidden, width))
        self.ls_2 = LayerScale(width) if scale else nn.Identity()


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), the activation of OpenAI's models."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x * torch.sigmoid(1.702 * x)


class LayerScale(nn.Module):
    """A factor for each channel (D,)."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., D)."""
        return x * self.gamma


def _check_plain(vision: Mapping[str, Any]) -> None:
    if isinstance(vision.get("layers"), list | tuple):
        raise WeightsError(_not_plain("vision_cfg.layers is a list, a ResNet's"))
    for key, value in vision.items():
        if key in _PLAIN:
            if value not in _PLAIN[key]:
                raise WeightsError(_not_plain(f"vision_cfg.{key} is {value!r}"))
        elif key not in _OWN | _IDLE:
            raise WeightsError(_not_plain(f"vision_cfg.{key} is unknown"))


def _not_plain(why: str) -> str:
    return (
        f"the image tower is not a plain ViT with a class token: {why}; choose an open_clip ViT such as "
        "ViT-B-16-quickgelu:openai"
    )


def _pair(value: Any) -> tuple[int, int]:
    height, width = value if isinstance(value, list | tuple) else (value, value)
    return int(height), int(width)
