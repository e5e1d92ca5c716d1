"""The one home of what is made once and used by every window: of shapes, device and dtype, or of weights that stay.

A GPU waits for whatever is made on the host and copied again for each batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def constant(size: int = 64) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keeps what a function of shapes, device and dtype gives, for the last `size` of its arguments."""

    def keeping(make: Callable[P, T]) -> Callable[P, T]:
        @functools.lru_cache(maxsize=size)
        @functools.wraps(make)
        def kept(*args: Any, **kwargs: Any) -> T:
            with torch.inference_mode(False), torch.no_grad():  # kept, so it must serve training too
                return cast("Callable[..., T]", make)(*args, **kwargs)

        return cast("Callable[P, T]", kept)

    return keeping


class OfWeights:
    """What is made of a module's weights, until one of them is replaced or changed in place; not kept in training."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[_Weights, Any]] = {}

    def __deepcopy__(self, _memo: object) -> OfWeights:
        return OfWeights()

    def get(self, key: Hashable, weights: Sequence[Tensor], make: Callable[[], T]) -> T:
        """What `make` gives of the weights; key: tells it from what else is made of them."""
        if torch.is_grad_enabled():
            return make()
        now = [(weight, _version(weight)) for weight in weights]
        if key not in self._kept or not _same(self._kept[key][0], now):
            with torch.inference_mode(False), torch.no_grad():
                self._kept[key] = now, make()
        return cast(T, self._kept[key][1])


_Weights = list[tuple[Tensor, int]]


def _same(one: _Weights, other: _Weights) -> bool:
    return len(one) == len(other) and all(a[0] is b[0] and a[1] == b[1] for a, b in zip(one, other, strict=True))


def _version(weight: Tensor) -> int:
    """How often a weight was changed in place; 0 where PyTorch does not count."""
    return 0 if weight.is_inference() else int(weight._version)
