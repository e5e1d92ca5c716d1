"""`segearth inspect`: how scenes will be read, each answer with the option that changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segearth_cli.commands.arguments import INPUTS, inputs, rasters_in
from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.many import each, raise_failed
from segearth_cli.commands.results import show
from segearth_cli.options import build, option
from segearth_cli.raster import ReadOptions

if TYPE_CHECKING:
    from segearth_cli.raster import Inspection


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
        show("\n".join(found.lines()), as_json(found), as_json=answers.as_json)

    raise_failed(each(names, names, act), "scenes")


def as_json(found: Inspection) -> dict[str, Any]:
    """An inspection as JSON values; what JSON has no number for as text."""
    told: dict[str, Any] = _plain(asdict(found))
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, float) and (isnan(value) or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
