"""The settings of a training run; the defaults are the published ones (arXiv:2410.01768)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from segearth_cli.options import like, option, validate, value_text
from segearth_cli.raster import PixelOptions, ReadOptions
from segearth_cli.weights import ModelOptions, Precision

Colours = Literal["model", "imagenet"]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std of R, G and B, each 0 to 1

# What a resumed run may change: how long and how it runs, not what it learns.
FREE = frozenset({"steps", "epochs", "workers", "save_every", "validate_every"})


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What is trained for, where, and what becomes of an earlier run; none of it is part of the recipe."""

    model: str = like(ModelOptions, "model", "auto", help="The CLIP to train for, as for predict.")
    """Name of a model, as for `predict`."""
    device: str = like(ModelOptions, "device", "auto", help="auto, cpu, cuda:N or mps; torchrun gives each its own.")
    """`auto`, `cpu`, `cuda:N` or `mps`."""
    resume: bool = option(False, help="Go on from the last checkpoint in OUT.train/.", panel="Outputs")
    """Whether to go on from the run's checkpoint, if there is one."""
    overwrite: bool = option(False, help="Replace files that exist.", panel="Outputs")
    """Replace files that exist."""
    quiet: bool = option(False, "--quiet", "-q", help="Errors only.", panel="Messages")
    """Errors only."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an upsampler is trained; the defaults are the published ones."""

    steps: int = option(
        2000, help="Optimiser steps.", panel="Training", unit="number", at_least=1, alternative="length"
    )
    """Optimiser steps, from 1."""
    epochs: float | None = option(
        None,
        help="In place of --steps: times through the images.",
        panel="Training",
        unit="number",
        above=0,
        alternative="length",
    )
    """Times through the images, above 0; None = `steps` count."""
    batch_size: int = option(8, help="Windows a step, over all devices.", panel="Training", unit="number", at_least=1)
    """Windows a step, over all devices."""
    crop: int = option(224, help="Side of a window, a multiple of the patch.", panel="Training", unit="px", at_least=1)
    """Side of a window in pixels, a multiple of the patch."""
    lr: float = option(1e-3, help="Learning rate of NAdam.", panel="Training", unit="number", above=0)
    """Learning rate of NAdam, above 0."""
    jitters: int = option(5, help="Views of each batch.", panel="Training", unit="number", at_least=1)
    """Views of a batch, whose losses go back through the upsampler together."""
    radius: int = option(5, help="Reach of the kernels.", panel="Training", unit="px", at_least=0)
    """Reach of the upsampler's kernels in pixels."""
    image_loss: float = option(
        0.1, help="Weight of the image's reconstruction.", panel="Training", unit="number", at_least=0
    )
    """Weight of the reconstruction of the image, from 0."""
    colours: Colours = option("model", help="Mean and std of images: the model's own, or ImageNet's.", panel="Training")
    """What images are normalised with: the mean and std of the model, or those of ImageNet, as the authors trained."""
    seed: int = option(0, help="Decides all that is random.", panel="Training", unit="number", at_least=0)
    """Decides all that is random."""
    init: str | None = option(
        None, help="Upsampler to start from, also of another model of as many channels.", panel="Training", unit="file"
    )
    """An upsampler to start from; None = random weights."""
    pixels: PixelOptions = field(default_factory=PixelOptions)
    """How images become 8-bit RGB, as for `predict`; they are read at their own resolution."""
    workers: int = option(2, help="Threads that read windows ahead.", panel="Machine", unit="number", at_least=0)
    """Threads that read windows ahead, from 0."""
    precision: Precision = option("fp32", help="Of the frozen CLIP.", panel="Machine")
    """Of the frozen CLIP."""
    save_every: int = option(100, help="Steps between checkpoints.", panel="Watching", unit="number", at_least=1)
    """Steps between checkpoints."""
    validate_every: int = option(
        100, help="Steps between looks at held-out windows.", panel="Watching", unit="number", at_least=1
    )
    """Steps between looks at held-out windows."""
    held_out: int = option(8, help="Windows kept for validation.", panel="Watching", unit="number", at_least=1)
    """Windows kept for validation."""

    def __post_init__(self) -> None:
        validate(self)

    @property
    def read(self) -> ReadOptions:
        """How images are opened."""
        return ReadOptions(**{told.name: getattr(self.pixels, told.name) for told in fields(PixelOptions)})

    def facts(self) -> dict[str, Any]:
        """The settings as JSON values, by field; of what is data only what differs from the files' own."""
        told: dict[str, Any] = {}
        for one in fields(self):
            if one.name == "pixels":
                bands = self.pixels.bands
                told |= {"bands": bands and value_text(bands), "stretch": self.pixels.stretch}
            else:
                told[one.name] = getattr(self, one.name)
        return told | self.pixels.validity_facts()

    def planned_steps(self, windows: int) -> int:
        """Optimiser steps of the run over a collection that holds so many windows."""
        return self.steps if self.epochs is None else max(1, round(self.epochs * windows / self.batch_size))
