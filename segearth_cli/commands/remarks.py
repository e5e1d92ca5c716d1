"""What a reader of the figures of `segearth evaluate` must know: what was left out, and by which setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from typing import TYPE_CHECKING

from segearth_cli import presets
from segearth_cli.classes import ClassSet
from segearth_cli.jobs import mask_raster

if TYPE_CHECKING:
    from segearth_cli.evaluation import EvaluateOptions, Tally


def remarks(
    tally: Tally, classes: ClassSet, options: EvaluateOptions, setting: presets.Preset | None, masks: Sequence[str]
) -> Iterator[str]:
    """What a reader of the figures must know."""
    from segearth_cli.evaluation import audit, code_text

    confusion, codes = tally.confusion, options.codes
    yield audit(classes, tally)
    for what, code, target in sorted(tally.kept):
        mend = f" (--ignore {code_text(code)} leaves it out)" if what == "label" else ""
        yield f"code {code_text(code)}, nodata by the file of a {what}, counts as {classes.names[target]}{mend}"
    absent = [name for name, iou in zip(classes.names, confusion.iou, strict=True) if isnan(iou)]
    if absent:
        yield f"in no label and no mask, left out of the mean: {', '.join(absent)}"
    unlabelled = [name for name, px in zip(classes.names, confusion.support, strict=True) if not px]
    for code in sorted(codes.ignored & tally.codes - codes.mapping.keys()):
        if unlabelled and len(classes) == 2:
            meant = f"--map {code}={classes.names.index(unlabelled[0])}"
            yield f"no label shows {unlabelled[0]}, but code {code} was left out; if it means that, {meant}"
    if tally.nodata:
        fate = "counted as missed" if options.count_nodata else "left out (--count-nodata counts them as missed)"
        yield f"{tally.nodata:,} labelled pixels have no data in the mask: {fate}"
    if setting and 0 in setting.label_ignored and codes.mapping == setting.label_codes:
        plain = [code for code in codes.mapping if code < presets.COLOUR]
        if max(plain) not in tally.codes and not any(code >= presets.COLOUR for code in tally.codes):
            yield (
                f"no label holds code {max(plain)}, the last of the public {setting.name}; "
                "if yours are class codes already (0 = first class), add --label-offset 0"
            )
    if setting and (large := _shrunk(setting, masks)):
        yield large
    if setting and setting.published is not None:
        yield f"published {setting.metric} on {setting.name}: {setting.published}"


def _shrunk(setting: presets.Preset, masks: Sequence[str]) -> str | None:
    """One line where a mask was made of a whole scene that is far larger than the images the setting is for."""
    from segearth_cli.raster import read_tags, size_of, tagged_run

    for mask in masks if setting.image_side else ():
        raster = mask_raster(mask)
        side = max(size_of(raster))
        if side > presets.FAR * (setting.image_side or side):
            run = tagged_run(read_tags(raster))
            sides = told if isinstance(told := run.get("working_size"), list) else []
            if run and "tile" not in run and all(isinstance(n, int) and n <= setting.long_side for n in sides):
                return (
                    f"{mask}: {side} px a side, made of a scene shrunk to {setting.long_side} px, which is meant for "
                    f"images of {setting.image_side} px; make it anew with predict --preset {setting.id}"
                    + (f" --tile {setting.image_side}" if setting.tile is None else "")
                )
    return None
