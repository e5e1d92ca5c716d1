"""The settings of a training run; the defaults are the published ones (arXiv:2410.01768)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segearth_cli.errors import UsageError
from segearth_cli.options import build, option, options_of, refuse_unknown, taken, validate
from segearth_cli.weights import Precision

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What a resumed run may change: how long and how it runs, not what it learns.
FREE = frozenset({"steps", "epochs", "workers", "save_every", "validate_every"})


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an upsampler is trained; the defaults are the published ones."""

    steps: int = option(2000, help="Optimiser steps.", panel="Training", unit="number")
    """Optimiser steps, from 1."""
    epochs: float | None = option(
        None, help="In place of --steps: times through the images.", panel="Training", unit="number"
    )
    """Times through the images, above 0; None = `steps` count."""
    batch_size: int = option(8, help="Windows a step, over all devices.", panel="Training", unit="number")
    """Windows a step, over all devices."""
    crop: int = option(224, help="Side of a window, a multiple of the patch.", panel="Training", unit="px")
    """Side of a window in pixels, a multiple of the patch."""
    lr: float = option(1e-3, help="Learning rate of NAdam.", panel="Training", unit="number")
    """Learning rate of NAdam, above 0."""
    jitters: int = option(5, help="Views of each batch.", panel="Training", unit="number")
    """Views of a batch, each with a backward pass of its own."""
    radius: int = option(5, help="Reach of the kernels.", panel="Training", unit="px")
    """Reach of the upsampler's kernels in pixels."""
    image_loss: float = option(0.1, help="Weight of the image's reconstruction.", panel="Training", unit="number")
    """Weight of the reconstruction of the image, from 0."""
    seed: int = option(0, help="Decides all that is random.", panel="Training", unit="number")
    """Decides all that is random."""
    init: str | None = option(
        None, help="Upsampler to start from, also of another model of as many channels.", panel="Training", unit="file"
    )
    """An upsampler to start from; None = random weights."""
    bands: str | None = option(
        None,
        "--bands",
        "-b",
        help="Bands for red, green, blue, e.g. 4,3,2; one for grey.",
        panel="Pixels",
        unit="numbers",
        shown="by colour interpretation",
    )
    """As of `predict`."""
    stretch: str = option(
        "auto", help="To 8 bits: auto, MIN,MAX or percentiles P2,P98; once a scene.", panel="Pixels", unit="rule"
    )
    """As of `predict`."""
    workers: int = option(2, help="Threads that read windows ahead.", panel="Machine", unit="number")
    """Threads that read windows ahead, from 0."""
    precision: Precision = option("fp32", help="Of the frozen CLIP.", panel="Machine")
    """Of the frozen CLIP."""
    save_every: int = option(100, help="Steps between checkpoints.", panel="Watching", unit="number")
    """Steps between checkpoints."""
    validate_every: int = option(100, help="Steps between looks at held-out windows.", panel="Watching", unit="number")
    """Steps between looks at held-out windows."""
    held_out: int = option(8, help="Windows kept for validation.", panel="Watching", unit="number")
    """Windows kept for validation."""

    def __post_init__(self) -> None:
        validate(self)
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
    known = {told.name: told for told in options_of(Recipe)}
    named = {key.replace("-", "_"): value for key, value in read.items()}
    try:
        refuse_unknown(named, known.values(), "setting")
        return {name: taken(known[name], value) for name, value in named.items()}
    except UsageError as e:
        raise UsageError(f"--config {path}: {e}") from None


def combined(settings: Mapping[str, Any], given: Mapping[str, Any]) -> Recipe:
    """The recipe of a settings file and of the options given on the command line, which win."""
    merged = {**settings, **given}
    if "steps" in given and "epochs" not in given:
        merged["epochs"] = None
    return build(Recipe, merged)


def _require(name: str, value: object, holds: bool, accepted: str) -> None:
    if not holds:
        raise UsageError(f"--{name.replace('_', '-')} {value}: need {accepted}")
