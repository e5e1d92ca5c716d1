"""`segearth train-upsampler`: SimFeatUp for any model, on the user's own imagery."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segearth_cli import console
from segearth_cli.commands.arguments import INPUTS, inputs, itself
from segearth_cli.errors import SegEarthError, UsageError
from segearth_cli.files import refuse_existing
from segearth_cli.training import Recipe, combined, from_toml

if TYPE_CHECKING:
    from segearth_cli.training import Peers, Upsampled

Opt = typer.Option
_DEFAULT = Recipe()
_NAMED = 10  # unreadable files told one by one


def train_upsampler(
    context: typer.Context,
    images: Annotated[list[str] | None, typer.Argument(help=f"Images, .tar or .zip archives: {INPUTS}.")] = None,
    tar: Annotated[list[str] | None, Opt(help="Tar archive of images, read in place; repeatable.")] = None,
    out: Annotated[Path, Opt("--out", "-o", help="The upsampler; OUT.train/ beside it gets log and pictures.")] = Path(
        "upsampler.safetensors"
    ),
    export_ckpt: Annotated[Path | None, Opt(help="Also write the published key layout (.ckpt).")] = None,
    config: Annotated[Path | None, Opt(help="TOML file of settings named as these options, which win.")] = None,
    model: Annotated[str, Opt("--model", "-m", help="The CLIP to train for, as for predict.")] = "auto",
    steps: Annotated[int, Opt(help="Optimiser steps.")] = _DEFAULT.steps,
    epochs: Annotated[float | None, Opt(help="In place of --steps: times through the images.")] = _DEFAULT.epochs,
    batch_size: Annotated[int, Opt(help="Windows a step, over all devices.")] = _DEFAULT.batch_size,
    crop: Annotated[int, Opt(help="Side of a window in pixels, a multiple of the patch.")] = _DEFAULT.crop,
    lr: Annotated[float, Opt(help="Learning rate of NAdam.")] = _DEFAULT.lr,
    jitters: Annotated[int, Opt(help="Views of each batch.")] = _DEFAULT.jitters,
    radius: Annotated[int, Opt(help="Reach of the kernels in pixels.")] = _DEFAULT.radius,
    image_loss: Annotated[float, Opt(help="Weight of the image's reconstruction.")] = _DEFAULT.image_loss,
    seed: Annotated[int, Opt(help="Decides all that is random.")] = _DEFAULT.seed,
    workers: Annotated[int, Opt(help="Threads that read windows ahead.")] = _DEFAULT.workers,
    device: Annotated[
        str, Opt("--device", "-d", help="auto, cpu, cuda:N or mps; torchrun gives each its own.")
    ] = "auto",
    precision: Annotated[str, Opt(help="Of the frozen CLIP: auto, fp32, bf16 or fp16.")] = _DEFAULT.precision,
    save_every: Annotated[int, Opt(help="Steps between checkpoints.")] = _DEFAULT.save_every,
    validate_every: Annotated[int, Opt(help="Steps between looks at held-out windows.")] = _DEFAULT.validate_every,
    held_out: Annotated[int, Opt(help="Windows kept for validation.")] = _DEFAULT.held_out,
    init: Annotated[str | None, Opt(help="Upsampler to start from, also of another model of as many channels.")] = (
        _DEFAULT.init
    ),
    bands: Annotated[
        str | None, Opt("--bands", "-b", help="Bands for red, green, blue, e.g. 4,3,2; one for grey.")
    ] = _DEFAULT.bands,
    stretch: Annotated[str, Opt(help="To 8 bits: auto, MIN,MAX or percentiles P2,P98; once a scene.")] = (
        _DEFAULT.stretch
    ),
    resume: Annotated[bool, Opt("--resume", help="Go on from the last checkpoint in OUT.train/.")] = False,
    overwrite: Annotated[bool, Opt("--overwrite", help="Replace files that exist.")] = False,
    quiet: Annotated[bool, Opt("--quiet", "-q", help="Errors only.")] = False,
) -> int:
    """Train SimFeatUp for a model on unlabelled images; prints the path of the upsampler.

    Several GPUs: torchrun --nproc-per-node N -m segearth_cli train-upsampler ...
    """
    recipe = _recipe(context, config)
    folder = out.with_name(f"{out.stem}.train")
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: need a name that ends in .safetensors")
    for path in (out, export_ckpt or out):
        if not os.access(path.parent, os.W_OK):
            raise SegEarthError(f"{path}: the folder {path.parent} is absent or not writable; choose another")
    if not resume:
        refuse_existing([path for path in (out, export_ckpt, folder / "checkpoint.pt") if path], overwrite=overwrite)
    names = inputs(images or [], itself) if images or not tar else []
    result = _run(names, tar or [], recipe, out, _Place(folder, model, device, resume, quiet))
    if result is None:
        return 0
    if export_ckpt:
        from segearth_cli.training import export_ckpt as write_ckpt

        write_ckpt(out, export_ckpt)
    for line in result.unreadable[:_NAMED]:
        console.note(f"not read: {line}")
    if len(result.unreadable) > _NAMED:
        console.note(f"not read: {len(result.unreadable) - _NAMED} more; {len(result.unreadable)} in all")
    print(out, flush=True)
    return 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a run works and what it says."""

    folder: Path
    model: str
    device: str
    resume: bool
    quiet: bool


