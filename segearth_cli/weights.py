"""Models and upsamplers read from files on this machine, checked and loaded; never from the network."""

from __future__ import annotations

import logging
import math
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from segearth_cli.errors import WeightsError
from segearth_cli.files import replacing, sha256
from segearth_cli.sources import (
    CONFIG,
    VOCABULARY,
    Choice,
    ImageFacts,
    Source,
    choose,
    find,
    hub_file,
    image_facts,
    read_config,
    read_json,
    weight_file,
)

if TYPE_CHECKING:
    from torch import Tensor

    from segearth_cli.upsampler import Upsampler

__all__ = [
    "Choice", "Clip", "ImageFacts", "choose", "image_facts", "load_clip", "load_upsampler", "save_upsampler",
]  # fmt: skip

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class Clip:
    """An open_clip model with what belongs to it."""

    model: Any  # open_clip's, eval mode, float32, on the CPU
    tokenizer: Callable[[list[str]], Tensor]
    mean: tuple[float, float, float]  # RGB, 0-1
    std: tuple[float, float, float]
    name: str  # the resolved --model
    sha256: str  # of the weight file
    vocabulary: frozenset[str] | None  # words it was trained on; None = unknown


def load_clip(spec: str) -> Clip:
    """The model that a --model names. Raises WeightsError when it is absent, damaged or does not fit its own config."""
    source = find(spec)
    if source.folder is not None:
        return _load_folder(source, source.folder)
    return _load_architecture(source)


def load_upsampler(spec: str, *, channels: int, patch: int, model_sha256: str) -> tuple[Upsampler, str]:
    """An upsampler for a model of C `channels` and `patch` pixels, and the SHA-256 of its file.

    Reads .safetensors, and .ckpt, .pt and .pth without running code from them; keys as published: one JBU `up.*` or a
    stack `up1.*`, `up2.*`, ..., with or without the prefix `upsampler.`, possibly inside `state_dict`.
    Raises WeightsError when the file is absent, damaged, or does not fit the model.
    """
    import torch

    from segearth_cli.upsampler import Upsampler

    path = Path(spec).expanduser()
    tensors, metadata = read_tensors(path)
    own = {k.removeprefix("upsampler."): v for k, v in tensors.items() if k.startswith("upsampler.")} or tensors
    stages = sorted({int(match[1]) for key in own if (match := re.match(r"up(\d+)\.", key))})
    radius, keys = _jbu_shape(path, own, "up1" if stages else "up")
    head = own.get("fixup_proj.1.weight")
    if head is None or head.ndim != 4:
        raise WeightsError(f"{path}: no upsampler: holds no tensor fixup_proj.1.weight of shape (C, C, 1, 1)")
    if head.shape[0] != channels:
        raise WeightsError(
            f"{path}: made for embeddings of {head.shape[0]} channels, the model has {channels}; "
            "choose another --upsampler or --model, or --upsampler none"
        )
    needed = math.ceil(math.log2(patch))
    if stages and stages != list(range(1, needed + 1)):
        raise WeightsError(
            f"{path}: has {len(stages)} stages, the model's patch of {patch} px needs {needed}; "
            "choose another --upsampler or --model, or --upsampler none"
        )
    trained_for = metadata.get("model_sha256")
    if trained_for and trained_for != model_sha256:
        raise WeightsError(
            f"{path}: was trained for another model ({metadata.get('model', 'unnamed')}, sha256 {trained_for[:12]}...; "
            f"this one is {model_sha256[:12]}...); choose another --upsampler or --model, or --upsampler none"
        )
    with torch.device("meta"):
        upsampler = Upsampler(channels, patch, radius=radius, keys=keys, shared=not stages)
    return _filled(upsampler, own, path), sha256(path)


