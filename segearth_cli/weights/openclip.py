"""open_clip's configurations, and its table of published weights: an architecture and a tag name a file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from segearth_cli import texts
from segearth_cli.errors import WeightsError

_LARGEST = {
    "embed_dim": 1 << 14,
    "layers": 256,
    "width": 1 << 14,
    "image_size": 1 << 13,
    "patch_size": 1 << 10,
    "context_length": 1 << 14,
    "vocab_size": 1 << 21,
    "mlp_ratio": 32,
}  # several times what the largest models have
HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def tag_config(architecture: str, tag: str) -> Mapping[str, Any]:
    """What open_clip knows of a tag; raises WeightsError when it is unknown or does not go with the architecture."""
    table, other = _table(), other_activation(architecture)
    config: Mapping[str, Any] = table.get_pretrained_cfg(architecture, tag)
    if not config and not table.is_pretrained_cfg(other, tag):
        tags = ", ".join(table.list_pretrained_tags_by_model(architecture)) or "none"
        raise WeightsError(f"--model {architecture}:{tag}: unknown tag; {architecture} has {tags}")
    check_activation(architecture, tag, config or table.get_pretrained_cfg(other, tag))
    return config


def check_activation(architecture: str, weights: str, config: Mapping[str, Any]) -> None:
    """Raises WeightsError when weights were trained with another activation than the architecture has.

    weights: their tag or file, for the message. config: what `tag_config` or `published_hashes` give.
    """
    has = bool(read_json(architecture_config(architecture)).get("quick_gelu"))
    needed = bool(config.get("quick_gelu"))
    if needed != has:
        name = {True: "QuickGELU", False: "GELU"}
        raise WeightsError(
            f"--model {architecture}:{weights}: these weights were trained with {name[needed]}, {architecture} has "
            f"{name[has]}; use --model {other_activation(architecture)}:{weights}"
        )


def check_tower(where: str, config: Mapping[str, Any]) -> None:
    """Raises WeightsError for a model whose image tower is not open_clip's own.

    where: what names it, for the message. config: what `model_config` gives.
    """
    tower = str(config["vision_cfg"].get("timm_model_name") or "")
    if tower:
        raise WeightsError(f"{where}: {_tower_line(tower)}")


def check_keys(path: Path, tensors: Collection[str]) -> None:
    """Raises WeightsError for weights of an image tower that is not open_clip's own."""
    if any(name.startswith("visual.trunk.") for name in tensors):
        pool = any(name.startswith("visual.trunk.attn_pool.") for name in tensors)
        raise WeightsError(f"{path}: {_tower_line('siglip' if pool else 'a tower of timm')}")


def _tower_line(tower: str) -> str:
    kind = next((name for name in ("EVA", "SigLIP") if name.lower() in tower.lower()), "")
    needs = {
        "EVA": "an encoder for its rotary positions and its last block's attention",
        "SigLIP": "an encoder without a class token, with its pooling by attention in place of the last block's",
    }.get(kind, "an encoder for its last block's attention")
    return (
        f"{f'{kind}, ' if kind else ''}its image tower is timm's ({tower}), not open_clip's own ViT; it would need "
        f"{needs}, which segearth has not; choose a CLIP such as vit-b16"
    )


def published_hashes() -> dict[str, Mapping[str, Any]]:
    """SHA-256 -> what open_clip knows of OpenAI's own files, whose addresses carry the hash."""
    table = _table()
    configs = [table.get_pretrained_cfg(*pair) for pair in table.list_pretrained()]
    return {c["url"].split("/")[-2]: c for c in configs if "openaipublic" in c.get("url", "")}


def hub_files(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Repository on the Hugging Face hub and file names in it, best first."""
    repo, _, name = str(config.get("hf_hub", "")).rpartition("/")
    return (repo, str(Path(name).with_suffix(".safetensors")), name) if name else (repo, *HUB_NAMES)


def other_activation(architecture: str) -> str:
    """The open_clip name with GELU for QuickGELU, or the other way round; it need not exist."""
    plain = architecture.removesuffix("-quickgelu")
    return plain if plain != architecture else f"{architecture}-quickgelu"


def architecture_config(name: str) -> Path:
    """The configuration file of an open_clip name; it need not exist."""
    return _package() / "model_configs" / f"{name}.json"


def _package() -> Path:
    """The folder of open_clip, which is not imported."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise WeightsError("open_clip is not installed; install it with `pip install open_clip_torch`")
    return Path(package.origin).parent


@cache
def _table() -> Any:
    """open_clip's module `pretrained`, without the package around it, which imports torchvision and timm."""
    alone = ModuleType(f"{__name__}._open_clip")
    alone.__path__ = [str(_package())]
    sys.modules[alone.__name__] = alone
    return importlib.import_module(f"{alone.__name__}.pretrained")


def model_config(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """The `model_cfg` of an open_clip configuration, or the whole of one that ships with open_clip."""
    config = document.get("model_cfg", document)
    parts = [config.get(part) for part in ("vision_cfg", "text_cfg")] if isinstance(config, dict) else [None]
    if not all(isinstance(part, dict) for part in parts) or "embed_dim" not in config:
        raise WeightsError(f"{path}: no open_clip configuration: needs embed_dim, vision_cfg and text_cfg in model_cfg")
    _check_sizes(path, config)
    return dict(config)


def _check_sizes(path: Path, config: Mapping[str, Any]) -> None:
    """Raises WeightsError for numbers no model has, which would take all memory before a weight is looked at."""
    for part in (config, config["vision_cfg"], config["text_cfg"]):
        for key, most in _LARGEST.items():
            value = part.get(key)
            if isinstance(value, int | float) and value > most:
                raise WeightsError(f"{path}: {key} is {value}, need at most {most}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises WeightsError when the file holds anything else."""
    texts.refuse_pipe(path)
    try:
        document = texts.from_json(texts.read_text(path))
    except (OSError, ValueError) as e:
        raise WeightsError(f"{path}: not readable as JSON: {texts.reason(e)}") from None
    if not isinstance(document, dict):
        raise WeightsError(f"{path}: holds no JSON object")
    return document
