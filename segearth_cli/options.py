"""One home for an option: a field of a frozen dataclass beside the workflow that it steers.

To add an option, add a field to the dataclass it belongs to (`raster.ReadOptions`, `prediction.PredictOptions`, ...):

    @dataclass(frozen=True, slots=True)
    class PredictOptions:
        blend: Blend = option("mean", help="How overlapping windows are joined.", panel="Windows", advised=True)

The flag of the command line (`--blend`, from the field's name unless flags are named), its place and default in
`--help`, the keyword of the Python function, the checks of values, of `segearth.json` and of `run.json`, and README's
table (`python scripts/option_table.py` writes it) all come from there. Choices are those of a `Literal` type, the range
of a number is named (`above=0`, `at_least=1`, `at_most=1`). A rule of another form, or one that two values can break
together, is checked in the class's `__post_init__`, after `validate(self)`.
A dataclass in a dataclass (`PredictOptions.read`) brings its options along. The shell gives text: a field of a type
that Typer does not know (tuples, sizes) names the function that reads it with `parse`.
"""

from __future__ import annotations

import dataclasses
import keyword
import math
import os
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from segearth_cli.errors import UsageError, nearest

T = TypeVar("T")
_KEY = "option"
LARGEST = 2**32 - 1  # of whole numbers: what libraries take, as for seeds
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path", tuple: "a list"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which numbers are accepted; never NaN or infinity."""

    above: float | None = None
    """Only larger ones; None = no such bound, as of the others."""
    at_least: float | None = None
    """This one and larger ones."""
    at_most: float | None = None
    """This one and smaller ones."""

    def hold(self, number: float) -> bool:
        """Whether a number is accepted."""
        low = (self.above is None or number > self.above) and (self.at_least is None or number >= self.at_least)
        return math.isfinite(number) and low and (self.at_most is None or number <= self.at_most)

    def __str__(self) -> str:
        ends = {"above": self.above, "from": self.at_least, "to": self.at_most}
        return "".join(f" {word} {end:g}" for word, end in ends.items() if end is not None)


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of one option."""

    field: str
    """Name of the field that holds its value."""
    name: str
    """Keyword of the Python function: the first long flag without dashes, `_` for `-`."""
    flags: tuple[str, ...]
    """Flags of the command line, long before short; `--yes/--no` for a switch that is on by default."""
    kind: type
    """Type of a value: bool, int, float, str, Path, tuple, or the class that `parse` makes."""
    optional: bool
    """Whether None is a value."""
    default: Any
    """Value when nobody gives one; MISSING when the workflow settles it."""
    help: str
    """One sentence for people."""
    panel: str
    """Heading under which `--help` and README list it."""
    choices: tuple[Any, ...]
    """Values that are accepted; empty = all of the kind."""
    bounds: Bounds | None
    """Numbers that are accepted; None = all of them, NaN and infinities too."""
    unit: str
    """Shown in place of a value, e.g. `px`; empty = the kind's name."""
    shown: str | None
    """Text for the default where the value itself would not tell; None = the value."""
    parse: Callable[[str], Any] | None
    """From the shell's text to the value; None = the kind says how."""
    advised: bool
    """Whether a model's `segearth.json` may set it."""
    bare: str
    """Value of the flag alone, without a value behind it; empty = it needs one."""
    variable: str
    """Environment variable that gives it where nothing else does, for jobs; empty = none."""
    others: tuple[type, ...]
    """Further classes that `parse` may make."""
    words: tuple[str, ...]
    """Words that stand for a value of another kind, e.g. `auto` where numbers are accepted."""
    alternative: str
    """What it and others are ways to say, of which one counts, e.g. `resolution`; empty = it stands alone."""
    read: bool
    """Whether it names a file that is read though its panel is that of outputs."""

    @property
    def flag(self) -> str:
        """The flag by which errors call it."""
        return self.flags[0].split("/")[0]

    @property
    def accepted(self) -> str:
        """What its values are, in words."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        if self.kind is float and self.bounds == Bounds():
            return "a finite number"
        return _WORDS.get(self.kind, "text" if self.parse else self.kind.__name__) + str(self.bounds or "")


def option(
    default: Any = MISSING,
    *flags: str,
    help: str,
    panel: str = "",
    unit: str = "",
    shown: str | None = None,
    parse: Callable[[str], Any] | None = None,
    advised: bool = False,
    bare: str = "",
    variable: str = "",
    alternative: str = "",
    read: bool = False,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    finite: bool = True,
) -> Any:
    """A dataclass field that is an option too. Without flags: the field's name, dashed.

    above, at_least, at_most: as in `Bounds`; finite: off for numbers that may be NaN. All others: as in `Option`.
    """
    told: dict[str, Any] = {"flags": flags, "help": help, "panel": panel, "unit": unit, "shown": shown}
    told |= {"parse": parse, "advised": advised, "bare": bare, "variable": variable}
    told |= {"alternative": alternative, "read": read}
    told["bounds"] = Bounds(above, at_least, at_most) if finite else None
    return dataclasses.field(default=default, metadata={_KEY: told})


def like(owner: type, name: str, default: Any, **told: Any) -> Any:
    """A field with the option that another dataclass has under a name, but for its default and what is told anew."""
    metadata = next(field.metadata[_KEY] for field in fields(owner) if field.name == name)
    return dataclasses.field(default=default, metadata={_KEY: {**metadata, **told}})


@cache
def options_of(owner: type) -> tuple[Option, ...]:
    """The options that a dataclass declares, and those of the dataclasses in it, in their order."""
    hints, found = get_type_hints(owner), []
    for field in fields(owner):
        if _KEY in field.metadata:
            found.append(_described(field, hints[field.name]))
        elif is_dataclass(hints[field.name]):
            found += options_of(hints[field.name])
    return tuple(found)


def build(owner: type[T], given: Mapping[str, Any], **others: Any) -> T:
    """An instance of `owner` from values by keyword; None and what is not given are its defaults.

    `given` may hold options of other dataclasses too; others: fields that are no options, by their names. Raises
    UsageError for a value that cannot be meant.
    """
    known = {option.field: option for option in _own(owner)}  # type: ignore[arg-type]
    hints = get_type_hints(owner)
    values = dict(others)
    for field in fields(owner):  # type: ignore[arg-type]
        told = known.get(field.name)
        if told and (value := given.get(told.name)) is not None:
            values[field.name] = taken(told, _as_typed(told, value))
        elif told and told.variable and (text := os.environ.get(told.variable)):
            values[field.name] = _of_variable(told, text)
        elif not told and field.name not in others and is_dataclass(hints[field.name]):
            values[field.name] = build(hints[field.name], given)
    return owner(**values)


def _as_typed(told: Option, value: Any) -> Any:
    """A number for an option of other values as the word that one would type: `tile=512` in Python is `--tile 512`."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    return str(value) if number and told.parse and _of_kind(told.kind, value) is None else value


