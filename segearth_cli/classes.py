"""Class lists: names, phrases, colours and the background class, from a flag, a file or a mask's tags."""

from __future__ import annotations

import colorsys
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segearth_cli.errors import ClassesError

NODATA = 255  # the code of pixels without data in every mask
MAX_CLASSES = 255
CLASSES_TAG = "SEGEARTH_CLASSES"
OWN_TAGS = "SEGEARTH_"  # what the tags that we write begin with
RUN_TAG = "SEGEARTH_RUN"  # of masks, confidences and scores: how they were made

Color = tuple[int, int, int]

_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"  # writing to the right or left

# Colours that map readers expect; any other name gets one from `_spread`.
_CONVENTIONS: Mapping[str, Color] = {
    "background": (224, 224, 224),
    "clutter": (224, 224, 224),
    "water": (46, 120, 210),
    "sea": (30, 90, 180),
    "river": (70, 150, 230),
    "lake": (46, 120, 210),
    "wetland": (110, 190, 190),
    "building": (214, 62, 62),
    "roof": (230, 110, 80),
    "house": (214, 62, 62),
    "road": (90, 90, 90),
    "street": (90, 90, 90),
    "pavement": (160, 150, 140),
    "car": (245, 200, 40),
    "vehicle": (245, 200, 40),
    "tree": (28, 110, 50),
    "forest": (28, 110, 50),
    "vegetation": (80, 160, 70),
    "grass": (150, 205, 95),
    "rangeland": (190, 205, 120),
    "agricultural": (235, 205, 95),
    "cropland": (235, 205, 95),
    "farmland": (235, 205, 95),
    "barren": (190, 150, 105),
    "bareland": (190, 150, 105),
    "bare soil": (190, 150, 105),
    "sand": (240, 220, 170),
    "snow": (245, 250, 255),
}


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Classes of one run; the code of a class in a mask is its position."""

    names: tuple[str, ...]
    """K names, told apart whatever their case."""
    phrases: tuple[tuple[str, ...], ...]
    """One or more query texts of each class."""
    colors: tuple[Color, ...]
    """K RGB triples, each 0-255."""
    background: int | None = None
    """Code of the class that low confidence falls to; None = a forced choice."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def queries(self) -> tuple[str, ...]:
        """The Q phrases of all classes, in class order."""
        return tuple(phrase for phrases in self.phrases for phrase in phrases)

    @property
    def query_class(self) -> tuple[int, ...]:
        """For each of the Q queries, the code of its class."""
        return tuple(code for code, phrases in enumerate(self.phrases) for _ in phrases)


def parse(text: str) -> ClassSet:
    """Classes from a flag: classes separated by commas, synonyms by bars.

    Raises ClassesError when the list is empty or too long, or a class is empty, comes twice or cannot be written.

    >>> parse("water|river,roof").phrases
    (('water', 'river'), ('roof',))
    """
    parts = text.split(",") if text.strip(", \t\r\n") else []
    return _class_set([(part.split("|"), None) for part in parts], "--classes")


