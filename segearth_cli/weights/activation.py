"""Which activation a CLIP was trained with, GELU or QuickGELU, as far as pictures and their captions can tell.

A file of weights does not say it, and loads under both. Under the one of training a model matches pictures and captions
better, by how much depends on the model: the two differ by no more than 0.02.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segearth_cli.errors import WeightsError
from segearth_cli.model import QuickGELU
from segearth_cli.weights.load import Clip

Activation = Literal["GELU", "QuickGELU"]

LEAST = 0.02  # nats a picture: less is no difference that a mask would show
ERRORS = 3  # standard errors
_AT_ONCE = 16  # pictures
_SCALES = torch.logspace(0, 2.5, 101)  # of cosines; published models have 100


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a model matches pictures with their captions under one activation."""

    log_probability: float
    """Of a picture's own caption among all captions, nats, the mean over pictures."""
    above_chance: float
    """By how much that is better than a guess, in its standard errors."""
    first: float
    """Share of the pictures whose own caption is the likeliest."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model under both activations on the same pictures."""

    pictures: int
    """How many there are."""
    captions: int
    """How many different ones there are."""
    gelu: Agreement
    """Under GELU."""
    quick_gelu: Agreement
    """Under QuickGELU."""
    difference: float
    """Log-probability under GELU less that under QuickGELU, nats, the mean over pictures."""
    error: float
    """The standard error of the difference, pictures of a caption taken together."""

    @property
    def answer(self) -> Activation | None:
        """The activation that the model agrees better with; None where that cannot be told.

        It is told where the better one is above chance and better than the other, each by three standard errors, and
        better by 0.02 nats a picture.
        """
        return None if self.lacking else "GELU" if self.difference > 0 else "QuickGELU"

    @property
    def lacking(self) -> str:
        """Why it cannot be told, for people; empty where it can."""
        better = self.gelu if self.difference > 0 else self.quick_gelu
        if better.above_chance <= ERRORS:
            return "the model does not know these pictures; give it others with --pairs"
        if abs(self.difference) <= LEAST:
            return f"a difference of {LEAST} nats or less matters little"
        if abs(self.difference) <= ERRORS * self.error:
            return f"the difference is within {ERRORS} standard errors; give more pictures with --pairs"
        return ""


@torch.inference_mode()
def compare_activations(clip: Clip, pictures: Tensor, captions: Sequence[str]) -> Comparison:
    """A CLIP under GELU and under QuickGELU, in both towers, on pictures with a caption each.

    pictures: (N, 3, S, S), uint8 RGB, of the model's own size; captions: N, two different ones at least. The logit
    scale is for each activation the one that suits it best, so that none is preferred for being less sure.
    Raises WeightsError for a model whose blocks have neither activation.
    """
    different = list(dict.fromkeys(captions))
    own = torch.tensor([different.index(caption) for caption in captions])
    found = []
    for activation in (nn.GELU, QuickGELU):
        with _activated(clip, activation) as model:
            texts = F.normalize(model.encode_text(clip.tokenizer(different)).float(), dim=-1)
            found.append(_own_log_probabilities(_vectors(clip, model, pictures) @ texts.T, own))
    (gelu, gelu_first), (quick, quick_first) = found
    chance = -math.log(len(different))

    def agreement(logs: Tensor, first: float) -> Agreement:
        return Agreement(float(logs.mean()), float((logs.mean() - chance) / _error(logs, own)), first)

    return Comparison(
        len(pictures), len(different), agreement(gelu, gelu_first), agreement(quick, quick_first),
        float((gelu - quick).mean()), _error(gelu - quick, own),
    )  # fmt: skip


def _vectors(clip: Clip, model: Any, pictures: Tensor) -> Tensor:
    """Unit vectors (N, C) of pictures."""
    mean, std = (torch.tensor(numbers).view(3, 1, 1) * 255 for numbers in (clip.mean, clip.std))
    parts = [model.encode_image((some.float() - mean) / std).float() for some in torch.split(pictures, _AT_ONCE)]
    return F.normalize(torch.cat(parts), dim=-1)


def _own_log_probabilities(cosines: Tensor, own: Tensor) -> tuple[Tensor, float]:
    """Of the caption that is each picture's own (N,), at the scale that suits them all; how often it is the first."""
    logs = [F.log_softmax(cosines.double() * scale, dim=-1)[torch.arange(len(own)), own] for scale in _SCALES]
    return max(logs, key=lambda some: float(some.mean())), float((cosines.argmax(dim=-1) == own).double().mean())


def _error(values: Tensor, groups: Tensor) -> float:
    """The standard error of a mean whose values may be alike within a group."""
    count = int(groups.max()) + 1
    sums = torch.zeros(count, dtype=values.dtype).index_add(0, groups, values - values.mean())
    return max(float((sums.square().sum() * count / (count - 1)).sqrt()) / len(values), 1e-12)


@contextmanager
def _activated(clip: Clip, activation: type[nn.Module]) -> Iterator[Any]:
    """open_clip's model with another activation in all of its blocks, for a while."""
    model = clip.model
    blocks = [module for module in model.modules() if isinstance(getattr(module, "gelu", None), nn.Module)]
    before = [block.gelu for block in blocks]
    if not blocks or any(type(one).__name__ not in ("GELU", "QuickGELU") for one in before):
        raise WeightsError(f"{clip.name}: its blocks have neither GELU nor QuickGELU")
    try:
        for block in blocks:
            block.gelu = activation()
        yield model
    finally:
        for block, one in zip(blocks, before, strict=True):
            block.gelu = one