def _of_variable(told: Option, text: str) -> Any:
    """The value of an option by its environment variable, which errors name."""
    try:
        return taken(told, text)
    except UsageError as e:
        raise UsageError(f"{told.variable}={text}: {e}") from None


def validate(values: Any) -> None:
    """For `__post_init__`: raises UsageError unless every option of the dataclass has a value of its kind."""
    for told in _own(type(values)):  # type: ignore[arg-type]
        value = getattr(values, told.field)
        if not (value is None and told.optional):
            taken(told, value)


def taken(told: Option, value: Any) -> Any:
    """A value as its field holds it. Raises UsageError, with the flag's name, for what is not accepted."""
    if told.parse and isinstance(value, str):
        value = told.parse(value)
        if value is None or isinstance(value, str):
            return value
    if told.choices:
        if value not in told.choices or isinstance(value, bool):
            raise UsageError(f"{told.flag} {value}: choose {told.accepted}")
        return value
    made = value if isinstance(value, told.others) else _of_kind(told.kind, value)
    if made is None:
        raise UsageError(f"{told.flag} {value!r}: need {told.accepted}")
    read = told.kind is Path and (told.read or told.panel != "Outputs")
    if read and os.path.exists(place := at_home(str(made))):  # noqa: PTH110
        made = Path(place)
    if isinstance(made, int) and abs(made) > LARGEST:
        raise UsageError(f"{told.flag} {value}: need {told.accepted}, at most {LARGEST}")
    if told.bounds and isinstance(made, int | float) and not told.bounds.hold(made):
        raise UsageError(f"{told.flag} {value}: need {told.accepted}")
    return made