def save_upsampler(upsampler: Upsampler, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes what `load_upsampler` reads: published key names, and the metadata in safetensors' header.

    metadata: `model` and `model_sha256` tie the upsampler to the model it was trained for; radius and patch are added.
    """
    from safetensors.torch import save_file

    tensors = {key: value.detach().cpu().contiguous() for key, value in upsampler.state_dict().items()}
    header = {"radius": str(upsampler.radius), "patch": str(upsampler.patch), **metadata}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=header)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a weight file and safetensors' metadata; no code from the file is run.

    `state_dict` wrappers and the prefix `module.` of parallel training are taken off. Raises WeightsError when the file
    is absent, damaged, or holds anything but numbers.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        tensors, metadata = _read_safetensors(path) if path.suffix == ".safetensors" else (_read_pickle(path), {})
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: not read, because it holds more than tensors or is damaged; save the state dict alone, "
            "best as .safetensors"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, BadZipFile) as e:
        raise WeightsError(f"{path}: damaged or no weight file: {_first_line(e)}") from None
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors")
    return {key.removeprefix("module."): value for key, value in tensors.items()}, metadata


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as f:
            return {key: f.get_tensor(key) for key in f.keys()}, f.metadata() or {}  # noqa: SIM118
    except SafetensorError as e:
        raise ValueError(str(e)) from None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}, need a dictionary of tensors")
    return {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}


def _load_folder(source: Source, folder: Path) -> Clip:
    config = read_json(folder / CONFIG)
    read_config(folder / CONFIG)
    vocabulary = folder / VOCABULARY
    words = frozenset(vocabulary.read_text(encoding="utf-8").lower().split()) if vocabulary.is_file() else None
    preprocess = config.get("preprocess_cfg", {})
    return _load(source.name, f"local-dir:{folder}", weight_file(folder), preprocess, words)


def _load_architecture(source: Source) -> Clip:
    if source.checkpoint is not None:
        return _load(source.name, source.architecture, source.checkpoint, {}, None)
    tag = _tag_config(source)
    repo, _, name = tag.get("hf_hub", "").rpartition("/")
    names = (name,) if name else ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    path = hub_file(repo, *names) if repo else None
    if path is None:
        raise WeightsError(
            f"--model {source.name}: not on this machine; fetch it with `segearth download {source.name}`"
        )
    return _load(source.name, source.architecture, path, tag, None)


def _tag_config(source: Source) -> dict[str, Any]:
    """What open_clip knows of a pretrained tag; raises WeightsError when it is unknown or needs another activation."""
    import open_clip

    architecture, tag = source.architecture, source.tag
    known: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    quick = bool(open_clip.get_model_config(architecture).get("quick_gelu", False))
    other = architecture.removesuffix("-quickgelu") if quick else f"{architecture}-quickgelu"
    elsewhere = open_clip.is_pretrained_cfg(other, tag)
    if known and bool(known.get("quick_gelu", False)) == quick:
        return known
    if known or elsewhere:
        trained, has = ("GELU", "QuickGELU") if quick else ("QuickGELU", "GELU")
        raise WeightsError(
            f"--model {source.name}: these weights were trained with {trained}, {architecture} has {has}; "
            f"use --model {other}:{tag}"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    raise WeightsError(f"--model {source.name}: unknown tag; {architecture} has {', '.join(tags) or 'none'}")


def _load(name: str, model: str, path: Path, preprocess: Mapping[str, Any], words: frozenset[str] | None) -> Clip:
    import open_clip

    tensors, _ = read_tensors(path)
    try:
        with _silent():
            empty = open_clip.create_model(model, load_weights=False, pretrained_text=False)
            tokenizer = open_clip.get_tokenizer(model)
    except Exception as e:
        raise WeightsError(f"--model {name}: open_clip cannot build it: {_first_line(e)}") from None
    filled = _filled(empty, _modern(tensors, empty), path)
    mean, std = (_colour(preprocess.get(k, d), k, name) for k, d in (("mean", CLIP_MEAN), ("std", CLIP_STD)))
    return Clip(filled, tokenizer, mean, std, name, sha256(path), words)


def _modern(tensors: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Keys of older checkpoints as this open_clip names them."""
    if "positional_embedding" in tensors and not hasattr(model, "positional_embedding"):
        from open_clip.model import convert_to_custom_text_state_dict

        tensors = convert_to_custom_text_state_dict(tensors)
    derived = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
    tensors = {key: value for key, value in tensors.items() if key not in derived}
    own = model.state_dict()
    scalars = {k: tensors[k].reshape(own[k].shape) for k in ("logit_scale", "logit_bias") if k in tensors and k in own}
    return tensors | scalars


def _filled(module: Any, tensors: Mapping[str, Tensor], path: Path) -> Any:
    """The module with every parameter taken from `tensors`, in float32 and eval mode; nothing missing, nothing left."""
    own = module.state_dict()
    missing = [key for key in own if key not in tensors]
    unknown = [key for key in tensors if key not in own]
    misfits = [
        f"{key} is {tuple(tensors[key].shape)}, need {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    faults = [f"{what}: {_few(keys)}" for what, keys in (("missing", missing), ("unknown", unknown)) if keys]
    if faults or misfits:
        raise WeightsError(f"{path}: does not fit: {'; '.join(faults + misfits[:2])}")
    floats = {key: tensors[key].float() if tensors[key].is_floating_point() else tensors[key] for key in own}
    broken = [key for key, value in floats.items() if not bool(value.isfinite().all())]
    if broken:
        raise WeightsError(f"{path}: damaged: holds values that are not finite: {_few(broken)}")
    module.load_state_dict(floats, strict=True, assign=True)
    return module.requires_grad_(False).eval()


def _jbu_shape(path: Path, tensors: Mapping[str, Tensor], stage: str) -> tuple[int, int]:
    """Radius and key channels of a JBU, from the shapes of its parameters."""
    fixup, keys = tensors.get(f"{stage}.fixup_proj.3.bias"), tensors.get(f"{stage}.range_proj.3.bias")
    if fixup is None or keys is None:
        raise WeightsError(f"{path}: no upsampler: holds no tensors {stage}.range_proj.* and {stage}.fixup_proj.*")
    side = math.isqrt(fixup.numel())
    if side * side != fixup.numel() or side % 2 == 0:
        raise WeightsError(f"{path}: {stage}.fixup_proj.3.bias has {fixup.numel()} taps, need an odd number squared")
    return side // 2, keys.numel()


def _colour(values: Any, key: str, name: str) -> tuple[float, float, float]:
    numbers = [float(v) for v in values] if isinstance(values, list | tuple) else []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or (key == "std" and min(numbers) <= 0):
        raise WeightsError(f"--model {name}: preprocess_cfg.{key} is {values}, need three numbers for RGB in 0-1")
    return numbers[0], numbers[1], numbers[2]


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def _silent() -> Iterator[None]:
    """open_clip's warnings off: it warns that a model built without weights has none."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
