"""`segearth preview`: masks as pictures and pages for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from segearth_cli.commands.arguments import INPUTS, inputs, masks_in, plain
from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.many import each, raise_failed
from segearth_cli.commands.targets import admit_made
from segearth_cli.console import answer
from segearth_cli.errors import SegEarthError, UsageError
from segearth_cli.jobs import mask_raster
from segearth_cli.maps import Kind, PreviewOptions
from segearth_cli.options import build, option
from segearth_cli.raster import local_folder


@dataclass(frozen=True, slots=True)
class PreviewPlaces:
    """What is shown, and where it goes."""

    scene: str | None = option(
        None,
        "--scene",
        "-s",
        help="The scene under the mask; for several masks the folder of their scenes.",
        panel="Picture",
        unit="path",
    )
    """A raster, or a folder in which a mask's scene has the name that the mask tells."""
    out: Path | None = option(
        None,
        "--out",
        "-o",
        help="Picture (.png) or page (.html) to write, or a folder.",
        panel="Outputs",
        unit="path",
        shown="STEM.preview.png here",
    )
    """A file for one mask, or a folder; None = the current folder."""
    format: Kind | None = option(
        None, "--format", "-f", help="Picture or page.", panel="Outputs", shown="the suffix of --out, else png"
    )
    """None = by the suffix of `out`, else png."""
    overwrite: bool = option(False, help="Replace files that exist.", panel="Outputs")
    """Replace files that exist."""


EXAMPLES = (
    "segearth preview scene.mask.tif --scene scene.tif",
    "segearth preview scene.mask.tif -s scene.tif -o scene.html",
    "segearth preview masks/ -s scenes/ -o pages/ -f html",
)


@flags_of(PreviewPlaces, PreviewOptions, examples=EXAMPLES)
def preview(
    mask: Annotated[list[str], typer.Argument(help=f"Masks, or folders of sharded runs: {INPUTS}.")],
    **given: Any,
) -> None:
    """Draw masks for people: beside and over their scene, with legend, scale and areas; prints the paths written."""
    from segearth_cli.maps import draw, preview_path

    places, options = build(PreviewPlaces, given), build(PreviewOptions, given)
    names = inputs(mask, masks_in)
    scenes = None if places.scene is None else plain(places.scene)
    if scenes is not None and len(names) > 1 and local_folder(scenes) is None:
        raise UsageError(f"--scene {scenes}: one scene for several masks; name the folder of their scenes")
    outs = [preview_path(name, places.out, places.format, several=len(names) > 1) for name in names]
    under = () if scenes is None else _scenes(names, scenes)
    admit_made(names, outs, places.out, under, overwrite=places.overwrite)

    def act(job: tuple[str, Path]) -> None:
        name, target = job
        raster = mask_raster(name)
        scene = None if scenes is None else _scene_of(raster, scenes)
        answer(str(draw(raster, target, options, scene)))

    raise_failed(each(names, list(zip(names, outs, strict=True)), act, faults=(SegEarthError,)), "masks")


def _scenes(masks: Sequence[str], given: str) -> Iterator[str]:
    """The scenes of masks, but those that are not found, which is told when their turn comes."""
    for mask in masks:
        with suppress(SegEarthError):
            yield _scene_of(mask_raster(mask), given)


def _scene_of(mask: str, given: str) -> str:
    """The scene of a mask: what is named, or the file of its name in a folder. Raises UsageError."""
    from segearth_cli.maps import scene_name

    folder = local_folder(given)
    if folder is None:
        return given
    name = scene_name(mask)
    if name is None or not (folder / name).exists():
        raise UsageError(f"--scene {given}: holds no scene of {mask}, which was made of {name or 'an unknown one'}")
    return str(folder / name)
