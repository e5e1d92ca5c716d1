"""Models and upsamplers, read from files on this machine, checked and loaded; never from the network."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segearth_cli.errors import WeightsError, first_line
from segearth_cli.files import write_bytes
from segearth_cli.weights.catalogue import key
from segearth_cli.weights.locate import (
    CONFIG,
    Source,
    absent,
    find,
    hub_file,
    kept,
    upsampler_file,
    verified,
    weight_file,
)
from segearth_cli.weights.openclip import (
    architecture_config,
    check_activation,
    check_keys,
    hub_files,
    model_config,
    published_hashes,
    read_json,
    tag_config,
)
from segearth_cli.weights.plug import PREFIX
from segearth_cli.weights.tensors import WithoutChance, filled, read_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from segearth_cli.model import Tower, Upsampler

Tokenizer = Callable[[list[str]], "Tensor"]

# open_clip's defaults, for configurations that name none
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
VISUAL = "visual."  # what the image tower's tensors are called by


@dataclass(frozen=True, slots=True)
class Clip:
    """A CLIP: its image tower, and open_clip's whole model for whoever asks for it."""

    visual: Tower
    """In eval mode, float32, on the CPU."""
    mean: tuple[float, float, float]
    """Of R, G and B, each 0 to 1, for normalising."""
    std: tuple[float, float, float]
    """Likewise."""
    name: str
    """The resolved `--model`."""
    sha256: str
    """Of the weight file."""
    identity: str
    """Differs where the phrases' vectors may: of the weights and of the architecture that they are put into."""
    whole: Callable[[], Any]
    """open_clip's model, in eval mode, float32, on the CPU.

    Made at the first call: it imports open_clip, which takes longer than a small mask. Raises WeightsError as
    `load_clip` does, for what lies outside the image tower.
    """
    words: Callable[[], Tokenizer]
    """open_clip's tokenizer: texts -> token numbers (N, context length). Made at the first call, without the model."""

    @property
    def model(self) -> Any:
        """open_clip's model."""
        return self.whole()

    @property
    def tokenizer(self) -> Tokenizer:
        """open_clip's tokenizer."""
        return self.words()


def load_clip(spec: str) -> Clip:
    """The model that a --model names.

    Raises WeightsError when it is absent, or its image tower is damaged or does not fit its own configuration.
    """
    if spec.startswith(PREFIX):
        raise WeightsError(f"--model {spec}: a CLIP is needed here; name one of `segearth models`")
    source, path = clip_file(spec)
    return load_checkpoint(source, path) if source.folder is None else _load_folder(source, source.folder)


def clip_file(spec: str) -> tuple[Source, Path]:
    """What a --model names, and its weight file. Raises WeightsError when it is not on this machine."""
    source = find(spec)
    if source.folder is not None:
        return source, weight_file(source.folder)
    if source.checkpoint is not None:
        return source, source.checkpoint
    config = tag_config(source.architecture, source.tag)
    path = kept(key(source.architecture, source.tag)) or hub_file(*hub_files(config))
    if path is None:
        raise absent(spec)
    return source, path


def load_checkpoint(source: Source, path: Path) -> Clip:
    """A model of open_clip's own configurations with the weights of a file."""
    published = published_hashes()
    config = tag_config(source.architecture, source.tag) if source.tag else published.get(verified(path), {})
    if config:
        check_activation(source.architecture, source.name.partition(":")[2], config)
    file = architecture_config(source.architecture)
    if not file.is_file():
        raise WeightsError(f"--model {source.name}: open_clip has no configuration {source.architecture}")
    return _load(source.name, source.architecture, file, path, config, published)


def load_upsampler(spec: str, *, channels: int, patch: int, model_sha256: str | None) -> tuple[Upsampler, str]:
    """An upsampler for a model of C `channels` and `patch` pixels, and the SHA-256 of its file.

    spec: see `upsampler_file`. Reads .safetensors, .ckpt, .pt and .pth; keys as published: one JBU `up.*` or a stack
    `up1.*`, `up2.*`, ..., with or without the prefix `upsampler.`, possibly inside `state_dict`. model_sha256: None
    takes one of any model. Raises WeightsError when the file is absent, damaged, or does not fit the model.
    """
    import torch

    from segearth_cli.model import Upsampler

    path = upsampler_file(spec)
    tensors, metadata = read_tensors(path)
    own = {k.removeprefix("upsampler."): v for k, v in tensors.items() if k.startswith("upsampler.")} or tensors
    stages = sorted({int(match[1]) for name in own if (match := re.match(r"up(\d+)\.", name))})
    radius, keys = _jbu_shape(path, own, "up1" if stages else "up")
    _check_fit(path, own, stages, channels, patch)
    trained_for = metadata.get("model_sha256")
    if trained_for and model_sha256 is not None and trained_for != model_sha256:
        raise WeightsError(
            f"{path}: was trained for another model ({metadata.get('model', 'unnamed')}, sha256 {trained_for[:12]}), "
            f"this one has sha256 {model_sha256[:12]}; choose another --upsampler or --model, or --upsampler none"
        )
    with torch.device("meta"):
        upsampler = Upsampler(channels, patch, radius=radius, keys=keys, shared=not stages)
    return filled(upsampler, own, path), verified(path)