def _of_kind(kind: type, value: Any) -> Any:
    """A value as one of a kind; None where it is none."""
    if kind is int:
        return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None
    if kind is float and isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number of hundreds of digits
            return float(value)
    if kind is float:
        return None
    if kind is Path:
        return Path(value) if isinstance(value, str | os.PathLike) else None
    if kind is tuple:
        return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else None
    return value if isinstance(value, kind) else None


def at_home(name: str) -> str:
    """The name of a file that is read, with the home folder in place of a `~` that nothing here is called by."""
    meant = name.startswith("~") and not os.path.lexists(name)
    return os.path.expanduser(name) if meant else name  # noqa: PTH111 - Path would collapse what it does not know


def whole(text: str) -> int | None:
    """The whole number from 0 that a text is, None for any other text; `isdigit` takes what `int` does not.

    >>> whole("12"), whole("-1"), whole("1_0"), whole("\u00b2")
    (12, None, None, None)
    """
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def refuse_unknown(names: Iterable[str], known: Collection[str], what: str) -> None:
    """Raises UsageError for the first of the names that is not known, with the one that comes near."""
    for name in names:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"known are {', '.join(sorted(known))}"
            raise UsageError(f"{what} {name}: unknown; {hint}")


def default_text(told: Option) -> str:
    """An option's default for people; empty where there is nothing to say."""
    if told.shown is not None:
        return told.shown
    return "" if told.default is MISSING or told.default is None or told.default is False else value_text(told.default)


def value_text(value: Any) -> str:
    """A value as one would type it.

    >>> value_text(0.0), value_text(True), value_text((4, 3, 2))
    ('0', 'yes', '4,3,2')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(value_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def table(told: Iterable[Option], advice: Mapping[str, Any], model: str) -> str:
    """Options as a Markdown table, a bold row for each panel; advice: what `model` sets, by keyword."""
    panels: dict[str, list[Option]] = {}
    for one in told:
        panels.setdefault(one.panel, []).append(one)
    rows = ["| option | meaning | default |", "|-|-|-|"]
    for panel, ones in panels.items():
        rows += [f"| **{panel}** | | |", *(_row(one, advice, model) for one in ones)]
    return "\n".join(rows) + "\n"


def _row(told: Option, advice: Mapping[str, Any], model: str) -> str:
    default = default_text(told)
    if told.name in advice:
        default += f" (`{model}`: {value_text(advice[told.name])})"
    flags = ", ".join(f"`{flag}`" for flag in told.flags) + f" {told.unit}" * bool(told.unit)
    meaning = told.help + (f" One of {', '.join(f'`{choice}`' for choice in told.choices)}." if told.choices else "")
    cells = (cell.replace("|", r"\|") for cell in (flags, meaning, default))
    return f"| {' | '.join(cells)} |".replace("  |", " |")


@cache
def _own(owner: type) -> tuple[Option, ...]:
    hints = get_type_hints(owner)
    return tuple(_described(field, hints[field.name]) for field in fields(owner) if _KEY in field.metadata)


def _described(field: dataclasses.Field[Any], hint: Any) -> Option:
    told = dict(field.metadata[_KEY])
    flags = told.pop("flags") or (f"--{field.name.replace('_', '-')}",)
    flags = tuple(sorted(flags, key=lambda flag: not flag.startswith("--")))
    name = flags[0].split("/")[0].removeprefix("--").replace("-", "_")
    name += "_" * keyword.iskeyword(name)
    optional = get_origin(hint) in (Union, types.UnionType)
    others: tuple[type, ...] = ()
    words: tuple[str, ...] = ()
    if optional:
        hint, *more = (part for part in get_args(hint) if part is not type(None))
        others = tuple(part for part in more if isinstance(part, type))
        words = tuple(word for part in more if get_origin(part) is Literal for word in get_args(part))
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = type(choices[0]) if choices else get_origin(hint) or hint
    return Option(
        field.name, name, flags, kind, optional, field.default, choices=choices, others=others, words=words, **told
    )  # fmt: skip
