"""The settings of a training run; the defaults are the published ones (arXiv:2410.01768)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from segearth_cli.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What a resumed run may change: how long and how it runs, not what it learns.
FREE = frozenset({"steps", "epochs", "workers", "save_every", "validate_every"})


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an upsampler is trained; the defaults are the published run."""

    steps: int = 2000
    """Optimiser steps."""
    epochs: float | None = None
    """Times through the images, in place of steps."""
    batch_size: int = 8
    """Windows a step, over all devices."""
    crop: int = 224
    """Side of a window in pixels."""
    lr: float = 1e-3
    """Learning rate of NAdam."""
    jitters: int = 5
    """Views of a batch, each with a backward pass of its own."""
    radius: int = 5
    """Reach of the upsampler's kernels, in pixels."""
    image_loss: float = 0.1
    """Weight of the reconstruction of the image."""
    seed: int = 0
    """Of all that is drawn at random."""
    workers: int = 2
    """Threads that read windows ahead; 0 = each is read when it is needed."""
    precision: str = "fp32"
    """Of the frozen CLIP: auto, fp32, bf16 or fp16."""
    save_every: int = 100
    """Steps from one checkpoint to the next."""
    validate_every: int = 100
    """Steps from one look at the held-out windows to the next."""
    held_out: int = 8
    """Windows kept for validation."""
    init: str | None = None
    """An upsampler to start from; None = a new one."""
    bands: str | None = None
    """As of `predict`; None = by colour interpretation."""
    stretch: str = "auto"
    """As of `predict`."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "crop", "jitters", "save_every", "validate_every", "held_out"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "a whole number from 1")
        for name in ("radius", "seed", "workers"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "a whole number from 0")
        _require("lr", self.lr, 0 < self.lr < math.inf, "a number above 0")
        _require("image_loss", self.image_loss, 0 <= self.image_loss < math.inf, "a number from 0")
        _require("epochs", self.epochs, self.epochs is None or 0 < self.epochs < math.inf, "a number above 0")

    def planned_steps(self, windows: int) -> int:
        """Optimiser steps of the run over a collection that holds so many windows."""
        return self.steps if self.epochs is None else max(1, round(self.epochs * windows / self.batch_size))


def from_toml(path: Path) -> dict[str, Any]:
    """Settings of a TOML file under the names of the options, with - or _. Raises UsageError for anything else."""
    try:
        with path.open("rb") as f:
            read = tomllib.load(f)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"--config {path}: {getattr(e, 'strerror', None) or e}") from None
    named = {key.replace("-", "_"): value for key, value in read.items()}
    known = {field.name: type(field.default) for field in fields(Recipe)} | {"epochs": float, "bands": str, "init": str}
    for key, value in named.items():
        if key not in known:
            raise UsageError(f"--config {path}: unknown setting {key}; known are {', '.join(known)}")
        accepted = (int, float) if known[key] is float else (known[key],)
        if not isinstance(value, accepted) or isinstance(value, bool):
            raise UsageError(f"--config {path}: {key} = {value!r}: need {known[key].__name__}")
    return named


def combined(settings: Mapping[str, Any], given: Mapping[str, Any]) -> Recipe:
    """The recipe of a settings file and of the options given on the command line, which win."""
    merged = {**settings, **given}
    if "steps" in given and "epochs" not in given:
        merged["epochs"] = None
    return replace(Recipe(), **merged)


def _require(name: str, value: object, holds: bool, accepted: str) -> None:
    if not holds:
        raise UsageError(f"--{name.replace('_', '-')} {value}: need {accepted}")
