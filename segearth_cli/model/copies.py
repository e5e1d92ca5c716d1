"""Modules of one's own, whose weights may be changed, moved and cast without the giver's noticing."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def own(module: M) -> M:
    """The same module with parameters and buffers of its own, which share their values until they are replaced.

    `Module.to` and assignment replace them, so no memory is taken before; operations in place would reach the giver.
    """
    shared: dict[int, object] = {
        id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in module.parameters()
    }
    shared |= {id(buffer): buffer.detach() for buffer in module.buffers()}
    return copy.deepcopy(module, shared)
