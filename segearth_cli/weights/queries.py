"""What is asked of a model for the classes of a run: a vector for each phrase, or one for all phrases of a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segearth_cli.classes import ClassSet

Embed = Callable[[Sequence[str]], Tensor]  # P texts -> (P, C), unit rows


def query_vectors(classes: ClassSet, phrases: Embed, sentences: Embed) -> Tensor:
    """Unit vectors (Q, C), in the order of `classes.query_class`.

    Those of a class are the text embeddings of its phrases and then of its description. Where they count as their mean,
    it is made unit again, as the mean over templates is (method 1.2). phrases, sentences: give the embeddings of both.
    """
    embedded, rows = phrases(classes.queries), []
    for code, texts in enumerate(classes.phrases):
        own, embedded = embedded[: len(texts)], embedded[len(texts) :]
        if text := classes.description(code):
            own = torch.cat([own, sentences([text])])
        averaged = classes.averaged(code) and len(own) > 0
        rows.append(F.normalize(own.mean(dim=0, keepdim=True), dim=-1) if averaged else own)
    return torch.cat(rows)
