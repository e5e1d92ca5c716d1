"""Text embeddings of phrases, computed once per model and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from segearth_cli.errors import SegEarthError
from segearth_cli.files import make_folders, write_bytes
from segearth_cli.model import Shortened, embed_phrases
from segearth_cli.weights.load import Clip
from segearth_cli.weights.templates import PUBLISHED, template_functions


def phrase_embeddings(
    clip: Clip, phrases: Sequence[str], cache: Path | None, templates: tuple[str, ...] = PUBLISHED
) -> Tensor:
    """Unit text embeddings (Q, C) of phrases in float32, on the CPU, means over templates (`ModelOptions.templates`).

    Each depends on the model, the templates and its own phrase alone. cache: the folder whose `text/` keeps one file
    per model, templates and phrase; None = keep nothing. A file that is damaged is made again. open_clip is imported
    for what is not kept.
    """
    folder = cache / "text" / clip.identity[:32] if cache else None
    embeddings = {}
    for phrase in dict.fromkeys(phrases):
        kept = _read(_file(folder, phrase, templates)) if folder else None
        embeddings[phrase] = _embed(clip, phrase, templates) if kept is None else kept
        if folder and kept is None:
            _write(_file(folder, phrase, templates), embeddings[phrase])
    return torch.stack([embeddings[phrase] for phrase in phrases])


def _embed(clip: Clip, phrase: str, templates: tuple[str, ...]) -> Tensor:
    return embed_phrases(Shortened(clip.model), clip.tokenizer, [phrase], template_functions(templates))[0].cpu()


def _file(folder: Path, phrase: str, templates: tuple[str, ...]) -> Path:
    text = phrase if templates == PUBLISHED else "\n".join([phrase, *templates])  # neither holds a line's end
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"


def _read(path: Path) -> Tensor | None:
    """A kept embedding; None when there is none, or not the one that was written."""
    try:
        with safe_open(path, framework="pt") as f:
            embedding, metadata = f.get_tensor("embedding"), f.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return embedding if metadata.get("sha256") == _digest(embedding) else None


def _write(path: Path, embedding: Tensor) -> None:
    """Keeps an embedding; a cache that cannot be written is no reason to stop."""
    with suppress(OSError, SegEarthError):
        make_folders([path.parent])
        write_bytes(path, save({"embedding": embedding.contiguous()}, {"sha256": _digest(embedding)}))


def _digest(embedding: Tensor) -> str:
    return hashlib.sha256(embedding.numpy().tobytes()).hexdigest()