def read(path: Path) -> ClassSet:
    """Classes from a UTF-8 file: one class a line, its phrases separated by commas, the first one its name.

    `#RRGGBB` after the phrases is the colour of the class; any other `#` starts a comment.
    Raises ClassesError when the file is absent or its content is not a class list.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise ClassesError(f"{path}: cannot read the class file ({_reason(e)})") from e
    rows: list[tuple[list[str], Color | None]] = []
    for line in text.splitlines():
        phrases, color = _split_line(line)
        if phrases:
            rows.append((phrases.split(","), color))
    return _class_set(rows, str(path))


def with_background(classes: ClassSet, name: str) -> ClassSet:
    """The classes with their background chosen by name; `none` leaves every pixel to the best class.

    A class that has the name as a synonym will do. One that no class has is put first, as code 0, with itself as its
    phrase.
    """
    if name.casefold() == "none":
        return replace(classes, background=None)
    wanted = " ".join(name.split()).casefold()
    for first in (1, None):  # the class of that name, else the one that has it as a synonym
        for code, phrases in enumerate(classes.phrases):
            if wanted in [phrase.casefold() for phrase in phrases[:first]]:
                return replace(classes, background=code)
    rows: list[tuple[Sequence[str], Color | None]] = [([name], None)]
    rows += list(zip(classes.phrases, classes.colors, strict=True))
    added = _class_set(rows, "--background")
    return replace(added, background=0)


def to_tag(classes: ClassSet) -> str:
    """The classes as the JSON text that masks carry in the tag `SEGEARTH_CLASSES`; inverse of `from_tag`."""
    rows = zip(classes.names, classes.phrases, classes.colors, strict=True)
    return json.dumps(
        [
            {"code": code, "name": name, "phrases": list(phrases), "color": "#{:02x}{:02x}{:02x}".format(*color)}
            | ({"background": True} if code == classes.background else {})
            for code, (name, phrases, color) in enumerate(rows)
        ],
        ensure_ascii=False,
    )


def from_tag(text: str) -> ClassSet:
    """The classes of a mask from its tag; inverse of `to_tag`. Raises ClassesError when the tag is damaged."""
    try:
        rows = json.loads(text)
        background = next((int(row["code"]) for row in rows if row.get("background")), None)
        if bad := unwritable("".join(str(row["name"]) for row in rows)):
            raise ValueError(f"a class name holds the character U+{ord(bad):04X}")
        return ClassSet(
            tuple(str(row["name"]) for row in rows),
            tuple(tuple(map(str, row["phrases"])) for row in rows),
            tuple(_rgb(row["color"]) for row in rows),
            background,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ClassesError(f"damaged {CLASSES_TAG} tag: {e}") from e


def _split_line(line: str) -> tuple[str, Color | None]:
    """A line of a class file as its phrases and its colour."""
    match = re.search(r"#([0-9a-fA-F]{6})(?=\s|,|$)", line)
    if match and "#" not in line[: match.start()]:
        return line[: match.start()].strip().rstrip(","), _rgb(match[0])
    return line.split("#", 1)[0].strip(), None


def _class_set(rows: Sequence[tuple[Sequence[str], Color | None]], where: str) -> ClassSet:
    if not rows:
        raise ClassesError(f"{where}: no classes; name at least one, e.g. --classes water,building")
    if len(rows) > MAX_CLASSES:
        raise ClassesError(f"{where}: {len(rows)} classes, a mask holds at most {MAX_CLASSES}")
    phrases = [tuple(" ".join(p.split()) for p in row if p.strip()) for row, _ in rows]
    owner: dict[str, int] = {}
    for code, own in enumerate(phrases):
        if not own:
            raise ClassesError(f"{where}: class {code + 1} is empty; separate classes by commas, synonyms by bars")
        for phrase in own:
            if bad := unwritable(phrase):
                raise ClassesError(f"{where}: class {code + 1} holds the character U+{ord(bad):04X}; take it out")
            if owner.setdefault(phrase.casefold(), code) != code:
                raise ClassesError(f"{where}: the phrase '{phrase}' stands in two classes; keep it in one")
    names = tuple(own[0] for own in phrases)
    colors = tuple(color or default_color(names[code], code) for code, (_, color) in enumerate(rows))
    return ClassSet(names, tuple(phrases), colors)


def unwritable(name: str) -> str:
    """The first character of a name that no class may have, empty when there is none.

    These are controls, what turns the direction of writing, and bytes that are no UTF-8; the joiners that Persian and
    emoji need may stay.
    """
    return next((c for c in name if unicodedata.category(c) in ("Cc", "Cs") or c in _TURNING), "")


def default_color(name: str, code: int) -> Color:
    """The conventional colour of a name or of its last word that has one, else one far from its neighbours'."""
    words = [name.casefold(), *reversed(name.casefold().split())]
    return next((_CONVENTIONS[word] for word in words if word in _CONVENTIONS), None) or _spread(code)


def _spread(code: int) -> Color:
    """Colours far apart for neighbouring codes: hues a golden ratio apart."""
    r, g, b = colorsys.hsv_to_rgb((0.08 + code * 0.61803398875) % 1, 0.65 - 0.25 * (code // 8 % 2), 0.85)
    return round(r * 255), round(g * 255), round(b * 255)


def _rgb(text: str) -> Color:
    value = int(text.removeprefix("#"), 16)
    return value >> 16, value >> 8 & 255, value & 255


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "not UTF-8 text"
