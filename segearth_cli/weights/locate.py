"""What --model and --upsampler name, and where its files lie on this machine; without torch and without the network."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segearth_cli.cache import cache_dir, sha256
from segearth_cli.errors import SegEarthError, UsageError, WeightsError, nearest
from segearth_cli.presets import SAR_MODEL
from segearth_cli.weights.catalogue import AUTHORS, CATALOGUE, PUBLISHED, CatalogueEntry
from segearth_cli.weights.openclip import HUB_NAMES, architecture_config, check_tower, model_config, read_json
from segearth_cli.weights.plug import PREFIX, Plug

CONFIG = "open_clip_config.json"
UPSAMPLER = "upsampler.safetensors"
VOCABULARY = "vocabulary.txt"
SETTINGS = "segearth.json"
GOOD_GSD = "good_gsd"
MINI = Path(__file__).parent / "mini"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
RECORD = "weights.json"
HUB = "hf-hub:"  # what names of repositories of the Hugging Face hub begin with


@dataclass(frozen=True, slots=True)
class Choice:
    """What --model and --upsampler come to."""

    model: str
    """A name for `find`."""
    upsampler: str
    """A name for `upsampler_file`, or `none`."""
    note: str | None
    """One line for the user, if there is something to say."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a tiling needs to know of a model."""

    patch: int
    """Side of a patch in pixels."""
    native: int
    """Side of the image it was trained on, in pixels."""
    channels: int
    """C, the length of an embedding; 0 where the model has none (`python:`)."""
    tower_bytes: int
    """Of the weights of its image tower in float32; 0 where the model is of another maker (`python:`)."""
    text_bytes: int
    """Of all others."""


@dataclass(frozen=True, slots=True)
class Source:
    """A resolved --model: a folder in open_clip's layout, or an open_clip name with a tag or a checkpoint file."""

    name: str
    """As it is shown and stored."""
    folder: Path | None = None
    """In open_clip's layout; None = an open_clip name."""
    architecture: str = ""
    """open_clip's name of it."""
    tag: str = ""
    """open_clip's name of published weights."""
    checkpoint: Path | None = None
    """A weight file in their place."""


def choose(model: str, upsampler: str | None) -> Choice:
    """Resolves `auto` (SEGEARTH_MODEL, else vit-b16 when its weights are here, else mini) and names of the catalogue.

    upsampler: None = the one that belongs to the model, else none.
    """
    pinned = os.environ.get("SEGEARTH_MODEL", "") if model == "auto" else ""
    if (pinned or model) != "auto":
        spec = _pinned(pinned).name if pinned else find(model).name
        entry = CATALOGUE.get(PUBLISHED if spec == find(PUBLISHED).name else model)
        if entry and not here(entry):  # before anything is told of it
            raise absent(model)
        chosen, told = _upsampler_of(spec, upsampler)
        return Choice(model if model in CATALOGUE else spec, chosen, f"model: {spec}, {told}" if told else None)
    if here(CATALOGUE[PUBLISHED]):
        spec = find(PUBLISHED).name
        chosen, told = _upsampler_of(spec, upsampler)
        return Choice(spec, chosen, f"model: {PUBLISHED} ({spec})" + (f", {told}" if told else ""))
    if not (MINI / CONFIG).is_file():
        raise WeightsError(
            f"--model auto: no model is on this machine; fetch one with `segearth download {PUBLISHED}`, "
            "or name a folder with --model local-dir:FOLDER"
        )
    chosen, _ = _upsampler_of("mini", upsampler)
    note = f"model: mini (embedded); `segearth download {PUBLISHED}` brings published accuracy"
    return Choice("mini", chosen, note)


def absent(spec: str) -> WeightsError:
    """The error of a --model whose weights are not on this machine, and can be fetched."""
    return WeightsError(f"--model {spec}: not on this machine; run `segearth download {spec}`")


def find(spec: str) -> Source:
    """The model that a --model names: a name of the catalogue, local-dir:FOLDER, NAME:TAG, NAME:FILE, hf-hub:ORG/NAME,
    python:MODULE:FACTORY.

    Raises WeightsError when its folder or file is not on this machine, UsageError when it cannot be meant.
    """
    if spec.startswith(PREFIX):
        return Source(Plug(spec).spec)
    if spec == "mini":
        return Source("mini", folder=_model_folder(MINI, "mini"))
    if (entry := CATALOGUE.get(spec)) and entry.is_model:
        return _find_entry(entry)
    if spec.startswith("local-dir:") or (spec and Path(spec).expanduser().is_dir()):
        folder = Path(spec.removeprefix("local-dir:")).expanduser()
        return Source(f"local-dir:{folder}", folder=_model_folder(folder, spec))
    if spec.startswith(HUB):
        return Source(spec, folder=_hub_folder(spec))
    architecture, _, rest = spec.partition(":")
    architecture = architecture.replace("/", "-")
    if not rest or not (config := architecture_config(architecture)).is_file():
        raise UsageError(_unknown(spec))
    check_tower(f"--model {spec}", model_config(config, read_json(config)))
    name, file = f"{architecture}:{rest}", Path(rest).expanduser()
    if file.is_file():
        return Source(name, architecture=architecture, checkpoint=file)
    if "/" in rest or rest.endswith(SUFFIXES):
        raise WeightsError(f"--model {spec}: {rest}: no such file")
    return Source(name, architecture=architecture, tag=rest)


