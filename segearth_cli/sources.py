"""Which models are known and where their files lie on this machine; nothing here loads torch or touches the network."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segearth_cli.errors import UsageError, WeightsError
from segearth_cli.files import cache_dir

CONFIG = "open_clip_config.json"
UPSAMPLER = "upsampler.safetensors"
VOCABULARY = "vocabulary.txt"
MINI = Path(__file__).parent / "weights" / "mini"
AUTHORS = "simfeatup"

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_PREFERRED = tuple(
    f"{stem}{suffix}"
    for stem in ("open_clip_model", "open_clip_pytorch_model", "model", "pytorch_model")
    for suffix in (".safetensors", ".bin", ".pth", ".pt")
)


@dataclass(frozen=True, slots=True)
class Known:
    """A model or upsampler with a name of its own."""

    name: str
    kind: str  # "model" or "upsampler"
    spec: str  # what --model or --upsampler resolves the name to; empty for a file of the cache folder
    files: tuple[str, ...]  # names under which the file is found, the first one being the cache folder's
    size: int | None  # bytes, as published; None = unknown
    licence: str
    architecture: str = ""  # open_clip name, for checkpoint files
    repo: str = ""  # on the Hugging Face hub
    url: str = ""  # where people get it
    git_blob: str = ""  # SHA-1 of the git blob, checked before use
    note: str = ""


KNOWN: Mapping[str, Known] = {
    known.name: known
    for known in (
        Known("mini", "model", f"local-dir:{MINI}", (), None, "Apache-2.0", note="embedded, small, always here"),
        Known(
            "vit-b16",
            "model",
            "ViT-B-16-quickgelu:openai",
            ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
            598_595_780,
            "MIT",
            architecture="ViT-B-16-quickgelu",
            repo="timm/vit_base_patch16_clip_224.openai",
            note="the published model; with simfeatup it reaches published accuracy",
        ),
        Known(
            AUTHORS,
            "upsampler",
            "",
            ("xclip_jbu_one_million_aid.ckpt",),
            5_690_776,
            "none given",
            url="https://github.com/likyoo/SegEarth-OV (simfeatup_dev/weights/xclip_jbu_one_million_aid.ckpt)",
            git_blob="d40f00838331331faa04a926ea5991f5203f91a8",
            note="the authors' SimFeatUp for vit-b16",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What --model and --upsampler come to."""

    model: str  # for `find`
    upsampler: str  # a file, or "none"
    note: str | None  # one line for stderr


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a tiling needs to know of a model, in pixels; channels is C."""

    patch: int
    native: int
    channels: int


@dataclass(frozen=True, slots=True)
class Source:
    """A resolved --model: a folder in open_clip's layout, or an open_clip name with a tag or a checkpoint file."""

    name: str
    folder: Path | None = None
    architecture: str = ""
    tag: str = ""
    checkpoint: Path | None = None


def choose(model: str, upsampler: str | None) -> Choice:
    """Resolves `auto` (SEGEARTH_MODEL, else vit-b16 when its weights are here, else mini) and preset names.

    upsampler: None = the one that belongs to the model, else none.
    """
    pinned = model if model != "auto" else os.environ.get("SEGEARTH_MODEL", "auto")
    if pinned != "auto":
        spec = find(pinned).name
        return Choice(spec, *_upsampler_of(spec, upsampler))
    if published_weights() is not None:
        spec = KNOWN["vit-b16"].spec
        chosen, note = _upsampler_of(spec, upsampler)
        return Choice(spec, chosen, f"model: vit-b16 ({spec})" + (f"; {note}" if note else ""))
    if not (MINI / CONFIG).is_file():
        raise WeightsError(
            "--model auto: no model is on this machine; fetch one with `segearth download vit-b16`, "
            "or name a folder with --model local-dir:FOLDER"
        )
    chosen, _ = _upsampler_of("mini", upsampler)
    return Choice("mini", chosen, "model: mini (embedded); `segearth download vit-b16` brings published accuracy")


def find(spec: str) -> Source:
    """The model that a --model names: NAME of a preset, local-dir:FOLDER, NAME:TAG, NAME:FILE or hf-hub:ORG/NAME.

    Raises WeightsError when it is not on this machine, UsageError when it cannot be meant.
    """
    if spec == "mini":
        return Source("mini", folder=_model_folder(MINI, "mini"))
    if spec in KNOWN and KNOWN[spec].kind == "model":
        return _find_known(KNOWN[spec])
    if spec.startswith("local-dir:") or Path(spec).expanduser().is_dir():
        folder = Path(spec.removeprefix("local-dir:")).expanduser()
        return Source(f"local-dir:{folder}", folder=_model_folder(folder, spec))
    if spec.startswith("hf-hub:"):
        return Source(spec, folder=_hub_folder(spec.removeprefix("hf-hub:")))
    architecture, _, rest = spec.partition(":")
    architecture = architecture.replace("/", "-")
    if not rest or not _architecture_config(architecture).is_file():
        raise UsageError(_unknown(spec))
    if Path(rest).expanduser().is_file():
        return Source(f"{architecture}:{rest}", architecture=architecture, checkpoint=Path(rest).expanduser())
    if "/" in rest or rest.endswith(_SUFFIXES):
        raise WeightsError(f"--model {spec}: {rest}: no such file")
    return Source(f"{architecture}:{rest}", architecture=architecture, tag=rest)


