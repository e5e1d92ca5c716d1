"""Ours, published, difference: as a table for people, as JSON, CSV and pictures of confusions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segearth_cli.console import table_width
from segearth_cli.evaluation import Confusion, as_csv, figures, published_figure, write_png
from segearth_cli.files import write_text
from segearth_cli.reproduction.run import Result
from segearth_cli.reproduction.score import scorings
from segearth_cli.version import __version__

RESULTS = "results"  # .json and .csv
COLUMNS = ("preset", "row", "scored", "tiles", "images", "metric", "ours", "published", "difference")


def figure(result: Result, confusion: Confusion) -> float | None:
    """The figure that the paper gives, in per cent; None without a pixel."""
    value = published_figure(result.preset, result.classes, confusion)
    return None if value is None else 100 * value


def table_rows(results: Sequence[Result]) -> Iterator[dict[str, Any]]:
    """A row for each way in which each result is scored, by COLUMNS; figures in per cent."""
    for result in results:
        published = result.row.published(result.preset)
        for way in scorings(result.preset):
            ours = figure(result, result.scored.counts[way])
            known = None not in (ours, published)
            yield {
                "preset": result.preset.id,
                "row": result.row.name,
                "scored": way,
                "tiles": result.scored.tiles[way],
                "images": result.pairs,
                "metric": result.preset.metric,
                "ours": ours,
                "published": published,
                "difference": (ours or 0.0) - (published or 0.0) if known else None,
            }


def as_text(results: Sequence[Result]) -> str:
    """The table for people: ours, published, difference."""
    from rich.console import Console
    from rich.table import Table

    shown = Table()
    for heading in ("set, row", "scored", "metric"):
        shown.add_column(heading, overflow="fold")
    for heading in COLUMNS[-3:]:
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in table_rows(results):
        scored = f"{row['scored']}: {row['tiles']:,} in {row['images']:,} images"
        told = (_cell(heading, row[heading]) for heading in COLUMNS[-4:])
        shown.add_row(f"{row['preset']}, {row['row']}", scored, *told)
    text = io.StringIO()
    Console(file=text, width=table_width(), color_system=None, markup=False).print(shown)
    return text.getvalue().rstrip()


def _cell(heading: str, value: Any) -> str:
    if value is None:
        return "-"
    if heading == "difference":
        return f"{value:+.2f}"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def as_document(results: Sequence[Result]) -> dict[str, Any]:
    """Everything, JSON-ready; nothing in it depends on when or how often it was computed."""
    rows = list(table_rows(results))
    return {
        "segearth": __version__,
        "table": rows,
        "results": [
            {
                "preset": result.preset.id,
                "name": result.preset.name,
                "row": result.row.name,
                "source": result.preset.source,
                "classes": [list(phrases) for phrases in result.classes.phrases],
                "threshold": result.preset.threshold,
                "long_side": result.preset.long_side,
                "tile": result.preset.tile,
                "tile_stride": result.preset.tile_stride or result.preset.tile,
                "labels": result.labels,
                "model": dict(result.model),
                "images": result.pairs,
                "failed": dict(result.failed),
                "scored": {
                    way: {"tiles": result.scored.tiles[way]} | figures(result.classes, result.scored.counts[way])
                    for way in scorings(result.preset)
                },
            }
            for result in results
        ],
    }


def result_files(folder: Path, preset: str, row: str) -> tuple[Path, Path]:
    """Where the classes (CSV) and the confusion (PNG) of a result go."""
    name = f"{preset}.{row.replace('+', '-').replace(' ', '-')}"
    return folder / f"{name}.csv", folder / f"{name}.png"


def write_result(folder: Path, result: Result) -> None:
    """Writes the classes and the confusion of a result, scored as published."""
    sheet, picture = result_files(folder, result.preset.id, result.row.name)
    counts = result.scored.counts[scorings(result.preset)[0]]
    write_text(sheet, as_csv(result.classes, counts))
    write_png(picture, result.classes, counts)


def table_csv(results: Sequence[Result]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table_rows(results):
        writer.writerow({key: "" if value is None else value for key, value in row.items()})
    return text.getvalue()
