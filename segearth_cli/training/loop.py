"""Training an upsampler: the loop, its log, its checkpoints."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from segearth_cli.console import untold
from segearth_cli.disk import Lines
from segearth_cli.errors import TrainingError, UsageError
from segearth_cli.files import appending, make_folders, recover_all, write_bytes, write_text
from segearth_cli.model import Encoder, Upsampler
from segearth_cli.progress import steps_bar
from segearth_cli.quantities import duration
from segearth_cli.training import checkpoint
from segearth_cli.training.collection import Collection
from segearth_cli.training.objective import LOSS, TOGETHER
from segearth_cli.training.pictures import save_curves, save_looks
from segearth_cli.training.places import CHECKPOINT, CURVES, LOG, picture
from segearth_cli.training.recipe import FREE, IMAGENET, Recipe
from segearth_cli.training.step import Figures, Learner, Peers
from segearth_cli.training.time_left import TimeLeft
from segearth_cli.training.windows import CropBatch, Windows, batches, collate, held_out, positions
from segearth_cli.version import __version__
from segearth_cli.weights import Clip, load_upsampler, read_tensors, save_upsampler

COLUMNS = (
    *("step", "seconds", "features", "image", "error", "gradient_norm"),
    *("held_out_features", "held_out_image", "held_out_error"),
    *("bilinear_features", "bilinear_image", "bilinear_error"),
)
SHOWN = 4  # held-out windows in a picture
QUIET_SECONDS = 15.0  # between lines of progress

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """Where a run puts its results, and what it runs on."""

    out: Path
    """The upsampler, as safetensors."""
    folder: Path
    """For checkpoint, log and pictures."""
    device: torch.device
    """What this process computes on."""
    precision: torch.dtype
    """Of the frozen CLIP."""
    peers: Peers = field(default_factory=Peers)
    """The devices that share each step."""
    resume: bool = False
    """Whether to go on from the folder's checkpoint."""
    notice: Notice = untold
    """Gets each line that the user should see."""
    quiet: bool = True
    """No bar on a terminal."""

    @property
    def checkpoint(self) -> Path:
        """The last good state of the run."""
        return self.folder / CHECKPOINT

    @property
    def log(self) -> Path:
        """A line a step."""
        return self.folder / LOG

    @property
    def leads(self) -> bool:
        """Whether this device writes the files."""
        return self.peers.rank == 0


def train(clip: Clip, collection: Collection, recipe: Recipe, job: TrainingJob) -> Upsampled:
    """Trains an upsampler for a model on a collection of images and writes it to `job.out`.

    Raises UsageError for settings that do not fit the model or the devices, TrainingError when there is nothing to
    learn from, when the checkpoint belongs to another run, and when a loss is no longer finite.
    """
    run = TrainingRun(clip, collection, recipe, job)
    try:
        run.go()
    except BaseException as e:
        if not isinstance(e, Exception) and run.saved:
            job.notice(f"{job.checkpoint} holds step {run.saved}; go on with --resume")
        raise
    finally:
        run.close()
    return Upsampled(job.out, run.steps, run.last, tuple(run.unreadable))


@dataclass(frozen=True, slots=True)
class Upsampled:
    """What a run came to."""

    out: Path
    """The upsampler's file."""
    steps: int
    """Steps it was trained for."""
    held_out: tuple[Figures, Figures]
    """Losses on held-out windows: of the upsampler, and of bilinear features."""
    unreadable: tuple[str, ...]
    """A line for each file that could not be read."""


