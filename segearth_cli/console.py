"""What people read: notes on stderr, answers on stdout, and text made fit to be shown."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from shutil import get_terminal_size
from urllib.parse import parse_qs

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, directions of writing, half characters, line ends
_SIGNED = re.compile(r"/vsi(\w+)\?(\S*[^\s.,;:])")  # /vsicurl?url=...&header.NAME=...
_URL = re.compile(r"://|\b(?:https?|ftp|s3|gs|az):/")  # a Path makes one slash of two
_OWNER = re.compile(r"(:/+)[^/\s]*@")
_QUERY = re.compile(r"\?[^\s'\"<>()\[\]]*[^\s'\"<>()\[\],.;:]")


def untold(_line: str) -> None:
    """For notes that nobody is to see."""


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


def table_width(width: int | None = None) -> int:
    """Columns of text that a table may take: of the terminal unless they are given, 80 where there is none.

    Never less than 72: a narrow screen breaks lines, which can be read; a narrow table would drop figures.
    """
    return max(72, width or get_terminal_size().columns)


def shown(text: str) -> str:
    """Text as one line for people: control characters escaped, secrets of URLs left out.

    >>> shown("a\\nb\\x1b[31m.tif"), shown("https://me:pw@host/x.tif?sig=1: no such file")
    ('a\\\\nb\\\\x1b[31m.tif', 'https://host/x.tif: no such file')
    """
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN else c for c in without_secrets(text))


def said_of(name: str, line: str) -> str:
    """What a line says of a name, for another line that begins with the name.

    >>> said_of("a.tif", "a.tif: no such file"), said_of("a.tif", "out of memory")
    ('no such file', 'out of memory')
    """
    return line.removeprefix(f"{name}: ")


def first_of(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many there are besides.

    >>> first_of(["a", "b"]), first_of("abcde")
    ('a, b', 'a, b, c and 2 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def without_secrets(text: str) -> str:
    """A path, or text that names some, without the query and user:password of its URLs; local paths stay as they are.

    >>> without_secrets("/vsicurl/https://host/x.tif?token=1"), without_secrets("what?.tif")
    ('/vsicurl/https://host/x.tif', 'what?.tif')
    """
    text = _SIGNED.sub(lambda m: f"/vsi{m[1]}/{parse_qs(m[2]).get('url', [''])[0]}", text)
    found = _URL.search(text)
    if found is None:
        return text
    start = found.start()
    return text[:start] + _QUERY.sub("", _OWNER.sub(r"\1", text[start:]))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
