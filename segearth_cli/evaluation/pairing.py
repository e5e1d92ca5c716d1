"""Which mask belongs to which label: the files of two lists by their stems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from segearth_cli.errors import UsageError
from segearth_cli.raster import stem


@dataclass(frozen=True, slots=True)
class Pairing:
    """Masks and their labels, sorted by name, and the files that found no partner."""

    pairs: tuple[tuple[str, str], ...]
    """A mask and its label, as paths that GDAL understands."""
    predictions_alone: tuple[str, ...] = ()
    """Masks without a label."""
    labels_alone: tuple[str, ...] = ()
    """Labels without a mask."""


def pair(
    predictions: Sequence[str], labels: Sequence[str], *, prediction_suffix: str = "", label_suffix: str = ""
) -> Pairing:
    """Masks and labels that have the same stem.

    `a.mask.tif` and `a.tif` have the stem `a`; the suffixes are taken off the stems that end in them. Raises
    UsageError when nothing pairs or a stem comes twice.
    """
    masks = _by_stem(predictions, prediction_suffix, "PREDICTIONS")
    truths = _by_stem(labels, label_suffix, "LABELS")
    both = sorted(masks.keys() & truths.keys())
    if not both:
        first, second = next(iter(masks)), next(iter(truths))
        raise UsageError(
            f"no mask and label share a stem ('{first}' there, '{second}' here); "
            "see --prediction-suffix and --label-suffix"
        )
    return Pairing(
        tuple((masks[stem], truths[stem]) for stem in both),
        tuple(masks[stem] for stem in sorted(masks.keys() - truths.keys())),
        tuple(truths[stem] for stem in sorted(truths.keys() - masks.keys())),
    )


def _by_stem(paths: Iterable[str], suffix: str, what: str) -> dict[str, str]:
    stems: dict[str, str] = {}
    for path in paths:
        name = stem(path).removesuffix(".mask").removesuffix(suffix)
        if name in stems:
            raise UsageError(
                f"{what}: {stems[name]} and {path} have the same stem '{name}'; name one folder, or a quoted pattern "
                "such as 'Val/*/masks/*.png', that holds it once"
            )
        stems[name] = path
    return stems
