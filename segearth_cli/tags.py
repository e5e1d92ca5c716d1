"""open_clip's table of published weights: an architecture and a tag name a file, its colours and its activation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segearth_cli.errors import WeightsError

HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def tag_config(architecture: str, tag: str) -> Mapping[str, Any]:
    """What open_clip knows of a tag; raises WeightsError when it is unknown or does not go with the architecture."""
    import open_clip

    other = other_activation(architecture)
    config: Mapping[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    if not config and not open_clip.is_pretrained_cfg(other, tag):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise WeightsError(f"--model {architecture}:{tag}: unknown tag; {architecture} has {tags}")
    check_activation(architecture, tag, config or open_clip.get_pretrained_cfg(other, tag))
    return config


def check_activation(architecture: str, weights: str, config: Mapping[str, Any]) -> None:
    """Raises WeightsError when weights were trained with another activation than the architecture has.

    weights: their tag or file, for the message. config: what `tag_config` or `published_hashes` give.
    """
    import open_clip

    needed, has = bool(config.get("quick_gelu")), bool(open_clip.get_model_config(architecture).get("quick_gelu"))
    if needed != has:
        name = {True: "QuickGELU", False: "GELU"}
        raise WeightsError(
            f"--model {architecture}:{weights}: these weights were trained with {name[needed]}, {architecture} has "
            f"{name[has]}; use --model {other_activation(architecture)}:{weights}"
        )


def published_hashes() -> dict[str, Mapping[str, Any]]:
    """SHA-256 -> what open_clip knows of OpenAI's own files, whose addresses carry the hash."""
    import open_clip

    configs = [open_clip.get_pretrained_cfg(*pair) for pair in open_clip.list_pretrained()]
    return {c["url"].split("/")[-2]: c for c in configs if "openaipublic" in c.get("url", "")}


def hub_files(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Repository on the Hugging Face hub and file names in it, best first."""
    repo, _, name = str(config.get("hf_hub", "")).rpartition("/")
    return (repo, str(Path(name).with_suffix(".safetensors")), name) if name else (repo, *HUB_NAMES)


def other_activation(architecture: str) -> str:
    """The open_clip name with GELU for QuickGELU, or the other way round; it need not exist."""
    plain = architecture.removesuffix("-quickgelu")
    return plain if plain != architecture else f"{architecture}-quickgelu"
