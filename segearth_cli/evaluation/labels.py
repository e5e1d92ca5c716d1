"""What the codes of labels mean, from the words of --map, --ignore and --label-offset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from segearth_cli.classes import NODATA
from segearth_cli.errors import UsageError
from segearth_cli.evaluation.codes import LabelCodes, code_of, grey_values, ignored_codes
from segearth_cli.evaluation.drawn_labels import is_drawn
from segearth_cli.evaluation.options import LabelOptions
from segearth_cli.presets import Preset

_LOOKED_AT = 32  # labels of black and white, after which no 1 is waited for


def label_codes(setting: Preset | None, asked: LabelOptions, classes: int) -> LabelCodes:
    """What label codes mean: --map before --ignore before the preset; --label-offset replaces the preset's codes.

    255 is left out, as the authors leave it, beside what a preset leaves out, but for grey values. A preset's threshold
    counts where neither --map nor --label-offset is given (see `fitting`).
    classes: how many. Raises UsageError.
    """
    text, offset = asked.mapping, asked.label_offset
    public = setting if offset is None else None
    mapping: Mapping[int, int] = public.label_codes if public else {}
    ignored = public.label_ignored if public else frozenset()
    if public is None or public.label_threshold is None:
        ignored |= {NODATA}
    left = ignored_codes(asked.ignore or ())
    named: dict[int, int] = {}
    for code, target in [_mapped(item, classes) for item in (text.split(",") if text else [])]:
        if named.setdefault(code, target) != target:
            raise UsageError(f"--map {text}: gives a label code two classes; name each once")
    kept = {code: target for code, target in mapping.items() if code not in left} | named
    threshold = public.label_threshold if public and not named else None
    return LabelCodes(kept, ignored | left, offset or 0, threshold, public.label_other if public else None)


def fitting(codes: LabelCodes, labels: Iterable[str]) -> LabelCodes:
    """The codes as a set of labels wants them: those that hold 0 and 1, and 255 at most, are class codes already.

    255 is left out then. Without a threshold nothing is read, else labels up to the first that tells. Raises
    RasterError.
    """
    if codes.threshold is None or codes.threshold <= 1:
        return codes
    white = 0
    for label in labels:
        if is_drawn(label):
            continue
        values = grey_values(label)
        white += NODATA in values
        if values - {0, 1, NODATA} or (white > _LOOKED_AT and 1 not in values):
            return codes
        if 1 in values:
            break
    else:
        return codes
    return replace(codes, threshold=1, ignored=codes.ignored | {NODATA})


def _mapped(item: str, classes: int) -> tuple[int, int]:
    code, equals, target = item.partition("=")
    if not equals or not 0 <= code_of(target, "--map") < classes:
        raise UsageError(f"--map {item}: need LABEL=CLASS with a class code of 0-{classes - 1}, e.g. --map 1=0,2=1")
    return code_of(code, "--map"), code_of(target, "--map")
