"""What the user can say of a mask and of how it is computed; without torch, so that a command line can use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from segearth_cli.classes import Rest, Synonyms
from segearth_cli.console import untold
from segearth_cli.errors import UsageError
from segearth_cli.model import LOGIT_SCALE
from segearth_cli.options import option, validate, whole
from segearth_cli.raster import Blend, ReadOptions, parse_sides

REST: Rest = "distractors"  # what a background is that neither list nor model nor user says anything of
RESOLUTIONS = ("scale", "gsd", "long_side")  # at most one of them is given
TILES = ("tile", "tile_stride")


def parse_batch(text: str) -> int | None:
    """Windows at once from the text of a flag, None for `auto`. Raises UsageError for anything else."""
    if text == "auto":
        return None
    if not (number := whole(text)):
        raise UsageError(f"--batch-size {text}: need auto or a number from 1")
    return number


def parse_gsd(text: str) -> float | Literal["auto"]:
    """Metres from the text of a flag, or `auto`. Raises UsageError for anything else."""
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError:
        raise UsageError(f"--gsd {text}: need auto or a number above 0, metres") from None


def default_stride(window: int) -> int:
    """The step of windows, in pixels, where none is asked for: half of one."""
    return max(1, window // 2)


@dataclass(frozen=True, slots=True)
class ClassOptions:
    """Which classes a mask has, in words; one of the first three."""

    classes: str | None = option(
        None,
        "--classes",
        "-c",
        help="Classes by comma, synonyms by bar: 'water|river|lake,building|roof'.",
        panel="Classes",
        unit="words",
        alternative="classes",
    )
    """Classes separated by commas, their synonyms by bars."""
    classes_file: Path | None = option(
        None,
        help="One class a line: phrases by comma, the first its name; #RRGGBB colour; # comment.",
        panel="Classes",
        unit="file",
        alternative="classes",
    )
    """A class file."""
    preset: str | None = option(
        None,
        help="A published setting, e.g. loveda: classes, background, threshold, resolution, lambda.",
        panel="Classes",
        unit="name",
        alternative="classes",
    )
    """Id or name of a published setting."""
    background: str | None = option(
        None,
        help="A class, for what is unsure; or what code 0 is beside them: competing, distractors, threshold, none.",
        panel="Classes",
        unit="name",
        shown=f"the list's own, else {REST}",
        advised=True,
    )
    """Name of the class that low confidence falls to, or a `classes.Rest`; None = as the list or preset has it."""
    synonyms: Synonyms | None = option(
        None,
        help="Phrases of a class: the best one counts (max), or their mean.",
        panel="Classes",
        shown="the class file's, else max",
        advised=True,
    )
    """How the phrases of every class count together; None = as the class file says."""


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """Every choice that changes a pixel of the mask, but for the model and the classes."""

    threshold: float = option(
        0.0,
        "--threshold",
        "-t",
        help="Winners below this probability become background.",
        panel="Classes",
        advised=True,
        at_least=0,
        at_most=1,
    )
    """Probability, 0 to 1; winners below it fall to the background."""
    logit_scale: float = option(
        LOGIT_SCALE,
        help="Cosines are multiplied by it before the softmax; the field uses 40, 50 and 100.",
        panel="Classes",
        unit="number",
        advised=True,
        above=0,
    )
    """What logits are multiplied by before the softmax: how sure a difference makes, so what `threshold` means."""
    window: int | None = option(
        None, help="Window side.", panel="Windows", unit="px", shown="the model's", advised=True, at_least=1
    )
    """Side in pixels of the working grid; None = the model's native window."""
    stride: int | None = option(
        None, help="Window step.", panel="Windows", unit="px", shown="half the window", advised=True, at_least=1
    )
    """Step in pixels of the working grid, 1 to `window`; None = half of it."""
    blend: Blend = option(
        "mean",
        help="Overlapping windows: mean as published, taper hides block edges.",
        panel="Windows",
        advised=True,
    )
    """How windows weigh where they overlap."""
    scale: float | None = option(
        None,
        help="Resample the scene by this factor for the model; the mask keeps its grid.",
        panel="Resolution",
        unit="factor",
        advised=True,
        above=0,
        alternative="resolution",
    )
    """Working pixels for each of the scene's, along a side; above 0."""
    gsd: float | Literal["auto"] | None = option(
        None,
        help="Resample the scene to this size of a pixel, for the model; auto: the nearest that it is good at.",
        panel="Resolution",
        unit="metres",
        advised=True,
        above=0,
        parse=parse_gsd,
        alternative="resolution",
    )
    """Metres a working pixel, above 0; `auto` = the scene's own, or the nearest of `good_gsd`."""
    long_side: int | None = option(
        None,
        help="Resample the scene to this long side, for the model.",
        panel="Resolution",
        unit="px",
        advised=True,
        at_least=1,
        alternative="resolution",
    )
    """Pixels of the working grid's longer side, above 0."""
    tile: tuple[int, ...] | None = option(
        None,
        help="Cut the scene into tiles before anything else, e.g. 512 or 1280x1080; none: leave it whole.",
        panel="Resolution",
        unit="px",
        shown="none, or the preset's",
        parse=parse_sides,
    )
    """Width and height in pixels of the scene; () = none, also where a preset names them. Smaller scenes are filled up
    with black."""
    tile_stride: tuple[int, ...] | None = option(
        None,
        help="Step between tiles; where they overlap, the mask takes the nearer one.",
        panel="Resolution",
        unit="px",
        shown="the tile",
        parse=partial(parse_sides, flag="--tile-stride"),
    )
    """Across and down, in pixels of the scene, at most the tile."""
    calibration: Path | None = option(
        None,
        help="What `segearth calibrate` learned from labels of this scene; brings classes and settings along.",
        panel="Classes",
        unit="file",
    )
    """A file of `segearth calibrate`; None = text alone."""
    read: ReadOptions = field(default_factory=ReadOptions)
    """How the scene becomes 8-bit RGB."""
    image_side: int | None = None
    """Longer side in pixels of the images that a published setting is for, None where there is none."""
    area: Any = None
    """The part of scenes that is wanted, a `raster.AreaOfInterest`; None = all. It changes no pixel within."""
    good_gsd: tuple[float, float] | None = None
    """Metres a working pixel, from and to, that the model is good at; None where it does not say."""

    def __post_init__(self) -> None:
        validate(self)
        given = [name for name in RESOLUTIONS if getattr(self, name) is not None]
        if len(given) > 1:
            flags = " and ".join("--" + name.replace("_", "-") for name in given)
            raise UsageError(f"{flags} together: choose one resolution")
        for flag, sides in (("--tile", self.tile), ("--tile-stride", self.tile_stride)):
            if sides and (len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides)):
                raise UsageError(f"{flag} {sides}: need a width and a height in pixels, above 0")
        if self.tile_stride and not (self.tile and all(map(int.__le__, self.tile_stride, self.tile))):
            tiles = "x".join(map(str, self.tile)) if self.tile else "none"
            raise UsageError(f"--tile-stride {'x'.join(map(str, self.tile_stride))}: more than the --tile, {tiles}")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How scenes are computed; none of it changes a pixel."""

    batch: int | None = option(
        None,
        "--batch-size",
        help="Windows at once: auto or a number; halved when memory runs out.",
        panel="Machine",
        unit="number",
        shown="auto",
        parse=parse_batch,
        at_least=1,
    )
    """Windows computed together, from 1; None = chosen by the device."""
    threads: int = option(2, "--workers", help="Threads that read ahead.", panel="Machine", unit="number", at_least=1)
    """Threads that read ahead of the model, from 1."""
    quiet: bool = option(False, "--quiet", "-q", help="Errors only.", panel="Messages")
    """No progress and no notes."""
    skip: bool = False
    """Leave scenes alone whose files are there from the same run, refuse to replace those of another one."""
    overwrite: bool = option(False, help="Replace files that exist.", panel="Outputs")
    """With `skip`, replace what another run has written."""
    notice: Callable[[str], None] = untold
    """Called with each line that the user should see."""

    def __post_init__(self) -> None:
        validate(self)

    def silent(self) -> RunOptions:
        """How the machine is used, for work that somebody else tells of."""
        return RunOptions(batch=self.batch, threads=self.threads, quiet=True)
