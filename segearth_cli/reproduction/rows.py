"""Rows of the published tables: what each changes in the published setting, and its figures where they are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from segearth_cli.errors import UsageError
from segearth_cli.model import Attention
from segearth_cli.presets import Preset

PUBLISHED, AS_GIVEN = "published", "as given"
_CHANGING = frozenset({"attention", "keep_residual", "last_blocks", "global_bias", "upsampler", "templates"})
_PLAIN = {"upsampler": "none", "global_bias": 0.0}  # what is no part of the methods that SegEarth-OV is compared with
# Per cent, arXiv:2410.01768, table 1 (docs/method.md 7).
_SETS = ("openearthmap", "loveda", "isaid", "potsdam", "vaihingen", "uavid", "udd5", "vdd")
_FIGURES = {
    "clip": (12.0, 12.4, 7.5, 15.6, 10.8, 10.9, 9.5, 14.2),
    "clearclip": (31.0, 32.4, 18.2, 42.0, 36.2, 36.2, 41.8, 39.3),
}


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table."""

    name: str
    """What the user types."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Options of the model by keyword, in place of the setting's."""

    def published(self, preset: Preset) -> float | None:
        """The figure of this row in per cent, None where it is not known here."""
        if self.name in (PUBLISHED, AS_GIVEN):
            return preset.published
        known = dict(zip(_SETS, _FIGURES.get(self.name, ()), strict=False))
        return known.get(preset.id)


def _rows() -> dict[str, TableRow]:
    found = [
        TableRow(PUBLISHED),
        TableRow("no-upsampler", {"upsampler": "none"}),
        TableRow("no-global-bias", {"global_bias": 0.0}),
        TableRow("clip", {"attention": "vanilla", "keep_residual": True} | _PLAIN),
    ]
    for name in get_args(Attention):
        found.append(TableRow(name, {"attention": name, "keep_residual": False} | _PLAIN))
        found.append(TableRow(f"{name}+simfeatup", {"attention": name, "keep_residual": False}))
    return {row.name: row for row in found}


ROWS: Mapping[str, TableRow] = _rows()


def chosen_rows(text: str | None, given: Iterable[str] = ()) -> tuple[TableRow, ...]:
    """Rows from names separated by commas, or `all`; None = the published one, by another name if options change it.

    given: the model's options that the user named, by keyword. Raises UsageError for a name that no row has.
    """
    if text is None:
        return (TableRow(AS_GIVEN),) if _CHANGING & set(given) else (ROWS[PUBLISHED],)
    names = list(ROWS) if text.strip() == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ROWS:
            raise UsageError(f"--rows {name}: no such row; choose all, or some of {', '.join(ROWS)}")
    return tuple(ROWS[name] for name in dict.fromkeys(names))