def _run(names: list[str], tars: list[str], recipe: Recipe, out: Path, place: _Place) -> Upsampled | None:
    """Trains on the named images; None on all devices but the first, which reports."""
    from segearth_cli.model import pick_device, pick_precision
    from segearth_cli.raster import ReadOptions, parse_bands, parse_stretch
    from segearth_cli.training import Job, collect, train
    from segearth_cli.weights import choose, load_clip

    parse_stretch(recipe.stretch)
    with _peers(place.device) as (peers, device_name):
        notice = (lambda _line: None) if place.quiet or peers.rank else console.note
        device = pick_device(device_name)
        precision = pick_precision(recipe.precision, device)
        choice = choose(place.model, "none")
        if choice.note:
            notice(choice.note)
        collection = collect(names, tars, ReadOptions(parse_bands(recipe.bands), recipe.stretch))
        for line in collection.left_out:
            notice(line)
        unreadable = f", {len(collection.unreadable)} unreadable" if collection.unreadable else ""
        notice(f"{len(collection.pictures)} images{unreadable}")
        clip = load_clip(choice.model)
        result = train(clip, collection, recipe, Job(out, place.folder, device, precision, peers, place.resume, notice))
        return None if peers.rank else result


@contextmanager
def _peers(device: str) -> Iterator[tuple[Peers, str]]:
    """The devices that torchrun started together, connected, and the name of this one; a single one without it."""
    from segearth_cli.training import Peers

    world = _world(os.environ)
    if world == 1:
        yield Peers(), device
        return
    import torch
    from torch import distributed

    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    own = f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else device
    if on_gpu:
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Peers(distributed.get_rank(), world), own
    finally:
        distributed.destroy_process_group()


def _world(environment: Mapping[str, str]) -> int:
    """Processes that torchrun started; 1 where the variables are not all there, as schedulers set some of them too."""
    numbers = [environment.get(name, "") for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT")]
    whole = all(number.isdecimal() for number in numbers) and environment.get("MASTER_ADDR")
    return max(1, int(numbers[0])) if whole else 1


def _recipe(context: typer.Context, config: Path | None) -> Recipe:
    """The settings of the file, with those given on the command line in their place."""
    names = [field.name for field in fields(Recipe)]
    sources = {name: context.get_parameter_source(name) for name in names}
    given = {name: context.params[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    return combined(from_toml(config) if config else {}, given)
