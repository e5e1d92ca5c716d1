"""What the user sees while work goes on: everything here goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int], None]  # called with the number of steps just done
SPARSE_SECONDS = 30.0


@contextmanager
def progress(label: str, total: int, *, unit: str = "window", quiet: bool = False) -> Iterator[Progress]:
    """A callback that shows progress: a bar on a terminal, a line every half minute elsewhere, nothing when quiet."""
    if quiet:
        yield lambda _steps: None
        return
    if not sys.stderr.isatty():
        yield _sparse(label, total, unit)
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=label, unit=unit, file=sys.stderr, dynamic_ncols=True, leave=False) as bar:
        yield lambda steps: (bar.update(steps), None)[1]


def _sparse(label: str, total: int, unit: str) -> Progress:
    done, started = 0, time.monotonic()
    shown = started

    def update(steps: int) -> None:
        nonlocal done, shown
        done += steps
        now = time.monotonic()
        if now - shown >= SPARSE_SECONDS:
            shown = now
            rate = done / (now - started)
            note(f"{label}: {done}/{total} {unit}s, {rate:.1f} a second, {(total - done) / rate:.0f} s left")

    return update


def note(line: str) -> None:
    """One line on stderr for the user."""
    print(f"segearth: {line}", file=sys.stderr)  # noqa: T201
