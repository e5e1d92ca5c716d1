"""From options to a model that is ready to run, on its device and in its precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from segearth_cli.cache import cache_dir
from segearth_cli.classes import ClassSet
from segearth_cli.console import untold
from segearth_cli.errors import UsageError
from segearth_cli.model import Direct, Encoder, Fused, Segmenter, by_llvm, pick_device, pick_precision, slow_precision
from segearth_cli.weights.load import Clip, clip_file, load_clip, load_upsampler
from segearth_cli.weights.locate import image_facts, upsampler_file, verified
from segearth_cli.weights.options import ModelOptions
from segearth_cli.weights.phrase_cache import phrase_embeddings
from segearth_cli.weights.plug import PREFIX, Plug, Plugged
from segearth_cli.weights.queries import query_vectors
from segearth_cli.weights.templates import AS_IT_IS

# Said in the provenance only where they are not the default, so that masks of former versions are the same run.
NAMED_WHERE_CHOSEN = ("keep_residual", "last_blocks", "kernels", "templates", "refine")
FIELDS = {field.name: field for field in fields(ModelOptions)}


@dataclass(frozen=True, slots=True)
class Assembled:
    """A model ready to run, with what is to be said of it."""

    segmenter: Segmenter | Plugged
    """Chips (B, 3, S, S), valid (B, S, S) or None, `Overlap` -> logits (B, Q, S, S); on its device, in eval mode."""
    device: torch.device
    """Where it runs."""
    native: int
    """Window side in pixels that the model was trained for."""
    facts: dict[str, Any]
    """What a mask's provenance says of it."""

    @property
    def of_clip(self) -> Segmenter:
        """The segmenter of a CLIP; raises UsageError for a model of another maker, which has no phrases' vectors."""
        if isinstance(self.segmenter, Segmenter):
            return self.segmenter
        raise UsageError(f"--model {self.facts['model']}: needs a CLIP's vectors; name one of `segearth models`")


def _vectors(clip: Clip, classes: ClassSet, templates: tuple[str, ...], notice: Callable[[str], None]) -> Tensor:
    """The vectors (Q, C) that stand for the classes; descriptions that the model cannot read to their end are told."""

    def embed(texts: Sequence[str], templates: tuple[str, ...]) -> Tensor:
        return phrase_embeddings(clip, texts, cache_dir(), templates)

    for text in filter(None, classes.descriptions):
        if int(clip.tokenizer([text])[0, -1]):  # no room left after its end
            notice(f"{clip.name} reads the beginning of the description '{text[:40]}...' alone; make it shorter")
    return query_vectors(classes, lambda texts: embed(texts, templates), lambda texts: embed(texts, AS_IT_IS))


def _plugged(options: ModelOptions, classes: ClassSet, device: torch.device) -> Assembled:
    """A model of another maker; of the options only its name and the device mean something to it."""
    plug = Plug(options.model)
    return Assembled(plug.model(classes, device), device, plug.window, _plug_facts(plug))


def _plug_facts(plug: Plug) -> dict[str, Any]:
    return plug.facts() | {"upsampler": "none", "upsampler_sha256": None, "precision": "float32"}


@dataclass(frozen=True, slots=True)
class Described:
    """What plans and provenance need of a model, which nobody has loaded yet."""

    native: int
    """Window side in pixels that the model was trained for."""
    facts: dict[str, Any]
    """What a mask's provenance says of it; those of `Assembled`."""


def describe_model(options: ModelOptions) -> Described:
    """The facts of the model that `assemble` would give; its weights are hashed, not loaded.

    Raises WeightsError when weights are absent, UsageError for an unknown device or precision.
    """
    if options.model.startswith(PREFIX):
        plug = Plug(options.model)
        return Described(plug.window, _plug_facts(plug))
    image = image_facts(options.model)
    source, path = clip_file(options.model)
    upsampler_sha = None if options.upsampler == "none" else verified(upsampler_file(options.upsampler))
    return Described(image.native, _facts(options, source.name, verified(path), upsampler_sha))


def _facts(options: ModelOptions, name: str, sha: str, upsampler_sha: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "model": name,
        "model_sha256": sha,
        "upsampler": options.upsampler,
        "upsampler_sha256": upsampler_sha,
        "attention": options.attention,
        "global_bias": options.global_bias,
        "precision": str(pick_precision(options.precision, pick_device(options.device))).removeprefix("torch."),
    }
    for field in NAMED_WHERE_CHOSEN:
        if (value := getattr(options, field)) != FIELDS[field].default and (field != "refine" or _adaptive(options)):
            facts[field] = list(value) if isinstance(value, tuple) else value
    return facts


def _adaptive(options: ModelOptions) -> bool:
    """Whether the last stage of an upsampler is left out where it matters little."""
    return options.refine == "adaptive" and options.upsampler != "none" and pick_device(options.device).type == "cpu"


def _direct(notice: Callable[[str], None]) -> Direct | None:
    """The compiled kernels of this CPU; None, and told, where they do not run."""
    try:
        return Direct()
    except Exception as e:  # whatever a compiler may come up with
        notice(f"kernels cannot be compiled ({type(e).__name__}: {e}); going on with slower ones of PyTorch")
        return None


def assemble(options: ModelOptions, classes: ClassSet, notice: Callable[[str], None] = untold) -> Assembled:
    """The model of the options for the phrases of the classes.

    notice: told what the user should know of it, now and while it runs.
    Raises WeightsError when weights are absent or do not fit, UsageError for an unknown device or precision.
    """
    device = pick_device(options.device)
    if options.model.startswith(PREFIX):
        return _plugged(options, classes, device)
    precision = pick_precision(options.precision, device)
    if line := slow_precision(options.precision, device):
        notice(line)
    clip = load_clip(options.model)
    phrases = _vectors(clip, classes, options.templates, notice)
    encoder = Encoder(
        clip, clip.mean, clip.std, attention=options.attention, keep_residual=options.keep_residual,
        last_blocks=options.last_blocks,
    )  # fmt: skip
    upsampler, upsampler_sha = None, None
    if options.upsampler != "none":
        upsampler, upsampler_sha = load_upsampler(
            options.upsampler, channels=encoder.channels, patch=encoder.patch, model_sha256=clip.sha256
        )
    facts = _facts(options, clip.name, clip.sha256, upsampler_sha)
    fused = Fused(notice) if options.kernels == "triton" else None
    direct = _direct(notice) if upsampler and by_llvm(options.kernels, device) else None
    segmenter = Segmenter(
        encoder, upsampler, phrases, global_bias=options.global_bias, precision=precision, fused=fused, direct=direct,
        adaptive=classes.query_class if _adaptive(options) else None,
    )  # fmt: skip
    return Assembled(segmenter.to(device), device, encoder.native, facts)
