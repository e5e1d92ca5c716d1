"""Captions and phrases as tokens of a small vocabulary: only the rows that training uses are kept while training."""

from __future__ import annotations

import random
from typing import Any, cast

import torch
from open_clip import OPENAI_IMAGENET_TEMPLATES, SimpleTokenizer
from torch import Tensor, nn

from . import words
from .tower import CONFIG
from .views import Photo

CONTEXT = int(CONFIG["text_cfg"]["context_length"])
_EUROSAT = {
    "annualcrop": "cropland",
    "permanentcrop": "orchard",
    "forest": "forest",
    "herbaceousvegetation": "vegetation",
    "highway": "highway",
    "industrial": "industrial",
    "pasture": "pasture",
    "residential": "residential",
    "river": "river",
    "sealake": "lake",
}


class Texts:
    """Token rows (n, 32) in the small vocabulary, in the order of the full one: the end token stays the largest."""

    def __init__(self, captions: list[str]):
        self.tokenizer = SimpleTokenizer(context_length=CONTEXT)
        phrases = [p for w in words.WORDS.values() for p in w.phrases] + list(words.BACKGROUND)
        written = [t("") for t in OPENAI_IMAGENET_TEMPLATES]
        sentences = [*captions, *phrases, *written]
        self.used = torch.unique(self.tokenizer(sentences))  # sorted

    def __call__(self, sentences: list[str]) -> Tensor:
        """Sentences of known words -> rows of small ids."""
        return torch.searchsorted(self.used, self.tokenizer(sentences))

    def shrink(self, model: Any) -> None:
        """Keep the embedding rows in use; those that no earlier training used start small."""
        rows = model.token_embedding.weight.data[self.used]
        rows = torch.where(rows.any(dim=1, keepdim=True), rows, 0.01 * torch.randn_like(rows))
        model.token_embedding = nn.Embedding.from_pretrained(rows.clone(), freeze=False)  # type: ignore[no-untyped-call]

    def grow(self, weight: Tensor, size: int) -> Tensor:
        """The full embedding: rows never used are zero. The inverse of `shrink` on the rows in use."""
        full = torch.zeros(size, weight.shape[1])
        full[self.used] = weight
        return full


def caption(photo: Photo, rng: random.Random) -> str:
    """One of the photo's captions; a class name of EuroSAT takes any of its word's phrases and a template."""
    if not photo.satellite:
        return rng.choice(photo.captions)
    phrase = rng.choice(words.WORDS[_EUROSAT[photo.stem]].phrases)
    return str(rng.choice([f"a Sentinel-2 image of {phrase}.", rng.choice(OPENAI_IMAGENET_TEMPLATES)(phrase)]))


def encode(model: Any, rows: Tensor) -> Tensor:
    """Same as open_clip's encode_text, on rows cut to the longest sentence."""
    length = int((rows != 0).sum(dim=1).max())
    rows = rows[:, :length]
    x = model.token_embedding(rows) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return cast(Tensor, x[torch.arange(len(rows)), rows.argmax(dim=1)] @ model.text_projection)


def phrases(rng: random.Random) -> list[str]:
    """One phrase of every word in a random template, then a way to say background."""
    chosen = [rng.choice(w.phrases) for w in words.WORDS.values()] + [rng.choice(words.BACKGROUND)]
    return [rng.choice(OPENAI_IMAGENET_TEMPLATES)(p) for p in chosen]
