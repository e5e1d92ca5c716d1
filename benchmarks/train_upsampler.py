"""Does training learn, and what does it take: held-out losses of a run, and one step at ViT-B/16 shapes.

python -m benchmarks.train_upsampler run FOLDER MODEL OUT --look SCENE   a short CPU run; goes on where it stands
python -m benchmarks.train_upsampler step                                memory and CPU time: 4 x 224 px, 512 channels

`run` writes figures, curves and a picture of SCENE, an image that may be published, by the trained upsampler.
"""

from __future__ import annotations

import argparse
import csv
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import open_clip
import torch

from benchmarks import report
from segearth_cli.console import note
from segearth_cli.model import Encoder
from segearth_cli.raster import ReadOptions, Window, open_scene
from segearth_cli.training import Learner, Recipe, TrainingJob, collect, save_looks, train
from segearth_cli.weights import load_clip

CPU = torch.device("cpu")


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


if __name__ == "__main__":
    main()
