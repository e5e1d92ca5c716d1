"""What people read: progress and notes on stderr, answers on stdout, and text made fit to be shown."""

from __future__ import annotations

import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs

Progress = Callable[[int], None]  # called with the number of steps just done
SPARSE_SECONDS = 30.0
PROGRESS = "SEGEARTH_PROGRESS"  # for programs that show progress of their own

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, directions of writing, half characters, line ends
_SIGNED = re.compile(r"/vsi(\w+)\?(\S+)")  # /vsicurl?url=...&header.NAME=...
_OWNER = re.compile(r"://[^/\s]*@")
_QUERY = re.compile(r"\?[^\s'\"<>()\[\]]*[^\s'\"<>()\[\],.;:]")


def untold(_line: str) -> None:
    """For notes that nobody is to see."""


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


def note(line: str) -> None:
    """One line on stderr for the user."""
    with suppress(OSError):  # a full disk behind stderr is no reason to stop
        bars = sys.modules.get("tqdm")
        say = bars.tqdm.write if bars else print  # above a bar, not through it
        say(f"segearth: {shown(line)}", file=sys.stderr)


def answer(text: str) -> None:
    """A result on stdout for the program that reads it, a name as its bytes are; on a terminal as `shown` has it."""
    if sys.stdout.isatty():
        text = "\n".join(map(shown, text.split("\n")))
    elif hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape")
    print(text, flush=True)  # noqa: T201


def shown(text: str) -> str:
    """Text as one line for people: control characters escaped, secrets of URLs left out.

    >>> shown("a\\nb\\x1b[31m.tif"), shown("https://me:pw@host/x.tif?sig=1: no such file")
    ('a\\\\nb\\\\x1b[31m.tif', 'https://host/x.tif: no such file')
    """
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN else c for c in without_secrets(text))


def without_secrets(text: str) -> str:
    """A path, or text that names some, without the query and user:password of its URLs; local paths stay as they are.

    >>> without_secrets("/vsicurl/https://host/x.tif?token=1"), without_secrets("what?.tif")
    ('/vsicurl/https://host/x.tif', 'what?.tif')
    """
    text = _SIGNED.sub(lambda m: f"/vsi{m[1]}/{parse_qs(m[2]).get('url', [''])[0]}", text)
    start = text.find("://")
    return text if start < 0 else text[:start] + _QUERY.sub("", _OWNER.sub("://", text[start:]))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
