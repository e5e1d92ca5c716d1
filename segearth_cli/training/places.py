"""Which files a training run reads and writes, by the names of its images and of its upsampler."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from segearth_cli.errors import UsageError
from segearth_cli.gate import Target
from segearth_cli.raster import local_folder, local_path, rasters_below

CHECKPOINT, LOG, CURVES = "checkpoint.pt", "train.csv", "loss.png"


def run_folder(out: Path) -> Path:
    """Where log, pictures and checkpoints of a run lie."""
    return out.with_name(f"{out.stem}.train")


def picture(step: int) -> str:
    """The name of the picture of a step."""
    return f"step-{step:06d}.png"


def run_targets(out: Path, *, resume: bool) -> list[Target]:
    """All files that a run writes. One that is resumed from its checkpoint has written some of them itself.

    Raises UsageError for a name that an upsampler's file cannot have.
    """
    check_out(out)
    folder = run_folder(out)
    inside = [folder / name for name in (CHECKPOINT, LOG, CURVES)] + sorted(folder.glob("step-*.png"))
    return [
        Target(out, "--out", kept=resume and inside[0].is_file()),
        # the folder is made when there is something to write
        *(Target(path, "--out", kept=resume) for path in inside if os.path.lexists(folder)),
    ]


def check_out(out: Path) -> None:
    """Raises UsageError for a name that an upsampler's file cannot have."""
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: need a name that ends in .safetensors")


def image_files(names: Iterable[str]) -> Iterator[Path]:
    """The files of this machine that names of images, folders and archives stand for."""
    for name in names:
        folder = local_folder(name)
        yield from rasters_below(folder) if folder else [path for path in [local_path(name)] if path]
