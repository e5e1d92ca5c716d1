"""`segearth train-upsampler`: SimFeatUp for any model, on the user's own imagery."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segearth_cli import console
from segearth_cli.commands.arguments import INPUTS, inputs, itself
from segearth_cli.commands.flags import flags_of
from segearth_cli.errors import UsageError
from segearth_cli.gate import Target, admit
from segearth_cli.training import Recipe, combined, from_toml

if TYPE_CHECKING:
    from segearth_cli.training import Peers, Upsampled

Opt = typer.Option
_NAMED = 10  # unreadable files told one by one


@flags_of(Recipe)
def train_upsampler(
    images: Annotated[list[str] | None, typer.Argument(help=f"Images, .tar or .zip archives: {INPUTS}.")] = None,
    tar: Annotated[list[str] | None, Opt(help="Tar archive of images, read in place; repeatable.")] = None,
    out: Annotated[Path, Opt("--out", "-o", help="The upsampler; OUT.train/ beside it gets log and pictures.")] = Path(
        "upsampler.safetensors"
    ),
    export_ckpt: Annotated[Path | None, Opt(help="Also write the published key layout (.ckpt).")] = None,
    config: Annotated[Path | None, Opt(help="TOML file of settings named as these options, which win.")] = None,
    model: Annotated[str, Opt("--model", "-m", help="The CLIP to train for, as for predict.")] = "auto",
    device: Annotated[
        str, Opt("--device", "-d", help="auto, cpu, cuda:N or mps; torchrun gives each its own.")
    ] = "auto",
    resume: Annotated[bool, Opt("--resume", help="Go on from the last checkpoint in OUT.train/.")] = False,
    overwrite: Annotated[bool, Opt("--overwrite", help="Replace files that exist.")] = False,
    quiet: Annotated[bool, Opt("--quiet", "-q", help="Errors only.")] = False,
    **given: Any,
) -> int:
    """Train SimFeatUp for a model on unlabelled images; prints the path of the upsampler.

    Several GPUs: torchrun --nproc-per-node N -m segearth_cli train-upsampler ...
    """
    recipe = combined(from_toml(config) if config else {}, given)
    folder = out.with_name(f"{out.stem}.train")
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: need a name that ends in .safetensors")
    names = inputs(images or [], itself) if images or not tar else []
    if _world(os.environ) == 1 or os.environ["RANK"] == "0":  # of several devices the first one writes
        read = [*names, *(tar or [])]
        admit(
            _targets(out, folder, export_ckpt, resume=resume),
            lambda: _read(read, config, recipe.init),
            overwrite=overwrite,
        )
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
    console.answer(str(out))
    return 0


def _targets(out: Path, folder: Path, export_ckpt: Path | None, *, resume: bool) -> list[Target]:
    """All files that a run writes. One that is resumed from its checkpoint has written some of them itself."""
    saved = resume and (folder / "checkpoint.pt").is_file()
    inside = [folder / name for name in ("checkpoint.pt", "train.csv", "loss.png")] + sorted(folder.glob("step-*.png"))
    inside = inside if os.path.lexists(folder) else []  # it is made when there is something to write
    return [
        Target(out, "--out", kept=saved),
        *([Target(export_ckpt, "--export-ckpt")] if export_ckpt else []),
        *(Target(path, "--out", kept=resume) for path in inside),
    ]


def _read(names: list[str], config: Path | None, init: str | None) -> Iterator[Path]:
    """All files that are read."""
    from segearth_cli.raster import local_folder, local_path, rasters_below

    yield from (Path(name) for name in (config, init) if name)
    for name in names:
        folder = local_folder(name)
        yield from rasters_below(folder) if folder else [path for path in [local_path(name)] if path]


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
    from segearth_cli.training import train_on

    with _peers(place.device) as (peers, device):
        notice = (lambda _line: None) if place.quiet or peers.rank else console.note
        result = train_on(
            names, tars, recipe, out,
            model=place.model, device=device, peers=peers, resume=place.resume, notice=notice,
        )  # fmt: skip
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
