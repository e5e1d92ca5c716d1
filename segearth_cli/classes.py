"""Class lists: names, phrases, colours and the background class, from a flag, a file or a mask's tags."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

from segearth_cli import texts
from segearth_cli.class_colors import Color, default_color
from segearth_cli.errors import ClassesError, nearest
from segearth_cli.land_cover import not_covered

NODATA = 255  # the code of pixels without data in every mask
MAX_CLASSES = 255
CONFIDENCE_SCALE = 254  # a uint8 confidence raster holds the probability of the winner times this, and NODATA
CLASSES_TAG = "SEGEARTH_CLASSES"
OWN_TAGS = "SEGEARTH_"  # what the tags that we write begin with
RUN_TAG = "SEGEARTH_RUN"  # of masks, confidences and scores: how they were made

T = TypeVar("T")
Synonyms = Literal["max", "mean"]
Rest = Literal["competing", "distractors", "threshold"]  # what a background is that the list does not name
BACKGROUND = "background"

_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"  # writing to the right or left


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Classes of one run; the code of a class in a mask is its position."""

    names: tuple[str, ...]
    """K names, told apart whatever their case."""
    phrases: tuple[tuple[str, ...], ...]
    """Query texts of each class; none for a background that is only what falls below the threshold."""
    colors: tuple[Color, ...]
    """K RGB triples, each 0-255."""
    background: int | None = None
    """Code of the class that low confidence falls to; None = a forced choice."""
    synonyms: tuple[Synonyms, ...] = ()
    """How the phrases of each class count together; empty = all as published: the most probable one (`max`)."""
    descriptions: tuple[str, ...] = ()
    """A sentence for each class that counts as one more phrase, empty for a class without; empty = for none."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def queries(self) -> tuple[str, ...]:
        """The phrases of all classes, in class order."""
        return tuple(phrase for phrases in self.phrases for phrase in phrases)

    @property
    def texts(self) -> tuple[int, ...]:
        """How many texts each class is asked for by: its phrases and its description."""
        return tuple(len(phrases) + bool(self.description(code)) for code, phrases in enumerate(self.phrases))

    @property
    def query_class(self) -> tuple[int, ...]:
        """For each of the Q vectors that take part in the softmax, the code of its class.

        A class has one for each of its phrases and one for its description, or one for all where they are averaged.
        """
        counts = [min(n, 1) if self.averaged(code) else n for code, n in enumerate(self.texts)]
        return tuple(code for code, n in enumerate(counts) for _ in range(n))

    def code_named(self, name: str) -> int | None:
        """The code of the class of a name, else of the one that has it as a synonym; None for any other."""
        named = {folded(own): code for code, own in enumerate(self.names)}
        asked = {folded(phrase): code for code, phrases in enumerate(self.phrases) for phrase in phrases}
        return named.get(folded(name), asked.get(folded(name)))

    def averaged(self, code: int) -> bool:
        """Whether the phrases and the description of a class make one vector, their mean."""
        return self.synonyms != () and self.synonyms[code] == "mean"

    def description(self, code: int) -> str:
        """The sentence of a class, empty where it has none."""
        return self.descriptions[code] if self.descriptions else ""


def parse(text: str) -> ClassSet:
    """Classes from a flag: classes separated by commas, synonyms by bars.

    Raises ClassesError when the list is empty or too long, or a class is empty, comes twice or cannot be written.

    >>> parse("water|river,roof").phrases
    (('water', 'river'), ('roof',))
    """
    parts = text.split(",") if text.strip(", \t\r\n") else []
    return _class_set([_Row(part.split("|")) for part in parts], "--classes")


def read(path: Path) -> ClassSet:
    """Classes from a text file or pipe: one class a line, its phrases separated by commas, the first one its name.

    A phrase that has a comma stands in double quotes, as in CSV.
    After the phrases `; synonyms: mean` and `; description: A sentence.` say more of the class; `synonyms: mean` alone
    on a line above all classes holds for each that does not say otherwise. `#RRGGBB` at the end is the colour of the
    class; a `#` at the beginning of a line or with a space behind it starts a comment. Raises ClassesError when the
    file is absent or is not a class list.
    """
    try:
        text = texts.read_text(path)
    except (OSError, UnicodeDecodeError) as e:
        raise ClassesError(f"{path}: cannot read the class file ({texts.reason(e)})") from e
    rows: list[_Row] = []
    common: Synonyms = "max"
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}, line {number}"
        told, color = _split_line(line, where)
        phrases, *more = told.split(";")
        if re.match(r"\s*synonyms\s*:", phrases) and not more:
            if rows:
                raise ClassesError(f"{where}: '{told}' is for all classes: put it above the first one")
            common = _fields([phrases], where)[0] or common
        elif told:
            synonyms, description = _fields(more, where)
            rows.append(_Row(_phrases(phrases, where), color, synonyms or common, description))
    return _class_set(rows, str(path))


def folded(name: str) -> str:
    """What names of one reading share: no capitals, runs of white space, invisible marks or several ways of accents.

    >>> folded("Caf\\u00e9  au lait") == folded("cafe\\u0301 au LAIT")
    True
    """
    shown = "".join(c for c in name if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", " ".join(shown.split()).casefold())


def with_background(classes: ClassSet, name: str) -> ClassSet:
    """The classes with their background chosen by name; `none` leaves every pixel to the best class.

    A class that has the name as a synonym will do. One that no class has is put first, as code 0, with itself as its
    phrase.
    """
    if folded(name) == "none":
        return replace(classes, background=None)
    if (code := classes.code_named(name)) is not None:
        return replace(classes, background=code)
    return _with_first(classes, _class_set([_Row([name])], "--background"))


def with_rest(classes: ClassSet, rest: Rest) -> ClassSet:
    """The classes below a class `background`, code 0, for all that they do not name.

    rest: `competing` asks for the phrase "background" beside the classes' own; `distractors` for the words of common
    land cover that none of them covers; `threshold` for nothing, so that only what falls below the threshold is
    background, and so do distractors where the classes cover everything. Raises ClassesError where a class is or
    has the synonym `background` already.
    """
    phrases = {"competing": (BACKGROUND,), "distractors": not_covered(classes.queries), "threshold": ()}[rest]
    made = ClassSet((BACKGROUND,), (phrases,), (default_color(BACKGROUND, 0),))
    if classes.code_named(BACKGROUND) is not None:
        raise ClassesError(
            f"--background {rest}: the list has '{BACKGROUND}' itself; take it out, or leave the option out"
        )
    return _with_first(classes, made)


def with_synonyms(classes: ClassSet, synonyms: Synonyms) -> ClassSet:
    """The classes with the phrases of all of them counting together in one way; a single phrase has none."""
    each: list[Synonyms] = [synonyms if n > 1 else "max" for n in classes.texts]
    return replace(classes, synonyms=_where_said(each, "max"))


def _with_first(classes: ClassSet, first: ClassSet) -> ClassSet:
    """The classes below the one class of another list, which is their background."""
    if len(classes) == MAX_CLASSES:
        raise ClassesError(f"{MAX_CLASSES} classes and a background, a mask holds at most {MAX_CLASSES}")
    own = range(len(classes))
    synonyms: list[Synonyms] = ["max", *("mean" if classes.averaged(code) else "max" for code in own)]
    return ClassSet(
        first.names + classes.names,
        first.phrases + classes.phrases,
        first.colors + classes.colors,
        0,
        _where_said(synonyms, "max"),
        _where_said(["", *map(classes.description, own)], ""),
    )


def to_tag(classes: ClassSet) -> str:
    """The classes as the JSON text that masks carry in the tag `SEGEARTH_CLASSES`; inverse of `from_tag`."""
    rows = zip(classes.names, classes.phrases, classes.colors, strict=True)
    return json.dumps(
        [
            {"code": code, "name": name, "phrases": list(phrases), "color": "#{:02x}{:02x}{:02x}".format(*color)}
            | ({"synonyms": "mean"} if classes.averaged(code) else {})
            | ({"description": text} if (text := classes.description(code)) else {})
            | ({"background": True} if code == classes.background else {})
            for code, (name, phrases, color) in enumerate(rows)
        ],
        ensure_ascii=False,
    )


def from_tag(text: str) -> ClassSet:
    """The classes of a mask from its tag; inverse of `to_tag`. Raises ClassesError when the tag is damaged."""
    try:
        rows = texts.from_json(text)
        background = next((int(row["code"]) for row in rows if row.get("background")), None)
        if bad := unwritable("".join(str(row["name"]) for row in rows)):
            raise ValueError(f"a class name holds the character U+{ord(bad):04X}")
        return ClassSet(
            tuple(str(row["name"]) for row in rows),
            tuple(tuple(map(str, row["phrases"])) for row in rows),
            tuple(_rgb(row["color"]) for row in rows),
            background,
            _where_said([_synonyms(row.get("synonyms", "max")) for row in rows], "max"),
            _where_said([str(row.get("description", "")) for row in rows], ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ClassesError(f"damaged {CLASSES_TAG} tag: {e}") from e


def _phrases(text: str, where: str) -> list[str]:
    """The phrases of a class in a class file. Raises ClassesError for a quote without an end, and for codes."""
    try:
        phrases = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error:
        raise ClassesError(f"{where}: '{text}': a quote has no end; phrases with a comma are put in \"...\"") from None
    phrases = phrases or [""]
    if re.fullmatch(r"\d+(?:\s*[:=\t].*)?", phrases[0].strip()) and (len(phrases) > 1 or not phrases[0].isdecimal()):
        raise ClassesError(f"{where}: '{text}' begins with a code; codes go by the order of the lines, name the class")
    return phrases


def _split_line(line: str, where: str) -> tuple[str, Color | None]:
    """A line of a class file as its phrases and its colour. Raises ClassesError for a colour that is none."""
    told, mark, rest = line.partition("#")
    if match := re.match(r"[0-9a-fA-F]{6}(?=\s|,|$)", rest):
        return told.strip().rstrip(","), _rgb(match[0])
    if mark and told.strip() and not re.match(r"[\s#]|$", rest):
        raise ClassesError(f"{where}: '#{rest.split()[0]}' is no colour #RRGGBB; put a space behind # for a comment")
    return told.strip(), None


@dataclass(frozen=True, slots=True)
class _Row:
    """A class as it was written."""

    phrases: Sequence[str]
    color: Color | None = None
    synonyms: Synonyms = "max"
    description: str = ""


_FIELDS = {"synonyms": "'synonyms: max|mean'", "description": "'description: TEXT'"}


def _fields(parts: Sequence[str], where: str) -> tuple[Synonyms | None, str]:
    """What is said of a class after its phrases: `synonyms: max` or `mean`, `description: TEXT`."""
    found: dict[str, str] = {}
    for part in parts:
        key, colon, value = (" ".join(text.split()) for text in part.partition(":"))
        if not colon or key not in _FIELDS or key in found:
            near = nearest(key, _FIELDS)
            hint = f"; did you mean {near}?" if near and key not in _FIELDS else ""
            raise ClassesError(f"{where}: '{part.strip()}': need {' or '.join(_FIELDS.values())}, each once{hint}")
        found[key] = value
    if bad := unwritable("".join(found.values())):
        raise ClassesError(f"{where}: holds the character U+{ord(bad):04X}; take it out")
    try:
        return _synonyms(found["synonyms"]) if "synonyms" in found else None, found.get("description", "")
    except ValueError as e:
        raise ClassesError(f"{where}: {e}") from None


def _synonyms(text: str) -> Synonyms:
    known: tuple[Synonyms, ...] = get_args(Synonyms)
    for one in known:
        if text == one:
            return one
    raise ValueError(f"synonyms {text}: choose one of {', '.join(get_args(Synonyms))}")


def _where_said(values: Sequence[T], usual: T) -> tuple[T, ...]:
    """A value for each class, or nothing where all are as usual, so that equal lists are equal."""
    return tuple(values) if any(value != usual for value in values) else ()


def _class_set(rows: Sequence[_Row], where: str) -> ClassSet:
    if not rows:
        raise ClassesError(f"{where}: no classes; name at least one, e.g. --classes water,building")
    if len(rows) > MAX_CLASSES:
        raise ClassesError(f"{where}: {len(rows)} classes, a mask holds at most {MAX_CLASSES}")
    phrases = [tuple(" ".join(p.split()) for p in row.phrases if p.strip()) for row in rows]
    owner: dict[str, int] = {}
    for code, own in enumerate(phrases):
        if not own:
            raise ClassesError(f"{where}: class {code + 1} is empty; separate classes by commas, synonyms by bars")
        for phrase in own:
            if bad := unwritable(phrase):
                raise ClassesError(f"{where}: class {code + 1} holds the character U+{ord(bad):04X}; take it out")
            if owner.setdefault(folded(phrase), code) != code:
                raise ClassesError(f"{where}: the phrase '{phrase}' stands in two classes; keep it in one")
    names = tuple(own[0] for own in phrases)
    return ClassSet(
        names,
        tuple(phrases),
        tuple(row.color or default_color(names[code], code) for code, row in enumerate(rows)),
        synonyms=_where_said([row.synonyms for row in rows], "max"),
        descriptions=_where_said([row.description for row in rows], ""),
    )


def unwritable(name: str) -> str:
    """The first character of a name that no class may have, empty when there is none.

    These are controls, what turns the direction of writing, and bytes that are no UTF-8; the joiners that Persian and
    emoji need may stay.
    """
    return next((c for c in name if unicodedata.category(c) in ("Cc", "Cs") or c in _TURNING), "")


def _rgb(text: str) -> Color:
    value = int(text.removeprefix("#"), 16)
    return value >> 16, value >> 8 & 255, value & 255
