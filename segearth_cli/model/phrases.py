"""Phrases to text embeddings, by a CLIP's text tower."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.inference_mode()
def embed_phrases(
    clip: Any,
    tokenizer: Callable[[list[str]], Tensor],
    phrases: Sequence[str],
    templates: Iterable[Callable[[str], str]],
) -> Tensor:
    """Unit text embeddings (Q, C) of phrases, in float32: mean over templates of unit embeddings, made unit again."""
    device = next(clip.parameters()).device
    templates = list(templates)
    rows = []
    for phrase in phrases:
        tokens = tokenizer([template(phrase) for template in templates]).to(device)
        embedded = F.normalize(clip.encode_text(tokens).float(), dim=-1)
        rows.append(F.normalize(embedded.mean(dim=0), dim=-1))
    return torch.stack(rows)


class Shortened(nn.Module):
    """A CLIP whose text tower reads tokens up to the last end of text in a batch.

    Under a causal mask later positions reach nothing before them, so the embeddings are the same, up to rounding; at
    about 15 of 77 positions they cost a fifth.
    """

    def __init__(self, clip: Any):
        super().__init__()
        self.clip = clip

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embeddings (B, C) of tokens (B, N)."""
        mask = getattr(self.clip, "attn_mask", None)
        if mask is None or getattr(self.clip, "text_pool_type", "") != "argmax":
            return self.clip.encode_text(tokens)  # type: ignore[no-any-return]
        n = int(tokens.argmax(dim=-1).max()) + 1
        short = {"clip.positional_embedding": self.clip.positional_embedding[:n], "clip.attn_mask": mask[:n, :n]}
        return torch.func.functional_call(self, short, (tokens[:, :n],))  # type: ignore[no-any-return]

    def forward(self, tokens: Tensor) -> Tensor:
        """`functional_call` enters here, with the short tensors in place."""
        return self.clip.encode_text(tokens)  # type: ignore[no-any-return]