def image_facts(spec: str) -> ImageFacts:
    """Patch, native window and channels of a model, from its configuration alone."""
    source = find(spec)
    path = source.folder / CONFIG if source.folder else _architecture_config(source.architecture)
    config = read_config(path)
    vision = config.get("vision_cfg", {})
    image = vision.get("image_size", 224)
    facts = [vision.get("patch_size", 16), image[0] if isinstance(image, list) else image, config.get("embed_dim")]
    if not all(isinstance(fact, int) and fact > 0 for fact in facts):
        raise WeightsError(
            f"{path}: needs whole numbers for embed_dim, vision_cfg.patch_size and vision_cfg.image_size"
        )
    return ImageFacts(*facts)


def read_config(path: Path) -> dict[str, Any]:
    """The `model_cfg` of an open_clip configuration file, or the whole of one that ships with open_clip."""
    document = read_json(path)
    config = document.get("model_cfg", document)
    if not isinstance(config, dict) or not all(isinstance(config.get(k), dict) for k in ("vision_cfg", "text_cfg")):
        raise WeightsError(f"{path}: not an open_clip configuration: needs model_cfg with vision_cfg and text_cfg")
    return config


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises WeightsError when the file holds anything else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise WeightsError(f"{path}: not readable as JSON: {e}") from None
    if not isinstance(document, dict):
        raise WeightsError(f"{path}: holds no JSON object")
    return document


def weight_file(folder: Path) -> Path:
    """The model's weights in a folder of open_clip's layout, by open_clip's order of preference."""
    here = [p for p in sorted(folder.iterdir()) if p.suffix in _SUFFIXES and not p.stem.startswith("upsampler")]
    named = [p for name in _PREFERRED for p in here if p.name == name]
    if not (named or here):
        raise WeightsError(f"{folder}: holds no weights; needs open_clip_model.safetensors beside {CONFIG}")
    return (named or here)[0]


def hub_file(repo: str, *names: str) -> Path | None:
    """The first of `names` that the Hugging Face cache holds of a repository."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repo, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def published_weights() -> Path | None:
    """The weight file of vit-b16, when it is on this machine."""
    known = KNOWN["vit-b16"]
    return hub_file(known.repo, *known.files)


def cached(known: Known) -> Path:
    """Where the cache folder keeps (or would keep) the file of a preset."""
    return cache_dir() / known.name / known.files[0]


def _upsampler_of(spec: str, upsampler: str | None) -> tuple[str, str | None]:
    authors = cached(KNOWN[AUTHORS])
    if upsampler == AUTHORS:
        return str(authors), None
    if upsampler is not None:
        return upsampler, None
    if spec == KNOWN["vit-b16"].spec:
        if authors.is_file():
            return str(authors), None
        return "none", "without SimFeatUp: `segearth download simfeatup` tells how to get it"
    folder = find(spec).folder
    own = folder / UPSAMPLER if folder else None
    return (str(own) if own and own.is_file() else "none"), None


def _find_known(known: Known) -> Source:
    if known.spec:
        return find(known.spec)
    path = cached(known)
    if not path.is_file():
        raise WeightsError(f"--model {known.name}: not on this machine; see `segearth download {known.name}`")
    return Source(known.name, architecture=known.architecture, checkpoint=path)


def _model_folder(folder: Path, spec: str) -> Path:
    if not folder.is_dir():
        raise WeightsError(f"--model {spec}: {folder}: no such folder")
    if not (folder / CONFIG).is_file():
        raise WeightsError(f"--model {spec}: {folder} holds no {CONFIG}; need a folder in open_clip's layout")
    return folder


def _hub_folder(repo: str) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise UsageError(f"--model hf-hub:{repo}: not a repository name; need hf-hub:ORG/NAME")
    config = hub_file(repo, CONFIG)
    if config is None:
        raise WeightsError(
            f"--model hf-hub:{repo}: not on this machine; fetch it with `segearth download hf-hub:{repo}`"
        )
    return config.parent


def _architecture_config(name: str) -> Path:
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise WeightsError("open_clip is not installed; install it with `pip install open_clip_torch`")
    return Path(package.origin).parent / "model_configs" / f"{name}.json"


def _unknown(spec: str) -> str:
    names = [name for name, known in KNOWN.items() if known.kind == "model"]
    near = difflib.get_close_matches(spec, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return (
        f"--model {spec}: unknown; {hint}choose auto, {', '.join(names)}, local-dir:FOLDER, NAME:TAG of open_clip "
        "such as ViT-B-16-quickgelu:openai, NAME:CHECKPOINT_FILE or hf-hub:ORG/NAME"
    )
