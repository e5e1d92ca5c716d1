"""What moves on stderr while work goes on: a bar on a terminal and in a notebook, a line now and then in a file."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from segearth_cli.console import note, shown
from segearth_cli.quantities import digits, duration

Progress = Callable[[int], None]  # called with the number of steps just done
PROGRESS = "SEGEARTH_PROGRESS"  # seconds between lines, for programs that show progress of their own
FIRST_SECONDS = 0.4  # until the first line in a file; each next one takes GROWTH times as long
GROWTH = 4
SPARSE_SECONDS = 30.0  # at most
TICK = 0.2  # seconds between looks at what has changed


@dataclass(frozen=True, slots=True)
class Extent:
    """How much map the steps of a piece of work are, for its speed."""

    pixels: int
    """Pixels of the scene."""
    area_m2: float | None = None
    """Square metres on the ground; None where nothing tells them."""

    def speed(self, share: float, seconds: float) -> str:
        """How fast a share of it was done: km2/h where its size on the ground is known, else Mpx/s.

        >>> Extent(2_000_000, 5e6).speed(0.5, 10), Extent(2_000_000).speed(0.5, 10)
        ('900 km2/h', '0.10 Mpx/s')
        """
        if self.area_m2 is not None:
            return f"{digits(share * self.area_m2 * 3600 / 1e6 / seconds)} km2/h"
        return f"{digits(share * self.pixels / 1e6 / seconds)} Mpx/s"


class _Pace:
    """When the next line is due where nobody watches: soon at first, then ever more rarely, whatever is at work."""

    def __init__(self) -> None:
        self._last, self._gap = time.monotonic(), FIRST_SECONDS

    def due(self) -> bool:
        """Whether a line is due now; then the next one is later."""
        now, asked = time.monotonic(), None
        with suppress(ValueError):
            asked = float(os.environ.get(PROGRESS, ""))
        if now - self._last < (self._gap if asked is None else asked):
            return False
        self._last, self._gap = now, min(self._gap * GROWTH, SPARSE_SECONDS)
        return True


class _Moving:
    """A piece of work as people see it, from now on; a thread shows it, so that it moves while nothing is done."""

    def __init__(self, label: str, total: int | None, unit: str, extent: Extent | None, done: int) -> None:
        self._label, self._total, self._unit, self._extent = label, total, unit, extent
        self._first = self._done = done
        self._started = self._stepped = time.monotonic()
        self._doing = ""
        self._doing_since = self._started
        self._behind = ""
        self._ended = threading.Event()
        self._bar = _bar(label, total)
        self._show()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def advance(self, steps: int) -> None:
        """Counts steps just done."""
        self._done, self._stepped = self._done + steps, time.monotonic()

    def tell(self, text: str) -> None:
        """Counts a step, and shows a text behind the number of steps in place of speed and time left."""
        self._done, self._behind = self._done + 1, text

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Shows what is done in place of steps; the time it takes is not counted as theirs."""
        self._doing, self._doing_since = what, time.monotonic()
        try:
            yield
        finally:
            self._doing = ""
            took = time.monotonic() - self._doing_since
            self._started, self._stepped = self._started + took, self._stepped + took

    def close(self) -> None:
        """Shows it no longer."""
        self._ended.set()
        self._thread.join()
        if self._bar is not None:
            self._bar.n = self._done  # a notebook's bar that is not full says that its work failed
            self._bar.close()

    def _tick(self) -> None:
        while not self._ended.wait(TICK):
            self._show()

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.n = self._done
            self._bar.bar_format = _form(self._total, shown(self._text()))
            self._bar.refresh()
        elif _open and _open[-1] is self and _PACE.due():
            note(f"{self._label}: {self._text()}" if self._label else self._text())

    def _text(self) -> str:
        now = time.monotonic()
        if self._doing or self._total is None:
            seconds = now - (self._doing_since if self._doing else self._started)
            return self._doing + (f", {duration(seconds)}" if seconds >= 1 else "")
        told = [f"{self._done}/{self._total} {self._unit}{'s' if self._unit.islower() else ''}"]  # windows, MB
        if self._behind:
            return f"{told[0]}, {self._behind}"
        steps, seconds = self._done - self._first, self._stepped - self._started
        if steps and seconds > 0:
            share = steps / max(self._total, 1)
            left = (self._total - self._done) * seconds / steps - (now - self._stepped)
            told.append(self._extent.speed(share, seconds) if self._extent else f"{digits(steps / seconds)} a second")
            told.append(f"{duration(max(0.0, left))} left")
        return ", ".join(told)


_PACE = _Pace()
_open: list[_Moving] = []


@contextmanager
def progress(
    label: str, total: int, *, unit: str = "window", extent: Extent | None = None, quiet: bool = False
) -> Iterator[Progress]:
    """A callback that counts steps done: shown with their speed and the time left, not at all when quiet.

    extent: what all steps together are of a map. In a file lines are rare: at most one each half minute, after the
    first ones, or as many seconds as the environment variable SEGEARTH_PROGRESS tells.
    """
    if quiet:
        yield lambda _steps: None
        return
    with _moving(_Moving(label, total, unit, extent, 0)) as moving:
        yield moving.advance


@contextmanager
def steps_bar(label: str, total: int, first: int, *, quiet: bool = False) -> Iterator[Callable[[str], None] | None]:
    """A callback that counts a step and shows a text behind it; None where nobody watches.

    first: steps done before.
    """
    if quiet or not watched():
        yield None
        return
    with _moving(_Moving(label, total, "step", None, first)) as moving:
        yield moving.tell


@contextmanager
def underway(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Shows that something is done which has no steps, with the seconds it takes; where steps are shown, among them."""
    if quiet:
        yield
    elif _open:
        with _open[-1].doing(what):
            yield
    else:
        with _moving(_Moving("", None, "", None, 0)) as moving, moving.doing(what):
            yield


def watched() -> bool:
    """Whether somebody sees a bar move: on a terminal or in a notebook."""
    return sys.stderr.isatty() or _in_notebook()


@contextmanager
def _moving(moving: _Moving) -> Iterator[_Moving]:
    _open.append(moving)
    try:
        yield moving
    finally:
        _open.remove(moving)
        moving.close()


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config


def _bar(label: str, total: int | None) -> Any:
    """A bar of tqdm; None where nobody would see it move."""
    if not watched():
        return None
    from tqdm import tqdm

    if _in_notebook() and find_spec("ipywidgets"):  # what bars of notebooks are made of
        from tqdm.notebook import tqdm
    form = _form(total, "")
    return tqdm(total=total, desc=shown(label), file=sys.stderr, dynamic_ncols=True, leave=False, bar_format=form)


def _form(total: int | None, text: str) -> str:
    """The form of a bar of tqdm with a text that is not one."""
    text = text.replace("{", "{{").replace("}", "}}")
    return text or " " if total is None else f"{{desc}}: {{percentage:3.0f}}%|{{bar}}| {text}"
