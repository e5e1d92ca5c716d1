"""Training from names to a file: what the command and the Python function have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from segearth_cli.console import untold
from segearth_cli.model import pick_device, pick_precision, slow_precision
from segearth_cli.progress import underway
from segearth_cli.training.collection import collect
from segearth_cli.training.loop import TrainingJob, Upsampled, train
from segearth_cli.training.places import run_folder
from segearth_cli.training.recipe import Recipe, TrainOptions
from segearth_cli.training.step import Peers
from segearth_cli.weights import choose, load_clip


def train_on(
    names: Sequence[str],
    tars: Sequence[str],
    recipe: Recipe,
    out: Path,
    options: TrainOptions,
    *,
    peers: Peers | None = None,
    notice: Callable[[str], None] = untold,
) -> Upsampled:
    """Trains SimFeatUp for a model on the images that names and archives stand for, and writes it to `out`.

    Log, pictures and checkpoints go to `OUT.train/` beside it. notice: gets each line that the user should see.
    Raises UsageError, WeightsError, TrainingError.
    """
    peers = peers or Peers()
    on = pick_device(options.device)
    precision = pick_precision(recipe.precision, on)
    if line := slow_precision(recipe.precision, on):
        notice(line)
    choice = choose(options.model, "none")
    if choice.note:
        notice(choice.note)
    with underway("opening images", quiet=options.quiet or peers.rank > 0):
        collection = collect(names, tars, recipe.read)
    for line in collection.left_out:
        notice(line)
    unreadable = f", {len(collection.unreadable)} unreadable" if collection.unreadable else ""
    notice(f"{len(collection.pictures)} images{unreadable}")
    job = TrainingJob(out, run_folder(out), on, precision, peers, options.resume, notice, options.quiet)
    with underway(f"loading {choice.model}", quiet=options.quiet or peers.rank > 0):
        clip = load_clip(choice.model)
    return train(clip, collection, recipe, job)
