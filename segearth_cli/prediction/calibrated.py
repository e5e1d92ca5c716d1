"""Calibrations: what a few labels said of the classes of a scene, as a file and as a change of the model's phrases.

`segearth_cli.calibration` makes them; a run only needs to read one, to see that it fits, and to ask the model for
corrected phrases in place of those of text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segearth_cli.classes import ClassSet, from_tag, to_tag
from segearth_cli.errors import CalibrationError, SegEarthError, said
from segearth_cli.files import write_bytes
from segearth_cli.options import Option, options_of, value_text
from segearth_cli.prediction.options import PredictOptions, default_stride
from segearth_cli.texts import from_json, refuse_pipe
from segearth_cli.weights import ModelOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segearth_cli.raster import Scene
    from segearth_cli.weights import Assembled

FORMAT = 1
KEY = "segearth_calibration"  # of the only metadata: safetensors keeps no order among several
WEIGHTS = ("model_sha256", "upsampler_sha256")
# What a calibration does not lay down: where and how fast a run goes, which pixels are data, what falls to background.
FREE = {
    "model",
    "upsampler",
    "device",
    "precision",
    "kernels",
    "refine",  # what is learned from is exact
    "threshold",
    "nodata",
    "alpha",
    "use_mask",
    "calibration",
}


@dataclass(frozen=True, slots=True)
class LabelledScene:
    """A scene that gave labels."""

    name: str
    """Its file's name."""
    fingerprint: str
    """As in the provenance of its masks."""
    labels: int
    """Pixels that gave their feature."""


@dataclass(frozen=True, slots=True)
class CalibrationFacts:
    """What a mask's provenance says of a calibration."""

    sha256: str
    """Its hash."""
    classes: tuple[str, ...]
    """Names of the classes that differ from text."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A correction of each class, and all that must be the same where it is used."""

    directions: NDArray[np.float32]
    """(K, C), added to every phrase vector of a class; zeros for one that keeps its text."""
    biases: NDArray[np.float32]
    """(K,), added to the logits of a class."""
    classes: ClassSet
    """The classes."""
    weights: Mapping[str, Any]
    """`model`, `model_sha256`, `upsampler`, `upsampler_sha256`, as in the provenance of masks."""
    named: Mapping[str, str]
    """`model` and `upsampler` as options name them."""
    settings: Mapping[str, Any]
    """Values, by keyword, of all options that change a feature."""
    scenes: tuple[LabelledScene, ...]
    """The scenes that gave labels."""
    kept: str
    """`text`, `biases` or `correction`: what was best on the hold-out."""
    report: Mapping[str, Any]
    """What the hold-out showed, JSON-ready."""
    sha256: str = ""
    """Hash of all of it."""

    def sealed(self) -> Calibration:
        """The same with its hash."""
        return replace(self, sha256=_digest(self))

    @property
    def corrected(self) -> tuple[str, ...]:
        """Names of the classes that differ from text."""
        moved = self.directions.any(axis=1) | (self.biases != 0)
        return tuple(name for name, change in zip(self.classes.names, moved, strict=True) if change)

    def facts(self) -> dict[str, Any]:
        """What a mask's provenance says of it, JSON-ready."""
        return {"calibration": asdict(CalibrationFacts(self.sha256, self.corrected)) | {"classes": [*self.corrected]}}


def fixed_settings() -> dict[str, Option]:
    """The options that a calibration lays down, by keyword."""
    told = (*options_of(PredictOptions), *options_of(ModelOptions))
    return {one.name: one for one in told if one.name not in FREE}


def feature_settings(options: PredictOptions, model: ModelOptions, native: int) -> dict[str, Any]:
    """Values, by keyword, of all options that change a feature, as JSON has them. native: window of the model."""
    holders = (options, options.read, model)
    values = {name: _plain(_value(holders, told.field)) for name, told in fixed_settings().items()}
    window = options.window or native
    return values | {"window": window, "stride": default_stride(window) if options.stride is None else options.stride}


