"""What a hold-out showed, for people."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from segearth_cli.console import table_width
from segearth_cli.prediction import Calibration

HEADINGS = {"text": "text alone", "biases": "biases alone", "correction": "text + correction"}
SAID = {
    "text": "Kept: text alone; the labels found nothing better.",
    "biases": "Kept: biases alone, a class more or less likely everywhere.",
    "correction": "Kept: text with a correction of each class.",
}


def told(calibration: Calibration) -> str:
    """The hold-out as a table, and in words what was kept and what it promises."""
    from rich.console import Console
    from rich.table import Table

    report, names = calibration.report, list(calibration.report["labels"])
    table = Table("IoU, per cent", "labels")
    table.columns[1].justify = "right"
    for variant, heading in HEADINGS.items():
        table.add_column(heading + (" *" if variant == calibration.kept else ""), justify="right")
    for name in names:
        row = (_percent(one["iou"][name]) for one in report["variants"].values())
        table.add_row(name, str(report["labels"][name]), *row)
    table.add_section()
    for key, heading in (("miou", "mean"), ("accuracy", "accuracy")):
        table.add_row(heading, "", *(_percent(one[key]) for one in report["variants"].values()))
    text = io.StringIO()
    console = Console(file=text, width=table_width(), color_system=None, markup=False)
    console.print(f"Expected on the rest of the ground, from labels held out in {report['blocks']} blocks:", table)
    return text.getvalue() + "\n".join(_words(calibration, report))


def _words(calibration: Calibration, report: Mapping[str, Any]) -> list[str]:
    kept, text = report["variants"][calibration.kept], report["variants"]["text"]
    lines = [SAID[calibration.kept]]
    if calibration.kept != "text" and None not in (kept["miou"], text["miou"]):
        reached, before = _percent(kept["miou"]), _percent(text["miou"])
        lines.append(f"It is expected to reach a mean IoU of {reached}, text alone {before}.")
    silent = [name for name in calibration.classes.names if name not in report["labels"]]
    if silent:
        lines.append(f"Without labels, so as text has them and not scored: {', '.join(silent)}.")
    lines.append(
        f"Of {sum(report['labels'].values())} labelled pixels such figures are known to some twenty points; "
        "spread labels over all of the ground."
    )
    return lines


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f}"
