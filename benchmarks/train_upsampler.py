"""Does training learn, and what does it take: held-out losses of a run, and one step at ViT-B/16 shapes.

python -m benchmarks.train_upsampler run FOLDER MODEL OUT --look SCENE   a short CPU run; goes on where it stands
python -m benchmarks.train_upsampler step                                memory and CPU time: 4 x 224 px, 512 channels
python -m benchmarks.train_upsampler jitters FOLDER MODEL                one pass for all jitters against one for each

`run` writes figures, curves and a picture of SCENE, an image that may be published, by the trained upsampler.
"""

from __future__ import annotations

import argparse
import csv
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor

from benchmarks import report
from segearth_cli.console import note
from segearth_cli.model import Encoder
from segearth_cli.raster import ReadOptions, Window, open_scene
from segearth_cli.training import Learner, Recipe, TrainingJob, Windows, collect, save_looks, train
from segearth_cli.weights import load_clip

CPU = torch.device("cpu")
HELD_OUT = 8  # windows


def main() -> None:
    """Runs what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    run = parts.add_parser("run")
    run.add_argument("images")
    run.add_argument("model")
    run.add_argument("out", type=Path)
    run.add_argument("--look", required=True, help="scene for the picture")
    for name, default in (("steps", 300), ("batch-size", 4), ("crop", 84), ("jitters", 1), ("every", 50)):
        run.add_argument(f"--{name}", type=int, default=default)
    run.set_defaults(act=learn)
    parts.add_parser("step").set_defaults(act=lambda _asked: step())
    both = parts.add_parser("jitters")
    both.add_argument("images")
    both.add_argument("model")
    for name, default in (("steps", 300), ("batch-size", 2), ("crop", 48), ("jitters", 5), ("every", 100)):
        both.add_argument(f"--{name}", type=int, default=default)
    both.set_defaults(act=jitters)
    asked = parser.parse_args()
    asked.act(asked)


def learn(asked: argparse.Namespace) -> None:
    """Trains, or goes on, and keeps the figures."""
    recipe = Recipe(
        steps=asked.steps, batch_size=asked.batch_size, crop=asked.crop, jitters=asked.jitters, workers=0,
        save_every=asked.every, validate_every=asked.every,
    )  # fmt: skip
    folder = asked.out.with_name(f"{asked.out.stem}.train")
    job = TrainingJob(asked.out, folder, CPU, torch.float32, resume=True, notice=note)
    train(load_clip(asked.model), collect([asked.images], [], ReadOptions()), recipe, job)
    with job.log.open(newline="") as f:
        looks = [row for row in csv.DictReader(f) if row["held_out_features"]]
    names = [name for name in looks[0] if name.startswith(("held_out", "bilinear"))]
    facts: dict[str, Any] = {"model": asked.model, "steps": recipe.steps, "batch": recipe.batch_size}
    facts |= {"crop": recipe.crop, "jitters": recipe.jitters}
    facts |= {f"step {row['step']}": {name: float(row[name]) for name in names} for row in looks}
    report.write("train_upsampler", facts)
    shutil.copy(folder / "loss.png", report.RESULTS / "train_upsampler_loss.png")
    picture(asked.model, job.checkpoint, asked.look)


def picture(model: str, checkpoint: Path, path: str) -> None:
    """Features of a scene's first window by the trained upsampler."""
    clip = load_clip(model)
    encoder = Encoder(clip, clip.mean, clip.std)
    learner = Learner(encoder, radius=5, lr=1e-3, jitters=1, image_loss=0.1, seed=0, share=1, device=CPU)
    learner.load_state(torch.load(checkpoint, weights_only=True)["state"])
    scene = open_scene(path)
    side = 16 * learner.encoder.patch
    corners = [(0, 0), (max(0, scene.height - side), max(0, scene.width - side))]
    chips = [scene.read(Window(row, col, side, side)) for row, col in corners]
    looks = [learner.look(torch.tensor(chip.image), torch.tensor(chip.valid)) for chip in chips]
    save_looks(looks, report.RESULTS / "train_upsampler_look.png", f"{Path(path).name}, not trained on")


def step() -> None:
    """Memory and CPU time of a step of 4 windows of 224 px with 512 channels; one jitter, as all have the same peak."""
    torch.set_num_threads(1)
    encoder = Encoder(open_clip.create_model("ViT-B-16-quickgelu"), [0.5] * 3, [0.25] * 3)
    learner = Learner(encoder, radius=5, lr=1e-3, jitters=1, image_loss=0.1, seed=0, share=4, device=CPU)
    images, valid = (
        torch.randint(0, 256, (4, 3, 224, 224), dtype=torch.uint8),
        torch.ones(4, 224, 224, dtype=torch.bool),
    )
    learner.step(0, images, valid)
    started = time.process_time()
    learner.step(1, images, valid)
    report.write(
        "train_upsampler_step",
        {
            "cpu": report.cpu_name(),
            "cpu_seconds_a_jitter": time.process_time() - started,
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,  # kB on Linux
        },
    )


class Apart(Learner):
    """Goes back through the upsampler for each jitter, as was done before."""

    def _backward(self, image: Tensor, tokens: Tensor, drawn: Sequence[tuple[Any, Tensor]], share: float) -> Tensor:
        sums, weight = torch.zeros(3), share / self.jitters
        for jitter, project in drawn:
            losses = self.objective(image, tokens, self.view(image, jitter, project))
            ((losses.features + self.image_loss * losses.image) * weight).backward()
            sums += torch.stack([losses.features, losses.image, losses.error]).detach() * weight
        return sums


def jitters(asked: argparse.Namespace) -> None:
    """Held-out losses of both ways on the same windows, and the CPU time of a step."""
    torch.set_num_threads(1)
    pictures = collect([asked.images], [], ReadOptions()).pictures
    held = Windows(pictures, asked.crop, 1, ReadOptions())
    kept = [crop for crop, _, _ in map(held.draw, range(HELD_OUT)) if crop]
    windows = Windows(pictures, asked.crop, 0, ReadOptions(), kept)
    facts: dict[str, Any] = {name: getattr(asked, name) for name in ("model", "steps", "batch_size", "crop", "jitters")}

    def batch(source: Windows, first: int, count: int) -> tuple[Tensor, Tensor]:
        chips = [chip for number in range(first, first + count) if (chip := source[number][0])]
        images, valid = (np.stack([getattr(chip, part) for chip in chips]) for part in ("image", "valid"))
        return torch.from_numpy(images), torch.from_numpy(valid)

    for name, way in (("one pass", Learner), ("a pass each", Apart)):
        clip = load_clip(asked.model)
        learner = way(
            Encoder(clip, clip.mean, clip.std), radius=5, lr=1e-3, jitters=asked.jitters, image_loss=0.1, seed=0,
            share=asked.batch_size, device=CPU,
        )  # fmt: skip
        spent = 0.0
        for number in range(asked.steps):
            images = batch(windows, number * asked.batch_size, asked.batch_size)
            started = time.process_time()
            learner.step(number, *images)
            spent += time.process_time() - started
            if (number + 1) % asked.every == 0 or number + 1 == asked.steps:
                ours, _ = learner.held_out(*batch(held, 0, HELD_OUT))
                facts[f"{name}, step {number + 1}"] = asdict(ours)
        facts[f"{name}, CPU seconds a step"] = spent / asked.steps
    report.write("train_upsampler_jitters", facts)


if __name__ == "__main__":
    main()