def write_calibration(path: Path, calibration: Calibration) -> Calibration:
    """Writes a calibration, which comes back sealed; equal ones are equal to the byte."""
    from safetensors.numpy import save

    sealed = calibration.sealed()
    text = json.dumps(_document(sealed) | {"sha256": sealed.sha256}, sort_keys=True, ensure_ascii=False)
    write_bytes(path, save({"biases": sealed.biases, "directions": sealed.directions}, {KEY: text}))
    return sealed


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file. Raises CalibrationError when it is absent, damaged, or no calibration."""
    from safetensors import SafetensorError, safe_open

    refuse_pipe(path)
    try:
        with safe_open(path, framework="np") as f:
            text = (f.metadata() or {}).get(KEY, "")
            tensors = {name: f.get_tensor(name) for name in f.keys()} if text else {}  # noqa: SIM118
    except (OSError, SafetensorError) as e:
        raise CalibrationError(f"--calibration {path}: cannot be read ({said(e)[:200]})") from None
    if not text:
        raise CalibrationError(f"--calibration {path}: is no calibration; `segearth calibrate` makes them")
    try:
        found = _calibration(from_json(text), tensors)
    except (ValueError, KeyError, TypeError, SegEarthError) as e:
        raise CalibrationError(f"--calibration {path}: damaged, or of another version ({said(e)[:200]})") from None
    if found.sha256 != found.sealed().sha256:
        raise CalibrationError(f"--calibration {path}: was changed since it was written (its hash says so)")
    return found


def refuse_other(path: Path, calibration: Calibration, classes: ClassSet, settings: Mapping[str, Any]) -> None:
    """Raises CalibrationError unless a run has a calibration's classes and all the settings that change a feature."""
    if _meant(classes) != _meant(calibration.classes):
        raise CalibrationError(
            f"--calibration {path}: is for the classes {_words(calibration.classes)}, the run has {_words(classes)}; "
            "leave the classes out, or calibrate anew"
        )
    for name, told in fixed_settings().items():
        there, now = calibration.settings.get(name), settings.get(name)
        if there != now:
            raise CalibrationError(
                f"--calibration {path}: was made with {told.flag} {_shown(there)}, the run has {_shown(now)}; "
                f"leave {told.flag} out, or calibrate anew"
            )


def refuse_other_model(path: Path, calibration: Calibration, facts: Mapping[str, Any]) -> None:
    """Raises CalibrationError for a model, by what is known of it, that a calibration was not made with."""
    for name in WEIGHTS:
        if calibration.weights[name] != facts[name]:
            what = name.removesuffix("_sha256")
            raise CalibrationError(
                f"--calibration {path}: was made with the {what} {calibration.weights[what]} "
                f"({_short(calibration.weights[name])}), the run has {facts[what]} "
                f"({_short(facts[name])}); name that one, or calibrate anew"
            )


def corrected_model(calibration: Calibration, assembled: Assembled) -> Assembled:
    """The model that a calibration was made with, with its phrases."""
    import torch

    segmenter, of_query = assembled.of_clip, list(calibration.classes.query_class)
    device = segmenter.phrases.device
    phrases = segmenter.phrases + torch.from_numpy(calibration.directions[of_query]).to(device)
    offsets = torch.from_numpy(calibration.biases[of_query]).to(device)
    return replace(assembled, segmenter=segmenter.asking(phrases, offsets))


def other_scene(calibration: Calibration, scene: Scene, fingerprint: str) -> str | None:
    """One line for the user where a scene gave a calibration no label, else None."""
    if fingerprint in [origin.fingerprint for origin in calibration.scenes]:
        return None
    names = ", ".join(origin.name for origin in calibration.scenes[:3]) + ", ..." * (len(calibration.scenes) > 3)
    return (
        f"{scene.path}: gave no label to the calibration, which is of {names}; on other scenes one may do worse than "
        "text alone: label this one too"
    )


def _document(calibration: Calibration) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "classes": json.loads(to_tag(calibration.classes)),
        "weights": dict(calibration.weights),
        "named": dict(calibration.named),
        "settings": dict(calibration.settings),
        "scenes": [asdict(origin) for origin in calibration.scenes],
        "kept": calibration.kept,
        "report": dict(calibration.report),
    }


def _calibration(values: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]]) -> Calibration:
    import numpy as np

    if values["format"] != FORMAT:
        raise ValueError(f"format {values['format']}, need {FORMAT}")
    classes, directions, biases = from_tag(json.dumps(values["classes"])), tensors["directions"], tensors["biases"]
    if directions.ndim != 2 or len(directions) != len(classes) or biases.shape != (len(classes),):
        raise ValueError(f"{len(classes)} classes, and tensors of {directions.shape} and {biases.shape}")
    if not (np.isfinite(directions).all() and np.isfinite(biases).all()):
        raise ValueError("values that are not finite")
    scenes = tuple(LabelledScene(**origin) for origin in values["scenes"])
    return Calibration(
        directions, biases, classes, values["weights"], values["named"], values["settings"], scenes, values["kept"],
        values["report"], values["sha256"],
    )  # fmt: skip


def _digest(calibration: Calibration) -> str:
    import numpy as np

    digest = hashlib.sha256(json.dumps(_document(calibration), sort_keys=True).encode())
    for tensor in (calibration.biases, calibration.directions):
        digest.update(np.ascontiguousarray(tensor, np.float32).tobytes())
    return digest.hexdigest()


def _value(holders: Iterable[Any], field: str) -> Any:
    return next(getattr(holder, field) for holder in holders if hasattr(holder, field))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return "its default" if value is None else value_text(tuple(value) if isinstance(value, list) else value)


def _short(sha256: str | None) -> str:
    return "none" if sha256 is None else f"SHA-256 {sha256[:12]}"


def _meant(classes: ClassSet) -> tuple[Any, ...]:
    """All of a class list that decides a pixel."""
    return classes.phrases, classes.background, classes.query_class, classes.descriptions


def _words(classes: ClassSet) -> str:
    return ",".join("|".join(phrases) for phrases in classes.phrases)
