"""The models and upsamplers that have a name of their own: where they come from, and under which licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segearth_cli.presets import SAR_MODEL

AUTHORS = "simfeatup"
PUBLISHED = "vit-b16"


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model or upsampler with a name of its own."""

    name: str
    """What the user types."""
    licence: str
    """Of the weights, as their authors state it."""
    note: str
    """What it is good for, in some words."""
    architecture: str = ""
    """open_clip's name; empty for an upsampler."""
    tag: str = ""
    """open_clip's name of the weights, if it has one."""
    hub: str = ""
    """Repository on the Hugging Face hub."""
    size: int | None = None
    """Bytes of what is fetched; None = not known."""
    git_blob: str = ""
    """SHA-1 of the git blob, checked before use."""
    origin: str = ""
    """Where people get the file; empty for a repository of the hub."""
    address: str = ""
    """Of the file itself, for `segearth download`; empty where people must fetch it themselves."""
    files: tuple[str, ...] = ()
    """Names of the weight file in the repository of the hub, the first that is there counts; empty = open_clip's."""
    remark: str = ""
    """What a user must know of it, a phrase; said when it is fetched."""

    @property
    def is_model(self) -> bool:
        """A CLIP; else an upsampler."""
        return bool(self.architecture)

    @property
    def key(self) -> str:
        """The folder of its file in the cache folder."""
        return key(self.architecture, self.tag) if self.tag else self.name


def key(architecture: str, tag: str) -> str:
    """The folder in the cache folder for the weights of an open_clip name and tag."""
    return f"{architecture}--{tag}"


def _remote(
    name: str, architecture: str, licence: str, hub: str = "", file: str = "", remark: str = "", *, origin: str = ""
) -> CatalogueEntry:
    note = "CLIP for remote sensing; has no SimFeatUp of its own"
    files = (file,) if file else ()
    return CatalogueEntry(name, licence, note, architecture, hub=hub, files=files, origin=origin, remark=remark)


def _two_activations(architecture: str) -> str:
    return (
        f"its README builds {architecture} (GELU), as this name does, its authors' evaluation the openai model "
        f"{_quick(architecture)}"
    )


def _quick(architecture: str) -> str:
    return (
        f"(QuickGELU), which --model {architecture}-quickgelu:FILE takes; `segearth models --activation` compares both"
    )


# AlignEarth's evaluation loads the file into open_clip's ViT-B/16, which is GELU for all files but OpenAI's own.
# The activation is the one of training, where it is known. GeoRSCLIP B/32 and L/14 and
# SkyCLIP L/14 were tuned from OpenAI's weights, which open_clip builds with QuickGELU; GeoRSCLIP H/14 and SkyCLIP B/32
# from LAION's, which have GELU.
_REMOTE_CLIP = "chendelong/RemoteCLIP"
_GEO_RS_CLIP = "Zilun/GeoRSCLIP"
_AUTHORS_FILE = "simfeatup_dev/weights/xclip_jbu_one_million_aid.ckpt"
_SKY_CLIP = "epoch_20.pt in SkyCLIP_ViT_*.zip of https://github.com/wangzhecheng/SkyScript"

CATALOGUE: Mapping[str, CatalogueEntry] = {
    entry.name: entry
    for entry in (
        CatalogueEntry(
            PUBLISHED,
            "MIT",
            f"OpenAI's CLIP, the published model; comes with {AUTHORS}",
            "ViT-B-16-quickgelu",
            "openai",
            hub="timm/vit_base_patch16_clip_224.openai",
            size=598_500_000,
        ),
        CatalogueEntry(
            AUTHORS,
            "none stated",
            f"the authors' SimFeatUp for {PUBLISHED}",
            size=5_690_776,
            git_blob="d40f00838331331faa04a926ea5991f5203f91a8",
            origin=f"{_AUTHORS_FILE} of https://github.com/likyoo/SegEarth-OV",
            address=f"https://raw.githubusercontent.com/likyoo/SegEarth-OV/HEAD/{_AUTHORS_FILE}",
        ),
        _remote(
            "remoteclip-vit-b32",
            "ViT-B-32",
            "see origin",
            _REMOTE_CLIP,
            "RemoteCLIP-ViT-B-32.pt",
            _two_activations("ViT-B-32"),
        ),
        _remote(
            "remoteclip-vit-l14",
            "ViT-L-14",
            "see origin",
            _REMOTE_CLIP,
            "RemoteCLIP-ViT-L-14.pt",
            _two_activations("ViT-L-14"),
        ),
        CatalogueEntry(
            SAR_MODEL,
            "see origin",
            f"AlignEarth: CLIP for radar images; takes {AUTHORS}",
            "ViT-B-16",
            hub="likyoo/AlignEarth-SAR-ViT-B-16",
            files=("AlignEarth-SAR-ViT-B-16.pt", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
            remark="its authors' evaluation builds ViT-B-16 (GELU), as this name does, its teacher is OpenAI's CLIP "
            + _quick("ViT-B-16"),
        ),
        _remote("georsclip-vit-b32", "ViT-B-32-quickgelu", "CC", _GEO_RS_CLIP, "ckpt/RS5M_ViT-B-32.pt"),
        _remote("georsclip-vit-l14", "ViT-L-14-quickgelu", "CC", _GEO_RS_CLIP, "ckpt/RS5M_ViT-L-14.pt"),
        _remote("georsclip-vit-h14", "ViT-H-14", "CC", _GEO_RS_CLIP, "ckpt/RS5M_ViT-H-14.pt"),
        _remote("skyclip-vit-b32", "ViT-B-32", "MIT", origin=_SKY_CLIP),
        _remote("skyclip-vit-l14", "ViT-L-14-quickgelu", "MIT", origin=_SKY_CLIP),
    )
}
