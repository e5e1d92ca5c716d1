"""`segearth demo`: a real scene that comes along, segmented with the model at hand, to look at and to go on from."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.predict import predict
from segearth_cli.commands.preview import preview
from segearth_cli.commands.vectorize import vectorize
from segearth_cli.console import answer, note
from segearth_cli.errors import SegEarthError
from segearth_cli.files import write_bytes
from segearth_cli.gate import Target, admit
from segearth_cli.options import build, option

NAME = "bahamas_landsat.tif"
PLACES = (  # in an installed wheel, in a checkout
    Path(__file__).parents[1] / "scenes" / NAME,
    Path(__file__).parents[2] / "sample_tiles" / NAME,
)
ENDS = {"scene": ".tif", "mask": ".mask.tif", "polygons": ".gpkg", "page": ".preview.html", "picture": ".preview.png"}
CLASSES = "water|sea,forest|vegetation,sand|beach,bare soil"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Where the demo goes."""

    out: Path = option(Path("segearth-demo"), "--out", "-o", help="Folder to write.", panel="Outputs", unit="folder")
    """Gets the scene and all that is made of it."""
    overwrite: bool = option(False, help="Replace files that exist.", panel="Outputs")
    """Replace files that exist."""
    quiet: bool = option(False, "--quiet", "-q", help="Errors only.", panel="Messages")
    """No progress, and no lines of what is run."""


def demo_scene() -> Path:
    """The scene that comes along."""
    place = next((place for place in PLACES if place.is_file()), None)
    if place is None:
        raise SegEarthError(f"{PLACES[0]}: is not there; install segearth again")
    return place


@flags_of(DemoOptions, examples=("segearth demo", "segearth demo -o here"))
def demo(**given: Any) -> None:
    """Segment a scene that comes along; prints the paths of all that is made.

    Offline, with the model that `auto` chooses; in under a minute with the embedded one.
    """
    options = build(DemoOptions, given)
    place = demo_scene()
    made = {name: options.out / f"bahamas{end}" for name, end in ENDS.items()}
    admit(
        [Target(path, "--out") for path in made.values()],
        lambda: [place],
        overwrite=options.overwrite,
        folders=[options.out],
    )
    write_bytes(made["scene"], place.read_bytes())
    answer(str(made["scene"]))
    scene, mask = str(made["scene"]), str(made["mask"])
    told = {"overwrite": options.overwrite, "quiet": options.quiet}
    words = {"classes": CLASSES, "background": "none", "out": made["mask"], "preview": "html"}
    _run(options, "predict", predict, scenes=[scene], **words, **told)
    _run(options, "vectorize", vectorize, mask=[mask], out=made["polygons"], min_area="20px", **told)
    _run(options, "preview", preview, mask=[mask], scene=scene, out=made["picture"], overwrite=options.overwrite)
    answer(str(made["page"]))


def _run(options: DemoOptions, name: str, command: Any, **values: Any) -> None:
    """Runs a command, and tells it as one would type it."""
    if not options.quiet:
        words = [name]
        for key, value in values.items():
            words += value if isinstance(value, list) else [] if value is False else [f"--{key.replace('_', '-')}"]
            words += [] if isinstance(value, list | bool) else [str(value)]
        note(f"$ segearth {shlex.join(words)}")
    command(**values)