def upsampler_file(spec: str) -> Path:
    """The file of an upsampler; `mini` is the embedded one, wherever each machine of a cluster has it."""
    return MINI / UPSAMPLER if spec == "mini" else Path(spec).expanduser()


def image_facts(spec: str) -> ImageFacts:
    """Patch, native window and channels of a model, from its configuration alone."""
    if spec.startswith(PREFIX):
        plug = Plug(spec)
        return ImageFacts(plug.multiple, plug.window, 0, 0, 0)
    source = find(spec)
    path = source.folder / CONFIG if source.folder else architecture_config(source.architecture)
    config = model_config(path, read_json(path))
    vision = config["vision_cfg"]
    image = vision.get("image_size", 224)
    facts = [vision.get("patch_size"), image[0] if isinstance(image, list) and image else image, config["embed_dim"]]
    if not all(isinstance(fact, int) and fact > 0 for fact in facts):
        raise WeightsError(f"{path}: no plain ViT: needs whole embed_dim, vision_cfg.patch_size, vision_cfg.image_size")
    patch, native, channels = facts
    text = config.get("text_cfg", {})
    tower_bytes = _tower_bytes(vision, channels, (native // patch) ** 2 + 1, 3 * patch**2)
    return ImageFacts(
        patch, native, channels, tower_bytes,
        _tower_bytes(text, channels, text.get("context_length", 77), text.get("vocab_size", 49408)),
    )  # fmt: skip


def _tower_bytes(config: Mapping[str, Any], channels: int, tokens: int, inputs: int) -> int:
    """Of the weights of a transformer in float32, but for norms and biases. inputs: what its first layer takes."""
    width, layers = config.get("width", 512), config.get("layers", 12)
    blocks = layers * (4 + 2 * config.get("mlp_ratio", 4)) * width**2
    return int(4 * (blocks + (tokens + inputs + channels) * width))


def advice(spec: str) -> dict[str, Any]:
    """The settings that a model does best with, from `segearth.json` in its folder, by field of PredictOptions.

    Raises WeightsError when the file is damaged.
    """
    return {name: value for name, value in _settings(spec).items() if name != GOOD_GSD}


def good_gsd(spec: str) -> tuple[float, float] | None:
    """Metres a pixel, from and to, that a model is good at; None where its `segearth.json` says nothing of it.

    Raises WeightsError when it says what cannot be meant.
    """
    told = _settings(spec).get(GOOD_GSD)
    if told is None:
        return None
    numbers = [float(n) for n in told if type(n) in (int, float)] if isinstance(told, list) else []
    if len(numbers) != 2 or len(told) != 2 or not 0 < numbers[0] <= numbers[1] < math.inf:
        raise WeightsError(f"{spec}: {SETTINGS}: {GOOD_GSD} {told}: need two numbers of metres, from and to, above 0")
    return numbers[0], numbers[1]


def _settings(spec: str) -> dict[str, Any]:
    folder = find(spec).folder
    return read_json(folder / SETTINGS) if folder is not None and os.path.lexists(folder / SETTINGS) else {}


def weight_file(folder: Path) -> Path:
    """The model's weights in a folder of open_clip's layout: `open_clip*` before others, safetensors before others."""
    here = [p for p in sorted(folder.iterdir()) if p.suffix in SUFFIXES and not p.name.startswith(("upsampler", "."))]
    named = [p for p in here if p.name.startswith("open_clip")] or here
    if len({p.stem for p in named}) != 1:
        found = f"several weight files ({', '.join(p.name for p in named)})" if named else "no weights"
        raise WeightsError(f"{folder}: holds {found}; needs one, open_clip_model.safetensors, beside {CONFIG}")
    return min(named, key=lambda p: SUFFIXES.index(p.suffix))


def hub_file(repo: str, *names: str) -> Path | None:
    """The first of `names` that the Hugging Face cache holds of a repository."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if not Path(HF_HUB_CACHE, f"models--{repo.replace('/', '--')}").is_dir():
        return None  # what follows takes a third of the time of --help
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repo, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def kept(folder: str) -> Path | None:
    """The file that `segearth download` keeps under a name in the cache folder."""
    return next((p for suffix in SUFFIXES if (p := kept_folder(folder) / f"weights{suffix}").is_file()), None)


def kept_folder(name: str) -> Path:
    """Where `segearth download` keeps a file, whether it is there or not."""
    return cache_dir() / "models" / name


def here(entry: CatalogueEntry) -> Path | None:
    """The weight file of an entry of the catalogue, when it is on this machine."""
    return kept(entry.key) or (hub_file(entry.hub, *(entry.files or HUB_NAMES)) if entry.hub else None)


def verified(path: Path) -> str:
    """The SHA-256 of a file; raises WeightsError when it is not the one that was recorded when it was fetched.

    The Hugging Face cache names files by their SHA-256, the cache folder has a record beside each file.
    """
    digest, blob = sha256(path), path.resolve()
    named = blob.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", blob.name)
    recorded = blob.name if named else digest
    if path == kept(path.parent.name) and (record := path.with_name(RECORD)).is_file():
        recorded = read_json(record).get("sha256", digest)
    if recorded != digest:
        raise WeightsError(f"{path}: has changed since it was fetched; delete it and run `segearth download` again")
    return digest


def _upsampler_of(spec: str, upsampler: str | None) -> tuple[str, str | None]:
    """The upsampler to use with a model, and what to tell the user about it."""
    authors, published = CATALOGUE[AUTHORS], CATALOGUE[PUBLISHED]
    if spec.startswith(PREFIX):
        if upsampler not in (None, "none"):
            raise UsageError(f"--upsampler {upsampler}: {spec} gives every pixel itself; leave it out")
        return "none", None
    how = f"`segearth download {AUTHORS}` brings it"
    path = here(authors)
    if upsampler == AUTHORS and path is None:
        raise WeightsError(f"--upsampler {AUTHORS}: not on this machine; {how}")
    if upsampler not in (None, AUTHORS):
        return str(upsampler), None
    if spec == f"{published.architecture}:{published.tag}":
        if path is None:
            return "none", f"without the authors' SimFeatUp; {how}"
        return str(path), "with the authors' SimFeatUp: the published method"
    if spec == SAR_MODEL and upsampler is None:
        return ("none", f"without the authors' SimFeatUp; {how}") if path is None else (str(path), None)
    if upsampler == AUTHORS:
        return str(path), None
    folder = find(spec).folder
    if folder is None or not os.path.lexists(folder / UPSAMPLER):
        return "none", None
    return "mini" if folder == MINI else str(folder / UPSAMPLER), None


def _pinned(spec: str) -> Source:
    try:
        return find(spec)
    except SegEarthError as e:
        raise type(e)(f"SEGEARTH_MODEL={spec}: {e}") from None


def _find_entry(entry: CatalogueEntry) -> Source:
    if entry.tag:
        return find(f"{entry.architecture}:{entry.tag}")
    path = here(entry)
    if path is None:
        raise WeightsError(f"--model {entry.name}: not on this machine; `segearth download {entry.name}` tells how")
    return Source(entry.name, architecture=entry.architecture, checkpoint=path)


def _model_folder(folder: Path, spec: str) -> Path:
    if not os.path.lexists(folder / CONFIG):
        lacks = f"holds no {CONFIG}; need a folder in open_clip's layout" if folder.is_dir() else "no such folder"
        raise WeightsError(f"--model {spec}: {folder}: {lacks}")
    check_tower(f"--model {spec}", model_config(folder / CONFIG, read_json(folder / CONFIG)))
    return folder


def repository(spec: str, asked: str) -> str:
    """The repository of the hub that `hf-hub:ORG/NAME` names. Raises UsageError for another name; asked: by what."""
    repo = spec.removeprefix(HUB)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise UsageError(f"{asked} {spec}: not a repository name; need hf-hub:ORG/NAME")
    return repo


def _hub_folder(spec: str) -> Path:
    config = hub_file(repository(spec, "--model"), CONFIG)
    if config is None:
        raise absent(spec)
    return config.parent


def _unknown(spec: str) -> str:
    names = ["mini", *(name for name, entry in CATALOGUE.items() if entry.is_model)]
    near = nearest(spec, names)
    hint = f"did you mean {near}? " if near else ""
    return (
        f"--model {spec}: unknown; {hint}choose auto, a name that `segearth models` lists, local-dir:FOLDER, "
        "NAME:TAG of open_clip such as ViT-B-16-quickgelu:openai, NAME:CHECKPOINT_FILE, hf-hub:ORG/NAME or "
        "python:MODULE:FACTORY"
    )