def save_upsampler(upsampler: Upsampler, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes what `load_upsampler` reads: published key names, and the metadata in safetensors' header.

    metadata: `model` and `model_sha256` tie the upsampler to the model it was trained for; radius and patch are added.
    """
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in upsampler.state_dict().items()}
    header = {"radius": str(upsampler.radius), "patch": str(upsampler.patch), **metadata}
    write_bytes(path, save(tensors, header))  # save_file would keep it from everyone but the owner


def _load_folder(source: Source, folder: Path) -> Clip:
    file = folder / CONFIG
    preprocess = read_json(file).get("preprocess_cfg", {})
    return _load(source.name, f"local-dir:{folder}", file, weight_file(folder), preprocess)


def _load(
    name: str, architecture: str, file: Path, path: Path, preprocess: Mapping[str, Any], trusted: Collection[str] = ()
) -> Clip:
    """architecture: as open_clip is asked for it; file: its configuration; path: the weights."""
    from segearth_cli.model import Tower

    config = model_config(file, read_json(file))
    tensors, _ = read_tensors(path, trusted=trusted)
    check_keys(path, tensors)
    mean, std = (_colour(preprocess.get(k, d), k, name) for k, d in (("mean", CLIP_MEAN), ("std", CLIP_STD)))
    try:
        tower = Tower(config)
    except WeightsError as e:
        raise WeightsError(f"--model {name}: {e}") from None
    except Exception as e:
        raise WeightsError(f"--model {name}: cannot be built from {file}: {first_line(e)}") from None
    own = {key: value for key, value in tensors.items() if key.startswith(VISUAL)}
    sha256 = verified(path)

    @cache
    def whole() -> Any:
        with _building(name) as open_clip, WithoutChance():
            empty = open_clip.create_model(architecture, load_weights=False, pretrained_text=False)
        return filled(empty, _modern(read_tensors(path, trusted=trusted)[0], empty), path)

    @cache
    def words() -> Tokenizer:
        with _building(name) as open_clip:
            tokenizer: Tokenizer = open_clip.get_tokenizer(architecture)
        return tokenizer

    identity = hashlib.sha256(f"{sha256}\n{json.dumps(config, sort_keys=True)}".encode()).hexdigest()
    return Clip(filled(tower, own, path, VISUAL), mean, std, name, sha256, identity, whole, words)


@contextmanager
def _building(name: str) -> Iterator[Any]:
    """open_clip, to build a part of a model with; raises WeightsError when it cannot."""
    import open_clip

    try:
        with _apart():
            yield open_clip
    except Exception as e:
        raise WeightsError(f"--model {name}: open_clip cannot build it: {first_line(e)}") from None


def _modern(tensors: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Keys as the model has them: those of its text tower with or without `text.`, none that only old files have."""
    own = model.state_dict()
    if "positional_embedding" in tensors and "positional_embedding" not in own:
        from open_clip.model import convert_to_custom_text_state_dict

        tensors = convert_to_custom_text_state_dict(tensors)
    elif "text.positional_embedding" in tensors and "text.positional_embedding" not in own:
        tensors = {name.removeprefix("text."): value for name, value in tensors.items()}
    derived = {"input_resolution", "context_length", "vocab_size", "attn_mask"} - own.keys()
    scalars = {k: tensors[k].reshape(own[k].shape) for k in ("logit_scale", "logit_bias") if k in tensors and k in own}
    return {k: v for k, v in tensors.items() if k not in derived} | scalars


def _check_fit(path: Path, tensors: Mapping[str, Tensor], stages: list[int], channels: int, patch: int) -> None:
    mend = "choose another --upsampler or --model, or --upsampler none"
    head = tensors.get("fixup_proj.1.bias")
    if head is None:
        raise WeightsError(f"{path}: no upsampler: holds no tensor fixup_proj.1.bias of shape (C,)")
    if head.numel() != channels:
        raise WeightsError(f"{path}: made for embeddings of {head.numel()} channels, the model has {channels}; {mend}")
    needed = math.ceil(math.log2(patch))
    if stages and stages != list(range(1, needed + 1)):
        raise WeightsError(f"{path}: has {len(stages)} stages, the model's patch of {patch} px needs {needed}; {mend}")


def _jbu_shape(path: Path, tensors: Mapping[str, Tensor], stage: str) -> tuple[int, int]:
    """Radius and key channels of a JBU, from the shapes of its parameters."""
    fixup, keys = tensors.get(f"{stage}.fixup_proj.3.bias"), tensors.get(f"{stage}.range_proj.3.bias")
    if fixup is None or keys is None:
        raise WeightsError(f"{path}: no upsampler: holds no tensors {stage}.range_proj.* and {stage}.fixup_proj.*")
    side = math.isqrt(fixup.numel())
    if side * side != fixup.numel() or side % 2 == 0:
        raise WeightsError(f"{path}: {stage}.fixup_proj.3.bias has {fixup.numel()} taps, need an odd number squared")
    return side // 2, keys.numel()


def _colour(values: Any, field: str, name: str) -> tuple[float, float, float]:
    numbers = [v for v in values if isinstance(v, int | float)] if isinstance(values, list | tuple) else []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or (field == "std" and min(numbers) <= 0):
        raise WeightsError(f"--model {name}: preprocess_cfg.{field} is {values}, need three numbers for RGB in 0-1")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


@contextmanager
def _apart() -> Iterator[None]:
    """No network, and no warning that a model built without weights has none."""
    from huggingface_hub import constants

    before = logging.root.manager.disable, constants.HF_HUB_OFFLINE
    logging.disable(logging.WARNING)
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        logging.disable(before[0])
        constants.HF_HUB_OFFLINE = before[1]