class TrainingRun:
    """A training run in progress."""

    def __init__(self, clip: Clip, collection: Collection, recipe: Recipe, job: TrainingJob):
        self.clip, self.collection, self.recipe, self.job = clip, collection, recipe, job
        colours = IMAGENET if recipe.colours == "imagenet" else (clip.mean, clip.std)
        encoder = Encoder(clip, *colours).in_precision(job.precision)
        _check_sizes(recipe, encoder.patch, job.peers.world)
        self.learner = Learner(
            encoder, radius=recipe.radius, lr=recipe.lr, jitters=recipe.jitters, image_loss=recipe.image_loss,
            seed=recipe.seed, share=recipe.batch_size // job.peers.world, device=job.device, peers=job.peers,
        )  # fmt: skip
        if recipe.init is not None:
            _start_from(recipe.init, self.learner.upsampler)
        if recipe.crop // encoder.patch < self.learner.upsampler.minimum:
            smallest = self.learner.upsampler.minimum * encoder.patch
            raise UsageError(f"--crop {recipe.crop}: radius {recipe.radius} needs at least {smallest} px")
        self.places = held_out(collection.pictures, recipe.crop, recipe.seed, recipe.read, recipe.held_out)
        self.windows = Windows(collection.pictures, recipe.crop, recipe.seed, recipe.read, avoid=self.places)
        self.held = self._held_batch()
        self.steps = recipe.planned_steps(len(self.windows))
        self.unreadable = dict.fromkeys(collection.unreadable)
        self.saved = 0
        self.first = self._resumed() if job.resume else 0
        self.last = (Figures(math.nan, math.nan, math.nan),) * 2
        self._csv: Lines | None = None

    def go(self) -> None:
        """All steps that are left, with the log, checkpoints and looks in between."""
        if self.job.leads:
            make_folders([self.job.folder])
            recover_all(self.job.folder)
            self._open_log()
            if self.first == 0:
                self._look(0, [0.0] + [math.nan] * 4)
        with steps_bar("training", self.steps, self.first, quiet=self.job.quiet or not self.job.leads) as advance:
            self._all_steps(advance)
        if self.job.leads:
            if self.first >= self.steps:
                self.last = self.learner.held_out(self.held.images, self.held.valid)
            self._export()
            self.job.notice(verdict(*self.last))

    def _all_steps(self, advance: Callable[[str], None] | None) -> None:
        """advance: moves the bar of a terminal; None = lines tell of the progress."""
        left = TimeLeft(self.steps, self.recipe.validate_every)
        started = spoken = before = time.monotonic()
        for step, batch in enumerate(self._batches(), start=self.first):
            figures, norm = self._step(step, batch)
            done, now = step + 1, time.monotonic()
            left.step(now - before)
            before = now
            if not self.job.leads:
                continue
            looks = done % self.recipe.validate_every == 0 or done == self.steps
            row = [now - started, figures.features, figures.image, figures.error, norm]
            if looks:
                self._look(done, row)
                before = time.monotonic()
                left.look(before - now)
            else:
                self._write(done, row)
            to_go = duration(left.seconds(done))
            text = f"features {figures.features:.4f}, image {figures.image:.4f}, {to_go} left"
            if advance:
                advance(text)
            elif now - spoken > QUIET_SECONDS or done == self.first + 1:
                spoken = now
                self.job.notice(f"step {done}/{self.steps}: {text}")
            if done % self.recipe.save_every == 0 or done == self.steps:
                checkpoint.save(self.job.checkpoint, done, self._identity(), self.learner.state())
                self.saved = done

    def close(self) -> None:
        """Closes the log."""
        if self._csv:
            self._csv.close()

    def _step(self, step: int, batch: CropBatch | None) -> tuple[Figures, float]:
        if batch is None:
            raise TrainingError(
                f"step {step + 1}: no window with data in many tries; leave out images that are mostly nodata"
            )
        for line in batch.unreadable:
            if line not in self.unreadable:
                self.unreadable[line] = None
                self.job.notice(f"left out: {line}")
        part = self.learner.part
        figures, norm = self.learner.step(step, batch.images, batch.valid)
        if self.learner.part < part:
            self.job.notice(f"out of memory: {self.learner.part} windows at a time now, the batch stays as it is")
        if not (figures.finite and math.isfinite(norm)):
            kept = f"{self.job.checkpoint} holds step {self.saved}" if self.saved else "no checkpoint was written yet"
            raise TrainingError(
                f"step {step + 1}: features {figures.features:.3g}, image {figures.image:.3g}, gradient {norm:.3g}: "
                f"not finite; {kept}; try a lower --lr (now {self.recipe.lr:g}), --precision fp32 or another --seed"
            )
        return figures, norm

    def _batches(self) -> Iterator[CropBatch | None]:
        peers = self.job.peers
        numbers = positions(self.first, self.steps, self.recipe.batch_size, peers.rank, peers.world)
        return batches(self.windows, numbers, self.recipe.workers)

    def _held_batch(self) -> CropBatch:
        """The held-out windows; of a collection too small to spare any, the first ones that it trains on."""
        samples = [(self.windows.read_place(place), ()) for place in self.places]
        if not samples:
            self.job.notice("too few images to hold any out: validation sees what is trained on")
            samples = [(chip, ()) for chip, _ in [self.windows[0]] if chip is not None]
        batch = collate(samples) if samples else None
        if batch is None:
            raise TrainingError("no window with data found; leave out images that are mostly nodata")
        return batch

    # ---- log -----------------------------------------------------------------------------------------------------

    def _open_log(self) -> None:
        """A fresh log, or after resuming the old one without what came after the checkpoint."""
        kept: list[list[str]] = []
        if self.first and self.job.log.is_file():
            with self.job.log.open(newline="") as f:
                kept = [row for row in csv.reader(f) if row and row[0].isdecimal() and int(row[0]) <= self.first]
        text = io.StringIO(newline="")
        csv.writer(text).writerows([COLUMNS, *kept])
        write_text(self.job.log, text.getvalue())
        self._csv = appending(self.job.log)

    def _write(self, done: int, row: list[float]) -> None:
        assert self._csv is not None
        csv.writer(self._csv).writerow([done, *("" if math.isnan(value) else f"{value:.7g}" for value in row)])

    def _look(self, done: int, row: list[float]) -> None:
        """Held-out losses into the log and on stderr, a picture, and the curves so far."""
        self.last = ours, bilinear = self.learner.held_out(self.held.images, self.held.valid)
        self._write(done, [*row, *asdict(ours).values(), *asdict(bilinear).values()])
        self.job.notice(
            f"step {done}: held out: features {ours.features:.4f} (bilinear {bilinear.features:.4f}), "
            f"squared error {ours.error:.4g} ({bilinear.error:.4g}), image {ours.image:.4f}"
        )
        looks = [
            self.learner.look(*pair) for pair in zip(self.held.images[:SHOWN], self.held.valid[:SHOWN], strict=True)
        ]
        save_looks(looks, self.job.folder / picture(done), f"{self.clip.name}, step {done}: held-out windows")
        save_curves(self.job.log, self.job.folder / CURVES)

    # ---- checkpoints ---------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must share with the run that resumes it."""
        names = "\n".join(f"{p.name} {p.height} {p.width}" for p in self.collection.pictures)
        recipe = {name: value for name, value in self.recipe.facts().items() if name not in FREE}
        if self.recipe.colours == "model":  # checkpoints of former versions are of the same run
            del recipe["colours"]
        return {
            **recipe,
            "loss": LOSS if self.recipe.jitters == 1 else TOGETHER,
            "model_sha256": self.clip.sha256,
            "devices": self.job.peers.world,
            "images": hashlib.sha256(names.encode()).hexdigest(),
        }

    def _resumed(self) -> int:
        """Steps done by the run that is resumed, whose state is loaded; 0 when it had not saved any."""
        if not self.job.checkpoint.is_file():
            self.job.notice(f"{self.job.checkpoint}: no checkpoint yet, starting from the beginning")
            return 0
        done, state = checkpoint.load(self.job.checkpoint, self._identity(), self.job.device)
        self.learner.load_state(state)
        self.saved = done
        self.job.notice(f"going on from step {done} of {self.steps}")
        return done

    def _export(self) -> None:
        ours, bilinear = self.last
        save_upsampler(
            self.learner.upsampler,
            self.job.out,
            {
                "model": self.clip.name,
                "model_sha256": self.clip.sha256,
                "segearth": __version__,
                "recipe": json.dumps(self.recipe.facts()),
                "steps": str(self.steps),
                "data": json.dumps({"images": len(self.collection.pictures), "windows": len(self.windows)}),
                "held_out": json.dumps({"upsampler": asdict(ours), "bilinear": asdict(bilinear)}),
            },
        )


