"""`segearth inspect`: how scenes will be read, each answer with the option that changes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from segearth_cli.commands.arguments import INPUTS, inputs, rasters_in
from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.many import each, raise_failed
from segearth_cli.commands.results import show
from segearth_cli.options import build, option
from segearth_cli.raster import ReadOptions


@dataclass(frozen=True, slots=True)
class Answers:
    """In which form answers are printed."""

    as_json: bool = option(False, "--json", help="Print one JSON object a scene.", panel="Messages")
    """JSON on stdout in place of lines."""


EXAMPLES = (
    "segearth inspect scene.tif",
    "segearth inspect scenes/ --bands 4,3,2 --json",
)


@flags_of(ReadOptions, Answers, examples=EXAMPLES)
def inspect(
    scenes: Annotated[list[str], typer.Argument(help=f"Rasters: {INPUTS}.")],
    **given: Any,
) -> None:
    """Tell how scenes will be read: bands, nodata, masks, alpha, 8 bits, overviews, size on the ground."""
    from segearth_cli.raster import inspect_scene

    names = inputs(scenes, rasters_in)
    options, answers = build(ReadOptions, given), build(Answers, given)

    def act(name: str) -> None:
        found = inspect_scene(name, options)
        show("\n".join(found.lines()), asdict(found), as_json=answers.as_json)

    raise_failed(each(names, names, act), "scenes")
