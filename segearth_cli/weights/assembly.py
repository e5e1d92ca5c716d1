"""From options to a model that is ready to run, on its device and in its precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from segearth_cli.classes import ClassSet
from segearth_cli.errors import SegEarthError, UsageError
from segearth_cli.files import cache_dir
from segearth_cli.model import Attention, Encoder, Segmenter
from segearth_cli.weights.load import load_clip, load_upsampler
from segearth_cli.weights.phrase_cache import phrase_embeddings, unknown_words

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which model, already resolved (`sources.choose`), and where it runs."""

    model: str
    upsampler: str = "none"
    attention: Attention = "segearth"
    global_bias: float = 0.3
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, slots=True)
class Assembled:
    """A segmenter on its device; facts: what a mask's provenance says of it; notices: lines the user should see."""

    segmenter: Segmenter
    device: torch.device
    native: int
    facts: dict[str, Any]
    notices: tuple[str, ...]


def assemble(options: ModelOptions, classes: ClassSet) -> Assembled:
    """The model of the options for the phrases of the classes.

    Raises WeightsError when weights are absent or do not fit, UsageError for an unknown device or precision.
    """
    device = pick_device(options.device)
    precision = pick_precision(options.precision, device)
    clip = load_clip(options.model)
    phrases = phrase_embeddings(clip.sha256, clip.model, clip.tokenizer, classes.queries, cache_dir())
    encoder = Encoder(clip.model, clip.mean, clip.std, attention=options.attention)
    upsampler, upsampler_sha = None, None
    if options.upsampler != "none":
        upsampler, upsampler_sha = load_upsampler(
            options.upsampler, channels=encoder.channels, patch=encoder.patch, model_sha256=clip.sha256
        )
    facts = {
        "model": clip.name,
        "model_sha256": clip.sha256,
        "upsampler": options.upsampler,
        "upsampler_sha256": upsampler_sha,
        "attention": options.attention,
        "global_bias": options.global_bias,
        "precision": str(precision).removeprefix("torch."),
    }
    notices = []
    if clip.vocabulary is not None and (words := unknown_words(classes.queries, clip.vocabulary)):
        notices.append(f"{clip.name} has never seen: {', '.join(words)}; its guess for them means little")
    segmenter = Segmenter(encoder, upsampler, phrases, global_bias=options.global_bias, precision=precision)
    return Assembled(segmenter.to(device), device, encoder.native, facts, tuple(notices))


def pick_device(name: str) -> torch.device:
    """The device of a --device. Raises UsageError for an unknown name, SegEarthError when it is not on this machine."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: choose auto, cpu, cuda:N or mps") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {name}: choose auto, cpu, cuda:N or mps")
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if (device.index or 0) >= here:
        found = f"{torch.cuda.device_count()} CUDA devices" if device.type == "cuda" else "no MPS device"
        raise SegEarthError(f"--device {name}: this machine has {found}; use --device auto or cpu")
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a --precision.

    auto is float16 on CUDA (the inputs of its products are bounded by the norms before them, and it is eight times
    closer to float32 than bfloat16), bfloat16 on CPUs that multiply it natively, else float32.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if device.type == "cpu" and _native_bfloat16() else torch.float32
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name}: choose auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def _native_bfloat16() -> bool:
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known and known())
