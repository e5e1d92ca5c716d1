"""What the facts of a run may be, as its provenance has them: those of options by the options' own rules."""

from __future__ import annotations

from typing import Any, Literal

from segearth_cli.classes import Synonyms
from segearth_cli.options import Option, options_of
from segearth_cli.prediction.area import AreaFacts
from segearth_cli.prediction.calibrated import CalibrationFacts
from segearth_cli.prediction.options import PredictOptions
from segearth_cli.weights import ModelOptions

_OPTIONS = {told.field: told for owner in (PredictOptions, ModelOptions) for told in options_of(owner)}
_ASKED = (
    *("threshold", "window", "stride", "blend", "antialias", "nodata", "alpha", "mask"),
    *("model", "upsampler", "refine", "attention", "keep_residual", "last_blocks", "global_bias", "kernels"),
    *("logit_scale", "templates"),
)

FACT_OPTIONS: dict[str, Option] = {name: _OPTIONS[name] for name in _ASKED}
"""Facts that are the value of an option."""

FACT_TYPES: dict[str, Any] = {
    "segearth": str,
    "scene": str,
    "scene_fingerprint": str,
    "classes": tuple[tuple[str, ...], ...],
    "background": str | None,
    "synonyms": tuple[Synonyms, ...],
    "descriptions": tuple[str, ...],
    "working_size": tuple[int, int],
    "tile": tuple[int, int],
    "tile_stride": tuple[int, int],
    "bands": tuple[int, ...],
    "stretch": tuple[tuple[float, float], ...] | None,
    "model_sha256": str,
    "model_version": str,
    "upsampler_sha256": str | None,
    "precision": Literal["float32", "bfloat16", "float16"],
    "calibration": CalibrationFacts,
    "area": AreaFacts,
}
"""Facts of a form of their own, read from the scene, the plan and the weights."""
