"""Products with weights on a CPU: by oneDNN where MKL, which PyTorch takes in float32, leaves half the speed unused."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segearth_cli.model.device import capabilities

Act = Literal["none", "gelu", "swish"]
_PLAIN = {"none": lambda x: x, "gelu": F.gelu, "swish": F.silu}


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, act: Act = "none") -> Tensor:
    """act(x @ weight.T + bias): x (..., K), weight (N, K), bias (N,) -> (..., N); gelu is the exact one.

    In float32 and bfloat16 at inference the activation is made while the result is in the cache, where oneDNN is taken.
    """
    if x.is_cuda or x.dtype not in (torch.float32, torch.bfloat16) or torch.is_grad_enabled() or not by_onednn():
        return cast(Tensor, _PLAIN[act](F.linear(x, weight, bias)))
    # algorithm of gelu: none = by erf
    return cast(Tensor, _onednn()(x, weight, bias, act, [], "none" if act == "gelu" else ""))


def act_of(module: nn.Module) -> Act | None:
    """How `linear` calls an activation; None where it does not know it."""
    if type(module) is nn.SiLU:
        return "swish"
    return "gelu" if type(module) is nn.GELU and module.approximate == "none" else None


@cache
def by_onednn() -> bool:
    """Whether oneDNN multiplies float32 here: on AMD's processors with AVX-512.

    MKL takes AVX2 there, and oneDNN is 2.2 to 2.3 times as fast at every shape of a tower. On Intel's they are level.
    A rule and no measurement, so that every process of a machine rounds alike.
    """
    known = capabilities()
    amd = known.get("sse4a") and known.get("avx512_f")  # SSE4a is AMD's alone
    return bool(amd and torch._C._has_mkldnn) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _onednn() -> Any:
    return torch.ops.mkldnn._linear_pointwise