def verdict(ours: Figures, bilinear: Figures) -> str:
    """Whether an upsampler is better than bilinear features, by the squared error on held-out windows, in words."""
    figures = f"squared error {ours.error:.4g} on held-out windows, {bilinear.error:.4g} for bilinear features"
    if ours.error < bilinear.error:
        return f"better than bilinear: {figures} ({1 - ours.error / bilinear.error:.0%} less)"
    return (
        f"warning: no better than bilinear: {figures}; masks are better with --upsampler none, or train on: more "
        "--steps, a lower --lr, or --init from another upsampler"
    )


def export_ckpt(upsampler: Path, path: Path) -> None:
    """Writes an upsampler in the layout of the published files: keys `upsampler.*` inside `state_dict`."""
    tensors, _ = read_tensors(upsampler)
    packed = io.BytesIO()
    torch.save({"state_dict": {f"upsampler.{key}": value for key, value in tensors.items()}}, packed)
    write_bytes(path, packed.getvalue())


def _start_from(path: str, upsampler: Upsampler) -> None:
    """Gives an upsampler the weights of another, of whatever model."""
    other, _ = load_upsampler(path, channels=upsampler.channels, patch=upsampler.patch, model_sha256=None)
    if (other.radius, other.shared) != (upsampler.radius, upsampler.shared):
        kind = f"radius {other.radius}" if other.shared else "a stack of stages"
        raise UsageError(f"--init {path}: has {kind}, need one shared stage of --radius {upsampler.radius}")
    upsampler.load_state_dict(other.state_dict())


def _check_sizes(recipe: Recipe, patch: int, world: int) -> None:
    if recipe.crop % patch:
        near = max(patch, round(recipe.crop / patch) * patch)
        raise UsageError(f"--crop {recipe.crop}: need a multiple of the model's patch of {patch} px, e.g. {near}")
    if recipe.batch_size % world:
        raise UsageError(f"--batch-size {recipe.batch_size}: need a multiple of the {world} devices that share it")
