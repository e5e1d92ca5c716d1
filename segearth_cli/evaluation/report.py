"""A confusion shown to people and programs: tables, JSON, CSV and a picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segearth_cli.classes import ClassSet, folded
from segearth_cli.console import table_width
from segearth_cli.errors import UsageError
from segearth_cli.evaluation.codes import IGNORED, UNFILLED, code_text
from segearth_cli.evaluation.comparison import Tally
from segearth_cli.evaluation.confusion import Confusion
from segearth_cli.files import write_bytes
from segearth_cli.presets import Preset

OTHER = "(none of them)"
PICTURES = (".png", ".jpg", ".jpeg", ".svg", ".pdf", ".tif", ".tiff", ".webp")
_AUDITED = 40  # label codes told in one line
_CELL = 8  # columns of text that a figure of the matrix takes
_NUMBERED = 24  # classes up to which the picture carries figures


def foreground_iou(classes: ClassSet, confusion: Confusion) -> float | None:
    """IoU of the one class beside the background, None for other class lists."""
    names = list(map(folded, classes.names))
    if len(names) != 2 or "background" not in names:
        return None
    return float(confusion.iou[1 - names.index("background")])


def published_figure(preset: Preset, classes: ClassSet, confusion: Confusion) -> float | None:
    """The score that the paper gives for a set, a fraction 0..1; None without a pixel."""
    value = confusion.mean_iou if preset.metric == "mIoU" else foreground_iou(classes, confusion)
    found = _plain(value)
    return None if found is None else float(found)


def figures(classes: ClassSet, confusion: Confusion) -> dict[str, Any]:
    """The scores as JSON-ready values, fractions 0..1, null for a score without pixels."""
    scores = {
        "iou": confusion.iou,
        "precision": confusion.precision,
        "recall": confusion.recall,
        "f1": confusion.f1,
        "support": confusion.support,
        "predicted": confusion.predicted,
    }
    rows = [
        {"code": code, "name": name} | {key: _plain(values[code]) for key, values in scores.items()}
        for code, name in enumerate(classes.names)
    ]
    return {
        "miou": _plain(confusion.mean_iou),
        "foreground_iou": _plain(foreground_iou(classes, confusion)),
        "accuracy": _plain(confusion.accuracy),
        "pixels": int(confusion.counts.sum()),
        "classes": rows,
        "confusion": {
            "rows": "label",
            "columns": [*classes.names, OTHER],
            "counts": confusion.counts.tolist(),
        },
    }


def set_figures(
    classes: ClassSet, tally: Tally, *, pairs: int, unscored: int = 0, tilings: Iterable[str] = ()
) -> dict[str, Any]:
    """All figures of a set, JSON-ready. tilings: what the ways are called in which it was scored tile by tile too."""
    found = figures(classes, tally.confusion) | {
        "pairs": pairs,
        "unscored": unscored,
        "pixels_ignored": tally.ignored,
        "pixels_nodata": tally.nodata,
        "labels": label_figures(classes, tally),
    }
    by_tile = {name: figures(classes, counts) for name, counts in zip(tilings, tally.tiled, strict=True)}
    return found | ({"tile_by_tile": by_tile} if by_tile else {})


def label_figures(classes: ClassSet, tally: Tally) -> list[dict[str, Any]]:
    """JSON-ready rows of what became of the label pixels: code, pixels, the class they count as or why they do not.

    Sorted by code; the last rows, without a code, are of pixels that features of two classes claim, and of those that
    no label lies on.
    """
    why = {IGNORED: "ignored", UNFILLED: "nodata of the label"}
    rows: list[dict[str, Any]] = [
        {
            "code": code_text(code).strip("'"),
            "pixels": pixels,
            "class": classes.names[target] if target >= 0 else None,
            "left_out": why.get(target),
        }
        for (code, target), pixels in sorted(tally.labels.items())
    ]
    bare = (tally.claimed, "features of two classes"), (tally.outside, "no label, or a masked one")
    return rows + [{"code": None, "pixels": n, "class": None, "left_out": reason} for n, reason in bare if n]


def audit(classes: ClassSet, tally: Tally) -> str:
    """The same as a line of text, the commonest codes first."""
    rows = sorted(label_figures(classes, tally), key=lambda row: -row["pixels"])
    told = [
        f"{row['pixels']:,} px {'' if row['code'] is None else row['code'] + ' '}"
        f"({row['class'] or 'left out: ' + row['left_out']})"
        for row in rows
    ]
    more = [f"{len(told) - _AUDITED} codes more"] if len(told) > _AUDITED else []
    return f"label pixels by code: {', '.join(told[:_AUDITED] + more)}"


def as_csv(classes: ClassSet, confusion: Confusion) -> str:
    """The scores as CSV, a class a line, with its row of the confusion matrix (columns `as NAME`, pixels)."""
    text = io.StringIO()
    scores = ("code", "name", "iou", "precision", "recall", "f1", "support", "predicted")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*scores, *(f"as {name}" for name in (*classes.names, OTHER))])
    for row, counts in zip(figures(classes, confusion)["classes"], confusion.counts.tolist(), strict=True):
        writer.writerow([*("" if row[key] is None else row[key] for key in scores), *counts])
    return text.getvalue()


def tables(classes: ClassSet, confusion: Confusion, width: int | None = None) -> str:
    """Scores in per cent and the confusion matrix in per cent of each label class, as text of `width` columns.

    width: None = that of the terminal, as `table_width` has it. Where the names of classes are too long to stand
    above the columns of the matrix, their codes do, beside the names on the left; columns that do not fit beside each
    other follow below.
    """
    from rich.console import Console
    from rich.table import Table

    scores = Table("class")
    for heading in ("IoU", "precision", "recall", "F1", "support, px"):
        scores.add_column(heading, justify="right", no_wrap=True)
    columns = (confusion.iou, confusion.precision, confusion.recall, confusion.f1)
    for code, name in enumerate(classes.names):
        scores.add_row(name, *(_percent(values[code]) for values in columns), f"{confusion.support[code]:,}")
    text = io.StringIO()
    console = Console(file=text, width=table_width(width), color_system=None, markup=False)
    console.print("Scores, per cent", scores, "Confusion, per cent of each label's pixels", sep="\n")
    for matrix in _matrices(classes, confusion, console):
        console.print(matrix)
    foreground = foreground_iou(classes, confusion)
    console.print(
        f"mIoU {_percent(confusion.mean_iou)}   overall accuracy {_percent(confusion.accuracy)}"
        + ("" if foreground is None else f"   foreground IoU {_percent(foreground)}")
    )
    return text.getvalue()


def _matrices(classes: ClassSet, confusion: Confusion, console: Any) -> Iterator[Any]:
    """The confusion matrix as tables that fit the console: one headed by names, else several headed by codes."""
    from rich.measure import Measurement

    endless = console.options.update(width=100_000)
    other = [OTHER] if confusion.counts[:, -1].any() else []
    rows = [[_percent(value) for value in row] for row in _rows(confusion)]
    named = _matrix(classes.names, [*classes.names, *other], rows)
    if Measurement.get(console, endless, named).maximum <= console.width:
        yield named
        return
    names = [f"{code} {name}" for code, name in enumerate(classes.names)]
    headings = [*map(str, range(len(names))), *(["none"] if other else [])]
    longest = min(max(map(len, names)), console.width // 3)
    at_once = max(1, (console.width - longest - 4) // _CELL)
    for first in range(0, len(headings), at_once):
        yield _matrix(names, headings[first : first + at_once], [row[first : first + at_once] for row in rows])


def _matrix(names: Sequence[str], headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich.table import Table

    table = Table("label \\ mask")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in zip(names, rows, strict=True):
        table.add_row(name, *row[: len(headings)])
    return table


def refuse_no_picture(path: Path, option: str) -> None:
    """Raises UsageError when a picture would get a name of something else."""
    if path.suffix.casefold() not in PICTURES:
        raise UsageError(f"{option} {path}: is written as its name says; name it {', '.join(PICTURES)}")


def write_png(path: Path, classes: ClassSet, confusion: Confusion) -> None:
    """The confusion matrix as a picture of the kind that its name says, coloured by the share of each label class."""
    from matplotlib.figure import Figure

    shares = _rows(confusion)
    names = [*classes.names, OTHER]
    if not confusion.counts[:, -1].any():
        shares, names = shares[:, :-1], names[:-1]
    side = 2.5 + 0.55 * len(names)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares * 100, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), classes.names)
    axes.set_xlabel("mask")
    axes.set_ylabel("label")
    axes.set_title(f"mIoU {_percent(confusion.mean_iou)} %", loc="left")
    figure.colorbar(image, ax=axes, label="per cent of the label's pixels", shrink=0.8)
    if len(names) <= _NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            if share > 0:
                colour = "white" if share > 0.6 else "black"
                axes.text(column, row, f"{share * 100:.0f}", ha="center", va="center", color=colour, fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.casefold().lstrip("."), dpi=150)
    write_bytes(path, picture.getvalue())


def _rows(confusion: Confusion) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(K, K + 1) share of each label class; nan in the rows of classes without labels."""
    with np.errstate(invalid="ignore"):
        return np.asarray(confusion.counts / confusion.support[:, None], np.float64)


def _plain(value: Any) -> float | int | None:
    """A JSON number, None for nan or None."""
    if value is None or math.isnan(value):
        return None
    return int(value) if isinstance(value, (int, np.integer)) else float(value)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value * 100:.1f}"
