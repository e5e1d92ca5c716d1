"""The ways in which the last blocks of a tower may attend: rows of the published tables (method 8).

To add one, write a function of q, k, v and the tokens, name it in `choices.Attention`, and list it in ATTENTIONS.
Attention outputs are summed, not attention maps: equal, and no (N, N) map is held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segearth_cli.model.choices import Attention
from segearth_cli.model.constants import constant


@dataclass(frozen=True, slots=True)
class Tokens:
    """What is known of the tokens of a block beside their q, k and v."""

    grid: tuple[int, int]
    """(h, w) of the patches, which follow the class token row by row."""
    normed: Tensor
    """(B, 1 + h w, D), the tokens as q, k and v were projected from them, after the block's first norm."""


Attend = Callable[[Tensor, Tensor, Tensor, Tokens], Tensor]  # q, k, v (B, heads, N, d) -> (B, heads, N, d)
# softmax(q k' / sqrt(d) + mask) v
_softmax: Callable[..., Tensor] = F.scaled_dot_product_attention


def vanilla(q: Tensor, k: Tensor, v: Tensor, _tokens: Tokens) -> Tensor:
    """As the tower was trained: softmax(qk') v."""
    return _softmax(q, k, v)


def maskclip(_q: Tensor, _k: Tensor, v: Tensor, _tokens: Tokens) -> Tensor:
    """Each token sees itself alone; Zhou et al., arXiv:2112.01071."""
    return v


def clearclip(q: Tensor, _k: Tensor, v: Tensor, _tokens: Tokens) -> Tensor:
    """softmax(qq') v; Lan et al., arXiv:2407.12442."""
    return _softmax(q, q, v)


def sclip(q: Tensor, k: Tensor, v: Tensor, _tokens: Tokens) -> Tensor:
    """[softmax(qq') + softmax(kk')] v; Wang et al., arXiv:2312.01597."""
    return _softmax(q, q, v) + _softmax(k, k, v)


def segearth(q: Tensor, k: Tensor, v: Tensor, _tokens: Tokens) -> Tensor:
    """[softmax(qq') + softmax(kk') + softmax(vv')] v; Li et al., arXiv:2410.01768."""
    return _softmax(q, q, v) + _softmax(k, k, v) + _softmax(v, v, v)


def naclip(_q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
    """softmax(kk' + G) v, G a Gaussian of patches' distance; Hajimiri et al., arXiv:2404.08181.

    The authors' code takes the grid to be square; here it is what it is.
    """
    return _softmax(k, k, v, attn_mask=neighbourhood(tokens.grid, k.device, k.dtype))


def nonly(q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
    """softmax(G') v, neighbours only: G' is G times the lengths of q and k; arXiv:2404.08181."""
    return _weighed(q, k, tokens.grid).softmax(dim=-1) @ v


def gav(q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
    """softmax(qk' + G') v, a Gaussian added to the vanilla row; arXiv:2404.08181."""
    return _softmax(q, k, v, attn_mask=_weighed(q, k, tokens.grid))


def gem(q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
    """The mean of self-self attention of q, k and v of unit length, iterated once; arXiv:2312.00878, section 3.

    Its inverse temperature is the mean length of the tokens over sqrt(d).
    """
    heat = tokens.normed.norm(dim=-1).mean(dim=-1).to(q.dtype).view(-1, 1, 1, 1) / math.sqrt(q.shape[-1])

    def itself(x: Tensor, values: Tensor) -> Tensor:
        return _softmax(heat * x, x, values, scale=1.0)

    units = [F.normalize(x, dim=-1) for x in (q, k, v)]
    again = [F.normalize(itself(x, x), dim=-1) for x in units]
    return (itself(again[0], v) + itself(again[1], v) + itself(again[2], v)) / 3


@dataclass(frozen=True, slots=True)
class Row:
    """An attention with what else its publication lays down."""

    attend: Attend
    """Output of the heads from q, k and v."""
    blocks: int = 1
    """How many last blocks it takes the place of, where they are there."""
    beside: bool = False
    """Whether outputs are added to the tokens before the first of these blocks, which go on beside them unmodulated."""


ATTENTIONS: Mapping[Attention, Row] = {
    "segearth": Row(segearth),
    "clearclip": Row(clearclip),
    "sclip": Row(sclip),
    "maskclip": Row(maskclip),
    "naclip": Row(naclip),
    "nonly": Row(nonly),
    "gav": Row(gav),
    "gem": Row(gem, blocks=6, beside=True),
    "vanilla": Row(vanilla),
}


@constant(16)
def neighbourhood(grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Tensor:
    """G (1 + h w, 1 + h w): exp(-distance^2 / 2) between patches, distance in patches; 0 to and from the class token.

    >>> neighbourhood((1, 3), torch.device("cpu"), torch.float32)[1]
    tensor([0.0000, 1.0000, 0.6065, 0.1353])
    """
    places = [torch.arange(n, dtype=torch.float64) for n in grid]
    rows, cols = (torch.exp(-(at[:, None] - at[None]).square() / 2) for at in places)
    return F.pad(torch.kron(rows, cols), (1, 0, 1, 0)).to(device, dtype)


def _weighed(q: Tensor, k: Tensor, grid: tuple[int, int]) -> Tensor:
    """G' (B, heads, N, N): G times the lengths of q and k, over sqrt(d)."""
    lengths: Tensor = q.norm(dim=-1).unsqueeze(-1) * k.norm(dim=-1).unsqueeze(-2)
    return neighbourhood(grid, q.device, q.dtype) * lengths / math.sqrt(q.shape[-1])
