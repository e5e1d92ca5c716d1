"""What a command prints of what it made, and tells of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segearth_cli.console import answer, note, without_secrets
from segearth_cli.jobs import plain
from segearth_cli.quantities import area, duration, percent

if TYPE_CHECKING:
    from segearth_cli.prediction import SceneSummary

_CLASSES = 6  # told by name


def show(text: str | Path, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints a line of text, mostly the path of what was made, or all facts about it as one JSON object.

    Of URLs neither queries nor user:password are printed; JSON has NaN and infinities as text.
    """
    answer(json.dumps(_told(plain(facts)), ensure_ascii=False) if as_json else without_secrets(str(text)))


def note_written(paths: Iterable[str | Path | None], *, quiet: bool = False) -> None:
    """Tells the paths of files that were written, which stdout does not name; None = not asked for."""
    written = [without_secrets(str(path)) for path in paths if path is not None]
    if written and not quiet:
        note(f"written: {', '.join(written)}")


def scene_line(summary: SceneSummary, seconds: float) -> str:
    """What became of a scene, for people: its windows, ground, classes and files.

    `42 windows, 6.40 km2: water 31.0 %, building 12.0 %; scene.mask.tif, scene.gpkg; 8 s`
    """
    kinds = (summary.mask, summary.confidence, summary.scores, summary.vector, summary.preview)
    files = ", ".join(path for path in kinds if path)
    if summary.skipped:
        return f"{files}: there already, from the same run"
    size = f"{summary.height * summary.width / 1e6:.2f} Mpx" if summary.area_m2 is None else area(summary.area_m2)
    windows = f"{summary.windows:,} window{'s'[: summary.windows != 1]}"
    return f"{windows}, {size}: {shares(summary.pixels)}; {files}; {duration(seconds)}"


def shares(pixels: Mapping[str, int]) -> str:
    """The share of each class of the pixels with data, largest first, and that of pixels without.

    >>> shares({"land": 60, "water": 40, "road": 0, "nodata": 0}), shares({"land": 0, "nodata": 9})
    ('land 60.0 %, water 40.0 %, road 0 %', 'no data')
    """
    data = {name: count for name, count in pixels.items() if name != "nodata"}
    total, lost = sum(data.values()), pixels.get("nodata", 0)
    if not total:
        return "no data"
    ordered = sorted(data, key=lambda name: -data[name])
    told = [f"{name} {percent(data[name] / total)}" for name in ordered[:_CLASSES]]
    more = [f"{len(ordered) - _CLASSES} more"] if len(ordered) > _CLASSES else []
    gap = [f"{percent(lost / (total + lost))} without data"] if lost else []
    return ", ".join([*told, *more, *gap])


def _told(value: Any) -> Any:
    """A JSON value whose texts, however deep, hold no secrets."""
    if isinstance(value, dict):
        return {key: _told(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_told(inner) for inner in value]
    return without_secrets(value) if isinstance(value, str) else value
