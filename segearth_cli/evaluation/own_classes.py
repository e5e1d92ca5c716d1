"""The classes that masks tell themselves, where a user names none."""

from __future__ import annotations

from collections.abc import Iterable

from segearth_cli.classes import ClassSet
from segearth_cli.errors import RasterError, UsageError
from segearth_cli.raster import opened_dataset, tagged_classes


def classes_of(masks: Iterable[str]) -> ClassSet:
    """The one class list that masks carry in their tags; those that cannot be read are passed over.

    Raises UsageError where one tells none or two differ, RasterError where none can be read.
    """
    found: dict[tuple[str, ...], tuple[str, ClassSet]] = {}
    broken: RasterError | None = None
    for mask in masks:
        try:
            with opened_dataset(mask) as ds:
                classes = tagged_classes(mask, ds.tags())
        except RasterError as e:
            broken = broken or e
            continue
        if classes is None:
            raise UsageError(f"{mask}: tells no classes; name them with one of --classes, --classes-file and --preset")
        found.setdefault(classes.names, (mask, classes))
        if len(found) > 1:
            told = " and ".join(f"{mask} ({', '.join(names)})" for names, (mask, _) in found.items())
            raise UsageError(f"masks of different classes: {told}; name those that count with --classes")
    if not found:
        raise broken or UsageError("no mask tells classes; name them with --classes")
    return next(iter(found.values()))[1]
