"""Products with weights on a CPU: by oneDNN where MKL leaves half the speed unused, else by MKL, ordered once."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segearth_cli.model.constants import OfWeights
from segearth_cli.model.device import by_amd, capabilities

Act = Literal["none", "gelu", "swish"]
_PLAIN = {"none": lambda x: x, "gelu": F.gelu, "swish": F.silu}


class Packed:
    """Weights once more, in the order in which MKL reads them, for products of one number of rows.

    MKL orders a weight anew in each product, which takes an eighth of a tower's time; no bit depends on when.
    """

    def __init__(self) -> None:
        self._kept = OfWeights()

    def __deepcopy__(self, _memo: object) -> Packed:
        return Packed()

    def get(self, weight: Tensor, rows: int) -> Tensor:
        """A weight (N, K) for products with (rows, K); those for other numbers of rows are forgotten."""
        of_rows = self._kept.get(id(weight), [weight], lambda: cast(dict[int, Tensor], {}))
        made = of_rows.get(rows)
        if made is None:
            with torch.inference_mode(False), torch.no_grad():
                made = torch.ops.mkl._mkl_reorder_linear_weight(weight.detach(), rows)
            of_rows.clear()
            of_rows[rows] = made
        return cast(Tensor, made)


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, act: Act = "none", packed: Packed | None = None
) -> Tensor:
    """act(x @ weight.T + bias): x (..., K), weight (N, K), bias (N,) -> (..., N); gelu is the exact one.

    In float32 and bfloat16 at inference the activation is made while the result is in the cache, where oneDNN is taken.
    packed: used where MKL is, in float32 at inference; None for weights that are multiplied with many rows.
    """
    if packed and x.device.type == "cpu" and x.dtype == torch.float32 and by_mkl() and not torch.is_grad_enabled():
        rows = x.numel() // x.shape[-1]
        product = torch.ops.mkl._mkl_linear(x, packed.get(weight, rows), weight, bias, rows)
        return cast(Tensor, _PLAIN[act](product))
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
    wide = by_amd(known) and known.get("avx512_f")
    return bool(wide and torch._C._has_mkldnn) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def by_mkl() -> bool:
    """Whether MKL multiplies float32 here, with weights that are ordered before."""
    return not by_onednn() and bool(torch._C.has_mkl) and hasattr(torch.ops.mkl, "_mkl_linear")


def _onednn() -> Any:
    return torch.ops.mkldnn._linear_pointwise
