"""What moves on stderr while work goes on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from segearth_cli.console import note, shown

Progress = Callable[[int], None]  # called with the number of steps just done
SPARSE_SECONDS = 30.0
PROGRESS = "SEGEARTH_PROGRESS"  # for programs that show progress of their own


@contextmanager
def progress(label: str, total: int, *, unit: str = "window", quiet: bool = False) -> Iterator[Progress]:
    """A callback that shows progress: a bar on a terminal, a line now and then elsewhere, nothing when quiet.

    Now and then is every half minute, or as many seconds as the environment variable SEGEARTH_PROGRESS tells.
    """
    if quiet:
        yield lambda _steps: None
        return
    if not sys.stderr.isatty():
        yield _sparse(label, total, unit)
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=shown(label), unit=unit, file=sys.stderr, dynamic_ncols=True, leave=False) as bar:
        yield lambda steps: (bar.update(steps), None)[1]


@contextmanager
def steps_bar(label: str, total: int, first: int, *, quiet: bool = False) -> Iterator[Callable[[str], None] | None]:
    """A callback that moves a bar by a step and shows a text behind it; None where nobody watches a terminal.

    first: steps done before.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
    with tqdm(total=total, initial=first, desc=shown(label), file=sys.stderr, dynamic_ncols=True, leave=False,
              bar_format=form) as bar:  # fmt: skip

        def advance(text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update()

        yield advance


def _sparse(label: str, total: int, unit: str) -> Progress:
    done, started, seconds = 0, time.monotonic(), _between()
    shown = started

    def update(steps: int) -> None:
        nonlocal done, shown
        done += steps
        now = time.monotonic()
        if now - shown >= seconds:
            shown = now
            rate = done / (now - started)
            note(f"{label}: {done}/{total} {unit}s, {rate:.1f} a second, {(total - done) / rate:.0f} s left")

    return update


def _between() -> float:
    """Seconds between lines of progress."""
    with suppress(ValueError):
        return float(os.environ.get(PROGRESS, SPARSE_SECONDS))
    return SPARSE_SECONDS
