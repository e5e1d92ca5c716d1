"""Lists of scenes with what each is to become, and the table of what became of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from segearth_cli import texts
from segearth_cli.console import said_of
from segearth_cli.errors import UsageError, nearest
from segearth_cli.files import appending, write_text

SHOWN = 20  # scenes told one by one on a terminal
PLACES = ("out", "confidence", "scores", "calibration")  # columns that name a file
_OF_ALL = ("vector", "preview")  # outputs that are none: one flag has them made of each scene


@dataclass(frozen=True, slots=True)
class SceneEntry:
    """A scene and where its files go; None = as the command line says."""

    scene: str
    """Its path."""
    out: Path | None = None
    """Its mask."""
    confidence: Path | None = None
    """Its confidence."""
    scores: Path | None = None
    """Its scores."""
    calibration: Path | None = None
    """What a few labels said of its classes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scene: a row of the table."""

    scene: str
    """As it was named, without secrets of URLs."""
    mask: str
    """Path of the mask; nothing where only a share of its shards was computed."""
    state: Literal["done", "skipped", "part", "failed"]
    """skipped: there already, from the same run. part: a share of its shards was computed."""
    windows: int = 0
    """Windows that the model ran; 0 unless it is done."""
    seconds: float = 0.0
    """Time on the clock; 0 unless it is done."""
    error: str = ""
    """Why it failed."""


COLUMNS = [field.name for field in fields(Outcome)]


def read_manifest(path: Path) -> list[SceneEntry]:
    """The scenes of a manifest: a CSV with the column `scene`, and `out`, `confidence`, `scores`, `calibration` where
    wanted, or one path a line. `#` starts a comment line. Paths are relative to the current folder; other columns are
    not looked at.

    Raises UsageError when the file is absent, not text, empty, a row names no scene or has more cells than there are
    columns, or a column comes twice or seems to be meant for one of ours.
    """
    try:
        lines = texts.read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"--manifest {path}: cannot be read ({texts.reason(e)})") from e
    if any("\0" in line for line in lines):
        raise UsageError(f"--manifest {path}: holds a zero byte, which no name of a file can")
    lines = ["" if line.lstrip().startswith("#") else line for line in lines]
    header = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    if "scene" in [name.strip(' "').lower() for name in header.split(delimiter)]:
        entries = list(_rows(path, lines, delimiter))
    else:
        entries = [SceneEntry(line.strip()) for line in lines if line.strip()]
    if not entries:
        raise UsageError(f"--manifest {path}: names no scene; need one path a line, or a CSV with the column scene")
    return entries


def _rows(path: Path, lines: list[str], delimiter: str) -> Iterator[SceneEntry]:
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    rows = ([cell.strip() for cell in cells] for cells in reader if any(cell.strip() for cell in cells))
    columns = [name.lower() for name in next(rows)]
    _check_columns(path, columns)
    for cells in rows:
        if any(cells[len(columns) :]):
            told = f"{len(cells)} cells for {len(columns)} columns; quote a name that holds '{delimiter}'"
            raise UsageError(f"--manifest {path}: line {reader.line_num} has {told}")
        values = dict(zip(columns, cells, strict=False))
        if not values.get("scene"):
            raise UsageError(f"--manifest {path}: line {reader.line_num} names no scene")
        yield SceneEntry(values["scene"], **{column: Path(values[column]) for column in PLACES if values.get(column)})


def _check_columns(path: Path, columns: list[str]) -> None:
    known = ("scene", *PLACES)
    for column in columns:
        if column in known and columns.count(column) > 1:
            raise UsageError(f"--manifest {path}: the column {column} comes twice; keep one")
        if column in _OF_ALL:
            raise UsageError(f"--manifest {path}: {column} is no column; --{column} has one made of each scene")
        if column not in known and (near := nearest(column, known)):
            raise UsageError(f"--manifest {path}: unknown column {column}; did you mean {near}?")


def write_summary(path: Path, outcomes: Iterable[Outcome]) -> None:
    """The table of outcomes as a CSV."""
    text = io.StringIO(newline="")
    csv.DictWriter(text, COLUMNS).writeheader()
    text.write("".join(map(_row, outcomes)))
    write_text(path, text.getvalue())


@contextmanager
def growing_summary(path: Path) -> Iterator[Callable[[Outcome], None]]:
    """Adds outcomes to a new table as they come, each a whole line: a run that is killed leaves those it had."""
    write_summary(path, [])
    with appending(path) as table:
        yield lambda outcome: table.write(_row(outcome))


def _row(outcome: Outcome) -> str:
    text = io.StringIO(newline="")
    csv.DictWriter(text, COLUMNS).writerow(asdict(outcome))
    return text.getvalue()


def is_summary(path: Path) -> bool:
    """Whether a file is a table that `write_summary` wrote."""
    if not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8") as f:
            return f.readline(200).strip().split(",") == COLUMNS
    except (OSError, UnicodeDecodeError):
        return False


def summary_lines(outcomes: list[Outcome]) -> list[str]:
    """The table of outcomes as text: failures first, the rest as far as it fits, and the numbers of each state."""
    ordered = sorted(outcomes, key=lambda outcome: outcome.state != "failed")
    numbers = {state: sum(o.state == state for o in outcomes) for state in ("done", "skipped", "part", "failed")}
    shown = ordered[: max(SHOWN, numbers["failed"])]
    wide = max((len(outcome.scene) for outcome in shown), default=0)
    lines = [f"{o.state:8}{o.scene:{wide}}  {_told(o)}".rstrip() for o in shown]
    if len(shown) < len(ordered):
        lines.append(f"... and {len(ordered) - len(shown)} more")
    told = [f"{n} {state}" for state, n in numbers.items() if n or state != "part"]
    lines.append(f"{len(outcomes)} scene{'s'[: len(outcomes) != 1]}: " + ", ".join(told))
    return lines


def _told(outcome: Outcome) -> str:
    if outcome.error:
        return said_of(outcome.scene, outcome.error)
    return f"{outcome.mask}  {outcome.seconds:.1f} s" if outcome.mask else ""
