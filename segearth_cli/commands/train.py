"""`segearth train-upsampler`: SimFeatUp for any model, on the user's own imagery."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segearth_cli import console
from segearth_cli.commands.arguments import INPUTS, inputs, itself
from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.results import note_written
from segearth_cli.gate import Target, admit
from segearth_cli.options import build, option, validate
from segearth_cli.training import Recipe, TrainOptions, check_out, image_files, run_folder, run_targets

if TYPE_CHECKING:
    from segearth_cli.training import Peers, Upsampled

_NAMED = 10  # unreadable files told one by one


@dataclass(frozen=True, slots=True)
class TrainPlaces:
    """Which files a run reads and writes, but for the images that are named as arguments."""

    tar: tuple[str, ...] = option(
        (), help="Tar archive of images, read in place; repeatable.", panel="Inputs", unit="file"
    )
    """Tar archives of images."""
    out: Path = option(
        Path("upsampler.safetensors"),
        "--out",
        "-o",
        help="The upsampler; OUT.train/ beside it gets log and pictures.",
        panel="Outputs",
        unit="file",
    )
    """The upsampler, as .safetensors."""
    export_ckpt: Path | None = option(
        None, help="Also write the published key layout (.ckpt).", panel="Outputs", unit="file"
    )
    """The upsampler in the layout of the published files."""

    def __post_init__(self) -> None:
        validate(self)
        check_out(self.out)


EXAMPLES = (
    "segearth train-upsampler images/ -o mine.safetensors",
    "segearth train-upsampler images/ -o mine.safetensors --steps 500 --resume",
)


@flags_of(TrainPlaces, TrainOptions, Recipe, examples=EXAMPLES)
def train_upsampler(
    images: Annotated[list[str] | None, typer.Argument(help=f"Images, .tar or .zip archives: {INPUTS}.")] = None,
    **given: Any,
) -> int:
    """Train SimFeatUp for a model on unlabelled images; prints the path of the upsampler.

    Several GPUs: torchrun --nproc-per-node N -m segearth_cli train-upsampler ...
    """
    places, options = build(TrainPlaces, given), build(TrainOptions, given)
    recipe = build(Recipe, given)
    names = inputs(images or [], itself) if images or not places.tar else []
    if _world(os.environ) == 1 or os.environ["RANK"] == "0":  # of several devices the first one writes
        admit(
            _targets(places, resume=options.resume),
            lambda: image_files(names),
            overwrite=options.overwrite,
        )
    result = _run(names, places, recipe, options)
    if result is None:
        return 0
    if places.export_ckpt:
        from segearth_cli.training import export_ckpt

        export_ckpt(places.out, places.export_ckpt)
    note_written([places.export_ckpt, f"{run_folder(places.out)}/"], quiet=options.quiet)
    for line in result.unreadable[:_NAMED]:
        console.note(f"not read: {line}")
    if len(result.unreadable) > _NAMED:
        console.note(f"not read: {len(result.unreadable) - _NAMED} more; {len(result.unreadable)} in all")
    console.answer(str(places.out))
    return 0


def _targets(places: TrainPlaces, *, resume: bool) -> list[Target]:
    """All files that are written."""
    exported = [Target(places.export_ckpt, "--export-ckpt")] if places.export_ckpt else []
    return [*run_targets(places.out, resume=resume), *exported]


def _run(names: list[str], places: TrainPlaces, recipe: Recipe, options: TrainOptions) -> Upsampled | None:
    """Trains on the named images; None on all devices but the first, which reports."""
    from segearth_cli.training import train_on

    with _peers(options.device) as (peers, device):
        notice = console.untold if options.quiet or peers.rank else console.note
        on = replace(options, device=device)
        result = train_on(names, places.tar, recipe, places.out, on, peers=peers, notice=notice)
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
