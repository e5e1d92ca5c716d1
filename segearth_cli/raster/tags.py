"""What rasters tell of themselves before a pixel is read: their size, and in tags of ours what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segearth_cli.classes import CLASSES_TAG, RUN_TAG, ClassSet, from_tag
from segearth_cli.errors import ClassesError, RasterError
from segearth_cli.raster.datasets import opened_dataset
from segearth_cli.raster.paths import local_path
from segearth_cli.texts import from_json


def read_tags(path: str | Path) -> dict[str, str]:
    """The tags of a raster; none when it cannot be read."""
    try:
        with opened_dataset(path) as ds:
            return dict(ds.tags())
    except RasterError:
        return {}


def tagged_classes(name: str, tags: Mapping[str, str]) -> ClassSet | None:
    """The classes that a mask's tags tell; None where they tell none. Raises RasterError where the tag is damaged."""
    try:
        return from_tag(tag) if (tag := tags.get(CLASSES_TAG)) else None
    except ClassesError as e:
        raise RasterError(f"{name}: {e}") from e


def tagged_run(tags: Mapping[str, str]) -> dict[str, Any]:
    """How a mask was made, as its tags tell it; nothing where they do not, or the tag is damaged."""
    try:
        told = from_json(tags.get(RUN_TAG, "{}"))
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def size_of(path: str | Path) -> tuple[int, int]:
    """Rows and columns of a raster, (0, 0) when it cannot be opened."""
    try:
        with opened_dataset(path) as ds:
            return int(ds.height), int(ds.width)
    except RasterError:
        return 0, 0


NO_SCENE = "written by segearth itself, no scene; name the scene it was made of"


def is_result(name: str) -> bool:
    """Whether a file of this machine is a mask, a confidence or scores that segearth wrote.

    One that cannot be read is none: whoever reads its pixels says what is wrong.
    """
    return local_path(name) is not None and of_result(name, read_tags(name))


def of_result(name: str, tags: Mapping[str, str]) -> bool:
    """`is_result`, by the tags of the file."""
    return local_path(name) is not None and not {CLASSES_TAG, RUN_TAG}.isdisjoint(tags)
